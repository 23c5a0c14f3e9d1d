"""/healthz, /readyz and /metrics over HTTP, on a port or a Unix socket."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from podnet.errors import UsageError
from podnet_manager.bell import Bell
from podnet_manager.status import Status

_UNIX = "unix:"
_PATIENCE = 1.0  # with who connects and does not ask: others wait meanwhile


@contextmanager
def serving(status: Status, address: str) -> Iterator[None]:
    """Answer questions about *status* for as long as the context lasts.

    Args:
        status: What to tell.
        address: ``HOST:PORT`` or ``unix:PATH``; "" for nobody.

    Raises:
        UsageError: The address is none, or taken.
    """
    if not address:
        yield
        return
    server, over = _server(status, address), Bell()
    thread = threading.Thread(target=_serve, args=(server, over), daemon=True, name="health")
    thread.start()
    try:
        yield
    finally:
        over.ring()
        thread.join()
        server.server_close()
        if address.startswith(_UNIX):
            Path(address.removeprefix(_UNIX)).unlink(missing_ok=True)


def _serve(server: HTTPServer, over: Bell) -> None:
    server.timeout = 0  # somebody is there: who asks waits below
    asked = select.poll()
    for one in (server, over):
        asked.register(one, select.POLLIN)
    while asked.poll() and not over.is_rung():
        server.handle_request()


def _server(status: Status, address: str) -> HTTPServer:
    handler = _handler(status)
    try:
        if address.startswith(_UNIX):
            return _UnixServer(address.removeprefix(_UNIX), handler)
        host, _, port = address.rpartition(":")
        return HTTPServer((host.strip("[]"), int(port)), handler)
    except (OSError, ValueError, OverflowError) as exc:
        raise UsageError(
            f"cannot listen on {address}: {exc}", "it reads like 127.0.0.1:8471 or unix:/run/x.sock"
        ) from exc


class _UnixServer(HTTPServer):
    """HTTP on a Unix socket."""

    address_family = socket.AF_UNIX

    def __init__(self, path: str, handler: type[BaseHTTPRequestHandler]) -> None:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            Path(path).unlink()
        super().__init__(path, handler)  # type: ignore[arg-type]  # a path is AF_UNIX's address

    def server_bind(self) -> None:
        """Bind; a Unix socket has neither name nor port."""
        self.socket.bind(self.server_address)
        Path(str(self.server_address)).chmod(0o600)
        self.server_name, self.server_port = "localhost", 0


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
