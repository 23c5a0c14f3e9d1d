"""bridge's rules: ipMasq with both backends, and macspoofchk; seen, and proved with traffic."""

from ipaddress import ip_interface
from typing import Any

import pytest
from tests.plugins.bridges import (
    C1,
    L2,
    SUBNET,
    SUBNET6,
    added,
    gateway,
    masq_lines,
    masq_rules,
    nothing_left,
    outside_of,
    sender,
    spoof_chains,
    spoof_rules,
)

from podnet.kernel import firewall, programs
from podnet_plugins import masquerade

# Masquerading


def test_ip_masq_makes_a_rule_per_address(host):
    result = added(host, gateway((SUBNET, "fd00::/64"), ipMasq=True))

    assert len(result["ips"]) == 2
    comment = "26c669cd0814ac40-f4d01f2ef4b92245, net: demo, if: eth0, id: c1"
    assert masq_rules(host) == [comment, comment]
    shown = host.sh("nft list chain inet cni_plugins_masquerade masq_checks")
    assert "ip saddr 10.1.0.2 ip daddr != 10.1.0.0/24 masquerade" in shown
    assert "ip6 saddr fd00::2 ip6 daddr != fd00::/64 masquerade" in shown
    shown = host.sh("nft list chain inet cni_plugins_masquerade postrouting")
    lines = [line.strip() for line in shown.splitlines()][3:6]
    assert lines == ["ip daddr 224.0.0.0/4 return", "ip6 daddr ff00::/8 return", "goto masq_checks"]


@pytest.mark.parametrize("backend", ["", "nftables", "iptables"])
def test_who_receives_what_leaves_the_subnet_sees_the_host(host, backend):
    outside = outside_of(host)
    config = gateway((SUBNET, SUBNET6), isDefaultGateway=True, ipMasq=True, ipMasqBackend=backend)

    result = added(host, config)
    added(host, config, "c2")

    for address, seen in (("192.0.2.9", "192.0.2.1"), ("fd05::9", "fd05::1")):
        assert sender(host, outside, address, netns=C1) == seen
    for address, seen in (("10.1.0.3", "10.1.0.2"), ("fd00::3", "fd00::2")):
        assert sender(host, "/run/netns/c2", address, netns=C1) == seen
    assert host.call("CHECK", config | {"prevResult": result}).result == {}
    assert bool(masq_lines(host)) == (backend == "iptables")
    assert bool(masq_rules(host)) == (backend != "iptables")
    for cid in ("c1", "c2"):
        assert host.call("DEL", config, cid=cid).result == {}
    assert nothing_left(host)


def test_without_ip_masq_the_receiver_sees_the_container(host):
    outside = outside_of(host)
    host.sh(
        "ip route add 10.1.0.0/24 via 192.0.2.1; ip route add fd00::/64 via fd05::1", netns=outside
    )
    added(host, gateway((SUBNET, SUBNET6), isDefaultGateway=True))

    assert sender(host, outside, "192.0.2.9", netns=C1) == "10.1.0.2"
    assert sender(host, outside, "fd05::9", netns=C1) == "fd00::2"


def test_an_unknown_backend_is_an_error(host):
    host.container("c1")
    config = gateway(ipMasq=True, ipMasqBackend="x")

    assert host.call("ADD", config).refusal == (7, 'unknown ipmasq backend "x"')
    assert nothing_left(host)


@pytest.mark.parametrize("netns", ["", "/run/netns/gone"])
def test_iptables_rules_go_without_a_namespace_and_by_gc(host, netns):
    config = gateway((SUBNET, SUBNET6), ipMasq=True, ipMasqBackend="iptables")
    for cid in ("c1", "c2"):
        added(host, config, cid)

    assert host.call("DEL", config, netns=netns).result == {}
    assert masq_lines(host) != []
    assert not any('"c1' in line for line in masq_lines(host))
    assert host.call("GC", config | {"cni.dev/valid-attachments": []}).result == {}

    assert nothing_left(host)


