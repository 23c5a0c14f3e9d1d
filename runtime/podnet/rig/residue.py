"""What is left of attachments that are gone, and whether it may be: the leak detector's judgement.

Pure: pictures and the marks of attachments go in, residues come out.  A residue belongs

- to an *attachment*, when it bears its mark or is of a kind that nothing shares: it must vanish;
- to the *network*, when pods to come will use it, too: it may stay, but not grow;
- to the *host*, when it is about what was there before: only what networks need may stay.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import NamedTuple

from podnet.kernel.facts import Fact
from podnet.rig.picture import NODE, Difference, Picture, difference


class Scope(StrEnum):
    """Whose a residue is."""

    ATTACHMENT = "attachment"
    NETWORK = "network"
    HOST = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What attachments are known by.

    Attributes:
        names: Container IDs, pods' names and paths: whatever holds one is an attachment's.
        addresses: IP and hardware addresses: a thing that is about one is an attachment's.
    """

    names: Collection[str] = ()
    addresses: Collection[str] = ()

    def are_on(self, fact: Fact) -> bool:
        """Tell whether a fact is an attachment's."""
        said = "\n".join((fact.key, *(str(value) for _, value in fact.attributes)))
        # A long name is found in what is made of it, a short one may be part of any word.
        if any(name in said for name in self.names if len(name) >= _LONG):
            return True
        short = [name for name in self.names if len(name) < _LONG]
        return _has_word(said, short) or _has_word(fact.key, self.addresses)


