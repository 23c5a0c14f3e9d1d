"""A child process and the conversation with it: write, read and wait at once, all of it bounded.

Knows file descriptors and deadlines; knows nothing of plugins.  posix_spawn starts the
child from the calling thread, so that it is born in that thread's namespaces; whatever
else this process has open is closed in it (PEP 446), but for what is handed over.
"""

import fcntl
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from podnet.kernel.programs import RESTORED

LARGEST_OUTPUT = 8 * 1024 * 1024
# How long to wait for the end of a pipe that somebody else holds open after the child's exit.
# What the child itself wrote is in the pipe by then.
LINGER = 0.1
_CHUNK = 65536
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR
_FIRST_FREE = 3


class Streams:
    """Our ends of a child's three pipes.

    Attributes:
        stdin: The descriptor that it reads from.
        stdout: What it writes to.
        stderr: Likewise.
    """

    def open_pipes(self) -> list[int]:
        """Make the pipes; return the child's ends."""
        ends = list[tuple[int, int]]()
        try:
            for child_reads in (True, False, False):
                ends.append(_pipe(child_reads=child_reads))
        except OSError:
            for descriptor in (one for pair in ends for one in pair):
                os.close(descriptor)
            raise
        self.stdin, self.stdout, self.stderr = (here for here, _ in ends)
        return [there for _, there in ends]

    def close_pipes(self) -> None:
        """Close our ends, where there is no child to talk to."""
        for descriptor in (self.stdin, self.stdout, self.stderr):
            os.close(descriptor)


class Child(Streams):
    """A process in a process group of its own.

    Attributes:
        pid: Its process ID, and its group's.
        ended: A pidfd: readable when it has ended.
    """

    def __init__(
        self,
        binary: Path,
        environment: Mapping[str, str],
        keep_open: Sequence[int] = (),
        arguments: Sequence[str] = (),
    ) -> None:
        """Start *binary*.

        Args:
            binary: The file to execute.
            environment: All of its environment.
            keep_open: Descriptors that it inherits under the same numbers.
            arguments: Its arguments.

        Raises:
            OSError: It cannot be executed.
        """
        theirs = self.open_pipes()
        try:
            actions = [(os.POSIX_SPAWN_DUP2, there, n) for n, there in enumerate(theirs)]
            actions += [(os.POSIX_SPAWN_DUP2, kept, kept) for kept in keep_open]
            self.pid = os.posix_spawn(
                binary,
                [str(binary), *arguments],
                environment,
                file_actions=actions,
                setpgroup=0,
                setsigmask=(),
                setsigdef=RESTORED,
            )
        except BaseException:
            self.close_pipes()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        try:
            self.ended = os.pidfd_open(self.pid)
        except OSError:  # no descriptor is left: nobody could tell when it ends
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.close_pipes()
            raise

    def wait(self) -> int:
        """Wait for its end; return the exit status, or the signal's number, negative."""
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """End it, and its process group."""
        kill_group(self.pid)

    def leave(self) -> None:
        """Have no more to do with it."""
        os.close(self.ended)


def kill_group(leader: int) -> None:
    """End a process and the group that it leads; it may have left the group itself."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):  # gone already
            kill(leader, signal.SIGKILL)


def _pipe(*, child_reads: bool) -> tuple[int, int]:
    """Return our end, which never blocks, and the child's; neither in the way of 0, 1 and 2."""
    ends = [_above_streams(end) for end in os.pipe()]
    there, here = ends if child_reads else reversed(ends)
    os.set_blocking(here, False)
    return here, there


def _above_streams(descriptor: int) -> int:
    if descriptor >= _FIRST_FREE:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
    os.close(descriptor)
    return moved


class NeverRanError(Exception):
    """The child never began: whoever was to be it was killed before."""


class Talking(Protocol):
    """A child that can be talked to, however it was started."""

    pid: int
    ended: int
    stdin: int
    stdout: int
    stderr: int

    def wait(self) -> int:
        """Wait for its end; return the exit status, or the signal's number, negative.

        Raises:
            NeverRanError: It never began; somebody else can.
        """
        ...

    def kill(self) -> None:
        """End it, and its process group."""
        ...

    def leave(self) -> None:
        """Have no more to do with it: its process ID may be another's then, and its end is over."""
        ...


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

    def __init__(self, child: Talking, request: bytes) -> None:
        self._rest = memoryview(request)
        self._stdin = child.stdin
        self._names = {child.stdout: "stdout", child.stderr: "stderr"}
        self._pipes = {child.stdin, child.stdout, child.stderr}
        self.said = {"stdout": bytearray(), "stderr": bytearray()}
        self.overflow = ""
        self.exited = False
        self._exit = child.ended
        self._poll = select.poll()
        self._poll.register(self._exit, select.POLLIN)
        for descriptor in self._names:
            self._poll.register(descriptor, _READABLE)
        self._poll.register(self._stdin, select.POLLOUT | select.POLLERR)
        self._write()  # a request that fits into the pipe needs no turn of its own

    def close(self) -> None:
        for descriptor in self._pipes:
            os.close(descriptor)

    @property
    def open_pipes(self) -> bool:
        return not self._pipes.isdisjoint(self._names)

    def step(self, seconds: float) -> bool:
        """Wait for something to happen and deal with it; tell whether anything did."""
        events = self._poll.poll(max(0.0, seconds) * 1000)
        for descriptor, _ in events:
            if descriptor == self._exit:
                self.exited = True
                self._poll.unregister(descriptor)
            elif descriptor in self._names:
                self._read(descriptor)
            elif descriptor in self._pipes:
                self._write()
        return bool(events)

    def _done_with(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._pipes.remove(descriptor)
        os.close(descriptor)

    def _write(self) -> None:
        try:
            self._rest = self._rest[os.write(self._stdin, self._rest[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # a plugin need not read its stdin
            self._rest = self._rest[:0]
        if not self._rest:
            self._done_with(self._stdin)

    def _read(self, descriptor: int) -> None:
        said = self.said[self._names[descriptor]]
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self._done_with(descriptor)
            return
        said += chunk
        if len(said) > LARGEST_OUTPUT:
            del said[LARGEST_OUTPUT:]
            self.overflow = self._names[descriptor]


def converse(child: Talking, request: bytes, deadline: float) -> Exchange:
    """Write *request*, read both outputs, wait for the exit; whatever comes first of the bounds.

    Args:
        child: Whom to talk to; its streams are closed afterwards.
        request: What it is to read.
        deadline: In seconds of ``time.monotonic``.

    Returns:
        What was said.  The child may still run if it timed out or said too much: end it.
    """
    talk = _Conversation(child, request)
    try:
        until = deadline
        while not talk.overflow and (talk.open_pipes or not talk.exited):
            running = not talk.exited
            if not talk.step(until - time.monotonic()):
                break
            if running and talk.exited:
                # A pipe still open is held by a grandchild: take what is there, wait no longer.
                until = time.monotonic() + LINGER
        held_open = talk.exited and talk.open_pipes
    finally:
        talk.close()
    return Exchange(
        stdout=bytes(talk.said["stdout"]),
        stderr=bytes(talk.said["stderr"]),
        timed_out=not talk.exited and not talk.overflow,
        overflow=talk.overflow,
        held_open=held_open,
    )
