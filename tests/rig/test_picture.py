"""A picture of a Node has everything in it that a plugin could leave, and nothing of chance."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from podnet.kernel.facts import Fact, stated
from podnet.node import Node
from podnet.nodes import Nodes
from podnet.rig import picture
from podnet.rig.picture import Frame, difference

# What is done, and what has then come, in words.
DONE = {
    "a namespace": ("ip netns add a", {"namespace /run/netns/a"}),
    "a mount": ("mkdir /run/m; mount -t tmpfs none /run/m", {"mount tmpfs /run/m"}),
    "a file": ("echo 10.1.0.2 > /var/lib/lease", {"file /var/lib/lease"}),
    "a link": ("ip link add v0 type veth peer name v1", {"link v0", "link v1"}),
    "a socket": (
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/run/s\")'",
        {"file /run/s"},
    ),
}


def run(node: Node, script: str) -> str:
    done = node.run(
        subprocess.run, ["sh", "-ec", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@pytest.mark.root
@pytest.mark.parametrize("what", DONE)
def test_what_came_is_seen(node: Node, what: str) -> None:
    script, expected = DONE[what]
    before = picture.take(node)

    run(node, script)
    found = difference(before, picture.take(node))

    assert expected <= {str(fact) for fact in found.added}
    assert not found.removed


@pytest.mark.root
def test_a_process_and_the_lock_that_it_holds_are_seen_until_it_ends(node: Node) -> None:
    before = picture.take(node)
    # The shell that starts it ends first: so it is with what a plugin leaves running.
    pid = int(
        run(
            node,
            "exec 9>/run/l; flock 9; sleep 60 >/dev/null 2>&1 & echo $!",
        )
    )
    try:
        running = difference(before, picture.take(node))
    finally:
        os.kill(pid, signal.SIGKILL)

    assert {str(fact) for fact in running.added} == {
        "file /run/l",
        "lock flock write /run/l",
        f"process sleep 60 (pid {pid})",
    }


@pytest.mark.root
def test_what_is_in_a_pod_is_told_with_its_place(node: Node) -> None:
    run(node, "ip netns add a; ip netns add b")
    before = picture.take(node)

    run(node, "ip -n a link add v0 type veth peer name v1; ip -n b link set lo mtu 2000")
    found = difference(before, picture.take(node))

    assert {(f.where, str(f)) for f in found.added} == {
        ("/run/netns/a", "link v0"),
        ("/run/netns/a", "link v1"),
    }
    (change,) = found.changed
    assert change.after.where == "/run/netns/b"
    assert change.attributes == {"mtu": (65536, 2000)}


@pytest.mark.root
def test_a_namespace_that_is_pinned_twice_is_looked_into_once(node: Node) -> None:
    run(node, "ip netns add a; touch /run/netns/b; mount --bind /run/netns/a /run/netns/b")

    found = picture.take(node)

    inside = {fact.where for fact in found if fact.kind == "link"}
    assert inside == {picture.NODE, "/run/netns/a"}
    assert Fact("namespace", "/run/netns/b", where=picture.NODE) in found


@pytest.mark.root
def test_nobody_looks_into_the_nodes_of_others_or_sees_them_go(tmp_path: Path) -> None:
    """A Node begins with copies of the pins of all Nodes that there are."""
    others = tmp_path / "pins"
    with Node.in_memory("outer") as outer:
        made = outer.run(Nodes(others, tmp_path / "disks").create, "other")
        inner = outer.run(Node.in_memory, "inner")
        with inner, made:
            before = picture.take(inner)
            assert others.name in str(inner.run(Path("/proc/thread-self/mountinfo").read_text))

            run(made, "ip link add there type bridge")
            while_there = difference(before, picture.take(inner))
            outer.run(Nodes(others, tmp_path / "disks").delete, "other")
            when_gone = difference(before, picture.take(inner))

    assert not while_there
    assert not when_gone


@pytest.mark.root
def test_only_the_frame_is_looked_at(node: Node, tmp_path: Path) -> None:
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "f").write_text("x" * 1000)
    (tmp_path / "seen" / "link").symlink_to("f")
    (tmp_path / "seen" / "own").mkdir()
    (tmp_path / "seen" / "own" / "f").touch()
    frame = Frame(
        directories=(str(tmp_path / "seen"), str(tmp_path / "missing")),
        ignored=(str(tmp_path / "seen" / "own"),),
    )

    found = {f.key: f for f in picture.take(node, frame) if f.kind == "file"}

    assert set(found) == {str(tmp_path / "seen" / name) for name in ("f", "link")}
    assert found[str(tmp_path / "seen" / "link")].get("target") == "f"
    assert str(found[str(tmp_path / "seen" / "f")].get("content")).startswith("sha256 ")


@pytest.mark.root
def test_podnets_own_pods_and_processes_are_in_no_picture_but_their_namespaces(node: Node) -> None:
    own = node.run(subprocess.Popen, ["sleep", "60"])
    try:
        found = {fact.kind for fact in picture.take(node)}
    finally:
        own.kill()
        own.wait()

    assert "process" not in found


def test_a_difference_tells_what_came_what_went_and_what_is_not_as_it_was() -> None:
    gone, same = Fact("link", "gone", where="node"), Fact("link", "same", where="node")
    old = Fact("link", "eth0", stated(mtu=1500, up=True), "node")
    new = Fact("link", "eth0", stated(mtu=1400, up=True, alias="x"), "node")
    came = Fact("link", "came", where="node")

    found = difference(frozenset({gone, same, old}), frozenset({same, new, came}))

    assert found.added == (came,)
    assert found.removed == (gone,)
    assert [c.attributes for c in found.changed] == [{"mtu": (1500, 1400), "alias": (None, "x")}]
    assert found
    assert not difference(frozenset({same}), frozenset({same}))


def test_what_is_inside_a_namespace_that_came_or_went_is_not_told_one_by_one() -> None:
    node, inside = Fact("link", "lo", where="node"), Fact("link", "eth0", where="/run/netns/a")
    pin = Fact("namespace", "/run/netns/a", where="node")

    found = difference(frozenset({node}), frozenset({node, inside, pin}))

    assert found.added == (pin,)
    assert difference(frozenset({node, inside, pin}), frozenset({node})).removed == (pin,)
