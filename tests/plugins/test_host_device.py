"""host-device: a device of the host goes into a container, and comes back as it was."""

import json
import subprocess
from typing import Any

import pytest

from podnet.cni.errors import CniError, InvalidConfigError
from podnet_plugins import host_device, host_device_moves, host_devices
from podnet_plugins.skel import respond

pytestmark = pytest.mark.root

C1 = "/run/netns/c1"
MAC = "02:00:00:00:00:0a"
BARE: dict[str, Any] = {"type": "host-device", "device": "ens1"}
NIC = "0000:00:1f.6"
UNFOUND = "failed to find host device"
# What a PCI device looks like in sysfs, over the real one: this machine may have none.
BUS = f"""
mount -t tmpfs none /sys/bus/pci/devices
mkdir -p /sys/bus/pci/devices/{NIC}/net/ens1
ln -s /sys/bus/pci/drivers/e1000e /sys/bus/pci/devices/{NIC}/driver
"""


def _config(subnets: tuple[str, ...] = ("10.1.0.0/24", "fd00::/64"), **keys: Any) -> dict[str, Any]:
    routes = [{"dst": "::/0" if ":" in subnet else "0.0.0.0/0"} for subnet in subnets]
    ranges = [[{"subnet": subnet}] for subnet in subnets]
    return BARE | {"ipam": {"type": "host-local", "ranges": ranges, "routes": routes}} | keys


@pytest.fixture
def host(host: Any) -> Any:
    """A host with a container and a device, which has addresses, a route and something behind it."""
    host.container("c1")
    host.sh(
        "sysctl -q -w net.ipv6.conf.default.accept_dad=0; "
        f"ip link add ens1 address {MAC} type veth peer name far; "
        "ip link set ens1 up; ip link set far up; "
        "ip addr add 10.1.0.1/24 dev far; ip addr add fd00::1/64 dev far; "
        "ip addr add 192.0.2.9/24 dev ens1; ip addr add 2001:db8::9/64 dev ens1 nodad; "
        "ip route add 198.51.100.0/24 via 192.0.2.1 metric 7"
    )
    return host


def _link(host: Any, name: str = "eth0", *, netns: str = C1) -> Any:
    [link] = host.ip(f"-d link show dev {name}", netns=netns)
    return link


def _is_home(host: Any, *, alias: str | None = None) -> bool:
    """Tell whether the device is back, down, and nothing is left."""
    link = _link(host, "ens1", netns="")
    assert (link.get("ifalias"), link["address"]) == (alias, MAC)
    assert "UP" not in link["flags"]
    return bool(host.names(netns=C1) == set() and host.leases() == {})


# ADD and DEL


def test_a_device_goes_into_the_container_with_addresses_and_comes_back(host):
    config = _config(dns={"domain": "a.example"})

    result = host.call("ADD", config).result

    assert result["interfaces"] == [{"name": "eth0", "mac": MAC, "sandbox": C1}]
    assert [(ip["interface"], ip["address"]) for ip in result["ips"]] == [
        (0, "10.1.0.2/24"),
        (0, "fd00::2/64"),
    ]
    assert result["dns"] == {"domain": "a.example"}
    assert (_link(host)["ifalias"], host.names()) == ("ens1", {"far"})
    assert host.addresses("eth0", netns=C1) == {"10.1.0.2/24", "fd00::2/64"}
    for gateway in ("10.1.0.1", "fd00::1"):
        assert host.reaches(gateway, netns=C1)
    assert host.call("CHECK", config | {"prevResult": result}).result == {}
    for _ in range(2):
        assert host.call("DEL", config | {"prevResult": result}).result == {}
        assert _is_home(host)


def test_without_ipam_it_is_up_and_bare(host):
    result = host.call("ADD", BARE | {"dns": {"domain": "a.example"}}).result

    assert set(result) == {"cniVersion", "interfaces"}
    assert "UP" in _link(host)["flags"]
    assert host.addresses("eth0", netns=C1) == set()
    assert host.call("CHECK", BARE | {"prevResult": result}).result == {}


