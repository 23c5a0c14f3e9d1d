"""What a case is: a question to a plugin, the sentence of the spec it comes from, and why it matters.

A case is a function of a :class:`~podnet.rig.conformance.trial.Trial` that returns, or raises
what is wrong.  The decorator puts it on the list; the list is all that others know of cases.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from podnet.cni import versions
from podnet.errors import UsageError
from podnet.rig.conformance.subject import Kind, Subject
from podnet.rig.conformance.trial import Trial

Body = Callable[[Trial], None]
#: Plugins that have to do with an interface.
INTERFACE = (Kind.MAKES, Kind.ADJUSTS, Kind.CHAINED)


class Level(StrEnum):
    """How much the spec wants it (RFC 2119)."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case.

    Attributes:
        id: Its name; it stays the same.
        level: How much the spec wants it.
        section: Where the spec says so.
        sentence: What the spec says, in our words.
        reason: Why a user of the plugin would care.
        kinds: The plugins that it is about.
        since: The first version of the spec that has it.
        until: The last one.
        delegates: It is about plugins that have their addresses managed by another.
        every_version: It is asked again in every version that the plugin speaks.
        body: The question.
    """

    id: str
    level: Level
    section: str
    sentence: str
    reason: str
    kinds: tuple[Kind, ...] = tuple(Kind)
    since: str = versions.UNVERSIONED
    until: str = versions.LATEST
    delegates: bool = False
    every_version: bool = False
    body: Body

    def is_in(self, cni_version: str) -> bool:
        """Tell whether *cni_version* has it."""
        return versions.at_least(cni_version, self.since) and versions.at_least(
            self.until, cni_version
        )

    def not_for(self, subject: Subject) -> str:
        """Return why it has nothing to ask *subject*, or ""."""
        if subject.kind not in self.kinds:
            return f"not about a plugin that {_OF_KIND[subject.kind]}"
        if self.delegates and not subject.delegates:
            return "no other plugin manages its addresses"
        return ""

    def to_wire(self) -> dict[str, object]:
        """Return what is said of it, for ``-o json``."""
        return {
            "name": self.id,
            "level": str(self.level),
            "section": self.section,
            "sentence": self.sentence,
            "reason": self.reason,
            "kinds": [str(kind) for kind in self.kinds],
            "since": self.since,
        }


_OF_KIND = {
    Kind.MAKES: "makes the interface",
    Kind.ADJUSTS: "works on an interface that is there",
    Kind.CHAINED: "is chained to another",
    Kind.IPAM: "manages addresses",
}
_CASES: dict[str, Case] = {}


def case(
    identifier: str,
    level: Level,
    section: str,
    sentence: str,
    reason: str,
    **more: object,
) -> Callable[[Body], Body]:
    """Declare the decorated function a case; *more* are further fields of :class:`Case`."""

    def declare(body: Body) -> Body:
        if identifier in _CASES:
            raise ValueError(f"two cases are called {identifier}")
        _CASES[identifier] = Case(
            id=identifier,
            level=level,
            section=section,
            sentence=sentence,
            reason=reason,
            body=body,
            **more,  # type: ignore[arg-type]
        )
        return body

    return declare


def declared_in(module: str) -> tuple[Case, ...]:
    """Return the cases of one module, in the order of its lines."""
    return tuple(one for one in _CASES.values() if one.body.__module__ == module)


def selected(
    cases: Iterable[Case], patterns: Iterable[str] = (), levels: Iterable[Level] = ()
) -> list[Case]:
    """Return the cases with these ids (``del-*`` is many) and levels; all by default.

    Raises:
        UsageError: A pattern that no case has.
    """
    listed, patterns, wanted = list(cases), tuple(patterns), set(levels)
    for pattern in patterns:
        if not any(fnmatchcase(one.id, pattern) for one in listed):
            raise UsageError(f"no case is called {pattern}", "podnet conformance --list")
    return [
        one
        for one in listed
        if (not patterns or any(fnmatchcase(one.id, pattern) for pattern in patterns))
        and (not wanted or one.level in wanted)
    ]
