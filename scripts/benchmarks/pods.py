"""pods: the cost of one among many."""

import resource
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, milliseconds, row
from benchmarks.world import CONFLIST
from podnet import places
from podnet.cni import Network
from podnet.node import Node
from podnet.plugin_host import PluginHost
from podnet.pod import Pod
from podnet.pods import Pods
from podnet.wishes import PodWish, Wish, planned


def rows(_: Path, count: int) -> Iterator[Row]:
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
