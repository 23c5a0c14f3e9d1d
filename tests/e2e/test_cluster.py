"""Clusters as a person meets them: Nodes, managers and pods that reach each other; faults and repair."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podnet.kernel import namespaces, worlds


def podnet_probe(podnet: Any) -> Any:
    """Probe, whatever the exit status."""
    try:
        return podnet.json("probe", "--all")
    except AssertionError:
        return podnet.json("probe", "--all", status=1)


NEEDS_BIRD = pytest.mark.skipif(not shutil.which("bird"), reason="bird: apt-get install bird2")


@pytest.mark.parametrize("backend", ["vxlan", "host-gw", pytest.param("bgp", marks=NEEDS_BIRD)])
def test_pods_of_all_nodes_reach_each_other_and_every_node(podnet, backend, sh) -> None:
    before = sh("ip -br link; ip netns; grep -c nsfs /proc/self/mountinfo || true")
    podnet("cluster", "up", "--backend", backend, "--dual-stack")
    for number in (1, 2, 3):
        podnet("--node", f"n{number}", "create", "web")

    cells = podnet.json("probe", "--all")["items"]

    # From three Nodes to three pods, from each pod to the other two and to every Node; each by
    # two addresses and four ways.
    assert len(cells) == (3 * 3 + 3 * 2 + 3 * 3) * 2 * 4
    assert {cell["way"] for cell in cells} == {"icmp", "mtu", "tcp", "udp"}
    assert {cell["reached"] for cell in cells} == {True}
    podnet("--node", "n1", "check")
    world = podnet("node", "exec", "n1", "--", "stat", "-Lc", "%d %i", "/proc/self/ns/uts")
    device, inode = map(int, world.stdout.split())
    assert worlds.processes((device, inode))
    podnet("cluster", "down")
    assert podnet.json("node", "list")["items"] == []
    assert sh("ip -br link; ip netns; grep -c nsfs /proc/self/mountinfo || true") == before
    assert not worlds.processes((device, inode))  # BIRD outlives its manager, and not its Node


def test_a_node_that_is_cut_off_is_missed_and_comes_back(podnet) -> None:
    podnet("cluster", "up", "--nodes", "2")
    for name in ("n1", "n2"):
        podnet("--node", name, "create", "web")

    podnet("cluster", "cut", "n2")
    printed = podnet("probe", "--all", "--wait", "0.3", status=1).stdout
    assert "n1/web -> n2/web" in printed
    podnet("cluster", "restore", "n2")

    _eventually(
        lambda: podnet_probe(podnet)["items"], lambda cells: all(c["reached"] for c in cells)
    )
    podnet("cluster", "down")


def _eventually(read: Callable[[], Any], right: Callable[[Any], bool]) -> None:
    deadline = time.monotonic() + 30
    while not right(found := read()):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_traffic_goes_on_without_a_manager_and_it_starts_again(podnet) -> None:
    podnet("cluster", "up", "--nodes", "2")
    for name in ("n1", "n2"):
        podnet("--node", name, "create", "web")

    podnet("cluster", "kill", "n1")
    assert all(cell["reached"] for cell in podnet.json("probe", "--all")["items"])
    assert "does not" in podnet.json("cluster", "inspect")["items"][0]["manager"]
    podnet("--node", "n1", "exec", "web", "--", "true")
    podnet("node", "exec", "n1", "--", "ip", "link", "del", "flannel.1")
    podnet("cluster", "start", "n1")

    assert [item["manager"] for item in podnet.json("cluster", "inspect")["items"]] == ["ready"] * 2
    _eventually(
        lambda: podnet_probe(podnet)["items"], lambda cells: all(c["reached"] for c in cells)
    )
    podnet("cluster", "start", "n1", status=2)
    podnet("cluster", "freeze", "n2")
    podnet("cluster", "thaw", "n2")
    podnet("cluster", "down")


def test_every_fault_is_a_command_and_says_what_makes_no_sense(podnet) -> None:
    podnet("cluster", "up", "--nodes", "2")

    podnet("cluster", "impair", "n1", "--loss", "1", "--rate", "10M")
    podnet("cluster", "mend", "n1", "n2")
    podnet("cluster", "unroute", "n1", "n2")
    podnet("cluster", "advance", "n1", "30000")
    podnet("cluster", "expire", "n2")

    for arguments, said in (
        (["impair", "n1"], "how?"),
        (["impair", "n1", "--rate", "fast"], "'fast' is not a rate"),
        (["unlink", "n1", "none"], "Node n1 has no link none"),
        (["reboot", "n9"], "Node n9 is in no cluster"),
    ):
        assert said in podnet("cluster", *arguments, status=2).stderr
    podnet("cluster", "down")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--backend", "udp"], "there is no backend udp"),
        (["up", "--nodes", "251"], "1 to 250"),
        (["up", "--name", "../x"], "cannot be called"),
        (["down", "other"], "there is no cluster other"),
        (["cut", "n9"], "is in no cluster"),
        (["inspect"], "there is no cluster"),
        (["kill", "@store"], "is in no cluster"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(podnet, arguments, said) -> None:
    assert said in podnet("cluster", *arguments, status=2).stderr
    assert podnet.json("cluster", "list")["items"] == []


def test_a_second_cluster_needs_a_name_and_has_nodes_of_its_own(podnet) -> None:
    podnet("cluster", "up", "--nodes", "1")

    podnet("cluster", "up", status=2)
    podnet("cluster", "up", "--name", "two", "--nodes", "1", "--backend", "alloc")

    listed = podnet.json("cluster", "list")["items"]
    assert {item["name"]: item["nodes"] for item in listed} == {
        "cluster": ["n1"],
        "two": ["two-n1"],
    }
    podnet("cluster", "down", "cluster", "two")
    assert podnet.json("node", "list")["items"] == []


def test_of_two_that_make_one_cluster_at_once_one_is_refused(podnet) -> None:
    first = podnet.start("cluster", "up", "--name", "one", "--nodes", "1")
    second = podnet.start("cluster", "up", "--name", "one", "--nodes", "1")

    said = [process.communicate(timeout=60)[1] for process in (first, second)]

    assert sorted(process.returncode for process in (first, second)) == [0, 2], said
    assert not any("Traceback" in str(text) for text in said), said
    assert podnet.json("node", "list")["items"] == [{"name": "one-n1"}, {"name": "one-underlay"}]
    podnet("cluster", "down", "one")
    assert podnet.json("cluster", "list")["items"] == []


def test_a_cluster_that_cannot_become_ready_is_taken_down_again(podnet) -> None:
    said = podnet("cluster", "up", "--nodes", "2", "--wait", "0.1", status=124).stderr

    assert "is not ready" in said
    assert podnet.json("cluster", "list")["items"] == []
    assert podnet.json("node", "list")["items"] == []


FILE = """
nodes: [{name: a, labels: {zone: west}}, {name: b}]
pods: [{name: web}]
steps:
  - probe:
  - cut: b
  - probe: {expect: not all}
  - restore: b
  - probe: {within: 30}
