"""clusters: up for 3 to 200 Nodes, step by step; what a manager costs; joining 4,000 leases.

The peer is flannel 0.20.2 with etcd 3.4 on this kind of machine (2 CPUs), measured once and
alone on it: the time from the start of the daemons until all routes are there, and the CPU
time of the daemon that joins.  On a busy machine only CPU times, messages and looks compare.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Row, milliseconds
from podnet.cluster import making, managers, matrix, workload
from podnet.cluster.clusters import OWNER, Clusters
from podnet.cluster.record import SHARED, Cluster, Store, numbered
from podnet.cluster.workload import PodOn
from podnet.node import Node

_FLANNELD = {("vxlan", 3): 450, ("vxlan", 40): 6200, ("host-gw", 40): 5000}
_JOINING = {"vxlan": 4500, "host-gw": 42_000}
_JOINING_CPU = {"vxlan": 2500, "host-gw": 37_000}
_SIZES = (3, 10, 40, 100, 200)
_MANY = 4000
_PATIENCE = 300.0
_SETTLED = 5.0  # seconds over which idle managers are looked at
_MOST_PROBED = 10


def rows(_: Path, __: int) -> Iterator[Row]:
    """Clusters of several sizes and backends, and a store with many leases."""
    for backend in ("vxlan", "host-gw"):
        for count in _SIZES:
            with Node.in_memory("bench") as node:
                yield from node.run(_up, backend, count)
    for store in (Store.SQLITE, Store.ETCD):
        for backend in ("vxlan", "host-gw"):
            with Node.in_memory("bench") as node:
                yield from node.run(_join, backend, store)


def _up(backend: str, count: int, store: Store = Store.SQLITE) -> list[Row]:
    """Bring a cluster up, step by step."""
    clusters = Clusters.here({OWNER: str(os.getpid())})
    name = f"clusters {backend} {count}"
    cluster = Cluster(members=numbered("cluster", count), backend={"Type": backend}, store=store)
    said = list[str]()
    began = time.perf_counter()
    clusters.up(cluster, patience=_PATIENCE, say=said.append)
    try:
        ready = (time.perf_counter() - began) * 1000
        steps = {"nodes": _seconds(said, "Nodes"), "managers ready": _seconds(said, "ready")}
        with clusters.opened(cluster) as nodes:
            steps["pods"] = milliseconds(lambda: _pods(nodes))
            steps["probes"] = milliseconds(lambda: _probe(nodes))
            total = ready + steps["pods"] + steps["probes"]
            flannel = _FLANNELD.get((backend, count))
            made = [_row(f"{name}: {step}", took) for step, took in steps.items()]
            made[1] = _row(f"{name}: managers ready", steps["managers ready"], flannel)
            told = count * (count - 1) * 1000 / steps["managers ready"]
            news = Row(name=f"{name}: news", ours_ms=0, note=f"{told:.0f} leases heard of a second")
            return [*made, _row(f"{name}: all", total), news, *_costs(name, nodes)]
    finally:
        clusters.down("cluster")


def _seconds(said: Sequence[str], word: str) -> float:
    [line] = [line for line in said if f" {word} in " in line]
    return float(line.split()[-2]) * 1000


def _pods(nodes: Sequence[Node]) -> None:
    workload.create(nodes, [PodOn(node=node.name, name="web") for node in nodes])


def _probe(nodes: Sequence[Node]) -> None:
    """Probe everybody of some Nodes that lie far apart: all of them where there are few."""
    chosen = nodes[:: max(1, len(nodes) // _MOST_PROBED)]
    with ExitStack() as stack:
        cells = matrix.probe(matrix.ends(stack, chosen), timeout=10)
    missing = [cell for cell in cells if not cell.outcome.reached]
    if missing:
        raise SystemExit(f"{len(missing)} of {len(cells)} probes did not come back: {missing[0]}")


@dataclass(frozen=True)
class _Use:
    """What managers have used so far."""

    cpu_ms: float
    memory_kb: float
    messages: int
    looks: int


def _costs(name: str, nodes: Sequence[Node], peer: float | None = None) -> Iterator[Row]:
    first = [node.run(_used) for node in nodes]
    time.sleep(_SETTLED)
    then = [node.run(_used) for node in nodes]
    count = len(nodes)

    def mean(read: Callable[[_Use], float], found: Sequence[_Use]) -> float:
        return sum(map(read, found)) / count

    idle = mean(lambda one: one.cpu_ms, then) - mean(lambda one: one.cpu_ms, first)
    yield _row(f"{name}: CPU of a manager", mean(lambda one: one.cpu_ms, first), peer)
    yield Row(
        name=f"{name}: a manager",
        ours_ms=0,
        note=f"{idle / _SETTLED:.2f} ms/s idle, {mean(lambda one: one.memory_kb, then) / 1024:.1f} MB "
        f"(PSS), {mean(lambda one: one.messages, first):.0f} netlink messages, "
        f"{mean(lambda one: one.looks, first):.1f} looks at the kernel",
    )


def _used() -> _Use:
    """Return what the manager of the calling thread's Node has used."""
    lines = managers.ask("/metrics")[1].splitlines()
    metrics = dict(line.split() for line in lines if not line.startswith("#"))
    cpu = memory = 0.0
    for pid in managers.running():
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu += (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            memory += next(int(one.split()[1]) for one in text.splitlines() if "Pss:" in one)
    return _Use(
        cpu,
        memory,
        int(metrics["podnet_manager_netlink_messages_total"]),
        int(metrics["podnet_manager_reconciliations_total"]),
    )


def _join(backend: str, store: Store) -> list[Row]:
    """Start a manager in a network where 4,000 others have leases."""
    clusters = Clusters.here({OWNER: str(os.getpid())})
    cluster = Cluster(
        members=numbered("cluster", 2),
        backend={"Type": backend},
        store=store,
        network="10.0.0.0/8",
    )
    clusters.up(cluster, patience=_PATIENCE)
    try:
        with clusters.opened(cluster) as nodes:
            for node in nodes:
                node.run(_stop)
            nodes[0].run(_fill, cluster)
            began = time.perf_counter()
            managers.start(nodes[1:], cluster.options)
            deadline = time.monotonic() + _PATIENCE
            peers = _MANY + 1
            making.await_ready(cluster, nodes[1:], peers=peers, deadline=deadline)
            took = (time.perf_counter() - began) * 1000
            name = f"clusters joining {_MANY} leases {backend} {store}"
            peer = _JOINING[backend] if store is Store.ETCD else None
            cpu = _JOINING_CPU[backend] if peer else None
            return [_row(name, took, peer), *_costs(name, nodes[1:], cpu)]
    finally:
        clusters.down("cluster")


def _stop() -> None:
    for pid in managers.running():
        os.kill(pid, 9)
    while managers.running():
        time.sleep(0.01)


def _fill(cluster: Cluster) -> None:
    command = [sys.executable, "-m", "podnet_manager.tamper", "fill", str(_MANY)]
    subprocess.run([*command, *cluster.store_options], check=True, cwd=SHARED)


def _row(name: str, took: float, flannel: float | None = None) -> Row:
    return Row(
        name=name,
        ours_ms=round(took, 1),
        peer="flanneld" if flannel else "",
        peer_ms=flannel,
        ratio=round(took / flannel, 3) if flannel else None,
    )
