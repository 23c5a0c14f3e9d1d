"""The part of etcd's v3 API that a lease store needs: keys, transactions, leases, watches.

Values in, values out; how they look as JSON is known here and nowhere else (bytes as base64,
64-bit numbers as strings, what is zero or empty left out).  Knows no Node and no subnet.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

from podnet.cni.errors import DecodeError
from podnet.cni.wire import Fields
from podnet_manager.bell import Bell
from podnet_manager.gateway import NOT_FOUND, Gateway, RefusedError, Stream
from podnet_manager.store import CompactedError, StoreError

_COMPACTED = 11  # gRPC's OUT_OF_RANGE, which a revision is
_PAGE = 10_000  # keys in one answer
Json = Mapping[str, object]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pair:
    """A key and a value to be set."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as it is, or as it became.

    Attributes:
        key: Its name.
        value: ``None`` when it was deleted.
        revision: Of its last change.
        created: The revision that it came with.
        lease: What it is attached to; 0 for nothing.
    """

    key: bytes
    value: bytes | None
    revision: int
    created: int
    lease: int


@dataclass(frozen=True, slots=True)
class Entries:
    """Some keys, as of a revision."""

    revision: int
    entries: tuple[Entry, ...]

    @property
    def first(self) -> Entry | None:
        """The one that was asked for, if there is one."""
        return self.entries[0] if self.entries else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transaction did.

    Attributes:
        succeeded: Whether the comparison held.
        revision: Of the store afterwards; of what was put.
        found: If not: the key that was in the way, when it is there.
    """

    succeeded: bool
    revision: int
    found: Entry | None


