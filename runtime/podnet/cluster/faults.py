"""What breaks a cluster, and mends it again: links, managers, the store, leases, whole Nodes.

Every fault is a function of the clusters and a Node's name, the same for the command line,
for the steps of a file and for a test.  Where a Node's process is meant, that is its manager;
of the store's Node (``@store``) it is etcd.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from podnet.cluster import clusters as room
from podnet.cluster import etcd, managers, underlay
from podnet.cluster.clusters import Clusters
from podnet.cluster.record import Cluster, Member
from podnet.errors import PodnetError, UsageError

_GLANCE = 0.01
_PATIENCE = 5.0


def cut(clusters: Clusters, node: str) -> None:
    """Cut a Node's link to the others.

    Raises:
        UsageError: The Node is in no cluster.
    """
    cluster, member = clusters.of(node)
    with clusters.nodes.open(cluster.underlay) as below:
        underlay.cut(below, member.number)


def restore(clusters: Clusters, node: str) -> None:
    """Restore a link that was cut.

    Raises:
        UsageError: The Node is in no cluster.
    """
    cluster, member = clusters.of(node)
    with clusters.nodes.open(cluster.underlay) as below:
        underlay.restore(below, cluster.shape, member.number)


def stop(clusters: Clusters, node: str) -> None:
    """End a Node's process by SIGTERM, and wait for it.

    Raises:
        UsageError: None runs.
        PodnetError: It does not end.
    """
    _end(clusters, node, signal.SIGTERM)


def kill(clusters: Clusters, node: str) -> None:
    """End a Node's process by SIGKILL.

    Raises:
        UsageError: None runs.
    """
    _end(clusters, node, signal.SIGKILL)


def freeze(clusters: Clusters, node: str) -> None:
    """Let a Node's process sleep, as on a machine without power to its processors.

    Raises:
        UsageError: None runs.
    """
    _signal(clusters, node, signal.SIGSTOP)


def thaw(clusters: Clusters, node: str) -> None:
    """Let a frozen process go on.

    Raises:
        UsageError: None runs.
    """
    _signal(clusters, node, signal.SIGCONT)


def start(clusters: Clusters, node: str, *, patience: float = 60.0) -> None:
    """Start a Node's process again, and wait until it is ready.

    Raises:
        UsageError: It runs already, or the Node is in no cluster.
        TimedOutError: It does not become ready.
    """
    cluster, member = clusters.of(node)
    deadline = time.monotonic() + patience
    with clusters.nodes.open(member.name) as opened:
        if opened.run(_finder(cluster, member)):
            raise UsageError(f"{_name(cluster, member)} runs already")
        if member.name == cluster.store_node:
            clusters.start_store(cluster, deadline)
        else:
            managers.start([opened], cluster.options)
            room.await_ready(cluster, [opened], deadline=deadline)


def restart(clusters: Clusters, node: str, *, patience: float = 60.0) -> None:
    """Stop a Node's process and start it again.

    Raises:
        UsageError: None runs.
        TimedOutError: It does not become ready.
    """
    stop(clusters, node)
    start(clusters, node, patience=patience)


def _signal(clusters: Clusters, node: str, number: int) -> tuple[str, list[int]]:
    cluster, member = clusters.of(node)
    name = _name(cluster, member)
    with clusters.nodes.open(member.name) as opened:
        pids = opened.run(_finder(cluster, member))
    if not pids:
        raise UsageError(f"{name} does not run", f"podnet cluster start {node}")
    for pid in pids:
        with suppress(ProcessLookupError):  # it was faster
            os.kill(pid, number)
    return name, pids


def _end(clusters: Clusters, node: str, number: int) -> None:
    name, pids = _signal(clusters, node, number)
    deadline = time.monotonic() + _PATIENCE
    while any(_is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            raise PodnetError(f"{name} does not end: {pids}", "podnet cluster kill does not ask")
        time.sleep(_GLANCE)


def _is_alive(pid: int) -> bool:
    with suppress(ChildProcessError):  # somebody else started it
        os.waitpid(pid, os.WNOHANG)
    return Path(f"/proc/{pid}/root").exists()  # a zombie has none


def _finder(cluster: Cluster, member: Member) -> Callable[[], list[int]]:
    return etcd.running if member.name == cluster.store_node else managers.running


def _name(cluster: Cluster, member: Member) -> str:
    store = member.name == cluster.store_node
    return f"the etcd of cluster {cluster.name}" if store else f"the manager of Node {member.name}"
