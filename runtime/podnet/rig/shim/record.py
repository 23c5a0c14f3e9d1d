"""Writes a call down: one line of JSON, appended whole, secrets hidden.

The format is docs/recording.md's.  The json module would take as long to load as Python
itself, so that it is used only where there is something to hide.
"""

from __future__ import annotations

import fcntl
import os

from podnet.rig.shim.call import Call, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_HIDDEN = "[redacted]"
_LARGEST = 1 << 28
_SHORTEST_SECRET = 4  # what is shorter is found everywhere

Words = tuple[str, ...]


def write_down(
    call: Call, path: str, words: Words, *, ended: int | None, problem: str = ""
) -> None:
    """Append *call* to the record; what cannot be written is lost, the plugin's work counts.

    Args:
        call: What happened.
        path: The record; "" for none.
        words: Values are hidden whose key has one of these in it.
        ended: The exit status, a signal as a negative number, ``None`` for neither.
        problem: What was odd.
    """
    if path:
        try:
            _append(path, line(call, words, ended=ended, problem=problem))
        except OSError:
            return


def line(call: Call, words: Words, *, ended: int | None, problem: str = "") -> bytes:
    """Return what is written down of *call*."""
    said = {name: bytes(data) for name, data in call.said.items()}
    environment, arguments = dict(call.environment), list(call.arguments)
    if words:
        environment, said, arguments = _redacted(environment, said, arguments, words)
    fields = {
        "recording": "1",
        "time": repr(call.started),
        "duration_ms": f"{call.milliseconds:.3f}",
        "plugin": quoted(call.real.rpartition("/")[2]),
        "binary": quoted(call.real),
        "verb": quoted(call.verb),
        "pid": str(call.pid),
        "parent": str(call.caller),
        "arguments": f"[{', '.join(map(quoted, arguments))}]",
        "environment": _object({key: quoted(value) for key, value in environment.items()}),
        **{name: _text(data) for name, data in said.items()},
        "exit_status": "null" if ended is None or ended < 0 else str(ended),
        "signal": str(-ended) if ended is not None and ended < 0 else "null",
        **{f"{name}_cut": str(more) for name, more in call.cut.items() if more},
    }
    if call.fault:
        fields["fault"] = quoted(call.fault)
    if problem:
        fields["problem"] = quoted(problem)
    return _object(fields).encode() + b"\n"


def _append(path: str, text: bytes) -> None:
    """Append one line, on a line of its own: others write at the same time."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        status = os.fstat(descriptor)
        if status.st_mode & 0o077 and status.st_uid == os.geteuid():  # it was there before us
            os.fchmod(descriptor, 0o600)
        size = status.st_size
        if size > _LARGEST:  # a node must not run out of disk because it is watched
            return
        if size and os.pread(descriptor, 1, size - 1) != b"\n":  # half a line, of a full disk
            text = b"\n" + text
        write(descriptor, text)
    finally:
        os.close(descriptor)


def _redacted(
    environment: dict[str, str], said: dict[str, bytes], arguments: list[str], words: Words
) -> tuple[dict[str, str], dict[str, bytes], list[str]]:
    """Hide the values of keys that have one of *words* in them, wherever they are said again."""
    pairs = [pair.partition("=") for pair in environment.get("CNI_ARGS", "").split(";")]
    secrets = {value for key, _, value in pairs if _is_named(key, words)}
    secrets |= {value for key, value in environment.items() if _is_named(key, words)}
    said = {name: _hide_in_document(data, words, secrets) for name, data in said.items()}
    shown = {k: _HIDDEN if _is_named(k, words) else v for k, v in environment.items()}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            arguments = [value.replace(secret, _HIDDEN) for value in arguments]
            shown = {key: value.replace(secret, _HIDDEN) for key, value in shown.items()}
            for spelled in {secret.encode(errors="surrogateescape"), quoted(secret)[1:-1].encode()}:
                said = {k: v.replace(spelled, _HIDDEN.encode()) for k, v in said.items()}
    return shown, said, arguments


def _hide_in_document(data: bytes, words: Words, secrets: set[str]) -> bytes:
    """Hide the secrets of a JSON document, and add them to *secrets*."""
    lowered = data.lower()
    if not any(word.lower().encode() in lowered for word in words):
        return data
    import json  # noqa: PLC0415

    def walk(value: object) -> object:
        if isinstance(value, dict):
            return {k: hide(v) if _is_named(k, words) else walk(v) for k, v in value.items()}
        return [walk(item) for item in value] if isinstance(value, list) else value

    def hide(value: object) -> str:
        secrets.update(_strings(value))
        return _HIDDEN

    try:
        return json.dumps(walk(json.loads(data))).encode()
    except (ValueError, RecursionError):  # not JSON: what is secret is not known by its key
        return data


def _strings(value: object) -> Iterator[str]:
    """Yield every text that is below a secret key."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _is_named(key: str, words: Words) -> bool:
    return any(word.lower() in key.lower() for word in words)


def quoted(text: str) -> str:
    """Return *text* as JSON; what is no text in it, as an escaped surrogate."""
    try:
        from _json import encode_basestring_ascii  # noqa: PLC0415
    except ImportError:  # another Python than CPython
        from json.encoder import encode_basestring_ascii  # noqa: PLC0415
    return str(encode_basestring_ascii(text))


def _object(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f"{quoted(key)}: {text}" for key, text in fields.items()) + "}"


def _text(data: bytes) -> str:
    """Return a stream: its text, or where it is none, its bytes in base64."""
    try:
        return quoted(data.decode())
    except UnicodeDecodeError:
        import binascii  # noqa: PLC0415  most of it is text

        return _object({"base64": quoted(binascii.b2a_base64(data, newline=False).decode())})
