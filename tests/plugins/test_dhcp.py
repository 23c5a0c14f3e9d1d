"""dhcp: leases from a real server (dnsmasq), kept by the daemon, and given back.

Server, daemon and containers are in one host in memory: the server in a namespace of its own
behind a pair, the containers on macvlans of the host's end, or everybody on a bridge.
"""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from podnet.kernel import namespaces

SERVER, C1 = "/run/netns/server", "/run/netns/c1"
SOCKET, STATE = "/run/cni/dhcp.sock", "/run/cni/dhcp"
LEASES = "/run/leases"
IPAM: dict[str, Any] = {"type": "dhcp"}
#: T1 after three seconds; dnsmasq takes no less, and leases nothing for less than two minutes.
SOON = "--dhcp-option-force=58,3"


def _config(**ipam: Any) -> dict[str, Any]:
    return {"type": "macvlan", "master": "m0", "ipam": IPAM | ipam}


#: The plugin itself, on a link that is there.
ALONE: dict[str, Any] = {"type": "dhcp", "ipam": IPAM}


class Lan:
    """A host with a DHCP server behind a pair.

    Attributes:
        host: The host.
        running: Everything that was started, to be ended.
    """

    def __init__(self, host: Any, logs: Path) -> None:
        self.host, self._logs = host, logs
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, *command: str, netns: str = "", wait_for: str, **more: Any) -> Any:
        """Start a process on the host, or in a container, and wait until it says something."""
        inside = ["nsenter", f"--net={netns}"] if netns else []
        path = self._logs / f"{len(self.running)}.log"
        with path.open("wb") as log:
            process = self.host.node.run(
                subprocess.Popen, [*inside, *command], stdout=log, stderr=log, **more
            )
        process.log = path
        self.running.append(process)
        _until(lambda: wait_for in path.read_text() or process.poll() is not None)
        assert process.poll() is None, path.read_text()
        return process

    def server(self, *options: str, first: int = 10, interface: str = "m1") -> Any:
        """Start dnsmasq, which stays who it is: in a user namespace there is nobody else."""
        return self.start(
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-ping"),
            *("--user=root", "--group=", "--pid-file=", "--log-facility=-"),
            f"--dhcp-leasefile={LEASES}",
            *(f"--interface={interface}", f"--dhcp-range=10.9.0.{first},10.9.0.{first + 40},2m"),
            *options,
            netns=SERVER if interface == "m1" else "",
            wait_for="DHCP, IP range",
        )

    def daemon(self, *flags: str, directory: str = "", **more: Any) -> Any:
        """Start the daemon."""
        command = [str(self.host.directory / "dhcp"), "daemon", *flags]
        return self.start(*command, wait_for="listening at", **more)

    def leases(self) -> dict[str, str]:
        """Return what the server has leased: addresses by client identifier."""
        lines = self.host.sh(f"cat {LEASES} 2>/dev/null || true").splitlines()
        found = {}
        for line in lines:
            _, _, address, _, identifier = line.split()
            found[bytes.fromhex(identifier.replace(":", "")).lstrip(b"\0").decode()] = address
        return found

    def records(self) -> list[Any]:
        """Return the daemon's own leases on disk."""
        text = self.host.sh(f"cat {STATE}/*.json 2>/dev/null | tr -d '\\n' || true")
        found: list[Any] = json.loads("[" + text.replace("}{", "},{") + "]")
        return found


def _until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that will be true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


@pytest.fixture
def lan(host: Any, tmp_path: Path) -> Iterator[Lan]:
    """A host with two containers, and a pair whose other end is in the server's namespace."""
    if not Path("/usr/sbin/dnsmasq").exists():
        pytest.skip("there is no dnsmasq: apt-get install dnsmasq-base")
    for name in ("server", "c1", "c2"):
        host.container(name)
    host.sh("ip link add m0 type veth peer name m1 netns server; ip link set m0 up")
    host.sh("ip addr add 10.9.0.1/24 dev m1; ip link set m1 up", netns=SERVER)
    made = Lan(host, tmp_path)
    try:
        yield made
    finally:
        for process in made.running:
            process.kill()
            process.wait()


