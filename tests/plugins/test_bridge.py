"""bridge: pairs, addresses and gateways; kernel objects seen through ``ip``.

Every call is a process in a host in memory, as a runtime makes it.
"""

import time
from typing import Any

import pytest
from tests.plugins.bridges import (
    L2,
    SUBNET,
    added,
    gateway,
    link_of,
    nothing_left,
    outside_of,
    routes_of,
    veths,
)


def _port(host: Any, result: Any) -> Any:
    return link_of(host, result["interfaces"][1]["name"])["linkinfo"]["info_slave_data"]


# Layer 2


def test_a_container_is_plugged_into_a_bridge(host):
    result = added(host, L2)

    bridge, outside, inside = result["interfaces"]
    assert set(result) == {"cniVersion", "interfaces"}
    assert (bridge["name"], inside["name"]) == ("br0", "eth0")
    assert inside["sandbox"] == "/run/netns/c1"
    assert "sandbox" not in bridge
    assert "sandbox" not in outside
    assert host.names() == {"br0", outside["name"]}
    assert host.names(netns="/run/netns/c1") == {"eth0"}
    port, eth0 = link_of(host, outside["name"]), link_of(host, "eth0", netns="/run/netns/c1")
    assert (port["master"], port["operstate"]) == ("br0", "UP")
    assert [link["linkinfo"]["info_kind"] for link in (port, eth0)] == ["veth", "veth"]
    assert port["link_index"] == eth0["ifindex"]
    assert [bridge["mac"], outside["mac"], inside["mac"]] == [
        link_of(host, "br0")["address"],
        port["address"],
        eth0["address"],
    ]


def test_two_containers_reach_each_other(host):
    for number in (1, 2):
        added(host, L2, f"c{number}")
        host.sh(f"ip addr add 10.9.0.{number}/24 dev eth0", netns=f"/run/netns/c{number}")

    assert host.reaches("10.9.0.2", netns="/run/netns/c1")


def test_without_ipam_no_address_and_no_forwarding(host):
    added(host, L2 | {"isGateway": True})

    assert host.addresses("eth0", netns="/run/netns/c1") == set()
    assert host.addresses("br0") == set()
    assert host.sh("sysctl -n net.ipv4.ip_forward") == "0\n"


def test_a_container_s_interface_may_stay_down(host):
    netns = host.container("c1")
    config = L2 | {"disableContainerInterface": True}

    result = host.call("ADD", config).result

    assert "UP" not in link_of(host, "eth0", netns=netns)["flags"]
    assert host.call("CHECK", config | {"prevResult": result}).status == 0


def test_a_container_may_have_interfaces_on_two_networks(host):
    added(host, L2)
    second = L2 | {"name": "other", "bridge": "br1"}

    host.call("ADD", second, ifname="net1")
    assert host.names(netns="/run/netns/c1") == {"eth0", "net1"}
    host.call("DEL", second, ifname="net1")

    assert host.names(netns="/run/netns/c1") == {"eth0"}
    assert len(veths(host)) == 1


# Keys


def test_mtu_is_the_bridge_s_and_both_ends(host):
    result = added(host, L2 | {"mtu": 1400})

    mtus = [link_of(host, name)["mtu"] for name in ("br0", result["interfaces"][1]["name"])]
    assert [*mtus, link_of(host, "eth0", netns="/run/netns/c1")["mtu"]] == [1400, 1400, 1400]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, (False, False)),
        ({"hairpinMode": True}, (True, False)),
        ({"portIsolation": True}, (False, True)),
    ],
)
def test_hairpin_and_isolation_are_the_port_s(host, keys, expected):
    port = _port(host, added(host, L2 | keys))

    assert (port["hairpin"], port["isolated"]) == expected


def test_isolated_ports_do_not_reach_each_other(host):
    for number in (1, 2):
        added(host, L2 | {"portIsolation": True}, f"c{number}")
        host.sh(f"ip addr add 10.9.0.{number}/24 dev eth0", netns=f"/run/netns/c{number}")

    assert not host.reaches("10.9.0.2", netns="/run/netns/c1", timeout=0.3)


def test_promiscuous_mode_is_the_bridge_s(host):
    added(host, L2 | {"promiscMode": True})

    assert "PROMISC" in link_of(host, "br0")["flags"]


def test_promiscuous_mode_is_set_on_a_bridge_that_is_there(host):
    host.sh("ip link add br0 type bridge")
    added(host, L2 | {"promiscMode": True})

    assert "PROMISC" in link_of(host, "br0")["flags"]


def test_the_container_s_mac_may_be_asked_for(host):
    result = added(host, L2 | {"runtimeConfig": {"mac": "02:00:00:00:00:01"}})

    assert result["interfaces"][2]["mac"] == "02:00:00:00:00:01"
    assert link_of(host, "eth0", netns="/run/netns/c1")["address"] == "02:00:00:00:00:01"


