"""Clusters in a test's Node, without the command line: made in half a second."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import pytest

from podnet.cluster import etcd, managers, matrix, workload
from podnet.cluster.clusters import OWNER, Clusters, inspect
from podnet.cluster.record import Cluster, numbered
from podnet.cluster.workload import PodOn
from podnet.node import Node

_PATIENCE = 30.0


@dataclass(slots=True)
class Lab:
    """A machine for clusters: a Node in memory.

    Attributes:
        node: The machine.
        clusters: Its clusters.
    """

    node: Node
    clusters: Clusters

    def up(self, count: int = 2, *, pods: tuple[str, ...] = ("web",), **more: Any) -> Cluster:
        """Make a cluster with pods on each Node."""
        cluster = Cluster(members=numbered("cluster", count), **more)
        self.node.run(self.clusters.up, cluster, patience=60)
        self.create(*(PodOn(node=m.name, name=pod) for m in cluster.members for pod in pods))
        return cluster

    def create(self, *wanted: PodOn) -> None:
        """Make pods."""

        def make() -> None:
            with self.clusters.opened(self.clusters.load("cluster")) as nodes:
                workload.create(nodes, wanted)

        self.node.run(make)

    def do(self, fault: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        """Do something to the clusters."""
        return self.node.run(fault, self.clusters, *arguments, **more)

    def missing(self, *, timeout: float = 1.0) -> list[str]:
        """Return the probes that do not come back."""

        def probe() -> list[matrix.Cell]:
            with ExitStack() as stack:
                cluster = self.clusters.load("cluster")
                members = stack.enter_context(self.clusters.opened(cluster))
                return matrix.probe(matrix.ends(stack, members), timeout=timeout)

        cells = self.node.run(probe)
        assert cells
        return [f"{c.source} {c.target} {c.way}" for c in cells if not c.outcome.reached]

    def inspect(self) -> dict[str, dict[str, Any]]:
        """Return how each Node is, by its name."""
        return {str(item["name"]): item for item in self.do(inspect, "cluster")}

    def sh(self, name: str, script: str) -> str:
        """Run a shell script on a Node of the cluster; "" is the machine itself."""

        def run() -> str:
            if not name:
                return _sh(script)
            with self.clusters.nodes.open(name) as opened:
                return opened.run(_sh, script)

        return self.node.run(run)

    def routes(self, name: str) -> dict[str, str]:
        """Return a Node's routes to others: destination to gateway."""
        shown = json.loads(self.sh(name, "ip -j route show proto 109") or "[]")
        return {route["dst"]: route["gateway"] for route in shown}

    def metrics(self, name: str) -> dict[str, float]:
        """Return what a Node's manager counts."""

        def ask() -> str:
            with self.clusters.nodes.open(name) as opened:
                return opened.run(managers.ask, "/metrics")[1]

        lines = [line.split() for line in self.node.run(ask).splitlines() if line[0] != "#"]
        return {key.removeprefix("podnet_manager_"): float(value) for key, value in lines}

    def etcd(self, method: str, path: str, body: object = None) -> str:
        """Ask the cluster's etcd."""

        def ask() -> str:
            with closing(HTTPConnection("100.64.1.255", etcd.PORT, timeout=10)) as connection:
                connection.request(method, path, json.dumps(body) if body else None)
                return connection.getresponse().read().decode()

        def inside() -> str:
            with self.clusters.nodes.open("cluster-store") as opened:
                return opened.run(ask)

        return self.node.run(inside)

    def etcd_requests(self) -> int:
        """Return how many requests the cluster's etcd has had."""
        shown = self.etcd("GET", "/metrics")
        started = re.findall(r"^grpc_server_started_total{.*} (\S+)$", shown, re.MULTILINE)
        return int(sum(map(float, started)))

    def eventually(self, read: Callable[[], Any], right: Callable[[Any], object]) -> Any:
        """Wait until what is read is right, and return it."""
        deadline = time.monotonic() + _PATIENCE
        while not right(found := read()):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found


def _sh(script: str) -> str:
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script}: {done.stderr}"
    return done.stdout


@pytest.fixture
def lab(node: Node) -> Iterator[Lab]:
    """A machine for clusters; they end with the test, and with us if we are killed."""
    made = Lab(node, node.run(Clusters.here, {OWNER: str(os.getpid())}))
    yield made
    for name in node.run(made.clusters.names):
        node.run(made.clusters.down, name)