def test_masquerading_rules_are_not_repeated(host):
    config = gateway(ipMasq=True)
    for cid in ("c1", "c2"):
        added(host, config, cid)

    assert len(masq_rules(host)) == 2
    assert len(masq_rules(host, "postrouting")) == 3


def test_a_rule_that_an_attachment_left_is_replaced(host):
    """A crash took its interface and its lease, and it is added again."""
    config = gateway(ipMasq=True)
    added(host, config)
    host.sh("ip link del eth0", netns="/run/netns/c1")
    host.sh("rm /var/lib/cni/networks/demo/10.1.0.2")

    host.call("ADD", config)

    assert len(masq_rules(host)) == 1
    assert "10.1.0.3" in host.sh("nft list chain inet cni_plugins_masquerade masq_checks")


def test_check_reads_masquerading_rules_to_their_ends(node):
    """Each change lets packets out with the container's own address, by rules that look alike."""
    networks = ("10.1.0.2/24", "10.2.0.2/32", "fd00::2/64", "fd01::2/128")
    ips = [ip_interface(network) for network in networks]

    def missing(old: str, new: str) -> list[str]:
        masquerade.add("demo", "c1", "eth0", ips)
        shown = programs.run("nft", "list", "table", "inet", "cni_plugins_masquerade").stdout
        assert old in shown
        programs.run("nft", "flush", "ruleset")
        firewall.apply(shown.replace(old, new, 1))
        found = masquerade.missing("demo", "c1", "eth0", ips)
        programs.run("nft", "flush", "ruleset")
        return found

    changes: dict[tuple[str, str], list[str]] = {
        ("", ""): [],
        ("masquerade comment", "accept comment"): ["10.1.0.2"],
        ("ip6 daddr != fd01::2", "ip6 daddr != fd00::/8"): ["fd01::2"],
        ("priority srcnat", "priority 200"): ["postrouting"],
        ("type nat hook postrouting priority srcnat; policy accept;", ""): ["postrouting"],
        ("ip daddr 224", "accept; ip daddr 224"): ["postrouting"],
        ("goto masq_checks", "return; goto masq_checks"): ["postrouting"],
        ("ip saddr", "accept; ip saddr"): ["masq_checks"],
    }
    for change, expected in changes.items():
        assert node.run(missing, *change) == expected, change


def test_a_long_name_fits_into_a_rule_s_comment(host):
    config = gateway(ipMasq=True, name="n" * 90)
    cid = "c" * 64
    host.container("c1")

    assert host.call("ADD", config, cid=cid, netns="/run/netns/c1").status == 0
    assert [len(comment) for comment in masq_rules(host)] == [128]
    host.call("DEL", config, cid=cid, netns="/run/netns/c1")

    assert masq_rules(host) == []


def test_without_nft_masquerading_is_an_error_and_nothing_is_left(host):
    host.container("c1")
    config = gateway(ipMasq=True)

    answer = host.call("ADD", config, PATH=_path_without_nft(host))

    assert answer.error["msg"] == "ipMasq: there is no nft program"
    assert answer.error["details"] == "apt-get install nftables"
    assert host.call("STATUS", config, PATH=_path_without_nft(host)).refusal == (
        50,
        "ipMasq needs nft, and it cannot be run",
    )
    assert nothing_left(host)


def test_iptables_masquerades_where_there_is_no_nft(host):
    xtables = (f"ip{v}tables-{what}" for v in ("", "6") for what in ("save", "restore"))
    path = _path_without_nft(host, *xtables)
    config = gateway(ipMasq=True)
    host.container("c1")

    assert host.call("STATUS", config, PATH=path).status == 0
    result = host.call("ADD", config, PATH=path).result
    assert len(masq_lines(host)) > 0
    assert masq_rules(host) == []
    assert host.call("CHECK", config | {"prevResult": result}, PATH=path).status == 0
    assert host.call("DEL", config, PATH=path).status == 0
    assert nothing_left(host)


def _path_without_nft(host: Any, *others: str) -> str:
    programs = " ".join(("python3", "sh", *others))
    host.sh(f"mkdir -p /run/bin; for p in {programs}; do ln -sf $(command -v $p) /run/bin/$p; done")
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

    answer = host.call("ADD", gateway(ipMasq=True), PATH=path)

    assert answer.status == 1
    assert host.leases() == {}
    assert masq_rules(host) == []