def test_the_bridge_is_called_cni0_by_default(host):
    assert added(host, {"type": "bridge"})["interfaces"][0]["name"] == "cni0"


def test_the_configuration_s_dns_replaces_ipam_s(host):
    host.sh("echo nameserver 10.1.0.53 > /run/resolv.conf")
    config = gateway()
    config["ipam"]["resolvConf"] = "/run/resolv.conf"

    from_ipam = added(host, config)
    own = added(host, config | {"dns": {"nameservers": ["10.1.0.99"]}}, "c2")

    assert from_ipam["dns"] == {"nameservers": ["10.1.0.53"]}
    assert own["dns"] == {"nameservers": ["10.1.0.99"]}


# Addresses and gateways


def test_addresses_are_given_to_the_container(host):
    result = added(host, gateway((SUBNET, "fd00::/64"), isGateway=False))

    assert result["ips"] == [
        {"interface": 2, "address": "10.1.0.2/24", "gateway": "10.1.0.1"},
        {"interface": 2, "address": "fd00::2/64", "gateway": "fd00::1"},
    ]
    assert host.addresses("eth0", netns="/run/netns/c1") == {"10.1.0.2/24", "fd00::2/64"}
    assert host.addresses("br0") == set()


def test_a_gateway_has_the_first_addresses_and_forwards(host):
    added(host, gateway((SUBNET, "fd00::/64")))

    assert host.addresses("br0") == {"10.1.0.1/24", "fd00::1/64"}
    printed = host.sh("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding")
    assert printed == "1\n1\n"
    for address in ("10.1.0.1", "fd00::1"):
        assert host.reaches(address, netns="/run/netns/c1")


def test_forwarding_is_switched_on_for_the_families_in_use_only(host):
    added(host, gateway())

    printed = host.sh("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding")
    assert printed == "1\n0\n"


def test_a_gateway_alone_adds_no_default_route(host):
    result = added(host, gateway())

    assert "routes" not in result
    assert routes_of(host, "/run/netns/c1") == {(SUBNET, None)}


def test_a_default_gateway_adds_a_default_route_per_family(host):
    result = added(host, gateway((SUBNET, "fd00::/64"), isDefaultGateway=True))

    assert result["routes"] == [
        {"dst": "0.0.0.0/0", "gw": "10.1.0.1"},
        {"dst": "::/0", "gw": "fd00::1"},
    ]
    netns = "/run/netns/c1"
    assert routes_of(host, netns) == {(SUBNET, None), ("default", "10.1.0.1")}
    assert routes_of(host, netns, "-6") == {("fd00::/64", None), ("default", "fd00::1")}


def test_a_default_gateway_and_a_default_route_of_ipam_s_are_one_route(host):
    """The reference adds both, and fails with "file exists"."""
    result = added(host, gateway(routes=["0.0.0.0/0"], isDefaultGateway=True))

    assert result["routes"] == [{"dst": "0.0.0.0/0"}]
    assert routes_of(host, "/run/netns/c1") == {(SUBNET, None), ("default", "10.1.0.1")}


def test_routes_of_ipam_s_go_through_the_gateway_and_keep_their_numbers(host):
    config = gateway()
    config["ipam"]["routes"] = [
        {"dst": "10.9.0.0/16"},
        {"dst": "10.8.0.0/16", "gw": "10.1.0.7", "priority": 5, "mtu": 1300, "advmss": 1200},
        {"dst": "10.7.0.0/16", "table": 1234},
        {"dst": "10.6.0.0/16", "scope": 0},
    ]

    result = added(host, config)

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

    assert host.call("CHECK", config | {"prevResult": result}).status == 0
    host.sh("ip route change 10.8.0.0/16 via 10.1.0.7 metric 5 mtu 1300", netns="/run/netns/c1")
    message = "Expected Route 10.8.0.0/16 via 10.1.0.7 metric 5 mtu 1300 advmss 1200 not found"
    assert message in host.call("CHECK", config | {"prevResult": result}).error["msg"]


def test_another_address_on_the_bridge_is_in_the_way(host):
    host.sh("ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0")
    host.container("c1")

    error = host.call("ADD", gateway()).error

    assert error["msg"] == (
        'failed to set bridge addr: "br0" already has an IP address different from 10.1.0.1/24'
    )
    assert error["details"] == "it has 10.5.0.1/24; forceAddress replaces it"
    assert host.addresses("br0") == {"10.5.0.1/24"}
    assert nothing_left(host)


def test_force_address_replaces_it(host):
    host.sh("ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0")

    added(host, gateway(forceAddress=True))

    assert host.addresses("br0") == {"10.1.0.1/24"}


def test_the_right_address_on_the_bridge_is_kept(host):
    host.sh("ip link add br0 type bridge; ip addr add 10.1.0.1/24 dev br0")

    added(host, gateway())

    assert host.addresses("br0") == {"10.1.0.1/24"}


