"""The lease store of a cluster as a process: the system's etcd, in a Node of its own.

Everything here runs on a thread of that Node.  Its data are in /var/lib, so that it starts
again with all leases, also after a reboot.
"""

import os
import socket
import time
from pathlib import Path

from podnet.cluster.managers import environment, read
from podnet.errors import MissingError
from podnet.kernel import namespaces, worlds

PORT = 2379
_PROGRAM = "etcd"
_DATA = Path("/var/lib/etcd")
_LOG = Path("/var/lib/etcd.log")
_LAST_LINES = 3
_GLANCE = 0.01
# The shortest election there is: leases may be as short as a second.
_QUICK = ("--heartbeat-interval=20", "--election-timeout=200")
_SPARING = ("--logger=zap", "--log-outputs=stderr", "--log-level=warn")


def start(address: str) -> int:
    """Start etcd at an address of the Node, and return its process ID.

    Raises:
        MissingError: There is none on this system.
    """
    client, peer = f"http://{address}:{PORT}", f"http://127.0.0.1:{PORT + 1}"
    command = [
        *(_PROGRAM, "--name=store", f"--data-dir={_DATA}"),
        *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
        f"--initial-cluster=store={peer}",
        *(*_QUICK, *_SPARING),
    ]
    log = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        return os.posix_spawnp(
            _PROGRAM,
            command,
            environment(),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(_LOG), log, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
    except FileNotFoundError:
        raise MissingError("there is no etcd program", "apt-get install etcd-server") from None


def running() -> list[int]:
    """Return the etcd processes of the calling thread's Node."""
    inside = worlds.processes(namespaces.identity("/proc/thread-self/ns/uts"))
    return [pid for pid in inside if read(Path(f"/proc/{pid}/comm")).strip() == _PROGRAM]


def await_ready(address: str, deadline: float) -> str:
    """Wait until etcd serves; return why it does not, "" when it does."""
    while True:
        problem = _asked(address)
        if not problem or time.monotonic() > deadline:
            return problem
        time.sleep(_GLANCE)


def _asked(address: str) -> str:
    try:
        with socket.create_connection((address, PORT), timeout=1) as client:
            client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            answer = client.recv(4096)
    except OSError as exc:
        return f"it does not answer: {exc.strerror or exc}"
    return "" if b" 200 " in answer.partition(b"\r\n")[0] else "it says that it is not healthy"


def log_tail() -> str:
    """Return the last lines of its log."""
    return "\n  ".join(read(_LOG).splitlines()[-_LAST_LINES:])
