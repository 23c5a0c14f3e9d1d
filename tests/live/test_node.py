"""Nodes: machines of their own inside one process, in memory or kept by name.

Named Nodes pin mounts in the mount namespace of whoever makes them; here that is always
a Node in memory, so that the machine stays as it is even when a test fails.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from podnet import node as nodes
from podnet.errors import PodnetError, UsageError
from podnet.kernel import links, namespaces, worlds
from podnet.kernel.namespaces import identity
from podnet.kernel.netlink import Netlink
from podnet.node import Node
from podnet.nodes import Nodes

OWN_DIRECTORIES = ("/run", "/var/lib", "/etc/cni")


def _identities() -> dict[str, tuple[int, int]]:
    return {kind: identity(f"/proc/thread-self/ns/{kind}") for kind in worlds.KINDS}


def _machine() -> tuple[str, ...]:
    """What a Node must not change: mounts, named namespaces, links, host name."""
    mounts = Path("/proc/self/mountinfo").read_text()
    commands = (["ip", "netns", "list"], ["ip", "-o", "link"], ["hostname"])
    return mounts, *(subprocess.check_output(command, text=True) for command in commands)


def _add_bridge(name: str) -> None:
    with Netlink() as netlink:
        links.add_bridge(netlink, name)


def _link_names() -> set[str]:
    with Netlink() as netlink:
        return {link.name for link in links.every(netlink)}


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# In memory


def test_a_node_has_namespaces_of_its_own(node):
    inside, here = node.run(_identities), _identities()

    assert [kind for kind in inside if inside[kind] == here[kind]] == []


def test_a_node_is_called_by_its_hostname(node):
    assert node.run(nodes.current) == "test"
    assert socket.gethostname() != "test"
    assert repr(node) == "<Node test>"


def test_a_new_node_has_lo_only_and_it_is_up(node):
    def work():
        with Netlink() as netlink:
            return [(link.name, link.up) for link in links.every(netlink)]

    assert node.run(work) == [("lo", True)]


@pytest.mark.parametrize("directory", OWN_DIRECTORIES)
def test_a_node_s_directories_begin_empty_and_are_its_own(node, directory):
    file = Path(directory, "made-by-a-test")
    with Node.in_memory("other") as other:
        before = sorted(set(node.run(os.listdir, directory)) - {".podnet-etc"})
        node.run(file.write_text, "mine")

        assert before in ([], ["cni"])  # /run and /var/lib may hold nothing but a mount point
        assert node.run(file.read_text) == "mine"
        assert not other.run(file.exists)
        assert not file.exists()


def test_everything_else_is_the_machine_s(node):
    assert node.run(Path("/etc/passwd").read_text) == Path("/etc/passwd").read_text()


def test_a_directory_that_is_where_a_node_has_its_own_can_be_shown(node):
    directory = Path("/var/lib/plugins")
    node.run(directory.mkdir)
    node.run((directory / "mine").touch)

    def inside() -> tuple[bool, bool]:
        with Node.in_memory("other") as other:
            before = other.run((directory / "mine").exists)
            other.show(directory, Path("/tmp"))
            return before, other.run((directory / "mine").exists)

    assert node.run(inside) == (False, True)


def test_the_working_directory_stays(node):
    assert node.run(Path.cwd) == Path.cwd()


def test_sys_shows_the_links_of_the_node(node):
    node.run(_add_bridge, "br0")

    assert sorted(node.run(os.listdir, "/sys/class/net")) == ["br0", "lo"]


def test_a_link_of_one_node_is_in_no_other(node):
    with Node.in_memory("other") as other:
        node.run(_add_bridge, "br0")

        assert node.run(_link_names) == {"lo", "br0"}
        assert other.run(_link_names) == {"lo"}
    assert "br0" not in _link_names()


def test_processes_that_are_started_inside_are_inside(node):
    node.run(Path("/run/made-by-a-test").touch)
    script = "hostname; ls /run/made-by-a-test; readlink /proc/self/ns/net"

    printed = node.run(subprocess.check_output, ["sh", "-c", script], text=True)

    inode = node.run(_identities)["net"][1]
    assert printed.split() == ["test", "/run/made-by-a-test", f"net:[{inode}]"]


def test_run_returns_and_raises_what_the_function_does(node):
    assert node.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        node.run(divmod, 7, 0)
    assert node.run(nodes.current) == "test"


def test_many_nodes_live_in_one_process():
    if os.geteuid() != 0:
        pytest.skip("no root: a Node needs CAP_SYS_ADMIN")
    made = [Node.in_memory(f"n{number}") for number in range(5)]
    try:
        for one in made:
            one.run(_add_bridge, f"br-{one.name}")
        seen = [one.run(_link_names) - {"lo"} for one in made]
        names = [one.run(nodes.current) for one in made]
    finally:
        for one in made:
            one.close()

    assert seen == [{f"br-n{number}"} for number in range(5)]
    assert names == [f"n{number}" for number in range(5)]


def test_a_closed_node_leaves_nothing(node):
    def make_and_close():
        before = _machine(), _open_files()
        with Node.in_memory("inner") as inner:
            inner.run(_add_bridge, "br0")
            inner.run(namespaces.create, Path("/run/netns/pod"))
        return before, (_machine(), _open_files())

    before, after = node.run(make_and_close)

    assert before == after


def test_a_node_inside_a_node_is_no_surprise(node):
    def nest():
        with Node.in_memory("inner") as inner:
            return inner.run(nodes.current), nodes.current()

    assert node.run(nest) == ("inner", "test")


IN_A_CHROOT = """
import os, sys
from pathlib import Path
from podnet.kernel import libc
from podnet.node import Node
libc.mount("/", "/mnt", flags=libc.MS_BIND | libc.MS_REC)
os.chroot("/mnt")
libc.mount("ours", "/mnt", "tmpfs")
Path("/mnt/ours").touch()
with Node.in_memory() as node:
    print(node.run(os.listdir, "/mnt"), node.run(os.listdir, "/run"), os.listdir("/mnt"))
