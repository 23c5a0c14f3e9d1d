"""What may happen to a cluster, word by word: the steps of a file, and what plays them.

A word is what a step says, the shape of what it says it with, and the function that does it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from podnet.cluster import faults, matrix
from podnet.cluster.clusters import Clusters
from podnet.cluster.making import Say
from podnet.cluster.record import STORE, Cluster
from podnet.errors import PodnetError

Argument = Mapping[str, object]
_NODE: Mapping[str, object] = {
    "type": "string",
    "description": f"A Node; {STORE} is the etcd.",
}
_SECONDS: Mapping[str, object] = {"type": "number", "minimum": 0}
_GLANCE = 0.1
_PATIENCE = 10.0
_ANSWER = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens.

    Attributes:
        word: Which, one of WORDS.
        argument: What is said with it, checked; what is no object is ``{"node": …}`` or the like.
    """

    word: str
    argument: Argument

    def __str__(self) -> str:
        return f"{self.word} {' '.join(map(str, self.argument.values()))}".strip()


@dataclass(frozen=True, slots=True)
class Stage:
    """Where steps are played."""

    clusters: Clusters
    cluster: Cluster
    say: Say


@dataclass(frozen=True, slots=True)
class Word:
    """What a step may say.

    Attributes:
        about: What it does, in a sentence.
        schema: The JSON Schema of what is said with it.
        play: Does it.
        bare: The key that a bare value stands for; "" where it is always an object.
    """

    about: str
    schema: Mapping[str, object]
    play: Callable[[Stage, Argument], None]
    bare: str = ""

    def argument(self, value: object) -> Argument:
        """Return what is said with a word as an object."""
        return value if isinstance(value, Mapping) else {self.bare: value}


def play(clusters: Clusters, cluster: Cluster, steps: Sequence[Step], say: Say) -> None:
    """Let things happen to a cluster, one after the other.

    Raises:
        PodnetError: A step failed, or was not what it expected.
    """
    stage = Stage(clusters, cluster, say)
    for number, step in enumerate(steps, 1):
        say(f"step {number}: {step}")
        try:
            WORDS[step.word].play(stage, step.argument)
        except PodnetError as exc:
            exc.message = f"step {number}, {step}: {exc.message}"
            raise


def _probe(stage: Stage, argument: Argument) -> None:
    """Probe until it is as expected."""
    wants_all = argument.get("expect", "all") == "all"
    within = argument.get("within", _PATIENCE)
    deadline = time.monotonic() + (within if isinstance(within, int | float) else _PATIENCE)
    while True:
        with ExitStack() as stack:
            members = stack.enter_context(stage.clusters.opened(stage.cluster))
            cells = matrix.probe(matrix.ends(stack, members), timeout=_ANSWER)
        missing = [cell for cell in cells if not cell.outcome.reached]
        if bool(missing) != wants_all:
            stage.say(f"{len(cells) - len(missing)} of {len(cells)} probes came back")
            return
        if time.monotonic() > deadline:
            break
        time.sleep(_GLANCE)
    if not missing:
        raise PodnetError("everybody reaches everybody, which was not expected")
    first = missing[0]
    where = f"{first.source} -> {first.target} ({first.address}) {first.way}"
    some = f"{len(missing)} of {len(cells)} probes did not come back"
    raise PodnetError(f"{some}, as {where}: {first.outcome.reason}", "podnet probe --all")


def _on_node(fault: Callable[[Clusters, str], None]) -> Word:
    def do(stage: Stage, argument: Argument) -> None:
        fault(stage.clusters, str(argument["node"]))

    return Word((fault.__doc__ or "").partition("\n\n")[0], _NODE, do, "node")


def _object(required: Sequence[str], **properties: Mapping[str, object]) -> Mapping[str, object]:
    made = {"type": "object", "properties": properties, "additionalProperties": False}
    return made | ({"required": list(required)} if required else {})


#: Every word there is.
WORDS: Mapping[str, Word] = {
    **{fault.__name__: _on_node(fault) for fault in faults.OF_A_NODE},
    "wait": Word(
        "Wait some seconds.",
        _SECONDS,
        lambda _, argument: time.sleep(float(str(argument["seconds"]))),
        "seconds",
    ),
    "probe": Word(
        "Probe everybody from everybody, until it is as expected.",
        _object(
            (),
            expect={
                "description": "Whether all probes come back; all.",
                "type": "string",
                "enum": ["all", "not all"],
            },
            within={"description": "Seconds until it must be so; ten.", **_SECONDS},
        ),
        _probe,
    ),
    "unlink": Word(
        "Delete a link of a Node behind its manager's back.",
        _object(("node", "link"), node=_NODE, link={"type": "string"}),
        lambda stage, said: faults.unlink(stage.clusters, str(said["node"]), str(said["link"])),
    ),
    "unroute": Word(
        "Delete a Node's routes to another Node's pods, or to everybody's, behind its manager's back.",
        _object(("node",), node=_NODE, to=_NODE),
        lambda stage, said: faults.unroute(
            stage.clusters, str(said["node"]), str(said.get("to", ""))
        ),
    ),
    "advance": Word(
        "Set the clock by which a Node keeps leases ahead.",
        _object(("node", "seconds"), node=_NODE, seconds=_SECONDS),
        lambda stage, said: faults.advance(
            stage.clusters, str(said["node"]), float(str(said["seconds"]))
        ),
    ),
    "impair": Word(
        "Lose a part of a Node's packets, and let the others through only so fast.",
        _object(
            ("node",),
            node=_NODE,
            loss={"description": "Percent.", "type": "number", "minimum": 0, "maximum": 100},
            rate={"description": "Bits per second.", "type": "integer", "minimum": 1000},
        ),
        lambda stage, said: faults.impair(
            stage.clusters,
            str(said["node"]),
            loss=float(str(said.get("loss", 0))),
            rate=int(str(said.get("rate", 0))),
        ),
    ),
}
