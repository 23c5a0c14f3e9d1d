"""Is there a path between two network namespaces?  ICMP, TCP and UDP, with sockets of our own.

A socket belongs to the namespace it was made in, whoever uses it; so one process can hold
both ends, and no ``ping`` or server is needed in any pod.
"""

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from podnet.kernel import namespaces

Address = IPv4Address | IPv6Address
_ECHO = {4: (8, 0), 6: (128, 129)}  # (request, reply); RFC 792, RFC 4443
_HEADER = struct.Struct("!BBHHH")
_IPV4_HEADER_WORDS = 0x0F
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO = 10, 2
_IPV6_MTU_DISCOVER = 23
_TOKEN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What came of one probe.

    Attributes:
        reached: The answer came back.
        milliseconds: How long that took.
        reason: Why it did not.
    """

    reached: bool
    milliseconds: float = 0.0
    reason: str = ""


def icmp(source: str, target: Address, *, size: int = 56, timeout: float = 1.0) -> Probe:
    """Send one echo request from a namespace, with "don't fragment" set, and wait for the reply.

    Args:
        source: The namespace's path.
        target: Whom to ask.
        size: Bytes of payload.
        timeout: Seconds to wait.
    """
    protocol = socket.IPPROTO_ICMP if target.version == 4 else socket.IPPROTO_ICMPV6  # noqa: PLR2004
    with _socket(source, target.version, socket.SOCK_RAW, protocol) as probe:
        _forbid_fragments(probe, target.version)
        token = os.urandom(_TOKEN)
        payload = token + bytes(max(0, size - _TOKEN))
        request = _echo(target.version, payload)
        is_reply = _is_echo_reply_4 if target.version == 4 else _is_echo_reply_6  # noqa: PLR2004
        return _exchange(
            probe, request, (str(target), 0), token, timeout=timeout, is_answer=is_reply
        )


def udp(source: str, sink: str, target: Address, port: int, *, timeout: float = 1.0) -> Probe:
    """Send a datagram from one namespace to an echo of ours in another, and wait for it.

    Where something listens on the port already, that must answer instead.
    """
    with (
        _socket(sink, target.version, socket.SOCK_DGRAM) as server,
        _socket(source, target.version, socket.SOCK_DGRAM) as probe,
    ):
        echo = _bound(server, port)
        if echo:
            threading.Thread(target=_echo_once, args=(server, timeout), daemon=True).start()
        token = os.urandom(_TOKEN)
        return _exchange(probe, token, (str(target), port), token if echo else b"", timeout=timeout)


def tcp(source: str, sink: str, target: Address, port: int, *, timeout: float = 1.0) -> Probe:
    """Connect from one namespace to a listener of ours in another, or to one that is there."""
    with (
        _socket(sink, target.version, socket.SOCK_STREAM) as server,
        _socket(source, target.version, socket.SOCK_STREAM) as probe,
    ):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if _bound(server, port):
            server.listen(1)
        probe.settimeout(timeout)
        started = time.perf_counter()
        try:
            probe.connect((str(target), port))
        except OSError as exc:
            return Probe(reached=False, reason=_reason(exc))
        return Probe(reached=True, milliseconds=(time.perf_counter() - started) * 1000)


def _socket(netns: str, version: int, kind: int, protocol: int = 0) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6  # noqa: PLR2004

    def make() -> socket.socket:
        with namespaces.entered(netns):
            return socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)

    with namespaces.needing_privilege("open a socket in a pod"):
        return namespaces.in_thread(make)


def _bound(server: socket.socket, port: int) -> bool:
    try:
        server.bind(("", port))
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            return False
        raise
    return True


def _exchange(
    probe: socket.socket,
    request: bytes,
    target: tuple[str, int],
    token: bytes,
    *,
    timeout: float,
    is_answer: Callable[[bytes], bool] = lambda _: True,
) -> Probe:
    """Send *request* and wait until *token* comes back in something that is an answer."""
    started = time.perf_counter()
    deadline = started + timeout
    try:
        probe.sendto(request, target)
        while (left := deadline - time.perf_counter()) > 0:
            probe.settimeout(left)
            answer = probe.recv(65535)
            if token in answer and is_answer(answer):
                return Probe(reached=True, milliseconds=(time.perf_counter() - started) * 1000)
    except OSError as exc:
        return Probe(reached=False, reason=_reason(exc))
    return Probe(reached=False, reason="no answer")


def _echo(version: int, payload: bytes) -> bytes:
    head = _HEADER.pack(_ECHO[version][0], 0, 0, os.getpid() & 0xFFFF, 1)
    if version == 6:  # noqa: PLR2004  the kernel computes ICMPv6's checksum
        return head + payload
    checksum = _checksum(head + payload)
    return _HEADER.pack(_ECHO[4][0], 0, checksum, os.getpid() & 0xFFFF, 1) + payload


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# A raw socket sees more than replies: its own request when it is the target, and "unreachable"
# messages, which quote the request.
def _is_echo_reply_4(packet: bytes) -> bool:
    header = (packet[0] & _IPV4_HEADER_WORDS) * 4
    return packet[header : header + 1] == bytes([_ECHO[4][1]])


def _is_echo_reply_6(packet: bytes) -> bool:
    return packet[0] == _ECHO[6][1]


def _echo_once(server: socket.socket, timeout: float) -> None:
    try:
        server.settimeout(timeout)
        data, sender = server.recvfrom(65535)
        server.sendto(data, sender)
    except OSError:  # nobody asked, or the probe is over
        return


def _forbid_fragments(probe: socket.socket, version: int) -> None:
    if version == 4:  # noqa: PLR2004
        probe.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
    else:
        probe.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _IP_PMTUDISC_DO)


def _reason(exc: OSError) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer"
    return (exc.strerror or str(exc)).lower()
