"""Requests to a Kubernetes API over HTTP, answered from a store; a connection has a thread of its own.

What a request is about :mod:`podnet.rig.kube.requests` reads; what is there the store knows.
"""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, ClassVar, Protocol

from podnet.rig.kube import requests
from podnet.rig.kube.objects import KubeError, Object
from podnet.rig.kube.requests import Target
from podnet.rig.kube.selectors import chosen
from podnet.rig.kube.store import Store

_LONGEST_WATCH = 300.0
_PATIENCE = 5.0


class Api(Protocol):
    """What is served.

    Attributes:
        store: What is in it.
        requests: Every request so far: method and path.
        token: What a client must say.
    """

    store: Store
    requests: list[tuple[str, str]]
    token: str


class Server(ThreadingHTTPServer):
    """An API on the loopback of the Node that it is made on.

    Args:
        api: What is served.
    """

    daemon_threads = True

    def __init__(self, api: Api) -> None:
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(("127.0.0.1", 0), type("_Handler", (_Handler,), {"api": api}))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember a connection, which has a thread of its own."""
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changed:
                self._connections.discard(request)
                self._changed.notify_all()

    def end_connections(self) -> None:
        """End what clients have open, for a socket keeps the network of its Node."""
        with self._changed:
            for one in self._connections:
                with suppress(OSError):  # it has ended
                    one.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._connections, _PATIENCE)

    def server_bind(self) -> None:
        """Bind, and ask nobody for our name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    api: ClassVar[Api]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  theirs
        """Say nothing: requests are kept."""

    def do_GET(self) -> None:
        """Get, list or watch."""
        self._answer(self._read)

    def do_POST(self) -> None:
        """Create."""
        self._answer(
            lambda t: self._send(
                self.api.store.create(t.resource, t.namespace, self._body()), HTTPStatus.CREATED
            )
        )

    def do_PUT(self) -> None:
        """Replace."""
        self._answer(
            lambda t: self._send(
                self.api.store.replace(t.resource, t.namespace, t.name, self._body(), t.part)
            )
        )

    def do_PATCH(self) -> None:
        """Patch."""
        kind = self.headers.get("Content-Type", "")
        self._answer(
            lambda t: self._send(
                self.api.store.patch(t.resource, t.namespace, t.name, kind, self._body())
            )
        )

    def do_DELETE(self) -> None:
        """Delete."""
        self._answer(lambda t: self._send(self.api.store.delete(t.resource, t.namespace, t.name)))

    def _answer(self, work: Callable[[Target], None]) -> None:
        self.api.requests.append((self.command, self.path))
        try:
            self._authorize()
            found = requests.discovered(self.path, self.api.store.resources)
            if found is not None:
                self._send(found)
            else:
                work(requests.target(self.path, self.api.store.resource))
        except KubeError as exc:
            self._send(exc.status(), exc.code)
        except ConnectionError:  # a watch that nobody watches any more
            self.close_connection = True

    def _authorize(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {self.api.token}":
            raise KubeError(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Unauthorized")

    def _read(self, target: Target) -> None:
        if target.name:
            self._send(self.api.store.get(target.resource, target.namespace, target.name))
        elif target.is_watch:
            self._watch(target)
        else:
            self._send(self._listed(target))

    def _listed(self, target: Target) -> Object:
        version = self.api.store.version
        items = self._selected(target)
        head = {"apiVersion": target.resource.version, "kind": f"{target.resource.kind}List"}
        return {**head, "metadata": {"resourceVersion": str(version)}, "items": items}

    def _selected(self, target: Target) -> list[Object]:
        return self.api.store.select(target.resource, target.namespace, **target.selectors)

    def _watch(self, target: Target) -> None:
        """Send changes as they come, a line for each; who is no longer selected is gone."""
        known = {_uid(one) for one in self._selected(target)}
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        since = int(target.query.get("resourceVersion") or self.api.store.version)
        seconds = float(target.query.get("timeoutSeconds") or _LONGEST_WATCH)
        deadline = time.monotonic() + seconds
        for event in self.api.store.watch(target.resource, target.namespace, since, deadline):
            what, uid = event.what, _uid(event.made)
            if chosen(event.made, **target.selectors):
                known.add(uid)
            elif uid in known:
                what = "DELETED"
                known.discard(uid)
            else:
                continue
            line = json.dumps({"type": what, "object": event.made}).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _body(self) -> Any:
        size = int(self.headers.get("Content-Length") or 0)
        try:
            return json.loads(self.rfile.read(size))
        except ValueError as exc:
            raise KubeError(HTTPStatus.BAD_REQUEST, "BadRequest", f"no JSON: {exc}") from exc

    def _send(self, answer: Object, code: HTTPStatus = HTTPStatus.OK) -> None:
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _uid(made: Object) -> str:
    return str(made["metadata"]["uid"])
