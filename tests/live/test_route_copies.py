"""A link on its way: routes that are made again elsewhere, namespaces between, names and masters."""

import struct
from collections.abc import Callable
from ipaddress import ip_interface
from subprocess import run
from typing import Any

import pytest
from pyroute2 import IPRoute
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from podnet.kernel import addresses, links, namespaces, route_copies
from podnet.kernel.netlink import Netlink, NetlinkError
from podnet.kernel.route_copies import Copy
from podnet.node import Node

pytestmark = pytest.mark.root

LINKS = """
sysctl -q -w net.ipv6.conf.default.accept_dad=0
ip link add eth0 type veth peer name far
ip link add eth1 type veth peer name far1
for link in far eth0 far1 eth1; do ip link set $link up; done
ip addr add 10.1.0.2/24 dev eth0; ip addr add fd00::2/64 dev eth0 nodad
ip addr add 10.7.0.2/24 dev eth1
"""
ROUTES = {
    "metric": "ip route add default via 10.1.0.1 metric 50",
    "metrics": "ip route add 10.2.0.0/16 via 10.1.0.3 src 10.1.0.2 mtu lock 1300 advmss 1200",
    "protocol and type of service": "ip route add 10.2.0.0/16 via 10.1.0.3 proto static tos 8",
    "next hops": "ip route add 10.3.0.0/16 nexthop via 10.1.0.4 weight 2 nexthop via 10.7.0.5",
    "a gateway of the other family": "ip route add 10.8.0.0/16 via inet6 fd00::9 dev eth0",
    "a gateway that is nowhere": "ip route add 10.6.0.0/16 via 172.16.0.1 dev eth0 onlink",
    "a gateway that another route leads to": (
        "ip route add 10.4.0.0/16 dev eth0 scope link; ip route add 10.11.0.0/16 via 10.4.0.1"
    ),
    "a next hop that is an object": (
        "ip nexthop add id 5 via 10.1.0.7 dev eth0; ip route add 10.9.0.0/16 nhid 5"
    ),
    "next hops, IPv6": "ip -6 route add default nexthop via fd00::1 nexthop via fd00::3 weight 3",
    "preference, IPv6": "ip -6 route add fd02::/64 via fd00::4 src fd00::2 metric 77 pref high",
    "one of two": (
        "ip route add 10.5.0.0/16 via 10.1.0.1; ip route prepend 10.5.0.0/16 via 10.1.0.2 dev lo "
        "onlink || true; ip route prepend 10.5.0.0/16 via 10.1.0.9"
    ),
}


