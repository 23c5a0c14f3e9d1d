"""bridge: pairs, addresses, gateways, masquerading; kernel objects seen through ``ip`` and ``nft``.

Every call is a process in a host in memory, as a runtime makes it.
"""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

SUBNET = "10.1.0.0/24"
L2 = {"type": "bridge", "bridge": "br0"}


def _config(
    subnets: Sequence[str] = (SUBNET,), routes: Sequence[str] = (), **keys: Any
) -> dict[str, Any]:
    """A gateway with addresses from *subnets*."""
    ipam: dict[str, Any] = {
        "type": "host-local",
        "ranges": [[{"subnet": subnet}] for subnet in subnets],
    }
    if routes:
        ipam["routes"] = [{"dst": dst} for dst in routes]
    return L2 | {"isGateway": True, "ipam": ipam} | keys


def _added(host: Any, config: dict[str, Any], cid: str = "c1", **more: Any) -> Any:
    """Make a container and ADD it; its result."""
    host.container(cid)
    return host.call("ADD", config, cid=cid, **more).result


def _veths(host: Any) -> set[str]:
    return {name for name in host.names() if name.startswith("veth")}


def _link(host: Any, name: str, *, netns: str = "") -> Any:
    [link] = host.ip(f"-d link show dev {name}", netns=netns)
    return link


def _port(host: Any, result: Any) -> Any:
    return _link(host, result["interfaces"][1]["name"])["linkinfo"]["info_slave_data"]


def _routes(host: Any, netns: str, family: str = "") -> set[tuple[str, str | None]]:
    return {
        (route["dst"], route.get("gateway"))
        for route in host.ip(f"{family} route show table main", netns=netns)
        if not route["dst"].startswith("fe80") and not route["dst"].startswith("ff00")
    }


def _rules(host: Any, chain: str = "masq_checks") -> Any:
    """The comments of the masquerading rules; ``None`` without the table."""
    tables = json.loads(host.sh("nft -j list tables"))["nftables"]
    if not any(entry.get("table", {}).get("name") == "cni_plugins_masquerade" for entry in tables):
        return None
    listed = json.loads(host.sh(f"nft -j list chain inet cni_plugins_masquerade {chain}"))
    return [entry["rule"].get("comment") for entry in listed["nftables"] if "rule" in entry]


def _nothing_left(host: Any) -> bool:
    return _veths(host) == set() and host.leases() == {} and not _rules(host)


# Layer 2


def test_a_container_is_plugged_into_a_bridge(host):
    result = _added(host, L2)

    bridge, outside, inside = result["interfaces"]
    assert set(result) == {"cniVersion", "interfaces"}
    assert (bridge["name"], inside["name"]) == ("br0", "eth0")
    assert inside["sandbox"] == "/run/netns/c1"
    assert "sandbox" not in bridge
    assert "sandbox" not in outside
    assert host.names() == {"br0", outside["name"]}
    assert host.names(netns="/run/netns/c1") == {"eth0"}
    port, eth0 = _link(host, outside["name"]), _link(host, "eth0", netns="/run/netns/c1")
    assert (port["master"], port["operstate"]) == ("br0", "UP")
    assert [link["linkinfo"]["info_kind"] for link in (port, eth0)] == ["veth", "veth"]
    assert port["link_index"] == eth0["ifindex"]
    assert [bridge["mac"], outside["mac"], inside["mac"]] == [
        _link(host, "br0")["address"],
        port["address"],
        eth0["address"],
    ]


def test_two_containers_reach_each_other(host):
    for number in (1, 2):
        _added(host, L2, f"c{number}")
        host.sh(f"ip addr add 10.9.0.{number}/24 dev eth0", netns=f"/run/netns/c{number}")

    assert host.reaches("10.9.0.2", netns="/run/netns/c1")


def test_without_ipam_no_address_and_no_forwarding(host):
    _added(host, L2 | {"isGateway": True})

    assert host.addresses("eth0", netns="/run/netns/c1") == set()
    assert host.addresses("br0") == set()
    assert host.sh("sysctl -n net.ipv4.ip_forward") == "0\n"


def test_a_container_s_interface_may_stay_down(host):
    netns = host.container("c1")
    config = L2 | {"disableContainerInterface": True}

    result = host.call("ADD", config).result

    assert "UP" not in _link(host, "eth0", netns=netns)["flags"]
    assert host.call("CHECK", config | {"prevResult": result}).status == 0


def test_a_container_may_have_interfaces_on_two_networks(host):
    _added(host, L2)
    second = L2 | {"name": "other", "bridge": "br1"}

    host.call("ADD", second, ifname="net1")
    assert host.names(netns="/run/netns/c1") == {"eth0", "net1"}
    host.call("DEL", second, ifname="net1")

    assert host.names(netns="/run/netns/c1") == {"eth0"}
    assert len(_veths(host)) == 1


# Keys


def test_mtu_is_the_bridge_s_and_both_ends(host):
    result = _added(host, L2 | {"mtu": 1400})

    mtus = [_link(host, name)["mtu"] for name in ("br0", result["interfaces"][1]["name"])]
    assert [*mtus, _link(host, "eth0", netns="/run/netns/c1")["mtu"]] == [1400, 1400, 1400]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, (False, False)),
        ({"hairpinMode": True}, (True, False)),
        ({"portIsolation": True}, (False, True)),
    ],
)
def test_hairpin_and_isolation_are_the_port_s(host, keys, expected):
    port = _port(host, _added(host, L2 | keys))

    assert (port["hairpin"], port["isolated"]) == expected


