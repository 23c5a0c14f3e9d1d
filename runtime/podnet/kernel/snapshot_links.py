"""Links, addresses, VLANs and forwarding entries, as facts (linux/if_link.h, if_addr.h, neighbour.h).

A link's hardware address is a fact, but not a bridge's: that follows its ports until it is set.
Carrier and what follows from it are none: they come a moment later, by themselves.
"""

import errno
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from podnet.kernel import vlans
from podnet.kernel.facts import Fact, stated
from podnet.kernel.netlink import Netlink, NetlinkError, as_int, as_text, attributes

_RTM_GETLINK, _RTM_GETADDR, _RTM_GETNEIGH = 18, 22, 30
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg
_ENTRY = struct.Struct("=BxxxiHBB")  # struct ndmsg
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_TXQLEN, _IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_AF_SPEC = 13, 18, 20, 26
_IFLA_XDP, _IFLA_XDP_ATTACHED = 43, 2
_IFLA_GROUP, _IFLA_PROMISCUITY, _IFLA_LINK_NETNSID, _IFLA_ALLMULTI = 27, 30, 37, 61
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
_IFF_UP, _IFF_NOARP = 0x1, 0x80
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS, _IFA_PROTO = 1, 2, 4, 8, 11
# What somebody asked for: NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN.
_ASKED_FOR = 0x2 | 0x10 | 0x100 | 0x200 | 0x400
_OF_KERNEL = frozenset({1, 3})  # IFAPROT_KERNEL_LO, IFAPROT_KERNEL_LL
_NDA_DST, _NDA_LLADDR, _NDA_VLAN, _NDA_VNI, _NDA_MASTER = 1, 2, 5, 7, 9
_SET_BY_SOMEBODY = 0x80 | 0x40  # NUD_PERMANENT, NUD_NOARP
_MULTICAST = 1