def _captured(lan: Lan) -> Callable[[], list[tuple[int, bytes]]]:
    """Listen at the server's end; return what returns the packets: PACKET_* and IP."""

    def opened() -> socket.socket:
        with namespaces.entered(SERVER):
            listening = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            listening.bind(("m1", 0x0800))
            listening.settimeout(0)
            return listening

    listening = lan.host.node.run(opened)

    def read() -> list[tuple[int, bytes]]:
        packets: list[tuple[int, bytes]] = []
        with listening:
            while True:
                try:
                    packet, source = listening.recvfrom(2048)
                except BlockingIOError:
                    return packets
                packets.append((source[2], packet))

    return read


# ADD, CHECK, DEL


def test_a_container_gets_a_lease_and_gives_it_back(lan):
    lan.server("--dhcp-option=121,10.20.0.0/16,10.9.0.7,10.30.0.0/16,0.0.0.0,0.0.0.0/0,10.9.0.1")
    daemon, host = lan.daemon(), lan.host
    config = _config(request=[{"option": "121"}], priority=77)

    result = host.call("ADD", config).result

    assert lan.leases() == {"c1/demo/eth0": result["ips"][0]["address"].partition("/")[0]}
    assert result["ips"][0] == {
        "interface": 0,
        "address": result["ips"][0]["address"],
        "gateway": "10.9.0.1",
    }
    assert result["routes"] == [
        {"dst": "10.20.0.0/16", "gw": "10.9.0.7", "priority": 77},
        {"dst": "10.30.0.0/16", "priority": 77, "scope": 253},
        {"dst": "0.0.0.0/0", "gw": "10.9.0.1", "priority": 77},
    ]
    assert host.addresses("eth0", netns=C1) == {result["ips"][0]["address"]}
    routes = {r["dst"]: (r.get("gateway"), r.get("metric")) for r in host.ip("route", netns=C1)}
    assert routes["default"] == ("10.9.0.1", 77)
    assert routes["10.30.0.0/16"] == (None, 77)
    assert host.reaches("10.9.0.1", netns=C1)
    assert host.sh(f"stat -c %a {SOCKET} {STATE} {STATE}/*.json").split() == ["600", "700", "600"]

    files = len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
    for _ in range(3):
        assert host.call("CHECK", config | {"prevResult": result}).result == {}
    assert len(list(Path(f"/proc/{daemon.pid}/fd").iterdir())) == files
    assert [task.name for task in Path(f"/proc/{daemon.pid}/task").iterdir()] == [str(daemon.pid)]
    assert daemon.log.read_text().count("10.9.0.1\n") == 1  # one lease, asked for once

    wire = _captured(lan)
    assert host.call("DEL", config | {"prevResult": result}).result == {}
    _until(lambda: lan.leases() == {})
    [(towards, release)] = wire()
    address = bytes(map(int, result["ips"][0]["address"][:-3].split(".")))
    assert towards == socket.PACKET_HOST
    assert (release[12:16], release[28 + 12 : 28 + 16]) == (address, address)
    assert host.names(netns=C1) == set()
    assert lan.records() == []
    assert host.call("DEL", config).result == {}
    assert host.call("DEL", config, netns="").result == {}


def test_what_the_configuration_provides_reaches_the_server(lan):
    lan.server("--dhcp-vendorclass=set:ours,podnet", "--dhcp-option=tag:ours,3,10.9.0.99")
    lan.daemon()
    provide = [
        {"option": "host-name", "value": "nobody", "fromArg": "K8S_POD_NAME"},
        {"option": "60", "value": "podnet"},
        {"option": "dhcp-client-identifier", "value": "me"},
    ]

    args = "IgnoreUnknown=1;K8S_POD_NAME=web"
    result = lan.host.call("ADD", _config(provide=provide), CNI_ARGS=args).result

    assert result["ips"][0]["gateway"] == "10.9.0.99"
    assert list(lan.leases()) == ["me"]
    assert lan.host.sh(f"cut -d' ' -f4 {LEASES}") == "web\n"
    assert lan.host.call("DEL", _config(provide=provide), CNI_ARGS=args).status == 0
    _until(lambda: lan.leases() == {})


def test_routers_are_asked_for_unless_the_defaults_are_skipped(lan):
    lan.server()
    lan.daemon()

    result = lan.host.call("ADD", _config(request=[{"skipDefault": True, "option": "6"}])).result

    assert "gateway" not in result["ips"][0]
    assert "routes" not in result


