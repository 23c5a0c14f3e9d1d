"""/healthz, /readyz and /metrics over HTTP, on a port or a Unix socket."""

import select
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer
from typing import Any

from podnet.errors import UsageError
from podnet_manager.bell import Bell
from podnet_manager.log import Log
from podnet_manager.status import Status

_UNIX = "unix:"
_PATIENCE = 1.0  # with who connects and does not ask: others wait meanwhile


@contextmanager
def serving(status: Status, address: str, log: Log) -> Iterator[None]:
    """Answer questions about *status* for as long as the context lasts.

    Args:
        status: What to tell.
        address: ``HOST:PORT`` or ``unix:PATH``; "" for nobody.
        log: Where to say what cannot be answered.

    Raises:
        UsageError: The address is none, or taken.
    """
    if not address:
        yield
        return
    server, over = _server(status, address, log), Bell()
    thread = threading.Thread(target=_serve, args=(server, over), daemon=True, name="health")
    thread.start()
    try:
        yield
    finally:
        over.ring()
        thread.join()
        server.server_close()
        if address.startswith(_UNIX):
            _remove_socket(Path(address.removeprefix(_UNIX)))


def _serve(server: TCPServer, over: Bell) -> None:
    server.timeout = 0  # somebody is there: who asks waits below
    asked = select.poll()
    for one in (server, over):
        asked.register(one, select.POLLIN)
    while asked.poll() and not over.is_rung():
        server.handle_request()


def _server(status: Status, address: str, log: Log) -> TCPServer:
    try:
        if address.startswith(_UNIX):
            return _unix_server(status, Path(address.removeprefix(_UNIX)), log)
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return _Server(family, (host.strip("[]"), int(port)), _handler(status), log)
    except (OSError, ValueError, OverflowError) as exc:
        raise UsageError(
            f"cannot listen on {address}: {exc}",
            "it reads like 127.0.0.1:8471, [::1]:8471 or unix:/run/x.sock",
        ) from exc


def _unix_server(status: Status, path: Path, log: Log) -> TCPServer:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_socket(path)
    server = _Server(socket.AF_UNIX, str(path), _handler(status), log)
    path.chmod(0o600)
    return server


def _remove_socket(path: Path) -> None:
    """Remove what an earlier run has left; what is no socket is not ours."""
    if path.is_socket():
        path.unlink(missing_ok=True)


class _Server(TCPServer):
    """Listens; http.server's own asks DNS for its name first, which may take its time."""

    allow_reuse_address = True

    def __init__(
        self,
        family: socket.AddressFamily,
        address: Any,
        handler: type[BaseHTTPRequestHandler],
        log: Log,
    ) -> None:
        self.address_family = family
        self._log = log
        super().__init__(address, handler)

    def handle_error(self, *_: Any) -> None:
        """Say what went wrong with an answer; who hung up does not want one."""
        exc = sys.exception()
        if not isinstance(exc, OSError):
            self._log.complain("a question about health was not answered", reason=repr(exc))


def _handler(status: Status) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers three questions."""

        timeout = _PATIENCE

        def do_GET(self) -> None:
            """Answer."""
            code, text = _answer(status, self.path)
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            """Return who asks: a Unix socket's peer has no address."""
            return "client"

        def log_message(self, *_: Any) -> None:
            """Say nothing: a question a second would be all there is to read."""

    return Handler


def _answer(status: Status, path: str) -> tuple[int, str]:
    match path:
        case "/healthz":
            return (200, "alive\n") if status.is_alive() else (503, "the manager is stuck\n")
        case "/readyz":
            return (200, f"{status.to_words()}\n") if status.ready else (503, f"{status.problem}\n")
        case "/metrics":
            return 200, status.to_metrics()
        case _:
            return 404, "there are /healthz, /readyz and /metrics\n"
