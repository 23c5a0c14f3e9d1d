"""What plugin and daemon say to each other: one JSON object each way, a line each, on a Unix socket.

::

    {"method": "allocate", "holder": {...}, "netns": "/run/netns/c1", "wishes": {...}}
    {"lease": {...}}    or    {"error": {"code": 999, "msg": "no DHCP server offered an address"}}

``release``, ``check``, ``gc`` (with "network" and the holders in "valid") and ``status`` likewise.
Closing the connection before the answer takes an ``allocate`` back.  Go's daemon speaks something else.
"""

import socket
from collections.abc import Mapping

from podnet.cni import wire
from podnet.cni.errors import CniError, Code
from podnet.cni.wire import Fields

SOCKET = "/run/cni/dhcp.sock"
LARGEST = 1 << 20


class NoDaemonError(CniError):
    """Nobody answers at the socket."""

    default_code = Code.TRY_AGAIN_LATER


def ask(path: str, request: Mapping[str, object]) -> Fields:
    """Ask the daemon, and wait for what it says.

    Raises:
        NoDaemonError: There is none.
        CniError: What it says is an error.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as client:
        try:
            client.connect(path)
            client.sendall(encoded(request))
            answer = _line(client)
        except OSError as exc:
            raise NoDaemonError(
                f"error dialing DHCP daemon: {path}: {exc.strerror}",
                "start it on the host: `dhcp daemon`, with the executable of this plugin",
            ) from exc
    if not answer.endswith(b"\n"):
        raise NoDaemonError(f"the DHCP daemon at {path} ended before it answered")
    said = Fields.of(wire.loads(answer, "the DHCP daemon's answer"))
    if error := said.child("error"):
        raise CniError(error.text("msg"), error.text("details"), code=error.number("code"))
    return said


def _line(client: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\n") and len(received) < LARGEST:
        more = client.recv(65536)
        if not more:
            break
        received += more
    return received


def encoded(message: Mapping[str, object]) -> bytes:
    """Return a message as it is sent."""
    return wire.dumps(message).encode() + b"\n"