def test_what_cannot_be_used_goes_back_to_the_server(lan):
    lan.server("--dhcp-option=1")
    lan.daemon()

    code, said = lan.host.call("ADD", _config()).refusal

    assert code == 999
    assert str(said).startswith("dhcp: DHCP option Subnet Mask not found in DHCPACK")
    _until(lambda: lan.leases() == {})
    assert lan.host.names(netns=C1) == set()


def test_everybody_on_a_bridge_gets_a_lease_at_once_and_the_dhcp_server_is_on_the_host(lan):
    host = lan.host
    host.sh(
        "ip link add cni0 address 02:00:00:00:00:09 type bridge; ip addr add 10.9.0.1/24 dev cni0; ip link set cni0 up"
    )
    lan.server(interface="cni0")
    lan.daemon()
    config = {"type": "bridge", "ipam": IPAM}
    ids = [f"p{number}" for number in range(8)]
    for cid in ids:
        host.container(cid)

    with ThreadPoolExecutor(8) as pool:
        results = dict(
            zip(ids, pool.map(lambda cid: host.call("ADD", config, cid=cid), ids), strict=True)
        )

    found = {f"{cid}/demo/eth0": a.result["ips"][0]["address"][:-3] for cid, a in results.items()}
    assert lan.leases() == found
    assert len(set(found.values())) == 8
    for cid, answer in results.items():
        config_of = config | {"prevResult": answer.result}
        assert host.call("CHECK", config_of, cid=cid).result == {}
        assert host.call("DEL", config_of, cid=cid).result == {}
    _until(lambda: lan.leases() == {})


def test_an_add_again_has_the_same_lease_and_a_new_container_has_its_own(lan):
    lan.server()
    lan.daemon()
    lan.host.sh("ip link add eth0 link m0 type macvlan mode bridge; ip link set eth0 netns c1")

    first, second = (lan.host.call("ADD", ALONE).result for _ in range(2))
    assert first == second
    assert lan.host.ip("link show eth0", netns=C1)[0]["operstate"] == "UP"
    [before] = lan.records()

    # Its DEL never came: the container is made anew, with another interface.
    lan.host.sh("ip link del eth0", netns=C1)
    lan.host.sh("ip link add eth0 link m0 type macvlan mode bridge; ip link set eth0 netns c1")
    prior = ALONE | {"prevResult": first}
    assert "is gone" in str(lan.host.call("CHECK", prior).error["msg"])
    assert lan.host.call("ADD", ALONE).result == first
    [after] = lan.records()
    assert before["link"]["index"] != after["link"]["index"]
    assert lan.host.call("CHECK", prior).result == {}


def test_the_result_is_debian_s(lan, debian_plugins):
    """Keys and values of the reference's plugin and daemon, for the same client and server."""
    lan.server(
        "--dhcp-option=33,192.168.7.0,10.9.0.8,10.0.0.0,10.9.0.7",
        "--dhcp-option=121,10.20.0.0/16,10.9.0.7",
    )
    lan.start(f"{debian_plugins}/dhcp", "daemon", "-socketpath", "/run/theirs.sock", wait_for="")
    lan.daemon()
    host = lan.host
    _until(lambda: host.sh("ls /run/theirs.sock 2>/dev/null || true") != "")
    for request in ([{"option": "33"}], [{"option": "121"}, {"option": "33"}]):
        shown = []
        for directory, path in ((debian_plugins, "/run/theirs.sock"), (None, SOCKET)):
            config = _config(daemonSocketPath=path, request=request) | {
                "cniVersion": "1.0.0",
                "mac": "02:00:00:00:00:05",
            }
            where = {"directory": directory} if directory else {}
            result = host.call("ADD", config, **where).result
            shown.append((result | {"dns": {}}, host.state(netns=C1), lan.leases()))
            assert host.call("DEL", config, **where).result == {}
            _until(lambda: lan.leases() == {})
        assert shown[0] == shown[1]


# The daemon