@pytest.mark.parametrize("taken_on", ["the host", "the container"])
def test_names_that_are_taken_on_the_other_side_are_no_obstacle(host, taken_on):
    if taken_on == "the host":
        host.sh("ip link add eth0 type bridge")
    else:
        host.sh("ip link add ens1 type bridge", netns=C1)

    assert host.call("ADD", BARE).status == 0
    assert host.call("DEL", BARE).status == 0

    assert "ens1" in host.names()
    assert "eth0" not in host.names(netns=C1)


@pytest.mark.parametrize(
    "keys",
    [
        {"hwaddr": MAC},
        {"hwaddr": MAC.upper().replace(":", "-")},
        {"hwaddr": "0200.0000.000a"},
        {"pciBusID": NIC},
        {"runtimeConfig": {"deviceID": NIC}},
        {"kernelpath": f"/sys/devices/{NIC}"},
        {"device": "ens1", "hwaddr": "02:00:00:00:00:ff"},
    ],
    ids=str,
)
def test_a_device_is_found_by(host, keys):
    host.sh(BUS)
    if "kernelpath" in keys:
        keys = {"kernelpath": "/sys/devices/virtual/misc/nic"}
        host.sh(
            "mount -t tmpfs none /sys/devices/virtual/misc; "
            "mkdir -p /sys/devices/virtual/misc/nic/net/gone /sys/devices/virtual/misc/nic/net/ens1"
        )
    config = {"type": "host-device"} | keys

    result = host.call("ADD", config).result

    assert result["interfaces"][0]["mac"] == MAC
    if len(keys) == 1:
        assert host.call("CHECK", config | {"prevResult": result}).result == {}
    assert host.call("DEL", config).result == {}
    assert _is_home(host)


def test_a_virtio_device_has_its_link_a_level_further_down(host):
    host.sh(f"{BUS} cd /sys/bus/pci/devices/{NIC}; mkdir virtio3; mv net virtio3")

    result = host.call("ADD", {"type": "host-device", "pciBusID": NIC}).result

    assert result["interfaces"][0]["mac"] == MAC


def test_an_auxiliary_device_is_found_by_its_id(host):
    host.sh(
        "mount -t tmpfs none /sys/bus; mkdir -p /sys/bus/auxiliary/devices/mlx5_core.sf.4/net/ens1"
    )
    config = {"type": "host-device", "runtimeConfig": {"deviceID": "mlx5_core.sf.4"}}

    assert host.call("ADD", config).result["interfaces"][0]["mac"] == MAC


@pytest.mark.parametrize("driver", ["vfio-pci", "uio_pci_generic", "igb_uio"])
def test_a_device_of_a_user_space_driver_is_not_moved_and_has_addresses_only(host, driver):
    host.sh(f"{BUS} ln -sfn /sys/bus/pci/drivers/{driver} /sys/bus/pci/devices/{NIC}/driver")
    config = _config(device="", pciBusID=NIC)

    result = host.call("ADD", config).result

    assert "interfaces" not in result
    assert [ip["address"] for ip in result["ips"]] == ["10.1.0.2/24", "fd00::2/64"]
    assert all("interface" not in ip for ip in result["ips"])
    assert host.names(netns=C1) == set()
    assert host.call("CHECK", config | {"prevResult": result}).result == {}
    assert host.call("STATUS", config).result == {}
    assert host.call("DEL", config).result == {}
    assert host.leases() == {}
    assert host.call("ADD", {"type": "host-device", "pciBusID": NIC}).result == {
        "cniVersion": "1.1.0"
    }


def test_dpdk_mode_may_be_said_where_no_bus_tells(host):
    config = BARE | {"DPDKMode": True}

    assert "interfaces" not in host.call("ADD", config).result
    assert host.names() == {"ens1", "far"}


