"""macvlan: an interface of its own on one of the host's, which is an end of a pair here.

Every call is a process in a host in memory, as a runtime makes it.
"""

from collections.abc import Sequence
from typing import Any

import pytest

from podnet.cni.versions import Verb
from podnet.cni.wire import Fields
from podnet.kernel import virtual_links
from podnet.kernel.netlink import AlreadyThereError, Netlink
from podnet.kernel.virtual_links import NewLink
from podnet_plugins import sublinks
from podnet_plugins.skel import Call

C1 = "/run/netns/c1"
L2 = {"type": "macvlan", "master": "m0"}
MAC = "02:00:00:00:00:01"


def _config(
    subnets: Sequence[str] = ("10.1.0.0/24", "fd00::/64"),
    routes: Sequence[str] = ("0.0.0.0/0", "::/0"),
    **keys: Any,
) -> dict[str, Any]:
    ipam: dict[str, Any] = {
        "type": "host-local",
        "ranges": [[{"subnet": subnet}] for subnet in subnets],
        "routes": [{"dst": dst} for dst in routes],
    }
    return L2 | {"ipam": ipam} | keys


@pytest.fixture
def host(host: Any) -> Any:
    """A host with a container, and a pair: m0, and m1 with the gateway's addresses."""
    host.container("c1")
    host.sh(
        "sysctl -q -w net.ipv6.conf.default.accept_dad=0; ip link add m0 type veth peer name m1; "
        "ip link set m0 up; ip link set m1 up; ip addr add 10.1.0.1/24 dev m1; "
        "ip addr add fd00::1/64 dev m1"
    )
    return host


def _link(host: Any, name: str = "eth0", *, netns: str = C1) -> Any:
    [link] = host.ip(f"-d link show dev {name}", netns=netns)
    return link


def _data(host: Any) -> Any:
    return _link(host)["linkinfo"]["info_data"]


def _nothing_left(host: Any) -> bool:
    return bool(host.names(netns=C1) == set() and host.leases() == {})


# ADD


