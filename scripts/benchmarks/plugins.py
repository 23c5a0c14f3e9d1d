"""plugins: podnet with its plugins and plugin host, against libcni with the Go plugins.

Both in one process that stays, each chain with the backends that its plugins take by
themselves.  A row of a chained plugin (``portmap-5``) is that plugin's share of the chain:
from when the runtime starts it to when it has its answer; the others are the whole call.
"""

import json
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks import bounds
from benchmarks.measure import VERBS, Row, milliseconds, row
from benchmarks.world import CONF_FILE, REFERENCE
from podnet import places
from podnet.cache import Cache
from podnet.cni import Network
from podnet.execute import Outcome, ProcessExecutor
from podnet.kernel import namespaces
from podnet.node import Node
from podnet.plan import Attachment
from podnet.plugin_host import PluginHost
from podnet.runtime import Runtime

IPAM = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.77.0.0/16"}]],
    "routes": [{"dst": "0.0.0.0/0"}],
}
BRIDGE = {"type": "bridge", "bridge": "bench0", "isGateway": True, "ipam": IPAM}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
FIREWALL = {"type": "firewall"}
RATE, BURST = 100_000_000, 10_000_000
BANDWIDTH = {
    "type": "bandwidth",
    "ingressRate": RATE,
    "ingressBurst": BURST,
    "egressRate": RATE,
    "egressBurst": BURST,
}
TUNING = {"type": "tuning", "sysctl": {"net.core.somaxconn": "512"}, "mtu": 1400}
PER_TURN = 5
PODS, PARALLEL, TIMES = 100, 8, 3


@dataclass(frozen=True, kw_only=True)
class Case:
    """One chain, and what bounds each verb.

    Attributes:
        name: What the rows are called.
        plugins: The chain.
        share_of: The plugin that is measured; "" for the whole call.
        ports: How many ports are mapped.
        bounds: By verb, the names of the bare work in :mod:`benchmarks.bounds`.
    """

    name: str
    plugins: list[dict[str, object]]
    share_of: str = ""
    ports: int = 0
    bounds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def conflist(self) -> bytes:
        """The chain as a file."""
        whole = {"cniVersion": "1.0.0", "name": "bench", "plugins": self.plugins}
        return json.dumps(whole).encode()

    @property
    def peer_checks(self) -> bool:
        """The CHECK of Debian's portmap (1.1.1) fails for a container that is IPv4 only."""
        return not self.ports

    @property
    def capability_args(self) -> dict[str, object]:
        """The port mappings."""
        numbers = range(self.ports)
        mappings = [
            {"hostPort": 18080 + n, "containerPort": 80 + n, "protocol": "tcp"} for n in numbers
        ]
        return {"portMappings": mappings} if mappings else {}


NFT = {"ADD": ("nft",), "CHECK": ("nft list",), "DEL": ("nft list", "nft")}
# Not the removal of a link: podnet leaves the kernel's wait for RCU to the undertaker.
VETH = {"ADD": ("veth",)}
CASES = (
    Case(name="loopback", plugins=[{"type": "loopback"}]),
    Case(name="bridge+host-local", plugins=[BRIDGE], bounds=VETH),
    Case(
        name="bridge+ipMasq",
        plugins=[BRIDGE | {"ipMasq": True}],
        bounds={verb: VETH.get(verb, ()) + NFT[verb] for verb in VERBS},
    ),
    Case(name="ptp", plugins=[{"type": "ptp", "ipam": IPAM}], bounds=VETH),
    Case(
        name="portmap-1", plugins=[BRIDGE, PORTMAP], share_of="portmap", ports=1, bounds=NFT
    ),
    Case(
        name="portmap-5", plugins=[BRIDGE, PORTMAP], share_of="portmap", ports=5, bounds=NFT
    ),
    Case(
        name="firewall",
        plugins=[BRIDGE, FIREWALL],
        share_of="firewall",
        bounds={
            "ADD": ("iptables-save", "iptables-restore"),
            "CHECK": ("iptables-save",),
            "DEL": ("iptables-save", "iptables-restore -D"),
        },
    ),
    Case(
        name="bandwidth",
        plugins=[BRIDGE, BANDWIDTH],
        share_of="bandwidth",
        bounds={"ADD": ("ifb",)},
    ),
    Case(name="tuning", plugins=[BRIDGE, TUNING], share_of="tuning", bounds={"ADD": ("MTU",)}),
    Case(
        name="chain",
        plugins=[BRIDGE, PORTMAP, FIREWALL, BANDWIDTH, TUNING],
        ports=1,
        bounds={
            "ADD": ("veth", "nft", "iptables-save", "iptables-restore", "ifb", "MTU"),
            "CHECK": ("nft list", "iptables-save"),
            "DEL": ("nft list", "nft", "iptables-save", "iptables-restore -D"),
        },
    ),
)  # fmt: skip


def rows(peer: Path, count: int) -> Iterator[Row]:
    """Every case and verb, then many pods at a time."""
    with Node.in_memory("bench") as node:
        bare = node.run(bounds.measure, count)
    for name, times in bare.items():
        yield row(f"plugins bound: {name}", times)
    for case in CASES:
        yield from _of_case(case, peer, count, bare)
    for case in (CASES[1], CASES[-1]):
        yield from _many(case, peer)


