"""Routes (linux/rtnetlink.h).

Functions work in the network namespace of their :class:`Netlink`.
"""

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from podnet.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Message,
    Netlink,
    Request,
    as_int,
    attribute,
    attributes,
    nested,
    u32,
)

_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 4, 5, 6, 7
_RTA_METRICS, _RTA_MULTIPATH, _RTA_TABLE = 8, 9, 15
_RTAX_MTU, _RTAX_ADVMSS = 2, 8
_MESSAGE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_NEXT_HOP = struct.Struct("=HBBi")  # struct rtnexthop
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_RTN_UNICAST = 1
_RTM_F_CLONED = 0x200
_RTNH_F_ONLINK = 4
MAIN_TABLE = 254
PROTOCOL_KERNEL, PROTOCOL_BOOT = 2, 3
SCOPE_LINK, SCOPE_HOST = 253, 254
_TABLE_IN_HEADER = 0xFF

Destination = IPv4Network | IPv6Network
Gateway = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One unicast route.

    Attributes:
        dst: The destination.
        oif: The link it leaves by, as an index.
        gw: The next hop, or ``None``.
        source: The preferred source address, or ``None``.
        priority: The metric; 0 for the family's default.
        table: The routing table.
        scope: RT_SCOPE_*, 0 is the universe.
        protocol: Who made it, RTPROT_*.
        mtu: Path MTU, 0 for the link's.
        advmss: Largest TCP segment to advertise, 0 for the kernel's choice.
        onlink: The next hop is reached by ``oif`` whatever the addresses there say.
    """

    dst: Destination
    oif: int = 0
    gw: Gateway | None = None
    source: Gateway | None = None
    priority: int = 0
    table: int = MAIN_TABLE
    scope: int = 0
    protocol: int = PROTOCOL_BOOT
    mtu: int = 0
    advmss: int = 0
    onlink: bool = False


def add(netlink: Netlink, route: Route) -> None:
    """Add a route.

    Raises:
        NetlinkError: EEXIST when there is the very same one already.
    """
    # Not NLM_F_EXCL: a pod on two networks may have two default routes, as by the reference.
    what = f"add route {_name(route)}"
    netlink.request(_RTM_NEWROUTE, _body(route), flags=NLM_F_CREATE, what=what)


def delete(netlink: Netlink, route: Route) -> bool:
    """Delete a route; return whether it was there."""
    what = f"delete route {_name(route)}"
    return netlink.remove(_RTM_DELROUTE, _body(route), absent={errno.ESRCH}, what=what)


def replacing(route: Route) -> Request:
    """Return the request that adds a route, in the place of one to the same destination."""
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return Request(_RTM_NEWROUTE, _body(route), flags, f"set route {_name(route)}")


def deleting(route: Route) -> Request:
    """Return the request that deletes a route."""
    return Request(_RTM_DELROUTE, _body(route), what=f"delete route {_name(route)}")


def every(netlink: Netlink, family: int, *, protocol: int = 0) -> list[Route]:
    """Return the unicast routes of the main table, of family 4 or 6.

    Args:
        netlink: A socket in their namespace.
        family: 4 or 6.
        protocol: Only those that RTPROT_* made; 0 for all.
    """
    head = _MESSAGE.pack(_FAMILIES[family], 0, 0, 0, MAIN_TABLE, protocol, 0, _RTN_UNICAST, 0)
    messages = netlink.dump(_RTM_GETROUTE, head, what="routes")
    found = [route for message in messages if (route := read(message))]
    return [r for r in found if r.table == MAIN_TABLE and protocol in {0, r.protocol}]


def of(netlink: Netlink, index: int, family: int) -> list[Route]:
    """Return the unicast routes of all tables that leave by one link, of family 4 or 6."""
    head = _MESSAGE.pack(_FAMILIES[family], 0, 0, 0, 0, 0, 0, _RTN_UNICAST, 0)
    messages = netlink.dump(_RTM_GETROUTE, head + u32(_RTA_OIF, index), what="routes")
    return [route for message in messages if (route := read(message)) and route.oif == index]


def default_link(netlink: Netlink) -> int:
    """Return the index of the link that the first default route leaves by, IPv4 first; or 0."""
    for family in _FAMILIES.values():
        head = _MESSAGE.pack(family, 0, 0, 0, 0, 0, 0, _RTN_UNICAST, 0)
        for message in netlink.dump(_RTM_GETROUTE, head, what="routes"):
            route = read(message)
            if route and route.dst.prefixlen == 0 and route.table == MAIN_TABLE:
                return route.oif or _first_hop(message)
    return 0


def _first_hop(message: Message) -> int:
    hops = attributes(message.payload, _MESSAGE.size).get(_RTA_MULTIPATH, bytes(_NEXT_HOP.size))
    return int(_NEXT_HOP.unpack_from(hops)[3])


def interface_towards(netlink: Netlink, destination: Gateway) -> int:
    """Return the index of the link by which packets to *destination* leave.

    Raises:
        NetlinkError: ENETUNREACH and the like where there is no route.
    """
    bits = len(destination.packed) * 8
    head = _MESSAGE.pack(_FAMILIES[destination.version], bits, 0, 0, 0, 0, 0, 0, 0)
    body = head + attribute(_RTA_DST, destination.packed)
    answer = netlink.get(_RTM_GETROUTE, body, what=f"route to {destination}")
    return as_int(attributes(answer.payload, _MESSAGE.size).get(_RTA_OIF, b""))


def _name(route: Route) -> str:
    return f"{route.dst} via {route.gw}" if route.gw else str(route.dst)


def _body(route: Route) -> bytes:
    table = route.table if route.table <= _TABLE_IN_HEADER else 0
    family, prefix = _FAMILIES[route.dst.version], route.dst.prefixlen
    head = (family, prefix, 0, 0, table, route.protocol, route.scope, _RTN_UNICAST)
    body = _MESSAGE.pack(*head, _RTNH_F_ONLINK if route.onlink else 0) + u32(
        _RTA_TABLE, route.table
    )
    if prefix:
        body += attribute(_RTA_DST, route.dst.network_address.packed)
    if route.gw is not None:
        body += attribute(_RTA_GATEWAY, route.gw.packed)
    if route.source is not None:
        body += attribute(_RTA_PREFSRC, route.source.packed)
    numbers = {_RTA_OIF: route.oif, _RTA_PRIORITY: route.priority}
    body += b"".join(u32(kind, value) for kind, value in numbers.items() if value)
    metrics = {_RTAX_MTU: route.mtu, _RTAX_ADVMSS: route.advmss}
    packed = [u32(kind, value) for kind, value in metrics.items() if value]
    return body + (nested(_RTA_METRICS, *packed) if packed else b"")


def read(message: Message) -> Route | None:
    """Read a route that the kernel speaks of; ``None``: not a unicast route, or one of its cache."""
    family, prefix, _, _, table, protocol, scope, kind, flags = _MESSAGE.unpack_from(
        message.payload
    )
    if kind != _RTN_UNICAST or flags & _RTM_F_CLONED:
        return None
    found = attributes(message.payload, _MESSAGE.size)
    metrics = attributes(found.get(_RTA_METRICS, b""))
    everywhere = b"\0" * (4 if family == socket.AF_INET else 16)
    return Route(
        dst=ip_network((found.get(_RTA_DST, everywhere), prefix)),
        oif=as_int(found.get(_RTA_OIF, b"")),
        gw=_address(found.get(_RTA_GATEWAY)),
        source=_address(found.get(_RTA_PREFSRC)),
        priority=as_int(found.get(_RTA_PRIORITY, b"")),
        table=as_int(found[_RTA_TABLE]) if _RTA_TABLE in found else table,
        scope=scope,
        protocol=protocol,
        mtu=as_int(metrics.get(_RTAX_MTU, b"")),
        advmss=as_int(metrics.get(_RTAX_ADVMSS, b"")),
        onlink=bool(flags & _RTNH_F_ONLINK),
    )


def _address(packed: bytes | None) -> Gateway | None:
    return None if packed is None else ip_address(packed)