def test_a_lease_is_renewed_by_the_server_it_is_from_also_by_the_next_daemon(lan):
    lan.server(SOON)
    daemon, host = lan.daemon("-pidfile", "/run/dhcp.pid"), lan.host
    config = _config()
    assert host.sh("cat /run/dhcp.pid") == f"{daemon.pid}\n"
    result = host.call("ADD", config).result
    config |= {"prevResult": result}
    [first] = lan.records()
    wire = _captured(lan)

    _until(lambda: lan.records()[0]["lease"]["expires"] > first["lease"]["expires"])
    [(towards, request)] = wire()
    address = bytes(map(int, result["ips"][0]["address"][:-3].split(".")))
    assert towards == socket.PACKET_HOST  # and no ICMP: the answer was not refused
    assert (request[9], request[12:16]) == (17, address)

    daemon.terminate()
    assert daemon.wait() == 0
    assert host.sh(f"ls {SOCKET} /run/dhcp.pid 2>/dev/null || true") == ""
    assert "error dialing DHCP daemon" in str(host.call("CHECK", config).error["msg"])
    [kept] = lan.records()

    second = lan.daemon()
    assert "1 leases" in second.log.read_text()
    assert host.call("CHECK", config).result == {}
    _until(lambda: lan.records()[0]["lease"]["expires"] > kept["lease"]["expires"])

    second.kill()
    second.wait()
    lan.daemon()
    assert host.call("CHECK", config).result == {}
    assert host.call("DEL", config).result == {}
    _until(lambda: lan.leases() == {})


def test_del_and_gc_release_without_a_daemon_too(lan):
    lan.server()
    daemon, host = lan.daemon(), lan.host
    for cid in ("c1", "c2"):
        assert host.call("ADD", _config(), cid=cid).status == 0
    assert len(lan.leases()) == 2
    daemon.kill()
    daemon.wait()

    done = host.call("DEL", _config())
    assert done.status == 0
    assert "error dialing DHCP daemon" in done.stderr
    assert "released without it" in done.stderr
    _until(lambda: set(lan.leases()) == {"c2/demo/eth0"})

    valid = [{"containerID": "c2", "ifname": "eth0"}]
    assert host.call("GC", _config() | {"cni.dev/valid-attachments": valid}).result == {}
    assert (
        host.call("GC", _config() | {"name": "other", "cni.dev/valid-attachments": []}).result == {}
    )
    assert len(lan.records()) == 1
    assert host.call("GC", _config() | {"cni.dev/valid-attachments": []}).result == {}
    _until(lambda: lan.leases() == {})
    assert lan.records() == []


def test_gc_releases_what_is_not_valid_and_nothing_else(lan):
    lan.server()
    lan.daemon()
    host = lan.host
    for cid in ("c1", "c2"):
        assert host.call("ADD", _config(), cid=cid).status == 0

    other = _config() | {"name": "other", "cni.dev/valid-attachments": []}
    assert host.call("GC", other).result == {}
    assert len(lan.records()) == 2
    valid = [{"containerID": "c2", "ifname": "eth0"}]
    assert host.call("GC", _config() | {"cni.dev/valid-attachments": valid}).result == {}

    _until(lambda: set(lan.leases()) == {"c2/demo/eth0"})
    assert [record["holder"]["containerID"] for record in lan.records()] == ["c2"]


def test_a_lease_that_the_server_takes_back_sets_the_link_down(lan):
    server = lan.server(SOON)
    daemon, host = lan.daemon(), lan.host
    result = host.call("ADD", _config()).result
    server.kill()
    server.wait()
    host.sh(f"rm {LEASES}")
    lan.server("--dhcp-authoritative", first=100)

    _until(lambda: lan.records() == [])

    assert "took it back" in daemon.log.read_text()
    assert host.ip("link show eth0", netns=C1)[0]["operstate"] == "DOWN"
    refusal = host.call("CHECK", _config() | {"prevResult": result}).refusal
    assert refusal == (999, "dhcp: there is no lease for c1/demo/eth0")
    assert host.call("DEL", _config()).result == {}


def test_a_lease_ends_with_its_link(lan):
    lan.server(SOON)
    daemon, host = lan.daemon(), lan.host
    assert host.call("ADD", _config()).status == 0

    host.sh("ip link del eth0", netns=C1)

    _until(lambda: lan.records() == [])
    assert "its link is gone" in daemon.log.read_text()


