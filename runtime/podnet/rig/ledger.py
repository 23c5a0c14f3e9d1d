"""Who made it: for everything that came or changed, the invocation that did it.

Keeps the last one for each thing, and forgets what is gone, so that a thousand cycles cost no
more than one.  Knows pictures and outcomes; judges nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from podnet.execute import Outcome
from podnet.kernel.facts import Fact
from podnet.rig.picture import Picture, difference
from podnet.rig.residue import Family, family

Identity = tuple[str, str, str]


@dataclass(frozen=True, slots=True, order=True)
class Maker:
    """An invocation, as a culprit is named.

    Attributes:
        verb: What it was asked.
        plugin: Who it was.
        position: Its place in the chain, from 0.
        chain: How many plugins the chain has.
        cycle: In which cycle it was.
        later: It was over when the thing came: something that it left running did it.
    """

    verb: str
    plugin: str
    position: int
    chain: int
    cycle: int
    later: bool = False

    def __str__(self) -> str:
        after = "after " if self.later else ""
        return f"{after}{self.verb} {self.plugin} {self.position + 1}/{self.chain}"


@dataclass(slots=True)
class Ledger:
    """The book of who made what on one Node.

    Attributes:
        start: What was there before anybody did anything.
        taught: Who made what kind of things, when nobody else was at work.
        cycle: The cycle that we are in.
        outcomes: How many invocations were seen.
    """

    start: Picture = frozenset()
    taught: dict[tuple[str, Family], Maker] = field(default_factory=dict)
    cycle: int = 0
    outcomes: int = 0
    _makers: dict[Identity, Maker] = field(default_factory=dict)
    _last: tuple[Maker, Picture] | None = None
    _old: frozenset[Identity] = field(init=False)

    def __post_init__(self) -> None:
        self._old = frozenset(fact.identity for fact in self.start)

    def begin(self, cycle: int) -> None:
        """Begin a cycle: what happens up to its first invocation is nobody's."""
        self.cycle, self._last = cycle, None

    def observe(self, outcome: Outcome, before: Picture, after: Picture) -> Outcome:
        """Write down what an invocation did; what came since the last one is that one's."""
        step = outcome.invocation
        maker = Maker(str(step.verb), step.plugin, step.position, step.chain, self.cycle)
        self.settle(before)
        self._enter(maker, before, after)
        self._last = (maker, after)
        self.outcomes += 1
        return outcome

    def together(self, verb: str, before: Picture, after: Picture) -> None:
        """Write down what several did at the same time.

        Who made a thing is known by the one before that made such a thing alone.
        """
        for fact in _touched(before, after):
            taught = self.taught.get((verb, family(fact)))
            self._makers[fact.identity] = (
                replace(taught, cycle=self.cycle)
                if taught
                else Maker(verb, "one of several", 0, 1, self.cycle)
            )

    def settle(self, now: Picture) -> None:
        """Write down what has come since the last invocation was over."""
        if self._last is not None:
            maker, seen = self._last
            later = Maker(
                maker.verb, maker.plugin, maker.position, maker.chain, maker.cycle, later=True
            )
            self._enter(later, seen, now)
            self._last = (maker, now)

    def maker(self, identity: Identity) -> Maker | None:
        """Return who made a thing, changed it last, or removed it; ``None`` where nobody did."""
        return self._makers.get(identity)

    def _enter(self, maker: Maker, before: Picture, after: Picture) -> None:
        for fact in _touched(before, after):
            self._makers[fact.identity] = maker
            self.taught[maker.verb, family(fact)] = maker
        for fact in difference(before, after).removed:
            self._makers.pop(fact.identity, None)
            if fact.identity in self._old:
                self._makers[fact.identity] = maker


def _touched(before: Picture, after: Picture) -> Iterator[Fact]:
    found = difference(before, after)
    yield from found.added
    yield from (change.after for change in found.changed)
