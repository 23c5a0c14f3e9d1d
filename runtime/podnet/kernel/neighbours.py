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
    found = map(read, netlink.dump(_RTM_GETNEIGH, body, what="neighbours"))
    return [one for one in found if isinstance(one, Neighbour) and one.index == index]


def forwarding_of(netlink: Netlink, index: int) -> list[Forwarding]:
    """Return the entries of a vxlan link that somebody set."""
    # The kernel takes an FDB's link from a link's header; of no other dump.
    body = _MESSAGE.pack(socket.AF_BRIDGE, index, 0, 0, 0)
    found = map(read, netlink.dump(_RTM_GETNEIGH, body, what="forwarding entries"))
    return [one for one in found if isinstance(one, Forwarding) and one.index == index]


def read(message: Message) -> Entry | None:
    """Read an entry that the kernel speaks of; ``None``: it is not there for good.

    Of a neighbour that is gone it does not say what it was: any that has been will do, and its
    hardware address may be missing.
    """
    family, index, state, _, _ = _MESSAGE.unpack_from(message.payload)
    is_forwarding, is_gone = family == socket.AF_BRIDGE, message.kind == _RTM_DELNEIGH
    if not (is_gone or state & (_NUD_PERMANENT | (_NUD_NOARP if is_forwarding else 0))):
        return None
    said = attributes(message.payload, _MESSAGE.size)
    if _NDA_DST not in said:
        return None
    address, mac = ip_address(said[_NDA_DST]), said.get(_NDA_LLADDR, b"").hex(":")
    if not is_forwarding:
        return Neighbour(index, address, mac)
    return Forwarding(index, mac, address) if mac != _NO_MAC else None


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
