"""vxlan links: Ethernet between hosts, in UDP (linux/if_link.h, IFLA_VXLAN_*).

Functions work in the network namespace of their :class:`Netlink`.
"""

import errno
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from podnet.errors import MissingError
from podnet.kernel.links import Link, mac_bytes
from podnet.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Netlink,
    NetlinkError,
    as_int,
    attribute,
    attributes,
    nested,
    text,
    u8,
    u32,
)

_RTM_NEWLINK = 16
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO = 1, 3, 4, 18
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_ID, _LINK, _LOCAL, _LEARNING, _PORT, _LOCAL6, _UDP_CSUM, _GBP = 1, 3, 4, 7, 15, 17, 18, 23
_INFO = struct.Struct("=BxHiII")  # struct ifinfomsg


@dataclass(frozen=True, slots=True, kw_only=True)
class Vxlan:
    """What a vxlan link is made of.

    Attributes:
        vni: The network identifier, 24 bits.
        link: The link that carries it, as an index.
        local: Its own address in the underlay.
        port: The UDP port.
        learning: Learn where hardware addresses are from what arrives.
        gbp: Carry group policy.
    """

    vni: int
    link: int
    local: IPv4Address | IPv6Address
    port: int
    learning: bool = False
    gbp: bool = False


def add(netlink: Netlink, name: str, vxlan: Vxlan, *, mtu: int, mac: str) -> None:
    """Make a vxlan link.

    Raises:
        NetlinkError: EEXIST when the name is taken, or another link has network and port.
        MissingError: The kernel has no vxlan.
    """
    local = _LOCAL if vxlan.local.version == 4 else _LOCAL6  # noqa: PLR2004
    data = u32(_ID, vxlan.vni) + u32(_LINK, vxlan.link) + attribute(local, vxlan.local.packed)
    data += attribute(_PORT, struct.pack(">H", vxlan.port)) + u8(_LEARNING, vxlan.learning)
    data += u8(_UDP_CSUM, 1)
    if vxlan.gbp:
        data += attribute(_GBP, b"")
    info = text(_IFLA_INFO_KIND, "vxlan"), nested(_IFLA_INFO_DATA, data)
    body = _INFO.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name) + u32(_IFLA_MTU, mtu)
    body += attribute(_IFLA_ADDRESS, mac_bytes(mac)) + nested(_IFLA_LINKINFO, *info)
    try:
        flags = NLM_F_CREATE | NLM_F_EXCL
        netlink.request(_RTM_NEWLINK, body, flags=flags, what=f"add vxlan {name}")
    except NetlinkError as exc:
        if exc.errno == errno.EOPNOTSUPP:
            raise MissingError("this kernel has no vxlan (CONFIG_VXLAN)") from exc
        raise


def of(link: Link) -> Vxlan:
    """Return what a vxlan link is made of."""
    said = attributes(link.data)
    return Vxlan(
        vni=as_int(said.get(_ID, b"")),
        link=as_int(said.get(_LINK, b"")),
        local=ip_address(said.get(_LOCAL) or said.get(_LOCAL6) or bytes(4)),
        port=int.from_bytes(said.get(_PORT, b""), "big"),
        learning=as_int(said.get(_LEARNING, b"")) > 0,
        gbp=_GBP in said,
    )
