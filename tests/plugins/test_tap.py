"""tap: a file that is a network interface, as ``ip tuntap`` makes it."""

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from podnet.errors import MissingError
from podnet.kernel import namespaces, tuntap
from podnet.kernel.tuntap import Tap
from podnet.rig import features

pytestmark = pytest.mark.root

C1 = "/run/netns/c1"
MAC = "02:00:00:00:00:09"
BARE: dict[str, Any] = {"type": "tap"}
USERS = sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines())
#: A tap is given to users that are there: in a user namespace only some are, mostly root alone.
with_others = pytest.mark.skipif(USERS < 2**32 - 1, reason="a user namespace without all users")


def _config(**keys: Any) -> dict[str, Any]:
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }
    return BARE | {"ipam": ipam} | keys


@pytest.fixture
def host(host: Any) -> Any:
    """A host with a container that has a bridge, where this user may make taps."""
    if lacking := features.lacking(host.node, "tun"):
        pytest.skip(lacking)
    host.container("c1")
    host.sh("ip link add br0 type bridge; ip link set br0 up", netns=C1)
    return host


def _link(host: Any, name: str = "eth0") -> Any:
    [link] = host.ip(f"-d link show dev {name}", netns=C1)
    return link


def _nothing_left(host: Any) -> bool:
    return bool(host.names(netns=C1) == {"br0"} and host.leases() == {})


# ADD


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, ""),
        ({"multiQueue": True}, "multi_queue"),
        *(
            pytest.param(keys, words, marks=with_others)
            for keys, words in (
                ({"owner": 1234}, "user 1234"),
                ({"group": 5678}, "group 5678"),
                ({"owner": 1, "group": 2, "multiQueue": True}, "multi_queue user 1 group 2"),
                ({"owner": 4294967294}, "user 4294967294"),
            )
        ),
    ],
)
def test_it_makes_what_ip_tuntap_makes(host, keys, words):
    host.sh(f"ip tuntap add mode tap name other {words}; ip link set other up", netns=C1)

    result = host.call("ADD", BARE | keys).result

    ours, theirs = _link(host), _link(host, "other")
    for link in (ours, theirs):
        for key in ("ifindex", "ifname", "address"):
            del link[key]
    assert ours == theirs
    assert result["interfaces"] == [
        {"name": "eth0", "mac": _link(host)["address"], "sandbox": C1},
    ]
    assert host.call("CHECK", BARE | keys | {"prevResult": result}).result == {}
    assert host.call("DEL", BARE | keys).result == {}
    assert host.names(netns=C1) == {"br0", "other"}


@pytest.mark.parametrize(
    "more",
    [{}, {"multiQueue": True}, pytest.param({"owner": 1, "group": 2}, marks=with_others)],
)
@pytest.mark.parametrize(
    ("keys", "args"),
    [
        ({"mac": MAC}, ""),
        ({"mac": "02:00:00:00:00:02"}, f"MAC={MAC}"),
        ({"runtimeConfig": {"mac": MAC}}, "MAC=02:00:00:00:00:03"),
    ],
)
def test_hardware_address_and_mtu_count_whatever_else_is_asked_for(host, keys, args, more):
    """The reference forgets both where owner and group are given."""
    config = BARE | keys | more | {"mtu": 1400}

    result = host.call("ADD", config, CNI_ARGS=args).result

    link = _link(host)
    assert (link["address"], link["mtu"], result["interfaces"][0]["mac"]) == (MAC, 1400, MAC)
    check = host.call("CHECK", config | {"prevResult": result}, CNI_ARGS=args)
    assert check.result == {}


def test_addresses_routes_and_dns(host):
    config = _config(dns={"domain": "a.example"})

    result = host.call("ADD", config).result

    assert [(ip["interface"], ip["address"]) for ip in result["ips"]] == [
        (0, "10.1.0.2/24"),
        (0, "fd00::2/64"),
    ]
    assert result["dns"] == {"domain": "a.example"}
    assert host.addresses("eth0", netns=C1) == {"10.1.0.2/24", "fd00::2/64"}
    assert host.ip("route show default", netns=C1)[0]["gateway"] == "10.1.0.1"
    assert host.sh("sysctl -n net.ipv4.conf.eth0.arp_notify", netns=C1) == "1\n"
    assert host.call("CHECK", config | {"prevResult": result}).result == {}
    for _ in range(2):
        assert host.call("DEL", config | {"prevResult": result}).result == {}
        assert _nothing_left(host)


@pytest.mark.parametrize("version", ["0.2.0", "0.4.0"])
def test_older_versions_can_add_check_and_delete(host, version):
    config = _config(cniVersion=version)
    result = host.call("ADD", config).result

    assert result["cniVersion"] == version
    if version != "0.2.0":
        assert host.call("CHECK", config | {"prevResult": result}).status == 0
    assert host.call("DEL", config).result == {}


# Traffic: whoever has the file open is on the network