def test_isolated_ports_do_not_reach_each_other(host):
    for number in (1, 2):
        _added(host, L2 | {"portIsolation": True}, f"c{number}")
        host.sh(f"ip addr add 10.9.0.{number}/24 dev eth0", netns=f"/run/netns/c{number}")

    assert not host.reaches("10.9.0.2", netns="/run/netns/c1", timeout=0.3)


def test_promiscuous_mode_is_the_bridge_s(host):
    _added(host, L2 | {"promiscMode": True})

    assert "PROMISC" in _link(host, "br0")["flags"]


def test_promiscuous_mode_is_set_on_a_bridge_that_is_there(host):
    host.sh("ip link add br0 type bridge")
    _added(host, L2 | {"promiscMode": True})

    assert "PROMISC" in _link(host, "br0")["flags"]


def test_the_container_s_mac_may_be_asked_for(host):
    result = _added(host, L2 | {"runtimeConfig": {"mac": "02:00:00:00:00:01"}})

    assert result["interfaces"][2]["mac"] == "02:00:00:00:00:01"
    assert _link(host, "eth0", netns="/run/netns/c1")["address"] == "02:00:00:00:00:01"


def test_the_bridge_is_called_cni0_by_default(host):
    assert _added(host, {"type": "bridge"})["interfaces"][0]["name"] == "cni0"


def test_the_configuration_s_dns_replaces_ipam_s(host):
    host.sh("echo nameserver 10.1.0.53 > /run/resolv.conf")
    config = _config()
    config["ipam"]["resolvConf"] = "/run/resolv.conf"

    from_ipam = _added(host, config)
    own = _added(host, config | {"dns": {"nameservers": ["10.1.0.99"]}}, "c2")

    assert from_ipam["dns"] == {"nameservers": ["10.1.0.53"]}
    assert own["dns"] == {"nameservers": ["10.1.0.99"]}


# Addresses and gateways


def test_addresses_are_given_to_the_container(host):
    result = _added(host, _config((SUBNET, "fd00::/64"), isGateway=False))

    assert result["ips"] == [
        {"interface": 2, "address": "10.1.0.2/24", "gateway": "10.1.0.1"},
        {"interface": 2, "address": "fd00::2/64", "gateway": "fd00::1"},
    ]
    assert host.addresses("eth0", netns="/run/netns/c1") == {"10.1.0.2/24", "fd00::2/64"}
    assert host.addresses("br0") == set()


def test_a_gateway_has_the_first_addresses_and_forwards(host):
    _added(host, _config((SUBNET, "fd00::/64")))

    assert host.addresses("br0") == {"10.1.0.1/24", "fd00::1/64"}
    printed = host.sh("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding")
    assert printed == "1\n1\n"
    for gateway in ("10.1.0.1", "fd00::1"):
        assert host.reaches(gateway, netns="/run/netns/c1")


def test_forwarding_is_switched_on_for_the_families_in_use_only(host):
    _added(host, _config())

    printed = host.sh("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding")
    assert printed == "1\n0\n"


def test_a_gateway_alone_adds_no_default_route(host):
    result = _added(host, _config())

    assert "routes" not in result
    assert _routes(host, "/run/netns/c1") == {(SUBNET, None)}


def test_a_default_gateway_adds_a_default_route_per_family(host):
    result = _added(host, _config((SUBNET, "fd00::/64"), isDefaultGateway=True))

    assert result["routes"] == [
        {"dst": "0.0.0.0/0", "gw": "10.1.0.1"},
        {"dst": "::/0", "gw": "fd00::1"},
    ]
    netns = "/run/netns/c1"
    assert _routes(host, netns) == {(SUBNET, None), ("default", "10.1.0.1")}
    assert _routes(host, netns, "-6") == {("fd00::/64", None), ("default", "fd00::1")}


def test_a_default_gateway_and_a_default_route_of_ipam_s_are_one_route(host):
    """The reference adds both, and fails with "file exists"."""
    result = _added(host, _config(routes=["0.0.0.0/0"], isDefaultGateway=True))

    assert result["routes"] == [{"dst": "0.0.0.0/0"}]
    assert _routes(host, "/run/netns/c1") == {(SUBNET, None), ("default", "10.1.0.1")}


def test_routes_of_ipam_s_go_through_the_gateway_and_keep_their_numbers(host):
    config = _config()
    config["ipam"]["routes"] = [
        {"dst": "10.9.0.0/16"},
        {"dst": "10.8.0.0/16", "gw": "10.1.0.7", "priority": 5, "mtu": 1300, "advmss": 1200},
        {"dst": "10.7.0.0/16", "table": 1234},
        {"dst": "10.6.0.0/16", "scope": 0},
    ]

    _added(host, config)

    main = host.ip("route show", netns="/run/netns/c1")
    shown = {route["dst"]: route for route in main}
    assert shown["10.9.0.0/16"]["gateway"] == "10.1.0.1"
    assert shown["10.6.0.0/16"]["gateway"] == "10.1.0.1"
    assert (shown["10.8.0.0/16"]["gateway"], shown["10.8.0.0/16"]["metric"]) == ("10.1.0.7", 5)
    [metrics] = shown["10.8.0.0/16"]["metrics"]
    assert (metrics["mtu"], metrics["advmss"]) == (1300, 1200)
    assert "10.7.0.0/16" not in shown
    [other] = host.ip("route show table 1234", netns="/run/netns/c1")
    assert other["dst"] == "10.7.0.0/16"


