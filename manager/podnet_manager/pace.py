"""How soon the next news are looked at: at once while they are rare, a little later in a swarm.

Where hundreds of Nodes start at once, each of them would wake for each other; so it wakes ten
times a second, and finds the news of many.
"""

import time
from collections.abc import Callable

_NEAR = 0.25
_FEW = 4
_PAUSE = 0.1


class Pace:
    """Knows how close together news have come.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = float("-inf")
        self._close_together = 0

    def pause(self) -> float:
        """Take note of news; return the seconds until the next are worth a look."""
        now = self._clock()
        is_near = now - self._last < _NEAR
        self._close_together = self._close_together + 1 if is_near else 0
        self._last = now
        return _PAUSE if self._close_together >= _FEW else 0.0
