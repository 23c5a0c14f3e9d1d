"""A plugin that a worker of the plugin host is: one call, as :class:`podnet.pipes.Child` is one.

Knows what a worker says, and how to be rid of one; which worker it is, and what becomes of it
afterwards, is the plugin host's to say.
"""

import os
import select
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from podnet.kernel import worlds
from podnet.pipes import NeverRanError, Streams, kill_group

# What podnet_plugins.host and worker call these, too: podnet imports no plugins.
_FREE, _UNTAKEN = b"free", b"untaken"
_LONGEST_WORD = 64
# Seconds for the host to tell of the end of a worker that we killed.
_PATIENCE = 1.0


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
        self,
        ask: Callable[[Sequence[int]], Worker],
        take_back: Callable[[Worker], None],
        keep_open: Sequence[int],
    ) -> None:
        """Ask for a plugin.

        Args:
            ask: Gives a worker the request, with the descriptors of its streams and namespaces,
                and returns it.
            take_back: Is told of the worker when we have no more to do with it.
            keep_open: Descriptors that the plugin has, too.

        Raises:
            OSError: There is no worker.
        """
        self._take_back = take_back
        self._was_killed = False
        given = self.open_pipes()
        try:
            given += worlds.own()
            self._worker = ask([*given, *keep_open])
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
        if self._was_killed and not is_readable([self._worker.talk], _PATIENCE):
            return -signal.SIGKILL  # the host, who would tell, does not
        try:
            status = self._worker.talk.recv(_LONGEST_WORD)
        except ConnectionResetError:  # host and worker are gone, and our request was not read
            raise NeverRanError from None
        if status == _UNTAKEN:
            raise NeverRanError
        return int(status) if status else -signal.SIGKILL

    def kill(self) -> None:
        """End it, and its process group."""
        self._was_killed = True
        kill_group(self.pid)

    def leave(self) -> None:
        """Have no more to do with it: its process may serve another call from here on."""
        if self._was_killed:
            self._worker.talk.close()
        else:
            self._take_back(self._worker)


def is_readable(talks: Iterable[socket.socket], seconds: float) -> bool:
    """Wait until something can be read from one of *talks*, or for so long."""
    poll = select.poll()
    for talk in talks:
        poll.register(talk, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))
