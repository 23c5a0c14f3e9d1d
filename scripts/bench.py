"""podnet next to libcni, the bare system and the reference plugins: medians of one run.

Every group makes a Node in memory, takes turns between ours and the peer so that both see
the same machine, and yields rows.  A row's name begins with its group.  Ratios are what
counts: ours divided by the peer's, below 1 is faster.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from podnet import places, plan
from podnet.cache import Cache
from podnet.cni import Network
from podnet.execute import ProcessExecutor
from podnet.kernel import namespaces
from podnet.node import Node
from podnet.plan import Attachment
from podnet.plugin_host import PluginHost
from podnet.pods import Pods
from podnet.records import Pod
from podnet.runtime import Runtime
from podnet.wishes import PodWish, Wish, planned

ROOT = Path(__file__).parent.parent
REFERENCE = "/usr/lib/cni"
VERBS = ("ADD", "CHECK", "DEL")
CONFLIST = json.dumps(
    {
        "cniVersion": "1.0.0",
        "name": "bench",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "bench0",
                "isGateway": True,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/16"}]]},
            }
        ],
    }
).encode()
CONF_FILE = Path("/run/bench.conflist")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison; times in milliseconds."""

    name: str
    ours_ms: float
    peer: str = ""
    peer_ms: float | None = None
    ratio: float | None = None
    samples: int = 1
    note: str = ""


def row(name: str, ours: Sequence[float], peer: str = "", theirs: Sequence[float] = ()) -> Row:
    """Compare medians."""
    mine = statistics.median(ours)
    other = statistics.median(theirs) if theirs else None
    return Row(
        name=name,
        ours_ms=round(mine, 3),
        peer=peer,
        peer_ms=None if other is None else round(other, 3),
        ratio=None if other is None else round(mine / other, 3),
        samples=len(ours),
    )


def milliseconds(function: Callable[[], object]) -> float:
    """Time one call."""
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1000


def in_turn(count: int, *functions: Callable[[], object]) -> list[list[float]]:
    """Time several functions in turn, after one uncounted round."""
    for function in functions:
        function()
    rounds = [[milliseconds(function) for function in functions] for _ in range(count)]
    return [list(column) for column in zip(*rounds, strict=True)]


# -- libcni: the Go library in-process, and podnet in-process, with the same Go plugins


