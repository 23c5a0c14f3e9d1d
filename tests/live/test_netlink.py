"""The netlink codec, proved against pyroute2: each reads what the other made.

Everything happens in a Node of its own; the functions under test run on its threads.
"""

import errno
import os
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from podnet.kernel import addresses, links, namespaces, routes
from podnet.kernel.addresses import IFA_F_NODAD, IFA_F_PERMANENT, IFA_F_TENTATIVE
from podnet.kernel.netlink import DumpInterruptedError, Netlink, NetlinkError
from podnet.kernel.routes import Route
from podnet.node import Node

MAC = "02:11:22:33:44:55"
OTHER = Path("/run/netns/other")
AF_INET, AF_INET6 = 2, 10
IFF_UP, IFF_PROMISC, IFF_ALLMULTI = 0x1, 0x100, 0x200


def _inside(node: Node, act: Callable[[Netlink, IPRoute], Any]) -> Any:
    """Run *act* in the Node with a socket of ours and one of pyroute2's."""

    def work():
        with Netlink() as netlink, IPRoute() as ipr:
            return act(netlink, ipr)

    return node.run(work)


def _seen(ipr: IPRoute, name: str) -> Any:
    """What pyroute2 says about one link."""
    [link] = ipr.link("get", ifname=name)
    return link


def _index(ipr: IPRoute, name: str) -> Any:
    [index] = ipr.link_lookup(ifname=name)
    return index


def _veth(netlink: Netlink, name: str = "eth0", peer: str = "veth1", **options: Any) -> None:
    """A pair within one namespace."""
    own = os.open(namespaces.OWN, os.O_RDONLY)
    try:
        links.add_veth(netlink, name, peer=peer, peer_netns=own, **options)
    finally:
        os.close(own)


def _found(netlink: Netlink, name: str) -> links.Link:
    link = links.find(netlink, name)
    assert link is not None, name
    return link


def _live_link(netlink: Netlink, name: str = "eth0") -> int:
    """A link that is up and can have addresses: one end of a pair."""
    _veth(netlink, name, f"{name}p")
    for end in (name, f"{name}p"):
        links.set_up(netlink, _found(netlink, end).index)
    return _found(netlink, name).index


# Links: ours made, pyroute2 reads


def test_a_bridge_of_ours_is_a_bridge_with_mtu_and_mac(node):
    def act(netlink, ipr):
        links.add_bridge(netlink, "br0", mtu=1400, mac=MAC)
        return _seen(ipr, "br0")

    link = _inside(node, act)

    assert link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == "bridge"
    assert (link.get("IFLA_MTU"), link.get("IFLA_ADDRESS")) == (1400, MAC)
    assert link["flags"] & IFF_UP == 0


def test_a_bridge_s_own_address_stays_when_ports_come_and_go(node):
    """One that was never set becomes 00:00:00:00:00:00 with the last port (plugins#620)."""

    def act(netlink, ipr):
        links.add_bridge(netlink, "br0", mac=MAC)
        _veth(netlink, mac="02:00:00:00:00:01")
        links.add_port(netlink, "eth0", bridge=_found(netlink, "br0").index, alias="mine")
        with_port = _seen(ipr, "br0").get("IFLA_ADDRESS")
        links.delete(netlink, "eth0")
        return with_port, _seen(ipr, "br0").get("IFLA_ADDRESS")

    assert _inside(node, act) == (MAC, MAC)


def test_a_veth_pair_of_ours_has_both_ends_as_asked(node):
    def act(netlink, ipr):
        _veth(netlink, mtu=1400, mac=MAC)
        return _seen(ipr, "eth0"), _seen(ipr, "veth1")

    near, far = _inside(node, act)

    assert near.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == "veth"
    assert near.get("IFLA_ADDRESS") == MAC
    assert (near.get("IFLA_MTU"), far.get("IFLA_MTU")) == (1400, 1400)
    assert near.get("IFLA_LINK") == far["index"]
    # As the reference leaves them: 1000 in the container, 0 on the host.
    assert (near.get("IFLA_TXQLEN"), far.get("IFLA_TXQLEN")) == (1000, 0)