def test_another_address_on_the_bridge_is_in_the_way(host):
    host.sh("ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0")
    host.container("c1")

    error = host.call("ADD", _config()).error

    assert error["msg"] == (
        'failed to set bridge addr: "br0" already has an IP address different from 10.1.0.1/24'
    )
    assert error["details"] == "it has 10.5.0.1/24; forceAddress replaces it"
    assert host.addresses("br0") == {"10.5.0.1/24"}
    assert _nothing_left(host)


def test_force_address_replaces_it(host):
    host.sh("ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0")

    _added(host, _config(forceAddress=True))

    assert host.addresses("br0") == {"10.1.0.1/24"}


def test_the_right_address_on_the_bridge_is_kept(host):
    host.sh("ip link add br0 type bridge; ip addr add 10.1.0.1/24 dev br0")

    _added(host, _config())

    assert host.addresses("br0") == {"10.1.0.1/24"}


def test_ipv6_subnets_share_a_bridge_unless_they_overlap(host):
    host.sh("ip link add br0 type bridge; ip addr add fd05::1/64 dev br0 nodad")
    _added(host, _config(("fd00::/64",)))
    host.container("c2")
    overlapping = _config(("fd05::/56",), name="other")

    _, msg = host.call("ADD", overlapping, cid="c2").refusal

    assert host.addresses("br0") == {"fd05::1/64", "fd00::1/64"}
    assert msg.endswith('"br0" already has an IP address different from fd05::1/56')


def test_an_ipv6_container_does_not_wait_for_duplicate_detection(host):
    """The reference's ptp takes 2 s; nobody else was given the address."""
    host.container("c1")
    start = time.monotonic()

    answer = host.call("ADD", _config(("fd00::/64",), isDefaultGateway=True))

    assert (answer.status, time.monotonic() - start < 1) == (0, True)
    [shown] = host.ip("-6 addr show dev eth0 scope global", netns="/run/netns/c1")
    [address] = [entry for entry in shown["addr_info"] if entry]
    assert "tentative" not in address
    assert host.reaches("fd00::1", netns="/run/netns/c1")


def test_duplicate_detection_may_be_left_on(host):
    netns = host.container("c1")
    conf = "net.ipv6.conf.eth0"

    assert host.call("ADD", _config(("fd00::/64",), enabledad=True)).status == 0

    printed = host.sh(f"sysctl -n {conf}.accept_dad {conf}.enhanced_dad", netns=netns)
    assert printed == "1\n1\n"


def test_sysctls_of_the_ends_are_the_reference_s(host):
    result = _added(host, _config(("fd00::/64",)))

    outside = result["interfaces"][1]["name"]
    assert host.sh(f"sysctl -n net.ipv6.conf.{outside}.accept_ra") == "0\n"
    assert host.sh("sysctl -n net.ipv6.conf.br0.accept_ra") == "0\n"
    conf = "net.ipv6.conf.eth0"
    names = f"{conf}.accept_dad {conf}.keep_addr_on_down net.ipv4.conf.eth0.arp_notify"
    assert host.sh(f"sysctl -n {names}", netns="/run/netns/c1") == "0\n1\n1\n"


def test_ipv6_is_switched_on_in_a_container_that_has_it_off(host):
    netns = host.container("c1")
    host.sh("sysctl -q -w net.ipv6.conf.all.disable_ipv6=1", netns=netns)
    host.sh("sysctl -q -w net.ipv6.conf.default.disable_ipv6=1", netns=netns)

    assert host.call("ADD", _config(("fd00::/64",))).status == 0

    assert host.addresses("eth0", netns=netns) == {"fd00::2/64"}


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_every_version_can_add_check_and_delete(host, version):
    config = _config(isDefaultGateway=True, cniVersion=version)
    result = _added(host, config)

    assert result["cniVersion"] == version
    if version in {"0.1.0", "0.2.0"}:
        assert result["ip4"] == {
            "ip": "10.1.0.2/24",
            "gateway": "10.1.0.1",
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}],
        }
    if version not in {"0.1.0", "0.2.0", "0.3.1"}:
        assert host.call("CHECK", config | {"prevResult": result}).status == 0
    assert host.call("DEL", config).result == {}
    assert _nothing_left(host)


# The bridge's own address (plugins#620)


def test_the_bridge_keeps_its_mac_when_it_loses_all_ports(host):
    config = _config()
    before = _added(host, L2)["interfaces"][0]["mac"]
    host.call("DEL", L2)

    after = host.call("ADD", config).result["interfaces"][0]["mac"]

    assert before == after == _link(host, "br0")["address"]


def test_a_bridge_that_lost_its_mac_with_its_last_port_is_no_reason_to_fail(host):
    """Somebody else's bridge, whose address follows its ports."""
    host.sh(
        "ip link add br0 type bridge; ip link add p0 type veth peer name p1; "
        "ip link set p0 master br0; ip link del p0"
    )

    _added(host, _config())

    assert host.addresses("br0") == {"10.1.0.1/24"}