# What a kind of link says about itself, as far as somebody sets it; of others, its bytes.
_DATA: Mapping[str, Mapping[int, str]] = {
    "bridge": {
        1: "forward_delay",
        4: "ageing_time",
        5: "stp",
        7: "vlan_filtering",
        9: "group_fwd_mask",
        23: "mcast_snooping",
        36: "nf_call_iptables",
        37: "nf_call_ip6tables",
        38: "nf_call_arptables",
    },
    "macvlan": {1: "mode", 2: "macvlan_flags", 7: "bcqueuelen"},
    "macvtap": {1: "mode", 2: "macvlan_flags", 7: "bcqueuelen"},
    "ipvlan": {1: "mode", 2: "ipvlan_flags"},
    "vlan": {1: "vlan"},
    "vrf": {1: "table"},
    "veth": {},
    "ifb": {},
    "dummy": {},
}
_PORT = {
    2: "priority",
    4: "hairpin",
    5: "guard",
    6: "root_block",
    7: "fast_leave",
    8: "learning",
    9: "flood",
    10: "proxy_arp",
    27: "mcast_flood",
    29: "vlan_tunnel",
    30: "bcast_flood",
    32: "neigh_suppress",
    33: "isolated",
    39: "locked",
}
# What nobody has set; any other value is said, 0 too.
_USUAL = {
    "forward_delay": 1500,
    "ageing_time": 30000,
    "mcast_snooping": 1,
    "priority": 32,
    "learning": 1,
    "flood": 1,
    "mcast_flood": 1,
    "bcast_flood": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One link as the kernel describes it.

    Attributes:
        index: Its number.
        name: Its name.
        kind: "bridge", "veth" and so on.
        flags: IFF_*.
        said: Its attributes, packed.
        info: Those of its kind.
    """

    index: int
    name: str
    kind: str
    flags: int
    said: Mapping[int, bytes]
    info: Mapping[int, bytes]

    def number(self, kind: int) -> int:
        """Return an attribute that is a number."""
        return as_int(self.said.get(kind, b""))

    @property
    def mac(self) -> bytes:
        """Its hardware address, packed."""
        return self.said.get(_IFLA_ADDRESS, b"")

    @property
    def specific(self) -> bytes:
        """What address families say of it (IFLA_AF_SPEC)."""
        return self.said.get(_IFLA_AF_SPEC, b"")


def every(netlink: Netlink) -> list[Described]:
    """Return all links of the namespace."""
    messages = netlink.dump(_RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0), what="links")
    return [_described(message.payload) for message in messages]


def _described(payload: bytes) -> Described:
    _, _, index, flags, _ = _LINK.unpack_from(payload)
    said = attributes(payload, _LINK.size)
    info = attributes(said.get(_IFLA_LINKINFO, b""))
    kind = as_text(info.get(_IFLA_INFO_KIND, b""))
    name = as_text(said[_IFLA_IFNAME])
    return Described(index=index, name=name, kind=kind, flags=flags, said=said, info=info)


def facts(netlink: Netlink, found: Sequence[Described]) -> Iterator[Fact]:
    """Yield the facts of links and of what is on them."""
    names = {link.index: link.name for link in found}
    for link in found:
        yield Fact("link", link.name, _about(link, names))
    yield from _addresses(netlink, names)
    yield from _forwarding(netlink, {link.index: link for link in found})
    filtering = {
        x.index for x in found if x.kind == "bridge" and dict(_data(x)).get("vlan_filtering")
    }
    for link in found:
        if filtering & {link.index, link.number(_IFLA_MASTER)}:
            for one in sorted(vlans.of(netlink, link.index)):
                said = stated(pvid=one.pvid, untagged=one.untagged)
                yield Fact("vlan", f"{one.vid} dev {link.name}", said)


def _about(link: Described, names: Mapping[int, str]) -> tuple[tuple[str, object], ...]:
    master, lower = link.number(_IFLA_MASTER), link.number(_IFLA_LINK)
    here = _IFLA_LINK_NETNSID not in link.said
    return stated(
        kind=link.kind,
        mac="" if link.kind == "bridge" else link.mac.hex(":"),
        mtu=link.number(_IFLA_MTU),
        up=bool(link.flags & _IFF_UP),
        noarp=bool(link.flags & _IFF_NOARP),
        promiscuous=link.number(_IFLA_PROMISCUITY),
        allmulti=link.number(_IFLA_ALLMULTI),
        txqlen=link.number(_IFLA_TXQLEN),
        group=link.number(_IFLA_GROUP),
        alias=as_text(link.said.get(_IFLA_IFALIAS, b"")),
        xdp=as_int(attributes(link.said.get(_IFLA_XDP, b"")).get(_IFLA_XDP_ATTACHED, b"")),
        master=names.get(master, master),
        lower=names.get(lower, "") if here else "",
        **dict(_data(link)),
        **dict(_port(link)),
    )


def _data(link: Described) -> Iterator[tuple[str, object]]:
    packed = link.info.get(_IFLA_INFO_DATA, b"")
    table = _DATA.get(link.kind)
    if table is None:
        yield "data", packed.hex()
        return
    yield from _unusual(attributes(packed), table)


def _port(link: Described) -> Iterator[tuple[str, object]]:
    if as_text(link.info.get(_IFLA_INFO_SLAVE_KIND, b"")) == "bridge":
        said = attributes(link.info.get(_IFLA_INFO_SLAVE_DATA, b""))
        yield from ((f"port_{name}", value) for name, value in _unusual(said, _PORT))


def _unusual(said: Mapping[int, bytes], names: Mapping[int, str]) -> Iterator[tuple[str, object]]:
    for kind, name in names.items():
        value = as_int(said.get(kind, b""))
        if kind in said and value != _USUAL.get(name, 0):
            yield name, str(value)


def _addresses(netlink: Netlink, names: Mapping[int, str]) -> Iterator[Fact]:
    messages = netlink.dump(_RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0), what="addresses")
    found = [(message.payload, attributes(message.payload, _ADDRESS.size)) for message in messages]
    # Before Linux 5.18 the kernel did not tell which addresses are its own.
    tells = any(_IFA_PROTO in said for _, said in found)
    for payload, said in found:
        _, prefix, flags, scope, index = _ADDRESS.unpack_from(payload)
        packed = said.get(_IFA_LOCAL) or said[_IFA_ADDRESS]
        peer, address = said.get(_IFA_ADDRESS, packed), ip_address(packed)
        own = as_int(said.get(_IFA_PROTO, b"")) in _OF_KERNEL
        if own or (address.version == 6 and address.is_link_local and not tells):  # noqa: PLR2004
            continue
        yield Fact(
            "address",
            f"{address}/{prefix} dev {names.get(index, index)}",
            stated(
                peer=str(ip_address(peer)) if peer != packed else "",
                broadcast=_text(said.get(_IFA_BROADCAST)),
                scope=scope,
                flags=as_int(said.get(_IFA_FLAGS, bytes([flags]))) & _ASKED_FOR,
            ),
        )


def _forwarding(netlink: Netlink, links: Mapping[int, Described]) -> Iterator[Fact]:
    try:
        head = _ENTRY.pack(socket.AF_BRIDGE, 0, 0, 0, 0)
        messages = netlink.dump(_RTM_GETNEIGH, head, what="forwarding entries")
    except NetlinkError as exc:
        if exc.errno == errno.EOPNOTSUPP:
            return
        raise
    for message in messages:
        _, index, state, _, _ = _ENTRY.unpack_from(message.payload)
        said = attributes(message.payload, _ENTRY.size)
        link, mac = links.get(index), said.get(_NDA_LLADDR, b"")
        if link is None or not state & _SET_BY_SOMEBODY or _follows(link, mac, links):
            continue
        via, vni = _text(said.get(_NDA_DST)), as_int(said.get(_NDA_VNI, b""))
        vlan = as_int(said.get(_NDA_VLAN, b""))
        master = as_int(said.get(_NDA_MASTER, b""))
        words = [mac.hex(":"), f"dev {link.name}", f"dst {via}" if via else ""]
        words += [f"vni {vni}" if vni else "", f"vlan {vlan}" if vlan else ""]
        words.append("master" if master else "self")
        yield Fact("fdb", " ".join(filter(None, words)))


def _follows(link: Described, mac: bytes, links: Mapping[int, Described]) -> bool:
    """What the kernel adds by itself: addresses of the link, of its bridge, of multicast groups."""
    bridge = links.get(link.number(_IFLA_MASTER))
    own = mac in {link.mac, bridge.mac if bridge else link.mac}
    return own or bool(mac[:1] and mac[0] & _MULTICAST)


def _text(packed: bytes | None) -> str:
    return "" if packed is None else str(ip_address(packed))