def test_the_far_end_of_a_veth_pair_is_in_the_other_namespace(node):
    node.run(namespaces.create, OTHER)

    def act(netlink, ipr):
        with OTHER.open("rb") as other:
            links.add_veth(netlink, "eth0", peer="veth1", peer_netns=other.fileno())
        near = links.find(netlink, "eth0")
        here = ipr.link_lookup(ifname="veth1")
        with namespaces.entered(str(OTHER)), Netlink() as there:
            return near, here, links.find(there, "veth1")

    near, here, far = _inside(node, act)

    assert here == []
    assert (near.peer, far.peer) == (far.index, near.index)
    assert (near.peer_namespace, far.peer_namespace) == (0, 0)


def test_what_a_port_may_do_is_set_and_unset(node):
    def act(netlink, ipr):
        links.add_bridge(netlink, "br0")
        _veth(netlink)
        index, bridge = (_found(netlink, name).index for name in ("eth0", "br0"))
        links.add_port(netlink, "eth0", bridge=bridge, alias="mine")
        links.set_port(netlink, index, hairpin=True, isolated=True)
        on = _seen(ipr, "eth0")
        links.set_port(netlink, index, hairpin=False, isolated=False)
        return bridge, on, _seen(ipr, "eth0")

    bridge, on, off = _inside(node, act)

    def port(link: Any, name: str) -> Any:
        data = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_SLAVE_DATA")
        return data.get(name)

    assert (on.get("IFLA_MASTER"), on["flags"] & IFF_UP) == (bridge, IFF_UP)
    assert (port(on, "IFLA_BRPORT_MODE"), port(on, "IFLA_BRPORT_ISOLATED")) == (1, 1)
    assert (port(off, "IFLA_BRPORT_MODE"), port(off, "IFLA_BRPORT_ISOLATED")) == (0, 0)


def test_alias_promiscuity_mac_mtu_and_up_are_set_one_by_one(node):
    def act(netlink, ipr):
        links.add_bridge(netlink, "br0")
        index = _found(netlink, "br0").index
        links.set_alias(netlink, index, "podnet: ü")
        links.set_promiscuous(netlink, index)
        links.set_mac(netlink, index, MAC)
        links.set_mtu(netlink, index, 1300)
        links.set_up(netlink, index)
        on = _seen(ipr, "br0")
        links.set_promiscuous(netlink, index, on=False)
        links.set_up(netlink, index, up=False)
        return on, _seen(ipr, "br0")

    on, off = _inside(node, act)

    assert on.get("IFLA_IFALIAS") == "podnet: ü"
    assert (on.get("IFLA_ADDRESS"), on.get("IFLA_MTU")) == (MAC, 1300)
    assert on["flags"] & (IFF_UP | IFF_PROMISC) == IFF_UP | IFF_PROMISC
    assert off["flags"] & (IFF_UP | IFF_PROMISC) == 0
    assert off.get("IFLA_IFALIAS") == "podnet: ü"


def test_queue_length_all_multicast_and_name_are_set_one_by_one(node):
    def act(netlink, ipr):
        links.add_bridge(netlink, "br0")
        index = _found(netlink, "br0").index
        links.set_txqlen(netlink, index, 77)
        links.set_all_multicast(netlink, index)
        links.set_name(netlink, index, "br1")
        on = _seen(ipr, "br1")
        links.set_all_multicast(netlink, index, on=False)
        return index, on, _seen(ipr, "br1")

    index, on, off = _inside(node, act)

    assert (on["index"], on.get("IFLA_TXQLEN")) == (index, 77)
    assert (on["flags"] & IFF_ALLMULTI, off["flags"] & IFF_ALLMULTI) == (IFF_ALLMULTI, 0)


# Links: pyroute2 made, ours reads


