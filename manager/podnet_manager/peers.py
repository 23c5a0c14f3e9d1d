"""The leases of all Nodes, as the store has told them.

After the store was out, leases may have ended only because nobody could renew them: such
peers linger for a while, so that traffic to Nodes that are alive does not stop.
"""

import time
from collections.abc import Callable, Iterable

from podnet_manager.lease import Attributes, Lease, Subnets
from podnet_manager.store import Change


class Peers:
    """What is known of the leases.

    Args:
        grace: Seconds that a peer lingers whose lease ended while the store was out.
        clock: Seconds, monotonic.
    """

    def __init__(self, *, grace: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace = grace
        self._clock = clock
        self._leases: dict[Subnets, Lease] = {}
        self._lingering: dict[Subnets, tuple[Lease, float]] = {}
        self._out_until = -1.0
        self.newest = 0

    def store_was_out(self) -> None:
        """Take note that the store did not answer just now."""
        self._out_until = self._clock() + self._grace

    def replace(self, leases: Iterable[Lease]) -> bool:
        """Take all leases there are; tell whether that is anything new."""
        now = {lease.subnets: lease for lease in leases}
        changes = [Change(subnets, None) for subnets in self._leases if subnets not in now]
        changes += [Change(subnets, lease) for subnets, lease in now.items()]
        news = [self.change(change) for change in changes]  # all of them, then any
        return any(news)

    def change(self, change: Change) -> bool:
        """Take one change; tell whether it is news."""
        before = self._leases.get(change.subnets)
        if change.lease is None:
            self._leases.pop(change.subnets, None)
            if before is not None and self._clock() < self._out_until:
                self._lingering[change.subnets] = (before, self._out_until)
            return before is not None
        self.note(change.lease)
        return before is None or before.attributes != change.lease.attributes

    def note(self, lease: Lease) -> None:
        """Take a lease that is known to be there."""
        self._leases[lease.subnets] = lease
        self._lingering.pop(lease.subnets, None)
        self.newest = max(self.newest, lease.revision)

    def lease_on(self, subnets: Subnets) -> Attributes | None:
        """Return whose lease is on *subnets*, if there is one."""
        found = self._leases.get(subnets)
        return found.attributes if found else None

    def lease(self, subnets: Subnets) -> Lease | None:
        """Return the lease on *subnets*, if there is one."""
        return self._leases.get(subnets)

    @property
    def are_lingering(self) -> bool:
        """Whether there are peers whose leases are over."""
        return bool(self._lingering)

    @property
    def leases(self) -> tuple[Lease, ...]:
        """All leases there are."""
        return tuple(self._leases.values())

    def count(self, own: Subnets) -> int:
        """Return how many leases there are besides the one on *own*."""
        return len(self._leases) - (own in self._leases)

    def others(self, own: Subnets) -> list[Lease]:
        """Return the leases of all Nodes but the one on *own*."""
        now = self._clock()
        self._lingering = {k: v for k, v in self._lingering.items() if v[1] > now}
        taken = {subnet for subnets in (*self._leases, own) for subnet in subnets.each}
        lingering = (
            lease for lease, _ in self._lingering.values() if not taken & set(lease.subnets.each)
        )
        return [*(lease for s, lease in self._leases.items() if s != own), *lingering]
