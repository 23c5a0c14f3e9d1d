"""vxlan links, neighbours and forwarding entries, proved against pyroute2; many requests at once."""

import threading
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import TypeVar

import pytest
from pyroute2 import IPRoute

from podnet.kernel import addresses, links, neighbours, routes, vxlan
from podnet.kernel.links import Link
from podnet.kernel.monitor import Monitor, News
from podnet.kernel.neighbours import Entry, Forwarding, Neighbour
from podnet.kernel.netlink import Netlink
from podnet.kernel.routes import Route
from podnet.kernel.vxlan import Vxlan
from podnet.node import Node

T = TypeVar("T")
MAC = "02:00:00:00:00:07"


def in_node(node: Node, function: Callable[[Netlink, Link], T]) -> T:
    """Run *function* with a socket and an uplink in the Node."""

    def inside() -> T:
        with Netlink() as netlink:
            links.add_bridge(netlink, "up0", mac="02:00:00:00:00:01")
            uplink = links.find(netlink, "up0")
            assert uplink is not None
            links.set_up(netlink, uplink.index)
            addresses.add(netlink, uplink.index, ip_interface("10.99.0.1/16"))
            return function(netlink, uplink)

    return node.run(inside)


def tunnel(netlink: Netlink, uplink: Link) -> Link:
    made = Vxlan(vni=42, link=uplink.index, local=ip_address("10.99.0.1"), port=8472)
    vxlan.add(netlink, "vx", made, mtu=1450, mac=MAC)
    link = links.find(netlink, "vx")
    assert link is not None
    links.set_up(netlink, link.index)
    return link


@pytest.mark.parametrize("local", ["10.99.0.1", "fd99::1"])
def test_a_vxlan_link_is_as_pyroute2_reads_it(node: Node, local: str) -> None:
    def check(netlink: Netlink, uplink: Link) -> None:
        wanted = Vxlan(
            vni=42, link=uplink.index, local=ip_address(local), port=4789, learning=True, gbp=True
        )
        vxlan.add(netlink, "vx", wanted, mtu=1400, mac=MAC)

        found = links.find(netlink, "vx")
        assert found is not None
        assert vxlan.of(found) == wanted
        with IPRoute() as ipr:
            (link,) = ipr.link("get", ifname="vx")
        data = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA")
        assert (link.get("IFLA_ADDRESS"), link.get("IFLA_MTU")) == (MAC, 1400)
        assert data.get("IFLA_VXLAN_ID") == 42
        assert data.get("IFLA_VXLAN_LEARNING") == 1
        assert data.get("IFLA_VXLAN_GROUP") is None
        kind = "IFLA_VXLAN_LOCAL6" if ":" in local else "IFLA_VXLAN_LOCAL"
        assert data.get(kind) == local

    in_node(node, check)


def test_entries_are_as_pyroute2_reads_them(node: Node) -> None:
    def check(netlink: Netlink, uplink: Link) -> None:
        index = tunnel(netlink, uplink).index
        neighbour = Neighbour(index, ip_address("10.5.1.0"), "02:00:00:00:01:00")
        neighbour6 = Neighbour(index, ip_address("fd00:5::"), "02:00:00:00:01:06")
        entry = Forwarding(index, "02:00:00:00:01:00", ip_address("10.99.0.2"))
        wanted: list[Entry] = [neighbour, neighbour6, entry]

        assert netlink.batch([neighbours.setting(one) for one in wanted]) == []

        assert neighbours.of(netlink, index, 4) == [neighbour]
        assert neighbours.of(netlink, index, 6) == [neighbour6]
        assert neighbours.forwarding_of(netlink, index) == [entry]
        with IPRoute() as ipr:
            (shown,) = ipr.get_neighbours(ifindex=index, family=2)
            assert shown.get("NDA_LLADDR") == "02:00:00:00:01:00"
            assert shown["state"] == 0x80
            fdb = [e for e in ipr.fdb("dump", ifindex=index) if e.get("NDA_DST") == "10.99.0.2"]
            assert [e.get("NDA_LLADDR") for e in fdb] == ["02:00:00:00:01:00"]
        assert netlink.batch([neighbours.deleting(one) for one in wanted]) == []
        assert not neighbours.of(netlink, index, 4)
        assert not neighbours.forwarding_of(netlink, index)

    in_node(node, check)


def test_setting_an_entry_again_replaces_it(node: Node) -> None:
    def check(netlink: Netlink, uplink: Link) -> None:
        index = tunnel(netlink, uplink).index
        for last in (1, 2):
            mac, remote = f"02:00:00:00:00:0{last}", ip_address(f"10.99.0.{last}")
            entries: list[Entry] = [
                Neighbour(index, ip_address("10.5.1.0"), mac),
                Forwarding(index, "02:00:00:00:00:aa", remote),
            ]
            route = Route(dst=ip_network("10.5.1.0/24"), gw=remote, oif=uplink.index, protocol=109)
            requests = [*map(neighbours.setting, entries), routes.replacing(route)]
            assert netlink.batch(requests) == []

            assert neighbours.of(netlink, index, 4) == entries[:1]
            assert neighbours.forwarding_of(netlink, index) == entries[1:]
            assert routes.every(netlink, 4, protocol=109) == [route]

    # 10.99.0.1 is our own address: no gateway.
    def shifted(netlink: Netlink, uplink: Link) -> None:
        addresses.delete(netlink, uplink.index, ip_interface("10.99.0.1/16"))
        addresses.add(netlink, uplink.index, ip_interface("10.99.9.9/16"))
        check(netlink, uplink)

    in_node(node, shifted)


