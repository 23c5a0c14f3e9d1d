"""Network namespaces: made, named, told apart, entered and left, by threads of a Node."""

import errno
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from podnet.cni.errors import CniError
from podnet.errors import MissingError, PodnetError
from podnet.kernel import links, namespaces
from podnet.kernel.namespaces import OWN, identity
from podnet.kernel.netlink import Netlink
from podnet.node import Node

POD = Path("/run/netns/pod")


def _links_there(path: Path) -> dict[str, bool]:
    with namespaces.entered(str(path)), Netlink() as netlink:
        return {link.name: link.up for link in links.every(netlink)}


def test_a_new_namespace_has_lo_and_it_is_up(node):
    node.run(namespaces.create, POD)

    assert node.run(_links_there, POD) == {"lo": True}


def test_a_new_namespace_is_not_the_one_that_made_it(node):
    node.run(namespaces.create, POD)

    assert node.run(identity, str(POD)) != node.run(identity, OWN)


def test_a_namespace_is_known_to_ip_netns(node):
    node.run(namespaces.create, POD)

    listed = node.run(subprocess.check_output, ["ip", "netns", "list"], text=True)

    assert listed.split()[0] == "pod"


def test_a_taken_path_is_refused_and_left_alone(node):
    node.run(namespaces.create, POD)
    before = node.run(identity, str(POD))

    with pytest.raises(PodnetError, match=r"^/run/netns/pod exists already"):
        node.run(namespaces.create, POD)

    assert node.run(identity, str(POD)) == before


def test_a_namespace_that_cannot_be_made_leaves_no_file(node, monkeypatch):
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("podnet.kernel.libc.mount", refuse)

    with pytest.raises(MissingError, match="no permission to make a network namespace") as raised:
        node.run(namespaces.create, POD)

    assert "podnet.rootless.become_root()" in raised.value.hint
    assert not node.run(os.path.lexists, POD)


def test_delete_removes_the_file_and_may_be_repeated(node):
    node.run(namespaces.create, POD)

    node.run(namespaces.delete, POD)
    node.run(namespaces.delete, POD)

    assert not node.run(os.path.lexists, POD)


def test_delete_unpins_a_namespace_that_is_mounted_twice(node):
    node.run(namespaces.create, POD)
    node.run(subprocess.check_call, ["mount", "--bind", str(POD), str(POD)])

    node.run(namespaces.delete, POD)

    assert not node.run(os.path.lexists, POD)


def test_delete_removes_a_plain_file_that_a_crash_left(node):
    node.run(os.makedirs, POD.parent)
    node.run(POD.touch)

    node.run(namespaces.delete, POD)

    assert not node.run(os.path.lexists, POD)


def test_a_path_can_be_used_again_after_delete(node):
    for _ in range(3):
        node.run(namespaces.create, POD)
        node.run(namespaces.delete, POD)

    node.run(namespaces.create, POD)

    assert node.run(_links_there, POD) == {"lo": True}


# What can be somebody's CNI_NETNS


def test_another_namespace_passes_the_check(node):
    node.run(namespaces.create, POD)

    node.run(namespaces.check, str(POD))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/run/netns/gone", "there is no network namespace /run/netns/gone"),
        ("/etc/passwd", "/etc/passwd is not a network namespace"),
        ("/proc/self/stat", "/proc/self/stat is not a network namespace"),
        ("/proc/self/ns/uts", "/proc/self/ns/uts is not a network namespace"),
        (OWN, f"{OWN} is podnet's own network namespace"),
    ],
)
def test_a_path_that_is_missing_or_no_namespace_or_our_own_is_code_8(node, path, text):
    with pytest.raises(CniError) as raised:
        node.run(namespaces.check, path)

    assert (raised.value.code, raised.value.msg) == (8, text)


def test_our_own_namespace_is_recognised_by_any_name(node):
    def check_own_under_another_name():
        POD.parent.mkdir()
        POD.touch()
        subprocess.check_call(["mount", "--bind", OWN, str(POD)])
        namespaces.check(str(POD))

    with pytest.raises(CniError, match="own network namespace"):
        node.run(check_own_under_another_name)


def test_only_files_of_nsfs_are_namespaces(node):
    node.run(namespaces.create, POD)

    def answers():
        return [
            namespaces.is_namespace(path)
            for path in (str(POD), OWN, "/etc/passwd", "/proc/self/stat", "/run", "/gone")
        ]

    assert node.run(answers) == [True, True, False, False, False, False]


# Entering and leaving


def test_a_thread_of_a_node_is_back_in_the_node_after_entering_a_pod(node):
    """/proc/self is the main thread's: going back to what it says would leave the Node."""
    node.run(namespaces.create, POD)

    def visit():
        before = identity(OWN)
        with namespaces.entered(str(POD)):
            inside = identity(OWN)
        return before, inside, identity(OWN), identity(str(POD))

    before, inside, after, pod = node.run(visit)

    assert inside == pod
    assert before == after != identity(OWN)


