"""Clusters: several Nodes, the underlay between them, a lease store and their managers.

Meets a manager only as a process: its command line, its health socket, its subnet.env.  A
cluster is on record before anything of it exists, so that :meth:`Clusters.down` finds all
that a crash left half made.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from podnet import files, manager_process, underlay
from podnet.cni import names
from podnet.errors import PodnetError, TimedOutError, UsageError
from podnet.kernel import worlds
from podnet.node import Node, Nodes
from podnet.underlay import Shape

BACKENDS = ("vxlan", "host-gw", "alloc")
#: Where a Node finds what its cluster shares.
SHARED = Path("/run/podnet-cluster")
_CONF = Path("/etc/cni/net.d/10-cluster.conflist")
_NETWORK, _IPV6_NETWORK = "10.244.0.0/16", "fd00:10:244::/48"
_MOST_NODES = 250  # subnets of the network
_GLANCE = 0.01
_AT_ONCE = 4
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster as it is on record.

    Attributes:
        name: Its name.
        nodes: How many Nodes.
        backend: How packets travel, one of BACKENDS.
        dual_stack: Pods have IPv6 addresses, too.
        ip_masq: What leaves the network is masqueraded.
    """

    name: str
    nodes: int
    backend: str = "vxlan"
    dual_stack: bool = False
    ip_masq: bool = True

    @property
    def shape(self) -> Shape:
        """How its Nodes are joined."""
        return Shape.SWITCH if self.backend == "host-gw" else Shape.ROUTER

    @property
    def underlay(self) -> str:
        """The Node that is its switch or router."""
        return f"{self.name}-underlay"

    @property
    def members(self) -> list[str]:
        """The names of its Nodes."""
        return [self.member(number) for number in range(1, self.nodes + 1)]

    def member(self, number: int) -> str:
        """Return the name of Node *number*, from 1."""
        return f"n{number}" if self.name == DEFAULT else f"{self.name}-n{number}"

    def net_conf(self) -> dict[str, object]:
        """Return the network's configuration, flannel's net-conf.json."""
        conf: dict[str, object] = {"Network": _NETWORK, "Backend": {"Type": self.backend}}
        if self.dual_stack:
            conf |= {"EnableIPv6": True, "IPv6Network": _IPV6_NETWORK}
        return conf

    @property
    def options(self) -> list[str]:
        """What its managers are told."""
        said = ["--iface", "eth0", "--store", str(SHARED / "leases.db")]
        said += ["--net-config", str(SHARED / "net-conf.json")]
        return [*said, *(["--ip-masq"] if self.ip_masq else [])]

    def conflist(self) -> dict[str, object]:
        """Return the conflist of every Node."""
        delegate = {"isDefaultGateway": True, "hairpinMode": True}
        plugins: list[object] = [
            {"type": "flannel", "delegate": delegate},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ]
        return {"cniVersion": "1.1.0", "name": "cluster", "plugins": plugins}


DEFAULT = "cluster"