@pytest.mark.parametrize("version", ["0.2.0", "0.4.0"])
def test_older_versions_can_add_check_and_delete(host, version):
    config = _config(cniVersion=version)
    result = host.call("ADD", config).result

    assert result["cniVersion"] == version
    if version != "0.2.0":
        assert host.call("CHECK", config | {"prevResult": result}).status == 0
    assert host.call("DEL", config).result == {}
    assert _is_home(host)


# ADD that fails: the device is where it was, and as it was


def _shown(host: Any) -> list[Any]:
    """Return what the host shows of the device: flags, alias, addresses, routes."""
    [link] = host.ip("addr show dev ens1")
    addresses = sorted((a["local"], a["prefixlen"], a["scope"]) for a in link["addr_info"])
    routes = sorted(host.sh("ip route show table all; ip -6 route show table all").splitlines())
    flags = [link["flags"], link["operstate"], link.get("ifalias"), link.get("master")]
    # A moment after it is up again, the kernel gives it its link-local address.
    return [flags, [a for a in addresses if a[2] != "link"], [r for r in routes if "fe80" not in r]]


def _settled(host: Any) -> None:
    """Wait for the news of a carrier, which come a moment later."""
    host.sh(
        "for i in $(seq 30); do "
        "ip link show ens1 | grep -q 'NO-CARR\\|LOWERLAYER\\|M-DOWN' || exit 0; sleep .2; done"
    )


@pytest.mark.parametrize(
    "script", ["true", "ip link set ens1 alias uplink", "ip link set ens1 down"]
)
@pytest.mark.parametrize("refused", ["by IPAM", "by the kernel", "by the container"])
def test_what_fails_leaves_the_device_as_it_was(host, refused, script):
    host.sh(script)
    _settled(host)
    before = _shown(host)
    config = _config()
    if refused == "by IPAM":
        config["ipam"]["ranges"] = [[{"subnet": "10.1.0.0/30", "rangeStart": "10.1.0.2"}]]
        host.sh(
            "mkdir -p /var/lib/cni/networks/demo; echo c9 > /var/lib/cni/networks/demo/10.1.0.2"
        )
    elif refused == "by the kernel":
        config["ipam"]["routes"] = [{"dst": "10.9.0.0/16", "gw": "192.0.2.1"}]
    else:
        host.sh("ip link add eth0 type bridge", netns=C1)

    code, message = host.call("ADD", config).refusal

    assert code == 999
    wanted = {
        "by IPAM": "no IP addresses available",
        "by the kernel": "Network is unreachable",
        "by the container": 'container interface name ("eth0") already exists',
    }
    assert wanted[refused] in message
    _settled(host)
    assert _shown(host) == before
    assert host.names(netns=C1) - {"eth0"} == set()
    assert set(host.leases()) - {"10.1.0.2"} == set()


@pytest.mark.parametrize("alias", ["", "uplink"])
def test_a_step_that_fails_on_the_way_is_undone_with_those_before_it(host, monkeypatch, alias):
    """The container gets an interface of that name in the last moment."""
    host.sh(f"ip link set ens1 alias '{alias}'")
    _settled(host)
    before = _shown(host)
    move = host_device_moves._move  # noqa: SLF001

    def late(start: str, name: str, target: tuple[str, str, str]) -> None:
        if target[0] == C1:
            subprocess.run(["ip", "-n", "c1", "link", "add", "eth0", "type", "bridge"], check=True)
        move(start, name, target)

    monkeypatch.setattr(host_device_moves, "_move", late)
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": C1,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/nowhere",
    }
    stdin = json.dumps(BARE | {"cniVersion": "1.1.0", "name": "demo"}).encode()

    with pytest.raises(CniError, match="failed to move link ens1: move link: File exists"):
        host.node.run(respond, host_device.PLUGIN, environment, lambda: stdin)

    _settled(host)
    assert _shown(host) == before


def test_a_name_that_the_kernel_takes_for_a_pattern_is_refused(host):
    assert host.call("ADD", BARE, ifname="eth%d").refusal == (4, "interface name contains %")
    assert "192.0.2.9/24" in host.addresses("ens1")


