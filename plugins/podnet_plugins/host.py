"""The plugin host: a process with the plugins loaded, which forks where others start an interpreter.

A runtime starts it (``launch.py host``) with a socket as its stdin.  Every message there asks
for one more worker (:mod:`podnet_plugins.worker`): that can be a plugin at once, or ahead of need.
The answer is its process ID and a socket, over which the runtime gives it requests, one call after
another; the host itself never runs a plugin, and hears of none.

When the socket closes, the host ends, as workers do when theirs closes; what runs goes on to its end.
"""

import gc
import os
import select
import signal
import socket
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType

from podnet_plugins import rehearsal, undertaker, worker
from podnet_plugins.becoming import Own, Request

#: The request for a worker ahead of need; any other is a plugin's type.
ONE_AHEAD = b"+"
#: What a runtime hears that asked for a worker which cannot be.
NOBODY = b"0"
#: What a runtime hears from a worker that was killed before it took the request.
UNTAKEN = b"untaken"
# Three suffice for a chain; with many calls at a time there are soon as many workers.
_AHEAD = 3
# How often Python runs code before it leaves it alone; saves each fork 80 pages, 0.3 ms.
_REHEARSALS = 20
_LONGEST_WORD = 256
# Seconds for those to end whom nothing keeps.
_FAREWELL = 0.2


def main() -> None:
    """Serve until nobody can ask any more."""
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):  # a reader of podnet's output must not wait for us
        os.dup2(nothing, stream)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whatever our parent made of it
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
            with suppress(ImportError):  # somebody's bridge~ is no plugin
                self.get(self._waiting.pop())
        return bool(self._waiting)


class Host:
    """What is forked.

    Args:
        control: Where workers are asked for.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._plugins = Plugins(Path(__file__).parent / "bin")
        self._all_loaded = False
        self._workers: dict[int, tuple[int, socket.socket]] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._burials = self._have_undertaker()

    def serve(self) -> None:
        """Answer until the socket is closed."""
        while True:
            events = self._poll.poll(None if self._all_loaded else 0)
            for descriptor, _ in events:
                if descriptor in self._workers:
                    self._reap(descriptor)
                elif asked := self._asked():
                    self._answer(asked)
                else:
                    self._see_off()
                    return
            if not events:
                self._get_ready()

    def _asked(self) -> bytes:
        with suppress(ConnectionResetError):  # gone, and took not all that it was offered
            return self._control.recv(_LONGEST_WORD)
        return b""

    def _get_ready(self) -> None:
        """Load what nobody has asked for yet, a plugin at a time; then have workers ahead of need."""
        self._all_loaded = not self._plugins.load_another()
        if self._all_loaded:
            for _ in range(_REHEARSALS):
                rehearsal.rehearse()
            gc.freeze()
            for _ in range(_AHEAD):
                self._offer_ahead()

    def _answer(self, asked: bytes) -> None:
        if asked != ONE_AHEAD:
            try:
                self._plugins.get(asked.decode())
                self._offer_worker(is_awaited=True)
            except (ImportError, OSError):  # an interpreter can say better what is wrong
                with suppress(OSError):  # nobody may ask any more
                    self._control.send(NOBODY)
        elif self._all_loaded:
            self._offer_ahead()

    def _offer_ahead(self) -> None:
        with suppress(OSError):  # nobody waits for it
            self._offer_worker()

    def _offer_worker(self, *, is_awaited: bool = False) -> None:
        """Fork a worker, and tell the runtime of it."""
        theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        host = os.getpid()
        pid = os.fork()
        if pid == 0:
            calls = worker.MOST_CALLS if self._all_loaded else 1
            own = Own(ours, self._burials)
            worker.serve(own, self._plugins.get, host=host, calls=calls, is_awaited=is_awaited)
        ended = os.pidfd_open(pid)
        self._workers[ended] = pid, ours
        self._poll.register(ended, select.POLLIN)
        with theirs, suppress(OSError):  # nobody may ask any more
            socket.send_fds(self._control, [str(pid).encode()], [theirs.fileno()])

    def _have_undertaker(self) -> socket.socket:
        """Fork the undertaker; return where it is told."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            undertaker.serve(theirs)
        theirs.close()
        self._undertaker = pid
        return ours

    def _reap(self, ended: int) -> None:
        """Reap a worker; say how the plugin ended that it was, or that it never was one."""
        pid, talk = self._workers.pop(ended)
        self._poll.unregister(ended)
        os.close(ended)
        _, status = os.waitpid(pid, 0)
        said = UNTAKEN if _left_request(talk) else str(os.waitstatus_to_exitcode(status)).encode()
        with talk, suppress(OSError):  # nobody may wait for it any more
            talk.send(said)

    def _see_off(self) -> None:
        """Wait a moment for those that end with us; whoever is a plugin goes on."""
        poll, deadline = select.poll(), time.monotonic() + _FAREWELL
        self._burials.close()
        leaving = {ended: pid for ended, (pid, _) in self._workers.items()}
        leaving[os.pidfd_open(self._undertaker)] = self._undertaker
        for ended in leaving:
            poll.register(ended, select.POLLIN)
        while leaving and (seconds := deadline - time.monotonic()) > 0:
            for ended, _ in poll.poll(seconds * 1000):
                poll.unregister(ended)
                os.waitpid(leaving.pop(ended), 0)


def _left_request(talk: socket.socket) -> bool:
    """Tell whether a worker left a request that it was given; and drop it."""
    with suppress(BlockingIOError):
        if request := Request.received(talk, socket.MSG_DONTWAIT):
            request.close()
            return True
    return False
