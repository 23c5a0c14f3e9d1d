"""A cluster made as its record says: its Nodes, what joins them, its store and its managers.

Undoes nothing, and writes no record: that is :mod:`podnet.cluster.clusters`'.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from podnet import files
from podnet.cluster import etcd, managers, record, underlay
from podnet.cluster.record import SHARED, Cluster, Member
from podnet.errors import TimedOutError
from podnet.kernel import worlds
from podnet.node import Node
from podnet.nodes import Nodes

_CONF = Path("/etc/cni/net.d/10-cluster.conflist")
_AT_ONCE = 4
Say = Callable[[str], None]


def build(nodes: Nodes, cluster: Cluster, shared: Path, say: Say) -> None:
    """Make the Nodes of a cluster, joined, with what a manager and a runtime find on them."""
    files.write(shared / "net-conf.json", json.dumps(cluster.net_conf()).encode())
    began = time.monotonic()
    with nodes.create(cluster.underlay) as below:
        below.run(underlay.build, cluster.shape)

        def make(member: Member) -> None:
            with nodes.create(member.name) as node:
                join(cluster, below, node, member, shared)

        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            list(pool.map(make, everyone(cluster)))
    say(f"{len(cluster.members)} Nodes in {time.monotonic() - began:.2f} s")


def start(
    nodes: Nodes, cluster: Cluster, fleet: managers.Fleet, *, deadline: float, say: Say
) -> None:
    """Start the store and the managers of a cluster, and wait until all of them are ready.

    Args:
        nodes: The Nodes of this machine.
        cluster: What was built.
        fleet: Forks managers.
        deadline: By the monotonic clock.
        say: Is told how long it took.

    Raises:
        TimedOutError: One is not ready in time.
        PodnetError: One has ended, or cannot be started.
    """
    began = time.monotonic()
    if cluster.store_node:
        start_store(nodes, cluster, deadline)
        say(f"etcd in {time.monotonic() - began:.2f} s")
        began = time.monotonic()
    with opened(nodes, cluster) as members:
        pids = [fleet.start(node, cluster.options) for node in members]
        await_ready(cluster, members, pids, peers=len(members) - 1, deadline=deadline)
    say(f"managers ready in {time.monotonic() - began:.2f} s")


def start_store(nodes: Nodes, cluster: Cluster, deadline: float) -> None:
    """Start the etcd of a cluster, and wait until it serves.

    Raises:
        MissingError: There is no etcd program.
        TimedOutError: It does not serve in time.
    """
    address = store_address(cluster)
    with nodes.open(cluster.store_node) as node:
        node.run(etcd.start, address)
        reason = node.run(etcd.await_ready, address, deadline)
        hint = node.run(etcd.log_tail) if reason else ""
    if reason:
        raise TimedOutError(f"the etcd of cluster {cluster.name} is not ready: {reason}", hint)


@contextmanager
def opened(nodes: Nodes, cluster: Cluster) -> Iterator[list[Node]]:
    """Open the Nodes that pods can be on."""
    with ExitStack() as stack:
        yield [stack.enter_context(nodes.open(member.name)) for member in cluster.members]


def everyone(cluster: Cluster) -> list[Member]:
    """Return all who are joined to a cluster's underlay."""
    store = cluster.member(record.STORE)
    return [*([store] if store else []), *cluster.members]


def join(cluster: Cluster, below: Node, node: Node, member: Member, shared: Path) -> None:
    """Join a Node to a cluster's underlay, and give it what a manager and a runtime look for."""
    versions = (4, 6) if cluster.ipv6_network else (4,)
    others = {one.number: versions for one in everyone(cluster) if one.number != member.number}
    underlay.join(below, node, cluster.shape, member.number, others)
    tree = worlds.shown(shared)
    try:
        node.run(worlds.show, tree, SHARED)
    finally:
        os.close(tree)
    node.run(_write, _CONF, json.dumps(cluster.conflist, indent=2))


def await_ready(
    cluster: Cluster,
    nodes: Sequence[Node],
    pids: Sequence[int] = (),
    *,
    deadline: float,
    peers: int | None = None,
) -> None:
    """Wait until the managers of some Nodes are ready, and know so many peers.

    Args:
        cluster: The cluster.
        nodes: The Nodes.
        pids: Their managers' processes: who has ended is not waited for.
        deadline: By the monotonic clock.
        peers: How many; ``None`` for any number.

    Raises:
        TimedOutError: One is not.
        PodnetError: One has ended: the error that it ended with.
    """
    for node, pid in zip(nodes, pids or [0] * len(nodes), strict=True):
        reason = node.run(managers.await_ready, peers, deadline, pid)
        if reason and pid and not managers.is_alive(pid):
            kind, said = node.run(managers.last_words)
            message, _, hint = said.partition("\n")
            raise kind(f"the manager of Node {node.name} has ended: {message}", hint.strip())
        if reason:
            message = f"the manager of Node {node.name} is not ready: {reason}"
            hint = node.run(managers.log_tail)
            raise TimedOutError(f"{message} (cluster {cluster.name})", hint)


def store_address(cluster: Cluster) -> str:
    """Return the address of a cluster's etcd."""
    return str(underlay.ends(cluster.shape, underlay.STORE_NUMBER).node[0].ip)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