"""


def test_a_file_brings_up_a_cluster_and_its_pods_and_lets_things_happen(podnet, tmp_path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(FILE)

    said = podnet("cluster", "up", path).stderr

    assert said.index("2 pods in") < said.index("cluster cluster is ready")
    assert said.index("step 2: cut b") < said.index("step 5: probe") < said.rindex("probes came")
    items = podnet.json("cluster", "inspect")["items"]
    assert [item["labels"] for item in items] == [{"zone": "west"}, {}]
    assert [pod["name"] for pod in podnet.json("--node", "b", "list")["items"]] == ["web"]

    path.write_text(FILE.partition("steps:")[0] + "steps: [{cut: b}, {probe: {within: 0}}]\n")
    said = podnet("cluster", "play", path, status=1).stderr
    assert "error: step 2, probe 0: " in said
    assert "did not come back" in said
    podnet("cluster", "up", path, "--nodes", "2", status=2)
    podnet("cluster", "down")


def test_a_mistake_in_a_file_is_told_with_its_place_and_nothing_is_made(podnet, tmp_path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("nodes: 2\nbakend: vxlan\n")

    said = podnet("cluster", "up", path, status=2).stderr

    assert f"{path}:2:1: a cluster's file has no key bakend" in said
    assert podnet.json("node", "list")["items"] == []
    assert json.loads(podnet("cluster", "schema").stdout)["title"] == "podnet cluster"


def test_a_store_without_its_program_is_missing_and_nothing_is_left(podnet, tmp_path) -> None:
    said = podnet("cluster", "up", "--store", "etcd", status=7, env={"PATH": str(tmp_path)}).stderr

    assert "apt-get install etcd-server" in said
    assert podnet.json("cluster", "list")["items"] == []
    assert podnet.json("node", "list")["items"] == []


def test_gc_removes_a_cluster_whose_up_was_killed_and_no_other(podnet, node) -> None:
    podnet("cluster", "up", "--name", "whole", "--nodes", "1")
    up = podnet.start("cluster", "up", "--name", "half", "--nodes", "30")
    _eventually(lambda: node.run(_nodes), lambda names: "half-n2" in names)
    up.kill()
    up.communicate()

    states = {item["name"]: item["state"] for item in podnet.json("cluster", "list")["items"]}
    assert states == {"half": "unfinished", "whole": "made"}
    draft = Path("/var/lib/podnet/clusters/.third.0123")
    node.run(draft.mkdir)
    node.run(os.utime, draft, (0, 0))

    assert "removed cluster half (it was not made to its end)" in podnet("gc").stdout
    assert not node.run(draft.exists)
    assert [item["name"] for item in podnet.json("cluster", "list")["items"]] == ["whole"]
    assert set(node.run(_nodes)) == {"whole-n1", "whole-underlay"}
    assert "nothing to remove" in podnet("gc").stderr
    podnet("cluster", "down", "whole")


def _nodes() -> list[str]:
    directory = Path("/run/podnet/nodes")
    return [path.name for path in directory.iterdir()] if directory.is_dir() else []


def test_a_cluster_ends_with_the_process_that_it_was_made_for(podnet, node) -> None:
    owner = subprocess.Popen(["sleep", "1000"])
    environment = {"PODNET_OWNER": str(owner.pid)}
    podnet("cluster", "up", "--nodes", "1", "--store", "etcd", env=environment)
    inside = node.run(_inside, "n1", "cluster-store")
    assert len(inside) == 2

    owner.kill()
    owner.wait()

    _eventually(lambda: podnet.json("cluster", "list")["items"], lambda items: items == [])
    assert node.run(_nodes) == []
    assert [pid for pid in inside if Path(f"/proc/{pid}/root").exists()] == []


def _inside(*names: str) -> list[int]:
    """Return the processes of some Nodes."""
    pins = [f"/run/podnet/nodes/{name}/uts" for name in names]
    return worlds.processes(*map(namespaces.identity, pins))