class Clusters:
    """The clusters of this machine.

    Attributes:
        directory: Their records, and what their Nodes share.
    """

    def __init__(self, nodes: Nodes, directory: Path) -> None:
        self._nodes = nodes
        self.directory = directory

    def names(self) -> list[str]:
        """Return the names of all clusters."""
        found = (path.parent.name for path in self.directory.glob("*/cluster.json"))
        return sorted(name for name in found if not name.startswith("."))  # or it is a draft

    def load(self, name: str) -> Cluster:
        """Return the record of a cluster.

        Raises:
            UsageError: There is none of that name, or its record cannot be read.
        """
        _check_name(name)
        path = self.directory / name / "cluster.json"
        try:
            return Cluster(**json.loads(path.read_text()))
        except FileNotFoundError:
            there = ", ".join(self.names()) or "none"
            hint = f"there are: {there}; podnet cluster up"
            raise UsageError(f"there is no cluster {name}", hint) from None
        except (ValueError, TypeError) as exc:
            hint = "podnet node delete removes its Nodes; then remove the record's directory"
            raise UsageError(f"the record {path} cannot be read: {exc}", hint) from exc

    def up(self, cluster: Cluster, *, patience: float, say: Callable[[str], None]) -> None:
        """Make a cluster, and wait until every manager says that it is ready.

        Raises:
            UsageError: The name is taken, or the wish makes no sense.
            PodnetError: Something did not work; nothing is left.
        """
        _check(cluster)
        taken = set(self._nodes.names()) & {*cluster.members, cluster.underlay}
        home = self._claim(cluster)
        if taken:
            _remove(home)
            raise UsageError(f"there is a Node {min(taken)} already", "podnet node list")
        try:
            self._build(cluster, home / "shared", say)
            self._await_ready(cluster, cluster.members, peers=cluster.nodes - 1, patience=patience)
        except BaseException:
            self.down(cluster.name)
            raise

    def _claim(self, cluster: Cluster) -> Path:
        """Put a new cluster on record, whole; return its directory.

        Raises:
            UsageError: The name is taken, maybe by somebody who was faster.
        """
        home = self.directory / cluster.name
        draft = self.directory / f".{cluster.name}.{os.urandom(4).hex()}"
        files.make_directory(draft / "shared")
        files.write(draft / "cluster.json", json.dumps(asdict(cluster)).encode())
        try:
            draft.rename(home)  # refused where a directory with something in it is
        except OSError:
            _remove(draft)
            hint = f"podnet cluster down {cluster.name}"
            raise UsageError(f"there is a cluster {cluster.name} already", hint) from None
        return home

    def _build(self, cluster: Cluster, shared: Path, say: Callable[[str], None]) -> None:
        files.write(shared / "net-conf.json", json.dumps(cluster.net_conf()).encode())
        began = time.monotonic()
        with self._nodes.create(cluster.underlay) as below:
            below.run(underlay.build, cluster.shape)
            with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
                list(pool.map(self._member(cluster, below, shared), _numbers(cluster)))
        say(f"{cluster.nodes} Nodes in {time.monotonic() - began:.2f} s")

    def _member(self, cluster: Cluster, below: Node, shared: Path) -> Callable[[int], None]:
        def make(number: int) -> None:
            with self._nodes.create(cluster.member(number)) as node:
                underlay.join(below, node, cluster.shape, number)
                tree = worlds.shown(shared)
                try:
                    node.run(worlds.show, tree, SHARED)
                finally:
                    os.close(tree)
                node.run(_write, _CONF, json.dumps(cluster.conflist(), indent=2))
                node.run(manager_process.start, cluster.options)

        return make

    def _await_ready(
        self, cluster: Cluster, members: Iterable[str], *, patience: float, peers: int | None = None
    ) -> None:
        deadline = time.monotonic() + patience
        for name in members:
            with self._nodes.open(name) as node:
                reason = node.run(manager_process.await_ready, peers, deadline)
                hint = node.run(manager_process.log_tail) if reason else ""
            if reason:
                message = f"the manager of Node {name} is not ready: {reason}"
                raise TimedOutError(f"{message} (cluster {cluster.name})", hint)

    def down(self, name: str) -> None:
        """Remove a cluster with all that runs in it; what is gone already is no error.

        Raises:
            UsageError: There is none of that name.
            PodnetError: A process in it cannot be ended.
        """
        cluster = self.load(name)
        there = set(self._nodes.names())
        for node in [*cluster.members, cluster.underlay]:
            if node in there:
                self._nodes.delete(node)
        _remove(self.directory / name)
        with suppress(OSError):  # other clusters are in it
            self.directory.rmdir()

    def inspect(self, name: str) -> list[dict[str, object]]:
        """Return how each Node of a cluster is."""
        found = list[dict[str, object]]()
        for member in self.load(name).members:
            with self._nodes.open(member) as node:
                code, said = node.run(manager_process.ask, "/readyz")
                lines = node.run(manager_process.read, Path("/run/flannel/subnet.env")).splitlines()
            environment = dict(line.split("=", 1) for line in lines if "=" in line)
            subnets = [environment.get(f"FLANNEL_{key}") for key in ("SUBNET", "IPV6_SUBNET")]
            found.append(
                {
                    "name": member,
                    "manager": "ready"
                    if code == manager_process.OK
                    else said.strip() or "does not run",
                    "subnets": [subnet for subnet in subnets if subnet],
                    "mtu": environment.get("FLANNEL_MTU", ""),
                }
            )
        return found

    def signal_manager(self, node: str, number: int) -> None:
        """Send the manager of a Node a signal: kill it, freeze it, let it go on.

        Raises:
            UsageError: There is none.
        """
        with self._nodes.open(node) as opened:
            pids = opened.run(manager_process.running)
        if not pids:
            raise UsageError(f"no manager runs on Node {node}", f"podnet cluster start {node}")
        for pid in pids:
            os.kill(pid, number)
        if number in {signal.SIGKILL, signal.SIGTERM}:
            self._await_end(node, pids)

    def _await_end(self, node: str, pids: list[int]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while any(Path(f"/proc/{pid}/root").exists() for pid in pids):
            _reap(pids)
            if time.monotonic() > deadline:
                raise PodnetError(f"the manager of Node {node} does not end: {pids}")
            time.sleep(_GLANCE)

    def start_manager(self, node: str, *, patience: float) -> None:
        """Start the manager of a Node, and wait until it is ready.

        Raises:
            UsageError: It runs already, or the Node is in no cluster.
        """
        cluster, _ = self.of(node)
        with self._nodes.open(node) as opened:
            if opened.run(manager_process.running):
                raise UsageError(f"the manager of Node {node} runs already")
            opened.run(manager_process.start, cluster.options)
        self._await_ready(cluster, [node], patience=patience)

    def cut(self, node: str, *, restore: bool = False) -> None:
        """Cut a Node's link to the others, or restore it.

        Raises:
            UsageError: The Node is in no cluster.
        """
        cluster, number = self.of(node)
        with self._nodes.open(cluster.underlay) as below:
            underlay.cut(below, number, restore=restore)

    def of(self, node: str) -> tuple[Cluster, int]:
        """Return the cluster that a Node is in, and its number there.

        Raises:
            UsageError: It is in none.
        """
        for name in self.names():
            cluster = self.load(name)
            if node in cluster.members:
                return cluster, cluster.members.index(node) + 1
        raise UsageError(f"Node {node} is in no cluster", "podnet cluster list")


def _numbers(cluster: Cluster) -> Iterator[int]:
    return iter(range(1, cluster.nodes + 1))


def _check(cluster: Cluster) -> None:
    _check_name(cluster.name)
    if cluster.backend not in BACKENDS:
        raise UsageError(f"there is no backend {cluster.backend}", f"known: {', '.join(BACKENDS)}")
    if not 1 <= cluster.nodes <= _MOST_NODES:
        raise UsageError(f"a cluster has 1 to {_MOST_NODES} Nodes, not {cluster.nodes}")


def _check_name(name: str) -> None:
    if not names.is_identifier(name) or len(name) > _LONGEST_NAME:
        raise UsageError(f"a cluster cannot be called {name!r}", "letters, digits, '-', '_', '.'")


_LONGEST_NAME = 50  # the Nodes' names are longer, and a hostname has 63


def _remove(directory: Path) -> None:
    """Remove a directory and all that is in it; it may be going already."""
    shutil.rmtree(directory, ignore_errors=True)


def _reap(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ChildProcessError):  # somebody else started it
            os.waitpid(pid, os.WNOHANG)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
