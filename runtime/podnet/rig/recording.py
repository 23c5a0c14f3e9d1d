"""A recording: the calls that shims wrote down, read again.

Knows docs/recording.md's format.  A line that is none (of a full disk, of somebody else) is
told of, and does not hide the others.
"""

import base64
import binascii
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from podnet.cni import wire
from podnet.cni.errors import CniError, DecodeError
from podnet.cni.versions import Verb
from podnet.cni.wire import Fields
from podnet.errors import UsageError

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One call of a plugin.

    Attributes:
        time: When it began, in seconds since the epoch.
        milliseconds: How long it took.
        plugin: The plugin's type.
        binary: Its file.
        verb: CNI_COMMAND.
        pid: The plugin's process ID.
        parent: The process that called it.
        arguments: What it was given besides.
        environment: All of its environment.
        stdin: What it read.
        stdout: What it printed.
        stderr: What it logged.
        exit_status: Its exit status; ``None`` when it did not come to one.
        signal: The signal that ended it, or ``None``.
        problem: What was odd.
        fault: What was made to go wrong.
    """

    time: float
    milliseconds: float
    plugin: str
    binary: str
    verb: str
    pid: int
    parent: int
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    stdout: bytes = b""
    stderr: bytes = b""
    exit_status: int | None = None
    signal: int | None = None
    problem: str = ""
    fault: str = ""

    def __repr__(self) -> str:
        return f"<{self.verb} {self.plugin}: {self.ending}>"

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        if self.signal is not None:
            return f"signal {self.signal}"
        if self.exit_status is None:
            return self.problem or "no answer"
        return f"exit {self.exit_status}"

    @property
    def failed(self) -> bool:
        """Whether the runtime saw a failure."""
        return self.exit_status != 0

    @property
    def container(self) -> tuple[str, str]:
        """CNI_CONTAINERID and CNI_IFNAME."""
        return self.environment.get("CNI_CONTAINERID", ""), self.environment.get("CNI_IFNAME", "")

    @classmethod
    def from_wire(cls, value: object) -> "Recorded":
        """Read one call.

        Raises:
            DecodeError: It is none.
        """
        fields = Fields.of(value, "the line")
        if fields.get("recording") != FORMAT:
            raise DecodeError(f"its format is not {FORMAT}, which this podnet reads")
        environment = fields.child("environment")
        return cls(
            time=_real(fields.get("time")),
            milliseconds=_real(fields.get("duration_ms")),
            plugin=fields.text("plugin"),
            binary=fields.text("binary"),
            verb=fields.text("verb"),
            pid=fields.number("pid") or 0,
            parent=fields.number("parent") or 0,
            arguments=fields.texts("arguments"),
            environment=dict(_variables(environment)) if environment else {},
            stdin=_stream(fields, "stdin"),
            stdout=_stream(fields, "stdout"),
            stderr=_stream(fields, "stderr"),
            exit_status=fields.number("exit_status"),
            signal=fields.number("signal"),
            problem=fields.text("problem"),
            fault=fields.text("fault"),
        )


def _variables(environment: Fields) -> Iterator[tuple[str, str]]:
    """Yield what can be in an environment.

    Raises:
        DecodeError: Something cannot.
    """
    for name, value in environment.values.items():
        text = str(value)
        try:
            possible = not ("\0" in name + text or "=" in name or not name)
            os.fsencode(name + text)
        except UnicodeEncodeError:
            possible = False
        if not possible:
            raise DecodeError(f"there can be no variable {name!r} in an environment")
        yield name, text


def _real(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _stream(fields: Fields, name: str) -> bytes:
    value = fields.get(name)
    if isinstance(value, dict):
        try:
            return base64.b64decode(Fields(value, name).text("base64"), validate=True)
        except binascii.Error:
            raise DecodeError(f"{name} is not base64") from None
    return fields.text(name).encode(errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class Recording:
    """What a file of calls holds.

    Attributes:
        calls: The calls, in the order they began.
        lines: The line of each.
        odd: What is wrong with lines that are no calls, in sentences.
    """

    calls: tuple[Recorded, ...]
    lines: tuple[bytes, ...] = ()
    odd: tuple[str, ...] = ()

    @property
    def asked(self) -> tuple[Recorded, ...]:
        """The calls of a runtime: not those that a plugin made of another, its IPAM."""
        return tuple(call for call in self.calls if not _is_delegated(call, self.calls))

    @property
    def repeatable(self) -> tuple[Recorded, ...]:
        """Those of a runtime's calls that can be made again: of a verb, without arguments."""
        return tuple(call for call in self.asked if call.verb in set(Verb) and not call.arguments)


def _is_delegated(call: Recorded, calls: Iterable[Recorded]) -> bool:
    """Tell whether a call was a plugin's.

    Its parent says so; where a plugin has a helper call, that a runtime asks one thing of a
    container at a time does.
    """
    return any(
        (other.pid == call.parent or (other.verb, other.container) == (call.verb, call.container))
        for other in calls
        if other is not call and _encloses(other, call)
    )


def _encloses(outer: Recorded, inner: Recorded) -> bool:
    ends = [call.time + call.milliseconds / 1000 for call in (outer, inner)]
    return outer.time < inner.time and ends[1] < ends[0]


def read(path: Path) -> Recording:
    """Read a recording.

    Raises:
        UsageError: It cannot be read, or holds no call at all.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as exc:
        raise UsageError(f"cannot read the recording {path}: {exc.strerror}") from exc
    found, odd = list[tuple[Recorded, bytes]](), list[str]()
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append((Recorded.from_wire(wire.loads(line, "the line")), line + b"\n"))
            except CniError as exc:
                odd.append(f"{path}:{number}: no call: {exc}")
    if odd and not found:
        raise UsageError(f"{path} is no recording", odd[0])
    found.sort(key=lambda pair: pair[0].time)
    return Recording(
        calls=tuple(call for call, _ in found),
        lines=tuple(line for _, line in found),
        odd=tuple(odd),
    )
