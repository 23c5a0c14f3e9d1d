"""nftables, iptables and IP sets, as facts.

nft and the iptables programs take milliseconds, and most of the time nothing has changed: the
kernel counts the generations of a namespace's ruleset, so that one which was read before is
not read again, and where there is no table no program is run.  Left out are handles, counters,
what expires, and the empty chains that asking iptables makes.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

from podnet.errors import MissingError
from podnet.kernel import firewall, xtables
from podnet.kernel.facts import Fact, stated
from podnet.kernel.netlink import (
    Netlink,
    NetlinkError,
    as_text,
    attribute,
    attributes,
    every_attribute,
)

_NETLINK_NETFILTER = 12  # Python has no name for it, nor for SO_NETNS_COOKIE
_SO_NETNS_COOKIE, _COOKIE = 71, struct.Struct("=Q")
_HEADER = struct.pack(">BBH", socket.AF_UNSPEC, 0, 0)  # struct nfgenmsg
_AFTER_HEADER = len(_HEADER)
_GET_TABLES, _GET_GENERATION, _LIST_SETS = 10 << 8 | 1, 10 << 8 | 16, 6 << 8 | 7
_TABLE_NAME, _GENERATION = 1, 1
_ABSENT = frozenset({errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EINVAL, errno.ENOENT})
# Which tables may be iptables' own, in the kernel's numbers of families.
_IPTABLES = frozenset({"filter", "nat", "mangle", "raw", "security"})
_FAMILIES = {socket.AF_INET: 4, socket.AF_INET6: 6}
_NAMES = {4: "ip", 6: "ip6"}
_NFT_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
# linux/netfilter/ipset/ip_set.h
_SET_PROTOCOL, _SET_NAME, _SET_TYPE, _SET_ENTRIES = 1, 2, 3, 8
_PROTOCOL_VERSION = b"\x07"
_ENTRY_IP, _ENTRY_CIDR, _ENTRY_PORT, _ENTRY_PROTO, _ENTRY_MARK = 1, 3, 4, 7, 10
_ENTRY_VOLATILE = frozenset({6, 24, 25})  # timeout, bytes, packets
_VOLATILE = frozenset({"handle", "packets", "bytes", "expires", "index"})


def facts() -> Iterator[Fact]:
    """Yield the facts of everything that filters packets."""
    tables = _tables()
    if tables:
        yield from _of_generation(*_generation(), frozenset(tables))
    for version, name in _NAMES.items():
        if _older(name):
            yield from _saved(version, "legacy")
    yield from _sets()


def _tables() -> set[tuple[int, str]]:
    """Return the family and the name of each nftables table, iptables' own included."""
    try:
        with Netlink(_NETLINK_NETFILTER) as netlink:
            messages = netlink.dump(_GET_TABLES, _HEADER, what="nftables")
    except NetlinkError as exc:
        if exc.errno in _ABSENT:
            return set()
        raise
    return {
        (m.payload[0], as_text(attributes(m.payload, _AFTER_HEADER)[_TABLE_NAME])) for m in messages
    }


def _generation() -> tuple[int, int]:
    """Return what tells this ruleset from any other: a namespace's cookie, and a count in it."""
    with Netlink(_NETLINK_NETFILTER) as netlink:
        answer = netlink.get(_GET_GENERATION, _HEADER, what="generation of nftables")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        try:
            cookie = any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, _COOKIE.size)
        except OSError:  # before Linux 5.14: a number that never comes again
            cookie = os.urandom(_COOKIE.size)
    number = attributes(answer.payload, _AFTER_HEADER)[_GENERATION]
    return _COOKIE.unpack(cookie)[0], int.from_bytes(number)


@lru_cache(maxsize=256)
def _of_generation(
    cookie: int,  # noqa: ARG001  of which namespace: the cache's key
    generation: int,  # noqa: ARG001
    tables: frozenset[tuple[int, str]],
) -> tuple[Fact, ...]:
    """Read a ruleset, once."""
    found, theirs = list[Fact](), set[tuple[str, str]]()
    for family, version in _FAMILIES.items():
        if any(t == (family, name) for t in tables for name in _IPTABLES):
            saved = xtables.saved(version) if xtables.available(version) else {}
            theirs |= {(_NAMES[version], table) for table in saved}
            found += _iptables(version, saved)
    native = {(_NFT_FAMILIES.get(family, str(family)), name) for family, name in tables} - theirs
    if native and firewall.installed():
        found += _nftables(theirs)
    elif native:  # what is in them nobody here can read
        found += [Fact("nft table", " ".join(table)) for table in native]
    return tuple(found)


