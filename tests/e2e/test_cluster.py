"""Clusters as a person meets them: Nodes, managers and pods that reach each other; faults and repair."""

import time
from collections.abc import Callable
from typing import Any

import pytest


def podnet_probe(podnet: Any) -> Any:
    """Probe, whatever the exit status."""
    try:
        return podnet.json("probe", "--all")
    except AssertionError:
        return podnet.json("probe", "--all", status=1)


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
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
    podnet("cluster", "down")
    assert podnet.json("node", "list")["items"] == []
    assert sh("ip -br link; ip netns; grep -c nsfs /proc/self/mountinfo || true") == before


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
