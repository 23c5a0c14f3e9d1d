"""podnet's own plugins from a preloaded process: a fork where others start an interpreter.

Starts the host when it is first needed, and keeps the workers that the host forks: a request goes
to the one that served last, whose memory is warm, and nobody else is woken for it.  The other side
is podnet_plugins.host.  Knows sockets and descriptors, and no plugin.
"""

import errno
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from podnet.hosted import HostedChild, Worker, is_readable
from podnet.kernel import namespaces, worlds
from podnet.kernel.programs import RESTORED
from podnet.pipes import kill_group

_LAUNCH = "launch.py"
# What podnet_plugins.host calls it, too: podnet imports no plugins.
_ONE_AHEAD = b"+"
_LONGEST_WORD = 64
# Seconds; a fork takes about as long, and its first calls longer than others.
_A_MOMENT = 0.001
# As many as the host forks ahead of need; and how many may wait after a rush.
_AHEAD, _MOST_WAITING = 3, 8
_ONE = struct.Struct("i")


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
        self,
        plugin: str,
        environment: Mapping[str, str],
        keep_open: Sequence[int],
        deadline: float,
    ) -> HostedChild:
        """Start *plugin* with exactly this environment.

        Args:
            plugin: Its type.
            environment: All of its environment.
            keep_open: Descriptors that it has under the same numbers.
            deadline: When to give up, in seconds of ``time.monotonic``.

        Raises:
            OSError: The host cannot be started, is gone, or does not answer.
        """
        request = {
            "plugin": plugin,
            "environment": dict(environment),
            "cwd": os.getcwd(),
            "keep": list(keep_open),
        }
        message = json.dumps(request).encode()
        return HostedChild(
            lambda descriptors: self._give(plugin, message, descriptors, deadline),
            self._take_back,
            keep_open,
        )

    def _give(
        self, plugin: str, message: bytes, descriptors: Sequence[int], deadline: float
    ) -> Worker:
        """Give a request to a worker, which is the caller's from here on.

        Raises:
            OSError: The host cannot be started, is gone, or does not answer; or the request is
                too large.
        """
        while True:
            worker = self._one_that_waits(plugin, deadline)
            try:
                socket.send_fds(worker.talk, [message], descriptors)
            except ConnectionError:  # killed while it waited
                worker.talk.close()
            except OSError:  # it has heard of nothing
                self._waiting.append(worker)
                raise
            except BaseException:  # it may have
                kill_group(worker.pid)
                worker.talk.close()
                raise
            else:
                return worker

    def _take_back(self, worker: Worker) -> None:
        """Let *worker* serve another call as soon as it waits again."""
        self._served.append(worker)

    def _one_that_waits(self, plugin: str, deadline: float) -> Worker:
        """Return the worker that served last of those that wait; have one forked if none does."""
        if self._process != os.getpid():  # a fork of us: a worker is one process's own
            self._begin()
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TimeoutError("the plugin host does not answer")
        try:
            control = self._control = self._control or self._launch()
            self._look_around(control)
            if not self._waiting and self._is_about_to_wait():
                self._look_around(control)
            if not self._waiting:
                control.send(plugin.encode())
                if not is_readable([control], deadline - time.monotonic()):
                    raise TimeoutError("the plugin host does not answer")
                self._waiting.append(_forked(control))
            return self._waiting.pop()
        except ConnectionError:
            self._bury()
            raise
        finally:
            self._lock.release()

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
                if len(self._waiting) + len(self._served) < _AHEAD:
                    control.send(_ONE_AHEAD)
        while len(self._waiting) > _MOST_WAITING:
            self._waiting.pop(0).talk.close()  # and so it ends

    def _is_about_to_wait(self) -> bool:
        """Tell whether a worker waits again in a moment: sooner than another is forked."""
        talks = [worker.talk for worker in self._served]
        return bool(talks) and is_readable(talks, _A_MOMENT)

    def _launch(self) -> socket.socket:
        """Start the host, where our main thread is: it must not keep a Node that a thread is in.

        Raises:
            OSError: It cannot be started.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.pid = namespaces.in_thread(self._spawned, theirs.fileno())
        return ours

    def _spawned(self, control: int) -> int:
        worlds.enter_those_of_the_process()
        command = [sys.executable, "-I", "-S", str(self.directory.parent / _LAUNCH), "host"]
        return os.posix_spawn(
            sys.executable,
            command,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, control, 0)],
            setpgroup=0,
            setsigmask=(),
            setsigdef=RESTORED,
        )

    def close(self) -> None:
        """End the host; plugins that run go on."""
        if self._process == os.getpid():
            with self._lock:
                self._bury()

    def _bury(self) -> None:
        """Let go of the host and its workers, so that the next call starts another."""
        if self._control is None:
            return
        self._control.close()
        for worker in (*self._waiting, *self._served):
            worker.talk.close()
        self._waiting, self._served = [], []
        with suppress(ChildProcessError):  # where SIGCHLD is ignored, nobody can be waited for
            os.waitpid(self.pid, 0)
        self._control, self.pid = None, 0


def _forked(control: socket.socket, flags: int = 0) -> Worker:
    """Return a worker that the host has forked and nobody has asked anything yet.

    Raises:
        BlockingIOError: There is none, and *flags* say not to wait for one.
        ConnectionResetError: The host is gone.
        OSError: The host could not fork it, or there was no descriptor left to take it with.
    """
    # Not socket.recv_fds: Python 3.11's does not pass the flags on.
    pid, ancillary, _, _ = control.recvmsg(_LONGEST_WORD, socket.CMSG_LEN(_ONE.size), flags)
    if not pid:
        raise ConnectionResetError("the plugin host is gone")
    if not ancillary:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    [(_, _, descriptor)] = ancillary
    return Worker(int(pid), socket.socket(fileno=_ONE.unpack(descriptor)[0]))
