"""The time by which leases are kept: the system's, or ahead of it by what a file says.

A Node whose clock runs ahead renews early, and in a store that has no clock of its own it
sees the leases of others end early; tests want to see that without waiting for a day.
"""

import math
import time
from pathlib import Path


class Clock:
    """A clock; any thread may look at it.

    Args:
        file: Says how many seconds it is ahead; without one, or while there is none, it is not.

    Raises:
        ValueError: There is something else in the file.
        OSError: It cannot be read.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._ahead = 0.0
        self.set()

    def set(self) -> None:
        """Look into the file again.

        Raises:
            ValueError: There is no number of seconds in it; the clock goes on as before.
            OSError: It cannot be read; likewise.
        """
        if self._file is not None and self._file.exists():
            ahead = float(self._file.read_text())
            if not math.isfinite(ahead):  # no lease would ever be due
                raise ValueError(f"{ahead} is no number of seconds")
            self._ahead = ahead

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return time.time() + self._ahead

    def steady(self) -> float:
        """Return seconds that never go back, but for what the file says."""
        return time.monotonic() + self._ahead
