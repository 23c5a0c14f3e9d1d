"""DHCP messages and the IP and UDP headers around them, as bytes and back (pure).

RFC 2131 section 2 (the message), RFC 2132 (options), RFC 3396 (long options), RFC 791 and
768 (the headers: before it has an address, a client writes them itself).  Knows layouts
and checksums; what an option's value means is for ``dhcp_options``.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

SERVER_PORT, CLIENT_PORT = 67, 68
NOWHERE, EVERYBODY = IPv4Address(0), IPv4Address("255.255.255.255")
REQUEST, REPLY = 1, 2

_FIXED = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_COOKIE = bytes((99, 130, 83, 99))
_ETHERNET = 1
_MAC_LENGTH = 6
_BROADCAST = 0x8000
_PAD, _END, _OVERLOAD = 0, 255, 52
_IN_FILE, _IN_SNAME = 1, 2
_LONGEST_OPTION = 255
# What a BOOTP relay may insist on (RFC 1542 section 2.1).
_SHORTEST_MESSAGE = 300

_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_IP_VERSION, _TTL, _UDP_PROTOCOL = 4, 64, 17
_FRAGMENT = 0x3FFF  # an offset, or more to come


class PacketError(ValueError):
    """Bytes that are no DHCP message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One DHCP message.

    Attributes:
        op: REQUEST from a client, REPLY from a server.
        xid: The transaction.
        secs: Seconds since the client began.
        broadcast: The answer cannot be sent to the client's own address.
        ciaddr: The client's address, when it has one.
        yiaddr: The address that the client gets.
        siaddr: The next server of a boot; of no use here.
        giaddr: The relay.
        chaddr: The client's hardware address.
        options: Values by number, each whole.
    """

    op: int = REQUEST
    xid: int
    secs: int = 0
    broadcast: bool = False
    ciaddr: IPv4Address = NOWHERE
    yiaddr: IPv4Address = NOWHERE
    siaddr: IPv4Address = NOWHERE
    giaddr: IPv4Address = NOWHERE
    chaddr: bytes
    options: Mapping[int, bytes] = field(default_factory=dict)

    def packed(self) -> bytes:
        """Return the message as it is sent."""
        addresses = (self.ciaddr, self.yiaddr, self.siaddr, self.giaddr)
        head = _FIXED.pack(
            self.op,
            _ETHERNET,
            len(self.chaddr),
            0,
            self.xid,
            self.secs,
            _BROADCAST if self.broadcast else 0,
            *(address.packed for address in addresses),
            self.chaddr,
            b"",
            b"",
            _COOKIE,
        )
        options = b"".join(_option(number, value) for number, value in self.options.items())
        return (head + options + bytes((_END,))).ljust(_SHORTEST_MESSAGE, b"\0")

    @classmethod
    def unpacked(cls, data: bytes) -> "Message":
        """Read a message.

        Raises:
            PacketError: It is too short, not DHCP's, not Ethernet's, or an option is cut off.
        """
        if len(data) < _FIXED.size:
            raise PacketError(f"{len(data)} bytes are too few for a DHCP message")
        op, kind, length, _, xid, secs, flags, *rest = _FIXED.unpack_from(data)
        ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file, cookie = rest
        if cookie != _COOKIE or (kind, length) != (_ETHERNET, _MAC_LENGTH):
            raise PacketError("not a DHCP message over Ethernet")
        return cls(
            op=op,
            xid=xid,
            secs=secs,
            broadcast=bool(flags & _BROADCAST),
            ciaddr=IPv4Address(ciaddr),
            yiaddr=IPv4Address(yiaddr),
            siaddr=IPv4Address(siaddr),
            giaddr=IPv4Address(giaddr),
            chaddr=chaddr[:length],
            options=_options(data[_FIXED.size :], file, sname),
        )


def _option(number: int, value: bytes) -> bytes:
    """Pack an option; a long one goes in pieces (RFC 3396), an empty one in one."""
    starts = range(0, max(len(value), 1), _LONGEST_OPTION)
    pieces = [value[start : start + _LONGEST_OPTION] for start in starts]
    return b"".join(bytes((number, len(piece))) + piece for piece in pieces)


def _options(field_: bytes, file: bytes, sname: bytes) -> dict[int, bytes]:
    """Read the options, also those that overflow into the fields of a boot (RFC 2132, 9.3)."""
    found: dict[int, bytes] = {}
    _collect(found, field_)
    overloaded = int.from_bytes(found.pop(_OVERLOAD, b""), "big")
    for bit, more in ((_IN_FILE, file), (_IN_SNAME, sname)):
        if overloaded & bit:
            _collect(found, more)
    return found


def _collect(found: dict[int, bytes], area: bytes) -> None:
    for number, value in _each(area):
        found[number] = found.get(number, b"") + value


def _each(area: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(area) and area[offset] != _END:
        if area[offset] == _PAD:
            offset += 1
            continue
        start = offset + 2
        end = start + area[offset + 1] if start <= len(area) else start
        if end > len(area):
            raise PacketError(f"option {area[offset]} is cut off")
        yield area[offset], area[start:end]
        offset = end


def datagram(payload: bytes, source: IPv4Address, destination: IPv4Address) -> bytes:
    """Put a client's message into UDP and IP."""
    length = _UDP.size + len(payload)
    udp = _UDP.pack(CLIENT_PORT, SERVER_PORT, length, 0) + payload
    # Zero would say that there is none.
    check = checksum(_pseudo_header(source.packed, destination.packed, length) + udp) or 0xFFFF
    udp = _UDP.pack(CLIENT_PORT, SERVER_PORT, length, check) + payload
    head = _ip_header(_IP.size + length, 0, source, destination)
    return _ip_header(_IP.size + length, checksum(head), source, destination) + udp


