"""A manager as a cluster meets it: a process in a Node, its health socket, its log.

Which Nodes there are is podnet.cluster.clusters'.  But for what starts managers, everything
here runs on a thread of the manager's Node.
"""

import json
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_interface
from pathlib import Path
from typing import Self

from podnet import files
from podnet.errors import MissingError, PodnetError, UsageError
from podnet.kernel import namespaces, programs, worlds
from podnet.node import Node

OK = 200
#: RTPROT_* of the routes that managers set.
ROUTES = 109
SUBNET_ENV = Path("/run/flannel/subnet.env")
_STATE = Path("/var/lib/podnet-manager")
_LOG = _STATE / "log"
_HEALTH = Path("/run/podnet-manager/health.sock")
_CLOCK = Path("/run/podnet-manager/clock")
_ENDED = Path("/run/podnet-manager/ended")
_PACKAGE = "podnet_manager"
_PEERS = "podnet_manager_peers"
_LARGEST_REPLY = 64
_GLANCE, _LONGEST_GLANCE = 0.01, 0.05
_PATIENCE = 5.0
_LAST_LINES = 3


class Fleet:
    """The process that forks managers; it loads what they need while Nodes are still made.

    Use it as a context manager: it ends then, and the managers stay.
    """

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-m", f"{_PACKAGE}.fleet"],
                environment(),
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                ],
                setsid=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        os.waitpid(self._pid, 0)

    def start(self, node: Node, options: Sequence[str]) -> int:
        """Start a manager on a Node, and return its process ID.

        Raises:
            PodnetError: It cannot be started.
        """
        arguments = ["--health", f"unix:{_HEALTH}", "--clock-file", str(_CLOCK), *options]
        said = {"arguments": arguments, "log": str(_LOG), "ended": str(_ENDED)}
        request = json.dumps(said).encode()
        descriptors = node.run(worlds.own)
        try:
            with suppress(BrokenPipeError):  # then it answers nothing
                socket.send_fds(self._control, [request], descriptors)
            pid = self._control.recv(_LARGEST_REPLY)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if not pid:
            raise PodnetError(
                f"the manager of Node {node.name} cannot be started", "podnet-manager --help"
            )
        return int(pid)


def start(nodes: Iterable[Node], options: Sequence[str]) -> list[int]:
    """Start a manager on each Node, and return their process IDs.

    Raises:
        PodnetError: A manager cannot be started.
    """
    with Fleet() as fleet:
        return [fleet.start(node, options) for node in nodes]


def environment() -> dict[str, str]:
    """Return what a daemon of a Node inherits."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("CNI_", "PODNET_"))}


def running() -> list[int]:
    """Return the managers that run in the calling thread's Node."""
    inside = worlds.processes(namespaces.identity("/proc/thread-self/ns/uts"))
    return [pid for pid in inside if f"{_PACKAGE}." in read(Path(f"/proc/{pid}/cmdline"))]


def await_ready(peers: int | None, deadline: float, pid: int = 0) -> str:
    """Wait until the manager of the calling thread's Node is ready, and knows so many peers.

    Args:
        peers: How many; ``None`` for any number.
        deadline: By the monotonic clock.
        pid: Its process, which is not waited for once it has ended; 0 for any.

    Returns:
        Why it is not, "" when it is.
    """
    pause = _GLANCE
    while True:
        code, said = ask("/readyz")
        if code == OK:
            if peers is None or f"\n{_PEERS} {peers}\n" in ask("/metrics")[1]:
                return ""
            said = f"it does not know all of {peers} peers"
        if time.monotonic() > deadline or (pid and not is_alive(pid)):
            return said.strip()
        time.sleep(pause)
        pause = min(pause * 1.2, _LONGEST_GLANCE)  # to answer is work, too


def is_alive(pid: int) -> bool:
    """Tell whether a process has not ended."""
    with suppress(ChildProcessError):  # somebody else started it
        os.waitpid(pid, os.WNOHANG)
    return Path(f"/proc/{pid}/root").exists()  # a zombie has none


def last_words() -> tuple[type[PodnetError], str]:
    """Return what the manager of the calling thread's Node said when it ended, and as what."""
    status = read(_ENDED)
    if not status:
        return PodnetError, "it was killed"
    kinds = {str(one.exit_code): one for one in (UsageError, MissingError)}
    _, found, reason = f"\n{read(_LOG)}".rpartition("\nerror: ")
    if not found or status == "0":
        reason = f"its exit status is {status}"
    return kinds.get(status, PodnetError), reason.strip()


def ask(path: str) -> tuple[int, str]:
    """Ask the manager of the calling thread's Node; code 0: it does not answer."""
    # By hand: http.client costs every command 20 ms, and this is all of HTTP that it takes.
    try:
        with socket.socket(socket.AF_UNIX) as client, client.makefile("rb") as answers:
            client.settimeout(_PATIENCE)
            client.connect(str(_HEALTH))
            client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            head, _, body = answers.read().partition(b"\r\n\r\n")
    except OSError as exc:
        return 0, f"it does not answer: {exc.strerror or exc}"
    words = head.split(maxsplit=2)
    if len(words) < 2 or not words[1].isdigit():  # noqa: PLR2004
        return 0, "it does not answer in HTTP"
    return int(words[1]), body.decode(errors="replace")


def read(path: Path) -> str:
    """Return the content of a file; nothing when there is none."""
    try:
        return path.read_text(errors="replace")
    except OSError:  # there is none, or not any more
        return ""


def subnets() -> list[str]:
    """Return what the calling thread's Node has leased, as its subnet.env says."""
    lines = [line.partition("=") for line in read(SUBNET_ENV).splitlines()]
    mine = [value for key, _, value in lines if key.endswith("_SUBNET")]
    return [str(ip_interface(subnet).network) for subnet in mine]


def advance(seconds: float) -> float:
    """Set the clock of the Node's managers ahead, once more; return by how much it is now.

    Raises:
        UsageError: That is no number.
    """
    try:
        ahead = float(read(_CLOCK) or 0) + seconds
    except ValueError as exc:
        raise UsageError(f"there is no number of seconds in {_CLOCK}", f"rm {_CLOCK}") from exc
    if not math.isfinite(ahead):
        raise UsageError(f"a clock cannot be {ahead} seconds ahead", "a number of seconds")
    files.make_directory(_CLOCK.parent)
    files.write(_CLOCK, str(ahead).encode())
    for pid in running():
        with suppress(ProcessLookupError):  # the next one reads it, too
            os.kill(pid, signal.SIGHUP)
    return ahead


def tamper(arguments: Sequence[str]) -> str:
    """Do something to a lease in the store; return why that was refused, "" if it was not."""
    command = [sys.executable, "-I", "-m", f"{_PACKAGE}.tamper", *arguments]
    done = programs.run(*command)
    return done.stderr.strip().removeprefix("error: ") if done.status else ""


def log_tail() -> str:
    """Return the last lines of the manager's log."""
    return "\n  ".join(read(_LOG).splitlines()[-_LAST_LINES:])
