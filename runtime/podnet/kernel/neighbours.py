"""Neighbours and forwarding entries that somebody set for good (linux/neighbour.h).

Functions work in the network namespace of their :class:`Netlink`.  What the kernel has
learnt itself is not shown: only permanent entries are anybody's work.
"""

import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from podnet.kernel.links import mac_bytes
from podnet.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Message,
    Netlink,
    Request,
    attribute,
    attributes,
    u32,
)

_RTM_NEWNEIGH, _RTM_DELNEIGH, _RTM_GETNEIGH = 28, 29, 30
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX = 1, 2, 8
_NUD_NOARP, _NUD_PERMANENT = 0x40, 0x80
_NTF_SELF = 0x02
_MESSAGE = struct.Struct("=BxxxiHBB")  # struct ndmsg
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_NO_MAC = "00:00:00:00:00:00"

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Which hardware address an address has on a link: for good, without asking."""

    index: int
    address: Address
    mac: str


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Behind which host a vxlan link finds a hardware address."""

    index: int
    mac: str
    remote: Address


Entry = Neighbour | Forwarding


def setting(entry: Entry) -> Request:
    """Return the request that sets an entry, in the place of one with the same key."""
    what = f"set {_name(entry)}"
    return Request(_RTM_NEWNEIGH, _body(entry), NLM_F_CREATE | NLM_F_REPLACE, what)


def deleting(entry: Entry) -> Request:
    """Return the request that deletes an entry."""
    return Request(_RTM_DELNEIGH, _body(entry), what=f"delete {_name(entry)}")


def of(netlink: Netlink, index: int, family: int) -> list[Neighbour]:
    """Return the permanent neighbours on a link, of family 4 or 6."""
    body = _MESSAGE.pack(_FAMILIES[family], 0, 0, 0, 0) + u32(_NDA_IFINDEX, index)
    found = []
    for message in netlink.dump(_RTM_GETNEIGH, body, what="neighbours"):
        link, state, said = _said(message)
        if link == index and state & _NUD_PERMANENT and _NDA_DST in said:
            mac = said.get(_NDA_LLADDR, b"").hex(":")
            found.append(Neighbour(index, ip_address(said[_NDA_DST]), mac))
    return found


def forwarding_of(netlink: Netlink, index: int) -> list[Forwarding]:
    """Return the entries of a vxlan link that somebody set."""
    # The kernel takes an FDB's link from a link's header; of no other dump.
    body = _MESSAGE.pack(socket.AF_BRIDGE, index, 0, 0, 0)
    found = []
    for message in netlink.dump(_RTM_GETNEIGH, body, what="forwarding entries"):
        link, state, said = _said(message)
        mac = said.get(_NDA_LLADDR, b"").hex(":")
        lasting = state & (_NUD_PERMANENT | _NUD_NOARP)
        if link == index and lasting and _NDA_DST in said and mac != _NO_MAC:
            found.append(Forwarding(index, mac, ip_address(said[_NDA_DST])))
    return found


def _said(message: Message) -> tuple[int, int, dict[int, bytes]]:
    _, index, state, _, _ = _MESSAGE.unpack_from(message.payload)
    return index, state, dict(attributes(message.payload, _MESSAGE.size))


def _body(entry: Entry) -> bytes:
    if isinstance(entry, Neighbour):
        family, address, flags = _FAMILIES[entry.address.version], entry.address, 0
    else:
        family, address, flags = socket.AF_BRIDGE, entry.remote, _NTF_SELF
    head = _MESSAGE.pack(family, entry.index, _NUD_PERMANENT, flags, 0)
    packed = attribute(_NDA_DST, address.packed)
    return head + packed + attribute(_NDA_LLADDR, mac_bytes(entry.mac))


def _name(entry: Entry) -> str:
    if isinstance(entry, Neighbour):
        return f"neighbour {entry.address} at {entry.mac}"
    return f"forwarding entry {entry.mac} behind {entry.remote}"