def test_a_batch_goes_on_after_a_refusal_and_returns_it(node: Node) -> None:
    def check(netlink: Netlink, uplink: Link) -> None:
        index = tunnel(netlink, uplink).index
        many = [
            Neighbour(index, ip_address("10.5.0.0") + n, "02:00:00:00:00:01") for n in range(500)
        ]
        absent = Neighbour(index, ip_address("10.6.0.0"), "02:00:00:00:00:01")
        before = netlink.messages

        refused = netlink.batch(
            [
                neighbours.deleting(absent),
                *map(neighbours.setting, many),
                neighbours.deleting(absent),
            ]
        )

        assert ["delete neighbour 10.6.0.0" in str(error) for error in refused] == [True, True]
        assert netlink.messages - before < 502 + 20  # not one more for each that is done
        assert set(neighbours.of(netlink, index, 4)) == set(many)
        assert links.find(netlink, "vx") is not None  # the socket is in step

    in_node(node, check)


def test_an_onlink_route_is_read_as_it_was_set(node: Node) -> None:
    def check(netlink: Netlink, uplink: Link) -> None:
        index = tunnel(netlink, uplink).index
        made = [
            Route(dst=ip_network("10.5.1.0/24"), gw=ip_address("10.5.1.0"), oif=index, onlink=True),
            Route(
                dst=ip_network("fd00:5::/64"),
                gw=ip_address("fd00:5::"),
                oif=index,
                onlink=True,
                priority=1024,
                protocol=109,
            ),
        ]

        assert netlink.batch([routes.replacing(route) for route in made]) == []

        assert made[0] in routes.every(netlink, 4)
        assert routes.every(netlink, 6, protocol=109) == made[1:]
        with IPRoute() as ipr:
            dumped = ipr.route("dump", family=2)
            [shown] = [route for route in dumped if route.get("RTA_DST") == "10.5.1.0"]
        assert shown["flags"] & 4

    in_node(node, check)


def test_the_monitor_says_what_is_set_and_gone_and_which_links_changed(node: Node) -> None:
    def check(netlink: Netlink, uplink: Link) -> None:
        index = tunnel(netlink, uplink).index
        route = Route(
            dst=ip_network("10.5.1.0/24"), gw=ip_address("10.5.1.0"), oif=index, onlink=True
        )
        entry = Neighbour(index, ip_address("10.5.1.0"), MAC)
        nameless = replace(entry, mac="")
        behind = Forwarding(index, MAC, ip_address("192.0.2.7"))
        steps: list[tuple[Callable[[], object], News]] = [
            (lambda: netlink.batch([neighbours.setting(entry)]), News(there=(entry,))),
            (lambda: netlink.batch([neighbours.setting(behind)]), News(there=(behind,))),
            (lambda: netlink.batch([routes.replacing(route)]), News(there=(route,))),
            (lambda: netlink.batch([routes.deleting(route)]), News(gone=frozenset({route}))),
            (lambda: netlink.batch([neighbours.deleting(entry)]), News(gone=frozenset({nameless}))),
            (lambda: netlink.batch([neighbours.deleting(behind)]), News(gone=frozenset({behind}))),
            (lambda: links.set_mtu(netlink, index, 1400), News(links=frozenset({index}))),
        ]
        for act, news in steps:
            with Monitor() as monitor:
                act()
                assert monitor.wait() == news
        with Monitor() as monitor:
            addresses.add(netlink, index, ip_interface("fe80::7/64"), flags=addresses.IFA_F_NODAD)
            addresses.add(netlink, index, ip_interface("10.5.2.0/32"))
            assert monitor.wait().links == {index}
            links.delete(netlink, "vx")
            assert index in monitor.wait().links

    in_node(node, check)


def test_of_what_was_set_and_removed_the_last_word_counts(node: Node) -> None:
    def check(netlink: Netlink, uplink: Link) -> None:
        index = tunnel(netlink, uplink).index
        one = Neighbour(index, ip_address("10.5.1.0"), MAC)
        other, nameless = Neighbour(index, ip_address("10.5.2.0"), MAC), replace(one, mac="")
        with Monitor() as monitor:
            netlink.batch([neighbours.setting(one), neighbours.setting(other)])
            netlink.batch([neighbours.deleting(one), neighbours.setting(other)])
            assert monitor.wait() == News(there=(other,), gone=frozenset({nameless}))

    in_node(node, check)


def test_a_monitor_does_not_hear_what_its_own_do_to_routes(node: Node) -> None:
    def check(netlink: Netlink, uplink: Link) -> None:
        index = tunnel(netlink, uplink).index
        ours, theirs = (
            Route(dst=ip_network(text), gw=ip_address("10.5.1.0"), oif=index, onlink=True)
            for text in ("10.5.1.0/24", "10.5.2.0/24")
        )
        with Monitor(mute=netlink.port) as monitor, Netlink() as another:
            netlink.batch([routes.replacing(ours)])
            another.batch([routes.replacing(theirs)])
            assert monitor.wait() == News(there=(theirs,))

    in_node(node, check)


def test_a_monitor_can_be_stopped_from_another_thread(node: Node) -> None:
    def check() -> None:
        with Monitor() as monitor:
            threading.Timer(0.05, monitor.stop).start()
            assert monitor.wait() == News()

    node.run(check)
