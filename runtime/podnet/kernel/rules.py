"""Policy rules: which routing table a source address uses (linux/fib_rules.h).

Functions work in the network namespace of their :class:`Netlink`.
"""

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from podnet.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    Netlink,
    NetlinkError,
    as_int,
    attribute,
    attributes,
    u32,
)

_RTM_NEWRULE, _RTM_DELRULE, _RTM_GETRULE = 32, 33, 34
_FRA_SRC, _FRA_PRIORITY, _FRA_TABLE = 2, 6, 15
_MESSAGE = struct.Struct("=BBBBBxxBI")  # struct fib_rule_hdr
_FR_ACT_TO_TBL = 1
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_TABLE_IN_HEADER = 0xFF

Source = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule that sends its source to a table.

    Attributes:
        source: Whom it is for; a prefix of length 0 is everybody.
        table: The routing table.
        priority: Lower ones are asked first; 0 lets the kernel choose, before all it has.
    """

    source: Source
    table: int
    priority: int = 0


def add(netlink: Netlink, rule: Rule) -> None:
    """Add a rule.

    Raises:
        NetlinkError: The kernel refused.
    """
    flags = NLM_F_CREATE | NLM_F_EXCL
    netlink.request(_RTM_NEWRULE, _body(rule), flags=flags, what=f"add {_name(rule)}")


def delete(netlink: Netlink, rule: Rule) -> bool:
    """Delete a rule; return whether it was there."""
    what = f"delete {_name(rule)}"
    return netlink.remove(_RTM_DELRULE, _body(rule), absent={errno.ENOENT}, what=what)


def every(netlink: Netlink, family: int) -> list[Rule]:
    """Return the rules of family 4 or 6 that send somebody to a table; none where it has none."""
    body = _MESSAGE.pack(_FAMILIES[family], 0, 0, 0, 0, 0, 0)
    try:
        messages = netlink.dump(_RTM_GETRULE, body, what="rules")
    except NetlinkError as exc:
        if exc.errno == errno.EAFNOSUPPORT:
            return []
        raise
    return [rule for message in messages if (rule := _rule(message)) is not None]


def _name(rule: Rule) -> str:
    return f"rule from {rule.source} to table {rule.table}"


def _body(rule: Rule) -> bytes:
    table = rule.table if rule.table <= _TABLE_IN_HEADER else 0
    family, length = _FAMILIES[rule.source.version], rule.source.prefixlen
    body = _MESSAGE.pack(family, 0, length, 0, table, _FR_ACT_TO_TBL, 0)
    if length:
        body += attribute(_FRA_SRC, rule.source.network_address.packed)
    if rule.priority:
        body += u32(_FRA_PRIORITY, rule.priority)
    return body + u32(_FRA_TABLE, rule.table)


def _rule(message: Message) -> Rule | None:
    family, _, length, _, table, action, _ = _MESSAGE.unpack_from(message.payload)
    if action != _FR_ACT_TO_TBL:
        return None
    found = attributes(message.payload, _MESSAGE.size)
    everybody = b"\0" * (4 if family == socket.AF_INET else 16)
    return Rule(
        source=ip_network((found.get(_FRA_SRC, everybody), length)),
        table=as_int(found[_FRA_TABLE]) if _FRA_TABLE in found else table,
        priority=as_int(found.get(_FRA_PRIORITY, b"")),
    )