def test_a_gateway_s_mac_stays_when_ports_come_and_go(host):
    """Containers have it in their neighbour tables, and CHECK compares it."""
    host.sh("ip link add br0 type bridge")
    config = _config()
    first = _added(host, config)
    mac = first["interfaces"][0]["mac"]

    # A bridge follows the lowest address among its ports.
    host.sh("ip link add p0 address 00:00:00:00:00:01 type veth peer name p1")
    host.sh("ip link set p0 master br0")

    assert _link(host, "br0")["address"] == mac
    assert host.call("CHECK", config | {"prevResult": first}).status == 0


# Masquerading


def test_ip_masq_makes_a_rule_per_address(host):
    result = _added(host, _config((SUBNET, "fd00::/64"), ipMasq=True))

    assert len(result["ips"]) == 2
    comment = "26c669cd0814ac40-f4d01f2ef4b92245, net: demo, if: eth0, id: c1"
    assert _rules(host) == [comment, comment]
    shown = host.sh("nft list chain inet cni_plugins_masquerade masq_checks")
    assert "ip saddr 10.1.0.2 ip daddr != 10.1.0.0/24 masquerade" in shown
    assert "ip6 saddr fd00::2 ip6 daddr != fd00::/64 masquerade" in shown
    shown = host.sh("nft list chain inet cni_plugins_masquerade postrouting")
    lines = [line.strip() for line in shown.splitlines()][3:6]
    assert lines == ["ip daddr 224.0.0.0/4 return", "ip6 daddr ff00::/8 return", "goto masq_checks"]


def test_what_leaves_the_subnet_has_the_host_s_address(host):
    outside = host.container("outside")
    host.sh(f"ip link add up0 type veth peer name up1 netns {outside}")
    host.sh("ip addr add 192.0.2.1/24 dev up0; ip link set up0 up")
    host.sh("ip addr add 192.0.2.9/24 dev up1; ip link set up1 up", netns=outside)
    _added(host, _config(isDefaultGateway=True, ipMasq=True))

    # The outside has no route to 10.1.0.0/24: it answers only what comes from 192.0.2.1.
    assert host.reaches("192.0.2.9", netns="/run/netns/c1")


def test_masquerading_rules_are_not_repeated(host):
    config = _config(ipMasq=True)
    for cid in ("c1", "c2"):
        _added(host, config, cid)

    assert len(_rules(host)) == 2
    assert len(_rules(host, "postrouting")) == 3


def test_a_rule_that_an_attachment_left_is_replaced(host):
    """A crash took its interface and its lease, and it is added again."""
    config = _config(ipMasq=True)
    _added(host, config)
    host.sh("ip link del eth0", netns="/run/netns/c1")
    host.sh("rm /var/lib/cni/networks/demo/10.1.0.2")

    host.call("ADD", config)

    assert len(_rules(host)) == 1
    assert "10.1.0.3" in host.sh("nft list chain inet cni_plugins_masquerade masq_checks")


def test_a_long_name_fits_into_a_rule_s_comment(host):
    config = _config(ipMasq=True, name="n" * 90)
    cid = "c" * 64
    host.container("c1")

    assert host.call("ADD", config, cid=cid, netns="/run/netns/c1").status == 0
    assert [len(comment) for comment in _rules(host)] == [128]
    host.call("DEL", config, cid=cid, netns="/run/netns/c1")

    assert _rules(host) == []


def test_without_nft_masquerading_is_an_error_and_nothing_is_left(host):
    host.container("c1")
    config = _config(ipMasq=True)

    answer = host.call("ADD", config, PATH=_path_without_nft(host))

    assert answer.error["msg"] == "ipMasq: there is no nft program"
    assert answer.error["details"] == "apt-get install nftables"
    assert host.call("STATUS", config, PATH=_path_without_nft(host)).refusal == (
        50,
        "ipMasq needs nft, and it cannot be run",
    )
    assert _nothing_left(host)


def _path_without_nft(host: Any) -> str:
    host.sh("mkdir -p /run/bin; for p in python3 sh; do ln -sf $(command -v $p) /run/bin/$p; done")
    return "/run/bin"


def test_nothing_of_masquerading_is_left_when_what_comes_after_it_fails(host, tmp_path):
    """An nft that does its work, and then the host's end is gone."""
    host.container("c1")
    nft = tmp_path / "nft"
    nft.write_text(
        f'#!/bin/sh\n{host.sh("command -v nft").strip()} "$@" || exit\n'
        "case $1 in -f) ip netns exec c1 ip link del eth0; esac\n"
    )
    nft.chmod(0o755)
    path = f"{tmp_path}:{host.sh('printenv PATH').strip()}"

    answer = host.call("ADD", _config(ipMasq=True), PATH=path)

    assert answer.status == 1
    assert host.leases() == {}
    assert _rules(host) == []


# DEL


def _full(**keys: Any) -> dict[str, Any]:
    return _config((SUBNET, "fd00::/64"), isDefaultGateway=True, ipMasq=True, **keys)


def test_delete_removes_pair_lease_and_rules_and_may_be_repeated(host):
    config = _full()
    result = _added(host, config)

    for _ in range(2):
        assert host.call("DEL", config | {"prevResult": result}).result == {}
        assert _nothing_left(host)
        assert host.names(netns="/run/netns/c1") == set()
    assert host.addresses("br0") == {"10.1.0.1/24", "fd00::1/64"}


@pytest.mark.parametrize("netns", ["", "/run/netns/gone"])
def test_delete_without_a_namespace_removes_everything_all_the_same(host, netns):
    """Upstream leaves the rules, and the pair where the namespace only lost its name."""
    config = _full()
    _added(host, config)
    _added(host, config, "c2")

    assert host.call("DEL", config, netns=netns).result == {}

    assert len(_veths(host)) == 1
    assert set(host.leases().values()) == {"c2\r\neth0"}
    assert all(comment.endswith("id: c2") for comment in _rules(host))


