"""The plugin host: a process with the plugins loaded, which forks where others start an interpreter.

A runtime starts it (``launch.py host``) with a socket as its stdin.  Every message there asks
for one plugin, and brings its streams, the locks it must hold and the namespaces it must be
in; the answer is a process ID, and later the exit status.  Who takes the message is a worker
(:mod:`podnet_plugins.worker`), forked ahead of need, which serves one call after another; the
host itself never runs a plugin.

When the socket closes, the host and the workers that wait end; what runs goes on to its end.
"""

import gc
import os
import select
import socket
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType

from podnet_plugins import rehearsal, worker
from podnet_plugins.becoming import Own, Request

# Three suffice for a chain; with many calls at a time there are soon as many workers.
_WAITING = 3
# How often Python runs code before it leaves it alone; saves each fork 80 pages, 0.3 ms.
_REHEARSALS = 20
_LARGEST_NOTE = 64
# Seconds for those to end whom nothing keeps.
_FAREWELL = 0.2


def main() -> None:
    """Serve until nobody can ask any more."""
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):  # a reader of podnet's output must not wait for us
        os.dup2(nothing, stream)
    gc.disable()  # a collection would touch, and so copy, what forked plugins share
    Host(control).serve()


class Plugins:
    """The plugins of a directory, loaded as they are asked for, and the others meanwhile."""

    def __init__(self, directory: Path) -> None:
        self._waiting = [path.name for path in directory.iterdir()]
        self._loaded: dict[str, ModuleType] = {}

    def get(self, plugin: str) -> ModuleType:
        """Return a plugin's module."""
        if plugin not in self._loaded:
            self._loaded[plugin] = import_module(f"podnet_plugins.{plugin.replace('-', '_')}")
            gc.freeze()
        return self._loaded[plugin]

    def load_another(self) -> bool:
        """Load one that nobody has asked for yet; tell whether there was one."""
        if self._waiting:
            self.get(self._waiting.pop())
        return bool(self._waiting)


class Host:
    """What is forked, and what waits.

    Args:
        control: Where requests come from.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._notes, self._to_us = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._plugins = Plugins(Path(__file__).parent / "bin")
        self._wanted = 0
        self._waiting: set[int] = set()
        self._running: dict[int, tuple[int, socket.socket | None]] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._poll.register(self._notes, select.POLLIN)

    def serve(self) -> None:
        """Answer until the socket is closed."""
        can_be_asked = loading = True
        while can_be_asked:
            while len(self._waiting) < self._wanted:
                self._waiting.add(self._fork())
            events = self._poll.poll(0 if loading else None)
            can_be_asked = all(self._deal_with(*event) for event in events)
            if loading and not events:
                loading = self._plugins.load_another()
                if not loading:
                    self._get_ready()
        self._see_off()

    def _see_off(self) -> None:
        """Wait a moment for the workers that end with us; whoever is a plugin goes on."""
        poll, deadline = select.poll(), time.monotonic() + _FAREWELL
        for ended in self._running:
            poll.register(ended, select.POLLIN)
        left = len(self._running)
        while left and (seconds := deadline - time.monotonic()) > 0:
            for ended, _ in poll.poll(seconds * 1000):
                poll.unregister(ended)
                os.waitpid(self._running[ended][0], 0)
                left -= 1

    def _deal_with(self, descriptor: int, event: int) -> bool:
        """Deal with what happened; tell whether anybody can still ask."""
        if descriptor in self._running:
            self._report(descriptor)
        elif descriptor == self._notes.fileno():
            self._hear()
        else:
            return not event & select.POLLHUP and self._ask_one()
        return True

    def _get_ready(self) -> None:
        """Have workers that wait, now that everything is loaded."""
        for _ in range(_REHEARSALS):
            rehearsal.rehearse()
        gc.freeze()
        self._have_waiting(_WAITING)

    def _have_waiting(self, wanted: int) -> None:
        """Leave requests to so many workers that wait for them; 0: take them here."""
        self._wanted = wanted
        self._poll.modify(self._control, select.POLLHUP if wanted else select.POLLIN)

    def _fork(self, request: Request | None = None) -> int:
        """Fork a worker, for a request or for those to come; return its process ID."""
        pid = os.fork()
        if pid == 0:
            own = Own(self._control, self._to_us)
            if request is None:
                worker.serve(own, self._plugins.get)
            worker.once(own, self._plugins.get, request)
        ended = os.pidfd_open(pid)
        self._running[ended] = pid, None
        self._poll.register(ended, select.POLLIN)
        return pid

    def _ask_one(self) -> bool:
        """Fork for a request that came before anybody waits; tell whether any can come."""
        try:
            request = Request.received(self._control, socket.MSG_DONTWAIT)
        except BlockingIOError:  # a worker was faster
            return True
        if request is None:
            return False
        self._plugins.get(request.plugin)
        self._fork(request)
        request.close()
        return True

    def _hear(self) -> None:
        """Learn what a worker does, and where its end is to be reported when it has a request."""
        said, descriptors, _, _ = socket.recv_fds(self._notes, _LARGEST_NOTE, 1)
        word, pid = said.decode().split()
        if word == worker.TAKEN:
            self._waiting.discard(int(pid))
        else:
            self._waiting.add(int(pid))
        self._answer_to(int(pid), socket.socket(fileno=descriptors[0]) if descriptors else None)

    def _answer_to(self, pid: int, reply: socket.socket | None) -> None:
        for ended, (running, before) in self._running.items():
            if running == pid:
                self._running[ended] = pid, reply
                reply = before
                break
        if reply is not None:
            reply.close()

    def _report(self, ended: int) -> None:
        """Reap a worker; say how it ended, unless it has said so itself."""
        while self._notes_are_waiting():  # its own among them, if it was quick
            self._hear()
        pid, reply = self._running.pop(ended)
        _, status = os.waitpid(pid, 0)
        if pid in self._waiting:
            self._waiting.remove(pid)
            if status:  # it cannot even wait: no use in forking the next, and the next
                self._have_waiting(0)
        self._poll.unregister(ended)
        os.close(ended)
        if reply is not None:
            with reply, suppress(OSError):  # nobody may wait for it any more
                reply.send(str(os.waitstatus_to_exitcode(status)).encode())

    def _notes_are_waiting(self) -> bool:
        return bool(select.select([self._notes], [], [], 0)[0])
