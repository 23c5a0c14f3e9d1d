"""What a manager's worker is told by those who listen for it: to the store, to the kernel, to BIRD.

Values; and what becomes of each is the tenure's business.
"""

from dataclasses import dataclass

from podnet.kernel.monitor import News
from podnet_manager.store import Changes, Snapshot


@dataclass(frozen=True, slots=True)
class StoreIsOut:
    """The store did not answer."""

    reason: str


@dataclass(frozen=True, slots=True)
class StoreAnswers:
    """The store, which was out, answers again."""


@dataclass(frozen=True, slots=True)
class Deaf:
    """Somebody who listened cannot go on."""

    reason: str


#: ``None`` wakes the worker and says nothing.
Event = Snapshot | Changes | News | StoreIsOut | StoreAnswers | Deaf | None