def test_a_link_may_be_asked_for_by_its_index(node):
    def act(netlink, ipr):
        ipr.link("add", ifname="br0", kind="bridge")
        return links.at(netlink, _index(ipr, "br0")), links.at(netlink, 4711)

    found, absent = _inside(node, act)

    assert (found.name, found.kind, absent) == ("br0", "bridge", None)


def test_find_reads_every_field_of_a_link_that_pyroute2_made(node):
    def act(netlink, ipr):
        ipr.link("add", ifname="br0", kind="bridge")
        ipr.link("add", ifname="eth0", kind="veth", peer={"ifname": "veth1"}, mtu=1400)
        bridge, near, far = (_index(ipr, name) for name in ("br0", "eth0", "veth1"))
        ipr.link("set", index=near, address=MAC, ifalias="mine", txqlen=77)
        ipr.link("set", index=near, flags=IFF_PROMISC | IFF_ALLMULTI, change=0x300)
        ipr.link("set", index=near, master=bridge, state="up")
        ipr.brport("set", index=near, mode=1, isolated=1)
        return bridge, near, far, links.find(netlink, "eth0")

    bridge, near, far, link = _inside(node, act)

    assert link == links.Link(
        index=near,
        name="eth0",
        kind="veth",
        mac=MAC,
        mtu=1400,
        up=True,
        promiscuous=True,
        all_multicast=True,
        txqlen=77,
        operstate="lowerlayerdown",
        master=bridge,
        peer=far,
        peer_namespace=None,
        alias="mine",
        hairpin=True,
        isolated=True,
    )


def test_a_link_is_operationally_up_when_both_ends_are(node):
    def act(netlink, ipr):
        _live_link(netlink)
        return _found(netlink, "eth0").operstate

    assert _inside(node, act) == "up"


def test_find_asks_for_one_name_among_hundreds(node):
    def act(netlink, ipr):
        for number in range(60):
            links.add_bridge(netlink, f"br{number}")
        return _found(netlink, "br40").index, _index(ipr, "br40")

    ours, theirs = _inside(node, act)

    assert ours == theirs


def test_find_of_an_absent_link_is_none(node):
    assert _inside(node, lambda netlink, _: links.find(netlink, "nothing0")) is None


def test_every_link_is_what_pyroute2_lists(node):
    def act(netlink, ipr):
        for number in range(40):
            links.add_bridge(netlink, f"br{number}", mtu=1000 + number)
        theirs = {(link["index"], link.get("IFLA_IFNAME")) for link in ipr.get_links()}
        return {(link.index, link.name) for link in links.every(netlink)}, theirs

    ours, theirs = _inside(node, act)

    assert ours == theirs
    assert len(ours) == 41


def test_lo_is_a_link_without_a_kind(node):
    lo = _inside(node, lambda netlink, _: links.find(netlink, "lo"))

    assert (lo.index, lo.kind, lo.mac, lo.up) == (1, "", "00:00:00:00:00:00", True)


def test_delete_of_an_absent_link_returns_false(node):
    def act(netlink, ipr):
        links.add_bridge(netlink, "br0")
        return links.delete(netlink, "br0"), links.delete(netlink, "br0")

    assert _inside(node, act) == (True, False)


@pytest.mark.parametrize("mac", ["02:11:22:33:44:55", "02-11-22-33-44-55", "02:11:22:33:44:5F"])
def test_a_hardware_address_is_six_hexadecimal_bytes(mac):
    assert links.mac_bytes(mac)[:5] == bytes.fromhex("0211223344")


@pytest.mark.parametrize("mac", ["", "zz", "02:11:22:33:44", "02:11:22:33:44:5g", "2:1:2:3:4:5"])
def test_anything_else_is_no_hardware_address(mac):
    with pytest.raises(ValueError, match=f"^address {mac}: invalid MAC address$"):
        links.mac_bytes(mac)


# Addresses


