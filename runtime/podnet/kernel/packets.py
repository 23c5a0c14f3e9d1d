"""UDP where there is no address yet: packets to and from one port of a link (packet(7)).

Sockets belong to the network namespace in which they are opened, and keep it alive until
they are closed.  Knows sockets and their filter; what is in the packets is the caller's.
"""

import errno
import socket
import struct
from array import array
from typing import Self

_ETH_P_IP = 0x0800
# asm-generic/socket.h, linux/if_packet.h
_SO_ATTACH_FILTER = 26
_SOL_PACKET, _PACKET_AUXDATA = 263, 8
_TP_STATUS_CSUMNOTREADY = 1 << 3
_AUXDATA = struct.Struct("=IIIHHHH")
_TO_US = frozenset({socket.PACKET_HOST, socket.PACKET_BROADCAST})
_LARGEST = 65536
# linux/filter.h: code, jt, jf, k
_INSTRUCTION = struct.Struct("=HBBI")
_ALL = 0xFFFFFFFF


def _filter(port: int) -> bytes:
    """Return a program that takes whole UDP datagrams to *port*, seen from the IP header on."""
    program = (
        (0x30, 0, 0, 9),  # A = protocol
        (0x15, 0, 6, socket.IPPROTO_UDP),
        (0x28, 0, 0, 6),  # A = fragment
        (0x45, 4, 0, 0x1FFF),
        (0xB1, 0, 0, 0),  # X = header length
        (0x48, 0, 0, 2),  # A = destination port
        (0x15, 0, 1, port),
        (0x06, 0, 0, _ALL),
        (0x06, 0, 0, 0),
    )
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


class Packets:
    """The IPv4 packets of a link that carry UDP to one port.

    Args:
        ifname: The link, in the namespace of the calling thread.
        port: The port.

    Raises:
        OSError: There is no such link, or no privilege.
    """

    def __init__(self, ifname: str, port: int) -> None:
        self._ifname = ifname
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        # Protocol 0: nothing arrives before the filter is there and the link is chosen.
        self._packets = socket.socket(socket.AF_PACKET, kind, 0)
        self._udp = socket.socket(socket.AF_INET, kind)
        try:
            self._attach(_filter(port))
            self._packets.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            self._packets.bind((ifname, _ETH_P_IP))
            self._occupy(port)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _attach(self, program: bytes) -> None:
        code = array("B", program)
        address, length = code.buffer_info()
        fprog = struct.pack("@HP", length // _INSTRUCTION.size, address)
        self._packets.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)

    def _occupy(self, port: int) -> None:
        """Have the port be somebody's, or the kernel would tell senders that it is nobody's."""
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._ifname.encode())
        try:
            self._udp.bind(("", port))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:  # somebody's it is
                raise

    def fileno(self) -> int:
        """Return the file descriptor to wait on."""
        return self._packets.fileno()

    def close(self) -> None:
        """Close the sockets."""
        self._packets.close()
        self._udp.close()

    def send(self, packet: bytes, mac: bytes) -> None:
        """Send an IP packet to a hardware address.

        Raises:
            OSError: The link is down or gone.
        """
        self._packets.sendto(packet, (self._ifname, _ETH_P_IP, 0, 0, mac))

    def receive(self) -> tuple[bytes, bytes, bool] | None:
        """Return the next packet, its sender's hardware address, and whether its checksum is there.

        A packet that never left the machine may have none: hardware would have made it.
        ``None``: it is not for us, or there is none.

        Raises:
            OSError: The link went down or is gone.
        """
        try:
            packet, said, _, source = self._packets.recvmsg(
                _LARGEST, socket.CMSG_SPACE(_AUXDATA.size)
            )
        except BlockingIOError:
            return None
        _, _, towards, _, mac = source
        if towards not in _TO_US:
            return None
        status = next((_AUXDATA.unpack(value)[0] for *_, value in said), 0)
        return packet, mac, not status & _TP_STATUS_CSUMNOTREADY
