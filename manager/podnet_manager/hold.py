"""A Node's hold on its lease: when it is renewed, what becomes of it, and whether it is over.

Knows the store, and what it has told of the leases; knows no kernel.
"""

from podnet_manager.clock import Clock
from podnet_manager.lease import Attributes, Lease
from podnet_manager.log import Log
from podnet_manager.peers import Peers
from podnet_manager.status import Status
from podnet_manager.store import Keeping, StoreError

_RENEWALS_PER_TTL = 3
_LONGEST_PAUSE = 5.0


class Hold:
    """A lease, kept for as long as that can be done.

    Args:
        store: Where it is.
        lease: What was got.
        ttl: Seconds that it lasts without renewal.
        clock: By which it is kept.
        peers: What the store has told.
        told: How the manager is, and where it says what it does.

    Attributes:
        lease: It, as it is now.
    """

    def __init__(
        self,
        store: Keeping,
        lease: Lease,
        *,
        ttl: float,
        clock: Clock,
        peers: Peers,
        told: tuple[Status, Log],
    ) -> None:
        self.lease = lease
        self._store, self._ttl, self._clock, self._peers = store, ttl, clock, peers
        self._status, self._log = told
        self._is_kept()

    def until_renewal(self) -> float:
        """Return the seconds until it should be renewed; less than none when it should have been."""
        return self._renewal - self._clock.steady()

    def renew(self) -> bool:
        """Renew it; false when it is lost.  A store that is out is tried again."""
        try:
            renewed = self._store.renew(self.lease, ttl=self._ttl)
        except StoreError as exc:
            pause = min(_LONGEST_PAUSE, (self._lasts or self._ttl) / 10)
            self._renewal = self._clock.steady() + pause
            self._peers.store_was_out()
            self._status.store_says(str(exc), self._log)
            if self.is_over():
                ended = f"the lease on {self.lease.subnets} has ended, as far as this Node can tell"
                self._status.trouble(f"{ended}: {exc}; the data path stays", self._log)
            return True
        if renewed is None:
            # Not for want of trying: the store was away, and others will have lost theirs, too.
            self._peers.store_was_out()
            return self._lost("it had ended")
        self.lease = renewed
        self._status.store_says("", self._log)
        self._status.count("renewals_total")
        self._is_kept()
        return True

    def say(self, attributes: Attributes) -> bool:
        """Tell the others what has changed about this Node; false when the lease is lost.

        Raises:
            StoreError: The store cannot be reached.
        """
        lease = self._store.update(self.lease, attributes, ttl=self._ttl)
        if lease is None:
            return self._lost("somebody else has changed it")
        self.lease = lease
        self._is_kept()
        self._peers.note(lease)
        self._log.say("lease", lease=lease, revision=lease.revision)
        return True

    def is_ours(self) -> bool:
        """Tell whether it still is, by what the store has told."""
        told, ours = self._peers.lease_on(self.lease.subnets), self.lease.attributes
        if told == ours:
            return True
        if told is None and self.lease.revision > self._peers.newest:
            return True  # the store's news are older than the lease
        if told is None:
            return self._lost("it is gone from the store")
        if (told.public_ip, told.public_ipv6) == (ours.public_ip, ours.public_ipv6):
            return self._lost("somebody with the same public address has written it anew")
        return self._lost("somebody else has it")

    def is_over(self) -> bool:
        """Tell whether it has ended for want of a store; it may be somebody else's by now."""
        return not self.lease.is_reservation and self._end < self._clock.steady()

    def _is_kept(self) -> None:
        """Take note of when it ends: a store may have granted it for another time than asked."""
        now, expires = self._clock.steady(), self.lease.expires
        self._lasts = self._ttl if expires is None else max(0.0, expires - self._clock.now())
        self._renewal, self._end = now + self._lasts / _RENEWALS_PER_TTL, now + self._lasts
        self._status.gauge("lease_expiry_timestamp_seconds", int(self.lease.expires or 0))

    def _lost(self, why: str) -> bool:
        """Say so; the answer is no."""
        self._status.count("leases_lost_total")
        self._status.trouble(f"lost the lease on {self.lease.subnets}: {why}", self._log)
        return False