_MACHINE = """
import fcntl, os, select, struct, sys, time
device = os.open("/dev/net/tun", os.O_RDWR)
uid, gid, question, answered = int(sys.argv[1]), int(sys.argv[2]), bytes.fromhex(sys.argv[3]), ""
if uid:
    os.setgroups([]); os.setresgid(gid, gid, gid); os.setresuid(uid, uid, uid)
try:
    fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", b"eth0", 0x1002))
except PermissionError:
    print("refused"); sys.exit()
deadline = time.monotonic() + 10
while time.monotonic() < deadline and not answered:
    os.write(device, question)
    while select.select([device], [], [], 0.2)[0]:
        frame = os.read(device, 2000)
        if frame[12:14] == b"\\x08\\x06" and frame[20:22] == b"\\x00\\x02":
            answered = ".".join(map(str, frame[28:32]))
            break
print(answered)
"""


def _asks(host: Any, address: str, *, uid: int = 0, gid: int = 0) -> str:
    """Be a virtual machine on the tap that asks who has *address*; return who answered."""
    mine = bytes.fromhex("020000000042")
    target = bytes(map(int, address.split(".")))
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mine + bytes([10, 1, 0, 9]) + bytes(6)
    frame = b"\xff" * 6 + mine + b"\x08\x06" + arp + target

    def work() -> str:
        with namespaces.entered(C1):
            command = [sys.executable, "-c", _MACHINE, str(uid), str(gid), frame.hex()]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.strip()

    return str(host.node.run(work))


def test_a_machine_on_the_tap_talks_to_the_container(host):
    host.call("ADD", _config())

    assert _asks(host, "10.1.0.2") == "10.1.0.2"


def test_a_machine_on_a_tap_in_a_bridge_talks_to_the_bridge(host):
    host.sh("ip addr add 10.1.0.1/24 dev br0", netns=C1)
    config = BARE | {"bridge": "br0"}

    result = host.call("ADD", config).result

    assert _link(host)["master"] == "br0"
    assert host.call("CHECK", config | {"prevResult": result}).result == {}
    assert _asks(host, "10.1.0.1") == "10.1.0.1"


@with_others
def test_owner_and_group_may_open_it_and_nobody_else(host):
    host.call("ADD", _config(owner=1234, group=5678))

    assert _asks(host, "10.1.0.2", uid=1234, gid=5678) == "10.1.0.2"
    assert _asks(host, "10.1.0.2", uid=1234, gid=1) == "refused"
    assert _asks(host, "10.1.0.2", uid=1, gid=5678) == "refused"


# ADD that fails


@pytest.mark.parametrize(
    ("keys", "code", "message"),
    [
        ({"mtu": -1}, 7, "mtu must be at least 0, not -1"),
        ({"mtu": 20}, 999, "set MTU 20: Invalid argument (mtu less than device minimum)"),
        ({"mac": "zz"}, 7, "invalid args zz for MAC addr: address zz: invalid MAC address"),
        ({"mac": "01:00:00:00:00:01"}, 999, "set address 01:00:00:00:00:01: Cannot assign"),
        ({"owner": "root"}, 6, 'owner must be a whole number, not "root"'),
        ({"owner": -1}, 7, "owner must be between 0 and 4294967294, not -1"),
        ({"bridge": "nope"}, 7, 'bridge "nope" not found'),
        ({"bridge": "lo"}, 7, 'bridge "lo" is not a bridge'),
        ({"selinuxContext": "a:b:c"}, 999, "this system has no SELinux"),
    ],
)
def test_a_wrong_value_is_an_error_and_leaves_nothing(host, keys, code, message):
    found, said = host.call("ADD", _config(**keys)).refusal

    assert (found, said[: len(message)]) == (code, message)
    assert _nothing_left(host)