def test_delete_removes_rules_also_when_the_namespace_took_the_link_along(host):
    config = _full()
    _added(host, config)
    host.sh("ip netns del c1")

    assert host.call("DEL", config).result == {}

    assert _rules(host) == []
    assert host.leases() == {}


def test_delete_removes_rules_also_when_the_link_is_gone_already(host):
    config = _full()
    _added(host, config)
    host.sh("ip link del eth0", netns="/run/netns/c1")

    assert host.call("DEL", config).result == {}

    assert _nothing_left(host)


def test_delete_of_what_was_never_added_is_success(host):
    host.container("c1")

    for netns in (None, "", "/run/netns/gone"):
        assert host.call("DEL", _full(), netns=netns).result == {}
    assert host.names() == set()


def test_delete_leaves_other_attachments_of_the_container_alone(host):
    config = _full()
    _added(host, config)
    assert host.call("ADD", config | {"isDefaultGateway": False}, ifname="eth1").status == 0

    host.call("DEL", config)

    assert host.names(netns="/run/netns/c1") == {"eth1"}
    assert set(host.leases().values()) == {"c1\r\neth1"}
    assert len(_rules(host)) == 2


def test_a_file_that_is_no_namespace_is_an_error_on_delete(host):
    host.sh("mkdir -p /run/netns; touch /run/netns/c1")

    code, msg = host.call("DEL", _config()).refusal

    assert (code, msg) == (8, '"/run/netns/c1" is not a network namespace')


# ADD that fails


def test_exhausted_ipam_leaves_no_pair_and_passes_its_error_on(host):
    config = _config(("10.1.0.0/30",))
    _added(host, config)
    host.container("c2")

    code, msg = host.call("ADD", config, cid="c2").refusal

    assert (code, msg) == (
        999,
        "failed to allocate for range 0: no IP addresses available in range set: 10.1.0.1-10.1.0.2",
    )
    assert len(_veths(host)) == 1
    assert host.names(netns="/run/netns/c2") == set()


def test_a_taken_interface_name_is_an_error_and_that_interface_stays(host):
    netns = host.container("c1")
    host.sh("ip link add eth0 type bridge", netns=netns)

    _, msg = host.call("ADD", _config()).refusal

    assert msg == 'container veth name ("eth0") already exists'
    assert host.names(netns=netns) == {"eth0"}
    assert _nothing_left(host)


def test_a_second_add_is_an_error_and_the_first_one_s_work_stays(host):
    config = _full()
    result = _added(host, config)

    _, msg = host.call("ADD", config).refusal

    assert msg == 'container veth name ("eth0") already exists'
    assert host.call("CHECK", config | {"prevResult": result}).status == 0


def test_a_link_that_is_no_bridge_is_an_error(host):
    host.container("c1")

    _, msg = host.call("ADD", _config(bridge="lo")).refusal

    assert msg == 'failed to create bridge "lo": "lo" already exists but is not a bridge'
    assert _nothing_left(host)


def test_a_route_that_the_kernel_refuses_leaves_nothing(host):
    host.container("c1")
    config = _config()
    config["ipam"]["routes"] = [{"dst": "10.9.0.0/16", "gw": "192.0.2.1"}]

    answer = host.call("ADD", config)

    assert "add route 10.9.0.0/16 via 192.0.2.1: Network is unreachable" in answer.error["msg"]
    assert _nothing_left(host)
    assert host.names(netns="/run/netns/c1") == set()


def test_an_mtu_that_the_kernel_refuses_leaves_nothing(host):
    host.container("c1")

    answer = host.call("ADD", L2 | {"mtu": 40})

    assert "Invalid argument" in answer.error["msg"]
    assert _nothing_left(host)


def test_a_missing_namespace_is_code_8(host):
    code, _ = host.call("ADD", _config(), netns="/run/netns/gone").refusal

    assert code == 8
    assert _nothing_left(host)


def test_a_missing_ipam_plugin_says_where_it_was_looked_for(host):
    host.container("c1")

    code, msg = host.call("ADD", L2 | {"ipam": {"type": "nowhere"}}, CNI_PATH="/a:/b").refusal

    assert (code, msg) == (7, 'failed to find plugin "nowhere" in path [/a /b]')
    assert _nothing_left(host)


def test_an_ipam_plugin_that_assigns_nothing_is_an_error(host, tmp_path):
    config = _delegating(tmp_path, 'echo \'{"cniVersion": "1.1.0"}\'')
    host.container("c1")

    answer = host.call("ADD", config, CNI_PATH=str(tmp_path))

    assert answer.refusal == (999, "IPAM plugin returned missing IP config")
    assert _nothing_left(host)


