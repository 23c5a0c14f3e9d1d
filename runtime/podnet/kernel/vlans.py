"""VLANs of a bridge's ports (linux/if_bridge.h): what passes a port of a bridge that filters.

Knows messages and memberships; which port is to be in which VLAN is the plugin's to say.
"""

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from podnet.errors import MissingError
from podnet.kernel import libc, links, namespaces
from podnet.kernel.links import Link
from podnet.kernel.netlink import (
    Netlink,
    NetlinkError,
    as_int,
    attribute,
    attributes,
    every_attribute,
    nested,
    text,
    u8,
    u32,
)

# linux/rtnetlink.h, linux/if_link.h, linux/if_bridge.h
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_SETLINK = 16, 17, 18, 19
_IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_EXT_MASK = 18, 26, 29
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_RTEXT_FILTER_BRVLAN = 2
_IFLA_BR_VLAN_FILTERING = 7
_IFLA_BRIDGE_FLAGS, _IFLA_BRIDGE_VLAN_INFO = 0, 2
_BRIDGE_FLAGS_MASTER = 1
_PVID, _UNTAGGED, _RANGE_BEGIN, _RANGE_END = 0x2, 0x4, 0x8, 0x10
_INFO = struct.Struct("=BxHiII")  # struct ifinfomsg
_MEMBER = struct.Struct("=HH")  # struct bridge_vlan_info
LARGEST = 4094
_FILTERING = u8(_IFLA_BR_VLAN_FILTERING, 1)


@dataclass(frozen=True, slots=True, order=True)
class Vlan:
    """A port's membership of a VLAN.

    Attributes:
        vid: The VLAN.
        pvid: What comes in without a tag belongs to it.
        untagged: What goes out of it loses its tag.
    """

    vid: int
    pvid: bool = False
    untagged: bool = False

    @property
    def flags(self) -> int:
        """The same, as the kernel has it."""
        return (_PVID if self.pvid else 0) | (_UNTAGGED if self.untagged else 0)


def is_filtering(bridge: Link) -> bool:
    """Tell whether a bridge's ports are members of VLANs."""
    return as_int(attributes(bridge.data).get(_IFLA_BR_VLAN_FILTERING, b"")) > 0


def add_bridge(netlink: Netlink, name: str, *, mtu: int = 0, mac: str = "") -> None:
    """Make a bridge that filters, otherwise as :func:`podnet.kernel.links.add_bridge` does.

    Raises:
        NetlinkError: EEXIST when the name is taken.
        MissingError: The kernel's bridges cannot.
    """
    with _needing_filtering():
        links.add_bridge(netlink, name, mtu=mtu, mac=mac, data=_FILTERING)


def set_filtering(netlink: Netlink, index: int) -> None:
    """Have a bridge filter.

    Raises:
        MissingError: The kernel's bridges cannot.
    """
    info = nested(
        _IFLA_LINKINFO, text(_IFLA_INFO_KIND, "bridge"), nested(_IFLA_INFO_DATA, _FILTERING)
    )
    body = _INFO.pack(0, 0, index, 0, 0) + info
    with _needing_filtering():
        netlink.request(_RTM_NEWLINK, body, what="set VLAN filtering")


def add(netlink: Netlink, index: int, members: Iterable[Vlan]) -> None:
    """Make a port a member of VLANs, all in one request."""
    packed = b"".join(_packed(sorted(members)))
    netlink.request(_RTM_SETLINK, _body(index, packed), what="add VLANs to bridge port")


def clear(netlink: Netlink, index: int) -> None:
    """Take a port out of every VLAN."""
    everything = _run(1, LARGEST, 0)
    netlink.request(_RTM_DELLINK, _body(index, everything), what="delete VLANs of bridge port")


def of(netlink: Netlink, index: int) -> set[Vlan]:
    """Return the VLANs that a port is a member of."""
    # The kernel lists the ports of all bridges, or none.
    body = _INFO.pack(socket.AF_BRIDGE, 0, 0, 0, 0) + u32(_IFLA_EXT_MASK, _RTEXT_FILTER_BRVLAN)
    found: set[Vlan] = set()
    for message in netlink.dump(_RTM_GETLINK, body, what="VLANs of bridge ports"):
        if _INFO.unpack_from(message.payload)[2] == index:
            spec = attributes(message.payload, _INFO.size).get(_IFLA_AF_SPEC, b"")
            found.update(_members(spec))
    return found


def _members(spec: bytes) -> Iterator[Vlan]:
    """Unpack memberships; a run of them may be packed as its first and its last."""
    first = 0
    for kind, payload in every_attribute(spec):
        if kind != _IFLA_BRIDGE_VLAN_INFO:
            continue
        flags, vid = _MEMBER.unpack_from(payload)
        if flags & _RANGE_BEGIN:
            first = vid
            continue
        begin = first if flags & _RANGE_END else vid
        for member in range(begin, vid + 1):
            yield Vlan(member, pvid=bool(flags & _PVID), untagged=bool(flags & _UNTAGGED))


def _packed(members: list[Vlan]) -> Iterator[bytes]:
    """Pack memberships, runs of equals as their first and their last."""
    runs: list[list[Vlan]] = []
    for one in members:
        last = runs[-1][-1] if runs else None
        # The kernel refuses a run of PVIDs, and there is but one.
        if last and (last.vid + 1, last.flags, one.pvid) == (one.vid, one.flags, False):
            runs[-1].append(one)
        else:
            runs.append([one])
    for run in runs:
        yield _run(run[0].vid, run[-1].vid, run[0].flags)


def _run(first: int, last: int, flags: int) -> bytes:
    if first == last:
        return attribute(_IFLA_BRIDGE_VLAN_INFO, _MEMBER.pack(flags, first))
    ends = ((flags | _RANGE_BEGIN, first), (flags | _RANGE_END, last))
    return b"".join(attribute(_IFLA_BRIDGE_VLAN_INFO, _MEMBER.pack(*end)) for end in ends)


def _body(index: int, packed: bytes) -> bytes:
    flags = attribute(_IFLA_BRIDGE_FLAGS, struct.pack("=H", _BRIDGE_FLAGS_MASTER))
    head = _INFO.pack(socket.AF_BRIDGE, 0, index, 0, 0)
    return head + nested(_IFLA_AF_SPEC, flags + packed)


@contextmanager
def _needing_filtering() -> Iterator[None]:
    """Say what the kernel lacks when it refuses VLANs."""
    try:
        yield
    except NetlinkError as exc:
        if exc.errno != errno.EOPNOTSUPP:
            raise
        raise MissingError(
            "this kernel's bridges do not filter VLANs (CONFIG_BRIDGE_VLAN_FILTERING)"
        ) from exc


def require_filtering() -> None:
    """Check that bridges can filter, in a network namespace that is gone afterwards.

    Raises:
        MissingError: They cannot.
    """
    namespaces.in_thread(_probe)


def _probe() -> None:
    libc.unshare(libc.CLONE_NEWNET)
    with Netlink() as netlink:
        add_bridge(netlink, "probe")
