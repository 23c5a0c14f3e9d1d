"""Nodes on one underlay, each with a manager of its own: processes, as users run them."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

from podnet.kernel import addresses, links, namespaces, routes, worlds
from podnet.kernel.netlink import Netlink
from podnet.node import Node
from podnet_manager.store_sqlite import SqliteStore

_PATIENCE = 30.0


def until(condition: Callable[[], object], what: str, *, patience: float = _PATIENCE) -> object:
    """Wait until *condition* is true, and return what it says."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited too long for: {what}"
        time.sleep(0.02)
    return found


@dataclass
class Machine:
    """A Node with an underlay address and, once it is started, a manager."""

    node: Node
    number: int
    directory: Path
    store: Path
    process: "subprocess.Popen[bytes] | None" = None
    options: list[str] = field(default_factory=list)
    subnet_at: Path | None = None

    @property
    def log(self) -> str:
        """What its managers have said so far."""
        return (self.directory / "log").read_text()

    @property
    def subnet_file(self) -> Path:
        """Its subnet.env."""
        return self.subnet_at or self.directory / "subnet.env"

    def start(self, *options: str, **environment: str) -> None:
        """Start its manager."""
        self.options = list(options) or self.options
        command = ["setpriv", "--pdeathsig", "KILL"]  # it must not outlive us
        command += [sys.executable, "-m", "podnet_manager.main", "--store", str(self.store)]
        command += ["--state-dir", str(self.directory / "state"), "--resync", "1"]
        command += ["--subnet-file", str(self.subnet_file), "--iface", "eth0"]
        command += ["--health", f"unix:{self.directory}/health.sock", *self.options]
        with (self.directory / "log").open("a") as log:
            self.process = self.node.run(
                subprocess.Popen,
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | environment,
            )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End its manager, and return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        status = self.process.wait(20)
        self.process = None
        return status

    def ask(self, path: str) -> tuple[int, str]:
        """Ask its manager over HTTP."""
        connection = HTTPConnection("localhost", timeout=5)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(5)
        try:
            connection.sock.connect(f"{self.directory}/health.sock")
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError as exc:
            return 0, str(exc)
        finally:
            connection.close()

    def is_ready(self) -> bool:
        """Tell whether its manager says so."""
        return self.ask("/readyz")[0] == 200

    def sh(self, script: str) -> str:
        """Run a shell script in the Node."""
        done = self.node.run(
            subprocess.run, ["sh", "-ec", script], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{script}: {done.stderr}"
        return str(done.stdout)

    def routes(self, family: int = 4, protocol: str = "109") -> dict[str, str]:
        """Return the routes of the manager: destination to gateway and device."""
        shown = json.loads(self.sh(f"ip -{family} -j route show proto {protocol}") or "[]")
        return {r["dst"]: f"{r.get('gateway')} {r['dev']}" for r in shown}

    def overlay(self) -> list[str]:
        """Return the permanent neighbours and forwarding entries on its vxlan link, in words."""
        there = "test -e /sys/class/net/flannel.1 || exit 0;"
        shown = self.sh(
            f"{there} ip neigh show nud permanent dev flannel.1; bridge fdb show dev flannel.1"
        )
        return sorted(line.strip() for line in shown.splitlines())

    def mac(self, link: str) -> str:
        """Return a link's hardware address, "" without the link."""
        return self.sh(f"cat /sys/class/net/{link}/address || true").strip()

    def answers(self, address: str) -> bool:
        """Tell whether *address* answers: a refused connection is an answer."""

        def connect() -> int:
            with socket.socket() as client:
                client.settimeout(5)
                return client.connect_ex((address, 9))

        return self.node.run(connect) == errno.ECONNREFUSED

    def subnet(self) -> str:
        """Return what subnet.env says is leased."""
        lines = dict(line.split("=", 1) for line in self.subnet_file.read_text().split())
        return str(ip_interface(lines["FLANNEL_SUBNET"]).network)


def birds(machine: Machine) -> list[int]:
    """Return the BIRDs that run on a machine."""

    def inside() -> list[int]:
        here = worlds.processes(namespaces.identity("/proc/thread-self/ns/uts"))
        return [pid for pid in here if Path(f"/proc/{pid}/comm").read_text() == "bird\n"]

    return machine.node.run(inside)


def _peers(machine: Machine) -> dict[str, str]:
    """Return the routes to the others, whoever has set them."""
    return machine.routes() or machine.routes(6) or machine.routes(4, "bird")


class Rack:
    """Machines on one underlay, 10.99.0.0/16 and fd99::/64, and the store that they share."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.store = directory / "leases.db"
        self._stack = stack
        self.switch = stack.enter_context(Node.in_memory("switch"))
        self.switch.run(_bridge)
        self.machines: list[Machine] = []

    def machine(self) -> Machine:
        """Add a machine."""
        number = len(self.machines) + 1
        node = self._stack.enter_context(Node.in_memory(f"m{number}"))
        netns = node.run(os.open, "/proc/thread-self/ns/net", os.O_RDONLY)
        self.switch.run(_plug, number, netns)
        os.close(netns)
        node.run(_address, number)
        directory = self.directory / f"m{number}"
        directory.mkdir()
        machine = Machine(node, number, directory, self.store)
        self.machines.append(machine)
        return machine

    def up(self, count: int, conf: object, *options: str) -> list[Machine]:
        """Add machines, start their managers at once, and wait until all are ready."""
        path = self.directory / "net-conf.json"
        path.write_text(json.dumps(conf))
        added = [self.machine() for _ in range(count)]
        for machine in added:
            machine.start("--net-config", str(path), *options)
        for machine in added:
            until(machine.is_ready, f"{machine.node} is ready: {machine.ask('/readyz')}")
        self.settle()
        return added

    def configure(self, conf: object) -> None:
        """Put a network's configuration in the store, whatever it had."""
        with closing(SqliteStore(self.store, holder="admin")) as store:
            store.set_config(json.dumps(conf).encode())

    def settle(self) -> None:
        """Wait until every machine has routes to all others."""
        running = [machine for machine in self.machines if machine.process]
        until(
            lambda: all(len(_peers(m)) == len(running) - 1 for m in running),
            f"all routes: {[m.routes() for m in running]}",
        )

    def end(self) -> None:
        """End every manager, and what it has left running."""
        for machine in self.machines:
            if machine.process:
                machine.stop(signal.SIGKILL)
            for pid in birds(machine):
                os.kill(pid, signal.SIGKILL)


def _bridge() -> None:
    with Netlink() as netlink:
        links.add_bridge(netlink, "switch", mac="02:00:00:00:00:01")
        bridge = links.find(netlink, "switch")
        assert bridge is not None
        links.set_up(netlink, bridge.index)


def _plug(number: int, netns: int) -> None:
    with Netlink() as netlink:
        bridge = links.find(netlink, "switch")
        links.add_veth(netlink, f"port{number}", peer="eth0", peer_netns=netns)
        assert bridge is not None
        links.add_port(netlink, f"port{number}", bridge=bridge.index)


def _address(number: int) -> None:
    with Netlink() as netlink:
        for name in ("lo", "eth0"):
            link = links.find(netlink, name)
            assert link is not None
            links.set_up(netlink, link.index)
        link = links.find(netlink, "eth0")
        assert link is not None
        for text in (f"10.99.0.{number}/16", f"fd99::{number}/64"):
            flags = addresses.IFA_F_NODAD if ":" in text else 0
            addresses.add(netlink, link.index, ip_interface(text), flags=flags)
        default = ip_network("0.0.0.0/0")
        routes.add(netlink, routes.Route(dst=default, gw=ip_address("10.99.255.254")))