def test_an_ipam_plugin_gets_the_same_call_with_the_same_stdin(host, tmp_path):
    script = (
        f"cat > {tmp_path}/stdin; env | grep ^CNI_ | sort > {tmp_path}/env; echo logged >&2; "
        'echo \'{"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.7/24"}]}\''
    )
    config = _delegating(tmp_path, script)
    host.container("c1")

    answer = host.call("ADD", config, CNI_PATH=str(tmp_path), CNI_ARGS="IgnoreUnknown=1;A=1")

    assert answer.result["ips"] == [{"interface": 2, "address": "10.1.0.7/24"}]
    assert answer.stderr == "logged\n"
    whole = {"cniVersion": "1.1.0", "name": "demo"} | config
    assert json.loads((tmp_path / "stdin").read_text()) == whole
    assert (tmp_path / "env").read_text().split() == [
        "CNI_ARGS=IgnoreUnknown=1;A=1",
        "CNI_COMMAND=ADD",
        "CNI_CONTAINERID=c1",
        "CNI_IFNAME=eth0",
        "CNI_NETNS=/run/netns/c1",
        f"CNI_PATH={tmp_path}",
    ]


def test_an_ipam_plugin_s_error_passes_through(host, tmp_path):
    said = {"code": 11, "msg": "later", "details": "much"}
    config = _delegating(tmp_path, f"echo '{json.dumps(said)}'; exit 1")
    host.container("c1")

    assert host.call("ADD", config, CNI_PATH=str(tmp_path)).error == said


def test_an_ipam_plugin_that_breaks_is_quoted(host, tmp_path):
    config = _delegating(tmp_path, "echo panic >&2; exit 2")
    host.container("c1")

    error = host.call("ADD", config, CNI_PATH=str(tmp_path)).error

    assert (error["code"], error["msg"]) == (999, "plugin probe failed with exit status 2")
    assert error["details"] == "panic"


def _delegating(directory: Path, script: str) -> dict[str, Any]:
    """A configuration whose IPAM plugin is a shell script."""
    path = directory / "probe"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return L2 | {"ipam": {"type": "probe"}}


# CHECK


def test_check_is_content_after_add(host):
    config = _full(hairpinMode=True, mtu=1400)
    result = _added(host, config)

    assert host.call("CHECK", config | {"prevResult": result}).result == {}


def test_check_is_content_on_layer_2(host):
    """Upstream asks for an IPAM plugin there, and always fails."""
    result = _added(host, L2)

    assert host.call("CHECK", L2 | {"prevResult": result}).result == {}


def test_check_needs_prev_result(host):
    _added(host, L2)

    assert host.call("CHECK", L2).refusal == (7, "Required prevResult missing")