def times_read() -> int:
    """Return how many rulesets were read so far, not counting those that were known."""
    return _of_generation.cache_info().misses


def _nftables(others: Iterable[tuple[str, str]]) -> Iterator[Fact]:
    skipped = set(others)
    for entry in firewall.ruleset():
        for kind, said in entry.items():
            if not isinstance(said, dict) or kind == "metainfo":
                continue
            table = str(said.get("family")), str(said.get("table" if kind != "table" else "name"))
            if table not in skipped:
                yield from _nft(kind, said)


def _nft(kind: str, said: Mapping[str, object]) -> Iterator[Fact]:
    place = " ".join(str(said[k]) for k in ("family", "table", "chain", "name") if k in said)
    if kind == "rule":
        comment = f'"{said["comment"]}" ' if "comment" in said else ""
        yield Fact("nft rule", f"{place}: {comment}{_words(said.get('expr'))}")
        return
    known = {"family", "table", "chain", "name", "elem"}
    rest = {k: _words(v) for k, v in said.items() if k not in known | _VOLATILE}
    yield Fact(f"nft {kind}", place, stated(**rest))
    elements = said.get("elem")
    for element in elements if isinstance(elements, list) else ():
        yield Fact("nft element", f"{place}: {_words(element)}")


def _words(value: object) -> str:
    """Return JSON as words, without what is counted."""
    if isinstance(value, dict):
        return " ".join(f"{k} {_words(v)}".strip() for k, v in value.items() if k not in _VOLATILE)
    if isinstance(value, list):
        return " ".join(map(_words, value))
    return "" if value is None else str(value)


def _iptables(
    version: int, saved: Mapping[str, Mapping[str, list[str]]], how: str = ""
) -> Iterator[Fact]:
    program = " ".join(filter(None, (how, "iptables" if version == 4 else "ip6tables")))  # noqa: PLR2004
    for table, chains in saved.items():
        for chain, rules in chains.items():
            if chain not in xtables.BUILT_IN:
                yield Fact(f"{program} chain", f"{table} {chain}")
            for rule in rules:
                yield Fact(f"{program} rule", f"{table} {chain} {rule}")


def _older(name: str) -> bool:
    """Tell whether there are tables of the iptables before nftables."""
    try:
        return bool(Path(f"/proc/thread-self/net/{name}_tables_names").read_text().strip())
    except FileNotFoundError:
        return False


def _saved(version: int, how: str) -> Iterator[Fact]:
    try:
        yield from _iptables(version, xtables.saved(version, how), how)
    except MissingError:  # its rules are there all the same, but nobody can read them
        yield Fact("iptables", f"{how} IPv{version} tables that no program here can read")


def _sets() -> Iterator[Fact]:
    body = _HEADER + attribute(_SET_PROTOCOL, _PROTOCOL_VERSION)
    try:
        with Netlink(_NETLINK_NETFILTER) as netlink:
            messages = netlink.dump(_LIST_SETS, body, what="IP sets")
    except NetlinkError as exc:
        if exc.errno in _ABSENT:
            return
        raise
    for message in messages:
        said = attributes(message.payload, _AFTER_HEADER)
        name = as_text(said[_SET_NAME])
        if _SET_TYPE in said:
            yield Fact("ipset", name, stated(type=as_text(said[_SET_TYPE])))
        for _, entry in every_attribute(said.get(_SET_ENTRIES, b"")):
            yield Fact("ipset entry", f"{name} {_entry(attributes(entry))}")


def _entry(said: Mapping[int, bytes]) -> str:
    words = []
    for kind, packed in sorted(said.items()):
        if kind == _ENTRY_IP:
            inner = next(iter(attributes(packed).values()), b"")
            words.append(str(ip_address(inner)))
        elif kind in {_ENTRY_CIDR, _ENTRY_PORT, _ENTRY_PROTO}:
            name = {_ENTRY_CIDR: "/", _ENTRY_PORT: "port ", _ENTRY_PROTO: "proto "}[kind]
            words.append(f"{name}{int.from_bytes(packed)}")
        elif kind not in _ENTRY_VOLATILE:
            words.append(f"{kind}={packed.hex()}")
    return " ".join(words)
