"""What a test has of podnet: its Nodes, and whom it called; the book that a failure is told from.

Kept on pytest's own nodes (a test, a module, the session), so a test's trials are those of its
scopes.  Decides nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from podnet.execute import Outcome
    from podnet.kernel.capture import Capture
    from podnet.node import Node
    from podnet.pytest_plugin.sight import Sight
    from podnet.rig.caller import Caller


@dataclass(slots=True)
class Trial:
    """The things of one scope.

    Attributes:
        nodes: Its Nodes that are there now, with what is captured on them.
        callers: Everybody that called plugins.
        kept: What enters and ends those of its Nodes that were kept.
        seen: Of a test: Nodes as they were when it failed, some of them gone; not told of yet.
        told: How many invocations were told already.
    """

    nodes: "dict[Node, Capture | None]" = field(default_factory=dict)
    callers: "list[Caller]" = field(default_factory=list)
    kept: "dict[Node, str]" = field(default_factory=dict)
    seen: "dict[Node, Sight]" = field(default_factory=dict)
    told: int = 0

    def outcomes(self) -> "list[Outcome]":
        """Return every invocation, in the order in which they began."""
        listed = {id(outcomes): outcomes for one in self.callers if (outcomes := one.outcomes)}
        found = [outcome for outcomes in listed.values() for outcome in outcomes]
        return sorted(found, key=lambda outcome: outcome.started)

    def untold(self) -> "list[Outcome]":
        """Return the invocations since the last time."""
        found = self.outcomes()
        before, self.told = self.told, len(found)
        return found[before:]


_TRIAL = pytest.StashKey[Trial]()


def of(node: pytest.Item | pytest.Collector) -> Trial:
    """Return the trial of a test, a module or the session; a new one where there is none."""
    return node.stash.setdefault(_TRIAL, Trial())


def of_test(item: pytest.Item) -> Iterator[Trial]:
    """Yield the trials of a test and of the scopes that it is in."""
    for node in item.listchain():
        if _TRIAL in node.stash:
            yield node.stash[_TRIAL]
