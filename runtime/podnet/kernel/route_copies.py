"""Routes as the kernel wrote them, to be made again: elsewhere, but the same in every other way.

Metrics, several next hops, flags and whatever a newer kernel adds are kept as they came;
only table and link are understood.  :mod:`podnet.kernel.routes` is for routes that are made
of values.  Functions work in the network namespace of their :class:`Netlink`.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from podnet.kernel.netlink import (
    NLM_F_CREATE,
    Netlink,
    as_int,
    attribute,
    attributes,
)
from podnet.kernel.routes import MAIN_TABLE, PROTOCOL_KERNEL

_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH, _RTA_CACHEINFO = 4, 5, 9, 12
_RTA_TABLE, _RTA_VIA, _RTA_NH_ID = 15, 18, 30
_GATEWAYS = frozenset({_RTA_GATEWAY, _RTA_MULTIPATH, _RTA_VIA})
_MESSAGE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_NEXT_HOP = struct.Struct("=HBBi")  # struct rtnexthop
_RTN_UNICAST = 1
_RTM_F_CLONED = 0x200
_RTNH_F_ONLINK = 4  # the one flag that is a wish; the others tell what became of the link
_TABLE_IN_HEADER = 0xFF


@dataclass(frozen=True, slots=True)
class Copy:
    """One route, as it came.

    Attributes:
        payload: Header and attributes.
    """

    payload: bytes

    @property
    def table(self) -> int:
        """Its routing table."""
        found = attributes(self.payload, _MESSAGE.size)
        return as_int(found[_RTA_TABLE]) if _RTA_TABLE in found else self.payload[4]

    @property
    def is_made_by_hand(self) -> bool:
        """Whether somebody made it; the kernel's own come with addresses, and go with them."""
        _, _, _, _, _, protocol, _, kind, flags = _MESSAGE.unpack_from(self.payload)
        by_kernel = protocol == PROTOCOL_KERNEL or bool(flags & _RTM_F_CLONED)
        return kind == _RTN_UNICAST and not by_kernel

    @property
    def scope(self) -> int:
        """Its RT_SCOPE_*: those that need no other route have a larger one."""
        return self.payload[6]

    @property
    def links(self) -> set[int]:
        """The links that it leaves by, as indexes."""
        found = attributes(self.payload, _MESSAGE.size)
        hops = {index for _, index, _ in _hops(found.get(_RTA_MULTIPATH, b""))}
        return (hops | {as_int(found.get(_RTA_OIF, b""))}) - {0}

    def moved(self, *, table: int = 0, was: int = 0, now: int = 0) -> "Copy":
        """Return the same route in another table, by a link that has another index.

        Args:
            table: The table, 0 for its own.
            was: The link's old index.
            now: Its new one.
        """
        family, dst, src, tos, _, protocol, scope, kind, flags = _MESSAGE.unpack_from(self.payload)
        table = table or self.table
        in_header = table if table <= _TABLE_IN_HEADER else 0
        flags &= _RTNH_F_ONLINK
        head = _MESSAGE.pack(family, dst, src, tos, in_header, protocol, scope, kind, flags)
        found = attributes(self.payload, _MESSAGE.size)
        if _RTA_NH_ID in found:  # a next hop that is an object of its own; the rest repeats it
            found = {
                number: value
                for number, value in found.items()
                if number not in _GATEWAYS | {_RTA_OIF}
            }
        found.pop(_RTA_CACHEINFO, None)
        found[_RTA_TABLE] = struct.pack("=I", table)
        if as_int(found.get(_RTA_OIF, b"")) == was and was:
            found[_RTA_OIF] = struct.pack("=I", now)
        if _RTA_MULTIPATH in found:
            found[_RTA_MULTIPATH] = _moved_hops(found[_RTA_MULTIPATH], was, now)
        return Copy(head + b"".join(attribute(number, value) for number, value in found.items()))


def _hops(packed: bytes) -> Iterator[tuple[tuple[int, int], int, bytes]]:
    """Yield flags and weight, link and attributes of every next hop."""
    offset = 0
    while offset + _NEXT_HOP.size <= len(packed):
        length, flags, weight, index = _NEXT_HOP.unpack_from(packed, offset)
        if length < _NEXT_HOP.size:
            return
        yield (flags, weight), index, packed[offset + _NEXT_HOP.size : offset + length]
        offset += length + (-length % 4)


def _moved_hops(packed: bytes, was: int, now: int) -> bytes:
    moved = b""
    for (flags, weight), index, rest in _hops(packed):
        link = now if index == was else index
        head = (_NEXT_HOP.size + len(rest), flags & _RTNH_F_ONLINK, weight, link)
        moved += _NEXT_HOP.pack(*head) + rest + bytes(-len(rest) % 4)
    return moved


def by(netlink: Netlink, index: int) -> list[Copy]:
    """Return the routes of the main table that somebody made and that leave by one link.

    In the order to make them again: those that others need come first, and of several to one
    destination the one that the kernel prefers comes last.
    """
    found: list[Copy] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        head = _MESSAGE.pack(family, 0, 0, 0, 0, 0, 0, _RTN_UNICAST, 0)
        messages = netlink.dump(_RTM_GETROUTE, head, what="routes")
        # A kernel without IPv6 answers for every family it has.
        found += [Copy(m.payload) for m in reversed(messages) if m.payload[0] == family]
    mine = [c for c in found if c.table == MAIN_TABLE and c.is_made_by_hand and index in c.links]
    return sorted(mine, key=lambda copy: (copy.payload[0], -copy.scope, _has_gateway(copy)))


def _has_gateway(copy: Copy) -> bool:
    return not _GATEWAYS.isdisjoint(attributes(copy.payload, _MESSAGE.size))


def make(netlink: Netlink, copy: Copy) -> bool:
    """Make a route; return whether it was not there already.

    Raises:
        NetlinkError: The kernel refused.
    """
    try:
        netlink.request(_RTM_NEWROUTE, copy.payload, flags=NLM_F_CREATE, what="make a route again")
    except FileExistsError:
        return False
    return True