@pytest.fixture
def sh(node: Node) -> Callable[[str], str]:
    """Run a script in a Node with links."""

    def script(text: str) -> str:
        done = node.run(run, ["sh", "-ec", text], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    script(LINKS)
    return script


def _by_hand(sh: Callable[[str], str], table: str) -> list[str]:
    """Return a table's routes in the kernel's order, without those it makes itself."""
    shown = sh(
        f"ip route show table {table} 2>/dev/null || true; "
        f"ip -6 route show table {table} 2>/dev/null || true"
    )
    entries = shown.replace("\n\t", " ").splitlines()
    return [" ".join(entry.split()) for entry in entries if "proto kernel" not in entry]


def _index(name: str) -> int:
    with Netlink() as netlink:
        link = links.find(netlink, name)
        assert link is not None
        return link.index


def _copies(name: str = "eth0") -> list[Copy]:
    with Netlink() as netlink:
        return route_copies.by(netlink, _index(name))


def _make(copies: list[Copy], **where: int) -> list[bool]:
    with Netlink() as netlink:
        return [route_copies.make(netlink, copy.moved(**where)) for copy in copies]


def _as_pyroute2_reads(copy: Copy) -> Any:
    message = rtmsg(struct.pack("=IHHII", 16 + len(copy.payload), 24, 0, 0, 0) + copy.payload)
    message.decode()
    return message


@pytest.mark.parametrize("kind", ROUTES)
def test_routes_are_the_same_in_another_table(node, sh, kind):
    sh(ROUTES[kind])
    before = _by_hand(sh, "main")

    assert all(node.run(_make, node.run(_copies), table=1001))

    assert before
    assert _by_hand(sh, "1001") == before
    assert not any(node.run(_make, node.run(_copies), table=1001))  # they are there already


def test_routes_are_the_same_when_the_link_went_down(node, sh):
    """Down, they go; the dead flags that the kernel shows of the others are not sent back."""
    sh("; ".join(ROUTES.values()))
    before = sorted(_by_hand(sh, "main"))
    copies = node.run(_copies)

    sh("ip link set eth0 down; ip link set eth0 up; ip addr add fd00::2/64 dev eth0 nodad || true")
    sh("ip nexthop replace id 5 via 10.1.0.7 dev eth0")
    node.run(_make, copies)

    assert sorted(_by_hand(sh, "main")) == before


def test_only_routes_of_the_link_that_somebody_made_are_copied(node, sh):
    sh("ip route add 10.8.0.0/16 via 10.7.0.1; ip route add 10.9.0.0/16 via 10.1.0.1 table 7")
    sh("ip route add blackhole 10.10.0.0/16; ip route add 10.3.0.0/16 dev eth0")

    [copy] = node.run(_copies)

    message = _as_pyroute2_reads(copy)
    assert message.get("RTA_DST") == "10.3.0.0"
    assert (copy.table, copy.links) == (254, {node.run(_index, "eth0")})


def test_a_link_with_another_index_takes_its_routes_over(node, sh):
    sh(ROUTES["next hops"] + "; ip route add 10.4.0.0/16 via 10.1.0.6")
    before = _by_hand(sh, "main")
    copies, was = node.run(_copies), node.run(_index, "eth0")
    sh(
        "ip link del eth0; ip link add eth0 index 4321 type veth peer name far; "
        "ip link set far up; ip link set eth0 up; ip addr add 10.1.0.2/24 dev eth0"
    )

    node.run(_make, copies, was=was, now=4321)

    assert sorted(_by_hand(sh, "main")) == sorted(before)


def test_pyroute2_reads_a_route_in_a_table_beyond_the_header(node, sh):
    sh(ROUTES["metrics"])

    [copy] = node.run(_copies)
    message = _as_pyroute2_reads(copy.moved(table=70000))

    assert (message["table"], message.get("RTA_TABLE")) == (0, 70000)
    assert message.get("RTA_OIF") == node.run(_index, "eth0")
    assert message.get_nested("RTA_METRICS", "RTAX_MTU") == 1300


def test_a_route_that_the_kernel_refuses_is_an_error(node, sh):
    sh(ROUTES["metric"])

    def refused() -> None:
        copies = _copies()
        run(["ip", "link", "set", "eth0", "down"], check=True)
        _make(copies)

    with pytest.raises(NetlinkError, match="make a route again"):
        node.run(refused)


# Links on their way


def test_a_link_moves_with_another_name_and_alias_in_one_request(node, sh):
    sh("ip netns add there; ip link add taken type bridge")

    def travel() -> Any:
        with namespaces.opened("/run/netns/there") as there, Netlink() as netlink:
            links.move(netlink, _index("eth0"), there, name="taken", alias="eth0")
            away = links.find(netlink, "eth0")
        with namespaces.entered("/run/netns/there"), Netlink() as netlink:
            return away, links.find(netlink, "taken")

    away, there = node.run(travel)

    assert away is None
    assert (there.kind, there.alias, there.up) == ("veth", "eth0", False)


def test_a_link_enters_and_leaves_a_master_and_its_alias_can_be_cleared(node, sh):
    sh("ip link add br0 type bridge")

    def both() -> list[Any]:
        with Netlink() as netlink, IPRoute() as ipr:
            index, seen = _index("eth0"), []
            for master, alias in ((_index("br0"), "a name"), (0, "")):
                links.set_master(netlink, index, master)
                links.set_alias(netlink, index, alias)
                [link] = ipr.get_links(index)
                seen.append((link.get("IFLA_MASTER"), link.get("IFLA_IFALIAS")))
            return seen

    assert node.run(both) == [(node.run(_index, "br0"), "a name"), (None, None)]


def test_an_address_has_the_scope_that_it_is_given(node, sh):
    def add() -> Any:
        with Netlink() as netlink:
            index = _index("eth1")
            addresses.add(netlink, index, ip_interface("10.8.0.1/24"), scope=253)
            return {str(a.interface): a.scope for a in addresses.of(netlink, index, 4)}

    assert node.run(add) == {"10.7.0.2/24": 0, "10.8.0.1/24": 253}