# macspoofchk

FORGED = "02:00:00:00:00:66"


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("leased", [False, True])
def test_what_has_a_forged_hardware_address_does_not_get_through(host, checked, leased):
    config = (gateway() if leased else L2) | {"macspoofchk": checked}
    result = added(host, config)
    added(host, config, "c2")
    if not leased:
        for number, netns in ((2, C1), (3, "/run/netns/c2")):
            host.sh(f"ip addr add 10.1.0.{number}/24 dev eth0", netns=netns)

    host.sh(f"ip link set eth0 address {FORGED}", netns=C1)
    assert host.reaches("10.1.0.3", netns=C1, timeout=0.5) == (not checked)

    host.sh(f"ip link set eth0 address {result['interfaces'][2]['mac']}", netns=C1)
    assert host.reaches("10.1.0.3", netns=C1)


def test_each_attachment_has_rules_of_its_own_and_delete_takes_them_all(host):
    config = L2 | {"macspoofchk": True}
    result = added(host, config)
    assert host.call("ADD", config, ifname="eth1").status == 0

    # A jump, a jump, a match and a drop for each.
    assert len(spoof_rules(host)) == 8
    assert host.call("CHECK", config | {"prevResult": result}).result == {}
    for _ in range(2):
        assert host.call("DEL", config).result == {}
        assert spoof_chains(host) == ["cni-br-iface-c1-eth1", "cni-br-iface-c1-eth1-mac"]
        assert len(spoof_rules(host)) == 4
    host.sh("ip netns del c1")
    assert host.call("DEL", config, ifname="eth1").result == {}
    assert nothing_left(host)


def test_rules_of_macspoofchk_that_an_attachment_left_are_replaced(host):
    """A crash took its interface, and it is added again."""
    config = L2 | {"macspoofchk": True}
    added(host, config)
    host.sh("ip link del eth0", netns=C1)

    result = host.call("ADD", config).result

    assert len(spoof_rules(host)) == 4
    assert host.call("CHECK", config | {"prevResult": result}).result == {}


def test_rules_that_are_half_gone_are_deleted_all_the_same(host):
    config = L2 | {"macspoofchk": True}
    added(host, config)
    host.sh("nft flush chain bridge nat cni-br-iface-c1-eth0-mac")
    host.sh("nft flush chain bridge nat PREROUTING")

    assert host.call("DEL", config).result == {}
    assert nothing_left(host)


@pytest.mark.parametrize("ifname", ['e"0;}', "e\\{$0}#", "eth0.5@x"])
def test_the_name_of_an_interface_is_no_language_of_nft_s(host, ifname):
    config = L2 | {"macspoofchk": True}
    host.container("c1")

    result = host.call("ADD", config, ifname=ifname).result

    assert len(spoof_rules(host)) == 4
    assert host.call("CHECK", config | {"prevResult": result}, ifname=ifname).result == {}
    assert host.call("DEL", config, ifname=ifname).result == {}
    assert nothing_left(host)


def test_without_nft_macspoofchk_is_an_error_and_nothing_is_left(host):
    host.container("c1")
    config = L2 | {"macspoofchk": True}
    path = _path_without_nft(host)

    answer = host.call("ADD", config, PATH=path)

    assert answer.error["msg"] == "macspoofchk: there is no nft program"
    assert host.call("STATUS", config, PATH=path).refusal == (
        50,
        "macspoofchk needs nft, and it cannot be run",
    )
    assert nothing_left(host)
    assert host.names(netns=C1) == set()


def test_a_failed_add_takes_its_rules_of_macspoofchk_along(host):
    config = gateway(("10.1.0.0/30",), macspoofchk=True)
    added(host, config)
    host.container("c2")

    assert host.call("ADD", config, cid="c2").status == 1

    assert spoof_chains(host) == ["cni-br-iface-c1-eth0", "cni-br-iface-c1-eth0-mac"]
    assert len(spoof_rules(host)) == 4
