"""One HTTP/1.1 connection on which every wait has an end.

h11 speaks the protocol, this room watches the socket: so one can look into an answer that
never ends for as long as one likes, and look again later, which the usual clients cannot do.
Whatever goes wrong is an OSError.  Knows no etcd and no second try.
"""

import select
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import h11

from podnet.errors import UsageError
from podnet_manager.bell import Bell

_PIECE = 1 << 18
_LONGEST_WAIT = 1e6  # seconds: poll takes no more of them
_PORTS = {"http": 80, "https": 443}
# A peer that is cut off says nothing, not even goodbye; the kernel finds out in about
# fifteen seconds, also while we only listen.
_WHILE_IT_IS_SILENT = {
    socket.TCP_KEEPIDLE: 5,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 2,
    socket.TCP_USER_TIMEOUT: 15_000,
    socket.TCP_NODELAY: 1,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens.

    Attributes:
        url: As it was written.
        host: A name or an address.
        port: Of TCP.
        is_tls: Whether it speaks TLS.
    """

    url: str
    host: str
    port: int
    is_tls: bool

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Read ``http://HOST:PORT`` or ``https://HOST:PORT``.

        Raises:
            UsageError: It is something else.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS[parts.scheme]
            (parts.hostname or "").encode("idna")  # as the resolver will
        except (ValueError, KeyError):
            parts, port = urlsplit(""), 0
        if not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
            raise UsageError(
                f"{url!r} is no endpoint", "http://HOST:PORT or https://HOST:PORT, nothing else"
            )
        return cls(url.rstrip("/"), parts.hostname, port, parts.scheme == "https")

    def __str__(self) -> str:
        return self.url


class Connection:
    """A connection to an endpoint, for one request after the other.

    Args:
        endpoint: Where to.
        tls: Whom to believe there, if it speaks TLS.
        deadline: By the monotonic clock; until then it must be open.
        cancelled: Once it is rung, no read waits any more.

    Raises:
        OSError: It is not.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        tls: ssl.SSLContext,
        *,
        deadline: float,
        cancelled: Bell | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._socket = socket.create_connection(
            (endpoint.host, endpoint.port), timeout=_until(deadline)
        )
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _WHILE_IT_IS_SILENT.items():
                self._socket.setsockopt(socket.IPPROTO_TCP, option, value)
            if endpoint.is_tls:
                self._socket = tls.wrap_socket(self._socket, server_hostname=endpoint.host)
        except BaseException:
            self._socket.close()
            raise
        self._protocol = h11.Connection(h11.CLIENT)
        self._arrival = select.poll()
        self._arrival.register(self._socket, select.POLLIN)
        self._cancelled = cancelled
        if cancelled:
            self._arrival.register(cancelled, select.POLLIN)

    @property
    def is_reusable(self) -> bool:
        """Whether another request can follow."""
        return self._protocol.states == {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE}

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str], *, deadline: float
    ) -> tuple[int, bytes]:
        """Send a request; return the answer's status and all of it.

        Raises:
            OSError: Something broke, or it took too long.
        """
        status = self.open(path, body, headers, deadline=deadline)
        pieces = []
        while piece := self.read(deadline=deadline):
            pieces.append(piece)
        if piece is None:
            raise TimeoutError("the answer does not end")
        with suppress(h11.LocalProtocolError):  # it wants to close; is_reusable says so
            self._protocol.start_next_cycle()
        return status, b"".join(pieces)

    def open(self, path: str, body: bytes, headers: Mapping[str, str], *, deadline: float) -> int:
        """Send a request; return the answer's status, and leave the rest to :meth:`read`.

        Raises:
            OSError: Something broke, or it took too long.
        """
        host = f"[{self.endpoint.host}]" if ":" in self.endpoint.host else self.endpoint.host
        fields = {"Host": f"{host}:{self.endpoint.port}", "Content-Length": str(len(body))}
        request = h11.Request(
            method="POST", target=path, headers=list((fields | dict(headers)).items())
        )
        self._socket.settimeout(_until(deadline))
        whole = (request, h11.Data(data=body), h11.EndOfMessage())
        self._socket.sendall(b"".join(self._protocol.send(event) or b"" for event in whole))
        self._socket.settimeout(0)
        while True:
            match self._next(deadline):
                case h11.Response(status_code=status):
                    return int(status)
                case h11.ConnectionClosed():
                    raise ConnectionAbortedError("it hung up")
                case None:
                    raise TimeoutError("no answer")
                case _:
                    continue  # it has begun to think

    def read(self, *, deadline: float) -> bytes | None:
        """Return the next piece of the answer, empty at its end; ``None``: none came in time.

        Raises:
            OSError: Something broke.
        """
        while True:
            match self._next(deadline):
                case h11.Data(data=data) if data:
                    return bytes(data)
                case h11.EndOfMessage() | h11.ConnectionClosed():
                    return b""
                case None:
                    return None
                case _:
                    continue  # an empty piece

    def _next(self, deadline: float) -> h11.Event | None:
        """Return what the server says next; ``None``: nothing, in time."""
        try:
            while not isinstance(event := self._protocol.next_event(), h11.Event):
                if event is h11.PAUSED:
                    raise ConnectionAbortedError("the answer is over")
                piece = self._receive(deadline)
                if piece is None:
                    return None
                self._protocol.receive_data(piece)
        except h11.RemoteProtocolError as exc:
            raise ConnectionAbortedError(f"it hung up, or speaks no HTTP: {exc}") from None
        return event

    def _receive(self, deadline: float) -> bytes | None:
        while True:
            try:
                return self._socket.recv(_PIECE)
            except (BlockingIOError, ssl.SSLWantReadError):
                left = min(deadline - time.monotonic(), _LONGEST_WAIT)
                is_over = self._cancelled and self._cancelled.is_rung()
                if left <= 0 or is_over or not self._arrival.poll(left * 1000):
                    return None


def _until(deadline: float) -> float:
    """Return the seconds until *deadline*: never none, which would mean not to wait at all."""
    return max(0.001, deadline - time.monotonic())