def test_an_ipv4_address_gets_the_subnet_s_broadcast_address(node):
    def act(netlink, ipr):
        index = _live_link(netlink)
        addresses.add(netlink, index, ip_interface("10.1.2.3/22"))
        [shown] = ipr.get_addr(index=index, family=AF_INET)
        return shown

    shown = _inside(node, act)

    assert (shown.get("IFA_ADDRESS"), shown.get("IFA_LOCAL")) == ("10.1.2.3", "10.1.2.3")
    assert (shown["prefixlen"], shown["scope"]) == (22, 0)
    assert shown.get("IFA_BROADCAST") == "10.1.3.255"


@pytest.mark.parametrize("prefix", [31, 32])
def test_a_31_and_a_32_have_no_broadcast_address(node, prefix):
    """RFC 3021."""

    def act(netlink, ipr):
        index = _live_link(netlink)
        addresses.add(netlink, index, ip_interface(f"10.1.2.2/{prefix}"))
        [shown] = ipr.get_addr(index=index, family=AF_INET)
        return shown.get("IFA_BROADCAST")

    assert _inside(node, act) is None


def test_an_ipv6_address_without_duplicate_detection_is_usable_at_once(node):
    def act(netlink, ipr):
        index = _live_link(netlink)
        addresses.add(netlink, index, ip_interface("fd00::2/64"), flags=IFA_F_NODAD)
        addresses.add(netlink, index, ip_interface("fd00::3/64"))
        shown = ipr.get_addr(index=index, family=AF_INET6)
        return {address.get("IFA_ADDRESS"): address.get("IFA_FLAGS") for address in shown}

    flags = _inside(node, act)

    assert flags["fd00::2"] & (IFA_F_NODAD | IFA_F_TENTATIVE) == IFA_F_NODAD
    assert flags["fd00::3"] & (IFA_F_NODAD | IFA_F_TENTATIVE) == IFA_F_TENTATIVE


def test_addresses_that_pyroute2_gave_are_read_with_flags_and_scope(node):
    def act(netlink, ipr):
        index = _live_link(netlink)
        ipr.addr("add", index=index, address="10.1.0.2", prefixlen=24, scope=253)
        ipr.addr("add", index=index, address="fd00::2", prefixlen=64, flags=IFA_F_NODAD)
        listed = [addresses.of(netlink, index, family) for family in (4, 6, 0)]
        return index, *listed

    index, v4, v6, both = _inside(node, act)

    assert v4 == [addresses.Address(index, ip_interface("10.1.0.2/24"), IFA_F_PERMANENT, 253)]
    flags = IFA_F_PERMANENT | IFA_F_NODAD
    assert addresses.Address(index, ip_interface("fd00::2/64"), flags, 0) in v6
    assert [address for address in v6 if address.interface.ip.is_link_local]
    assert both == [*v4, *v6]


def test_the_local_end_of_a_point_to_point_address_is_the_address(node):
    def act(netlink, ipr):
        index = _live_link(netlink)
        ipr.addr("add", index=index, local="10.1.0.1", address="10.1.0.2", prefixlen=32)
        return [str(address.interface) for address in addresses.of(netlink, index, 4)]

    assert _inside(node, act) == ["10.1.0.1/32"]


def test_addresses_of_another_link_are_not_listed(node):
    def act(netlink, ipr):
        one, two = _live_link(netlink, "eth0"), _live_link(netlink, "eth1")
        addresses.add(netlink, one, ip_interface("10.1.0.1/24"))
        addresses.add(netlink, two, ip_interface("10.2.0.1/24"))
        return [str(address.interface) for address in addresses.of(netlink, two, 4)]

    assert _inside(node, act) == ["10.2.0.1/24"]


def test_delete_of_an_absent_address_returns_false(node):
    def act(netlink, ipr):
        index, address = _live_link(netlink), ip_interface("10.1.0.1/24")
        addresses.add(netlink, index, address)
        done = [addresses.delete(netlink, index, address) for _ in range(2)]
        return [*done, addresses.delete(netlink, 4711, address)], ipr.get_addr(
            index=index, family=AF_INET
        )

    done, left = _inside(node, act)

    assert done == [True, False, False]
    assert list(left) == []


