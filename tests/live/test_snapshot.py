"""A snapshot tells of everything that a plugin could set, and of nothing that sets itself."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pyroute2 import IPSet
from pyroute2.netlink.exceptions import NetlinkError

from podnet.kernel import snapshot, snapshot_links, snapshot_rulesets, snapshot_sysctls
from podnet.kernel.facts import Fact, numbered
from podnet.kernel.netlink import Netlink
from podnet.node import Node

Shell = Callable[[str], str]
LINKS = """
ip link add br0 type bridge
ip link add v0 type veth peer name v1
ip link set v0 master br0
ip link set br0 up; ip link set v0 up; ip link set v1 up
ip addr add 10.1.0.1/24 dev br0
"""


@pytest.fixture
def sh(node: Node) -> Shell:
    """Run a shell script on the Node; return what it prints."""

    def run(script: str) -> str:
        done = node.run(
            subprocess.run,
            ["sh", "-ec", script],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{script}: {done.stderr}"
        return str(done.stdout)

    return run


def came(node: Node, act: Callable[[], object]) -> dict[str, dict[str, object]]:
    """Return the facts that are there only after *act*: in words, with what is said of them."""
    before = node.run(snapshot.take)
    act()
    return {str(f): dict(f.attributes) for f in node.run(snapshot.take) - before}


@pytest.mark.root
def test_what_nobody_changes_stays_the_same_value(node: Node, sh: Shell) -> None:
    sh(LINKS + "ping -c1 -w2 10.1.0.1 2>/dev/null || :; nft add table ip t; iptables -t nat -S")

    assert node.run(snapshot.take) == node.run(snapshot.take)


# What is set, the fact that tells of it, and what it says.
SET: dict[str, tuple[str, str, dict[str, object]]] = {
    "link": ("ip link add v2 type veth peer name v3", "link v2", {"kind": "veth", "mtu": 1500}),
    "mtu": ("ip link set v0 mtu 1400", "link v0", {"mtu": 1400}),
    "master": ("ip link set v1 master br0", "link v1", {"master": "br0"}),
    "alias": ("ip link set v1 alias hello", "link v1", {"alias": "hello"}),
    "mac": ("ip link set v1 address 02:00:00:00:00:05", "link v1", {"mac": "02:00:00:00:00:05"}),
    "promiscuity": ("ip link set v1 promisc on", "link v1", {"promiscuous": 1}),
    "learning": ("bridge link set dev v0 learning off", "link v0", {"port_learning": "0"}),
    "hairpin": ("bridge link set dev v0 hairpin on", "link v0", {"port_hairpin": "1"}),
    "address": (
        "ip addr add 10.9.0.1/24 broadcast + dev v1",
        "address 10.9.0.1/24 dev v1",
        {"broadcast": "10.9.0.255"},
    ),
    "address of IPv6": ("ip addr add fd00::1/64 dev v1", "address fd00::1/64 dev v1", {}),
    "link-local address": (
        "ip addr add fe80::1/64 dev v1",
        "address fe80::1/64 dev v1",
        {"scope": 253},
    ),
    "route": (
        "ip route add 10.7.0.0/16 via 10.1.0.9 metric 5 mtu 1300",
        "route 10.7.0.0/16 via 10.1.0.9 dev br0 metric 5 table main",
        {"protocol": "boot", "mtu": 1300},
    ),
    "route of another table": (
        "ip route add blackhole 10.8.0.0/16 table 1234",
        "route blackhole 10.8.0.0/16 table 1234",
        {"protocol": "boot"},
    ),
    "route with next hops": (
        "ip route add default nexthop via 10.1.0.3 nexthop via 10.1.0.4 weight 2",
        (
            "route 0.0.0.0/0 nexthop weight 1 via 10.1.0.3 dev br0 nexthop weight 2 via 10.1.0.4 "
            "dev br0 table main"
        ),
        {"protocol": "boot"},
    ),
    "next hop": (
        "ip nexthop add id 7 via 10.1.0.9 dev br0; ip route add 10.9.0.0/16 nhid 7",
        "nexthop 7",
        {"via": "10.1.0.9", "dev": "br0"},
    ),
    "route by a next hop": (
        "ip nexthop add id 7 via 10.1.0.9 dev br0; ip route add 10.9.0.0/16 nhid 7",
        "route 10.9.0.0/16 nhid 7 via 10.1.0.9 dev br0 table main",
        {},
    ),
    "group of next hops": (
        (
            "ip nexthop add id 7 via 10.1.0.9 dev br0; ip nexthop add id 8 via 10.1.0.8 dev br0; "
            "ip nexthop add id 9 group 7/8"
        ),
        "nexthop 9",
        {"group": (7, 8)},
    ),
    "rule": (
        "ip rule add priority 77 from 10.1.0.2 fwmark 0x10/0xff lookup 88",
        "rule IPv4 77: from 10.1.0.2/32 fwmark 0x10/0xff lookup 88",
        {},
    ),
    "rule of IPv6": (
        "ip -6 rule add priority 78 iif v0 blackhole",
        "rule IPv6 78: from all iif v0 blackhole",
        {},
    ),
    "neighbour": (
        "ip neigh add 10.1.0.7 lladdr 02:00:00:00:00:01 dev br0 nud permanent",
        "neighbour 10.1.0.7 dev br0",
        {"mac": "02:00:00:00:00:01"},
    ),
    "proxy": ("ip neigh add proxy 10.1.0.8 dev br0", "neighbour proxy 10.1.0.8 dev br0", {}),
    "forwarding entry": (
        "bridge fdb add 02:00:00:00:00:07 dev v0 master static",
        "fdb 02:00:00:00:00:07 dev v0 master",
        {},
    ),
    "bucket": (
        "tc qdisc add dev v0 root handle 1: tbf rate 8mbit burst 100kb latency 25ms",
        "qdisc tbf 1: dev v0 root",
        {"rate": 1_000_000},
    ),
    "class": (
        (
            "tc qdisc add dev v1 root handle 2: htb; "
            "tc class add dev v1 parent 2: classid 2:1 htb rate 1mbit"
        ),
        "class htb 2:1 dev v1 root",
        {},
    ),
    "filter": (
        (
            "tc qdisc add dev v1 ingress; tc filter add dev v1 parent ffff: protocol all prio 1 "
            "u32 match u32 0 0 action mirred egress redirect dev br0"
        ),
        "filter u32 dev v1 parent ffff: pref 1 chain 0 protocol 0x0003",
        {"actions": ("mirred redirect to br0",)},
    ),
    "filter of clsact": (
        "tc qdisc add dev v1 clsact; tc filter add dev v1 egress prio 3 u32 match u32 0 0",
        "filter u32 dev v1 egress pref 3 chain 0 protocol 0x0003",
        {},
    ),
    "nftables rule": (
        (
            "nft 'add table ip t; add chain ip t c { type nat hook postrouting priority 100; }; "
            'add rule ip t c ip saddr 10.1.0.2 counter masquerade comment "mine"\''
        ),
        (
            'nft rule ip t c: "mine" match op == left payload protocol ip field saddr '
            "right 10.1.0.2 counter masquerade"
        ),
        {},
    ),
    "element of a set": (
        "nft 'add table inet t; add set inet t s { type ipv4_addr; elements = { 1.2.3.4 }; }'",
        "nft element inet t s: 1.2.3.4",
        {},
    ),
    "iptables rule": (
        "iptables -t nat -A POSTROUTING -s 10.2.0.1 -j MASQUERADE",
        "iptables rule nat POSTROUTING -s 10.2.0.1/32 -j MASQUERADE",
        {},
    ),
    "iptables chain": ("ip6tables -N MINE", "ip6tables chain filter MINE", {}),
    "the older iptables' rule": (
        "iptables-legacy -A FORWARD -s 10.2.0.1 -j DROP",
        "legacy iptables rule filter FORWARD -s 10.2.0.1/32 -j DROP",
        {},
    ),
    "sysctl": (
        "echo 1 > /proc/sys/net/ipv4/conf/v0/arp_notify",
        "sysctl ipv4/conf/v0/arp_notify",
        {"value": "1"},
    ),
    "sysctl of everything": (
        "echo 0 > /proc/sys/net/ipv4/tcp_syncookies",
        "sysctl ipv4/tcp_syncookies",
        {"value": "0"},
    ),
}


@pytest.mark.root
@pytest.mark.parametrize("what", SET)
def test_what_somebody_sets_is_a_fact(node: Node, sh: Shell, what: str) -> None:
    script, fact, said = SET[what]
    sh(LINKS)

    found = came(node, lambda: sh(script))

    assert fact in found, sorted(found)
    assert said.items() <= found[fact].items()


@pytest.mark.root
def test_an_ip_set_and_its_entries_are_facts(node: Node) -> None:
    def make() -> None:
        with IPSet() as sets:
            sets.create("mine", stype="hash:ip")
            sets.add("mine", "10.1.1.1", etype="ip")

    try:
        found = came(node, lambda: node.run(make))
    except NetlinkError as exc:
        pytest.skip(f"the kernel has no IP sets: {exc}")

    assert found == {"ipset mine": {"type": "hash:ip"}, "ipset entry mine 10.1.1.1": {}}


@pytest.mark.root
def test_a_rule_that_is_there_twice_is_two_facts(node: Node, sh: Shell) -> None:
    rule = "iptables -A FORWARD -s 10.2.0.1 -j DROP;"
    sh(rule)

    found = came(node, lambda: sh(rule))

    assert list(found) == ["iptables rule filter FORWARD -s 10.2.0.1/32 -j DROP #2"]


@pytest.mark.root
def test_asking_iptables_makes_no_facts(node: Node, sh: Shell) -> None:
    assert came(node, lambda: sh("iptables -t nat -S; ip6tables -S")) == {}


@pytest.mark.root
def test_a_ruleset_that_has_not_changed_is_not_read_again(node: Node, sh: Shell) -> None:
    sh("nft add table ip t")
    node.run(snapshot.take)
    read = snapshot_rulesets.times_read()

    node.run(snapshot.take)
    again = snapshot_rulesets.times_read()
    sh("nft add table ip t2")
    found = {str(fact) for fact in node.run(snapshot.take)}

    assert again == read
    assert "nft table ip t2" in found


@pytest.mark.root
def test_without_nft_its_tables_are_facts_all_the_same(
    node: Node, sh: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    sh("nft add table inet t; nft add chain inet t c")
    monkeypatch.setenv("PATH", "/nowhere")

    found = {str(fact) for fact in node.run(snapshot.take)}

    assert "nft table inet t" in found
    assert "nft chain inet t c" not in found


@pytest.mark.root
def test_the_sysctls_of_a_link_are_those_that_proc_shows(node: Node, sh: Shell) -> None:
    sh(LINKS)
    sh("cd /proc/sys/net; echo 2 > ipv4/conf/v0/rp_filter; echo 7 > ipv6/conf/v0/dad_transmits")

    def told() -> dict[str, str]:
        with Netlink() as netlink:
            (link,) = (one for one in snapshot_links.every(netlink) if one.name == "v0")
            return snapshot_sysctls.of_link(link)

    found = node.run(told)
    shown = dict(
        line.split(":", 1)
        for line in sh(
            "cd /proc/sys/net; grep -rH '' ipv[46]/conf/v0 2>/dev/null || :"
        ).splitlines()
    )

    assert {key: shown[key] for key in found if key in shown} == found
    assert found["ipv4/conf/v0/rp_filter"] == "2"
    assert len(found) > 60


@pytest.mark.root
def test_a_sysctl_that_nobody_can_set_in_a_namespace_is_no_fact(node: Node) -> None:
    """Its value is the whole machine's, where somebody else may change it."""
    seen = node.run(snapshot_sysctls.every)

    modes = {key: node.run(Path("/proc/sys/net", key).stat).st_mode & 0o222 for key in seen}

    assert [key for key, mode in modes.items() if not mode] == []


def test_equals_are_numbered_and_put_in_their_place() -> None:
    facts = [Fact("rule", "a"), Fact("rule", "b"), Fact("rule", "a"), Fact("link", "a")]

    found = [(fact.key, fact.where) for fact in numbered(facts, "node")]

    assert found == [("a", "node"), ("b", "node"), ("a #2", "node"), ("a", "node")]
