"""Who may work on what: one lock per container, and one that keeps GC alone.

The spec forbids two operations on one container at a time, and GC next to anything
(SPEC section 3, "Lifecycle & Ordering").  The locks are flock(2) on files, so a killed
process lets go, and plugins inherit the descriptors, so a plugin that outlives a killed
podnet still holds them until it is done.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podnet import files
from podnet.cni import names
from podnet.errors import TimedOutError

#: Longer than any plugin may take by default.
DEFAULT_WAIT = 90.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05
_GC = "gc.lock"


@contextmanager
def container(
    directory: Path, container_id: str, *, wait: float = DEFAULT_WAIT
) -> Iterator[tuple[int, ...]]:
    """Hold the lock of one container, and keep GC away.

    Args:
        directory: Where the lock files are.
        container_id: Whose lock.
        wait: Seconds to wait for it.

    Yields:
        The descriptors that plugins must inherit.

    Raises:
        TimedOutError: Somebody else has it for too long.
    """
    names.check_container_id(container_id)
    files.make_directory(directory)
    # The prefix keeps the container "gc" off the lock of everything.
    path = directory / f"container-{container_id[:200]}.lock"
    with (
        _held(directory / _GC, fcntl.LOCK_SH, wait) as shared,
        _held(path, fcntl.LOCK_EX, wait) as own,
    ):
        try:
            yield shared, own
        finally:
            # A lock file without a container is litter; who waits for it will see that it
            # holds a file that is no longer there, and open it again.
            path.unlink(missing_ok=True)


@contextmanager
def everything(directory: Path, *, wait: float = DEFAULT_WAIT) -> Iterator[tuple[int, ...]]:
    """Hold the lock that excludes every operation on every container.

    Raises:
        TimedOutError: Some operation does not end.
    """
    files.make_directory(directory)
    with _held(directory / _GC, fcntl.LOCK_EX, wait) as alone:
        yield (alone,)


@contextmanager
def _held(path: Path, kind: int, wait: float) -> Iterator[int]:
    descriptor = _acquire(path, kind, time.monotonic() + wait)
    try:
        yield descriptor
    finally:
        # Explicitly: a background process that inherited the descriptor must not keep it.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _acquire(path: Path, kind: int, deadline: float) -> int:
    pause = _FIRST_PAUSE
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            if _is_still(path, descriptor):
                return descriptor
            os.close(descriptor)
            continue
        if time.monotonic() >= deadline:
            raise TimedOutError(
                f"another podnet, or a plugin that it left running, holds {path}",
                f"`fuser -v {path}` names it; try again when it is done",
            )
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _open(path: Path) -> int:
    with files.naming(path):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_still(path: Path, descriptor: int) -> bool:
    """Tell whether *descriptor* is the file that is there now, not one that was removed."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))  # noqa: PTH116
    except FileNotFoundError:
        return False