def payload_of(packet: bytes, *, verify: bool = True) -> bytes:
    """Return what is in the UDP datagram of an IP packet to a client.

    Args:
        packet: From the IP header on; Ethernet may have padded it.
        verify: Check UDP's checksum.  A packet that never left the machine has none yet: the
            sender's kernel left it to hardware that does not exist.

    Raises:
        PacketError: It is something else, a fragment, or damaged.
    """
    if len(packet) < _IP.size:
        raise PacketError("shorter than an IP header")
    first, _, total, _, fragment, _, protocol, _, source, destination = _IP.unpack_from(packet)
    header = (first & 0xF) * 4
    if first >> 4 != _IP_VERSION or protocol != _UDP_PROTOCOL or fragment & _FRAGMENT:
        raise PacketError("not a whole UDP datagram over IPv4")
    if not _IP.size <= header <= total - _UDP.size or total > len(packet):
        raise PacketError("an IP packet of the wrong length")
    if checksum(packet[:header]):
        raise PacketError("a wrong checksum in the IP header")
    udp = packet[header:total]
    _, port, length, check = _UDP.unpack_from(udp)
    if port != CLIENT_PORT or not _UDP.size <= length <= len(udp):
        raise PacketError("not for a DHCP client, or a UDP datagram of the wrong length")
    udp = udp[:length]
    if verify and check and checksum(_pseudo_header(source, destination, length) + udp):
        raise PacketError("a wrong UDP checksum")
    return udp[_UDP.size :]


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071); 0 over data that has a right one in it."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _ip_header(total: int, check: int, source: IPv4Address, destination: IPv4Address) -> bytes:
    version = _IP_VERSION << 4 | _IP.size // 4
    ends = source.packed, destination.packed
    return _IP.pack(version, 0, total, 0, 0, _TTL, _UDP_PROTOCOL, check, *ends)


def _pseudo_header(source: bytes, destination: bytes, length: int) -> bytes:
    return source + destination + struct.pack("!BBH", 0, _UDP_PROTOCOL, length)