# Routes


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (Route(dst=ip_network("10.9.0.0/16")), {"scope": 0, "RTA_GATEWAY": None}),
        (Route(dst=ip_network("0.0.0.0/0"), gw=ip_address("10.1.0.1")), {"dst_len": 0}),
        (Route(dst=ip_network("10.9.0.0/16"), priority=77), {"RTA_PRIORITY": 77}),
        (Route(dst=ip_network("10.9.0.0/16"), table=99), {"RTA_TABLE": 99, "table": 99}),
        # A table above 255 does not fit the header: RTA_TABLE has it.
        (Route(dst=ip_network("10.9.0.0/16"), table=70_000), {"RTA_TABLE": 70_000}),
        (Route(dst=ip_network("10.9.0.0/16"), scope=253), {"scope": 253}),
        (Route(dst=ip_network("10.9.0.0/16"), protocol=4), {"proto": 4}),
        (Route(dst=ip_network("10.9.0.0/16"), source=ip_address("10.1.0.2")), {}),
        (Route(dst=ip_network("10.9.0.0/16"), mtu=1300, advmss=1200), {}),
        (Route(dst=ip_network("fd09::/64"), gw=ip_address("fd00::1")), {"family": AF_INET6}),
        (Route(dst=ip_network("::/0"), gw=ip_address("fd00::1"), priority=9), {"dst_len": 0}),
        (Route(dst=ip_network("fd09::/64"), table=70_000, mtu=1400), {"RTA_TABLE": 70_000}),
    ],
    ids=str,
)
def test_a_route_of_ours_is_what_pyroute2_reads(node, route, expected):
    def act(netlink, ipr):
        index = _live_link(netlink)
        addresses.add(netlink, index, ip_interface("10.1.0.2/24"))
        addresses.add(netlink, index, ip_interface("fd00::2/64"), flags=IFA_F_NODAD)
        mine = _with_oif(route, index)
        routes.add(netlink, mine)
        prefix = str(route.dst.network_address) if route.dst.prefixlen else None
        family = AF_INET if route.dst.version == 4 else AF_INET6
        shown = [
            entry
            for entry in ipr.get_routes(family=family)
            if entry.get("RTA_DST") == prefix
            and entry["dst_len"] == route.dst.prefixlen
            and entry["type"] == 1
        ]
        found = [r for r in routes.of(netlink, index, route.dst.version) if r.dst == route.dst]
        return index, mine, shown, found

    index, mine, [shown], found = _inside(node, act)

    assert shown.get("RTA_OIF") == index
    assert {key: shown[key] if key in shown else shown.get(key) for key in expected} == expected
    gateway = shown.get("RTA_GATEWAY")
    assert (ip_address(gateway) if gateway else None) == route.gw
    source = shown.get("RTA_PREFSRC")
    assert (ip_address(source) if source else None) == route.source
    metrics = shown.get("RTA_METRICS")
    assert (metrics.get("RTAX_MTU") if metrics else None) == (route.mtu or None)
    assert (metrics.get("RTAX_ADVMSS") if metrics else None) == (route.advmss or None)
    # And ours reads back what it wrote; the kernel gives IPv6 routes a metric of 1024.
    usual = 1024 if route.dst.version == 6 else 0
    assert found == [_with_oif(route, index, priority=mine.priority or usual)]


def _with_oif(route: Route, index: int, **changes: Any) -> Route:
    return replace(route, oif=index, **changes)


def test_a_route_that_pyroute2_made_is_read_with_every_field(node):
    def act(netlink, ipr):
        index = _live_link(netlink)
        addresses.add(netlink, index, ip_interface("10.1.0.2/24"))
        ipr.route(
            "add",
            dst="10.9.0.0/16",
            gateway="10.1.0.1",
            oif=index,
            prefsrc="10.1.0.2",
            priority=7,
            table=1234,
            proto=4,
            metrics={"mtu": 1300, "advmss": 1200},
        )
        found = [route for route in routes.of(netlink, index, 4) if route.table == 1234]
        return index, found

    index, found = _inside(node, act)

    assert found == [
        Route(
            dst=ip_network("10.9.0.0/16"),
            oif=index,
            gw=ip_address("10.1.0.1"),
            source=ip_address("10.1.0.2"),
            priority=7,
            table=1234,
            scope=0,
            protocol=4,
            mtu=1300,
            advmss=1200,
        )
    ]


