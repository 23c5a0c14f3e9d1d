"""IP addresses of links (linux/if_addr.h).

Functions work in the network namespace of their :class:`Netlink`.
"""

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from podnet.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    Netlink,
    as_int,
    attribute,
    attributes,
    u32,
)

_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_MESSAGE = struct.Struct("=BBBBI")  # struct ifaddrmsg
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
IFA_F_NODAD, IFA_F_TENTATIVE, IFA_F_PERMANENT = 0x02, 0x40, 0x80
_IFA_F_HOMEADDRESS, _IFA_F_NOPREFIXROUTE, _IFA_F_MCAUTOJOIN = 0x10, 0x200, 0x400
# What somebody asked for; the other flags tell what became of an address.
IFA_F_ASKED_FOR = IFA_F_NODAD | _IFA_F_HOMEADDRESS | _IFA_F_NOPREFIXROUTE | _IFA_F_MCAUTOJOIN
# RFC 3021: a /31 and a /32 have no broadcast address.
_LONGEST_WITH_BROADCAST = 30

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class Address:
    """One address of one link, with its IFA_F_* flags and its RT_SCOPE_* scope."""

    index: int
    interface: Interface
    flags: int = 0
    scope: int = 0


def add(
    netlink: Netlink, index: int, interface: Interface, *, flags: int = 0, scope: int = 0
) -> None:
    """Give a link an address, for IPv4 with the subnet's broadcast address.

    Args:
        netlink: A socket in the link's namespace.
        index: The link.
        interface: Address and prefix length.
        flags: IFA_F_*; IFA_F_NODAD makes an IPv6 address usable at once.
        scope: RT_SCOPE_*, of IPv4; of IPv6 the address says it.

    Raises:
        NetlinkError: EEXIST when the link has it already.
    """
    body = _body(index, interface, scope)
    if interface.version == 4 and interface.network.prefixlen <= _LONGEST_WITH_BROADCAST:  # noqa: PLR2004
        body += attribute(_IFA_BROADCAST, interface.network.broadcast_address.packed)
    if flags:
        body += u32(_IFA_FLAGS, flags)
    what = f"add address {interface}"
    netlink.request(_RTM_NEWADDR, body, flags=NLM_F_CREATE | NLM_F_EXCL, what=what)


def delete(netlink: Netlink, index: int, interface: Interface) -> bool:
    """Take an address from a link; return whether the link had it."""
    body, absent = _body(index, interface), {errno.EADDRNOTAVAIL, errno.ENODEV}
    return netlink.remove(_RTM_DELADDR, body, absent=absent, what=f"delete address {interface}")


def of(netlink: Netlink, index: int, family: int = 0) -> list[Address]:
    """Return the addresses of one link (0: of all), of both families or of 4 or 6."""
    body = _MESSAGE.pack(_FAMILIES.get(family, 0), 0, 0, 0, index)
    messages = netlink.dump(_RTM_GETADDR, body, what="addresses")
    return [_address(message) for message in messages]


def _body(index: int, interface: Interface, scope: int = 0) -> bytes:
    family = _FAMILIES[interface.version]
    packed = interface.ip.packed
    head = _MESSAGE.pack(family, interface.network.prefixlen, 0, scope, index)
    return head + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)


def _address(message: Message) -> Address:
    _, prefix, flags, scope, index = _MESSAGE.unpack_from(message.payload)
    found = attributes(message.payload, _MESSAGE.size)
    packed = found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]
    if _IFA_FLAGS in found:
        flags = as_int(found[_IFA_FLAGS])
    return Address(index, ip_interface((packed, prefix)), flags, scope)
