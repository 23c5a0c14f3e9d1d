"""etcd's v3 API as JSON: what is asked, and what the answers say.

Pure.  Bytes are base64, 64-bit numbers are strings, what is zero or empty is left out: that is
known here and nowhere else.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from podnet.cni.errors import DecodeError
from podnet.cni.wire import Fields

Json = Mapping[str, object]


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


def key(name: bytes) -> Json:
    """Ask for one key."""
    return {"key": _text(name)}


def under(prefix: bytes) -> Json:
    """Ask for all keys that start with *prefix*, which ends in ASCII."""
    end = prefix[:-1] + bytes([prefix[-1] + 1])  # the first key after them
    return {"key": _text(prefix), "range_end": _text(end)}


def page(prefix: bytes, limit: int, *, keys_only: bool = False) -> Json:
    """Ask for the first *limit* keys that start with *prefix*."""
    return {**under(prefix), "limit": str(limit), "keys_only": keys_only}


def next_page(asked: Json, last: Entry, revision: int) -> Json:
    """Ask for those after the last, as they were when the first were read."""
    return {**asked, "key": _text(last.key + b"\0"), "revision": str(revision)}


def put(pair: Pair, lease: int = 0) -> Json:
    """Set a key, for as long as a lease lives; 0 for good."""
    return {"key": _text(pair.key), "value": _text(pair.value), "lease": str(lease)}


def putting(pair: Pair, lease: int) -> Json:
    """Set a key, in a transaction."""
    return {"request_put": put(pair, lease)}


def putting_as_leased(pair: Pair) -> Json:
    """Set a key, in a transaction, attached to what it is attached to."""
    return {"request_put": {**put(pair), "ignore_lease": True}}


def deleting(name: bytes) -> Json:
    """Delete a key, in a transaction."""
    return {"request_delete_range": key(name)}


def absent(prefix: bytes) -> Json:
    """Compare: no key starts with *prefix*."""
    return {**under(prefix), "target": "VERSION", "result": "EQUAL", "version": "0"}


def unchanged(name: bytes, revision: int) -> Json:
    """Compare: a key is as it was at *revision*."""
    same = {"target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}
    return {**key(name), **same}


def transaction(name: bytes, compare: Json, *actions: Json) -> Json:
    """Do something if a comparison holds; otherwise look at the key that may be in the way."""
    look = {"request_range": key(name)}
    return {"compare": [compare], "success": actions, "failure": [look]}


def watch(prefix: bytes, *, after: int) -> Json:
    """Be told what happens to the keys that start with *prefix*, from the next revision on."""
    how = {"start_revision": str(after + 1), "progress_notify": True, "fragment": True}
    return {"create_request": {**under(prefix), **how}}


def grant(ttl: int) -> Json:
    """Ask for a lease of so many seconds."""
    return {"TTL": str(ttl)}


def lease(identity: int) -> Json:
    """Ask something of a lease."""
    return {"ID": str(identity)}


def revision(answer: Fields) -> int:
    """Return the revision that the store has, or had."""
    return number(_inner(answer, "header"), "revision")


def entries(answer: Fields) -> Entries:
    """Read keys, as of the answer's revision."""
    header = answer.child("header")
    return Entries(
        number(header, "revision") if header else 0,
        tuple(_entry(kv, is_deleted=False) for kv in answer.children("kvs")),
    )


def events(message: Fields) -> tuple[Entry, ...]:
    """Read what a watch tells."""
    return tuple(
        _entry(_inner(event, "kv"), is_deleted=event.text("type") == "DELETE")
        for event in message.children("events")
    )


def _entry(kv: Fields, *, is_deleted: bool) -> Entry:
    return Entry(
        key=_bytes(kv, "key"),
        value=None if is_deleted else _bytes(kv, "value"),
        revision=number(kv, "mod_revision"),
        created=number(kv, "create_revision"),
        lease=number(kv, "lease"),
    )


def outcome(answer: Fields) -> Outcome:
    """Read what a transaction did."""
    found = [
        entry
        for response in answer.children("responses")
        if (looked := response.child("response_range"))
        for entry in entries(looked).entries
    ]
    return Outcome(answer.flag("succeeded"), revision(answer), found[0] if found else None)


def _inner(fields: Fields, key: str) -> Fields:
    return fields.child(key) or Fields({}, fields.path(key))


def number(fields: Fields, key: str) -> int:
    """Return a number, 64 bits wide.

    Raises:
        DecodeError: It is none.
    """
    text = fields.text(key, "0")
    try:
        return int(text)
    except ValueError:
        raise DecodeError(f"{fields.path(key)} is no number: {text[:40]}") from None


def granted(answer: Fields) -> tuple[int, int]:
    """Read a new lease's identity, and its seconds."""
    return number(answer, "ID"), number(answer, "TTL")


def kept_alive(answer: Fields) -> int:
    """Read the seconds that a lease has now; 0 when it is over."""
    return number(_inner(answer, "result"), "TTL")


def _bytes(fields: Fields, key: str) -> bytes:
    try:
        return b64decode(fields.text(key), validate=True)
    except binascii.Error:
        raise DecodeError(f"{fields.path(key)} is not base64") from None


def _text(value: bytes) -> str:
    return b64encode(value).decode()