class Etcd:
    """etcd, for one thread; every method raises StoreError when it cannot be reached."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def close(self) -> None:
        """Hang up."""
        self._gateway.close()

    def get(self, key: bytes) -> Entry | None:
        """Return a key, ``None`` when there is none."""
        return _read(self._gateway.ask("/v3/kv/range", {"key": _text(key)}), _entries).first

    def under(self, prefix: bytes, *, keys_only: bool = False) -> Entries:
        """Return all keys that start with *prefix*, as they were at one revision.

        Raises:
            CompactedError: There are so many that etcd forgot that revision meanwhile.
        """
        body: dict[str, object] = {
            "key": _text(prefix),
            "range_end": _text(_end(prefix)),
            "limit": str(_PAGE),
            "keys_only": keys_only,
        }
        found: tuple[Entry, ...] = ()
        while True:
            try:
                answer = self._gateway.ask("/v3/kv/range", body)
            except RefusedError as exc:
                if exc.code == _COMPACTED:
                    raise CompactedError(exc.message) from exc
                raise
            page = _read(answer, _entries)
            found += page.entries
            revision = int(str(body.setdefault("revision", str(page.revision))))
            if not page.entries or not _read(answer, lambda fields: fields.flag("more")):
                return Entries(revision, found)
            body["key"] = _text(found[-1].key + b"\0")

    def put(self, key: bytes, value: bytes) -> int:
        """Set a key for good, whatever it was; return the revision."""
        return _read(self._gateway.ask("/v3/kv/put", _put(Pair(key, value))), _revision)

    def put_new(self, new: Pair, *beside: Pair, lease: int, alone: bytes) -> Outcome:
        """Set keys as long as the lease lives, if no key starts with *alone*."""
        absent = {
            "key": _text(alone),
            "range_end": _text(_end(alone)),
            "target": "VERSION",
            "result": "EQUAL",
            "version": "0",
        }
        puts = [{"request_put": _put(pair, lease)} for pair in (new, *beside)]
        return self._transact(new.key, absent, *puts)

    def put_changed(self, new: Pair, *beside: Pair, lease: int, revision: int) -> Outcome:
        """Set a key that is as it was at *revision*, attached to what it is; others to the lease."""
        puts = [{"request_put": _put(pair, lease)} for pair in beside]
        kept = {"request_put": {**_put(new), "ignore_lease": True}}
        return self._transact(new.key, _unchanged(new.key, revision), kept, *puts)

    def delete(self, key: bytes, *, revision: int) -> Outcome:
        """Delete a key that is as it was at *revision*."""
        gone = {"request_delete_range": {"key": _text(key)}}
        return self._transact(key, _unchanged(key, revision), gone)

    def _transact(self, key: bytes, compare: Json, *actions: Json) -> Outcome:
        look = {"request_range": {"key": _text(key)}}
        body = {"compare": [compare], "success": actions, "failure": [look]}
        return _read(self._gateway.ask("/v3/kv/txn", body), _outcome)

    def grant(self, ttl: int) -> tuple[int, int]:
        """Make a lease; return its identity, and the seconds that etcd made of *ttl*."""
        answer = self._gateway.ask("/v3/lease/grant", {"TTL": str(ttl)})
        return _read(answer, lambda fields: (_number(fields, "ID"), _number(fields, "TTL")))

    def keep_alive(self, lease: int) -> int:
        """Let a lease live for its whole time again; return the seconds, 0 when it is over."""
        answer = self._gateway.ask("/v3/lease/keepalive", {"ID": str(lease)})
        return _read(answer, lambda fields: _number(_inner(fields, "result"), "TTL"))

    def revoke(self, lease: int) -> None:
        """End a lease, and the keys that are attached to it; it may be over."""
        try:
            self._gateway.ask("/v3/lease/revoke", {"ID": str(lease)})
        except RefusedError as exc:
            if exc.code != NOT_FOUND:
                raise

    def watch(self, prefix: bytes, *, after: int, cancelled: Bell | None = None) -> "Watch":
        """Watch the keys that start with *prefix*, from the revision after *after* on.

        Once it is cancelled, nobody waits for anything any more.

        Raises:
            CompactedError: etcd does not have, or not yet have, that revision.
        """
        request = {
            "key": _text(prefix),
            "range_end": _text(_end(prefix)),
            "start_revision": str(after + 1),
            "progress_notify": True,
            "fragment": True,
        }
        stream, first = self._gateway.stream(
            "/v3/watch", {"create_request": request}, cancelled=cancelled
        )
        with ExitStack() as undo:
            undo.callback(stream.close)
            _read(first, _check)
            # etcd would wait for it, maybe for ever: it was set up anew, or from a backup.
            # Or this member is only late, and all of them together know better.
            if _read(first, _revision) < after and self._revision(prefix) < after:
                raise CompactedError(f"etcd {stream.endpoint} has not come to revision {after}")
            undo.pop_all()
        return Watch(stream)

    def _revision(self, key: bytes) -> int:
        return _read(self._gateway.ask("/v3/kv/range", {"key": _text(key)}), _revision)


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
            self._fragments += _read(message, _events)
            if _read(message, lambda fields: fields.flag("fragment")):
                continue
            entries, self._fragments = self._fragments, ()
            # The header's revision may be that of events yet to come, if there are any.
            revision = entries[-1].revision if entries else _read(message, _revision)
            return Entries(revision, entries)
        return None

    def close(self) -> None:
        """Stop watching."""
        self._stream.close()


def _put(pair: Pair, lease: int = 0) -> Json:
    return {"key": _text(pair.key), "value": _text(pair.value), "lease": str(lease)}


def _unchanged(key: bytes, revision: int) -> Json:
    return {
        "key": _text(key),
        "target": "MOD",
        "result": "EQUAL",
        "mod_revision": str(revision),
    }


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
    if compacted := _number(message, "compact_revision"):
        raise CompactedError(f"etcd forgot everything before revision {compacted}")
    raise StoreError(f"etcd ends the watch: {message.text('cancel_reason') or 'for no reason'}")


def _revision(answer: Fields) -> int:
    return _number(_inner(answer, "header"), "revision")


def _entries(answer: Fields) -> Entries:
    header = answer.child("header")
    return Entries(
        _number(header, "revision") if header else 0,
        tuple(_entry(kv, is_deleted=False) for kv in answer.children("kvs")),
    )


def _events(message: Fields) -> tuple[Entry, ...]:
    return tuple(
        _entry(_inner(event, "kv"), is_deleted=event.text("type") == "DELETE")
        for event in message.children("events")
    )


def _entry(kv: Fields, *, is_deleted: bool) -> Entry:
    return Entry(
        key=_bytes(kv, "key"),
        value=None if is_deleted else _bytes(kv, "value"),
        revision=_number(kv, "mod_revision"),
        created=_number(kv, "create_revision"),
        lease=_number(kv, "lease"),
    )


def _outcome(answer: Fields) -> Outcome:
    found = [
        entry
        for response in answer.children("responses")
        if (looked := response.child("response_range"))
        for entry in _entries(looked).entries
    ]
    return Outcome(answer.flag("succeeded"), _revision(answer), found[0] if found else None)


def _inner(fields: Fields, key: str) -> Fields:
    return fields.child(key) or Fields({}, fields.path(key))


def _number(fields: Fields, key: str) -> int:
    text = fields.text(key, "0")
    try:
        return int(text)
    except ValueError:
        raise DecodeError(f"{fields.path(key)} is no number: {text[:40]}") from None


def _bytes(fields: Fields, key: str) -> bytes:
    try:
        return b64decode(fields.text(key), validate=True)
    except binascii.Error:
        raise DecodeError(f"{fields.path(key)} is not base64") from None


def _text(value: bytes) -> str:
    return b64encode(value).decode()


def _end(prefix: bytes) -> bytes:
    """Return the first key after all that start with *prefix*, which ends in ASCII."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
