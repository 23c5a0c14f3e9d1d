"""A fact: one thing that is so on a Node or in a network namespace, as a value that compares.

What chance or time gave has no place in one: numbers of links, handles, counters, timers.  Two
facts of the same place, kind and key are the same thing, before and after; what is said of it
may differ.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

Attributes = tuple[tuple[str, object], ...]


class Fact(NamedTuple):
    """One thing that is so.

    Attributes:
        kind: What it is: "link", "route", "iptables rule", "file" and so on.
        key: What tells it from others of its kind, in words.
        attributes: What else is to be said of it.
        where: The Node's own network namespace, or the path of another; "" where that is known.
    """

    kind: str
    key: str
    attributes: Attributes = ()
    where: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes it the same thing, whatever becomes of it."""
        return self.where, self.kind, self.key

    def get(self, attribute: str) -> object:
        """Return one thing that is said of it, or ``None``."""
        return dict(self.attributes).get(attribute)

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


def stated(**attributes: object) -> Attributes:
    """Return attributes; what is not so (``None``, "", 0, ``False``) is not said."""
    return tuple((key, value) for key, value in attributes.items() if value)


def numbered(facts: Iterable[Fact], where: str = "") -> Iterator[Fact]:
    """Put facts in their place, and tell equals apart.

    A second rule with the same words is a thing of its own: "#2".
    """
    seen = Counter[tuple[str, str]]()
    for kind, key, attributes, _ in facts:
        seen[kind, key] += 1
        times = seen[kind, key]
        yield Fact(kind, key if times == 1 else f"{key} #{times}", attributes, where)
