"""A bell that is rung once: whoever waits for something else hears it, too.

Heard in three ways: by asking, in a poll of files, and by being called.
"""

import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Bell:
    """Any thread may ring it, any number of them may hear it."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._listeners: list[Callable[[], None]] = []
        self._is_rung = False

    def __del__(self) -> None:
        os.close(self._event)

    def fileno(self) -> int:
        """Return what can be read once it is rung."""
        return self._event

    def is_rung(self) -> bool:
        """Tell whether it is rung."""
        return self._is_rung

    def ring(self) -> None:
        """Ring it."""
        self._is_rung = True
        os.eventfd_write(self._event, 1)
        for listener in list(self._listeners):
            listener()

    def wait(self, seconds: float) -> None:
        """Wait until it rings, at most *seconds*."""
        select.select([self._event], [], [], seconds)

    @contextmanager
    def calling(self, listener: Callable[[], None]) -> Iterator[None]:
        """Have *listener* called when it rings, from the thread that rings it."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
