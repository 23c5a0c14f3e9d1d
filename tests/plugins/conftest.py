"""A host in memory, and plugins run on it as a runtime runs them: environment, stdin, a process.

Every test with a host runs twice: with our plugins as executables, and as workers of the plugin
host.  PODNET_TEST_PLUGINS=exec or =hosted runs one of them.  The side-by-side lives, which are
long, run in the plugin host only unless that variable says otherwise: what an executable and a
worker answer is the same, the other tests say so.
"""

import errno
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

import podnet_plugins
from podnet.kernel import namespaces
from podnet.node import Node
from podnet.pipes import converse
from podnet.plugin_host import PluginHost

OURS = Path(podnet_plugins.__file__).parent / "bin"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a plugin process said."""

    status: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, object]:
        """The object that a successful plugin printed; nothing printed is an empty one."""
        assert self.status == 0, self
        found: dict[str, object] = json.loads(self.stdout) if self.stdout else {}
        return found

    @property
    def error(self) -> dict[str, object]:
        """The error object that a failed plugin printed, but for its version."""
        assert self.status == 1, self
        found: dict[str, object] = json.loads(self.stdout)
        assert set(found) <= {"code", "msg", "details", "cniVersion"}
        found.pop("cniVersion", None)  # the reference's have none
        return found

    @property
    def refusal(self) -> tuple[object, object]:
        """Code and message of the error."""
        return self.error["code"], self.error["msg"]


class Host:
    """A Node with containers on it.

    Attributes:
        node: The Node.
        root: Its /var/lib/cni/networks, for tests that run inside.
        directory: Where podnet's plugins are.
        plugins: Who forks our plugins; without, they are executables.
    """

    def __init__(self, node: Node, plugins: PluginHost | None = None) -> None:
        self.node = node
        self.plugins = plugins
        self.root = Path("/var/lib/cni/networks")
        self.directory = OURS

    def sh(self, script: str, *, netns: str = "") -> str:
        """Run a shell script on the host, or inside a container, and return what it prints."""
        inside = ["/usr/bin/nsenter", f"--net={netns}"] if netns else []
        command = [*inside, "sh", "-ec", script]
        done = self.node.run(
            subprocess.run, command, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{script}: {done.stderr}"
        return str(done.stdout)

    def ip(self, arguments: str, *, netns: str = "") -> list[dict[str, object]]:
        """Run ``ip -j`` on the host, or inside a container."""
        printed = self.sh(f"ip -j {arguments}", netns=netns)
        # Old iproute2 leaves empty objects where it has filtered something out.
        return [entry for entry in json.loads(printed or "[]") if entry]

    def container(self, name: str) -> str:
        """Make a network namespace with its lo up, and return its path."""
        path = Path("/run/netns", name)
        self.node.run(namespaces.create, path)
        return str(path)

    def names(self, *, netns: str = "") -> set[object]:
        """Return the names of all links but lo."""
        return {link["ifname"] for link in self.ip("link show", netns=netns)} - {"lo"}

    def addresses(self, link: str, *, netns: str = "") -> set[str]:
        """Return the addresses of a link, without link-local ones."""
        [shown] = self.ip(f"addr show dev {link}", netns=netns)
        listed = shown["addr_info"]
        assert isinstance(listed, list)
        return {
            f"{a['local']}/{a['prefixlen']}" for a in listed if not a["local"].startswith("fe80")
        }

    def reaches(self, address: str, *, netns: str, timeout: float = 2) -> bool:
        """Tell whether *address* answers inside a container: refusing a connection is an answer."""

        def connect() -> int:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with namespaces.entered(netns), socket.socket(family) as client:
                client.settimeout(timeout)
                return client.connect_ex((address, 9))

        return self.node.run(connect) == errno.ECONNREFUSED

    def leases(self, network: str = "demo") -> dict[str, str]:
        """Return the lease files of a network."""
        return self.node.run(_leases, self.root / network)

    def settle(self, *, netns: str = "") -> None:
        """Wait for the kernel's news of a carrier, which come a moment later than the carrier."""
        pause = "for i in 1 2 3 4 5 6 7; do ip link | grep -q NO-CARR || exit 0; sleep .2; done"
        self.sh(pause, netns=netns)

    def state(self, *, netns: str = "") -> dict[str, object]:
        """Return links, addresses and routes of all tables, without what chance gave.

        Names that begin with ``veth`` are cut to that; IPv6 link-local addresses, tags that
        somebody wrote on a link and the lengths of queues are left out.
        """
        self.settle(netns=netns)
        found: dict[str, object] = {}
        for link in self.ip("-d addr show", netns=netns):
            name = _without_chance(link["ifname"])
            info: Any = link.get("linkinfo", {})
            listed: Any = link["addr_info"]
            found[name] = {
                "kind": (info.get("info_kind"), str(info.get("info_data"))),
                "master": link.get("master"),
                "flags": sorted(map(str, cast("list[object]", link["flags"]))),
                "numbers": [link[key] for key in ("mtu", "operstate", "promiscuity", "allmulti")],
                "addresses": sorted(
                    (a["local"], a["prefixlen"], a.get("broadcast", ""), a["scope"])
                    for a in listed
                    if a.get("local") and not a["local"].startswith("fe80")
                ),
            }
        routes = [
            {key: _without_chance(value) for key, value in route.items() if key != "pref"}
            for family in ("-4", "-6")
            for route in self.ip(f"{family} -d route show table all", netns=netns)
            if not str(route["dst"]).startswith(("fe80", "ff00"))
        ]
        return found | {"routes": sorted(routes, key=str)}

    def run(
        self,
        plugin: str,
        config: Mapping[str, object] | str,
        environment: Mapping[str, str],
        *,
        directory: str | Path = OURS,
        arguments: Sequence[str] = (),
    ) -> Answer:
        """Run a plugin with exactly these CNI_* variables."""
        others = {k: v for k, v in os.environ.items() if not k.startswith("CNI_")}
        whole = others | dict(environment)
        stdin = config if isinstance(config, str) else json.dumps(config)
        hosted = self.plugins is not None and self.plugins.has(Path(directory, plugin))
        if self.plugins is not None and hosted and not arguments:
            return self.node.run(_forked, self.plugins, plugin, whole, stdin)
        done = self.node.run(
            subprocess.run,
            [str(Path(directory, plugin)), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=whole,
            check=False,
            timeout=60,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def call(
        self,
        verb: str,
        config: Mapping[str, object],
        *,
        cid: str = "c1",
        netns: str | None = None,
        ifname: str = "eth0",
        directory: str | Path = OURS,
        **more: str,
    ) -> Answer:
        """Run the plugin of *config*'s type as a runtime would.

        Args:
            verb: CNI_COMMAND.
            config: Network configuration; version 1.1.0 and the name "demo" if it has none.
            cid: CNI_CONTAINERID.
            netns: CNI_NETNS, by default the one of the container called *cid*.
            ifname: CNI_IFNAME.
            directory: CNI_PATH, where the plugin is, too.
            more: Further variables: ``CNI_ARGS="MAC=…"``.
        """
        environment = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": cid,
            "CNI_NETNS": f"/run/netns/{cid}" if netns is None else netns,
            "CNI_IFNAME": ifname,
            "CNI_PATH": str(directory),
        }
        whole = {"cniVersion": "1.1.0", "name": "demo"} | dict(config)
        return self.run(str(config["type"]), whole, environment | more, directory=directory)


def _forked(plugins: PluginHost, plugin: str, environment: Mapping[str, str], stdin: str) -> Answer:
    deadline = time.monotonic() + 60
    child = plugins.start(plugin, environment, (), deadline)
    spoken = converse(child, stdin.encode(), deadline)
    assert not spoken.timed_out
    answer = Answer(child.wait(), spoken.stdout.decode(), spoken.stderr.decode())
    child.leave()
    return answer


def _without_chance(value: object) -> str:
    return re.sub("^veth.*", "veth", str(value))


def _leases(directory: Path) -> dict[str, str]:
    if not directory.is_dir():
        return {}
    files = [path for path in directory.iterdir() if path.name[0].isdigit() or ":" in path.name]
    return {path.name: path.read_bytes().decode() for path in files}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what has a host in every way that is asked for."""
    if "host" in metafunc.fixturenames:
        usual = "hosted" if "differential" in metafunc.module.__name__ else "exec hosted"
        ways = os.environ.get("PODNET_TEST_PLUGINS", usual).split()
        metafunc.parametrize("host", ways, indirect=True)


@pytest.fixture(scope="session")
def plugin_host() -> Iterator[PluginHost]:
    """A host of our plugins, for everything that this process runs."""
    made = PluginHost(OURS)
    yield made
    made.close()


@pytest.fixture
def host(node: Node, plugin_host: PluginHost, request: pytest.FixtureRequest) -> Host:
    """A host in memory, with plugins to run on it."""
    return Host(node, plugin_host if request.param == "hosted" else None)
