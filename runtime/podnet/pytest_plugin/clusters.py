"""Clusters of Nodes with network managers, on a machine of the test's own."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from podnet import confdir, places
from podnet.cluster import matrix
from podnet.cluster.clusters import Clusters
from podnet.cluster.matrix import Cell
from podnet.cluster.record import BACKENDS, IPV6_NETWORK, Cluster, Member, Store
from podnet.node import Node
from podnet.nodes import Nodes
from podnet.pod import Pod
from podnet.pods import Pods
from podnet.pytest_plugin.trial import Trial
from podnet.wishes import PodWish, Wish, planned

_NET_D = Path("/etc/cni/net.d")
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class ClusterOnTest:
    """A cluster that is up.

    Attributes:
        machine: The Node that its Nodes are made on: `podnet` works there with `machine.run`.
        nodes: Its Nodes, as they were made; one that is rebooted is another one.
        clusters: The machine's clusters, for `podnet.cluster.faults`.
    """

    machine: Node
    nodes: tuple[Node, ...]
    clusters: Clusters

    def fault(self, fault: Callable[..., None], node: str, **more: object) -> None:
        """Let something happen to a Node: `fault(faults.impair, "n2", loss=10)`."""
        self.machine.run(fault, self.clusters, node, **more)

    def create(self, node: Node, name: str = "web") -> Pod:
        """Make a pod on a Node, on the cluster's network; as `podnet create` does."""
        return node.run(_create, name)

    def probe(self, *, timeout: float = 3.0) -> list[Cell]:
        """Try every way from every Node and pod to every pod."""
        with ExitStack() as stack:
            return matrix.probe(matrix.ends(stack, self.nodes), timeout=timeout)

    def unreached(self) -> list[str]:
        """Return what does not come through, in sentences; nothing when everybody is reached."""
        return [
            f"{cell.source} -> {cell.target} ({cell.address}) {cell.way}: {cell.outcome.reason}"
            for cell in self.probe()
            if not cell.outcome.reached
        ]


def _create(name: str) -> Pod:
    where = places.resolve({})
    network = confdir.scan(_NET_D).default().network
    wish = PodWish(name=name, networks=[Wish(network=network)])
    return Pods(places=where).create(planned(wish, where))


@dataclass(slots=True)
class Maker:
    """Makes clusters, which are gone with the test."""

    own: Trial
    stack: ExitStack

    def __call__(
        self,
        *,
        nodes: int = 2,
        backend: str = BACKENDS[0],
        dual_stack: bool = False,
        store: str = Store.SQLITE,
    ) -> ClusterOnTest:
        """Make a cluster, and wait until its managers are ready.

        Args:
            nodes: How many Nodes.
            backend: How packets travel: vxlan, host-gw, alloc.
            dual_stack: Pods have IPv6 addresses, too.
            store: Where leases are: sqlite or etcd.
        """
        wish = Cluster(
            members=tuple(Member(name=f"n{n}", number=n) for n in range(1, nodes + 1)),
            backend={"Type": backend},
            store=Store(store),
            ipv6_network=IPV6_NETWORK if dual_stack else "",
        )
        machine = self.stack.enter_context(Node.in_memory("machine"))
        where = places.resolve({})
        here = Nodes(where.run / "nodes", where.state / "nodes")
        known = Clusters(here, where.state / "clusters", owner=os.getpid())
        machine.run(known.up, wish, patience=_PATIENCE)
        self.stack.callback(machine.run, known.down, wish.name)
        opened = [machine.run(here.open, one.name) for one in wish.members]
        for node in opened:
            self.stack.enter_context(node)
            self.own.nodes[node] = None
            self.stack.callback(self.own.nodes.pop, node)
        return ClusterOnTest(machine, tuple(opened), known)
