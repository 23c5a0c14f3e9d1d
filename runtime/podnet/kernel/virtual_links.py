"""Links of a kind that hangs on another link, or on nothing: macvlan, ipvlan, vlan, dummy, vrf.

Each is made in the namespace and under the name that it is for, in one message; what the
kernel was not built with has a name in the error.  What all links share is in ``links``.
"""

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass

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
    u32,
)

# linux/rtnetlink.h, linux/if_link.h
_RTM_NEWLINK = 16
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK = 1, 3, 4, 5
_IFLA_LINKINFO, _IFLA_NET_NS_FD = 18, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_IFLA_MACVLAN_MODE, _IFLA_MACVLAN_BC_QUEUE_LEN = 1, 7
_IFLA_IPVLAN_MODE = 1
_IFLA_VLAN_ID = 1
_IFLA_VRF_TABLE = 1
_INFO = struct.Struct("=BxHiII")  # struct ifinfomsg
_U16 = struct.Struct("=H")
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
_OPTIONS = {
    "macvlan": "CONFIG_MACVLAN",
    "ipvlan": "CONFIG_IPVLAN",
    "vlan": "CONFIG_VLAN_8021Q",
    "dummy": "CONFIG_DUMMY",
    "vrf": "CONFIG_NET_VRF",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLink:
    """A link that is to be made.

    Attributes:
        name: Its name.
        netns: An open file descriptor of the namespace it is for; ``None``: where it is asked for.
        master: The link it hangs on, as an index where it is asked for; 0 for none.
        mtu: 0 leaves it to the kernel.
        mac: "" leaves it to the kernel.
    """

    name: str
    netns: int | None = None
    master: int = 0
    mtu: int = 0
    mac: str = ""


def add_macvlan(netlink: Netlink, new: NewLink, *, mode: str, queue: int = 0) -> None:
    """Make a macvlan.

    Args:
        netlink: A socket in its master's namespace.
        new: What to make.
        mode: One of MACVLAN_MODES.
        queue: How many broadcasts may wait, 0 for the kernel's choice.

    Raises:
        NetlinkError: EEXIST when the name is taken.
        MissingError: The kernel has none of this kind.
    """
    data = u32(_IFLA_MACVLAN_MODE, MACVLAN_MODES[mode])
    if queue:
        data += u32(_IFLA_MACVLAN_BC_QUEUE_LEN, queue)
    _add(netlink, new, "macvlan", data)


def add_ipvlan(netlink: Netlink, new: NewLink, *, mode: str) -> None:
    """Make an ipvlan, in one of IPVLAN_MODES; it raises what :func:`add_macvlan` does."""
    _add(netlink, new, "ipvlan", attribute(_IFLA_IPVLAN_MODE, _U16.pack(IPVLAN_MODES[mode])))


def add_vlan(netlink: Netlink, new: NewLink, *, vid: int) -> None:
    """Make an 802.1Q link, of VLAN *vid*; it raises what :func:`add_macvlan` does."""
    _add(netlink, new, "vlan", attribute(_IFLA_VLAN_ID, _U16.pack(vid)))


def add_dummy(netlink: Netlink, new: NewLink) -> None:
    """Make a dummy; it raises what :func:`add_macvlan` does."""
    _add(netlink, new, "dummy", b"")


def add_vrf(netlink: Netlink, new: NewLink, *, table: int) -> None:
    """Make a VRF, with routing table *table*; it raises what :func:`add_macvlan` does."""
    _add(netlink, new, "vrf", u32(_IFLA_VRF_TABLE, table))


def is_supported(netlink: Netlink, kind: str) -> bool:
    """Tell whether the kernel can make a link of *kind*, and load its module where it is one."""
    # A hardware address of one byte: a kernel that knows the kind finds that out, and makes nothing.
    body = _INFO.pack(0, 0, 0, 0, 0) + attribute(_IFLA_ADDRESS, b"\0") + _linkinfo(kind, b"")
    try:
        netlink.request(_RTM_NEWLINK, body, flags=NLM_F_CREATE | NLM_F_EXCL)
    except NetlinkError as exc:
        return exc.errno != errno.EOPNOTSUPP
    return True


def missing(kind: str) -> MissingError:
    """Return the error that names what a kernel without *kind* lacks."""
    return MissingError(f"this kernel has no {kind} ({_OPTIONS[kind]})")


def macvlan_mode(link: Link) -> str:
    """Return which of MACVLAN_MODES a macvlan is in, "" for none that is known."""
    return _name(MACVLAN_MODES, attributes(link.data).get(_IFLA_MACVLAN_MODE))


def macvlan_queue(link: Link) -> int:
    """Return how many broadcasts were asked to wait for a macvlan."""
    return as_int(attributes(link.data).get(_IFLA_MACVLAN_BC_QUEUE_LEN, b""))


def ipvlan_mode(link: Link) -> str:
    """Return which of IPVLAN_MODES an ipvlan is in, "" for none that is known."""
    return _name(IPVLAN_MODES, attributes(link.data).get(_IFLA_IPVLAN_MODE))


def vlan_id(link: Link) -> int:
    """Return the VLAN of an 802.1Q link."""
    return as_int(attributes(link.data).get(_IFLA_VLAN_ID, b""))


def vrf_table(link: Link) -> int:
    """Return the routing table of a VRF, 0 for a link that is none."""
    return as_int(attributes(link.data).get(_IFLA_VRF_TABLE, b"")) if link.kind == "vrf" else 0


def _name(modes: Mapping[str, int], packed: bytes | None) -> str:
    return next((m for m, number in modes.items() if packed and as_int(packed) == number), "")


def _linkinfo(kind: str, data: bytes) -> bytes:
    packed = nested(_IFLA_INFO_DATA, data) if data else b""
    return nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, kind), packed)


def _add(netlink: Netlink, new: NewLink, kind: str, data: bytes) -> None:
    body = _INFO.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, new.name)
    numbers = {_IFLA_LINK: new.master, _IFLA_MTU: new.mtu}
    body += b"".join(u32(number, value) for number, value in numbers.items() if value)
    if new.mac:
        body += attribute(_IFLA_ADDRESS, mac_bytes(new.mac))
    if new.netns is not None:
        body += u32(_IFLA_NET_NS_FD, new.netns)
    body += _linkinfo(kind, data)
    what = f"add {kind} {new.name}"
    try:
        netlink.request(_RTM_NEWLINK, body, flags=NLM_F_CREATE | NLM_F_EXCL, what=what)
    except NetlinkError as exc:
        if exc.errno == errno.EOPNOTSUPP:
            raise missing(kind) from exc
        raise