def test_ipv6_subnets_share_a_bridge_unless_they_overlap(host):
    host.sh("ip link add br0 type bridge; ip addr add fd05::1/64 dev br0 nodad")
    added(host, gateway(("fd00::/64",)))
    host.container("c2")
    overlapping = gateway(("fd05::/56",), name="other")

    _, msg = host.call("ADD", overlapping, cid="c2").refusal

    assert host.addresses("br0") == {"fd05::1/64", "fd00::1/64"}
    assert msg.endswith('"br0" already has an IP address different from fd05::1/56')


def test_an_ipv6_container_does_not_wait_for_duplicate_detection(host):
    """The reference's ptp takes 2 s; nobody else was given the address."""
    host.container("c1")
    start = time.monotonic()

    answer = host.call("ADD", gateway(("fd00::/64",), isDefaultGateway=True))

    assert (answer.status, time.monotonic() - start < 1) == (0, True)
    [shown] = host.ip("-6 addr show dev eth0 scope global", netns="/run/netns/c1")
    [address] = [entry for entry in shown["addr_info"] if entry]
    assert "tentative" not in address
    assert host.reaches("fd00::1", netns="/run/netns/c1")


def test_duplicate_detection_may_be_left_on(host):
    netns = host.container("c1")
    conf = "net.ipv6.conf.eth0"

    assert host.call("ADD", gateway(("fd00::/64",), enabledad=True)).status == 0

    printed = host.sh(f"sysctl -n {conf}.accept_dad {conf}.enhanced_dad", netns=netns)
    assert printed == "1\n1\n"


def test_sysctls_of_the_ends_are_the_reference_s(host):
    result = added(host, gateway(("fd00::/64",)))

    outside = result["interfaces"][1]["name"]
    assert host.sh(f"sysctl -n net.ipv6.conf.{outside}.accept_ra") == "0\n"
    assert host.sh("sysctl -n net.ipv6.conf.br0.accept_ra") == "0\n"
    conf = "net.ipv6.conf.eth0"
    names = f"{conf}.accept_dad {conf}.keep_addr_on_down net.ipv4.conf.eth0.arp_notify"
    assert host.sh(f"sysctl -n {names}", netns="/run/netns/c1") == "0\n1\n1\n"


def test_a_gateway_that_is_made_forwards_ipv6_at_once(host):
    """While its link-local address is tentative, it asks for no neighbour."""
    outside = outside_of(host)
    host.sh("ip route add fd00::/64 via fd05::1", netns=outside)

    added(host, gateway(("fd00::/64",), isDefaultGateway=True))

    assert host.sh("sysctl -n net.ipv6.conf.br0.accept_dad") == "0\n"
    assert host.reaches("fd05::9", netns="/run/netns/c1")


def test_duplicate_detection_of_a_bridge_that_is_there_stays_as_it_is(host):
    host.sh("ip link add br0 type bridge")

    added(host, gateway(("fd00::/64",)))

    assert host.sh("sysctl -n net.ipv6.conf.br0.accept_dad") == "1\n"


def test_ipv6_is_switched_on_in_a_container_that_has_it_off(host):
    netns = host.container("c1")
    host.sh("sysctl -q -w net.ipv6.conf.all.disable_ipv6=1", netns=netns)
    host.sh("sysctl -q -w net.ipv6.conf.default.disable_ipv6=1", netns=netns)

    assert host.call("ADD", gateway(("fd00::/64",))).status == 0

    assert host.addresses("eth0", netns=netns) == {"fd00::2/64"}


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_every_version_can_add_check_and_delete(host, version):
    config = gateway(isDefaultGateway=True, cniVersion=version)
    result = added(host, config)

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
    assert nothing_left(host)


# The bridge's own address (plugins#620)


def test_the_bridge_keeps_its_mac_when_it_loses_all_ports(host):
    config = gateway()
    before = added(host, L2)["interfaces"][0]["mac"]
    host.call("DEL", L2)

    after = host.call("ADD", config).result["interfaces"][0]["mac"]

    assert before == after == link_of(host, "br0")["address"]


def test_a_bridge_that_lost_its_mac_with_its_last_port_is_no_reason_to_fail(host):
    """Somebody else's bridge, whose address follows its ports."""
    host.sh(
        "ip link add br0 type bridge; ip link add p0 type veth peer name p1; "
        "ip link set p0 master br0; ip link del p0"
    )

    added(host, gateway())

    assert host.addresses("br0") == {"10.1.0.1/24"}


def test_a_gateway_s_mac_stays_when_ports_come_and_go(host):
    """Containers have it in their neighbour tables, and CHECK compares it."""
    host.sh("ip link add br0 type bridge")
    config = gateway()
    first = added(host, config)
    mac = first["interfaces"][0]["mac"]

    # A bridge follows the lowest address among its ports.
    host.sh("ip link add p0 address 00:00:00:00:00:01 type veth peer name p1")
    host.sh("ip link set p0 master br0")

    assert link_of(host, "br0")["address"] == mac
    assert host.call("CHECK", config | {"prevResult": first}).status == 0
