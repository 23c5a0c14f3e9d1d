"""libcni: the Go library in-process, and podnet in-process, with the same Go plugins."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.measure import VERBS, Row, milliseconds, row
from benchmarks.world import CONF_FILE, CONFLIST, REFERENCE, container_namespaces
from podnet.cache import Cache
from podnet.cni import Network
from podnet.execute import ProcessExecutor
from podnet.node import Node
from podnet.plan import Attachment
from podnet.runtime import Runtime


def rows(peer: Path, count: int) -> Iterator[Row]:
    """ADD, CHECK and DEL of bridge+host-local, serial and 8 parallel."""
    for label, parallel, per_turn in (("serial", 1, 10), ("8-parallel", 8, 40)):
        ours, theirs = list[dict[str, list[float]]](), list[dict[str, list[float]]]()
        with Node.in_memory("bench") as node, ThreadPoolExecutor(parallel) as pool:
            node.run(container_namespaces, parallel)
            for _ in range(max(6, -(-count // per_turn))):
                theirs.append(_go(node, peer, per_turn, parallel))
                ours.append(_podnet(node, pool, per_turn, parallel))
        for verb in VERBS:
            mine = [ms for turn in ours for ms in turn[verb]]
            others = [ms for turn in theirs for ms in turn[verb]]
            yield row(f"libcni {verb} {label}", mine, "libcni", others)


def _go(node: Node, peer: Path, count: int, parallel: int) -> dict[str, list[float]]:
    command = [str(peer), "bench", "--conflist", str(CONF_FILE), "--path", REFERENCE]
    command += ["--cache-dir", "/run/go", "--netns-dir", "/run/netns"]
    command += ["--count", str(count), "--parallel", str(parallel), "--warmup", "1"]
    done = node.run(subprocess.run, command, capture_output=True, text=True, check=True)
    times: dict[str, list[float]] = json.loads(done.stdout)
    return {verb: times[verb] for verb in VERBS}


def _podnet(
    node: Node, pool: ThreadPoolExecutor, count: int, parallel: int
) -> dict[str, list[float]]:
    runtime = Runtime(
        executor=ProcessExecutor(path=(REFERENCE,)), cache=Cache(Path("/run/podnet-bench"))
    )
    network = Network.from_conflist(CONFLIST)

    def work(worker: int) -> list[list[float]]:
        def cycles() -> list[list[float]]:
            return [_cycle(runtime, network, worker, turn) for turn in range(-1, count // parallel)]

        return node.run(cycles)[1:]

    cycles = [cycle for worker in pool.map(work, range(parallel)) for cycle in worker]
    return {verb: [cycle[i] for cycle in cycles] for i, verb in enumerate(VERBS)}


def _cycle(runtime: Runtime, network: Network, worker: int, turn: int) -> list[float]:
    attachment = Attachment(
        container_id=f"ours-{worker}-{turn + 1}", ifname="eth0", netns=f"/run/netns/ns{worker}"
    )
    return [
        milliseconds(lambda: runtime.add(network, attachment)),
        milliseconds(lambda: runtime.check(network.name, attachment)),
        milliseconds(lambda: runtime.delete(network.name, attachment)),
    ]
