"""The network under a cluster: what its Nodes reach each other by.

A switch, where Nodes must be neighbours of each other (``host-gw``); else a router, to which
each Node has a link of its own: a Node needs one neighbour then and not one for every other,
of which Linux has 1,024 for all network namespaces together.
"""

import os
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Interface, IPv6Interface, ip_interface, ip_network

from podnet.kernel import addresses, links, routes, sysctl
from podnet.kernel.netlink import Netlink
from podnet.node import Node

_SWITCH = "switch"
_UPLINK = "eth0"
_NETWORKS = {4: ip_network("100.64.0.0/16"), 6: ip_network("fd64::/64")}
_POINT_TO_POINT = {4: 31, 6: 127}

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


def join(underlay: Node, node: Node, shape: Shape, number: int) -> None:
    """Give a Node its link, its addresses and its gateway."""
    netns = node.run(os.open, "/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        underlay.run(_plug, shape, number, netns)
    finally:
        os.close(netns)
    node.run(_address, ends(shape, number))


def cut(underlay: Node, number: int, *, restore: bool = False) -> None:
    """Set the link of Node *number* down at the underlay's end, or up again."""
    underlay.run(_set_up, _port(number), restore)


def _set_up(name: str, up: object) -> None:
    with Netlink() as netlink:
        links.set_up(netlink, _index(netlink, name), up=bool(up))


def _plug(shape: Shape, number: int, netns: int) -> None:
    port = _port(number)
    with Netlink() as netlink:
        links.add_veth(netlink, port, peer=_UPLINK, peer_netns=netns)
        index = _index(netlink, port)
        if shape is Shape.SWITCH:
            links.add_port(netlink, port, bridge=_index(netlink, _SWITCH))
            return
        _give(netlink, index, ends(shape, number).router)


def _address(mine: Ends) -> None:
    with Netlink() as netlink:
        index = _index(netlink, _UPLINK)
        _give(netlink, index, mine.node)
        for gateway in mine.router:
            everywhere = ip_network("0.0.0.0/0" if gateway.version == 4 else "::/0")  # noqa: PLR2004
            routes.add(netlink, routes.Route(dst=everywhere, gw=gateway.ip, oif=index))


def _give(netlink: Netlink, index: int, wanted: tuple[Interface, ...]) -> None:
    links.set_up(netlink, index)
    for interface in wanted:
        flags = addresses.IFA_F_NODAD if interface.version == 6 else 0  # noqa: PLR2004
        addresses.add(netlink, index, interface, flags=flags)


def _index(netlink: Netlink, name: str) -> int:
    link = links.find(netlink, name)
    if link is None:
        raise FileNotFoundError(f"there is no link {name} in this Node")
    return link.index


def _port(number: int) -> str:
    return f"node{number}"
