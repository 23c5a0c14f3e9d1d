"""A conversation with a child process: write, read and wait at once, all of it bounded.

Knows file descriptors and deadlines; knows nothing of plugins.
"""

import os
import select
import subprocess
import time
from dataclasses import dataclass

LARGEST_OUTPUT = 8 * 1024 * 1024
# How long to wait for the end of a pipe that somebody else holds open after the child's exit.
# What the child itself wrote is in the pipe by then.
LINGER = 0.1
_CHUNK = 65536
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What was said.

    Attributes:
        stdout: Everything on stdout, up to the bound.
        stderr: Likewise.
        timed_out: The deadline came first; the child may still run.
        overflow: The stream that went over the bound, or "".
        held_open: Somebody held a pipe open after the child had exited.
    """

    stdout: bytes
    stderr: bytes
    timed_out: bool
    overflow: str
    held_open: bool


class _Conversation:
    """The state of one exchange: what is still to write, what is still open."""

    def __init__(self, process: "subprocess.Popen[bytes]", request: bytes) -> None:
        assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018
        self._stdin = process.stdin
        self._rest = memoryview(request)
        self._names = {process.stdout.fileno(): "stdout", process.stderr.fileno(): "stderr"}
        self.said = {"stdout": bytearray(), "stderr": bytearray()}
        self.overflow = ""
        self.exited = False
        self._exit = os.pidfd_open(process.pid)
        self._poll = select.poll()
        self._poll.register(self._exit, select.POLLIN)
        for descriptor in self._names:
            os.set_blocking(descriptor, False)
            self._poll.register(descriptor, _READABLE)
        os.set_blocking(self._stdin.fileno(), False)
        self._poll.register(self._stdin.fileno(), select.POLLOUT | select.POLLERR)

    def close(self) -> None:
        os.close(self._exit)

    @property
    def open_pipes(self) -> bool:
        return bool(self._names)

    def step(self, seconds: float) -> bool:
        """Wait for something to happen and deal with it; tell whether anything did."""
        events = self._poll.poll(max(0.0, seconds) * 1000)
        for descriptor, _ in events:
            if descriptor == self._exit:
                self.exited = True
                self._poll.unregister(descriptor)
            elif descriptor in self._names:
                self._read(descriptor)
            else:
                self._write()
        return bool(events)

    def _write(self) -> None:
        try:
            written = os.write(self._stdin.fileno(), self._rest[:_CHUNK])
        except BlockingIOError:
            return
        except BrokenPipeError:  # a plugin need not read its stdin
            written = len(self._rest)
        self._rest = self._rest[written:]
        if not self._rest:
            self._poll.unregister(self._stdin.fileno())
            self._stdin.close()

    def _read(self, descriptor: int) -> None:
        name = self._names[descriptor]
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self._poll.unregister(descriptor)
            del self._names[descriptor]
            return
        self.said[name] += chunk
        if len(self.said[name]) > LARGEST_OUTPUT:
            del self.said[name][LARGEST_OUTPUT:]
            self.overflow = name


def converse(process: "subprocess.Popen[bytes]", request: bytes, deadline: float) -> Exchange:
    """Write *request*, read both outputs, wait for the exit; whatever comes first of the bounds.

    Args:
        process: A child with three pipes, unbuffered.
        request: What it is to read.
        deadline: In seconds of ``time.monotonic``.

    Returns:
        What was said.  The child may still run if it timed out or said too much: end it.
    """
    talk = _Conversation(process, request)
    try:
        until = deadline
        while not talk.overflow and (talk.open_pipes or not talk.exited):
            running = not talk.exited
            if not talk.step(until - time.monotonic()):
                break
            if running and talk.exited:
                # A pipe still open is held by a grandchild: take what is there, wait no longer.
                until = time.monotonic() + LINGER
    finally:
        talk.close()
    return Exchange(
        stdout=bytes(talk.said["stdout"]),
        stderr=bytes(talk.said["stderr"]),
        timed_out=not talk.exited and not talk.overflow,
        overflow=talk.overflow,
        held_open=talk.exited and talk.open_pipes,
    )
