"""What two pictures do not have in common, and what of it is meant."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.plugins.differential.snapshot import Picture

Found = dict[str, tuple[object, object]]


@dataclass(frozen=True, slots=True)
class Difference:
    """A deliberate difference.

    Attributes:
        reason: Why ours is not the reference's.
        aspects: Patterns of the picture's names.
        steps: Where it shows; it must, in each of them.
    """

    reason: str
    aspects: tuple[str, ...]
    steps: tuple[str, ...]


def between(ours: Picture, theirs: Picture) -> Found:
    """Return what is not the same, with both values; None is not there."""
    names = ours.keys() | theirs.keys()
    return {
        name: (ours.get(name), theirs.get(name))
        for name in sorted(names)
        if ours.get(name) != theirs.get(name)
    }


def meant(step: str, name: str, differences: Iterable[Difference]) -> bool:
    """Tell whether a name is said to differ in a step."""
    return any(
        fnmatchcase(name, pattern)
        for one in differences
        if step in one.steps
        for pattern in one.aspects
    )


def unexplained(step: str, found: Found, differences: tuple[Difference, ...]) -> list[str]:
    """Return a sentence for each difference that nobody meant, and each meant one that is not."""
    return [
        f"{step}: {name}: ours {ours!r}, theirs {theirs!r}"
        for name, (ours, theirs) in found.items()
        if not meant(step, name, differences)
    ] + [
        f"{step}: no longer different: {pattern} ({one.reason})"
        for one in differences
        if step in one.steps
        for pattern in one.aspects
        if not any(fnmatchcase(name, pattern) for name in found)
    ]


def left(
    step: str, found: Found, lasting: Iterable[str], differences: tuple[Difference, ...]
) -> list[str]:
    """Return a sentence for each thing that is not as it was before, and should be."""
    return [
        f"{name} was {before!r} and is {now!r}"
        for name, (now, before) in found.items()
        if not meant(step, name, differences)
        if not any(fnmatchcase(name, pattern) for pattern in lasting)
    ]