"""


def test_a_node_leads_nobody_out_of_a_chroot(node):
    command = [sys.executable, "-c", IN_A_CHROOT]
    done = node.run(subprocess.run, command, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("['ours'] [] ['ours']\n", "")


@pytest.mark.parametrize("name", ["", ".", "a/b", "-x", "a b", "a\n", "x" * 64])
def test_what_is_no_hostname_names_no_node(name):
    with pytest.raises(UsageError, match=r"^a Node cannot be called"):
        Node.in_memory(name)


def test_a_process_that_enters_is_inside_for_good(node):
    """As ``podnet --node n1 …`` does, before it has a second thread."""
    script = (
        "import os; from podnet.node import Node, current\n"
        "Node.in_memory('n1').enter()\n"
        "print(current(), os.listdir('/var/lib'), os.readlink('/proc/self/ns/net') == "
        "os.readlink('/proc/thread-self/ns/net'), os.getcwd())\n"
    )

    printed = node.run(subprocess.check_output, [sys.executable, "-c", script], text=True)

    assert printed == f"n1 [] True {Path.cwd()}\n"


# Kept by name


@pytest.fixture
def kept(node, tmp_path):
    """The named Nodes of a machine that is itself a Node in memory; see ``node.run``."""
    found = Nodes(tmp_path / "run", tmp_path / "state")
    yield found
    for name in node.run(found.names):
        node.run(found.delete, name)


def test_a_named_node_is_there_until_it_is_deleted(node, kept):
    def live():
        before = kept.names()
        with kept.create("n1") as made:
            made.run(_add_bridge, "br0")
        with kept.open("n1") as found:
            seen = found.run(_link_names), found.run(nodes.current)
        during = kept.names()
        kept.delete("n1")
        return before, seen, during, kept.names()

    assert node.run(live) == ([], ({"lo", "br0"}, "n1"), ["n1"], [])


def test_a_deleted_node_leaves_the_machine_as_it_was(node, kept, tmp_path):
    def live():
        before = _machine()
        for name in ("n1", "n2"):
            with kept.create(name) as made:
                made.run(namespaces.create, Path("/run/netns/pod"))
        for name in ("n1", "n2"):
            kept.delete(name)
        return before, _machine()

    before, after = node.run(live)

    assert before == after
    assert list(tmp_path.iterdir()) == []


def test_names_are_listed_in_order(node, kept):
    def live():
        for name in ("n2", "n10", "n1"):
            kept.create(name).close()
        return kept.names()

    assert node.run(live) == ["n1", "n10", "n2"]


def test_a_named_node_keeps_var_lib_and_etc_cni_on_disk(node, kept, tmp_path):
    def live():
        with kept.create("n1") as made:
            made.run(Path("/var/lib/state").write_text, "kept")
            made.run(Path("/etc/cni/net.conflist").write_text, "kept, too")
            made.run(Path("/run/state").write_text, "not kept")

    node.run(live)

    disk = tmp_path / "state" / "n1"
    assert (disk / "var-lib" / "state").read_text() == "kept"
    assert (disk / "etc-cni" / "net.conflist").read_text() == "kept, too"


def test_named_nodes_see_nothing_of_each_other(node, kept):
    def live():
        with kept.create("n1") as one, kept.create("n2") as two:
            for directory in OWN_DIRECTORIES:
                one.run(Path(directory, "mine").touch)
            return [two.run(Path(d, "mine").exists) for d in OWN_DIRECTORIES]

    assert node.run(live) == [False, False, False]


def test_a_name_that_is_taken_is_refused_and_that_node_lives_on(node, kept):
    def live():
        kept.create("n1").close()
        with pytest.raises(UsageError, match=r"^there is a Node n1 already") as raised:
            kept.create("n1")
        with kept.open("n1") as found:
            return raised.value.hint, found.run(nodes.current)

    assert node.run(live) == ("podnet node delete n1", "n1")


def test_an_unknown_name_is_refused_and_the_known_ones_are_named(node, kept):
    def live():
        kept.create("n1").close()
        with pytest.raises(UsageError, match=r"^there is no Node n2") as opened:
            kept.open("n2")
        with pytest.raises(UsageError, match=r"^there is no Node n2"):
            kept.delete("n2")
        return opened.value.hint

    assert node.run(live) == "there are: n1; podnet node create n2"


@pytest.mark.parametrize("act", [Nodes.create, Nodes.open, Nodes.delete])
@pytest.mark.parametrize("name", ["", "..", "../n1", "a/b", "x" * 64])
def test_a_bad_name_never_becomes_a_path(tmp_path, act, name):
    found = Nodes(tmp_path / "run", tmp_path / "state")

    with pytest.raises(UsageError, match=r"^a Node cannot be called"):
        act(found, name)

    assert list(tmp_path.iterdir()) == []


def test_delete_ends_what_runs_inside(node, kept):
    def live():
        with kept.create("n1") as made:
            sleeper = made.run(subprocess.Popen, ["sleep", "60"])
        kept.delete("n1")
        return sleeper.wait(5), kept.names()

    assert node.run(live) == (-9, [])


def test_delete_ends_nothing_else(node, kept):
    def live():
        with kept.create("n1") as one, kept.create("n2") as two:
            sleepers = [home.run(subprocess.Popen, ["sleep", "60"]) for home in (one, two)]
        bystander = subprocess.Popen(["sleep", "60"])
        kept.delete("n1")
        alive = [process.poll() is None for process in (sleepers[1], bystander)]
        for process in (*sleepers, bystander):
            process.kill()
            process.wait(5)
        return alive

    assert node.run(live) == [True, True]


def test_a_node_cannot_be_deleted_from_inside(node, kept, tmp_path):
    script = (
        "import sys; from pathlib import Path; from podnet.nodes import Nodes\n"
        "nodes = Nodes(Path(sys.argv[1], 'run'), Path(sys.argv[1], 'state'))\n"
        "nodes.open('n1').enter()\n"
        "try: nodes.delete('n1')\n"
        "except Exception as exc: print(exc)\n"
    )

    def live():
        kept.create("n1").close()
        command = [sys.executable, "-c", script, str(tmp_path)]
        printed = subprocess.check_output(command, text=True)
        with kept.open("n1") as found:
            return printed, found.run(nodes.current)

    assert node.run(live) == ("Node n1 cannot be deleted from inside\n", "n1")


def test_a_node_that_a_crash_left_half_made_can_be_deleted(node, kept, tmp_path):
    """Killed after the directory, or after the mount and the first pin."""

    def live():
        (tmp_path / "run" / "n1").mkdir(parents=True)
        (tmp_path / "state" / "n1" / "var-lib").mkdir(parents=True)
        half = tmp_path / "run" / "n2"
        half.mkdir()
        descriptors = worlds.create("n2")
        worlds.pin({"net": descriptors["net"]}, half)  # and not yet uts and mnt
        for descriptor in descriptors.values():
            os.close(descriptor)
        listed = kept.names()
        with pytest.raises(UsageError, match=r"^there is no Node n1"):
            kept.open("n1")
        for name in listed:
            kept.delete(name)
        return listed, kept.names()

    assert node.run(live) == (["n1", "n2"], [])
    assert list(tmp_path.iterdir()) == []


def test_named_nodes_can_be_made_whichever_cpu_we_were_made_on(tmp_path):
    """Linux 6.18 numbers mount namespaces per CPU, and refuses to pin one with a lower number."""
    if os.geteuid() != 0:
        pytest.skip("no root: a Node needs CAP_SYS_ADMIN")

    def make_and_delete(found):
        found.create("n1").close()
        found.delete("n1")

    for cpu in sorted(os.sched_getaffinity(0)):
        with Node("outer", worlds.create("outer", cpu=cpu)) as outer:
            outer.run(make_and_delete, Nodes(tmp_path / "run", tmp_path / "state"))


def test_a_node_that_cannot_be_made_leaves_nothing(node, kept, tmp_path, monkeypatch):
    def refuse(*_args: object) -> None:
        raise PodnetError("no")

    monkeypatch.setattr("podnet.kernel.worlds.pin", refuse)
    node.run(kept.names)
    before = _open_files()

    with pytest.raises(PodnetError, match=r"^no$"):
        node.run(kept.create, "n1")

    assert node.run(kept.names) == []
    assert list((tmp_path / "state").iterdir()) == []
    assert _open_files() == before


def test_a_name_can_be_used_again_and_starts_afresh(node, kept):
    def live():
        with kept.create("n1") as first:
            first.run(Path("/var/lib/state").write_text, "old")
            first.run(_add_bridge, "br0")
        kept.delete("n1")
        with kept.create("n1") as second:
            return second.run(_link_names), second.run(os.listdir, "/var/lib")

    assert node.run(live) == ({"lo"}, [])


def test_the_directories_of_a_node_may_be_below_those_it_covers(node):
    """/var/lib/podnet/nodes/n1/var-lib becomes the /var/lib of n1."""
    found = Nodes(Path("/run/podnet/nodes"), Path("/var/lib/podnet/nodes"))

    def live():
        with found.create("n1") as made:
            made.run(Path("/var/lib/state").write_text, "kept")
            inside = made.run(os.listdir, "/var/lib")
        on_disk = [path.name for path in Path("/var/lib/podnet/nodes/n1/var-lib").iterdir()]
        found.delete("n1")
        return inside, on_disk

    assert node.run(live) == (["state"], ["state"])