def test_a_thread_is_back_after_an_exception(node):
    node.run(namespaces.create, POD)

    def visit():
        before = identity(OWN)
        with suppress(ZeroDivisionError), namespaces.entered(str(POD)):
            raise ZeroDivisionError
        return before == identity(OWN)

    assert node.run(visit)


def test_visits_may_be_nested(node):
    other = POD.with_name("other")
    for path in (POD, other):
        node.run(namespaces.create, path)

    def visit():
        with namespaces.entered(str(POD)):
            with namespaces.entered(str(other)):
                inner = identity(OWN)
            return inner, identity(OWN)

    expected = node.run(identity, str(other)), node.run(identity, str(POD))

    assert node.run(visit) == expected


def test_no_thread_of_a_node_ever_leaves_it(node):
    """All of its threads, busy entering pods and failing to, are where they were."""
    for number in range(4):
        node.run(namespaces.create, POD.with_name(f"pod{number}"))
    home, host = node.run(identity, OWN), identity(OWN)
    together = threading.Barrier(8, timeout=20)

    def work(number):
        together.wait()  # eight threads of the pool, not one eight times
        for turn in range(25):
            path = POD.with_name(f"pod{(number + turn) % 5}")  # pod4 does not exist
            with suppress(FileNotFoundError), namespaces.entered(str(path)):
                assert identity(OWN) == identity(str(path))
        return threading.get_ident(), identity(OWN)

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda number: node.run(work, number), range(8)))

    assert len({thread for thread, _ in seen}) == 8
    assert {where for _, where in seen} == {home}
    assert home != host


def test_entering_what_is_not_there_changes_nothing(node):
    def visit():
        before = identity(OWN)
        with suppress(FileNotFoundError), namespaces.entered("/run/netns/gone"):
            pass
        with suppress(OSError), namespaces.entered("/etc/passwd"):
            pass
        return before == identity(OWN)

    assert node.run(visit)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_visit_leaks_no_descriptor(node):
    node.run(namespaces.create, POD)

    def visit():
        before = _open_files()
        for _ in range(20):
            with namespaces.entered(str(POD)):
                pass
        return _open_files() - before

    assert node.run(visit) == 0


# A thread of its own


def test_in_thread_returns_what_the_function_returns():
    assert namespaces.in_thread(divmod, 7, 2) == (3, 1)
    assert namespaces.in_thread(dict, a=1) == {"a": 1}


def test_in_thread_raises_what_the_function_raises():
    def fail() -> None:
        raise KeyError("from the thread")

    with pytest.raises(KeyError, match="from the thread"):
        namespaces.in_thread(fail)


def test_in_thread_passes_even_a_keyboard_interrupt_on():
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        namespaces.in_thread(interrupt)


def test_what_in_thread_does_to_its_namespace_stays_there(node):
    def unshare_in_thread():
        from podnet.kernel import libc  # noqa: PLC0415

        before = identity(OWN)

        def leave():
            libc.unshare(libc.CLONE_NEWNET)
            return identity(OWN)

        return before, namespaces.in_thread(leave), identity(OWN)

    before, left, after = node.run(unshare_in_thread)

    assert before == after != left


# A process that becomes a command


def _execute_in(node: Node, *command: str) -> "subprocess.CompletedProcess[str]":
    script = (
        "import sys; from pathlib import Path; from podnet.kernel import namespaces; "
        "namespaces.execute_in(Path(sys.argv[1]), sys.argv[2:])"
    )
    return node.run(
        subprocess.run,
        [sys.executable, "-c", script, str(POD), *command],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_command_is_executed_in_the_pod_with_a_sys_that_shows_it(node):
    node.run(namespaces.create, POD)
    node.run(subprocess.check_call, ["ip", "link", "add", "br0", "type", "bridge"])

    done = _execute_in(node, "sh", "-c", "ls /sys/class/net; readlink /proc/self/ns/net; exit 3")

    inode = node.run(identity, str(POD))[1]
    assert (done.stdout, done.returncode) == (f"lo\nnet:[{inode}]\n", 3)


def test_what_a_command_mounts_is_its_own(node):
    node.run(namespaces.create, POD)

    _execute_in(node, "mount", "-t", "tmpfs", "none", "/srv")

    assert not node.run(os.path.ismount, "/srv")


@pytest.mark.root
def test_a_namespace_that_was_there_before_ip_netns_can_be_removed_after_it(node):
    """`ip netns` binds /run/netns onto itself, unless somebody has done so before."""
    path = Path("/run/netns/web")
    node.run(namespaces.create, path)
    node.run(subprocess.run, ["ip", "netns", "add", "other"], check=True)

    node.run(namespaces.delete, path)

    assert not node.run(path.exists)