def test_a_port_of_a_bridge_is_one_again(host):
    host.sh("ip link add br0 type bridge; ip link set ens1 master br0")
    config = _config()
    config["ipam"]["routes"] = [{"dst": "10.9.0.0/16", "gw": "192.0.2.1"}]

    assert host.call("ADD", config).status == 1

    assert _link(host, "ens1", netns="")["master"] == "br0"


def test_a_device_that_may_not_leave_stays(host):
    host.sh("ip link add cage type bridge")  # a bridge belongs to its namespace

    code, message = host.call("ADD", BARE | {"device": "cage"}).refusal

    assert (code, message[:30]) == (999, "failed to move link cage: move")
    assert host.names() == {"ens1", "far", "cage"}
    assert "ifalias" not in _link(host, "cage", netns="")


@pytest.mark.parametrize(
    ("keys", "code", "message"),
    [
        ({"device": ""}, 7, 'specify either "device", "hwaddr", "kernelpath" or "pciBusID"'),
        (
            {"device": "nope"},
            999,
            'failed to find host device: there is no link "nope" on the host',
        ),
        (
            {"device": "", "hwaddr": "02:00:00:00:00:ff"},
            999,
            "failed to find host device: failed to find physical interface",
        ),
        (
            {"device": "", "hwaddr": "zz"},
            999,
            'failed to find host device: failed to parse MAC address "zz"',
        ),
        (
            {"device": "", "kernelpath": "/etc"},
            999,
            f'{UNFOUND}: kernel device path "/etc" must be absolute and begin with /sys/devices/',
        ),
        (
            {"device": "", "kernelpath": "/sys/devices/../etc"},
            999,
            f'{UNFOUND}: kernel device path "/sys/devices/../etc" must be absolute and begin with /sys/devices/',
        ),
        (
            {"device": "", "pciBusID": "0000:ff:1f.6"},
            999,
            "failed to find host device: no net directory under /sys/bus/pci/devices/0000:ff:1f.6",
        ),
        (
            {"device": "", "pciBusID": "../../../class"},
            7,
            "pciBusID '../../../class' is no name of a device on a bus",
        ),
        (
            {"device": "", "runtimeConfig": {"deviceID": "0000:ff:1f.6"}},
            999,
            "runtime config DeviceID 0000:ff:1f.6 not found or unsupported",
        ),
        (
            {"device": "", "runtimeConfig": {"deviceID": ".."}},
            7,
            "deviceID '..' is no name of a device on a bus",
        ),
    ],
)
def test_a_wrong_value_is_an_error_and_leaves_nothing(host, keys, code, message):
    assert host.call("ADD", _config(**keys)).refusal == (code, message)
    assert host.names() == {"ens1", "far"}
    assert (host.names(netns=C1), host.leases()) == (set(), {})


def test_a_missing_namespace_is_code_8_before_any_work(host):
    assert host.call("ADD", _config(), netns="/run/netns/gone").refusal[0] == 8
    assert "192.0.2.9/24" in host.addresses("ens1")


def test_hardware_addresses_are_compared_by_their_digits():
    assert host_devices.plain_mac("02-00-00-00-00-0A") == "02000000000a"
    assert host_devices.plain_mac(":".join(["80"] * 20)) == "80" * 20
    for wrong in ("", "02:00", "02:00:00:00:00:0g", "02:00:00:00:00:0a:0b"):
        with pytest.raises(InvalidConfigError):
            host_devices.plain_mac(wrong)


# CHECK

DRIFTS = {
    "ip link set eth0 down": "interface eth0 is down",
    "ip link set eth0 down name x": "interface eth0 is gone",
    "ip link set eth0 address 02:00:00:00:00:07": f"eth0 has address 02:00:00:00:00:07, not {MAC}",
    "ip addr del fd00::2/64 dev eth0": "Failed to match addr fd00::2/64",
    "ip route del default": "Expected Route 0.0.0.0/0",
    "ip link set eth0 alias ''": "eth0 has lost its alias, its name on the host",
    "ip link set eth0 alias ens7": "eth0 is ens7 of the host, not ens1",
}


