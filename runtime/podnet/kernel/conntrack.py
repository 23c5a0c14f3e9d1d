"""Connection tracking: entries forgotten by port (linux/netfilter/nfnetlink_conntrack.h).

NAT is decided for the first packet of a connection.  UDP has no end of a connection, so
a flow that goes on keeps its old destination until its entry is gone.
"""

import errno
import socket
import struct
from collections.abc import Collection

from podnet.kernel.netlink import (
    Netlink,
    attribute,
    attributes,
    nested,
    u8,
    u32,
)

# Attributes in netlink's own framing, but numbers of the network in network byte order.
_NETLINK_NETFILTER = 12  # Python has no name for it
_SUBSYSTEM = 1 << 8
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_CTA_TUPLE_ORIG, _CTA_ID, _CTA_ZONE, _CTA_FILTER = 1, 12, 18, 25
_CTA_TUPLE_PROTO = 2
_CTA_PROTO_NUM, _CTA_PROTO_DST_PORT = 1, 3
_CTA_FILTER_ORIG_FLAGS = 1
_BY_PROTOCOL_AND_PORT = 1 << 3 | 1 << 5
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_HEADER = struct.Struct(">BBH")  # struct nfgenmsg
_PORT = struct.Struct(">H")


def forget_udp(family: int, ports: Collection[int]) -> int:
    """Forget the UDP flows that were first sent to one of *ports*; return how many.

    Args:
        family: 4 or 6.
        ports: Destination ports before any translation.

    Raises:
        OSError: The kernel does not track connections, or will not tell.
    """
    head = _HEADER.pack(_FAMILIES[family], 0, 0)
    with Netlink(_NETLINK_NETFILTER) as netlink:
        found = [entry for port in ports for entry in _flows(netlink, head, port)]
        return sum(_forget(netlink, head, entry) for entry in found)


def _flows(netlink: Netlink, head: bytes, port: int) -> list[dict[int, bytes]]:
    messages = netlink.dump(_GET, head + _filter(port), what="tracked connections")
    entries = [attributes(message.payload, _HEADER.size) for message in messages]
    return [entry for entry in entries if _destination(entry) == (socket.IPPROTO_UDP, port)]


def _filter(port: int) -> bytes:
    """Ask for UDP flows to *port* only; kernels before 5.8 send all, so look again yourself."""
    number = u8(_CTA_PROTO_NUM, socket.IPPROTO_UDP)
    wanted = nested(_CTA_TUPLE_PROTO, number, attribute(_CTA_PROTO_DST_PORT, _PORT.pack(port)))
    by = u32(_CTA_FILTER_ORIG_FLAGS, _BY_PROTOCOL_AND_PORT)
    return nested(_CTA_TUPLE_ORIG, wanted) + nested(_CTA_FILTER, by)


def _destination(entry: dict[int, bytes]) -> tuple[int, int]:
    """Return protocol and port that the first packet was sent to."""
    protocol = attributes(attributes(entry.get(_CTA_TUPLE_ORIG, b"")).get(_CTA_TUPLE_PROTO, b""))
    port = protocol.get(_CTA_PROTO_DST_PORT, b"\0\0")
    return protocol.get(_CTA_PROTO_NUM, b"\0")[0], _PORT.unpack(port)[0]


def _forget(netlink: Netlink, head: bytes, entry: dict[int, bytes]) -> bool:
    """Delete one entry; it may have expired in the meantime."""
    body = head + nested(_CTA_TUPLE_ORIG, entry[_CTA_TUPLE_ORIG])
    body += b"".join(attribute(kind, entry[kind]) for kind in (_CTA_ID, _CTA_ZONE) if kind in entry)
    return netlink.remove(_DELETE, body, absent={errno.ENOENT}, what="forget a tracked connection")
