"""BIRD, the BGP daemon, as a program that outlives us: started, told what is new, ended.

The sessions are the data path of the others, so a manager that ends, or is killed, leaves
BIRD running, and the next one finds it by its control socket.  Knows no lease and no BGP.
"""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from podnet.errors import MissingError, PodnetError
from podnet.kernel import programs, routes
from podnet.kernel.netlink import Netlink
from podnet.kernel.routes import Route
from podnet_manager import whole
from podnet_manager.bell import Bell

_PROGRAM = "bird"
_PROTOCOL = 12  # RTPROT_BIRD
_PATIENCE = 5.0
_GLANCE = 0.02
# Answers to "configure": done, going on, undone first, nothing to do; to "down".
_FINE = frozenset({"0003", "0004", "0005", "0006", "0007", "0018"})
_LARGEST_ANSWER = 1 << 16


def require() -> None:
    """Check that BIRD is installed.

    Raises:
        MissingError: It is not.
    """
    if not programs.is_installed(_PROGRAM):
        raise MissingError(
            "there is no bird program, and the backend bgp needs it", "apt-get install bird2"
        )


def log_of(directory: Path) -> Path:
    """Return where the BIRD of a directory writes what is wrong."""
    return directory / "bird.log"


def keep(directory: Path, configuration: str, *, recovers: bool) -> bool:
    """Have BIRD run with a configuration; tell whether it had to be told.

    Args:
        directory: Where its files are.
        configuration: What it is to do.
        recovers: If it must be started: the kernel has routes of an earlier run, which stay
            until the sessions are up again.

    Raises:
        PodnetError: It cannot be started, or refuses.
        MissingError: There is no BIRD.
    """
    path, control = directory / "bird.conf", directory / "bird.ctl"
    told = path.exists() and path.read_text() == configuration
    is_running = _answers(control)
    if told and is_running:
        return False
    whole.write(path, configuration)
    if is_running:
        _ask(control, "configure")
        return True
    command = [_PROGRAM, "-c", str(path), "-s", str(control), "-P", str(directory / "bird.pid")]
    try:
        done = programs.run(*command, *(["-R"] if recovers else []))
    except FileNotFoundError:
        require()
        raise
    if done.status != 0:
        raise PodnetError(f"bird does not start: {done.stderr.strip() or done.stdout.strip()}")
    return True


def end(directory: Path) -> None:
    """End the BIRD of a directory, if there is one; its routes stay in the kernel.

    Raises:
        PodnetError: It does not end.
    """
    control = directory / "bird.ctl"
    if _answers(control):
        _ask(control, "down")
        deadline = time.monotonic() + _PATIENCE
        while _answers(control):
            if time.monotonic() > deadline:
                raise PodnetError(f"bird does not end: {control}")
            time.sleep(_GLANCE)
    for left in directory.glob("bird.*"):
        left.unlink()


def was_started(directory: Path) -> bool:
    """Tell whether a BIRD has been started in a directory, and not ended."""
    return (directory / "bird.conf").exists()


def routes_of(netlink: Netlink, metric: int) -> list[Route]:
    """Return the routes with a metric that some BIRD has set."""
    return [
        route
        for family in (4, 6)
        for route in routes.every(netlink, family, protocol=_PROTOCOL)
        if route.priority == metric
    ]


def await_end(directory: Path, cancelled: Bell) -> bool:
    """Wait until BIRD ends, or does not run at all; false when *cancelled* rings before."""
    with suppress(OSError), _connected(directory / "bird.ctl") as client:
        waiting = select.poll()
        waiting.register(client, select.POLLIN)
        waiting.register(cancelled, select.POLLIN)
        # It says nothing unasked but its greeting, and goodbye.
        while not cancelled.is_rung() and client.recv(_LARGEST_ANSWER):
            waiting.poll()
    return not cancelled.is_rung()


def _answers(control: Path) -> bool:
    try:
        with _connected(control):
            return True
    except OSError:
        return False


def _ask(control: Path, command: str) -> None:
    """Give a command.

    Raises:
        PodnetError: BIRD refuses, or does not answer.
    """
    try:
        with _connected(control) as client, client.makefile("rwb") as lines:
            lines.readline()  # its greeting
            lines.write(f"{command}\n".encode())
            lines.flush()
            said = list(_answer(line.decode(errors="replace").rstrip() for line in lines))
    except OSError as exc:
        raise PodnetError(f"bird does not answer {command!r}: {exc}") from exc
    if not said or said[-1][:4] not in _FINE:
        raise PodnetError(f"bird refuses {command!r}: " + "; ".join(line[5:] for line in said))


def _answer(lines: Iterator[str]) -> Iterator[str]:
    """Yield lines up to the one whose code is followed by a space: the last one."""
    for line in lines:
        yield line
        if line[:4].isdigit() and line[4:5] != "-":
            return


@contextmanager
def _connected(control: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_PATIENCE)
        client.connect(str(control))
        yield client