def _has_word(text: str, words: Collection[str]) -> bool:
    return any(
        word in text and re.search(rf"(?<![\w.:]){re.escape(word)}(?![\w.:])", text)
        for word in words
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Residue:
    """Things of one kind that are left, alike but for numbers.

    Attributes:
        what: "added", "changed", or "removed": something of the host's that is gone.
        facts: They.
        scope: Whose they are.
        grows: There are more of them than after the first attachment.
        leak: They must not be there.
        said: What has changed of them, before and after.
    """

    what: str
    facts: tuple[Fact, ...]
    scope: Scope
    grows: bool
    leak: bool
    said: Mapping[str, tuple[object, object]]

    @property
    def example(self) -> Fact:
        """One of them."""
        return self.facts[0]

    def __repr__(self) -> str:
        verdict = "leak" if self.leak else "stays"
        return f"<Residue {verdict} {self.scope}: {len(self.facts)} {self.example}>"


_LONG = 8
# Links that several pods share.
_SHARED_LINKS = frozenset({"bridge", "vxlan", "vlan", "vrf", "bond", "team", "geneve", "wireguard"})
# What a network may keep for the pods to come.
_KEPT = re.compile(r"link|address|route|vlan|sysctl|file|(legacy )?ip6?tables .*|nft .*")
_ABOUT_LINKS = frozenset(
    {"address", "route", "neighbour", "fdb", "vlan", "qdisc", "class", "filter", "sysctl"}
)
# What a network needs of the host: to forward, and to answer for its pods.
_NEEDED = re.compile(
    r"ipv4/ip_forward|ipv[46]/conf/[^/]+/(forwarding|accept_redirects|accept_ra|route_localnet)"
    r"|bridge/bridge-nf-call-.*"
)
_ON_LINK = re.compile(r"\bdev (\S+)")
_LINK_SYSCTL = re.compile(r"ipv[46]/(?:conf|neigh)/([^/]+)/")
_VARIABLE = re.compile(r"\b(?:[0-9a-f]{1,2}:){5}[0-9a-f]{2}\b|[0-9a-f]{8,}|\d+")
_AGAIN = re.compile(r" #\d+$")


def residues(
    start: Picture,
    first: Picture,
    last: Picture,
    marks: Marks,
    *,
    strict: bool = False,
    allowed: Sequence[str] = (),
) -> list[Residue]:
    """Return what is left, leaks first.

    Args:
        start: The Node before the first attachment.
        first: After the first one was gone.
        last: After the last one was gone; the same picture when there was only one.
        marks: Of all of them.
        strict: Nothing may stay,
        allowed: but for what is called like one of these patterns.
    """
    now = difference(start, last)
    judge = _Judge(start, now.added, marks, strict=strict)
    groups = defaultdict[_Group, list[Fact]](list)
    grown = _grown(difference(start, first), now) if first is not last else frozenset()
    for what, fact in _parts(now):
        alike, scope = family(fact), judge.scope(what, fact)
        # The one that a network may keep is not one of those that are too many.
        grows = (what, alike) in grown and (scope is Scope.ATTACHMENT or fact not in first)
        stays = not grows and judge.may_stay(what, fact, scope)
        leak = not stays and not any(fnmatchcase(str(fact), pattern) for pattern in allowed)
        groups[_Group(what, scope, grows, leak, alike)].append(fact)
    changes = {change.after.identity: change.attributes for change in now.changed}
    found = [
        Residue(
            what=group.what,
            facts=tuple(facts),
            scope=group.scope,
            grows=group.grows,
            leak=group.leak,
            said=changes.get(facts[0].identity, {}),
        )
        for group, facts in groups.items()
    ]
    return sorted(found, key=lambda one: (not one.leak, one.scope, one.example))


Family = tuple[str, str, str]


class _Group(NamedTuple):
    """What is reported together."""

    what: str
    scope: Scope
    grows: bool
    leak: bool
    family: Family


def family(fact: Fact) -> Family:
    """Return what facts have in common that differ in numbers: one leak makes one in each cycle."""
    return fact.where, fact.kind, _VARIABLE.sub("*", _AGAIN.sub("", fact.key))


def _grown(then: Difference, now: Difference) -> frozenset[tuple[str, Family]]:
    """Return the families that have more members than after the first cycle."""
    before = Counter((what, family(fact)) for what, fact in _parts(then))
    after = Counter((what, family(fact)) for what, fact in _parts(now))
    return frozenset(one for one in after if after[one] > before[one])


def _parts(found: Difference) -> Iterator[tuple[str, Fact]]:
    yield from (("added", fact) for fact in found.added)
    yield from (("removed", fact) for fact in found.removed)
    yield from (("changed", change.after) for change in found.changed)


class _Judge:
    """Knows what was there before and what came, to tell whose a thing is."""

    def __init__(
        self, start: Picture, added: Sequence[Fact], marks: Marks, *, strict: bool
    ) -> None:
        self.marks = marks
        self.strict = strict
        self.links = {fact.key for fact in start if fact.kind == "link" and fact.where == NODE}
        self.came = {fact.key: fact for fact in added if fact.kind == "link"}
        self.shared = {name for name, link in self.came.items() if self._is_shared(link)}

    def scope(self, what: str, fact: Fact) -> Scope:
        """Return whose a thing is."""
        if self.marks.are_on(fact):
            return Scope.ATTACHMENT
        link = _link(fact)
        of_host = link in self.links or (fact.kind == "sysctl" and link not in self.came)
        if what != "added" or of_host:
            return Scope.HOST
        shared = link in self.shared if link else bool(_KEPT.fullmatch(fact.kind))
        return Scope.NETWORK if shared else Scope.ATTACHMENT

    def may_stay(self, what: str, fact: Fact, scope: Scope) -> bool:
        """Tell whether a thing may be there when no attachment is."""
        if self.strict:
            return False
        if scope is Scope.NETWORK:
            # Routes of a shared link come with its addresses; others are somebody's.
            theirs = fact.kind == "route" and fact.get("protocol") != "kernel"
            return not theirs and bool(_KEPT.fullmatch(fact.kind))
        if scope is Scope.HOST:
            rewritten = fact.kind == "file" and what == "changed"
            return rewritten or (fact.kind == "sysctl" and bool(_NEEDED.fullmatch(fact.key)))
        return False

    def _is_shared(self, link: Fact) -> bool:
        """A bridge is; so is the pair that leads into one of its VLANs, named after it."""
        if link.get("kind") in _SHARED_LINKS:
            return True
        ends = (link.key, str(link.get("lower") or ""))
        bridges = [name for name, other in self.came.items() if other.get("kind") == "bridge"]
        return any(end.startswith(f"{bridge}.") for end in ends for bridge in bridges)


def _link(fact: Fact) -> str:
    """Return the link that a fact is, or is about; "" where there is none."""
    if fact.kind == "link":
        return fact.key
    pattern = _LINK_SYSCTL if fact.kind == "sysctl" else _ON_LINK
    found = pattern.search(fact.key) if fact.kind in _ABOUT_LINKS else None
    return found[1] if found else ""