def test_routes_are_of_one_link_and_unicast_only(node):
    def act(netlink, ipr):
        one, two = _live_link(netlink, "eth0"), _live_link(netlink, "eth1")
        addresses.add(netlink, one, ip_interface("10.1.0.1/24"))
        addresses.add(netlink, two, ip_interface("10.2.0.1/24"))
        ipr.route("add", dst="10.66.0.0/16", type="blackhole")
        return [str(route.dst) for route in routes.of(netlink, two, 4)]

    # Not the local and broadcast routes of 10.2.0.1, nor those of the other link.
    assert _inside(node, act) == ["10.2.0.0/24"]


def test_delete_of_an_absent_route_returns_false(node):
    def act(netlink, ipr):
        index = _live_link(netlink)
        route = Route(dst=ip_network("10.9.0.0/16"), oif=index, table=70_000, priority=3)
        routes.add(netlink, route)
        done = [routes.delete(netlink, route) for _ in range(2)]
        return done, list(ipr.get_routes(table=70_000))

    assert _inside(node, act) == ([True, False], [])


# Errors


def test_an_error_says_what_was_done_and_has_the_kernel_s_errno(node):
    def act(netlink, ipr):
        index = _live_link(netlink)
        with pytest.raises(NetlinkError) as raised:
            links.set_mtu(netlink, index, 1)
        return raised.value

    error = _inside(node, act)

    assert error.errno == errno.EINVAL
    assert str(error.strerror).startswith("set MTU 1: Invalid argument")


@pytest.mark.parametrize("again", ["link", "address", "route"])
def test_what_is_there_already_is_a_file_exists_error(node, again):
    """Whoever makes something that another process may make, too, waits for this one."""

    def act(netlink, ipr):
        index = _live_link(netlink)
        make = {
            "link": partial(links.add_bridge, netlink, "br0"),
            "address": partial(addresses.add, netlink, index, ip_interface("10.1.0.2/24")),
            "route": partial(routes.add, netlink, Route(dst=ip_network("10.9.0.0/16"), oif=index)),
        }[again]
        make()
        with pytest.raises(FileExistsError) as raised:
            make()
        return raised.value

    error = _inside(node, act)

    assert isinstance(error, NetlinkError)
    assert error.errno == errno.EEXIST
    assert "File exists" in str(error.strerror)


def test_an_error_has_the_kernel_s_own_explanation(node):
    def act(netlink, ipr):
        index = _live_link(netlink)
        with pytest.raises(NetlinkError) as raised:
            routes.add(
                netlink, Route(dst=ip_network("10.9.0.0/16"), gw=ip_address("10.77.0.1"), oif=index)
            )
        return raised.value

    error = _inside(node, act)

    assert error.errno == errno.ENETUNREACH
    assert str(error.strerror) == (
        "add route 10.9.0.0/16 via 10.77.0.1: Network is unreachable (Nexthop has invalid gateway)"
    )


def test_a_socket_is_usable_after_an_error(node):
    def act(netlink, ipr):
        for _ in range(3):
            with pytest.raises(OSError, match="set MTU 40"):
                links.set_mtu(netlink, 4711, 40)
        return _found(netlink, "lo").name

    assert _inside(node, act) == "lo"


def test_a_name_that_is_too_long_is_an_error_not_an_absence(node):
    def act(netlink, ipr):
        with pytest.raises(NetlinkError) as raised:
            links.find(netlink, "sixteen-letters-")
        return raised.value.errno

    assert _inside(node, act) in {errno.ERANGE, errno.EINVAL}