def test_a_lease_keeps_no_namespace_alive(lan):
    lan.server()
    daemon, host = lan.daemon(), lan.host
    assert host.call("ADD", _config()).status == 0
    # A pair with an end in the container, which goes when the namespace does.
    host.sh("ip link add w0 type veth peer name w1 netns c1")

    host.node.run(namespaces.delete, Path(C1))

    _until(lambda: "w0" not in host.names())
    assert len(lan.records()) == 1
    assert host.call("DEL", _config()).result == {}
    assert lan.records() == []
    assert "the server keeps the lease of c1/demo/eth0 until it expires" in daemon.log.read_text()


def test_status_says_whether_the_daemon_is_there(lan):
    host = lan.host
    code, said = host.call("STATUS", ALONE).refusal
    assert (code, str(said).startswith("error dialing DHCP daemon: /run/cni/dhcp.sock")) == (
        50,
        True,
    )
    assert host.call("STATUS", _config()).refusal[0] == 50
    # Teardown and a failed ADD need no daemon.
    assert host.call("DEL", _config()).result == {}
    assert host.call("ADD", _config()).refusal[0] == 11
    assert host.names(netns=C1) == set()

    daemon = lan.daemon()
    assert host.call("STATUS", _config()).result == {}
    host.sh(f"mount -t tmpfs -o ro none {STATE}")
    read_only = f"dhcp: leases cannot be written in {STATE}: Read-only file system"
    assert host.call("STATUS", ALONE).refusal == (50, read_only)
    host.sh(f"umount {STATE}")
    daemon.kill()
    daemon.wait()
    assert host.call("STATUS", ALONE).refusal[0] == 50


def test_an_add_without_a_server_leaves_nothing(lan):
    host = lan.host
    lan.daemon("-resendtimeout=1s", "--timeout", "500ms")
    host.sh("ip link add eth1 link m0 type macvlan; ip link set eth1 netns c1")

    assert host.call("ADD", _config()).refusal == (999, "dhcp: no DHCP server offered an address")
    assert host.names(netns=C1) == {"eth1"}
    assert host.call("ADD", ALONE, ifname="eth1").refusal[0] == 999
    assert "UP" not in host.ip("link show eth1", netns=C1)[0]["flags"]
    assert host.call("ADD", ALONE, ifname="eth9").refusal == (999, 'interface "eth9" not found')
    assert host.call("ADD", ALONE, ifname="lo").refusal[1] != ""
    assert lan.records() == []


def test_an_add_that_is_killed_is_taken_back(lan):
    host = lan.host
    daemon = lan.daemon()
    host.sh("ip link add eth0 link m0 type macvlan; ip link set eth0 netns c1")
    waiting = {
        "method": "allocate",
        "holder": {"network": "demo", "containerID": "c1", "ifname": "eth0"},
        "netns": C1,
    }

    def connected() -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(SOCKET)
        return client

    with host.node.run(connected) as client:
        client.sendall(json.dumps(waiting).encode() + b"\n")
        _until(lambda: "UP" in host.ip("link show eth0", netns=C1)[0]["flags"])
        assert host.call("ADD", ALONE).refusal == (
            11,
            "a lease for c1/demo/eth0 is being asked for",
        )

    _until(lambda: "given up" in daemon.log.read_text())
    assert "UP" not in host.ip("link show eth0", netns=C1)[0]["flags"]
    lan.server()
    assert host.call("ADD", ALONE).status == 0


def test_the_daemon_survives_nonsense_and_names_that_are_none(lan):
    host = lan.host
    lan.daemon()

    def said(text: bytes) -> Any:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(SOCKET)
            client.settimeout(10)
            client.sendall(text)
            return json.loads(client.makefile().readline())

    def ask(text: bytes) -> Any:
        return host.node.run(said, text)["error"]["msg"]

    assert "not valid JSON" in ask(b"CONNECT /_goRPC_ HTTP/1.0\n")
    assert ask(b'{"method": "dance"}\n') == "the DHCP daemon knows no method 'dance'"
    evil = {"network": "../x", "containerID": "c1", "ifname": "eth0"}
    for holder in (evil, evil | {"network": "demo", "ifname": "../x"}):
        request = {"method": "allocate", "holder": holder, "netns": C1}
        assert "invalid" in ask(json.dumps(request).encode() + b"\n") or "contains" in ask(
            json.dumps(request).encode() + b"\n"
        )
    good = evil | {"network": "demo"}
    for netns in ("/run/netns/none", "/run/leases", "relative"):
        request = {"method": "allocate", "holder": good, "netns": netns}
        assert "netns" in ask(json.dumps(request).encode() + b"\n")
    assert host.call("STATUS", ALONE).result == {}


