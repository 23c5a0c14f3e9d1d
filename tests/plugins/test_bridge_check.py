"""bridge: CHECK notices what is not as ADD left it, GC and STATUS are real."""

import json
from typing import Any

import pytest
from tests.plugins.bridges import (
    L2,
    added,
    delegating,
    full,
    gateway,
    link_of,
    masq_rules,
    nothing_left,
    spoof_chains,
    spoof_rules,
    veths,
)

# CHECK


def test_check_is_content_after_add(host):
    config = full(hairpinMode=True, mtu=1400)
    result = added(host, config)

    assert host.call("CHECK", config | {"prevResult": result}).result == {}


def test_check_is_content_on_layer_2(host):
    """Upstream asks for an IPAM plugin there, and always fails."""
    result = added(host, L2)

    assert host.call("CHECK", L2 | {"prevResult": result}).result == {}


def test_check_needs_prev_result(host):
    added(host, L2)

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
        "the gateway lacks address 10.1.0.1/24 of br0",
    ),
    "the gateway's IPv6 address is gone": (
        HOST,
        "ip addr del fd00::1/64 dev br0",
        "the gateway lacks address fd00::1/64 of br0",
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
    "the rules for its hardware address are gone": (
        HOST,
        "nft flush chain bridge nat cni-br-iface-c1-eth0-mac",
        "macspoofchk: a rule is gone: cni-br-iface-c1-eth0-mac ether saddr == ",
    ),
    "its hardware address is not checked any more": (
        HOST,
        "nft delete table bridge nat",
        "macspoofchk: a rule is gone: PREROUTING meta iifname == ",
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
    config = full(hairpinMode=True, mtu=1400)
    result = added(host, config)
    outside = result["interfaces"][1]["name"]

    netns = "/run/netns/c1" if where == INSIDE else ""
    host.sh(f"veth={outside}; {script}", netns=netns)
    code, msg = host.call("CHECK", config | {"prevResult": result}).refusal

    assert text in msg
    assert code == 999


def test_check_notices_that_promiscuous_mode_is_off(host):
    config = L2 | {"promiscMode": True}
    result = added(host, config)
    host.sh("ip link set br0 promisc off")

    _, msg = host.call("CHECK", config | {"prevResult": result}).refusal

    assert msg == "bridge br0 is not promiscuous any more"


MTU_DRIFTS = {
    "the host's end": (OUTSIDE, "ip link set $veth mtu 1200", "has MTU 1200, not 1500"),
    "the container's end": (INSIDE, "ip link set eth0 mtu 1200", "eth0 has MTU 1200, not 1500"),
    "the bridge": (HOST, "ip link set br0 mtu 1200", "bridge br0 has MTU 1200, not 1500"),
}


@pytest.mark.parametrize("drift", MTU_DRIFTS)
def test_check_notices_another_mtu_where_none_was_asked_for(host, drift):
    where, script, text = MTU_DRIFTS[drift]
    result = added(host, L2)

    veth = result["interfaces"][1]["name"]
    host.sh(f"veth={veth}; {script}", netns="/run/netns/c1" if where == INSIDE else "")
    _, msg = host.call("CHECK", L2 | {"prevResult": result}).refusal

    assert text in msg


def test_check_accepts_mtus_that_differ_from_the_start_or_follow(host):
    """A bridge of another MTU, tuning in the chain, and a container that has the bridge follow."""
    tuning = {"type": "tuning", "mtu": 1300}
    host.sh("ip link add br0 mtu 1450 type bridge; ip link set br0 mtu 1450")
    host.container("c1")
    for version in ("1.0.0", "1.1.0"):
        config = L2 | {"cniVersion": version}
        result = host.call("ADD", config).result
        tuned = tuning | {"cniVersion": version, "prevResult": result}
        result = host.call("ADD", tuned).result
        assert host.call("CHECK", config | {"prevResult": result}).status == 0
        host.call("DEL", tuned)
        host.call("DEL", config)
    follower = L2 | {"bridge": "br1"}
    result = host.call("ADD", follower).result
    added(host, follower | {"mtu": 1250}, "c2")

    assert link_of(host, "br1")["mtu"] == 1250
    assert host.call("CHECK", follower | {"prevResult": result}).status == 0
    host.sh(f"ip link set {result['interfaces'][1]['name']} mtu 1400")
    host.sh("ip link set eth0 mtu 1400", netns="/run/netns/c1")
    assert host.call("CHECK", follower | {"prevResult": result}).status == 0


def test_check_looks_at_its_own_interface_in_a_chain_s_result(host):
    """Another plugin of the chain added an interface, with an address and a gateway of its own."""
    config = full()
    result = added(host, config)
    result["interfaces"].append({"name": "net1", "sandbox": "/run/netns/c1"})
    result["ips"].append({"interface": 3, "address": "10.77.0.2/24", "gateway": "10.77.0.1"})

    assert host.call("CHECK", config | {"prevResult": result}).result == {}


def test_check_of_another_container_s_result_is_an_error(host):
    other = added(host, L2, "c2")
    added(host, L2)

    _, msg = host.call("CHECK", L2 | {"prevResult": other}).refusal

    assert msg == "prevResult does not have eth0 in /run/netns/c1"


# GC and STATUS


def _valid(*attachments: tuple[str, str]) -> dict[str, Any]:
    listed = [{"containerID": cid, "ifname": ifname} for cid, ifname in attachments]
    return {"cni.dev/valid-attachments": listed}


def test_gc_removes_what_is_not_valid_and_nothing_else(host):
    config = full()
    other = gateway(("10.2.0.0/24",), name="other", bridge="br1", ipMasq=True, macspoofchk=True)
    for cid in ("c1", "c2"):
        added(host, config, cid)
    second = {"cid": "c2", "ifname": "eth1"}
    assert host.call("ADD", config | {"isDefaultGateway": False}, **second).status == 0
    added(host, other, "c3")
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
    assert {"vethadmin", "vethpeer"} < veths(host)
    assert len(veths(host)) == 4
    assert spoof_chains(host) == [
        f"cni-br-iface-{kept}{chain}" for kept in ("c2-eth1", "c3-eth0") for chain in ("", "-mac")
    ]
    assert len(spoof_rules(host)) == 8
    owners = [comment.rpartition("net: ")[2] for comment in masq_rules(host)]
    assert sorted(owners) == ["demo, if: eth1, id: c2"] * 2 + ["mine", "other, if: eth0, id: c3"]


def test_gc_removes_what_a_namespace_left_that_is_gone(host):
    config = full()
    added(host, config)
    host.sh("ip netns del c1")

    assert host.call("GC", config | _valid()).result == {}

    assert nothing_left(host)


def test_gc_where_nothing_was_ever_made_does_nothing(host):
    assert host.call("GC", full() | _valid()).result == {}
    assert host.names() == set()
    assert host.sh("nft list tables") == ""


@pytest.mark.parametrize("verb", ["GC", "STATUS"])
def test_an_ipam_plugin_that_is_older_than_a_verb_has_no_say_in_it(host, tmp_path, verb):
    old = {"code": 4, "msg": f"unknown CNI_COMMAND: {verb}"}
    config = delegating(tmp_path, f"echo '{json.dumps(old)}'; exit 1")

    assert host.call(verb, config | _valid(), CNI_PATH=str(tmp_path)).result == {}


@pytest.mark.parametrize("verb", ["GC", "STATUS"])
def test_another_error_of_its_is_passed_on(host, tmp_path, verb):
    said = {"code": 51, "msg": "half of it works"}
    config = delegating(tmp_path, f"echo '{json.dumps(said)}'; exit 1")

    assert host.call(verb, config | _valid(), CNI_PATH=str(tmp_path)).error == said


def test_status_is_ipam_s(host):
    config = gateway(("10.1.0.0/30",))
    assert host.call("STATUS", config).result == {}
    added(host, config)

    code, msg = host.call("STATUS", config).refusal

    assert (code, msg) == (50, "no IP addresses available in range set 0: 10.1.0.1-10.1.0.2")


def test_status_is_51_while_containers_on_the_bridge_are_cut_off(host):
    """The first ADD sets the bridge up and switches forwarding on: before it nothing is wrong."""
    config = gateway()
    host.sh("ip link add br0 type bridge; sysctl -q -w net.ipv4.ip_forward=0")
    assert host.call("STATUS", config).status == 0
    added(host, config)
    assert host.call("STATUS", config).status == 0

    host.sh("sysctl -q -w net.ipv4.ip_forward=0")
    off = host.call("STATUS", config).refusal
    assert host.call("STATUS", L2).status == 0
    host.sh("ip link set br0 down")
    down = host.call("STATUS", L2).refusal

    assert off == (51, "the host does not forward: net.ipv4.ip_forward is off")
    assert down == (51, "bridge br0 is down")


def test_status_is_50_while_an_add_is_certain_to_fail(host):
    host.sh("ip link add br0 type bridge; ip addr add fd05::1/64 dev br0")
    assert host.call("STATUS", gateway()).status == 0
    added(host, gateway())
    config = gateway(("10.7.0.0/24",), name="other")
    either = gateway(("10.7.0.0/24",), name="other")
    either["ipam"]["ranges"][0].append({"subnet": "10.1.0.0/24"})

    said = [host.call("STATUS", one).refusal for one in (config, gateway(bridge="lo"))]

    assert said == [
        (
            50,
            'failed to set bridge addr: "br0" already has an IP address different from 10.7.0.1/24',
        ),
        (50, 'failed to create bridge "lo": "lo" already exists but is not a bridge'),
    ]
    assert host.call("STATUS", gateway(("10.7.0.1/24",))).refusal[0] == 7  # host bits: IPAM's code
    for fine in (either, config | {"forceAddress": True}, config | {"isGateway": False}):
        assert host.call("STATUS", fine).status == 0


def test_a_bridge_of_layer_2_may_change_its_mac_which_nobody_knows_it_by(host):
    """One that has no address of its own takes that of a port, and another's when it goes."""
    host.sh("ip link add br0 type bridge")
    result = added(host, L2)
    host.sh(
        "ip link add other type veth peer name end; ip link set other address 02:00:00:00:00:01"
    )
    host.sh("ip link set other master br0; ip link set br0 address 02:00:00:00:00:01")

    assert host.call("CHECK", L2 | {"prevResult": result}).result == {}