def test_a_container_gets_an_interface_on_the_master_with_addresses_and_routes(host):
    result = host.call("ADD", _config()).result

    assert result["interfaces"] == [
        {"name": "eth0", "mac": _link(host)["address"], "sandbox": C1},
    ]
    assert [(ip["interface"], ip["address"]) for ip in result["ips"]] == [
        (0, "10.1.0.2/24"),
        (0, "fd00::2/64"),
    ]
    assert result["routes"] == [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    assert _link(host)["linkinfo"]["info_kind"] == "macvlan"
    assert _data(host)["mode"] == "bridge"
    assert _link(host)["link_index"] == _link(host, "m0", netns="")["ifindex"]
    assert host.names() == {"m0", "m1"}
    for gateway in ("10.1.0.1", "fd00::1"):
        assert host.reaches(gateway, netns=C1)


def test_two_containers_reach_each_other(host):
    host.container("c2")
    for cid in ("c1", "c2"):
        assert host.call("ADD", _config(), cid=cid).status == 0

    assert host.reaches("10.1.0.3", netns=C1)


def test_the_host_may_have_an_interface_of_the_same_name(host):
    host.sh("ip link set m0 down; ip link set m0 name eth0; ip link set eth0 up")

    assert host.call("ADD", _config(master="eth0")).status == 0
    assert host.reaches("10.1.0.1", netns=C1)


def test_without_ipam_the_interface_is_up_and_has_no_address(host):
    result = host.call("ADD", L2).result

    assert set(result) == {"cniVersion", "interfaces"}
    assert "UP" in _link(host)["flags"]
    assert host.addresses("eth0", netns=C1) == set()
    assert host.sh("sysctl -n net.ipv4.conf.eth0.arp_notify", netns=C1) == "0\n"
    assert host.call("CHECK", L2 | {"prevResult": result}).status == 0


def test_addresses_are_announced_when_the_link_comes_up(host):
    host.call("ADD", _config())

    keys = "net.ipv4.conf.eth0.arp_notify net.ipv6.conf.eth0.ndisc_notify"
    assert host.sh(f"sysctl -n {keys}", netns=C1) == "1\n1\n"


@pytest.mark.parametrize("mode", ["", "bridge", "private", "vepa", "passthru"])
def test_the_mode_is_the_link_s(host, mode):
    config = L2 | {"mode": mode}

    result = host.call("ADD", config).result

    assert _data(host)["mode"] == (mode or "bridge")
    assert host.call("CHECK", config | {"prevResult": result}).result == {}


def test_mtu_and_bcqueuelen_are_the_link_s(host):
    config = L2 | {"mtu": 1400, "bcqueuelen": 2000}

    result = host.call("ADD", config).result

    assert _link(host)["mtu"] == 1400
    assert _data(host)["bcqueuelen"] == 2000
    assert host.call("CHECK", config | {"prevResult": result}).result == {}


@pytest.mark.parametrize(
    ("keys", "args", "mac"),
    [
        ({"mac": MAC}, "", MAC),
        ({"mac": "02:00:00:00:00:02"}, f"MAC={MAC}", MAC),
        ({"runtimeConfig": {"mac": MAC}}, "MAC=02:00:00:00:00:03", MAC),
    ],
    ids=["the configuration's", "CNI_ARGS'", "the capability's"],
)
def test_the_last_hardware_address_that_is_asked_for_counts(host, keys, args, mac):
    result = host.call("ADD", L2 | keys, CNI_ARGS=args).result

    assert result["interfaces"][0]["mac"] == _link(host)["address"] == mac


@pytest.mark.parametrize("family", ["", "-6"])
def test_the_master_is_the_default_route_s_interface_by_default(host, family):
    gateway = "fd00::9" if family else "10.1.0.9"
    host.sh(f"ip {family} route add default via {gateway} dev m1")

    result = host.call("ADD", L2 | {"master": ""}).result

    assert _link(host)["link_index"] == _link(host, "m1", netns="")["ifindex"]
    assert host.call("CHECK", L2 | {"master": "", "prevResult": result}).status == 0


def test_the_first_hop_of_a_default_route_with_several_counts(host):
    host.sh("ip route add default nexthop via 10.1.0.9 dev m1 nexthop via 10.1.0.8 dev m1")

    assert host.call("ADD", L2 | {"master": None}).status == 0
    assert _link(host)["link_index"] == _link(host, "m1", netns="")["ifindex"]


@pytest.mark.parametrize("master", ["p0", ""])
def test_the_master_may_be_in_the_container(host, master):
    host.sh(
        "ip link add p0 type veth peer name p1; ip link set p0 up; ip link set p1 up; "
        "ip addr add 10.7.0.1/24 dev p0; ip route add default via 10.7.0.2",
        netns=C1,
    )
    config = L2 | {"master": master, "linkInContainer": True}

    result = host.call("ADD", config).result

    assert _link(host)["link"] == "p0"
    assert host.call("CHECK", config | {"prevResult": result}).result == {}
    assert host.call("DEL", config).result == {}
    assert host.names(netns=C1) == {"p0", "p1"}


def test_the_dns_is_the_configuration_s(host):
    own = {"nameservers": ["10.1.0.99"]}

    assert host.call("ADD", _config(dns=own)).result["dns"] == own


@pytest.mark.parametrize("version", ["0.2.0", "0.4.0"])
def test_older_versions_can_add_check_and_delete(host, version):
    config = _config(cniVersion=version)
    result = host.call("ADD", config).result

    assert result["cniVersion"] == version
    if version != "0.2.0":
        assert host.call("CHECK", config | {"prevResult": result}).status == 0
    assert host.call("DEL", config).result == {}
    assert _nothing_left(host)


def test_kernels_that_want_the_name_free_on_the_host_get_another_one_first(host):
    """Before Linux 6.14."""
    tried: list[str] = []

    def add(netlink: Netlink, new: NewLink) -> None:
        tried.append(new.name)
        if new.name == "eth0":
            raise AlreadyThereError(17, "File exists")
        virtual_links.add_macvlan(netlink, new, mode="bridge")

    def work() -> None:
        call = Call(verb=Verb.ADD, netns=C1, ifname="eth0", config=Fields({}))
        sublinks.make(call, sublinks.Place(master="m0"), add)

    host.node.run(work)

    assert (tried[0], len(tried)) == ("eth0", 2)
    assert host.names(netns=C1) == {"eth0"}
    assert host.names() == {"m0", "m1"}


# ADD that fails


@pytest.mark.parametrize(
    ("keys", "code", "message"),
    [
        ({"mode": "x"}, 7, 'unknown macvlan mode: "x"'),
        ({"mtu": 1501}, 7, "invalid MTU 1501, must be [0, master MTU(1500)]"),
        ({"mtu": -1}, 7, "mtu must be at least 0, not -1"),
        ({"mtu": 1500.5}, 6, "mtu must be a whole number, not 1500.5"),
        ({"master": "nope"}, 999, 'master interface "nope" not found'),
        ({"master": ""}, 999, "no default route interface found"),
        ({"mac": "zz"}, 7, "invalid args zz for MAC addr: address zz: invalid MAC address"),
        ({"master": "lo"}, 999, "add macvlan eth0: Invalid argument"),
        ({"linkInContainer": True}, 999, 'master interface "m0" not found'),
    ],
)
def test_a_wrong_value_is_an_error_and_leaves_nothing(host, keys, code, message):
    assert host.call("ADD", _config(**keys)).refusal == (code, message)
    assert _nothing_left(host)


def test_an_unknown_argument_is_an_error_unless_it_is_to_be_ignored(host):
    assert host.call("ADD", L2, CNI_ARGS="A=1").refusal == (4, 'ARGS: unknown args ["A=1"]')
    assert host.call("ADD", L2, CNI_ARGS="A=1;IgnoreUnknown=1").status == 0


def test_exhausted_ipam_leaves_no_link_and_passes_its_error_on(host):
    """The reference leaves it."""
    config = _config(("10.1.0.0/30",), ())
    host.container("c2")
    assert host.call("ADD", config, cid="c2").status == 0

    code, msg = host.call("ADD", config).refusal

    assert code == 999
    assert "no IP addresses available in range set: 10.1.0.1-10.1.0.2" in msg
    assert host.names(netns=C1) == set()
    assert set(host.leases().values()) == {"c2\r\neth0"}


def test_a_route_that_the_kernel_refuses_leaves_nothing(host):
    config = _config()
    config["ipam"]["routes"] = [{"dst": "10.9.0.0/16", "gw": "192.0.2.1"}]

    assert "Network is unreachable" in host.call("ADD", config).error["msg"]
    assert _nothing_left(host)


def test_a_second_add_is_an_error_and_the_first_one_s_work_stays(host):
    config = _config()
    result = host.call("ADD", config).result

    _, msg = host.call("ADD", config).refusal

    assert msg == 'container interface name ("eth0") already exists'
    assert host.call("CHECK", config | {"prevResult": result}).status == 0


def test_a_missing_namespace_is_code_8(host):
    assert host.call("ADD", _config(), netns="/run/netns/gone").refusal[0] == 8
    assert host.leases() == {}


# CHECK


def test_check_needs_prev_result_of_this_container(host):
    host.container("c2")
    result = host.call("ADD", L2).result
    other = host.call("ADD", L2, cid="c2").result

    assert host.call("CHECK", L2).refusal == (7, "Required prevResult missing")
    assert host.call("CHECK", L2 | {"prevResult": other}).refusal == (
        999,
        f"prevResult does not have eth0 in {C1}",
    )
    assert host.call("CHECK", L2 | {"prevResult": result}).result == {}


DRIFTS = {
    "the interface is gone": (C1, "ip link del eth0", "interface eth0 is gone"),
    "the master is gone": ("", "ip link del m0", "interface eth0 is gone"),
    "the interface is another kind": (
        C1,
        "ip link del eth0; ip link add eth0 type bridge",
        "eth0 is not a macvlan",
    ),
    "the interface is down": (C1, "ip link set eth0 down", "interface eth0 is down"),
    "another MAC": (C1, "ip link set eth0 address 02:00:00:00:00:07", "eth0 has address 02:00"),
    "another MTU": (C1, "ip link set eth0 mtu 1300", "eth0 has MTU 1300, not 1400"),
    "another mode": (
        C1,
        "ip link set eth0 type macvlan mode private",
        "eth0 is in mode private, not bridge",
    ),
    "another broadcast queue": (
        C1,
        "ip link set eth0 type macvlan bcqueuelen 7",
        "eth0 has bcqueuelen 7, not 2000",
    ),
    "another master": (
        "",
        "ip link set m0 down name m9; ip link set m1 down name m0; ip link set m0 up; ip link set m9 up",
        "eth0 does not hang on m0",
    ),
    "the address is gone": (
        C1,
        "ip addr del 10.1.0.2/24 dev eth0",
        "Failed to match addr 10.1.0.2/24 on interface eth0",
    ),
    "the IPv6 address is gone": (
        C1,
        "ip addr del fd00::2/64 dev eth0",
        "Failed to match addr fd00::2/64 on interface eth0",
    ),
    "the default route is gone": (C1, "ip route del default", "Expected Route 0.0.0.0/0"),
    "the IPv6 default route is gone": (C1, "ip -6 route del default", "Expected Route ::/0"),
    "the lease is gone": (
        "",
        "rm /var/lib/cni/networks/demo/10.1.0.2",
        "host-local: 10.1.0.2 is not leased to c1 any more",
    ),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_check_notices_that(host, drift):
    netns, script, text = DRIFTS[drift]
    config = _config(mtu=1400, bcqueuelen=2000)
    result = host.call("ADD", config).result

    host.sh(script, netns=netns)
    code, msg = host.call("CHECK", config | {"prevResult": result}).refusal

    assert text in msg
    assert code == 999


def test_check_tells_the_host_s_master_from_one_in_the_container_with_its_name_and_number(host):
    result = host.call("ADD", L2).result
    [m0] = host.ip("link show dev m0")
    host.sh(f"ip link add m0 index {m0['ifindex']} type bridge", netns=C1)

    config = L2 | {"linkInContainer": True, "prevResult": result}
    assert host.call("CHECK", config).refusal == (999, "eth0 does not hang on m0")


# DEL, GC and STATUS


def test_delete_removes_link_and_lease_and_may_be_repeated(host):
    config = _config()
    result = host.call("ADD", config).result

    for _ in range(2):
        assert host.call("DEL", config | {"prevResult": result}).result == {}
        assert _nothing_left(host)


@pytest.mark.parametrize(
    "script",
    [
        "ip link del m0",
        "ip netns exec c1 ip link del eth0",
        "ip netns del c1",
    ],
)
def test_delete_releases_the_lease_whatever_is_gone(host, script):
    """The reference's 1.1.1 fails without its master."""
    host.call("ADD", _config())
    host.sh(script)

    assert host.call("DEL", _config()).result == {}
    assert host.leases() == {}


@pytest.mark.parametrize("netns", ["", "/run/netns/gone"])
def test_delete_without_a_namespace_releases_the_lease(host, netns):
    host.call("ADD", _config())

    assert host.call("DEL", _config(), netns=netns).result == {}
    assert host.leases() == {}


def test_delete_needs_no_valid_configuration(host):
    host.call("ADD", _config())

    assert host.call("DEL", _config(mode="x", mtu=9000, master="", mac="zz")).result == {}
    assert _nothing_left(host)


def test_delete_releases_the_address_even_where_the_namespace_is_a_plain_file(host):
    host.call("ADD", _config())
    host.sh("ip netns del c1; touch /run/netns/c1")

    assert host.call("DEL", _config()).result == {}
    assert host.leases() == {}


def test_gc_releases_what_is_not_valid_and_nothing_else(host):
    host.container("c2")
    for cid in ("c1", "c2"):
        host.call("ADD", _config(), cid=cid)
    valid = {"cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "eth0"}]}

    assert host.call("GC", _config() | valid).result == {}
    assert host.call("GC", L2 | valid).result == {}

    assert set(host.leases().values()) == {"c2\r\neth0"}
    assert host.names(netns="/run/netns/c2") == {"eth0"}


def test_status_is_the_master_s_and_ipam_s(host):
    config = _config(("10.1.0.0/30",), ())
    assert host.call("STATUS", config).result == {}
    assert host.call("STATUS", L2).result == {}
    assert host.names() == {"m0", "m1"}

    assert host.call("STATUS", L2 | {"master": "nope"}).refusal == (
        51,
        'master interface "nope" not found',
    )
    assert host.call("STATUS", L2 | {"master": "nope", "linkInContainer": True}).status == 0
    assert host.call("STATUS", L2 | {"master": ""}).refusal[0] == 50
    host.sh("ip link set m0 down")
    assert host.call("STATUS", L2).refusal == (51, "master interface m0 is down")
    host.sh("ip link set m0 up")
    host.call("ADD", config)
    code, msg = host.call("STATUS", config).refusal
    assert (code, msg) == (50, "no IP addresses available in range set 0: 10.1.0.1-10.1.0.2")