def libcni(peer: Path, count: int) -> Iterator[Row]:
    """ADD, CHECK and DEL of bridge+host-local, serial and 8 parallel."""
    for label, parallel, per_turn in (("serial", 1, 10), ("8-parallel", 8, 40)):
        ours, theirs = list[dict[str, list[float]]](), list[dict[str, list[float]]]()
        with Node.in_memory("bench") as node, ThreadPoolExecutor(parallel) as pool:
            node.run(_container_namespaces, parallel)
            for _ in range(max(6, -(-count // per_turn))):
                theirs.append(_go(node, peer, per_turn, parallel))
                ours.append(_podnet(node, pool, per_turn, parallel))
        for verb in VERBS:
            mine = [ms for turn in ours for ms in turn[verb]]
            others = [ms for turn in theirs for ms in turn[verb]]
            yield row(f"libcni {verb} {label}", mine, "libcni", others)


def _container_namespaces(count: int) -> None:
    CONF_FILE.write_bytes(CONFLIST)
    for number in range(count):
        namespaces.create(Path(f"/run/netns/ns{number}"))


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


# -- invocation: what podnet adds to a bare exec of the same plugin


def invocation(_: Path, count: int) -> Iterator[Row]:
    """One VERSION of a Go plugin."""
    executor, step = ProcessExecutor(path=(REFERENCE,)), plan.version("loopback")
    environment = {**os.environ, **step.environment}
    binary = f"{REFERENCE}/loopback"

    def bare() -> None:
        pipes = [os.pipe() for _ in range(3)]
        (stdin, to), (out, stdout), (err, stderr) = pipes
        actions = [(os.POSIX_SPAWN_DUP2, fd, n) for n, fd in enumerate((stdin, stdout, stderr))]
        pid = os.posix_spawn(binary, [binary], environment, file_actions=actions)
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
        os.write(to, b"{}")
        os.close(to)
        for descriptor in (out, err):
            while os.read(descriptor, 65536):
                pass
            os.close(descriptor)
        os.waitpid(pid, 0)

    ours, theirs = in_turn(10 * count, lambda: executor.run(step), bare)
    yield row("invocation VERSION", ours, "posix_spawn", theirs)
    cost = statistics.median(o - t for o, t in zip(ours, theirs, strict=True))
    yield Row(name="invocation own cost", ours_ms=round(cost, 3), samples=len(ours))


# -- shell: a fresh process each time


def shell(peer: Path, count: int) -> Iterator[Row]:
    """``podnet create`` and ``delete``, against ``ip netns`` and the Go program; and its parts."""
    podnet = str(Path(sys.executable).parent / "podnet")
    options = ["--quiet", "--plugin-dir", REFERENCE]
    create = [podnet, *options, "create", "web", "--network", str(CONF_FILE)]
    delete = [podnet, *options, "delete", "web"]
    go = ["--conflist", str(CONF_FILE), "--path", REFERENCE, "--cache-dir", "/run/go"]
    go += ["--netns", "/run/netns/peer", "--id", "peer"]
    theirs = [
        ["ip", "netns", "add", "peer"],
        ["ip", "-n", "peer", "link", "set", "lo", "up"],
        [str(peer), "add", *go],
        [str(peer), "del", *go],
        ["ip", "netns", "del", "peer"],
    ]
    with Node.in_memory("bench") as node:
        node.run(_container_namespaces, 0)

        def run(*commands: list[str]) -> None:
            for command in commands:
                node.run(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)

        ours, others = in_turn(count, lambda: run(create, delete), lambda: run(*theirs))
        yield row("shell create+delete", ours, "ip netns + libcni", others)
        python = [sys.executable, "-c"]
        parts = in_turn(
            count,
            lambda: run([*python, "pass"]),
            lambda: run([*python, "import typer"]),
            lambda: run([*python, "import podnet.cli.main"]),
            lambda: run([podnet, "version", "-o", "name"]),
        )
        names = ("python starts", "and imports typer", "and podnet.cli", "and parses a command")
        for name, times in zip(names, parts, strict=True):
            yield row(f"shell part: {name}", times)
        run(create)
        transcript = node.run(
            subprocess.run, [podnet, "trace", "web", "-o", "json"], capture_output=True, text=True
        ).stdout
        took = sum(step["duration_ms"] for step in json.loads(transcript)["items"][-1:])
        yield Row(name="shell part: plugins of one create", ours_ms=took)
        run(delete)


# -- pods: the cost of one among many


def pods(_: Path, count: int) -> Iterator[Row]:
    """10, 100 and 1,000 pods with podnet's own plugins; the peer is podnet with 10."""
    few: dict[str, list[float]] = {}
    for many in (10, 100, 1000):
        rounds = -(-count // many)
        made: dict[str, list[float]] = {}
        for _ in range(rounds):
            for verb, times in _some_pods(many).items():
                made[verb] = made.get(verb, []) + times
        few = few or made
        for verb, times in made.items():
            yield row(f"pods {verb} of {many}", times, "with 10", few[verb])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield Row(
        name="pods memory", ours_ms=0, note=f"{memory // 1024} MiB, a process holding 1,000 pods"
    )


def _some_pods(many: int) -> dict[str, list[float]]:
    with Node.in_memory("bench") as node:
        return node.run(_create_and_delete, many)


def _create_and_delete(many: int) -> dict[str, list[float]]:
    where = places.resolve({})
    host = PluginHost(Path(where.plugin_path[0]))
    everything = Pods(places=where, plugin_host=host)
    network = Network.from_conflist(CONFLIST)
    held: list[Pod] = []

    def create(number: int) -> None:
        wish = PodWish(name=f"pod{number}", networks=[Wish(network=network)])
        held.append(everything.create(planned(wish, where)))

    times = {
        "create": [milliseconds(lambda n=n: create(n)) for n in range(many)],  # type: ignore[misc]
        "delete": [milliseconds(lambda p=p: everything.delete(p.name)) for p in held],  # type: ignore[misc]
    }
    host.close()
    # The kernel's work grows with the ports of one bridge; what is podnet's own must not.
    steps = everything.transcript.read()
    adds = [float(str(step["duration_ms"])) for step in steps if step["verb"] == "ADD"]
    own = [whole - plugin for whole, plugin in zip(times["create"], adds, strict=True)]
    return times | {"create, own share": own}


# -- leases: host-local among many


def leases(_: Path, count: int) -> Iterator[Row]:
    """ADD of host-local next to 0 to 60,000 leases; ours and the reference as executables."""
    (embedded,) = places.embedded_plugins()
    for many in (0, 1000, 10_000, 60_000):
        with Node.in_memory("bench") as node:
            for name in ("ours", "theirs"):
                node.run(_write_leases, name, many)
            turns = {"ours": 0, "theirs": 0}

            def add(
                directory: str, name: str, node: Node = node, turns: dict[str, int] = turns
            ) -> None:
                turns[name] += 1
                node.run(_host_local, directory, name, f"new{turns[name]}")

            ours, theirs = in_turn(
                count, lambda: add(embedded, "ours"), lambda: add(REFERENCE, "theirs")
            )
        yield row(f"leases ADD with {many}", ours, "reference", theirs)


def _write_leases(network: str, many: int) -> None:
    directory = Path("/run/leases", network)
    directory.mkdir(parents=True)
    address = 0
    for number in range(many):
        address = number + 2
        path = directory / f"10.{80 + (address >> 16)}.{address >> 8 & 255}.{address & 255}"
        path.write_text(f"old{number}\r\neth0")
    if many:
        (directory / "last_reserved_ip.0").write_text(path.name)


def _host_local(directory: str, network: str, container_id: str) -> None:
    ipam = {"type": "host-local", "dataDir": "/run/leases", "subnet": "10.80.0.0/14"}
    request = {"cniVersion": "1.0.0", "name": network, "type": "x", "ipam": ipam}
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": container_id,
        "CNI_NETNS": "/run/netns/none",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": directory,
    }
    subprocess.run(
        [f"{directory}/host-local"],
        input=json.dumps(request).encode(),
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        check=True,
    )


GROUPS = {f.__name__: f for f in (libcni, invocation, shell, pods, leases)}


def main() -> None:
    """Run the groups that were asked for, print their rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(GROUPS), help="one group")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    parser.add_argument("--count", type=int, default=30, help="samples of each, at least")
    asked = parser.parse_args()
    rows: list[Row] = []
    print(f"{'':<36}{'podnet':>12}{'peer':>12}{'ratio':>8}  samples")
    with tempfile.TemporaryDirectory() as directory:
        peer = Path(directory, "libcni-peer")
        subprocess.run([ROOT / "tests/peers/libcni/build", peer], check=True)
        for name in [asked.only] if asked.only else GROUPS:
            for one in GROUPS[name](peer, asked.count):
                rows.append(one)
                print(line(one), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps([asdict(one) for one in rows], indent=2) + "\n")


def line(one: Row) -> str:
    """Return a row for people."""
    if one.note:
        return f"{one.name:<36}{one.note}"
    peer = f"{one.peer_ms:>9.2f} ms{one.ratio:>8.2f}" if one.peer_ms and one.ratio else f"{'':>20}"
    return f"{one.name:<36}{one.ours_ms:>9.2f} ms{peer}  {one.samples}  {one.peer}".rstrip()


if __name__ == "__main__":
    main()
