"""podnet's own plugins from a preloaded process: a fork where others start an interpreter.

Starts the host when it is first needed, and keeps the workers that the host forks: a request goes
to the one that served last, whose memory is warm, and nobody else is woken for it.  The other side
is podnet_plugins.host.  Knows sockets and descriptors, and no plugin.
"""

import errno
import json
import os
import select
import socket
import struct
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from podnet.kernel import worlds
from podnet.pipes import NeverRanError, Streams

_LAUNCH = "launch.py"
# What podnet_plugins.host and worker call these, too: podnet imports no plugins.
_ONE_AHEAD = b"+"
_FREE, _UNTAKEN = b"free", b"untaken"
_LONGEST_WORD = 64
# Milliseconds; a fork takes about as long, and its first calls longer than others.
_A_MOMENT = 1
_ONE = struct.Struct("i")


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that is one plugin after another.

    Attributes:
        pid: Its process ID.
        talk: Where it takes requests, and says how a plugin ended and that it waits again.
    """

    pid: int
    talk: socket.socket

    def waits_again(self) -> bool | None:
        """Tell whether it waits for a request after the last one; ``None``: it never will."""
        try:
            return self.talk.recv(_LONGEST_WORD, socket.MSG_DONTWAIT) == _FREE or None
        except BlockingIOError:
            return False
        except OSError:
            return None


class HostedChild(Streams):
    """A plugin that a worker is.

    Attributes:
        pid: Its process ID, and its group's.
        ended: Readable when it has ended.
    """

    def __init__(
        self, host: "PluginHost", request: Mapping[str, object], keep_open: Sequence[int]
    ) -> None:
        """Ask for a plugin.

        Raises:
            OSError: The host cannot be started, or is gone.
        """
        self._host = host
        given = self.open_pipes()
        try:
            given += worlds.own()
            self._worker = host.give(request, [*given, *keep_open])
        except BaseException:
            self.close_pipes()
            raise
        finally:
            for descriptor in given:
                os.close(descriptor)
        self.pid = self._worker.pid
        self.ended = self._worker.talk.fileno()

    def wait(self) -> int:
        """Wait for its end; return the exit status, or the signal's number, negative.

        Raises:
            NeverRanError: The worker was killed while it waited for us.
        """
        try:
            status = self._worker.talk.recv(_LONGEST_WORD)
        except ConnectionResetError:  # host and worker are gone, and our request was not read
            raise NeverRanError from None
        if status == _UNTAKEN:
            raise NeverRanError
        return int(status) if status else -9

    def leave(self) -> None:
        """Have no more to do with it: its process may serve another call from here on."""
        self._host.take_back(self._worker)


class PluginHost:
    """The host of one directory of plugins, started when it is first needed.

    Attributes:
        directory: The plugins that it can be; what they do is in the directory above.
        pid: Its process ID; 0 when it does not run.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._waiting: list[Worker] = []
        self._served: list[Worker] = []
        self.pid = 0

    @property
    def is_running(self) -> bool:
        """Whether the host was started, and not closed."""
        return self._control is not None

    def has(self, binary: Path) -> bool:
        """Tell whether *binary* is one of the host's plugins."""
        return binary.parent == self.directory

    def start(
        self, plugin: str, environment: Mapping[str, str], keep_open: Sequence[int]
    ) -> HostedChild:
        """Start *plugin* with exactly this environment.

        Raises:
            OSError: The host cannot be started, or is gone.
        """
        request = {
            "plugin": plugin,
            "environment": dict(environment),
            "cwd": os.getcwd(),
            "keep": list(keep_open),
        }
        return HostedChild(self, request, keep_open)

    def give(self, request: Mapping[str, object], descriptors: Sequence[int]) -> Worker:
        """Give a request to a worker, which is the caller's from here on.

        Raises:
            OSError: The host cannot be started, or is gone; or the request is too large.
        """
        message = json.dumps(request).encode()
        while True:
            worker = self._one_that_waits(str(request["plugin"]))
            try:
                socket.send_fds(worker.talk, [message], descriptors)
            except ConnectionError:  # killed while it waited
                worker.talk.close()
            except OSError:
                self.take_back(worker)
                raise
            else:
                return worker

    def take_back(self, worker: Worker) -> None:
        """Let *worker* serve another call as soon as it waits again."""
        self._served.append(worker)

    def _one_that_waits(self, plugin: str) -> Worker:
        """Return the worker that served last of those that wait; have one forked if none does."""
        if self._process != os.getpid():  # a fork of us: a worker is one process's own
            self._begin()
        with self._lock:
            control = self._control = self._control or self._launch()
            self._look_around(control)
            if not self._waiting and self._is_about_to_wait():
                self._look_around(control)
            if not self._waiting:
                control.send(plugin.encode())
                self._waiting.append(_forked(control))
            return self._waiting.pop()

    def _look_around(self, control: socket.socket) -> None:
        """Learn of workers that were forked ahead of need, and of those that wait again or never will."""
        with suppress(BlockingIOError):
            while True:
                self._waiting.insert(0, _forked(control, socket.MSG_DONTWAIT))
        for worker in self._served.copy():
            waits = worker.waits_again()
            if waits is not False:
                self._served.remove(worker)
            if waits:
                self._waiting.append(worker)
            elif waits is None:
                worker.talk.close()
                control.send(_ONE_AHEAD)

    def _is_about_to_wait(self) -> bool:
        """Tell whether a worker waits again in a moment: sooner than another is forked."""
        poll = select.poll()
        for worker in self._served:
            poll.register(worker.talk, select.POLLIN)
        return bool(self._served and poll.poll(_A_MOMENT))

    def _launch(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        launch = self.directory.parent / _LAUNCH
        command = [sys.executable, "-I", "-S", str(launch), "host"]
        with theirs:
            self.pid = os.posix_spawn(
                sys.executable,
                command,
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)],
                setpgroup=0,
            )
        return ours

    def close(self) -> None:
        """End the host; plugins that run go on."""
        with self._lock:
            if self._control is not None:
                self._control.close()
                for worker in (*self._waiting, *self._served):
                    worker.talk.close()
                os.waitpid(self.pid, 0)
                self._begin()


def _forked(control: socket.socket, flags: int = 0) -> Worker:
    """Return a worker that the host has forked and nobody has asked anything yet.

    Raises:
        BlockingIOError: There is none, and *flags* say not to wait for one.
        ConnectionResetError: The host is gone.
        OSError: There was no descriptor left to take it with, and so it ends.
    """
    # Not socket.recv_fds: Python 3.11's does not pass the flags on.
    pid, ancillary, _, _ = control.recvmsg(_LONGEST_WORD, socket.CMSG_LEN(_ONE.size), flags)
    if not pid:
        raise ConnectionResetError("the plugin host is gone")
    if not ancillary:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    [(_, _, descriptor)] = ancillary
    return Worker(int(pid), socket.socket(fileno=_ONE.unpack(descriptor)[0]))
