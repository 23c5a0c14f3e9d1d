"""Each plugin beside the reference's: the same life in two Nodes, and each with the other's work."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.plugins.conftest import OURS
from tests.plugins.differential import lives
from tests.plugins.differential.cases import CASES
from tests.plugins.differential.differences import between, left, meant, unexplained
from tests.plugins.differential.lives import STEPS, Case, Side
from tests.plugins.differential.snapshot import Picture

from podnet.node import Node

# News of the kernel (carriers, timers of routes) come a moment later.
PATIENCE = 5.0
# Nothing of the attachment is left.
GONE = ("DEL", "DEL again", "DEL of the other's", "DEL without prevResult")


@pytest.fixture
def twin() -> Iterator[Node]:
    """A second host in memory, for the reference."""
    with Node.in_memory("twin") as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ours_and_the_reference_make_leave_and_say_the_same(
    host: Any, twin: Node, debian_plugins: str, case: Case
) -> None:
    problems: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        hosts = (host, type(host)(twin))
        sides = list(pool.map(lambda one: Side(one, case, debian_plugins), hosts))
        before = [side.picture() for side in sides]
        for step in sides[0].steps():
            _deal(sides, debian_plugins, crosswise="other's" in step)
            said = [lives.said(answers) for answers in pool.map(STEPS[step], sides)]
            problems += _unfulfilled(step, case, said)
            end = time.monotonic() + (0 if problems else PATIENCE)
            after, unmeant = _compared(step, case, sides, said, pool)
            while unmeant and time.monotonic() < end:
                time.sleep(0.1)
                after, unmeant = _compared(step, case, sides, said, pool)
            problems += unmeant + _left(step, case, before, after)
    assert not problems, "\n".join(problems)


def _compared(
    step: str, case: Case, sides: list[Side], said: list[Picture], pool: ThreadPoolExecutor
) -> tuple[list[Picture], list[str]]:
    """Take both pictures, and say what differs in them and in the answers and is not meant to."""
    pictures = list(pool.map(Side.picture, sides))
    ours, theirs = (picture | answers for picture, answers in zip(pictures, said, strict=True))
    return pictures, unexplained(step, between(ours, theirs), case.differences)


def _left(step: str, case: Case, before: list[Picture], after: list[Picture]) -> list[str]:
    """Say what a DEL has left that should not last."""
    return [
        f"{step}: {whose}: {sentence}"
        for whose, old, new in zip(("ours", "theirs"), before, after, strict=True)
        if step in GONE
        for sentence in left(step, between(new, old), case.lasting, case.differences)
    ]


def _deal(sides: list[Side], theirs: str, *, crosswise: bool) -> None:
    """Give each side its plugins: crosswise, one's work is the other's to check and to undo."""
    makers: tuple[str | Path, ...] = (theirs, OURS) if crosswise else (OURS, theirs)
    for side, maker in zip(sides, makers, strict=True):
        side.maker = maker


def _unfulfilled(step: str, case: Case, said: list[Picture]) -> list[str]:
    """What failed though it should not, or the other way round, and is not said to differ."""
    failing = step == "failed ADD" or (step == "ADD again" and not case.again)
    return [
        f"{step}: {name} of {whose} is {value}: {answers}"
        for whose, answers in zip(("ours", "theirs"), said, strict=True)
        for name, value in answers.items()
        if name.endswith("/status") and bool(value) != failing
        if not meant(step, name, case.differences)
    ]
