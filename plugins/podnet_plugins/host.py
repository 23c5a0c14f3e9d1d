"""The plugin host: a process with the plugins loaded, which forks where others start an interpreter.

A runtime starts it (``launch.py host``) with a socket as its stdin.  Every message asks for
one plugin, and brings its streams, the locks it must hold and the namespaces it must be in;
the answer is a pidfd, and later the exit status.  A plugin that is forked here finds what a
fresh process would: its environment, streams, working directory, process group and
namespaces; and nothing of a run before it, since the host itself never runs one.

When the socket closes, the host ends; what it forked goes on to its own end.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from podnet.kernel import worlds

_STREAMS = 3
_LARGEST_REQUEST = 1 << 20
_MOST_DESCRIPTORS = 64
_BEYOND_ALL = 1 << 20


def main() -> None:
    """Serve until nobody can ask any more."""
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):  # a reader of podnet's output must not wait for us
        os.dup2(nothing, stream)
    gc.disable()  # a collection would touch, and so copy, what forked plugins share
    _serve(control, Plugins(Path(__file__).parent / "bin"))


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


def _serve(control: socket.socket, plugins: Plugins) -> None:
    running: dict[int, tuple[int, socket.socket]] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    idle = True
    while True:
        events = poll.poll(0 if idle else None)
        if not events:
            idle = plugins.load_another()
        for descriptor, _ in events:
            if descriptor in running:
                poll.unregister(descriptor)
                _report(descriptor, *running.pop(descriptor))
                continue
            request, descriptors, _, _ = socket.recv_fds(
                control, _LARGEST_REQUEST, _MOST_DESCRIPTORS
            )
            if not request:
                return
            ended, forked = _start(json.loads(request), descriptors, plugins)
            running[ended] = forked
            poll.register(ended, select.POLLIN)


def _start(
    request: dict[str, object], descriptors: list[int], plugins: Plugins
) -> tuple[int, tuple[int, socket.socket]]:
    """Fork a plugin and tell who asked; return its pidfd, its process ID and where to report."""
    pid = _fork(request, descriptors, plugins.get(str(request["plugin"])))
    ended = os.pidfd_open(pid)
    reply, *others = descriptors
    for descriptor in others:
        os.close(descriptor)
    answering = socket.socket(fileno=reply)
    with suppress(OSError):  # who asked is gone; the plugin goes on to its end
        socket.send_fds(answering, [str(pid).encode()], [ended])
    return ended, (pid, answering)


def _report(ended: int, pid: int, reply: socket.socket) -> None:
    _, status = os.waitpid(pid, 0)
    os.close(ended)
    with reply, suppress(OSError):  # nobody may wait for it any more
        reply.send(str(os.waitstatus_to_exitcode(status)).encode())


def _fork(request: dict[str, object], descriptors: list[int], plugin: ModuleType) -> int:
    """Fork a plugin, and return its process ID."""
    pid = os.fork()
    if pid == 0:
        _become(request, descriptors, plugin)
    with suppress(ProcessLookupError, PermissionError):
        os.setpgid(pid, pid)  # here too, so that who is told can signal the group at once
    return pid


def _become(request: dict[str, object], descriptors: list[int], plugin: ModuleType) -> NoReturn:
    """Be the plugin, with everything as in a fresh process; never return."""
    status = 1
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        namespaces = descriptors[1 + _STREAMS : 1 + _STREAMS + len(worlds.KINDS)]
        _enter(namespaces, str(request["cwd"]))
        _take_descriptors(request, descriptors)
        environment = request["environment"]
        assert isinstance(environment, dict)  # noqa: S101
        os.environ.clear()
        os.environ.update(environment)
        status = _status_of(plugin.main)
    except BaseException:  # noqa: BLE001  what a fresh process would do with it
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        # Not sys.exit: nothing of the host's must be run twice.
        os._exit(status)


def _enter(namespaces: list[int], cwd: str) -> None:
    """Enter those namespaces that are not the host's own."""
    different = {
        kind: descriptor
        for kind, descriptor in zip(worlds.KINDS, namespaces, strict=True)
        if not os.path.samestat(os.fstat(descriptor), os.stat(f"/proc/self/ns/{kind}"))  # noqa: PTH116
    }
    worlds.enter_some(different)
    os.chdir(cwd)


def _take_descriptors(request: dict[str, object], descriptors: list[int]) -> None:
    """Put the streams at 0, 1 and 2 and the locks where they were; close everything else."""
    wanted = request["keep"]
    assert isinstance(wanted, list)  # noqa: S101
    kept = descriptors[1 + _STREAMS + len(worlds.KINDS) :]
    highest = max([*descriptors, *wanted, _STREAMS]) + 1
    # First out of the way of all targets, then to the targets.
    moved = [os.dup2(d, highest + i) for i, d in enumerate([*descriptors[1 : 1 + _STREAMS], *kept])]
    targets = [*range(_STREAMS), *wanted]
    for source, target in zip(moved, targets, strict=True):
        os.dup2(source, target)
    for low, high in pairwise(sorted({*targets, _BEYOND_ALL})):
        if low + 1 < high:  # closerange(0, 0) closes everything
            os.closerange(low + 1, high)


def _status_of(plugin: Callable[[], None]) -> int:
    status = 0
    try:
        plugin()
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status
