"""Routes of all tables, policy rules and neighbours that somebody set, as facts.

Left out is what the kernel adds by itself a moment after something else: multicast and
link-local routes of IPv6, and its table of its own addresses.
"""

import socket
import struct
from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from podnet.kernel.facts import Fact, stated
from podnet.kernel.netlink import Netlink, as_int, as_text, attributes

_RTM_GETROUTE, _RTM_GETNEIGH, _RTM_GETRULE, _RTM_GETNEXTHOP = 26, 30, 34, 106
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_RULE = struct.Struct("=BBBBBxxBI")  # struct fib_rule_hdr
_ENTRY = struct.Struct("=BxxxiHBB")  # struct ndmsg
_NEXTHOP = struct.Struct("=BBBxI")  # struct nhmsg
_HOP = struct.Struct("=HBBi")  # struct rtnexthop
_RTA_DST, _RTA_SRC, _RTA_IIF, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY = 1, 2, 3, 4, 5, 6
_RTA_PREFSRC, _RTA_METRICS, _RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA, _RTA_NH_ID = 7, 8, 9, 15, 18, 30
_RTAX_MTU, _RTAX_ADVMSS = 2, 8
_CLONED, _ONLINK = 0x200, 0x4
_PROTOCOL_KERNEL = 2
_TABLES = {253: "default", 254: "main", 255: "local"}
_TYPES = dict(enumerate(("", "", "local", "broadcast", "anycast", "multicast", "blackhole")))
_TYPES |= {7: "unreachable", 8: "prohibit", 9: "throw"}
_PROTOCOLS = {1: "redirect", 2: "kernel", 3: "boot", 4: "static", 9: "ra", 16: "dhcp"}
_SCOPES = {0: "", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
_FRA_DST, _FRA_SRC, _FRA_IIFNAME, _FRA_GOTO, _FRA_PRIORITY, _FRA_FWMARK = 1, 2, 3, 4, 6, 10
_FRA_SUPPRESS, _FRA_TABLE, _FRA_FWMASK, _FRA_OIFNAME, _FRA_L3MDEV = 14, 15, 16, 17, 19
_INVERT, _WHOLE_MASK, _NOTHING = 0x2, 0xFFFFFFFF, 0xFFFFFFFF
_ACTIONS = {1: "", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_NDA_DST, _NDA_LLADDR = 1, 2
_NHA_ID, _NHA_GROUP, _NHA_BLACKHOLE, _NHA_OIF, _NHA_GATEWAY = 1, 2, 4, 5, 6
_NUD_PERMANENT, _NTF_PROXY = 0x80, 0x8


def facts(netlink: Netlink, names: Mapping[int, str]) -> Iterator[Fact]:
    """Yield the facts of routing; *names* are those of links, by index."""
    for family in (socket.AF_INET, socket.AF_INET6):
        head = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for message in netlink.dump(_RTM_GETROUTE, head, what="routes"):
            yield from _route(message.payload, names)
        head = _RULE.pack(family, 0, 0, 0, 0, 0, 0)
        for message in netlink.dump(_RTM_GETRULE, head, what="rules"):
            yield _rule(message.payload)
    for message in netlink.dump(_RTM_GETNEXTHOP, _NEXTHOP.pack(0, 0, 0, 0), what="next hops"):
        yield _nexthop(message.payload, names)
    for flags in (0, _NTF_PROXY):
        head = _ENTRY.pack(socket.AF_UNSPEC, 0, 0, flags, 0)
        for message in netlink.dump(_RTM_GETNEIGH, head, what="neighbours"):
            yield from _neighbour(message.payload, names)


def _route(payload: bytes, names: Mapping[int, str]) -> Iterator[Fact]:
    family, prefix, _, _, table, protocol, scope, kind, flags = _ROUTE.unpack_from(payload)
    said = attributes(payload, _ROUTE.size)
    table = as_int(said[_RTA_TABLE]) if _RTA_TABLE in said else table
    shown = _TABLES.get(table, str(table))
    dst = said.get(_RTA_DST, bytes(4 if family == socket.AF_INET else 16))
    if flags & _CLONED or _by_itself(family, dst, shown, protocol):
        return
    metrics = attributes(said.get(_RTA_METRICS, b""))
    words = [_TYPES.get(kind, str(kind)), _prefix(dst, prefix), *_hops(said, names)]
    metric = as_int(said.get(_RTA_PRIORITY, b""))
    words += [f"metric {metric}" if metric else "", f"table {shown}"]
    yield Fact(
        "route",
        " ".join(filter(None, words)),
        stated(
            protocol=_PROTOCOLS.get(protocol, protocol),
            scope=_SCOPES.get(scope, scope),
            src=_address(said.get(_RTA_PREFSRC)),
            onlink=bool(flags & _ONLINK),
            mtu=as_int(metrics.get(_RTAX_MTU, b"")),
            advmss=as_int(metrics.get(_RTAX_ADVMSS, b"")),
        ),
    )


def _by_itself(family: int, dst: bytes, table: str, protocol: int) -> bool:
    if family == socket.AF_INET or protocol != _PROTOCOL_KERNEL:
        return False
    address = ip_address(dst)
    return table == "local" or address.is_link_local or address.is_multicast


def _hops(said: Mapping[int, bytes], names: Mapping[int, str]) -> Iterator[str]:
    if _RTA_NH_ID in said:
        yield f"nhid {as_int(said[_RTA_NH_ID])}"
    if _RTA_MULTIPATH not in said:
        yield from _hop(said, as_int(said.get(_RTA_OIF, b"")), names)
        return
    packed, offset = said[_RTA_MULTIPATH], 0
    while offset + _HOP.size <= len(packed):
        length, _, weight, index = _HOP.unpack_from(packed, offset)
        inside = attributes(packed[offset + _HOP.size : offset + length])
        yield f"nexthop weight {weight + 1}"
        yield from _hop(inside, index, names)
        offset += length + (-length % 4)


def _hop(said: Mapping[int, bytes], index: int, names: Mapping[int, str]) -> Iterator[str]:
    gateway = said.get(_RTA_GATEWAY) or said.get(_RTA_VIA, b"")[2:]
    if gateway:
        yield f"via {_address(gateway)}"
    if index:
        yield f"dev {names.get(index, index)}"


def _nexthop(payload: bytes, names: Mapping[int, str]) -> Fact:
    """A next hop that routes refer to by a number, which somebody chose."""
    _, _, protocol, _ = _NEXTHOP.unpack_from(payload)
    said = attributes(payload, _NEXTHOP.size)
    group = said.get(_NHA_GROUP, b"")  # struct nexthop_grp: a number and a weight
    oif = as_int(said.get(_NHA_OIF, b""))
    return Fact(
        "nexthop",
        str(as_int(said[_NHA_ID])),
        stated(
            via=_address(said.get(_NHA_GATEWAY)),
            dev=names.get(oif, oif),
            group=tuple(as_int(group[at : at + 4]) for at in range(0, len(group), 8)),
            blackhole=_NHA_BLACKHOLE in said,
            protocol=_PROTOCOLS.get(protocol, protocol),
        ),
    )


def _rule(payload: bytes) -> Fact:
    family, to, source, _, table, action, flags = _RULE.unpack_from(payload)
    said = attributes(payload, _RULE.size)
    numbers = {kind: as_int(packed) for kind, packed in said.items() if len(packed) == 4}  # noqa: PLR2004
    table = numbers.get(_FRA_TABLE, table)
    mark, mask = numbers.get(_FRA_FWMARK, 0), numbers.get(_FRA_FWMASK, _WHOLE_MASK)
    suppressed = numbers.get(_FRA_SUPPRESS, _NOTHING)
    words = [
        f"{numbers.get(_FRA_PRIORITY, 0)}:",
        "not" if flags & _INVERT else "",
        f"from {_prefix(said[_FRA_SRC], source) if _FRA_SRC in said else 'all'}",
        f"to {_prefix(said[_FRA_DST], to)}" if _FRA_DST in said else "",
        f"iif {as_text(said[_FRA_IIFNAME])}" if _FRA_IIFNAME in said else "",
        f"oif {as_text(said[_FRA_OIFNAME])}" if _FRA_OIFNAME in said else "",
        f"fwmark {mark:#x}/{mask:#x}" if _FRA_FWMARK in said else "",
        "l3mdev" if said.get(_FRA_L3MDEV, b"\0") != b"\0" else "",
        f"lookup {_TABLES.get(table, table)}" if table else "",
        f"suppress_prefixlength {suppressed}" if suppressed != _NOTHING else "",
        _ACTIONS.get(action, str(action)),
        str(numbers[_FRA_GOTO]) if _FRA_GOTO in numbers else "",
    ]
    version = 4 if family == socket.AF_INET else 6
    return Fact("rule", f"IPv{version} {' '.join(filter(None, words))}")


def _neighbour(payload: bytes, names: Mapping[int, str]) -> Iterator[Fact]:
    _, index, state, flags, _ = _ENTRY.unpack_from(payload)
    said = attributes(payload, _ENTRY.size)
    proxy = bool(flags & _NTF_PROXY)
    if proxy or state & _NUD_PERMANENT:
        key = f"{_address(said[_NDA_DST])} dev {names.get(index, 'any')}"
        mac = said.get(_NDA_LLADDR, b"").hex(":")
        yield Fact("neighbour", f"proxy {key}" if proxy else key, stated(mac=mac))


def _prefix(packed: bytes, length: int) -> str:
    return f"{ip_address(packed)}/{length}"


def _address(packed: bytes | None) -> str:
    return str(ip_address(packed)) if packed else ""
