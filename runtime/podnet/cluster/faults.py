"""What breaks a cluster, and mends it again: links, managers, the store, leases, whole Nodes.

Every fault is a function of the clusters and a Node's name, the same for the command line,
for the steps of a file and for a test.  Where a Node's process is meant, that is its manager;
of the store's Node (``@store``) it is etcd.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from podnet.cluster import etcd, impairment, making, managers, underlay, workload
from podnet.cluster.clusters import Clusters
from podnet.cluster.making import Say
from podnet.cluster.record import Cluster, Member
from podnet.errors import PodnetError, UsageError
from podnet.kernel import links, routes
from podnet.kernel.netlink import Netlink

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
        PodnetError: It ends instead: the error that it ended with.
    """
    cluster, member = clusters.of(node)
    deadline = time.monotonic() + patience
    with clusters.nodes.open(member.name) as opened:
        if opened.run(_finder(cluster, member)):
            raise UsageError(f"{_name(cluster, member)} runs already")
        if member.name == cluster.store_node:
            making.start_store(clusters.nodes, cluster, deadline)
        else:
            pids = managers.start([opened], cluster.options)
            making.await_ready(cluster, [opened], pids, deadline=deadline)


def restart(clusters: Clusters, node: str, *, patience: float = 60.0) -> None:
    """Stop a Node's process and start it again.

    Raises:
        UsageError: None runs.
        TimedOutError: It does not become ready.
    """
    stop(clusters, node)
    start(clusters, node, patience=patience)


def reboot(
    clusters: Clusters, node: str, *, patience: float = 60.0, say: Say = lambda _: None
) -> None:
    """Reboot a Node: its network, /run and processes are gone, then it comes back, and its pods.

    /var/lib is as it was.  Pods are made anew, as a kubelet does: what is on record of the old
    ones is cleaned up first.

    Raises:
        UsageError: The Node is in no cluster.
        PodnetError: It does not come back, or a pod does not.
    """
    cluster, member = clusters.of(node)
    with clusters.nodes.open(member.name) as before:
        pods = workload.living(before)
    with (
        clusters.nodes.reboot(member.name) as after,
        clusters.nodes.open(cluster.underlay) as below,
    ):
        underlay.unplug(below, member.number)
        making.join(cluster, below, after, member, clusters.shared(cluster))
        start(clusters, node, patience=patience)
        workload.revive(after, pods, say)


def unlink(clusters: Clusters, node: str, link: str) -> None:
    """Delete a link of a Node behind its manager's back.

    Raises:
        UsageError: The Node has no such link.
    """
    _, member = clusters.of(node)
    with clusters.nodes.open(member.name) as opened:
        if not opened.run(_unlink, link):
            raise UsageError(f"Node {member.name} has no link {link}")


def unroute(clusters: Clusters, node: str, to: str = "") -> None:
    """Delete a Node's routes to another Node's pods, or to everybody's, behind its manager's back.

    Raises:
        UsageError: There are none.
    """
    _, member = clusters.of(node)
    subnets = list[str]()
    if to:
        _, other = clusters.of(to)
        with clusters.nodes.open(other.name) as opened:
            subnets = opened.run(managers.subnets)
    with clusters.nodes.open(member.name) as opened:
        if not opened.run(_unroute, subnets):
            raise UsageError(f"Node {member.name} has no routes to {to or 'other Nodes'}")


def expire(clusters: Clusters, node: str) -> None:
    """Let a Node's lease end now, as if nobody had renewed it.

    Raises:
        UsageError: It has none.
    """
    _tamper(clusters, node, "expire")


def steal(clusters: Clusters, node: str) -> None:
    """Let somebody who does not exist write his address into a Node's lease.

    Raises:
        UsageError: It has none.
    """
    _tamper(clusters, node, "steal")


def advance(clusters: Clusters, node: str, seconds: float) -> None:
    """Set the clock by which a Node keeps leases ahead, once more; until it is rebooted.

    It renews its own lease then.  In SQLite, which has no clock of its own, it ends the leases
    of others that are over for it; etcd goes by its own clock.

    Raises:
        UsageError: The Node is in no cluster, or *seconds* are no number.
    """
    _, member = clusters.of(node)
    with clusters.nodes.open(member.name) as opened:
        opened.run(managers.advance, seconds)


def impair(clusters: Clusters, node: str, *, loss: float = 0, rate: int = 0) -> None:
    """Lose a part of a Node's packets, and let the others through only so fast.

    Args:
        clusters: The clusters of this machine.
        node: Whose link; both directions.
        loss: Percent of its packets.
        rate: Bits per second, 0 for any.

    Raises:
        UsageError: The Node is in no cluster.
        MissingError: The kernel cannot do it.
    """
    cluster, member = clusters.of(node)
    mend(clusters, node)
    with clusters.nodes.open(cluster.underlay) as below:
        below.run(impairment.put, underlay.port(member.number), loss=loss, rate=rate)
    if rate:
        with clusters.nodes.open(member.name) as opened:
            opened.run(impairment.put, underlay.UPLINK, loss=0.0, rate=rate)


def mend(clusters: Clusters, node: str) -> None:
    """Undo what impairs a Node's link.

    Raises:
        UsageError: The Node is in no cluster.
    """
    cluster, member = clusters.of(node)
    with clusters.nodes.open(cluster.underlay) as below:
        below.run(impairment.remove, underlay.port(member.number))
    with clusters.nodes.open(member.name) as opened:
        opened.run(impairment.remove, underlay.UPLINK)


def _unlink(link: str) -> bool:
    with Netlink() as netlink:
        return links.delete(netlink, link)


def _unroute(subnets: Sequence[str]) -> int:
    with Netlink() as netlink:
        there = [
            route
            for family in (4, 6)
            for route in routes.every(netlink, family, protocol=managers.ROUTES)
            if not subnets or str(route.dst) in subnets
        ]
        netlink.batch([routes.deleting(route) for route in there])
        return len(there)


def _tamper(clusters: Clusters, node: str, what: str) -> None:
    cluster, member = clusters.of(node)
    public = underlay.ends(cluster.shape, member.number).node[0].ip
    # Where the store is reached whatever was done to the Node.
    with clusters.nodes.open(cluster.store_node or member.name) as opened:
        refused = opened.run(managers.tamper, [what, str(public), *cluster.store_options])
    if refused:
        raise UsageError(f"the lease of Node {member.name} is as it was: {refused}")


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
    while any(managers.is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            raise PodnetError(f"{name} does not end: {pids}", "podnet cluster kill does not ask")
        time.sleep(_GLANCE)


def _finder(cluster: Cluster, member: Member) -> Callable[[], list[int]]:
    return etcd.running if member.name == cluster.store_node else managers.running


def _name(cluster: Cluster, member: Member) -> str:
    store = member.name == cluster.store_node
    return f"the etcd of cluster {cluster.name}" if store else f"the manager of Node {member.name}"


#: Those that need no more than a Node.
OF_A_NODE = (cut, restore, stop, kill, start, restart, freeze, thaw, reboot, expire, steal, mend)