def test_a_dump_while_the_table_changes_has_everything_that_stays(node):
    stable = {f"br{number}" for number in range(60)}
    stop = threading.Event()

    def churn() -> None:
        with Netlink() as netlink:
            while not stop.is_set():
                links.add_bridge(netlink, "aaa")
                links.delete(netlink, "aaa")

    def dump(netlink, ipr):
        for name in stable:
            links.add_bridge(netlink, name)
        churning.start()
        dumps = [_dumped(netlink) for _ in range(20)]
        stop.set()
        return [names for names in dumps if names is not None]

    churning = threading.Thread(target=node.run, args=(churn,))
    try:
        whole = _inside(node, dump)
    finally:
        stop.set()
        churning.join()

    assert whole
    assert [stable - names for names in whole] == [set() for _ in whole]


def _dumped(netlink: Netlink) -> set[str] | None:
    try:
        return {link.name for link in links.every(netlink)}
    except DumpInterruptedError:
        return None


# What the kernel cannot be made to say on demand


Script = list[tuple[int, int, bytes]]


class ScriptedSocket:
    """A netlink socket whose kernel answers each request with the next of *answers*."""

    def __init__(self, answers: Sequence[Script]) -> None:
        self.answers = list(answers)
        self.requests = 0

    def bind(self, address: object) -> None:
        """Be bound."""

    def setsockopt(self, *option: int) -> None:
        """Take any option."""

    def send(self, message: bytes) -> None:
        """Count it."""
        self.requests += 1

    def recv(self, size: int) -> bytes:
        """Answer, in the header of the last request."""
        parts = []
        for kind, flags, payload in self.answers[min(self.requests, len(self.answers)) - 1]:
            parts.append(struct.pack("=IHHII", 16 + len(payload), kind, flags, self.requests, 0))
            parts.append(payload)
        return b"".join(parts)

    def close(self) -> None:
        """Be closed."""


LINK, DONE, INTERRUPTED = 16, 3, 0x10
GOOD = [(LINK, 2, b"link"), (DONE, 2, bytes(4))]


def _scripted(monkeypatch: pytest.MonkeyPatch, *answers: Script) -> tuple[Netlink, ScriptedSocket]:
    scripted = ScriptedSocket(answers)
    monkeypatch.setattr("podnet.kernel.netlink.socket.socket", lambda *_: scripted)
    return Netlink(), scripted


@pytest.mark.parametrize(
    "interrupted",
    [
        [(LINK, 2 | INTERRUPTED, b"half"), (DONE, 2, bytes(4))],
        [(LINK, 2, b"half"), (DONE, 2 | INTERRUPTED, bytes(4))],
    ],
    ids=["said with a link", "said at the end"],
)
def test_an_interrupted_dump_is_made_again(monkeypatch, interrupted):
    netlink, scripted = _scripted(monkeypatch, interrupted, interrupted, GOOD)

    assert [message.payload for message in netlink.dump(18, b"")] == [b"link"]
    assert scripted.requests == 3


def test_a_dump_that_is_always_interrupted_is_an_error(monkeypatch):
    netlink, scripted = _scripted(monkeypatch, [(LINK, 2 | INTERRUPTED, b"half"), GOOD[1]])

    with pytest.raises(DumpInterruptedError, match="links: the table kept changing") as raised:
        netlink.dump(18, b"", what="links")

    assert raised.value.errno == errno.EINTR
    assert scripted.requests == 20


def test_the_rest_of_an_earlier_answer_is_passed_over(monkeypatch):
    netlink, scripted = _scripted(monkeypatch, GOOD)
    stale = struct.pack("=IHHII", 20, DONE, 2, 99, 0) + struct.pack("=i", -errno.EPERM)
    answer = scripted.recv
    monkeypatch.setattr(scripted, "recv", lambda size: stale + answer(size))

    assert [message.payload for message in netlink.dump(18, b"")] == [b"link"]


def test_a_dump_may_end_in_an_error(monkeypatch):
    netlink, _ = _scripted(monkeypatch, [(LINK, 2, b"half"), (DONE, 2, struct.pack("=i", -1))])

    with pytest.raises(NetlinkError, match="routes: Operation not permitted"):
        netlink.dump(26, b"", what="routes")
