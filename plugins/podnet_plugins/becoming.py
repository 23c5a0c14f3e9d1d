"""Everything that tells one process from another, taken on for a call.

Environment, working directory, namespaces, streams, locks: each is what the request brings and
nothing else, whatever was there before.  What is the worker's own, for its next call, is kept
where no plugin looks and no child inherits it.
"""

import fcntl
import json
import os
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import pairwise
from typing import Self, TextIO

from podnet.kernel import removal, worlds

_EXECUTABLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin")
_STREAMS = 3
# A socket takes less in one message.
_LARGEST_REQUEST = 1 << 18
_MOST_DESCRIPTORS = 64
_BEYOND_ALL = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """One message: what to be, and the descriptors that came with it.

    Attributes:
        asked: The plugin, its environment and working directory, the numbers of its locks.
        descriptors: The streams; the namespaces; the locks.
    """

    asked: Mapping[str, object]
    descriptors: list[int]

    @classmethod
    def received(cls, talk: socket.socket, flags: int = 0) -> Self | None:
        """Wait for a request; ``None`` when nobody can ask any more.

        Raises:
            BlockingIOError: There is none now, and *flags* say not to wait.
        """
        # Not socket.recv_fds: Python 3.11's does not pass the flags on.
        room = socket.CMSG_LEN(_MOST_DESCRIPTORS * struct.calcsize("i"))
        try:
            message, ancillary, _, _ = talk.recvmsg(_LARGEST_REQUEST, room, flags)
        except ConnectionResetError:  # gone, and did not hear what was said last
            return None
        descriptors = [
            number for *_, data in ancillary for (number,) in struct.iter_unpack("i", data)
        ]
        return cls(json.loads(message), descriptors) if message else None

    @property
    def plugin(self) -> str:
        """The plugin's type."""
        return str(self.asked["plugin"])

    @property
    def streams(self) -> list[int]:
        """What becomes 0, 1 and 2."""
        return self.descriptors[:_STREAMS]

    @property
    def namespaces(self) -> dict[str, int]:
        """One of each of :data:`podnet.kernel.worlds.KINDS`."""
        return dict(zip(worlds.KINDS, self.descriptors[_STREAMS:], strict=False))

    @property
    def locks(self) -> dict[int, int]:
        """The descriptors that are kept open, by the number that they had."""
        numbers = self.asked["keep"]
        assert isinstance(numbers, list)  # noqa: S101
        kept = self.descriptors[_STREAMS + len(worlds.KINDS) :]
        return dict(zip(numbers, kept, strict=True))

    def close(self) -> None:
        """Close every descriptor: somebody else answers."""
        for descriptor in self.descriptors:
            os.close(descriptor)


class Own:
    """The descriptors that a worker keeps from call to call, and the world that it returns to.

    Args:
        talk: Where requests come from and answers go; every other descriptor is closed.
        undertaker: To whom the wait for links that go is left.
    """

    def __init__(self, talk: socket.socket, undertaker: socket.socket) -> None:
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._numbers = [talk.detach(), nothing, undertaker.detach(), *worlds.own()]
        self._homes = [_identity(number) for number in self._numbers[-len(worlds.KINDS) :]]
        self._away: list[str] = []
        self._environment = dict(os.environ)
        self._close_but({*range(_STREAMS)})

    def await_request(self) -> Request | None:
        """Wait for a request; ``None`` when nobody can ask any more."""
        with self._talk() as talk:
            return Request.received(talk)

    def say(self, word: str) -> None:
        """Say something to who gives the requests, if they are still there."""
        with suppress(OSError):
            os.write(self._numbers[0], word.encode())

    @contextmanager
    def _talk(self) -> Iterator[socket.socket]:
        """Speak over a descriptor that may have another number the next time."""
        one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=self._numbers[0])
        try:
            yield one
        finally:
            one.detach()

    def become(self, request: Request) -> None:
        """Take on everything of *request*."""
        self._enter(request.namespaces, str(request.asked["cwd"]))
        self._take_descriptors(request)
        removal.leave_to(self._numbers[2])
        sys.argv[:] = [os.path.join(_EXECUTABLES, request.plugin)]
        environment = request.asked["environment"]
        assert isinstance(environment, dict)  # noqa: S101
        self._take_environment(environment)
        _open_streams()

    def let_go(self) -> None:
        """Close everything but what is ours."""
        nothing = self._numbers[1]
        for number in range(_STREAMS):
            os.dup2(nothing, number)
        self._close_but({*range(_STREAMS)})

    def return_home(self) -> None:
        """Go back to where the plugin host is; no Node must stay for us."""
        homes = dict(zip(worlds.KINDS, self._numbers[-len(worlds.KINDS) :], strict=True))
        worlds.enter_some({kind: homes[kind] for kind in self._away})
        self._away = []
        os.chdir("/")

    def _enter(self, namespaces: Mapping[str, int], cwd: str) -> None:
        """Enter those namespaces that are not the host's own."""
        different = {
            kind: descriptor
            for (kind, descriptor), home in zip(namespaces.items(), self._homes, strict=True)
            if _identity(descriptor) != home
        }
        self._away = [*different]
        worlds.enter_some(different)
        os.chdir(cwd)

    @property
    def environment_is_as_taken(self) -> bool:
        """Whether nobody has changed the environment since it was taken on."""
        return self._environment == dict(os.environ)

    def _take_environment(self, environment: dict[str, str]) -> None:
        """Make it exactly this; most of it was the last call's, and need not be written again."""
        before = self._environment
        for name in before.keys() - environment.keys():
            del os.environ[name]
        for name, value in environment.items():
            if before.get(name) != value:
                os.environ[name] = value
        self._environment = environment

    def _take_descriptors(self, request: Request) -> None:
        """Put the streams at 0, 1 and 2 and the locks where they were; close everything else."""
        wanted = dict(enumerate(request.streams)) | request.locks
        self._step_aside(wanted)
        free = max([*request.descriptors, *wanted, *self._numbers]) + 1
        # First out of the way of all targets, then to the targets.
        moved = [os.dup2(source, free + n) for n, source in enumerate(wanted.values())]
        for source, target in zip(moved, wanted, strict=True):
            os.dup2(source, target)
        self._close_but({*wanted})

    def _step_aside(self, wanted: Mapping[int, int]) -> None:
        """Give up the numbers that are *wanted*."""
        beyond = max(wanted) + 1
        for place, number in enumerate(self._numbers):
            if number in wanted:
                self._numbers[place] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, beyond)

    def _close_but(self, others: set[int]) -> None:
        for low, high in pairwise(sorted({-1, *others, *self._numbers, _BEYOND_ALL})):
            if low + 1 < high:  # closerange(0, 0) closes everything
                os.closerange(low + 1, high)


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _open_streams() -> None:
    """Have Python's streams anew, as at its start: nothing is left in their buffers."""
    sys.stdin, sys.stdout, sys.stderr = map(_stream, range(_STREAMS), "rww", _ENCODINGS)
    sys.stderr.reconfigure(line_buffering=True)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]


def _stream(number: int, mode: str, encoding: tuple[str, str]) -> TextIOWrapper:
    name, errors = encoding
    return TextIOWrapper(open(number, f"{mode}b", closefd=False), encoding=name, errors=errors)


def _encoding(stream: TextIO | None) -> tuple[str, str]:
    return (stream.encoding, stream.errors or "strict") if stream else ("utf-8", "strict")


_ENCODINGS = [_encoding(stream) for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__)]