INSIDE, OUTSIDE, HOST = "c1", "outside", ""
DRIFTS = {
    "the interface is gone": (INSIDE, "ip link del eth0", "interface eth0 is gone"),
    "the interface is down": (INSIDE, "ip link set eth0 down", "interface eth0 is down"),
    "another MAC": (
        INSIDE,
        "ip link set eth0 address 02:00:00:00:00:07",
        "eth0 has address 02:00:00:00:00:07, not",
    ),
    "the address is gone": (
        INSIDE,
        "ip addr del 10.1.0.2/24 dev eth0",
        "Failed to match addr 10.1.0.2/24 on interface eth0",
    ),
    "another prefix length": (
        INSIDE,
        "ip addr add 10.1.0.2/25 dev eth0; ip addr del 10.1.0.2/24 dev eth0",
        "Failed to match addr 10.1.0.2/24 on interface eth0",
    ),
    "the IPv6 address is gone": (
        INSIDE,
        "ip addr del fd00::2/64 dev eth0",
        "Failed to match addr fd00::2/64 on interface eth0",
    ),
    "the default route is gone": (
        INSIDE,
        "ip route del default",
        "Expected Route 0.0.0.0/0 via 10.1.0.1 not found in routing table",
    ),
    "the default route goes elsewhere": (
        INSIDE,
        "ip route replace default via 10.1.0.99",
        "Expected Route 0.0.0.0/0 via 10.1.0.1 not found in routing table",
    ),
    "the IPv6 default route is gone": (
        INSIDE,
        "ip -6 route del default",
        "Expected Route ::/0 via fd00::1 not found in routing table",
    ),
    "the host's end is down": (OUTSIDE, "ip link set $veth down", "is down"),
    "the host's end is no port": (OUTSIDE, "ip link set $veth nomaster", "is not a port of"),
    "the host's end is of another bridge": (
        OUTSIDE,
        "ip link add br1 type bridge; ip link set $veth master br1",
        "is not a port of bridge br0",
    ),
    "the host's end has another name": (
        OUTSIDE,
        "ip link set $veth down; ip link set $veth name moved",
        "CNI veth created for bridge br0 was not found",
    ),
    "the host's end has another MAC": (
        OUTSIDE,
        "ip link set $veth address 02:00:00:00:00:08",
        "has address 02:00:00:00:00:08, not",
    ),
    "hairpin is switched off": (
        OUTSIDE,
        "bridge link set dev $veth hairpin off",
        "hairpin or isolation of port",
    ),
    "the port is isolated": (
        OUTSIDE,
        "bridge link set dev $veth isolated on",
        "hairpin or isolation of port",
    ),
    "another MTU": (OUTSIDE, "ip link set $veth mtu 1300", "has MTU 1300, not 1400"),
    "the bridge is gone": (HOST, "ip link del br0", "interface br0 is gone"),
    "the bridge is down": (HOST, "ip link set br0 down", "bridge br0 is down"),
    "the bridge has another MAC": (
        HOST,
        "ip link set br0 address 02:00:00:00:00:09",
        "br0 has address 02:00:00:00:00:09, not",
    ),
    "the gateway's address is gone": (
        HOST,
        "ip addr del 10.1.0.1/24 dev br0",
        "the gateway lacks address 10.1.0.1/24 of bridge br0",
    ),
    "the gateway's IPv6 address is gone": (
        HOST,
        "ip addr del fd00::1/64 dev br0",
        "the gateway lacks address fd00::1/64 of bridge br0",
    ),
    "forwarding is off": (
        HOST,
        "sysctl -q -w net.ipv4.ip_forward=0",
        "the gateway lacks sysctl net.ipv4.ip_forward",
    ),
    "IPv6 forwarding is off": (
        HOST,
        "sysctl -q -w net.ipv6.conf.all.forwarding=0",
        "the gateway lacks sysctl net.ipv6.conf.all.forwarding",
    ),
    "the masquerading rules are gone": (
        HOST,
        "nft flush chain inet cni_plugins_masquerade masq_checks",
        "masquerading is gone: 10.1.0.2, fd00::2",
    ),
    "the masquerading table is gone": (
        HOST,
        "nft delete table inet cni_plugins_masquerade",
        "masquerading is gone: 10.1.0.2, fd00::2, postrouting",
    ),
    "nothing leads to the masquerading rules": (
        HOST,
        "nft flush chain inet cni_plugins_masquerade postrouting",
        "masquerading is gone: postrouting",
    ),
    "the lease is gone": (
        HOST,
        "rm /var/lib/cni/networks/demo/10.1.0.2",
        "host-local: 10.1.0.2 is not leased to c1 any more",
    ),
    "the lease is somebody else's": (
        HOST,
        "for a in 10.1.0.2 fd00::2; do printf c9 > /var/lib/cni/networks/demo/$a; done",
        "host-local: Failed to find address added by container c1",
    ),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_check_notices_that(host, drift):
    where, script, text = DRIFTS[drift]
    config = _full(hairpinMode=True, mtu=1400)
    result = _added(host, config)
    outside = result["interfaces"][1]["name"]

    netns = "/run/netns/c1" if where == INSIDE else ""
    host.sh(f"veth={outside}; {script}", netns=netns)
    code, msg = host.call("CHECK", config | {"prevResult": result}).refusal

    assert text in msg
    assert code == 999


def test_check_notices_that_promiscuous_mode_is_off(host):
    config = L2 | {"promiscMode": True}
    result = _added(host, config)
    host.sh("ip link set br0 promisc off")

    _, msg = host.call("CHECK", config | {"prevResult": result}).refusal

    assert msg == "bridge br0 is not promiscuous any more"


def test_check_looks_at_its_own_interface_in_a_chain_s_result(host):
    """Another plugin of the chain added an interface, with an address and a gateway of its own."""
    config = _full()
    result = _added(host, config)
    result["interfaces"].append({"name": "net1", "sandbox": "/run/netns/c1"})
    result["ips"].append({"interface": 3, "address": "10.77.0.2/24", "gateway": "10.77.0.1"})

    assert host.call("CHECK", config | {"prevResult": result}).result == {}


def test_check_of_another_container_s_result_is_an_error(host):
    other = _added(host, L2, "c2")
    _added(host, L2)

    _, msg = host.call("CHECK", L2 | {"prevResult": other}).refusal

    assert msg == "prevResult does not have eth0 in /run/netns/c1"


# GC and STATUS


def _valid(*attachments: tuple[str, str]) -> dict[str, Any]:
    listed = [{"containerID": cid, "ifname": ifname} for cid, ifname in attachments]
    return {"cni.dev/valid-attachments": listed}


def test_gc_removes_what_is_not_valid_and_nothing_else(host):
    config = _full()
    other = _config(("10.2.0.0/24",), name="other", bridge="br1", ipMasq=True)
    for cid in ("c1", "c2"):
        _added(host, config, cid)
    second = {"cid": "c2", "ifname": "eth1"}
    assert host.call("ADD", config | {"isDefaultGateway": False}, **second).status == 0
    _added(host, other, "c3")
    host.sh(
        "ip link add vethadmin type veth peer name vethpeer; ip link set vethadmin alias mine; "
        "nft 'add rule inet cni_plugins_masquerade masq_checks counter comment \"mine\"'"
    )

    assert host.call("GC", config | _valid(("c2", "eth1"))).result == {}

    assert set(host.leases().values()) == {"c2\r\neth1"}
    assert list(host.leases("other")) == ["10.2.0.2"]
    assert host.names(netns="/run/netns/c1") == set()
    assert host.names(netns="/run/netns/c2") == {"eth1"}
    assert host.names(netns="/run/netns/c3") == {"eth0"}
    assert {"vethadmin", "vethpeer"} < _veths(host)
    assert len(_veths(host)) == 4
    owners = [(comment or "").rpartition("net: ")[2] for comment in _rules(host)]
    assert sorted(owners) == ["demo, if: eth1, id: c2"] * 2 + ["mine", "other, if: eth0, id: c3"]


def test_gc_removes_what_a_namespace_left_that_is_gone(host):
    config = _full()
    _added(host, config)
    host.sh("ip netns del c1")

    assert host.call("GC", config | _valid()).result == {}

    assert _nothing_left(host)


def test_gc_where_nothing_was_ever_made_does_nothing(host):
    assert host.call("GC", _full() | _valid()).result == {}
    assert host.names() == set()
    assert _rules(host) is None


@pytest.mark.parametrize("verb", ["GC", "STATUS"])
def test_an_ipam_plugin_that_is_older_than_a_verb_has_no_say_in_it(host, tmp_path, verb):
    old = {"code": 4, "msg": f"unknown CNI_COMMAND: {verb}"}
    config = _delegating(tmp_path, f"echo '{json.dumps(old)}'; exit 1")

    assert host.call(verb, config | _valid(), CNI_PATH=str(tmp_path)).result == {}


@pytest.mark.parametrize("verb", ["GC", "STATUS"])
def test_another_error_of_its_is_passed_on(host, tmp_path, verb):
    said = {"code": 51, "msg": "half of it works"}
    config = _delegating(tmp_path, f"echo '{json.dumps(said)}'; exit 1")

    assert host.call(verb, config | _valid(), CNI_PATH=str(tmp_path)).error == said


def test_status_is_ipam_s(host):
    config = _config(("10.1.0.0/30",))
    assert host.call("STATUS", config).result == {}
    _added(host, config)

    code, msg = host.call("STATUS", config).refusal

    assert (code, msg) == (50, "no IP addresses available in range set 0: 10.1.0.1-10.1.0.2")


# With the reference


def _whole(host: Any) -> tuple[object, ...]:
    """What is on the host and in the container, without names and numbers that chance gave."""
    links: dict[tuple[str, str], object] = {}
    for where in ("", "/run/netns/c1"):
        host.settle(netns=where)
        for link in host.ip("-d link show", netns=where):
            name = "veth" if link["ifname"].startswith("veth") else link["ifname"]
            info = link.get("linkinfo", {})
            data = info.get("info_slave_data", {})
            links[where, name] = (
                link["mtu"],
                sorted(link["flags"]),
                link["operstate"],
                info.get("info_kind"),
                link.get("master"),
                data.get("hairpin"),
                data.get("isolated"),
            )
    routes = _routes(host, "/run/netns/c1"), _routes(host, "/run/netns/c1", "-6")
    addresses = host.addresses("br0"), host.addresses("eth0", netns="/run/netns/c1")
    forwarding = host.sh("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding")
    return links, routes, addresses, forwarding, host.leases()


REFERENCE = [
    _config((SUBNET, "fd00::/64"), isDefaultGateway=True, cniVersion="1.0.0"),
    _config(routes=["0.0.0.0/0", "10.9.0.0/16"], mtu=1400, hairpinMode=True, cniVersion="1.0.0"),
    _config(isGateway=False, promiscMode=True, cniVersion="0.4.0"),
    _config(isDefaultGateway=True, cniVersion="0.2.0"),
]


@pytest.mark.parametrize("config", REFERENCE, ids=["gateway", "routes", "plain", "oldest"])
@pytest.mark.parametrize("ours_first", [True, False])
def test_what_one_adds_the_other_deletes_and_adds_the_same(
    host, debian_plugins, config, ours_first
):
    theirs = {"directory": debian_plugins}
    one, other = ({}, theirs) if ours_first else (theirs, {})
    first = _added(host, config, **one)
    made = _whole(host)

    deletion = config | ({} if config["cniVersion"] == "0.2.0" else {"prevResult": first})
    assert host.call("DEL", deletion, **other).status == 0
    assert _nothing_left(host)
    host.sh("rm -r /var/lib/cni; ip link del br0; sysctl -q -w net.ipv4.ip_forward=0")
    host.sh("sysctl -q -w net.ipv6.conf.all.forwarding=0")
    second = host.call("ADD", config, **other).result

    assert _whole(host) == made
    for result in (first, second):
        result.pop("dns", None)
        for interface in result.get("interfaces", ()):
            interface["mac"] = "-"
            interface["name"] = interface["name"][:4]
    assert first == second


def test_ours_checks_what_the_reference_added(host, debian_plugins):
    config = _config((SUBNET, "fd00::/64"), isDefaultGateway=True, cniVersion="1.0.0")
    result = _added(host, config, directory=debian_plugins)

    assert host.call("CHECK", config | {"prevResult": result}).result == {}


def test_the_reference_checks_what_ours_added(host, debian_plugins):
    config = _config((SUBNET, "fd00::/64"), isDefaultGateway=True, cniVersion="1.0.0")
    result = _added(host, config)

    checked = host.call("CHECK", config | {"prevResult": result}, directory=debian_plugins)

    assert checked.result == {}


# Many at once


def test_many_containers_at_once_share_one_bridge_and_one_set_of_rules(host):
    config = _full()
    cids = [f"c{number}" for number in range(20)]
    for cid in cids:
        host.container(cid)

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda cid: host.call("ADD", config, cid=cid), cids))
        results = [answer.result for answer in answers]
        checks = list(
            pool.map(
                lambda pair: host.call("CHECK", config | {"prevResult": pair[1]}, cid=pair[0]),
                zip(cids, results, strict=True),
            )
        )

    addresses = {ip["address"] for result in results for ip in result["ips"]}
    assert len(addresses) == 40
    assert {answer.stdout for answer in checks} == {""}
    assert host.addresses("br0") == {"10.1.0.1/24", "fd00::1/64"}
    assert len(_veths(host)) == 20
    assert len(_rules(host)) == 40
    assert len(_rules(host, "postrouting")) == 3

    with ThreadPoolExecutor(10) as pool:
        deleted = list(pool.map(lambda cid: host.call("DEL", config, cid=cid), cids))

    assert {answer.stdout for answer in deleted} == {""}
    assert _nothing_left(host)
    assert host.sh("ls /var/lib/cni/networks/.podnet/demo") == "stamp\n"