@pytest.mark.parametrize("script", DRIFTS)
def test_check_notices(host, script):
    config = _config()
    result = host.call("ADD", config).result

    host.sh(script, netns=C1)

    assert DRIFTS[script] in host.call("CHECK", config | {"prevResult": result}).refusal[1]


def test_check_notices_another_device_and_a_lease_that_is_gone(host):
    config = _config(device="", hwaddr=MAC)
    result = host.call("ADD", config).result
    whole = config | {"prevResult": result}

    assert host.call("CHECK", whole | {"hwaddr": "02:00:00:00:00:0b"}).refusal == (
        999,
        f"eth0 has address {MAC}, not 02:00:00:00:00:0b",
    )
    assert host.call("CHECK", config).refusal == (7, "Required prevResult missing")
    host.sh("rm /var/lib/cni/networks/demo/10.1.0.2")
    assert host.call("CHECK", whole).refusal[0] == 999


# DEL when something is gone


@pytest.mark.parametrize("netns", ["", "/run/netns/gone"])
def test_delete_without_a_namespace_releases_the_lease(host, netns):
    """The reference leaks it (plugins#1196)."""
    host.call("ADD", _config())

    assert host.call("DEL", _config(), netns=netns).result == {}
    assert host.leases() == {}


def test_delete_needs_no_valid_configuration_and_no_device(host):
    host.call("ADD", _config())

    assert host.call("DEL", _config(device="", pciBusID="..", hwaddr="zz")).result == {}
    assert _is_home(host)
    host.sh("ip link del ens1")
    assert host.call("DEL", _config()).result == {}


@pytest.mark.parametrize("known", ["by its name on the host", "by its hardware address"])
def test_a_device_that_was_renamed_in_the_container_comes_back(host, known):
    """The reference fails (plugins#773)."""
    config = BARE if known == "by its name on the host" else {"type": "host-device", "hwaddr": MAC}
    result = host.call("ADD", config).result
    host.sh("ip link set eth0 down name renamed", netns=C1)

    assert host.call("DEL", config | {"prevResult": result}).result == {}

    assert _is_home(host)


def test_an_interface_that_was_not_moved_here_stays(host):
    host.sh("ip link add eth0 type bridge", netns=C1)

    answer = host.call("DEL", BARE)

    assert answer.result == {}
    assert "eth0 has no alias" in answer.stderr
    assert host.names(netns=C1) == {"eth0"}


def test_a_name_that_is_taken_on_the_host_is_an_error_and_the_device_stays_whole(host):
    config = _config()
    result = host.call("ADD", config).result
    host.sh("ip link add ens1 type bridge")

    code, message = host.call("DEL", config).refusal

    assert (code, message) == (
        999,
        'failed to move eth0 back: the host has an interface "ens1"',
    )
    assert host.addresses("eth0", netns=C1) == {"10.1.0.2/24", "fd00::2/64"}
    host.sh("ip link del ens1")
    assert host.call("DEL", config | {"prevResult": result}).result == {}
    assert _is_home(host)


def test_an_alias_that_is_no_name_is_an_error(host):
    host.call("ADD", BARE)
    host.sh("ip link set eth0 alias 'a/b'", netns=C1)

    assert host.call("DEL", BARE).refusal == (999, "eth0 cannot be called 'a/b' on the host")
    assert host.names(netns=C1) == {"eth0"}


@pytest.mark.parametrize("name", ["eth0", "dev7"])
def test_a_device_that_the_kernel_sent_home_gets_its_name_back(host, name):
    """A physical one comes back as it was called in the container; here it is put there so."""
    result = host.call("ADD", BARE).result
    host.call("DEL", BARE)
    host.sh(f"ip link set ens1 down name {name}; ip link set {name} up alias ens1; ip netns del c1")

    host.call("DEL", BARE)
    assert host.names() == {name, "far"}  # nobody told which one it was
    assert host.call("DEL", BARE | {"prevResult": result}).result == {}

    host.container("c1")
    assert _is_home(host)


