"""Rows of medians, and how they are measured: in turn, so that both sides see the same machine."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

VERBS = ("ADD", "CHECK", "DEL")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison; times in milliseconds.

    ``bound`` is what even a perfect plugin would have to do, and ``bound_ms`` how long that takes
    alone.
    """

    name: str
    ours_ms: float
    peer: str = ""
    peer_ms: float | None = None
    ratio: float | None = None
    samples: int = 1
    note: str = ""
    bound_ms: float | None = None
    bound: str = ""


def row(
    name: str,
    ours: Sequence[float],
    peer: str = "",
    theirs: Sequence[float] = (),
    *,
    bound: tuple[float, str] | None = None,
) -> Row:
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
        bound_ms=bound[0] if bound else None,
        bound=bound[1] if bound else "",
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
