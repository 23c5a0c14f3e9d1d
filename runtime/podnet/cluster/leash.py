"""What ends a cluster with the process that it was made for, however that ends.

A process of its own, one for each cluster with an owner (``PODNET_OWNER``): it waits for
nothing but the owner's end, and takes the cluster down then.
"""

import os
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path

from podnet.cluster.managers import read

_MODULE = "podnet.cluster.leash"
_PID = "leash"


def hold(home: Path, owner: int) -> None:
    """Start the leash of the cluster whose record is in *home*."""
    command = [sys.executable, "-I", "-m", _MODULE, home.name, str(owner)]
    pid = os.posix_spawn(
        sys.executable,
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)
        ],
        setsid=True,
    )
    (home / _PID).write_text(str(pid))


def let_go(home: Path) -> None:
    """End the leash of a cluster, if it has one and we are not it."""
    text = read(home / _PID)
    if not text.isdigit() or int(text) == os.getpid():
        return
    if f"{_MODULE}\0{home.name}\0" in read(Path(f"/proc/{text}/cmdline")):
        with suppress(ProcessLookupError):
            os.kill(int(text), signal.SIGKILL)
        with suppress(ChildProcessError):  # another process started it
            os.waitpid(int(text), 0)


def main() -> None:
    """Wait for the owner's end, and take the cluster down."""
    name, owner = sys.argv[1], int(sys.argv[2])
    with suppress(ProcessLookupError):  # it is gone already
        watched = select.poll()
        watched.register(os.pidfd_open(owner), select.POLLIN)
        watched.poll()
    # Only now: until then it needs no memory for what it will need.
    from podnet.cluster.clusters import Clusters  # noqa: PLC0415

    Clusters.here(os.environ).down(name)


if __name__ == "__main__":
    main()
