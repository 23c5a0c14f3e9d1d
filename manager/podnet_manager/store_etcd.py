"""The lease store in etcd, with flannel's keys and values: ours and real flannels share it.

A Node's lease lives by an etcd lease, which ends by itself and takes the key with it; to keep
it nothing is written, so nobody hears of it.  Whoever writes compares revisions in the same
transaction.  A request may arrive twice, when its answer got lost: what is written names its
lease, and is known again by it.

Flannel knows a Node by its public address alone, and its values have no room for more.  Which
of two Nodes with one address took a lease is said by a key beside it, which lives as long.
"""

import math
import time
from collections.abc import Callable

from podnet.cni.errors import CniError
from podnet_manager.access import Access
from podnet_manager.bell import Bell
from podnet_manager.etcd import Etcd, Watch
from podnet_manager.etcd_wire import Entry, Pair
from podnet_manager.gateway import Gateway
from podnet_manager.gateway_answer import BrokenError
from podnet_manager.lease import Attributes, Lease, Subnets
from podnet_manager.store import Change, Changes, Snapshot, StoreError

PREFIX = "/coreos.com/network"
_PAUSE = 0.1  # before a watch that broke is opened again


class EtcdStore:
    """A lease store in etcd; for one thread.

    A lease keeps to the TTL that it was made with; those of others say nothing of when they
    end (``expires`` is infinite), for that would be a request for each.

    Args:
        access: How to reach etcd.
        prefix: What all keys start with.
        holder: Who takes leases here; "" for somebody who does not say.
        clock: Seconds since the epoch.

    Raises:
        UsageError: *access* makes no sense.
    """

    def __init__(
        self,
        access: Access,
        *,
        prefix: str = PREFIX,
        holder: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._etcd = Etcd(Gateway(access))
        self._config = f"{prefix.rstrip('/')}/config".encode()
        self._subnets = f"{prefix.rstrip('/')}/subnets/".encode()
        # Not below "subnets", which flannel's daemons read.
        self._holders = f"{prefix.rstrip('/')}/podnet/holders/".encode()
        self._holder = holder
        self._clock = clock
        self._watch: Watch | None = None
        self._seen = 0  # the revision that the watch has come to

    def close(self) -> None:
        """Let go of etcd."""
        self._unwatch()
        self._etcd.close()

    def config(self) -> bytes | None:
        """Return the network's configuration, ``None`` while there is none."""
        found = self._etcd.get(self._config)
        return found.value if found else None

    def set_config(self, text: bytes) -> None:
        """Set the network's configuration."""
        self._etcd.put(self._config, text)

    def snapshot(self) -> Snapshot:
        """Return all leases, in one request per ten thousand."""
        found = self._etcd.under(self._subnets)
        leases = (self._change(entry) for entry in found.entries)
        return Snapshot(found.revision, tuple(c.lease for c in leases if c and c.lease))

    def holder(self, lease: Lease) -> str:
        """Return who took a lease; "" for a flannel daemon, which does not say."""
        found = self._etcd.get(self._holders + lease.subnets.key.encode()) if lease.hold else None
        if found is None or found.value is None or str(found.lease) != lease.hold:
            return ""  # of an earlier lease, if any
        return found.value.decode(errors="replace")

    def create(self, subnets: Subnets, attributes: Attributes, *, ttl: float) -> Lease | None:
        """Take a lease, if nobody has it or a part of it."""
        asked = self._clock()
        hold, granted = self._etcd.grant(max(1, math.ceil(ttl)))
        key = self._key(subnets)
        # Somebody may have the first of the subnets alone, or with another second one.
        first = self._subnets + subnets.key.partition("&")[0].encode()
        new, beside = Pair(key, attributes.to_wire()), self._signature(subnets)
        outcome = self._etcd.put_new(new, *beside, lease=hold, alone=first)
        revision = outcome.revision
        if not outcome.succeeded:
            if outcome.found is None or outcome.found.lease != hold:
                self._let_go(hold)
                return None
            revision = outcome.found.revision
        lease = Lease(
            subnets=subnets,
            attributes=attributes,
            revision=revision,
            hold=str(hold),
            expires=asked + granted,
        )
        if subnets.ipv6 and self._is_later(lease):
            self.delete(lease)
            return None
        return lease

    def renew(self, lease: Lease, *, ttl: float) -> Lease | None:  # noqa: ARG002  it has its own
        """Keep a lease; nobody else needs to hear of it."""
        if lease.is_reservation:
            return lease
        expires = self._keep_alive(lease)
        found = self._etcd.get(self._key(lease.subnets)) if expires else None
        if found is None or (found.lease, found.revision) != (int(lease.hold), lease.revision):
            return None
        return Lease(
            subnets=lease.subnets,
            attributes=lease.attributes,
            revision=lease.revision,
            hold=lease.hold,
            expires=expires,
        )

    def update(
        self,
        lease: Lease,
        attributes: Attributes,
        *,
        ttl: float,  # noqa: ARG002  it has its own
    ) -> Lease | None:
        """Say something new of a lease, and keep it."""
        expires = None if lease.is_reservation else self._keep_alive(lease)
        if expires is None and not lease.is_reservation:
            return None
        value = attributes.to_wire()
        beside = () if lease.is_reservation else self._signature(lease.subnets)
        outcome = self._etcd.put_changed(
            Pair(self._key(lease.subnets), value),
            *beside,
            lease=int(lease.hold or 0),
            revision=lease.revision,
        )
        revision = outcome.revision
        if not outcome.succeeded:
            found = outcome.found
            if found is None or (found.value, str(found.lease)) != (value, lease.hold or "0"):
                return None
            revision = found.revision
        return Lease(
            subnets=lease.subnets,
            attributes=attributes,
            revision=revision,
            hold=lease.hold,
            expires=expires,
        )

    def delete(self, lease: Lease) -> bool:
        """Give a lease back."""
        if not self._etcd.delete(self._key(lease.subnets), revision=lease.revision).succeeded:
            return False
        if lease.hold:
            self._let_go(int(lease.hold))
        return True

    def reserve(self, subnets: Subnets, attributes: Attributes) -> Lease:
        """Set a lease for good, whoever had it."""
        revision = self._etcd.put(self._key(subnets), attributes.to_wire())
        return Lease(subnets=subnets, attributes=attributes, revision=revision)

    def changes(self, since: int, *, patience: float, cancelled: Bell | None = None) -> Changes:
        """Wait for changes after revision *since*.

        One watch goes on from call to call, as long as each starts where the last one ended.
        """
        deadline = time.monotonic() + patience
        if self._seen != since:
            self._unwatch()
            self._seen = since
        changes: list[Change] = []
        while True:
            # What is there already is taken along; for more nobody waits.
            limit = 0.0 if changes else deadline
            try:
                self._watch = self._watch or self._etcd.watch(
                    self._subnets, after=self._seen, cancelled=cancelled
                )
                found = self._watch.read(deadline=limit)
            except StoreError as exc:
                self._unwatch()
                if not (changes or _is_rung(cancelled) or isinstance(exc, BrokenError)):
                    raise
                found = None
                time.sleep(max(0.0, min(_PAUSE, limit - time.monotonic())))
            if found is not None:
                self._seen = max(self._seen, found.revision)
                changes += filter(None, map(self._change, found.entries))
            elif changes or _is_rung(cancelled) or time.monotonic() >= deadline:
                return Changes(self._seen, tuple(changes))

    def _unwatch(self) -> None:
        if self._watch:
            self._watch.close()
            self._watch = None

    def _key(self, subnets: Subnets) -> bytes:
        return self._subnets + subnets.key.encode()

    def _signature(self, subnets: Subnets) -> tuple[Pair, ...]:
        """Return what says that a lease is ours."""
        if not self._holder:
            return ()
        return (Pair(self._holders + subnets.key.encode(), self._holder.encode()),)

    def _change(self, entry: Entry) -> Change | None:
        """Read a key; what is no lease's is nobody's."""
        try:
            subnets = Subnets.from_key(entry.key.removeprefix(self._subnets).decode())
        except (CniError, UnicodeDecodeError):
            return None
        return Change(subnets, _lease(subnets, entry))

    def _keep_alive(self, lease: Lease) -> float | None:
        """Return when a lease ends now, ``None`` when it has ended."""
        asked = self._clock()
        granted = self._etcd.keep_alive(int(lease.hold))
        return asked + granted if granted else None

    def _is_later(self, lease: Lease) -> bool:
        """Tell whether somebody was faster with the second of a lease's subnets.

        The guard of a key is on its first.  Both looked after both had written, so one
        of them, and only one, sees that it was later.
        """
        earlier = (
            self._change(entry)
            for entry in self._etcd.under(self._subnets, keys_only=True).entries
            if entry.created < lease.revision
        )
        return any(change and change.subnets.ipv6 == lease.subnets.ipv6 for change in earlier)

    def _let_go(self, hold: int) -> None:
        try:
            self._etcd.revoke(hold)
        except StoreError:
            return  # no key needs it any more, and it ends by itself


def _is_rung(bell: Bell | None) -> bool:
    return bell is not None and bell.is_rung()


def _lease(subnets: Subnets, entry: Entry) -> Lease | None:
    if entry.value is None:
        return None
    try:
        attributes = Attributes.from_wire(entry.value)
    except CniError:
        return None
    return Lease(
        subnets=subnets,
        attributes=attributes,
        revision=entry.revision,
        hold=str(entry.lease) if entry.lease else "",
        expires=math.inf if entry.lease else None,
    )