def test_a_lease_file_that_is_broken_is_said_and_left(lan):
    host = lan.host
    host.sh(f"mkdir -p {STATE}; echo '{{' > {STATE}/x.json; echo '{{}}' > {STATE}/y.json")

    daemon = lan.daemon()

    assert daemon.log.read_text().count("is no lease") == 2
    assert host.sh(f"ls {STATE}") == "lock\nx.json\ny.json\n"


def test_there_is_one_daemon_at_a_socket(lan):
    lan.daemon()
    second = lan.host.node.run(
        subprocess.run,
        [str(lan.host.directory / "dhcp"), "daemon"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert second.returncode == 1
    assert second.stderr == "dhcp daemon: a DHCP daemon is running at /run/cni/dhcp.sock already\n"
    assert lan.host.call("STATUS", ALONE).result == {}


def test_systemd_may_bring_the_socket(lan):
    host = lan.host
    activate = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); os.makedirs('/run/cni'); s.bind(sys.argv[1]); s.listen()\n"
        "assert s.fileno() == 3; os.set_inheritable(3, True)\n"
        "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )
    command = ["python3", "-c", activate, SOCKET, str(host.directory / "dhcp"), "daemon"]
    daemon = lan.start(*command, wait_for="listening at")

    assert host.call("STATUS", ALONE).result == {}
    daemon.terminate()
    assert daemon.wait() == 0
    assert host.sh(f"ls {SOCKET}") == f"{SOCKET}\n"  # systemd's, and for the next one


def test_the_host_may_be_elsewhere_and_servers_may_be_asked_to_broadcast(lan):
    lan.server()
    host = lan.host
    host.sh("mkdir /run/root; mount --rbind /run/netns /run/root")
    flags = ("-hostprefix", "/run/root/", "-socketpath", "/run/other.sock", "-broadcast")
    lan.daemon(*flags)
    config = ALONE | {"ipam": IPAM | {"daemonSocketPath": "/run/other.sock"}}
    host.sh("ip link add eth0 link m0 type macvlan; ip link set eth0 netns c1")
    wire = _captured(lan)

    assert host.call("ADD", config, netns="c1", CNI_NETNS_OVERRIDE="1").status == 0

    discover = next(packet for towards, packet in wire() if towards == socket.PACKET_BROADCAST)
    assert discover[28 + 10] == 0x80
    assert host.sh("ls /run/other").count(".json") == 1
    assert host.call("DEL", config, netns="c1").status == 0
    _until(lambda: lan.leases() == {})


# The configuration


@pytest.mark.parametrize(
    ("ipam", "code", "said"),
    [
        ({"provide": [{"option": "hostname"}]}, 7, 'option "hostname" is no DHCP option'),
        ({"request": [{"option": "256"}]}, 7, 'option "256" is no DHCP option'),
        ({"provide": [{"option": "12", "value": "x" * 256}]}, 7, 'option "12" is too long'),
        ({"daemonSocketPath": "x.sock"}, 7, "daemonSocketPath must be an absolute path"),
        ({"daemonSocketPath": 5}, 6, "ipam.daemonSocketPath must be a string"),
        ({"priority": -1}, 7, "ipam.priority must be at least 0, not -1"),
    ],
)
def test_a_wrong_configuration_is_refused_before_anything_is_asked(host, ipam, code, said):
    host.container("c1")
    found, message = host.call("ADD", {"type": "dhcp", "ipam": {"type": "dhcp"} | ipam}).refusal
    assert (found, said in str(message)) == (code, True)


@pytest.mark.parametrize("duration", ["10", "s", "1m x", "-1s"])
def test_a_duration_is_written_as_go_writes_it(host, duration):
    done = host.node.run(
        subprocess.run,
        [str(host.directory / "dhcp"), "daemon", f"-timeout={duration}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "is no duration such as 10s or 1m30s" in done.stderr
