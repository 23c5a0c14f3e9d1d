"""A process that waits to be a plugin, and is one: with everything as in a fresh process.

Forked by the plugin host, it takes one request, becomes the plugin that is asked for, in the
environment, working directory, process group and namespaces and with the streams and locks of
whoever asks, and ends.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import NoReturn, Self

from podnet.kernel import libc, worlds

_EXECUTABLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin")  # noqa: PTH100, PTH118, PTH120
_STREAMS = 3
_LARGEST_REQUEST = 1 << 20
_MOST_DESCRIPTORS = 64
_BEYOND_ALL = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """One message: what to be, and the descriptors that came with it.

    Attributes:
        asked: The plugin, its environment and working directory, the numbers of its locks.
        descriptors: Where to answer; the streams; the namespaces; the locks.
    """

    asked: Mapping[str, object]
    descriptors: list[int]

    @classmethod
    def received(cls, control: socket.socket) -> Self | None:
        """Wait for a request; ``None`` when nobody can ask any more."""
        message, descriptors, _, _ = socket.recv_fds(control, _LARGEST_REQUEST, _MOST_DESCRIPTORS)
        return cls(json.loads(message), descriptors) if message else None

    @property
    def plugin(self) -> str:
        """The plugin's type."""
        return str(self.asked["plugin"])

    @property
    def streams(self) -> list[int]:
        """What becomes 0, 1 and 2."""
        return self.descriptors[1 : 1 + _STREAMS]

    @property
    def namespaces(self) -> list[int]:
        """One of each of :data:`podnet.kernel.worlds.KINDS`."""
        return self.descriptors[1 + _STREAMS : 1 + _STREAMS + len(worlds.KINDS)]

    @property
    def locks(self) -> dict[int, int]:
        """The descriptors that are kept open, by the number that they had."""
        numbers = self.asked["keep"]
        assert isinstance(numbers, list)  # noqa: S101
        kept = self.descriptors[1 + _STREAMS + len(worlds.KINDS) :]
        return dict(zip(numbers, kept, strict=True))

    def close(self) -> None:
        """Close every descriptor: somebody else answers."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def work(
    control: socket.socket,
    host: socket.socket,
    module: Callable[[str], ModuleType],
    request: Request | None,
) -> NoReturn:
    """Be a worker: for *request*, or for one that is waited for.

    Args:
        control: Where requests come from.
        host: Where to say that one was taken.
        module: Returns a plugin's module.
        request: A request that came before.
    """
    status = 1
    try:
        if request is None:
            request = _awaited(control)
        if request is None:
            os._exit(0)
        reply = _introduce(host, request)
        reply = _become(request, reply)
        status = _status_of(module(request.plugin).main)
        _take_leave(reply, status)
    except BaseException:  # noqa: BLE001  what a fresh process would do with it
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        # Not sys.exit: nothing of the host's must be run twice.
        os._exit(status)


def _awaited(control: socket.socket) -> Request | None:
    """Wait for a request; end with the host until there is one."""
    host = os.getppid()
    libc.die_with_parent(signal.SIGKILL)
    if host != os.getppid():
        return None
    request = Request.received(control)
    libc.die_with_parent(0)
    return request


def _introduce(host: socket.socket, request: Request) -> int:
    """Tell who asked who we are, and the host whom to tell of our end; return where to answer."""
    os.setpgid(0, 0)
    pid, reply = str(os.getpid()).encode(), request.descriptors[0]
    with suppress(OSError):  # who asked may be gone; the plugin goes on to its end
        os.write(reply, pid)
    with suppress(OSError):  # the host may be gone
        socket.send_fds(host, [pid], [reply])
    return reply


def _take_leave(reply: int, status: int) -> None:
    """Say how we end, with nothing left that anybody could wait for.

    The kernel takes a millisecond to clear the memory of a process away, and the host another to
    hear of it: whoever asked need not wait for that.  Who is left in the process group was left
    behind by the plugin.
    """
    with suppress(OSError):
        os.setpgid(0, os.getppid())
    os.closerange(0, reply)
    os.closerange(reply + 1, _BEYOND_ALL)
    with suppress(OSError):
        os.write(reply, str(status).encode())


def _become(request: Request, reply: int) -> int:
    """Take on everything that tells one process from another; return what *reply* is then."""
    _enter(request.namespaces, str(request.asked["cwd"]))
    reply = _take_descriptors(request, reply)
    sys.argv[:] = [os.path.join(_EXECUTABLES, request.plugin)]  # noqa: PTH118  as launch.py does
    environment = request.asked["environment"]
    assert isinstance(environment, dict)  # noqa: S101
    _take_environment(environment)
    return reply


def _take_environment(environment: Mapping[str, str]) -> None:
    """Make it exactly this; most of it is the host's own, and need not be written again."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _enter(namespaces: list[int], cwd: str) -> None:
    """Enter those namespaces that are not the host's own."""
    different = {
        kind: descriptor
        for kind, descriptor in zip(worlds.KINDS, namespaces, strict=True)
        if not os.path.samestat(os.fstat(descriptor), os.stat(f"/proc/self/ns/{kind}"))  # noqa: PTH116
    }
    worlds.enter_some(different)
    os.chdir(cwd)


def _take_descriptors(request: Request, reply: int) -> int:
    """Put the streams at 0, 1 and 2 and the locks where they were; close everything else.

    Returns:
        What *reply* is now.
    """
    wanted = dict(enumerate(request.streams)) | request.locks
    free = max([*request.descriptors, *wanted, _STREAMS]) + 1
    # First out of the way of all targets, then to the targets.
    moved = [os.dup2(source, free + n) for n, source in enumerate(wanted.values())]
    reply = os.dup2(reply, free + len(moved), inheritable=False)
    for source, target in zip(moved, wanted, strict=True):
        os.dup2(source, target)
    for low, high in pairwise(sorted({*wanted, reply, _BEYOND_ALL})):
        if low + 1 < high:  # closerange(0, 0) closes everything
            os.closerange(low + 1, high)
    return reply


def _status_of(plugin: Callable[[], None]) -> int:
    status = 0
    try:
        plugin()
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    return status