def test_exhausted_ipam_leaves_no_link(host):
    """The reference leaves it."""
    config = _config()
    config["ipam"] = {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/30"}]]}
    host.container("c2")
    assert host.call("ADD", config, cid="c2").status == 0

    assert "no IP addresses available" in host.call("ADD", config).refusal[1]
    assert host.names(netns=C1) == {"br0"}
    assert set(host.leases().values()) == {"c2\r\neth0"}


def test_a_second_add_is_an_error_and_the_first_one_s_work_stays(host):
    config = _config()
    result = host.call("ADD", config).result

    assert host.call("ADD", config).refusal == (
        999,
        'container interface name ("eth0") already exists',
    )
    assert host.call("CHECK", config | {"prevResult": result}).status == 0


def test_a_name_that_another_kind_of_link_has_is_an_error(host):
    message = 'container interface name ("br0") already exists'

    assert host.call("ADD", BARE, ifname="br0").refusal == (999, message)
    assert _link(host, "br0")["linkinfo"]["info_kind"] == "bridge"


def test_a_missing_namespace_is_code_8(host):
    assert host.call("ADD", _config(), netns="/run/netns/gone").refusal[0] == 8
    assert host.leases() == {}


# CHECK, DEL, GC and STATUS

_ANOTHER = "ip link del eth0; ip tuntap add name eth0"
DRIFTS = {
    "ip link del eth0": "interface eth0 is gone",
    "ip link set eth0 down": "interface eth0 is down",
    f"ip link set eth0 address {MAC[:-1]}8": f"eth0 has address {MAC[:-1]}8, not {MAC}",
    "ip link set eth0 mtu 1300": "eth0 has MTU 1300, not 1400",
    "ip link set eth0 nomaster": "eth0 is not a port of br0",
    "ip addr del 10.1.0.2/24 dev eth0": "Failed to match addr 10.1.0.2/24",
    "ip route del default": "Expected Route 0.0.0.0/0",
    "ip -6 route del default": "Expected Route ::/0",
    "ip link del eth0; ip link add eth0 type bridge": "eth0 is not a tun",
}
OTHERS = {
    "mode tun user 1 group 2": "eth0 is not a tap",
    "mode tap group 2": "eth0 has owner none, not 1",
    "mode tap user 1 group 3": "eth0 has group 3, not 2",
    "mode tap user 1 group 2 multi_queue": "eth0 has multi queue true, not false",
}


@pytest.mark.parametrize("script", DRIFTS)
def test_check_notices(host, script):
    config = _config(mtu=1400, mac=MAC, bridge="br0")
    result = host.call("ADD", config).result

    host.sh(script, netns=C1)

    assert DRIFTS[script] in host.call("CHECK", config | {"prevResult": result}).refusal[1]


@with_others
@pytest.mark.parametrize("words", OTHERS)
def test_check_notices_another_tap_in_its_place(host, words):
    config = BARE | {"owner": 1, "group": 2}
    result = host.call("ADD", config).result
    del result["interfaces"][0]["mac"]

    host.sh(f"{_ANOTHER} {words}; ip link set eth0 up", netns=C1)

    assert host.call("CHECK", config | {"prevResult": result}).refusal == (999, OTHERS[words])


def test_check_notices_a_lease_that_is_gone(host):
    result = host.call("ADD", _config()).result
    host.sh("rm /var/lib/cni/networks/demo/10.1.0.2")

    assert host.call("CHECK", _config(prevResult=result)).refusal[0] == 999
    assert host.call("CHECK", _config()).refusal == (7, "Required prevResult missing")


@pytest.mark.parametrize("netns", ["", "/run/netns/gone"])
def test_delete_without_a_namespace_releases_the_lease(host, netns):
    host.call("ADD", _config())

    assert host.call("DEL", _config(mtu=-1, mac="zz"), netns=netns).result == {}
    assert host.leases() == {}


def test_gc_releases_what_is_not_valid_and_nothing_else(host):
    host.container("c2")
    for cid in ("c1", "c2"):
        host.call("ADD", _config(), cid=cid)
    valid = {"cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "eth0"}]}

    assert host.call("GC", _config() | valid).result == {}

    assert set(host.leases().values()) == {"c2\r\neth0"}


def test_status_is_the_kernel_s_and_ipam_s(host):
    config = _config()
    config["ipam"]["ranges"] = [[{"subnet": "10.1.0.0/30"}]]
    config["ipam"]["routes"] = []
    assert host.call("STATUS", config).result == {}
    assert host.call("STATUS", BARE).result == {}

    host.call("ADD", config)
    assert host.call("STATUS", config).refusal[0] == 50
    host.sh("mount -t tmpfs none /dev/net")
    try:
        sentence = "this kernel has no tun (CONFIG_TUN)"
        assert host.call("STATUS", BARE).refusal == (50, sentence)
        assert host.call("ADD", BARE, ifname="eth1").refusal == (999, sentence)
    finally:
        host.sh("umount /dev/net")


# SELinux, where there is none: what is written where, and by whom the tap is made


@with_others
def test_a_label_is_that_of_the_process_that_makes_the_tap(host, tmp_path, monkeypatch):
    label = tmp_path / "exec"
    monkeypatch.setattr(tuntap, "_SELINUX", tmp_path)
    monkeypatch.setattr(tuntap, "_EXEC_LABEL", label)
    executed: list[str] = []
    monkeypatch.setattr(subprocess, "run", _noting(executed, label, subprocess.run))

    def make() -> None:
        with namespaces.entered(C1):
            tuntap.add("eth0", Tap(owner=1234, multi_queue=True), label="u:r:container_t:s0")
            with pytest.raises(FileExistsError):
                tuntap.add("eth0", Tap(), label="u:r:container_t:s0")

    host.node.run(make)

    assert executed == ["u:r:container_t:s0"] * 2
    assert label.read_text() == "\n"
    data = _link(host)["linkinfo"]["info_data"]
    assert (data["type"], data["multi_queue"], data["user"]) == ("tap", True, 1234)


def _noting(executed: list[str], label: Path, run: Any) -> Any:
    def noting(*args: Any, **kwargs: Any) -> Any:
        executed.append(label.read_text())
        return run(*args, **kwargs)

    return noting


def test_without_selinux_a_label_is_an_error_and_nothing_is_executed(monkeypatch):
    if os.path.isdir("/sys/fs/selinux"):  # noqa: PTH112
        pytest.skip("this system has SELinux")
    monkeypatch.setattr(subprocess, "run", None)

    with pytest.raises(MissingError, match="no SELinux"):
        tuntap.add("eth0", Tap(), label="u:r:container_t:s0")
