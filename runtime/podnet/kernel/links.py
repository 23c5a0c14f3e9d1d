"""Links: bridges, veth pairs and what is set on them (linux/if_link.h).

Every function works in the network namespace of its :class:`Netlink`.  A link is found
by asking for it, never by listing all of them.
"""

import errno
import re
import struct
from dataclasses import dataclass, field

from podnet.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_ECHO,
    NLM_F_EXCL,
    Message,
    Netlink,
    NetlinkError,
    Request,
    as_int,
    as_text,
    attribute,
    attributes,
    nested,
    text,
    u8,
    u32,
)

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_TXQLEN, _IFLA_OPERSTATE, _IFLA_LINKINFO, _IFLA_IFALIAS = 13, 16, 18, 20
_IFLA_NET_NS_FD, _IFLA_LINK_NETNSID = 28, 37
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_INFO_PEER = 1
_IFLA_BRPORT_MODE, _IFLA_BRPORT_ISOLATED = 4, 33
_IFF_UP, _IFF_PROMISC, _IFF_ALLMULTI = 0x1, 0x100, 0x200
_NEW = NLM_F_CREATE | NLM_F_EXCL
_MAC = re.compile(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}")
_INFO = struct.Struct("=BxHiII")  # struct ifinfomsg
# linux/if.h, IF_OPER_*
OPERSTATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link as the kernel describes it.

    Attributes:
        index: Its number in its namespace.
        name: Its name.
        kind: "bridge", "veth" and so on; "" for hardware and lo.
        mac: Its hardware address, "" when it has none.
        mtu: In bytes.
        up: Administratively up.
        promiscuous: Set promiscuous by somebody.
        all_multicast: Set to receive all multicast, likewise.
        txqlen: The length of its transmit queue.
        operstate: One of OPERSTATES.
        master: The index of the bridge it is a port of, or 0.
        peer: For veth the index of the other end, in its namespace; or 0.
        peer_namespace: The other end's namespace as this one numbers it; ``None`` for this one.
        alias: What somebody wrote on it.
        hairpin: As a bridge port: may send back where it came from.
        isolated: As a bridge port: may talk to non-isolated ports only.
        data: What its kind says about itself, packed (IFLA_INFO_DATA).
    """

    index: int
    name: str
    kind: str = ""
    mac: str = ""
    mtu: int = 0
    up: bool = False
    promiscuous: bool = False
    all_multicast: bool = False
    txqlen: int = 0
    operstate: str = "unknown"
    master: int = 0
    peer: int = 0
    peer_namespace: int | None = None
    alias: str = ""
    hairpin: bool = False
    isolated: bool = False
    data: bytes = field(default=b"", compare=False, repr=False)


def find(netlink: Netlink, name: str) -> Link | None:
    """Return the link called *name*, or ``None``."""
    return _asked(netlink, _info() + text(_IFLA_IFNAME, name), name)


def at(netlink: Netlink, index: int) -> Link | None:
    """Return the link with this index, or ``None``."""
    return _asked(netlink, _info(index), f"link {index}")


def _asked(netlink: Netlink, body: bytes, what: str) -> Link | None:
    try:
        return _link(netlink.get(_RTM_GETLINK, body, what=what))
    except NetlinkError as exc:
        if exc.errno == errno.ENODEV:
            return None
        raise


def every(netlink: Netlink) -> list[Link]:
    """Return all links of the namespace."""
    return [_link(message) for message in netlink.dump(_RTM_GETLINK, _info(), what="links")]


def add_bridge(
    netlink: Netlink, name: str, *, mtu: int = 0, mac: str = "", data: bytes = b""
) -> None:
    """Make a bridge.

    Args:
        netlink: A socket in its namespace.
        name: Its name.
        mtu: 0 leaves it to the kernel.
        mac: A hardware address that it keeps, "" for one that follows its ports.
        data: What only bridges have, packed (IFLA_INFO_DATA).

    Raises:
        NetlinkError: EEXIST when the name is taken.
    """
    body = _info() + text(_IFLA_IFNAME, name) + _kind("bridge", data)
    if mtu:
        body += u32(_IFLA_MTU, mtu)
    if mac:
        body += attribute(_IFLA_ADDRESS, mac_bytes(mac))
    _create(netlink, body, f"add bridge {name}")


def add_veth(  # noqa: PLR0913  two links at once
    netlink: Netlink,
    name: str,
    *,
    peer: str,
    peer_netns: int,
    mtu: int = 0,
    mac: str = "",
    peer_mac: str = "",
) -> Link:
    """Make a veth pair: *name* here, *peer* in another namespace; return this end.

    Args:
        netlink: A socket in the namespace that *name* is to be in.
        name: This end's name.
        peer: The other end's name.
        peer_netns: An open file descriptor of the other end's namespace.
        mtu: For both ends, 0 leaves it to the kernel.
        mac: This end's hardware address, "" for a random one.
        peer_mac: The other end's.

    Raises:
        NetlinkError: EEXIST when either name is taken.
    """
    both = u32(_IFLA_MTU, mtu) if mtu else b""
    there = _info() + (attribute(_IFLA_ADDRESS, mac_bytes(peer_mac)) if peer_mac else b"")
    there += text(_IFLA_IFNAME, peer) + u32(_IFLA_NET_NS_FD, peer_netns) + both
    data = nested(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, there + u32(_IFLA_TXQLEN, 0)))
    body = _info() + text(_IFLA_IFNAME, name) + both
    if mac:
        body += attribute(_IFLA_ADDRESS, mac_bytes(mac))
    body += nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "veth"), data)
    return _created(netlink, body, name, f"add veth {name}")


def add_ifb(netlink: Netlink, name: str, *, mtu: int) -> None:
    """Make an intermediate functional block, up and without a queue: traffic is sent to it to wait.

    Raises:
        NetlinkError: EEXIST when the name is taken.
    """
    body = _info(flags=_IFF_UP, change=_IFF_UP) + text(_IFLA_IFNAME, name)
    body += u32(_IFLA_MTU, mtu) + u32(_IFLA_TXQLEN, 0) + _kind("ifb")
    _create(netlink, body, f"add ifb {name}")


def delete(netlink: Netlink, name: str) -> bool:
    """Delete the link called *name*; return whether there was one."""
    body = _info() + text(_IFLA_IFNAME, name)
    return netlink.remove(_RTM_DELLINK, body, absent={errno.ENODEV}, what=f"delete link {name}")


def deletion(index: int) -> Request:
    """Return the request that deletes a link, for somebody else to send."""
    return Request(_RTM_DELLINK, _info(index))


def set_up(netlink: Netlink, index: int, *, up: bool = True) -> None:
    """Set a link up or down."""
    body = _info(index, flags=_IFF_UP if up else 0, change=_IFF_UP)
    netlink.request(_RTM_NEWLINK, body, what="set link up" if up else "set link down")


def set_promiscuous(netlink: Netlink, index: int, *, on: bool = True) -> None:
    """Set a link promiscuous, or not."""
    body = _info(index, flags=_IFF_PROMISC if on else 0, change=_IFF_PROMISC)
    netlink.request(_RTM_NEWLINK, body, what="set promiscuous mode")


def set_all_multicast(netlink: Netlink, index: int, *, on: bool = True) -> None:
    """Let a link receive all multicast, or not."""
    body = _info(index, flags=_IFF_ALLMULTI if on else 0, change=_IFF_ALLMULTI)
    netlink.request(_RTM_NEWLINK, body, what="set all-multicast mode")


def set_mac(netlink: Netlink, index: int, mac: str) -> None:
    """Set the hardware address; a bridge keeps one that was set, whatever its ports do."""
    body = _info(index) + attribute(_IFLA_ADDRESS, mac_bytes(mac))
    netlink.request(_RTM_NEWLINK, body, what=f"set address {mac}")


def set_alias(netlink: Netlink, index: int, alias: str) -> None:
    """Write something on a link, at most 255 bytes, for whoever must know it again; "" clears it."""
    body = _info(index) + attribute(_IFLA_IFALIAS, alias.encode())
    netlink.request(_RTM_NEWLINK, body, what="set alias")


def set_name(netlink: Netlink, index: int, name: str) -> None:
    """Rename a link, which must be down.

    Raises:
        NetlinkError: EEXIST when the name is taken.
    """
    netlink.request(_RTM_NEWLINK, _info(index) + text(_IFLA_IFNAME, name), what=f"rename to {name}")


def set_mtu(netlink: Netlink, index: int, mtu: int) -> None:
    """Set the MTU."""
    netlink.request(_RTM_NEWLINK, _info(index) + u32(_IFLA_MTU, mtu), what=f"set MTU {mtu}")


def set_txqlen(netlink: Netlink, index: int, length: int) -> None:
    """Set the length of the transmit queue."""
    body = _info(index) + u32(_IFLA_TXQLEN, length)
    netlink.request(_RTM_NEWLINK, body, what=f"set queue length {length}")


def add_port(netlink: Netlink, name: str, *, bridge: int, alias: str = "") -> None:
    """Make a link a port of *bridge* and set it up, with *alias* on it, all in one request."""
    body = _info(flags=_IFF_UP, change=_IFF_UP) + text(_IFLA_IFNAME, name)
    if alias:
        body += attribute(_IFLA_IFALIAS, alias.encode())
    body += u32(_IFLA_MASTER, bridge)
    netlink.request(_RTM_NEWLINK, body, what=f"add bridge port {name}")


def set_master(netlink: Netlink, index: int, master: int) -> None:
    """Make a link a part of another, of a bridge or a VRF; 0 takes it out."""
    body = _info(index) + u32(_IFLA_MASTER, master)
    netlink.request(_RTM_NEWLINK, body, what="set master" if master else "leave master")


def move(
    netlink: Netlink, index: int, netns: int, *, name: str = "", alias: str | None = None
) -> None:
    """Move a link to the namespace that a file descriptor is of; it is down there, and bare.

    With the name and the alias that it is to have there, in one request: nobody sees it
    without them, and who is killed has moved it or has not.  A name that only the namespace it
    leaves has taken is no obstacle.

    Raises:
        NetlinkError: EINVAL when it may not leave; EEXIST when its name is taken there: it may
            be there already then, under its old name.
    """
    body = _info(index) + u32(_IFLA_NET_NS_FD, netns)
    if name:
        body += text(_IFLA_IFNAME, name)
    if alias is not None:
        body += attribute(_IFLA_IFALIAS, alias.encode())
    netlink.request(_RTM_NEWLINK, body, what="move link")


def set_port(netlink: Netlink, index: int, *, hairpin: bool, isolated: bool) -> None:
    """Set what a bridge port may do."""
    data = u8(_IFLA_BRPORT_MODE, hairpin) + u8(_IFLA_BRPORT_ISOLATED, isolated)
    info = text(_IFLA_INFO_SLAVE_KIND, "bridge"), nested(_IFLA_INFO_SLAVE_DATA, data)
    body = _info(index) + nested(_IFLA_LINKINFO, *info)
    netlink.request(_RTM_NEWLINK, body, what="set bridge port")


def mac_bytes(mac: str) -> bytes:
    """Pack a hardware address.

    Raises:
        ValueError: It is not six hexadecimal bytes.
    """
    if not _MAC.fullmatch(mac):
        raise ValueError(f"address {mac}: invalid MAC address")
    return bytes.fromhex(mac.replace("-", "").replace(":", ""))


def _create(netlink: Netlink, body: bytes, what: str) -> None:
    netlink.request(_RTM_NEWLINK, body, flags=_NEW, what=what)


def _created(netlink: Netlink, body: bytes, name: str, what: str) -> Link:
    """Create a link; return it as the kernel says it made it (before Linux 6.2: says nothing)."""
    for message in netlink.request(_RTM_NEWLINK, body, flags=_NEW | NLM_F_ECHO, what=what):
        return _link(message)
    if (link := find(netlink, name)) is None:
        raise NetlinkError(errno.ENODEV, f"{what}: it is gone")
    return link


def _info(index: int = 0, *, flags: int = 0, change: int = 0) -> bytes:
    return _INFO.pack(0, 0, index, flags, change)


def _kind(kind: str, data: bytes = b"") -> bytes:
    packed = nested(_IFLA_INFO_DATA, data) if data else b""
    return nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, kind), packed)


def _link(message: Message) -> Link:
    _, _, index, flags, _ = _INFO.unpack_from(message.payload)
    found = attributes(message.payload, _INFO.size)
    info = attributes(found.get(_IFLA_LINKINFO, b""))
    port = attributes(info.get(_IFLA_INFO_SLAVE_DATA, b""))
    kind = as_text(info.get(_IFLA_INFO_KIND, b""))
    namespace = found.get(_IFLA_LINK_NETNSID)
    state = as_int(found.get(_IFLA_OPERSTATE, b"\0"))
    return Link(
        index=index,
        name=as_text(found.get(_IFLA_IFNAME, b"")),
        kind=kind,
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=as_int(found.get(_IFLA_MTU, b"")),
        up=bool(flags & _IFF_UP),
        promiscuous=bool(flags & _IFF_PROMISC),
        all_multicast=bool(flags & _IFF_ALLMULTI),
        txqlen=as_int(found.get(_IFLA_TXQLEN, b"")),
        operstate=OPERSTATES[state] if state < len(OPERSTATES) else "unknown",
        master=as_int(found.get(_IFLA_MASTER, b"")),
        peer=as_int(found.get(_IFLA_LINK, b"")),
        peer_namespace=None if namespace is None else struct.unpack("=i", namespace)[0],
        alias=as_text(found.get(_IFLA_IFALIAS, b"")),
        hairpin=as_int(port.get(_IFLA_BRPORT_MODE, b"")) > 0,
        isolated=as_int(port.get(_IFLA_BRPORT_ISOLATED, b"")) > 0,
        data=info.get(_IFLA_INFO_DATA, b""),
    )