def _of_case(case: Case, peer: Path, count: int, bare: Mapping[str, list[float]]) -> Iterator[Row]:
    mine: dict[str, list[float]] = {verb: [] for verb in VERBS}
    theirs: dict[str, list[float]] = {verb: [] for verb in VERBS}
    with Node.in_memory("ours") as node, Node.in_memory("theirs") as other, Ours(case) as ours:
        for each in (node, other):
            each.run(_prepare, case, 1)
        for turn in range(-(-count // PER_TURN)):
            for verb, times in _go(other, peer, case).items():
                theirs[verb] += times
            for verb, times in node.run(ours.turn, turn).items():
                mine[verb] += times
    for verb in VERBS:
        parts = case.bounds.get(verb, ())
        least = sum(statistics.median(bare[part]) for part in parts)
        yield row(
            f"plugins {case.name} {verb}",
            mine[verb],
            "libcni",
            theirs[verb],
            bound=(round(least, 3), " + ".join(parts)) if parts else None,
        )


def _prepare(case: Case, containers: int) -> None:
    CONF_FILE.write_bytes(case.conflist)
    for number in range(containers):
        namespaces.create(Path(f"/run/netns/ns{number}"))


class Ours:
    """podnet in this process: a runtime, and one plugin host for all that it does."""

    def __init__(self, case: Case) -> None:
        where = places.resolve({}).plugin_path[0]
        self._case = case
        self._network = Network.from_conflist(case.conflist)
        self._host = PluginHost(Path(where))
        self._outcomes: list[Outcome] = []
        self._runtime = Runtime(
            executor=ProcessExecutor(path=(where,), host=self._host),
            cache=Cache(Path("/run/podnet-bench")),
            record=self._outcomes.append,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._host.close()

    def attachment(self, container_id: str, number: int) -> Attachment:
        """Return container *number*'s."""
        return Attachment(
            container_id=container_id,
            ifname="lo" if self._case.name == "loopback" else "eth0",
            netns=f"/run/netns/ns{number}",
            capability_args=self._case.capability_args,
        )

    def run(self, verb: str, attachment: Attachment) -> None:
        """Do one verb."""
        match verb:
            case "ADD":
                self._runtime.add(self._network, attachment)
            case "CHECK":
                self._runtime.check(self._network.name, attachment)
            case _:
                self._runtime.delete(self._network.name, attachment)

    def turn(self, turn: int) -> dict[str, list[float]]:
        """Some cycles, the first uncounted; return the milliseconds by verb."""
        times: dict[str, list[float]] = {verb: [] for verb in VERBS}
        for cycle in range(-1, PER_TURN):
            attachment = self.attachment(f"ours-{turn}-{cycle + 1}", 0)
            for verb in VERBS:
                self._outcomes.clear()
                took = milliseconds(lambda v=verb, a=attachment: self.run(v, a))  # type: ignore[misc]
                if cycle >= 0:
                    times[verb].append(self._share() if self._case.share_of else took)
        return times

    def _share(self) -> float:
        [outcome] = [o for o in self._outcomes if o.invocation.plugin == self._case.share_of]
        return outcome.duration * 1000


def _go(node: Node, peer: Path, case: Case) -> dict[str, list[float]]:
    found = _peer(node, peer, case, "bench", "--count", str(PER_TURN), "--warmup", "1")
    if case.share_of:
        return {v: found["plugins"].get(v, {}).get(case.share_of, []) for v in VERBS}
    return {verb: found[verb] for verb in VERBS}


def _peer(node: Node, peer: Path, case: Case, verb: str, *more: str) -> dict[str, Any]:
    command = [str(peer), verb, "--conflist", str(CONF_FILE), "--path", REFERENCE, *more]
    command += ["--cache-dir", "/run/go", "--netns-dir", "/run/netns"]
    command += ["--ifname", "lo" if case.name == "loopback" else "eth0"]
    if case.ports:
        command += ["--caps", json.dumps(case.capability_args)]
    if not case.peer_checks:
        command.append("--skip-check")
    done = node.run(subprocess.run, command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{case.name}: {done.stderr}")
    return json.loads(done.stdout)


def _many(case: Case, peer: Path) -> Iterator[Row]:
    """The wall time of many pods, some at a time; one pod before them, uncounted."""
    mine: dict[str, list[float]] = {verb: [] for verb in VERBS}
    theirs: dict[str, list[float]] = {verb: [] for verb in VERBS}
    with Node.in_memory("ours") as node, Node.in_memory("theirs") as other, Ours(case) as ours:
        for each in (node, other):
            each.run(_prepare, case, PODS)
        node.run(ours.turn, 0)
        numbers = ("--count", str(PODS), "--parallel", str(PARALLEL))
        for _ in range(TIMES):
            for verb, took in _peer(other, peer, case, "pods", *numbers).items():
                theirs[verb].append(took)
            for verb in VERBS:
                mine[verb].append(milliseconds(lambda v=verb: _all(node, ours, v)))  # type: ignore[misc]
    for verb in VERBS:
        yield row(f"plugins {PODS} pods {case.name} {verb}", mine[verb], "libcni", theirs[verb])


def _all(node: Node, ours: Ours, verb: str) -> None:
    def work(number: int) -> None:
        node.run(ours.run, verb, ours.attachment(f"pod-{number}", number))

    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(work, range(PODS)))
