"""Who keeps the namespaces of a user without root: a process that waits, and ends by itself.

Run as a script, by a bare interpreter, by podnet.rootless, which made the namespaces that it is
in; imports nothing of podnet.  Every podnet command holds the FIFO open as long as it lives,
however it ends; when the last one has let go, the keeper looks whether anything is left that
needs it: a mount of a namespace (Nodes and pods are those) or a process (a manager, a shell).
The mounts that the machine had when the namespaces were made are in them too, and need nobody.
"""

import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

LOCK, RECORD, ALIVE = "lock", "keeper.json", "alive"
_OWN = "/proc/self/ns/user"
# A process that ends is still there for a moment after its files are closed.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 60.0
_PATIENCE = 5.0


def keep(directory: int, alive: int, held: int, inherited: frozenset[str]) -> None:
    """Wait until nothing is left, then remove the record.

    Args:
        directory: Where the lock, the record and the FIFO are.
        alive: The FIFO's end to read from.
        held: What nobody else may have meanwhile: let go with the record, and not only when
            the interpreter has ended, for the next command wants it at once.
        inherited: The machine's own mounts of namespaces, as :func:`pins` told them.
    """
    pause = _FIRST_PAUSE
    while True:
        woken = _await(alive, pause)
        if not _exists(LOCK, directory):  # the user has logged out, and the system tidied up
            end_everything()
            return
        with _locked(directory):
            if not others() and pins() <= inherited:
                forget(directory, held)
                return
            if woken:
                os.close(alive)
                alive = os.open(ALIVE, os.O_RDONLY | os.O_NONBLOCK, dir_fd=directory)
            pause = _FIRST_PAUSE if woken else min(2 * pause, _LONGEST_PAUSE)


def forget(directory: int, held: int) -> None:
    """Let go of what is held, and remove the record: the next command makes new namespaces."""
    os.close(held)
    for name in (RECORD, ALIVE):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)


def _await(alive: int, pause: float) -> bool:
    """Wait; return whether the last command has let go since the FIFO was opened."""
    poll = select.poll()
    poll.register(alive, 0)  # a hang-up is always told
    return bool(poll.poll(pause * 1000))


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _locked(directory: int) -> Iterator[None]:
    lock = os.open(LOCK, os.O_RDWR, dir_fd=directory)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def pins() -> frozenset[str]:
    """Return the mounts of namespaces, Nodes and pods among them.

    By ID and namespace: a machine's mount goes when its file does, and its ID is another's then.
    """
    mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    listed = (line.split() for line in mounts if " - nsfs " in line)
    return frozenset(f"{fields[0]} {fields[3]}" for fields in listed)


def others() -> list[int]:
    """Return the other processes of our user namespace that have not ended."""
    own = _identity(_OWN)
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208
    return [
        pid
        for pid in pids
        if pid != os.getpid() and _identity(f"/proc/{pid}/ns/user") == own and runs(pid)
    ]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:  # it has ended, or is somebody else's
        return None
    return status.st_dev, status.st_ino


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has waited for is still there, but does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def end_everything() -> None:
    """End every other process of our user namespace."""
    deadline = time.monotonic() + _PATIENCE
    while (running := others()) and time.monotonic() < deadline:
        for pid in running:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(_FIRST_PAUSE)


def main(directory: int, alive: int, held: int, inherited: frozenset[str]) -> None:
    """Keep, with no file open but those that are given."""

    def terminate(number: int, _: object) -> NoReturn:
        """Who ends the keeper ends what it keeps: without it nobody could get there again."""
        end_everything()
        forget(directory, held)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, terminate)
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208
        if descriptor > 2 and descriptor not in {directory, alive, held}:  # noqa: PLR2004
            with suppress(OSError):  # the one of the listing itself
                os.close(descriptor)
    os.chdir("/")
    keep(directory, alive, held, inherited)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), frozenset(sys.argv[4:]))
