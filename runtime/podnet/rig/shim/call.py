"""One call of a plugin: who asked what, what was said, and how the shim ends like it.

Knows processes and streams; knows nothing of relaying, of faults, or of files.
"""

from __future__ import annotations

import _signal
import os
import sys
import time

TYPE_CHECKING = False  # typing and collections.abc take longer to load than all the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

_KEPT = 8 << 20  # bytes of a stream that are kept
_PIPE, _XFSZ = 13, 25  # Python ignores these, which a plugin would inherit
_CALLER = os.getppid()


class Call:
    """One call of a plugin, and what is known of it.

    Attributes:
        real: The plugin's file.
        arguments: What it is given.
        environment: All of it, as the runtime gave it.
        verb: CNI_COMMAND.
        caller: The process that called.
        pid: The plugin's process ID, 0 before it runs.
        started: When, in seconds since the epoch.
        said: What went through each stream, up to a bound, and
        cut: how much of it more.
        fault: What was made to go wrong.
    """

    def __init__(self, real: str) -> None:
        self.real = real
        self.started, self._clock = time.time(), time.monotonic()
        self.arguments = sys.argv[1:]
        self.environment = _given_environment()
        self.verb = self.environment.get("CNI_COMMAND", "")
        self.caller = _CALLER
        self.said = {"stdin": bytearray(), "stdout": bytearray(), "stderr": bytearray()}
        self.cut = dict.fromkeys(self.said, 0)
        self.fault = ""
        self.pid = 0

    @property
    def milliseconds(self) -> float:
        """How long it has taken so far."""
        return (time.monotonic() - self._clock) * 1000

    def start(self, streams: Sequence[int]) -> None:
        """Start the plugin, its streams being *streams*; what else is open it inherits.

        Raises:
            OSError: It cannot be executed.
        """
        self.pid = os.posix_spawn(
            self.real,
            [self.real, *self.arguments],
            self.environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, there, n) for n, there in enumerate(streams)],
            setsigdef=(_PIPE, _XFSZ),
        )

    def become(self) -> NoReturn:
        """Be the plugin, and nobody in front of it.

        Raises:
            OSError: It cannot be executed.
        """
        for number in (_PIPE, _XFSZ):
            _signal.signal(number, _signal.SIG_DFL)
        os.execve(self.real, [self.real, *self.arguments], self.environment)  # noqa: S606

    def keep(self, stream: str, data: bytes) -> None:
        """Keep what went through a stream."""
        room = _KEPT - len(self.said[stream])
        self.said[stream] += data[:room]
        self.cut[stream] += max(0, len(data) - room)


def _given_environment() -> dict[str, str]:
    """Return the environment as it was given: Python adds a locale of its own (PEP 538)."""
    environment = dict(os.environ)
    with open("/proc/self/environ", "rb") as file:  # noqa: PTH123  pathlib takes its time
        if b"LC_CTYPE=" not in file.read():
            environment.pop("LC_CTYPE", None)
    return environment


def end(ended: int) -> NoReturn:
    """End as the plugin did: with its exit status, or by its signal, which is negative."""
    if ended < 0:
        import resource  # noqa: PLC0415  only who dies needs it

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core file is enough
        attempt(_signal.signal, -ended, _signal.SIG_DFL)
        os.kill(os.getpid(), -ended)
    os._exit(ended)


def write(descriptor: int, data: bytes) -> bool:
    """Write all of *data*; tell whether there was somebody to read it."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        return False
    return True


def attempt(function: Callable[..., object], *arguments: object) -> None:
    """Do something that may be impossible by now, and then does not matter."""
    try:
        function(*arguments)
    except OSError:
        return
