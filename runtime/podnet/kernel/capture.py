"""Packets of a network namespace as a pcapng file: what its links send and receive, in memory.

A packet that goes over a bridge and its port is seen on both, as tcpdump sees it on "any".
Kept are the first ones, up to a bound.
"""

import socket
import struct
import threading
import time

_ETH_P_ALL = 3
_LARGEST = 65536
_KEPT_BYTES = 16 * 1024 * 1024
_GLANCE = 0.05
# draft-ietf-opsawg-pcapng: block types, link type, options.
_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_MAGIC, _ETHERNET = 0x1A2B3C4D, 1
_IF_NAME, _IF_RESOLUTION, _NANOSECONDS = 2, 9, 9


class Capture:
    """A capture in the namespace of the calling thread, from now until it is stopped."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._packets = socket.socket(socket.AF_PACKET, kind, socket.htons(_ETH_P_ALL))
        self._packets.settimeout(_GLANCE)
        self._kept: list[tuple[int, str, bytes]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._take, name="podnet capture", daemon=True)
        self._thread.start()

    def _take(self) -> None:
        left = _KEPT_BYTES
        while left > 0 and not self._over.is_set():
            try:
                packet, source = self._packets.recvfrom(_LARGEST)
            except TimeoutError:
                continue
            self._kept.append((time.time_ns(), source[0], packet))
            left -= len(packet)

    def packets(self) -> bytes:
        """Return what was captured until now, as the content of a file."""
        time.sleep(_GLANCE)  # what was sent just now is on its way through the socket
        return pcapng(list(self._kept))

    def stop(self) -> None:
        """End the capture."""
        self._over.set()
        self._thread.join()
        self._packets.close()


def pcapng(packets: list[tuple[int, str, bytes]]) -> bytes:
    """Return packets (nanoseconds since the epoch, link, bytes) as a file's content.  Pure."""
    names = list(dict.fromkeys(name for _, name, _ in packets))
    blocks = [_block(_SECTION, struct.pack("<IHHq", _MAGIC, 1, 0, -1))]
    for name in names:
        options = _option(_IF_NAME, name.encode()) + _option(_IF_RESOLUTION, bytes([_NANOSECONDS]))
        body = struct.pack("<HHI", _ETHERNET, 0, 0) + options + _option(0, b"")
        blocks.append(_block(_INTERFACE, body))
    for when, name, packet in packets:
        size = len(packet)
        head = struct.pack("<IIIII", names.index(name), when >> 32, when & 0xFFFFFFFF, size, size)
        blocks.append(_block(_PACKET, head + _padded(packet)))
    return b"".join(blocks)


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(value: bytes) -> bytes:
    return value + bytes(-len(value) % 4)
