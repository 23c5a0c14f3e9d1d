"""A Kubernetes API that is real HTTP and nothing else: no kubelet, no scheduler, no admission.

For plugins that ask one: Pods, Nodes, NetworkAttachmentDefinitions, and kinds that a test adds.
Serves on the loopback of a Node; what is in it, :mod:`podnet.rig.kube_store` knows.
"""

import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from podnet.node import Node
from podnet.rig.kube_store import KubeError, Object, Resource, Store, chosen

_LONGEST_WATCH = 300.0
_PATIENCE = 5.0
_VERSION = {"major": "1", "minor": "31", "gitVersion": "v1.31.0"}
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about.

    Attributes:
        resource: The kind of objects.
        namespace: Where, "" for everywhere.
        name: Which, "" for all.
        part: "status", or "".
        query: Its parameters.
    """

    resource: Resource
    namespace: str
    name: str
    part: str
    query: Mapping[str, str]


@dataclass(slots=True)
class FakeKube:
    """The API, served until it is closed.

    Attributes:
        store: What is in it.
        requests: Every request so far: method and path.
        token: What a client must say, as its kubeconfig has it.
    """

    node: Node
    store: Store = field(default_factory=Store)
    requests: list[tuple[str, str]] = field(default_factory=list)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    _server: "_Server | None" = None

    def __enter__(self) -> Self:
        handler = type("_Handler", (_Handler,), {"api": self})
        # Opened on a thread of the Node: a socket belongs to the network it was made in.
        self._server = self.node.run(_Server, ("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, name="fake kube", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server:
            self.store.end()
            self._server.shutdown()
            self._server.end_connections()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        """Where it is, on its Node."""
        port = self._server.server_address[1] if self._server else 0
        return f"http://127.0.0.1:{port}"

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "plugin", "user": {"token": self.token}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "plugin"}}],
            "current-context": "fake",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document))
        return path

    def add_kind(self, version: str, plural: str, kind: str, *, namespaced: bool = True) -> None:
        """Let there be objects of another kind, as a CustomResourceDefinition does."""
        self.store.resources.append(Resource(version, plural, kind, namespaced))

    def create(self, new: Mapping[str, Any], namespace: str = "") -> Object:
        """Add an object, which says what it is: apiVersion and kind.

        Raises:
            KubeError: There is no such kind, or one of that name already.
        """
        resource = self.store.resource(new.get("apiVersion", "v1"), new["kind"])
        place = namespace or new.get("metadata", {}).get("namespace", "")
        return self.store.create(resource, place, new)

    def get(self, kind: str, name: str, namespace: str = "", *, version: str = "v1") -> Object:
        """Return an object.

        Raises:
            KubeError: There is none.
        """
        return self.store.get(self.store.resource(version, kind), namespace, name)

    def pod(self, name: str, namespace: str = "default", **annotations: str) -> Object:
        """Add a Pod that runs nothing, with annotations: ``__`` is written for ``/``, ``_`` for ``.``."""
        noted = {k.replace("__", "/").replace("_", "."): v for k, v in annotations.items()}
        metadata = {"name": name, "annotations": noted}
        spec = {"nodeName": self.node.name, "containers": [{"name": "c", "image": "none"}]}
        return self.create({"kind": "Pod", "metadata": metadata, "spec": spec}, namespace)

    def network(
        self, name: str, config: Mapping[str, Any] | str, namespace: str = "default"
    ) -> Object:
        """Add a NetworkAttachmentDefinition with that CNI configuration."""
        text = config if isinstance(config, str) else json.dumps(config)
        version, kind = "k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition"
        new = {"apiVersion": version, "kind": kind, "spec": {"config": text}}
        return self.create({**new, "metadata": {"name": name}}, namespace)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(address, handler)

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
    api: ClassVar[FakeKube]

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
            found = self._discovered()
            if found is not None:
                self._send(found)
            else:
                work(self._target())
        except KubeError as exc:
            self._send(exc.status(), exc.code)
        except ConnectionError:  # a watch that nobody watches any more
            self.close_connection = True

    def _authorize(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {self.api.token}":
            raise KubeError(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Unauthorized")

    def _target(self) -> Target:
        """Read the path: /api/v1/…, /apis/GROUP/VERSION/…, namespaced or not.

        Raises:
            KubeError: There is no such thing.
        """
        asked = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(asked.query).items()}
        parts = [unquote(part) for part in asked.path.strip("/").split("/")]
        if len(parts) < 2 or parts[0] not in {"api", "apis"}:  # noqa: PLR2004
            raise KubeError(HTTPStatus.NOT_FOUND, "NotFound", f"there is nothing at {asked.path}")
        version, rest = (
            ("/".join(parts[1:3]), parts[3:]) if parts[0] == "apis" else (parts[1], parts[2:])
        )
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces":  # noqa: PLR2004
            namespace, rest = rest[1], rest[2:]
        plural, name, part, *_ = [*rest, "", "", ""]
        return Target(self.api.store.resource(version, plural), namespace, name, part, query)

    def _discovered(self) -> Object | None:
        """Return what a client asks to learn what there is."""
        path = urlsplit(self.path).path.rstrip("/")
        versions = sorted({one.version for one in self.api.store.resources})
        groups = [_group(version) for version in versions if "/" in version]
        known: dict[str, Object] = {
            "/version": _VERSION,
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
            **{f"/{name}": {"status": "ok"} for name in ("healthz", "readyz", "livez")},
            **{
                f"/apis/{one}" if "/" in one else f"/api/{one}": self._kinds(one)
                for one in versions
            },
        }
        return known.get(path)

    def _kinds(self, version: str) -> Object:
        listed = [
            {"name": r.plural, "kind": r.kind, "namespaced": r.namespaced, "verbs": _VERBS}
            for r in self.api.store.resources
            if r.version == version
        ]
        head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version}
        return {**head, "resources": listed}

    def _read(self, target: Target) -> None:
        if target.name:
            self._send(self.api.store.get(target.resource, target.namespace, target.name))
        elif target.query.get("watch") in {"1", "true"}:
            self._watch(target)
        else:
            self._send(self._listed(target))

    def _listed(self, target: Target) -> Object:
        version = self.api.store.version
        items = self._selected(target)
        head = {"apiVersion": target.resource.version, "kind": f"{target.resource.kind}List"}
        return {**head, "metadata": {"resourceVersion": str(version)}, "items": items}

    def _selected(self, target: Target) -> list[Object]:
        selectors = _selectors(target)
        return self.api.store.select(target.resource, target.namespace, **selectors)

    def _watch(self, target: Target) -> None:
        """Send changes as they come, a line for each; who is no longer selected is gone."""
        selectors = _selectors(target)
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
            if chosen(event.made, **selectors):
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


def _selectors(target: Target) -> dict[str, str]:
    asked = {"labels": "labelSelector", "fields": "fieldSelector"}
    return {key: target.query.get(parameter, "") for key, parameter in asked.items()}


def _uid(made: Object) -> str:
    return str(made["metadata"]["uid"])


def _group(group_version: str) -> Object:
    name, _, version = group_version.partition("/")
    one = {"groupVersion": group_version, "version": version}
    return {"name": name, "versions": [one], "preferredVersion": one}
