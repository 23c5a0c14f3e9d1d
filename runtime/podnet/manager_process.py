"""A manager as a cluster meets it: a process in a Node, its health socket, its log.

Everything here runs on a thread of the manager's Node; which Nodes there are is podnet.cluster's.
"""

import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from podnet.kernel import namespaces, worlds

OK = 200
_STATE = Path("/var/lib/podnet-manager")
_LOG = _STATE / "log"
_HEALTH = Path("/run/podnet-manager/health.sock")
_MODULE = "podnet_manager.main"
_PEERS = "podnet_manager_peers"
_GLANCE = 0.01
_PATIENCE = 5.0
_LAST_LINES = 3


def start(options: Sequence[str]) -> int:
    """Start a manager, and return its process ID."""
    _STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [sys.executable, "-I", "-m", _MODULE, "--health", f"unix:{_HEALTH}", *options]
    log = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        sys.executable,
        command,
        {k: v for k, v in os.environ.items() if not k.startswith(("CNI_", "PODNET_"))},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(_LOG), log, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def running() -> list[int]:
    """Return the managers that run in the calling thread's Node."""
    inside = worlds.processes(namespaces.identity("/proc/thread-self/ns/uts"))
    return [pid for pid in inside if _MODULE in read(Path(f"/proc/{pid}/cmdline"))]


def await_ready(peers: int | None, deadline: float) -> str:
    """Wait until the manager of the calling thread's Node is ready, and knows so many peers.

    Returns:
        Why it is not, "" when it is.
    """
    while True:
        code, said = ask("/readyz")
        if code == OK:
            if peers is None or f"\n{_PEERS} {peers}\n" in ask("/metrics")[1]:
                return ""
            said = f"it does not know all of {peers} peers"
        if time.monotonic() > deadline:
            return said.strip()
        time.sleep(_GLANCE)


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


def log_tail() -> str:
    """Return the last lines of the manager's log."""
    return "\n  ".join(read(_LOG).splitlines()[-_LAST_LINES:])
