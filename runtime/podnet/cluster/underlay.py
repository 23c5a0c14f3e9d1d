"""The network under a cluster: what its Nodes reach each other by.

A switch, where Nodes must be neighbours of each other (``host-gw``, ``bgp``); else a router, to which
each Node has a link of its own: a Node needs one neighbour then and not one for every other.

Linux has room for 1,024 neighbours of each family, in all network namespaces together
(``gc_thresh3``, which only the machine itself may raise); those that are set for good do not
count.  So hardware addresses follow from a Node's number, and are set where they get many.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from ipaddress import IPv4Interface, IPv6Interface, ip_interface, ip_network

from podnet.errors import UsageError
from podnet.kernel import addresses, links, neighbours, routes, sysctl
from podnet.kernel.neighbours import Neighbour
from podnet.kernel.netlink import Netlink, Request
from podnet.node import Node

_SWITCH = "switch"
#: A Node's link to the others.
UPLINK = "eth0"
_NETWORKS = {4: ip_network("100.64.0.0/16"), 6: ip_network("fd64::/64")}
_POINT_TO_POINT = {4: 31, 6: 127}
#: The place of the store, after all that Nodes may have.
STORE_NUMBER = 255
# Above, neighbours on a switch are set: all that can be learnt are a quarter of the room.
_LEARNING_NODES = 16

Interface = IPv4Interface | IPv6Interface


class Shape(StrEnum):
    """How Nodes are joined."""

    SWITCH = "switch"
    ROUTER = "router"


@dataclass(frozen=True, slots=True)
class Ends:
    """The addresses of one Node's link, IPv4 first.

    Attributes:
        node: The Node's.
        router: The other end's, which is the gateway; a switch has none.
    """

    node: tuple[Interface, ...]
    router: tuple[Interface, ...] = ()


@cache  # each of many Nodes is told of all the others
def ends(shape: Shape, number: int) -> Ends:
    """Return the addresses of the link of Node *number*, from 1."""
    if shape is Shape.SWITCH:
        return Ends(tuple(_at(version, number, None) for version in _NETWORKS))
    lower = tuple(_at(version, 2 * number, _POINT_TO_POINT[version]) for version in _NETWORKS)
    upper = tuple(_at(version, 2 * number + 1, _POINT_TO_POINT[version]) for version in _NETWORKS)
    return Ends(upper, lower)


def _at(version: int, number: int, prefix: int | None) -> Interface:
    network = _NETWORKS[version]
    return ip_interface(f"{network.network_address + number}/{prefix or network.prefixlen}")


def build(shape: Shape) -> None:
    """Make the switch or the router; runs in the underlay's Node."""
    if shape is Shape.ROUTER:
        sysctl.write("ipv4", "ip_forward", value="1")
        sysctl.write("ipv6", "conf", "all", "forwarding", value="1")
        return
    with Netlink() as netlink:
        links.add_bridge(netlink, _SWITCH)
        links.set_up(netlink, _index(netlink, _SWITCH))


def join(
    underlay: Node, node: Node, shape: Shape, number: int, others: Mapping[int, Sequence[int]]
) -> None:
    """Give a Node its link, its addresses and its gateway.

    Args:
        underlay: The Node that is the switch or the router.
        node: Who is to be joined to it.
        shape: Which of the two.
        number: The Node's.
        others: The numbers of all others that are, or will be, and the IP versions by which
            they are reached.
    """
    netns = node.run(os.open, "/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        underlay.run(_plug, shape, number, netns)
    finally:
        os.close(netns)
    node.run(_address, shape, number, others)


def cut(underlay: Node, number: int) -> None:
    """Set the link of Node *number* down at the underlay's end."""
    underlay.run(_cut, number)


def restore(underlay: Node, shape: Shape, number: int) -> None:
    """Undo :func:`cut`."""
    underlay.run(_restore, shape, number)


def unplug(underlay: Node, number: int) -> None:
    """Remove the link of a Node that is gone; it may have gone with it."""
    underlay.run(_unplug, number)


def _cut(number: int) -> None:
    with Netlink() as netlink:
        links.set_up(netlink, _index(netlink, port(number)), up=False)


def _restore(shape: Shape, number: int) -> None:
    with Netlink() as netlink:
        index = _index(netlink, port(number))
        links.set_up(netlink, index)
        if shape is Shape.ROUTER:
            # A link that goes down loses its neighbours, and its IPv6 addresses.
            there = {address.interface for address in addresses.of(netlink, index)}
            missing = [one for one in ends(shape, number).router if one not in there]
            _give(netlink, index, missing)
            _introduce(netlink, _introductions(index, _mac(number), ends(shape, number).node))


def _unplug(number: int) -> None:
    with Netlink() as netlink:
        links.delete(netlink, port(number))


def _plug(shape: Shape, number: int, netns: int) -> None:
    name, mine = port(number), ends(shape, number)
    macs = _mac(number, router=True), _mac(number)
    with Netlink() as netlink:
        links.add_veth(netlink, name, peer=UPLINK, peer_netns=netns, mac=macs[0], peer_mac=macs[1])
        index = _index(netlink, name)
        if shape is Shape.SWITCH:
            links.add_port(netlink, name, bridge=_index(netlink, _SWITCH))
            return
        links.set_up(netlink, index)
        _give(netlink, index, mine.router)
        _introduce(netlink, _introductions(index, _mac(number), mine.node))


def _address(shape: Shape, number: int, others: Mapping[int, Sequence[int]]) -> None:
    mine = ends(shape, number)
    with Netlink() as netlink:
        index = _index(netlink, UPLINK)
        links.set_up(netlink, index)
        _give(netlink, index, mine.node)
        for gateway in mine.router:
            everywhere = ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0")  # noqa: PLR2004
            routes.add(netlink, routes.Route(dst=everywhere, gw=gateway.ip, oif=index))
        if shape is Shape.ROUTER:
            _introduce(netlink, _introductions(index, _mac(number, router=True), mine.router))
        elif len(others) >= _LEARNING_NODES:
            said = list[Request]()
            for other, versions in others.items():
                mac, theirs = _mac(other), ends(shape, other).node
                them = tuple(end for end in theirs if end.version in versions)
                said += _introductions(index, mac, them)
            _introduce(netlink, said)


def _give(netlink: Netlink, index: int, wanted: Iterable[Interface]) -> None:
    for interface in wanted:
        flags = addresses.IFA_F_NODAD if interface.version == 6 else 0  # noqa: PLR2004
        addresses.add(netlink, index, interface, flags=flags)


def _introduce(netlink: Netlink, said: Sequence[Request]) -> None:
    for refused in netlink.batch(said):
        raise refused


@cache  # a link has the same index on every Node
def _introductions(index: int, mac: str, there: tuple[Interface, ...]) -> tuple[Request, ...]:
    """Return what sets for good, on a link, which addresses are behind a hardware address."""
    return tuple(neighbours.setting(Neighbour(index, one.ip, mac)) for one in there)


@cache
def _mac(number: int, *, router: bool = False) -> str:
    """Return the hardware address of one end of a Node's link."""
    return f"02:64:{router:02x}:00:{number >> 8:02x}:{number & 255:02x}"


def _index(netlink: Netlink, name: str) -> int:
    link = links.find(netlink, name)
    if link is None:
        hint = "podnet cluster reboot gives a Node its links again"
        raise UsageError(f"there is no link {name} in this Node", hint)
    return link.index


def port(number: int) -> str:
    """Return what the link of a Node is called at the underlay's end."""
    return f"node{number}"
