"""Passes on what comes, and keeps it: stdin inwards, stdout and stderr outwards."""

from __future__ import annotations

import os
import select

from podnet.rig.shim.call import Call, attempt, write

TYPE_CHECKING = False  # see podnet.rig.shim.call
if TYPE_CHECKING:
    from collections.abc import Sequence

_CHUNK = 65536
_PENDING = 1 << 20  # bytes of stdin that are held for a plugin that does not read
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR


class Relay:
    """Between the streams of this process and the plugin's.

    Attributes:
        quiet: Nothing is passed outwards, only kept.
    """

    def __init__(self, call: Call, stdin: int, outputs: Sequence[int]) -> None:
        self._call, self._stdin = call, stdin
        self._ways = dict(zip(outputs, (("stdout", 1), ("stderr", 2)), strict=True))
        self._pending = bytearray()
        self._more_input = True
        self.quiet = False
        os.set_blocking(stdin, False)

    @property
    def open(self) -> bool:
        """Whether the plugin, or somebody it left behind, can still say something."""
        return bool(self._ways)

    def step(self, also: Sequence[int] = (), timeout: int | None = None) -> list[int]:
        """Wait for something and deal with it.

        Returns:
            Which of *also* can be read; [-1] when there was nothing at all in time.
        """
        poll = select.poll()
        for descriptor in (*self._ways, *also):
            poll.register(descriptor, _READABLE)
        if self._stdin >= 0:
            poll.register(self._stdin, select.POLLERR | (select.POLLOUT if self._pending else 0))
            if self._more_input and len(self._pending) < _PENDING:
                poll.register(0, _READABLE)
        events = [descriptor for descriptor, _ in poll.poll(timeout)]
        for descriptor in events:
            if descriptor in self._ways:
                self._outwards(descriptor)
            elif descriptor == self._stdin:
                self._feed()
            elif descriptor == 0:
                self._take()
        return [d for d in events if d in also] if events else [-1]

    def _take(self) -> None:
        data = read(0)
        self._pending += data
        self._call.keep("stdin", data)
        self._more_input = bool(data)
        self._feed()

    def _feed(self) -> None:
        if self._stdin < 0:  # the plugin stopped to read just now
            return
        try:
            if self._pending:
                del self._pending[: os.write(self._stdin, self._pending[:_CHUNK])]
            elif not _has_reader(self._stdin):
                self._give_up()
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._give_up()
        if not self._pending and not self._more_input:
            os.close(self._stdin)
            self._stdin = -1

    def _give_up(self) -> None:
        """Nobody reads any more: the runtime is to feel it, too."""
        attempt(os.close, 0)
        self._pending.clear()
        self._more_input = False

    def _outwards(self, descriptor: int) -> None:
        name, target = self._ways[descriptor]
        data = read(descriptor)
        self._call.keep(name, data)
        if data and (self.quiet or write(target, data)):
            return
        del self._ways[descriptor]
        os.close(descriptor)


def _has_reader(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return not poll.poll(0)


def read(descriptor: int) -> bytes:
    """Read what is there; nothing at the end, or where that is impossible."""
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:
        return b""
