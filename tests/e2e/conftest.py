"""podnet as a person meets it: its console script, started inside a Node in memory."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from podnet.node import Node
from podnet.testing import stub_plugin

PODNET = Path(sys.executable).parent / "podnet"
_CNITOOL = {"NETCONFPATH", "CAP_ARGS"}
_PATIENCE = 60.0
PEER = Path(__file__).parent.parent / "peers" / "libcni"
LIBRARY = Path("/usr/share/gocode/src/github.com/containernetworking/cni")


def _environment() -> dict[str, str]:
    """What podnet inherits: nothing of CNI's, of podnet's, or of a terminal's."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("CNI_", "PODNET_", "XDG_")) and key not in _CNITOOL
    }
    # Clusters end with us, also where we are killed.
    return kept | {"NO_COLOR": "1", "LC_ALL": "C.UTF-8", "PODNET_OWNER": str(os.getpid())}


@dataclass(slots=True)
class Podnet:
    """The command line.

    Attributes:
        node: Where it runs.
        environment: What it inherits.
    """

    node: Node
    environment: dict[str, str] = field(default_factory=_environment)

    def __call__(
        self,
        *arguments: str | Path,
        status: int = 0,
        env: Mapping[str, str] | None = None,
        through: tuple[str, ...] = (),
    ) -> "subprocess.CompletedProcess[str]":
        """Run podnet to its end, which must be with *status*, and without a traceback.

        Args:
            arguments: Its arguments.
            status: The exit status it must end with.
            env: Further variables.
            through: A command to start it by.
        """
        done = self.node.run(
            subprocess.run,
            [*through, str(PODNET), *map(str, arguments)],
            capture_output=True,
            text=True,
            env=self.environment | dict(env or {}),
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=_PATIENCE,
        )
        said = f"podnet {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, said
        assert done.returncode == status, f"exit {done.returncode}, not {status}: {said}"
        return done

    def json(self, *arguments: str | Path, status: int = 0) -> Any:
        """Run podnet with ``-o json`` and return what it prints."""
        return json.loads(self(*arguments, "-o", "json", status=status).stdout)

    def start(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        through: tuple[str, ...] = (),
    ) -> "subprocess.Popen[str]":
        """Start podnet, and do not wait for it."""
        return self.node.run(
            subprocess.Popen,
            [*through, str(PODNET), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment | dict(env or {}),
        )


@pytest.fixture
def podnet(node: Node) -> Podnet:
    """The command line, inside the test's Node."""
    return Podnet(node)


# One command line after the other, each in a process of its own that is forked when
# everything is imported.  A killed one is killed between two of its own instructions, not
# while the interpreter starts.
_SERVER = """
import json, os, select, signal, sys, time
from podnet.cli import main
from podnet.kernel import namespaces
import podnet.reconcile

for line in sys.stdin:
    asked = json.loads(line)
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_RDONLY)
        output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for target, source in ((0, null), (1, output), (2, output)):
            os.dup2(source, target)
        sys.argv = ["podnet", *asked["arguments"]]
        main.main()
    watched = os.pidfd_open(pid)
    ended, _, _ = select.select([watched], [], [], asked["kill_after"])
    if not ended:
        signal.pidfd_send_signal(watched, signal.SIGKILL)
    os.close(watched)
    _, status = os.waitpid(pid, 0)
    took = time.monotonic() - started
    print(json.dumps([os.waitstatus_to_exitcode(status), took]), flush=True)
"""


@dataclass(slots=True)
class Forked:
    """podnet without the half second that its start takes: for tests of hundreds of them.

    Attributes:
        server: The process that forks them.
        output: Where they print.
    """

    server: "subprocess.Popen[str]"
    output: Path

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """Run podnet to its end, which must be with *status*; return what it prints."""
        ended, _ = self.run(*arguments)
        printed = self.output.read_text()
        assert ended == status, f"podnet {' '.join(arguments)}: exit {ended}: {printed}"
        return printed

    def run(self, *arguments: str, kill_after: float | None = None) -> tuple[int, float]:
        """Run podnet and return how it ended, a signal as a negative number, and how long it took.

        Args:
            arguments: Its arguments.
            kill_after: Seconds after which it gets a SIGKILL.
        """
        asked = {"arguments": arguments, "output": str(self.output), "kill_after": kill_after}
        assert self.server.stdin
        assert self.server.stdout
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        status, took = json.loads(self.server.stdout.readline())
        return status, took


@pytest.fixture
def forked(node: Node, tmp_path: Path) -> Iterator[Forked]:
    """The command line, inside the test's Node, by fork."""
    server = node.run(
        subprocess.Popen,
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(),
    )
    with server:
        yield Forked(server, tmp_path / "podnet.out")
        assert server.stdin
        server.stdin.close()


@pytest.fixture
def sh(node: Node) -> Callable[[str], str]:
    """Run a shell script on the Node and return what it prints."""

    def run(script: str) -> str:
        done = node.run(
            subprocess.run,
            ["sh", "-ec", script],
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
        assert done.returncode == 0, f"{script}: {done.stderr}"
        return str(done.stdout)

    return run


@pytest.fixture
def net_d(tmp_path: Path, podnet: Podnet) -> Path:
    """A configuration directory, empty, that podnet uses."""
    directory = tmp_path / "net.d"
    directory.mkdir()
    podnet.environment["NETCONFPATH"] = str(directory)
    return directory


@pytest.fixture
def conflist(net_d: Path) -> Callable[..., Path]:
    """Write a configuration list into the configuration directory."""

    def write(name: str, *plugins: Mapping[str, object], version: str = "1.0.0") -> Path:
        path = net_d / f"{name}.conflist"
        whole = {"cniVersion": version, "name": name, "plugins": plugins}
        path.write_text(json.dumps(whole, indent=2))
        return path

    return write


@pytest.fixture
def stub(tmp_path: Path, podnet: Podnet) -> Callable[..., Path]:
    """Write plugins that do as they are told, into a directory where podnet looks first."""
    directory = tmp_path / "stubs"
    directory.mkdir()
    podnet.environment["CNI_PATH"] = str(directory)

    def write(
        name: str, *, stdout: str = '{"cniVersion": "1.0.0"}', status: int = 0, script: str = ""
    ) -> Path:
        return stub_plugin(directory, name, stdout=stdout, status=status, script=script)

    return write


_QUESTIONS = (
    "ip -j -d link",
    "ip -j addr",
    "ip -j -4 route show table all",
    "ip -j -6 route show table all",
    "ip -j rule",
    "ip -j -6 rule",
    "nft -j list ruleset 2>/dev/null || :",
    "iptables-save 2>/dev/null || :; ip6tables-save 2>/dev/null || :",
    "tc qdisc show | sed 's/ refcnt .*//' | sort",
    "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding",
    "grep -c ' nsfs nsfs' /proc/self/mountinfo || :",
)
_BETWEEN = "-- 8< --\n"
_LOOK = f"; printf '%s' '{_BETWEEN}'; ".join(_QUESTIONS)
#: The same at any time: what a kernel counts, numbers, or reports of a cable.
_VOLATILE = {"handle", "packets", "bytes", "index"}


def look(node: Node) -> dict[str, object]:
    """Return what a CNI plugin could have changed on a Node, in a form that can be compared."""
    done = node.run(
        subprocess.run, ["sh", "-c", _LOOK], capture_output=True, text=True, check=True, timeout=60
    )
    *tables, chains, queues, forwarding, mounts = done.stdout.split(_BETWEEN)
    links, addresses, *routes, nft = [json.loads(text or "[]") for text in tables]
    return {
        "links": {link["ifname"]: _link(link) for link in links if link},
        "addresses": {
            link["ifname"]: sorted(
                f"{a['local']}/{a['prefixlen']}"
                for a in link["addr_info"]
                if a and not a["local"].startswith("fe80:")
            )
            for link in addresses
            if link
        },
        "routes": sorted(_route(route) for listed in routes for route in listed if _counts(route)),
        "nftables": sorted(filter(None, map(_rule, nft["nftables"]))) if nft else [],
        "iptables": [
            re.sub(r"\[\d+:\d+\]", "", line)
            for line in chains.splitlines()
            if not line.startswith("#")
        ],
        "queues": queues.splitlines(),
        "forwarding": forwarding.split(),
        "namespaces": int(mounts),
        "files": node.run(_files),
    }


def _link(link: Mapping[str, object]) -> tuple[object, ...]:
    info = link.get("linkinfo")
    kind = info.get("info_kind", "") if isinstance(info, dict) else ""
    flags = link["flags"]
    assert isinstance(flags, list)
    return kind, link["mtu"], link.get("master", ""), "UP" in flags, "PROMISC" in flags


def _counts(route: Mapping[str, object]) -> bool:
    """What the kernel adds for IPv6 addresses comes a second after a link has its first peer."""
    of_kernel = route.get("protocol") == "kernel"
    return bool(route) and not (of_kernel and "pref" in route)


def _route(route: Mapping[str, object]) -> str:
    return json.dumps({k: v for k, v in route.items() if k != "flags"}, sort_keys=True)


def _rule(entry: Mapping[str, Mapping[str, object]]) -> str:
    """A rule, chain or table of nftables; iptables' own are read from iptables-save."""
    [(kind, thing)] = entry.items()
    table = thing.get("name") if kind == "table" else thing.get("table")
    if kind == "metainfo" or (thing.get("family"), table) in _IPTABLES:
        return ""
    return f"{kind} {json.dumps(_stable(thing), sort_keys=True)}"


_IPTABLES = {
    (family, table)
    for family in ("ip", "ip6")
    for table in ("filter", "nat", "mangle", "raw", "security")
}


def _stable(value: object) -> object:
    if isinstance(value, dict):
        return {k: _stable(v) for k, v in value.items() if k not in _VOLATILE}
    return [_stable(item) for item in value] if isinstance(value, list) else value


def _files() -> dict[str, str]:
    """Return the files that podnet and plugins keep of pods; not those that stay for the next."""
    return {
        str(path): _content(path)
        for root in ("/run", "/var/lib")
        for path in Path(root).rglob("*")
        if path.is_file()
        and not {"transcripts", ".podnet-etc"} & set(path.parts)
        and not path.name.startswith("last_reserved_ip")
        and path.name not in _STAY
    }


def _content(path: Path) -> str:
    """A namespace cannot be read, and the order in an index is no matter."""
    mute = path.parent == Path("/run/netns") or ".podnet" in path.parts
    return "" if mute else path.read_text(errors="replace")


#: podnet's lock; host-local's, and the stamp of its index.
_STAY = {"gc.lock", "iptables.lock", "lock", "stamp"}


@pytest.fixture
def snapshot(node: Node) -> Callable[[], dict[str, object]]:
    """What a plugin could have changed on the test's Node."""
    return lambda: look(node)


@pytest.fixture
def settled(node: Node) -> Callable[[Mapping[str, object]], dict[str, object]]:
    """The same, once it is as it was; at the latest after two seconds, as it is then.

    A bridge that has lost its last port loses its carrier a moment later.
    """

    def wait(before: Mapping[str, object]) -> dict[str, object]:
        deadline = time.monotonic() + 2
        while (now := look(node)) != before and time.monotonic() < deadline:
            time.sleep(0.05)
        return now

    return wait


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go library libcni behind a command line, built once for all workers."""
    if shutil.which("go") is None or not LIBRARY.is_dir():
        pytest.skip("no Go, or no libcni: apt-get install golang-go golang-github-appc-cni-dev")
    shared = tmp_path_factory.getbasetemp().parent
    binary, lock = shared / "libcni-peer", shared / "libcni-peer.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not binary.exists():
            environment = dict(os.environ, GOCACHE=str(shared / "go-cache"))
            subprocess.run(
                [str(PEER / "build"), str(binary)], check=True, env=environment, timeout=600
            )
    return binary


@pytest.fixture
def becomes_anybody() -> None:
    """Only root can become somebody else; who is root in a user namespace is alone in there."""
    if os.geteuid() != 0 or Path("/proc/self/uid_map").read_text().split()[2] == "1":
        pytest.skip("only root can become somebody else")
