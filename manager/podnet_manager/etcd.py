"""The part of etcd's v3 API that a lease store needs: keys, transactions, leases, watches.

Values in, values out; how they look as JSON is :mod:`podnet_manager.etcd_wire`'s.  Knows no
Node and no subnet.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from podnet.cni.errors import DecodeError
from podnet.cni.wire import Fields
from podnet_manager import etcd_wire as wire
from podnet_manager.bell import Bell
from podnet_manager.etcd_wire import Entries, Entry, Json, Outcome, Pair
from podnet_manager.gateway import Gateway
from podnet_manager.gateway_answer import NOT_FOUND, RefusedError, Stream
from podnet_manager.store import CompactedError, StoreError

_COMPACTED = 11  # gRPC's OUT_OF_RANGE, which a revision is
_PAGE = 10_000  # keys in one answer
T = TypeVar("T")


class Etcd:
    """etcd, for one thread; every method raises StoreError when it cannot be reached."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def close(self) -> None:
        """Hang up."""
        self._gateway.close()

    def get(self, key: bytes) -> Entry | None:
        """Return a key, ``None`` when there is none."""
        return _read(self._gateway.ask("/v3/kv/range", wire.key(key)), wire.entries).first

    def under(self, prefix: bytes, *, keys_only: bool = False) -> Entries:
        """Return all keys that start with *prefix*, as they were at one revision.

        Raises:
            CompactedError: There are so many that etcd forgot that revision meanwhile.
        """
        body = wire.page(prefix, _PAGE, keys_only=keys_only)
        found, revision = tuple[Entry, ...](), 0
        while True:
            try:
                answer = self._gateway.ask("/v3/kv/range", body)
            except RefusedError as exc:
                if exc.code == _COMPACTED:
                    raise CompactedError(exc.message) from exc
                raise
            page = _read(answer, wire.entries)
            found += page.entries
            revision = revision or page.revision
            if not page.entries or not _read(answer, lambda fields: fields.flag("more")):
                return Entries(revision, found)
            body = wire.next_page(body, found[-1], revision)

    def put(self, key: bytes, value: bytes) -> int:
        """Set a key for good, whatever it was; return the revision."""
        return _read(self._gateway.ask("/v3/kv/put", wire.put(Pair(key, value))), wire.revision)

    def put_new(self, new: Pair, *beside: Pair, lease: int, alone: bytes) -> Outcome:
        """Set keys as long as the lease lives, if no key starts with *alone*."""
        puts = [wire.putting(pair, lease) for pair in (new, *beside)]
        return self._transact(new.key, wire.absent(alone), *puts)

    def put_changed(self, new: Pair, *beside: Pair, lease: int, revision: int) -> Outcome:
        """Set a key that is as it was at *revision*, attached to what it is; others to the lease."""
        puts = [wire.putting(pair, lease) for pair in beside]
        return self._transact(
            new.key, wire.unchanged(new.key, revision), wire.putting_as_leased(new), *puts
        )

    def delete(self, key: bytes, *, revision: int) -> Outcome:
        """Delete a key that is as it was at *revision*."""
        return self._transact(key, wire.unchanged(key, revision), wire.deleting(key))

    def _transact(self, key: bytes, compare: Json, *actions: Json) -> Outcome:
        body = wire.transaction(key, compare, *actions)
        return _read(self._gateway.ask("/v3/kv/txn", body), wire.outcome)

    def grant(self, ttl: int) -> tuple[int, int]:
        """Make a lease; return its identity, and the seconds that etcd made of *ttl*."""
        answer = self._gateway.ask("/v3/lease/grant", wire.grant(ttl))
        return _read(answer, wire.granted)

    def keep_alive(self, lease: int) -> int:
        """Let a lease live for its whole time again; return the seconds, 0 when it is over."""
        answer = self._gateway.ask("/v3/lease/keepalive", wire.lease(lease))
        return _read(answer, wire.kept_alive)

    def revoke(self, lease: int) -> None:
        """End a lease, and the keys that are attached to it; it may be over."""
        try:
            self._gateway.ask("/v3/lease/revoke", wire.lease(lease))
        except RefusedError as exc:
            if exc.code != NOT_FOUND:
                raise

    def watch(self, prefix: bytes, *, after: int, cancelled: Bell | None = None) -> "Watch":
        """Watch the keys that start with *prefix*, from the revision after *after* on.

        Once it is cancelled, nobody waits for anything any more.

        Raises:
            CompactedError: etcd does not have, or not yet have, that revision.
        """
        request = wire.watch(prefix, after=after)
        stream, first = self._gateway.stream("/v3/watch", request, cancelled=cancelled)
        with ExitStack() as undo:
            undo.callback(stream.close)
            _read(first, _check)
            # etcd would wait for it, maybe for ever: it was set up anew, or from a backup.
            # Or this member is only late, and all of them together know better.
            if _read(first, wire.revision) < after and self._revision(prefix) < after:
                raise CompactedError(f"etcd {stream.endpoint} has not come to revision {after}")
            undo.pop_all()
        return Watch(stream)

    def _revision(self, key: bytes) -> int:
        return _read(self._gateway.ask("/v3/kv/range", wire.key(key)), wire.revision)


class Watch:
    """What happens to some keys, as it happens."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._fragments: tuple[Entry, ...] = ()

    def read(self, *, deadline: float) -> Entries | None:
        """Return what happened, and up to which revision; ``None``: nothing in time.

        Raises:
            CompactedError: Something that is forgotten.
            BrokenError: The stream is over; another may be opened.
        """
        while message := self._stream.read(deadline=deadline):
            _read(message, _check)
            self._fragments += _read(message, wire.events)
            if _read(message, lambda fields: fields.flag("fragment")):
                continue
            entries, self._fragments = self._fragments, ()
            # The header's revision may be that of events yet to come, if there are any.
            revision = entries[-1].revision if entries else _read(message, wire.revision)
            return Entries(revision, entries)
        return None

    def close(self) -> None:
        """Stop watching."""
        self._stream.close()


def _read(fields: Fields, parse: Callable[[Fields], T]) -> T:
    """Parse an answer; one that cannot be understood is the store's failure."""
    try:
        return parse(fields)
    except DecodeError as exc:
        raise StoreError(f"etcd {exc.msg}") from exc


def _check(message: Fields) -> None:
    """Raise what a watch that was cancelled says."""
    if not message.flag("canceled"):
        return
    if compacted := wire.number(message, "compact_revision"):
        raise CompactedError(f"etcd forgot everything before revision {compacted}")
    raise StoreError(f"etcd ends the watch: {message.text('cancel_reason') or 'for no reason'}")