def test_another_device_with_an_alias_is_nobody_s_business(host):
    result = host.call("ADD", BARE).result
    host.call("DEL", BARE)
    host.sh("ip link set ens1 up alias uplink; ip link set far alias downlink name eth0")

    assert host.call("DEL", BARE | {"prevResult": result}).result == {}

    assert host.names() == {"ens1", "eth0"}


# GC and STATUS


def test_gc_releases_what_is_not_valid_and_moves_nothing(host):
    host.call("ADD", _config())
    valid = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}

    assert host.call("GC", _config() | valid).result == {}
    assert len(host.leases()) == 2
    assert host.call("GC", _config() | {"cni.dev/valid-attachments": []}).result == {}

    assert host.leases() == {}
    assert host.names(netns=C1) == {"eth0"}


def test_status_is_the_device_s_and_ipam_s(host):
    config = _config(("10.1.0.0/30",))
    assert host.call("STATUS", config).result == {}
    assert host.call("STATUS", BARE | {"device": ""}).result == {}  # the runtime will say which

    assert host.call("STATUS", BARE | {"device": "nope"}).refusal[0] == 50
    host.call("ADD", config)
    assert host.call("STATUS", config | {"device": "far"}).refusal == (
        50,
        "no IP addresses available in range set 0: 10.1.0.1-10.1.0.2",
    )


# With the reference

OLDER: dict[str, Any] = {"cniVersion": "1.0.0"}
REFERENCE = {
    "dual stack": _config(**OLDER),
    "by address": _config(("10.1.0.0/24",), device="", hwaddr=MAC, cniVersion="0.4.0"),
    "layer 2": BARE | OLDER,
    "the oldest": _config(("10.1.0.0/24",), cniVersion="0.2.0"),
}


def _everything(host: Any) -> list[object]:
    """Return the state of both sides; the alias only inside, where both have it."""
    inside = [link.get("ifalias") for link in host.ip("link show", netns=C1)]
    return [host.state(), host.state(netns=C1), inside, host.leases()]


def _plain(result: Any) -> Any:
    result.pop("dns", None)
    return result


@pytest.mark.parametrize("name", REFERENCE)
def test_ours_and_the_reference_make_the_same(host, debian_plugins, name):
    """After ADD, a second ADD, CHECK and DEL; what the reference fails at is tested above."""
    config = REFERENCE[name]
    host.sh("sysctl -q -w net.ipv6.conf.default.accept_dad=0", netns=C1)
    host.container("c2")  # for the far end, whose news of a carrier come when they come
    host.sh("ip link set far netns c2; ip -n c2 link set far up")
    seen: list[list[object]] = []
    for directory in ({}, {"directory": debian_plugins}):
        host.sh("rm -rf /var/lib/cni; ip link set ens1 alias ''; ip link set ens1 down")
        host.sh("ip addr flush dev ens1; ip link set ens1 up")
        added = host.call("ADD", config, **directory).result
        steps: list[object] = [_everything(host)]
        steps += [host.call("ADD", config, **directory).status, _everything(host)]
        if config["cniVersion"] != "0.2.0":
            check = config | {"prevResult": dict(added)}
            steps += [host.call("CHECK", check, **directory).status]
        steps += [host.call("DEL", config, **directory).status, _everything(host)]
        seen.append([_plain(added), *steps])

    for ours, theirs in zip(*seen, strict=True):
        assert ours == theirs


@pytest.mark.parametrize("ours_first", [True, False])
def test_what_one_adds_the_other_checks_and_deletes(host, debian_plugins, ours_first):
    config = REFERENCE["dual stack"]
    both = [{}, {"directory": debian_plugins}]
    one, other = both if ours_first else both[::-1]
    result = host.call("ADD", config, **one).result

    assert host.call("CHECK", config | {"prevResult": result}, **other).result == {}
    assert host.call("DEL", config | {"prevResult": result}, **other).result == {}

    assert _is_home(host, alias="ens1" if ours_first else None)  # 1.1.1 leaves it
