"""Rules of nftables by their comments: found and deleted over netlink, without a run of nft.

A plugin knows its rules by their comment and deletes them by their handle, and for that the
kernel need not be asked by way of a program: 0.2 ms for a list where nft takes 3.
What a rule does stays nft's business.  Messages are those of linux/netfilter/nf_tables.h; acts
in the network namespace of the calling thread.
"""

import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from podnet.kernel.netlink import (
    Netlink,
    Request,
    as_text,
    attribute,
    attributes,
    text,
)

_NETLINK_NETFILTER = 12  # Python has no name for it
_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_GETCHAIN, _GETRULE, _DELRULE = _SUBSYSTEM << 8 | 4, _SUBSYSTEM << 8 | 7, _SUBSYSTEM << 8 | 8
_CHAIN_TABLE, _CHAIN_NAME = 1, 3
_RULE_TABLE, _RULE_CHAIN, _RULE_HANDLE, _RULE_USERDATA = 1, 2, 3, 7
_COMMENT = 0  # the type of libnftnl's user data
_FAMILIES = {"inet": 1, "ip": socket.AF_INET, "ip6": socket.AF_INET6}
_HEADER = struct.Struct(">BBH")  # struct nfgenmsg
_HANDLE = struct.Struct(">Q")
# No nf_tables in this kernel, or no such family.
_ABSENT = frozenset({errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EINVAL, errno.ENOENT})


@dataclass(frozen=True, slots=True)
class Tag:
    """What tells one rule from another: its chain, its handle and its comment, or ""."""

    chain: str
    handle: int
    comment: str


def of(family: str, table: str) -> list[Tag]:
    """Return the tags of all rules of a table; none when there is no such table."""
    body = _HEADER.pack(_FAMILIES[family], 0, 0) + text(_RULE_TABLE, table)
    try:
        with Netlink(_NETLINK_NETFILTER) as netlink:
            messages = netlink.dump(_GETRULE, body, what=f"rules of table {family} {table}")
    except OSError as exc:
        if exc.errno in _ABSENT:
            return []
        raise
    found = [attributes(message.payload, _HEADER.size) for message in messages]
    return [_tag(rule) for rule in found if as_text(rule.get(_RULE_TABLE, b"")) == table]


def has_chain(family: str, table: str, chain: str) -> bool:
    """Tell whether there is such a chain, with rules or without."""
    names = text(_CHAIN_TABLE, table) + text(_CHAIN_NAME, chain)
    body = _HEADER.pack(_FAMILIES[family], 0, 0) + names
    try:
        with Netlink(_NETLINK_NETFILTER) as netlink:
            netlink.get(_GETCHAIN, body, what=f"chain {chain} of table {family} {table}")
    except OSError as exc:
        if exc.errno in _ABSENT:
            return False
        raise
    return True


def delete(family: str, table: str, tags: Sequence[Tag]) -> None:
    """Delete rules, all or none.

    Raises:
        NetlinkError: The kernel refused.
    """
    if not tags:
        return
    bracket = _HEADER.pack(0, 0, _SUBSYSTEM)
    head = _HEADER.pack(_FAMILIES[family], 0, 0) + text(_RULE_TABLE, table)
    bodies = [
        head + text(_RULE_CHAIN, t.chain) + attribute(_RULE_HANDLE, _HANDLE.pack(t.handle))
        for t in tags
    ]
    what = f"delete rules of table {family} {table}"
    requests = [
        Request(_BATCH_BEGIN, bracket, acknowledged=False),
        *(Request(_DELRULE, body, what=what) for body in bodies),
        Request(_BATCH_END, bracket, acknowledged=False),
    ]
    with Netlink(_NETLINK_NETFILTER) as netlink:
        netlink.together(requests)


def _tag(rule: dict[int, bytes]) -> Tag:
    (handle,) = _HANDLE.unpack(rule[_RULE_HANDLE])
    return Tag(as_text(rule[_RULE_CHAIN]), handle, _comment(rule.get(_RULE_USERDATA, b"")))


def _comment(said: bytes) -> str:
    """Find the comment among type-length-values of one byte each."""
    while len(said) > 2:  # noqa: PLR2004
        kind, length = said[:2]
        if kind == _COMMENT:
            return as_text(said[2 : 2 + length])
        said = said[2 + length :]
    return ""
