"""A rack of machines, and real etcd daemons, each in a Node of its own, with the lease stores on them."""

import json
import os
import shutil
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from tests.manager.rack import Rack, until

from podnet.node import Node
from podnet_manager.access import Access
from podnet_manager.store import Store
from podnet_manager.store_etcd import EtcdStore
from podnet_manager.store_sqlite import SqliteStore

# The shortest election: it starts quickly, and has leases of one second.
_QUICK = {
    "heartbeat-interval": "20",
    "election-timeout": "200",
    "logger": "zap",
    "log-outputs": "stderr",
    "log-level": "error",
}
_PATIENCE = 20.0
PREFIX = "/coreos.com/network"


class Inside:
    """Something that is used where it belongs: in its Node, or on its thread."""

    def __init__(self, run: Callable[..., Any], thing: object) -> None:
        self._run = run
        self._thing = thing

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of the thing that runs there."""
        method = getattr(self._thing, name)
        return lambda *args, **named: self._run(method, *args, **named)


@dataclass(slots=True)
class Server:
    """An etcd in a Node: only its loopback, only its /run.

    Attributes:
        node: Where it runs.
        options: What it is told besides.
        scheme: Whether clients speak TLS.
        port: Which of several; the next one is for its peers.
        cluster: All of them.
    """

    node: Node
    options: tuple[str, ...] = ()
    scheme: str = "http"
    port: int = 2379
    cluster: str = ""
    _process: "subprocess.Popen[bytes] | None" = None
    _stores: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, or start it again on the same data."""
        peer = f"http://127.0.0.1:{self.port + 1}"
        settings = {
            "name": f"m{self.port}",
            "data-dir": f"/run/etcd-{self.port}",
            "listen-client-urls": self.url,
            "advertise-client-urls": self.url,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": self.cluster or f"m{self.port}={peer}",
        }
        self._process = self.node.run(
            subprocess.Popen,
            [
                *("setpriv", "--pdeathsig", "KILL", "etcd"),  # it must not outlive us
                *(f"--{name}={value}" for name, value in (settings | _QUICK).items()),
                *self.options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """Kill it."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close_stores(self) -> None:
        """Close its stores."""
        self._stores.close()

    def close(self) -> None:
        """Close its stores and kill it."""
        self.close_stores()
        self.kill()

    def store(self, prefix: str = PREFIX, *, holder: str = "", **access: Any) -> Store:
        """Return a store on it, used inside the Node."""
        given: dict[str, Any] = {"endpoints": (self.url,), "timeout": _PATIENCE} | access
        made = self.node.run(EtcdStore, Access(**given), prefix=prefix, holder=holder)
        self._stores.callback(made.close)
        return cast("Store", Inside(self.node.run, made))

    def ask(self, path: str, body: object) -> Any:
        """Ask its gateway by other means than ours."""
        return json.loads(self.node.run(self._request, "POST", path, json.dumps(body)))

    def enable_authentication(self) -> None:
        """Let in root, and a user flannel with its password, secret."""
        start, end = (
            b64encode(key).decode() for key in (f"{PREFIX}/".encode(), f"{PREFIX}0".encode())
        )
        rights = {"permType": "READWRITE", "key": start, "range_end": end}
        for path, body in (
            ("user/add", {"name": "root", "password": "root"}),
            ("role/add", {"name": "root"}),
            ("user/grant", {"user": "root", "role": "root"}),
            ("user/add", {"name": "flannel", "password": "secret"}),
            ("role/add", {"name": "network"}),
            ("role/grant", {"name": "network", "perm": rights}),
            ("user/grant", {"user": "flannel", "role": "network"}),
            ("enable", {}),
        ):
            assert "error" not in self.ask(f"/v3/auth/{path}", body)

    def served(self, method: str) -> int:
        """Return how many requests of a gRPC method it has had."""
        return sum(
            int(float(line.split()[-1]))
            for line in self.node.run(self._request, "GET", "/metrics").splitlines()
            if line.startswith("grpc_server_started_total{") and f'grpc_method="{method}"' in line
        )

    def _request(self, method: str, path: str, body: str = "") -> str:
        with closing(self._connected()) as connection:
            connection.request(method, path, body)
            return connection.getresponse().read().decode()

    def _connected(self) -> HTTPConnection:
        deadline = time.monotonic() + _PATIENCE
        while True:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)
            try:
                connection.connect()
            except ConnectionRefusedError:  # it has just been started
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return connection


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """An etcd for all tests that leave it alone."""
    with _etcd_node() as node, closing(Server(node)) as made:
        made.start()
        yield made


@pytest.fixture
def server() -> Iterator[Server]:
    """An etcd for this test alone, that may be killed."""
    with _etcd_node() as node, closing(Server(node)) as made:
        made.start()
        yield made


@pytest.fixture
def servers() -> Iterator[Callable[..., Server]]:
    """How to start an etcd with options of its own."""
    with ExitStack() as undo:

        def starts(node: Node, **options: Any) -> Server:
            made = undo.enter_context(closing(Server(node, **options)))
            made.start()
            return made

        yield starts


@pytest.fixture
def etcd_node() -> Iterator[Node]:
    """A Node where an etcd can be started."""
    with _etcd_node() as node:
        yield node


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A directory with a certificate authority, and what it vouches for."""
    where = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=where, check=True, capture_output=True)

    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(*new, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test")
    for name in ("server", "client"):
        files = ("-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}")
        names = ("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE")
        openssl(*new, *files, *names, "-CA", "ca.crt", "-CAkey", "ca.key")
    return where


@pytest.fixture(params=["sqlite", "etcd"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """How to open one and the same lease store, of each kind, as often as one likes."""
    with ExitStack() as undo:
        if request.param == "sqlite":

            def opens() -> Store:
                thread = undo.enter_context(ThreadPoolExecutor(1))

                def run(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
                    return thread.submit(function, *args, **named).result()

                made = Inside(run, run(SqliteStore, tmp_path / "leases.db", holder="n1"))
                undo.callback(made.close)
                return cast("Store", made)

            yield opens
        else:
            server = request.getfixturevalue("shared_server")
            prefix = f"/{uuid4()}/network"
            yield lambda: server.store(prefix)


def _etcd_node() -> Node:
    if os.geteuid() != 0:
        pytest.skip("no root: a Node needs CAP_SYS_ADMIN")
    if not shutil.which("etcd"):
        pytest.skip("etcd is missing: apt-get install etcd-server")
    return Node.in_memory("etcd")


@pytest.fixture(name="until")
def _until() -> Callable[..., object]:
    """Wait for something, at most half a minute."""
    return until


@pytest.fixture
def rack(tmp_path: Path) -> Iterator[Rack]:
    """An underlay without machines."""
    if os.geteuid() != 0:
        pytest.skip("no root: a Node needs CAP_SYS_ADMIN")
    with ExitStack() as stack:
        made = Rack(tmp_path, stack)
        try:
            yield made
        finally:
            made.end()


@pytest.fixture
def etcd_server(rack: Rack) -> Iterator[tuple[Server, list[str]]]:
    """An etcd on the rack's underlay, and what a manager is told to use it."""
    if not shutil.which("etcd"):
        pytest.skip("etcd is missing: apt-get install etcd-server")
    machine = rack.machine()
    server = Server(machine.node, options=("--listen-client-urls=http://0.0.0.0:2379",))
    server.start()
    with closing(server):
        yield server, ["--etcd-endpoints", f"http://10.99.0.{machine.number}:2379"]
