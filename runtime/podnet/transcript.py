"""Every invocation, written down: what was asked, what came back, how long it took.

A ring of segment files of JSON lines, shared by all pods and kept after they are gone;
the oldest segment goes first.  A line is appended with one write, so writers need no lock.
Knows nothing of what the lines mean to anybody.
"""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from podnet import files
from podnet.cni import wire
from podnet.cni.errors import DecodeError
from podnet.execute import Outcome

_SEGMENT_BYTES = 4 * 1024 * 1024
_SEGMENTS = 16
_SEGMENT = "[0-9]" * 8 + ".jsonl"
# Output beyond this is cut in the transcript; the outcome itself has all of it.
_KEPT_OUTPUT = 128 * 1024


@dataclass(frozen=True, slots=True)
class Transcript:
    """A directory of segments.

    Attributes:
        directory: Where they are.
        segment_bytes: When a segment is full.
        segments: How many are kept.
    """

    directory: Path
    segment_bytes: int = _SEGMENT_BYTES
    segments: int = _SEGMENTS

    def record(self, outcome: Outcome, *, node: str = "", pod: str = "") -> None:
        """Append one invocation.

        Raises:
            PodnetError: The file cannot be written.
        """
        line = wire.dumps(entry(outcome, node=node, pod=pod)).encode() + b"\n"
        files.make_directory(self.directory)
        path = self._current()
        with files.naming(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                _append(descriptor, line)
            finally:
                os.close(descriptor)

    def read(self, pod: str | None = None) -> Iterator[dict[str, object]]:
        """Yield the recorded invocations, oldest first.

        Args:
            pod: Only those of this pod, or of this container ID.
        """
        wanted = wire.dumps(pod).encode() if pod is not None else b""
        for path in self._existing():
            try:
                content = path.read_bytes()
            except FileNotFoundError:  # went with the oldest just now
                continue
            for line in content.splitlines():
                if wanted in line and (step := _parsed(line)) and _concerns(step, pod):
                    yield step

    def _existing(self) -> list[Path]:
        return sorted(self.directory.glob(_SEGMENT)) if self.directory.is_dir() else []

    def _current(self) -> Path:
        """Return the segment to write to; start a new one and drop the oldest when it is full."""
        existing = self._existing()
        if existing and _size(existing[-1]) < self.segment_bytes:
            return existing[-1]
        number = int(existing[-1].stem) + 1 if existing else 1
        for old in existing[: max(0, len(existing) + 1 - self.segments)]:
            old.unlink(missing_ok=True)
        return self.directory / f"{number:08d}.jsonl"


def entry(outcome: Outcome, *, node: str = "", pod: str = "") -> dict[str, object]:
    """Return what is written down of *outcome*."""
    step = outcome.invocation
    return {
        "time": outcome.started,
        "duration_ms": round(outcome.duration * 1000, 3),
        "node": node,
        "pod": pod,
        "network": step.network,
        "plugin": step.plugin,
        "position": step.position,
        "chain": step.chain,
        "verb": str(step.verb),
        "binary": str(outcome.binary),
        "environment": {**step.environment, "TRACEPARENT": outcome.traceparent},
        "stdin": dict(step.stdin) if step.verbatim is None else _text(step.verbatim),
        "stdout": _text(outcome.stdout),
        "stderr": _text(outcome.stderr),
        "exit_status": outcome.exit_status,
        "signal": outcome.signal,
        "problem": outcome.problem,
        "left_behind": outcome.left_behind,
        **outcome.observed,
    }


def _append(descriptor: int, line: bytes) -> None:
    """Append one line, on a line of its own: the one before may be half, of a killed process."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        line = b"\n" + line
    if os.write(descriptor, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # went with the oldest just now
        return 0


def _text(output: bytes) -> str:
    kept = output[:_KEPT_OUTPUT].decode(errors="backslashreplace")
    cut = len(output) - _KEPT_OUTPUT
    return f"{kept}… and {cut} bytes more" if cut > 0 else kept


def _parsed(line: bytes) -> dict[str, object] | None:
    try:
        value = wire.loads(line)
    except DecodeError:  # the last line of a process that was killed, or of a full disk
        return None
    return value if isinstance(value, dict) else None


def _concerns(step: dict[str, object], pod: str | None) -> bool:
    if pod is None or step.get("pod") == pod:
        return True
    environment = step.get("environment")
    return isinstance(environment, dict) and environment.get("CNI_CONTAINERID") == pod
