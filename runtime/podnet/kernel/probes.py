"""Is there a path between two network namespaces?  ICMP, TCP and UDP, with sockets of our own.

A socket belongs to the namespace it was made in, whoever uses it; so one process can hold
both ends, and no ``ping`` or server is needed in any pod.
"""

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
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
_LARGEST = 65535


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
        echo = server if _bound(server, port) else None
        token = os.urandom(_TOKEN)
        expected = token if echo else b""
        return _exchange(probe, token, (str(target), port), expected, timeout=timeout, echo=echo)


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

    with namespaces.needing_privilege("open a socket in a pod"), namespaces.entered(netns):
        return socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)


def _bound(server: socket.socket, port: int) -> bool:
    try:
        server.bind(("", port))
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            return False
        raise
    return True


def _exchange(  # noqa: PLR0913
    probe: socket.socket,
    request: bytes,
    target: tuple[str, int],
    token: bytes,
    *,
    timeout: float,
    is_answer: Callable[[bytes], bool] = lambda _: True,
    echo: socket.socket | None = None,
) -> Probe:
    """Send *request* and wait until *token* comes back in something that is an answer.

    What arrives at *echo* is sent back.
    """
    started = time.perf_counter()
    deadline = started + timeout
    waited = select.poll()
    for one in (probe, echo):
        if one is not None:
            one.settimeout(0)
            waited.register(one, select.POLLIN)
    try:
        probe.sendto(request, target)
        while (left := deadline - time.perf_counter()) > 0:
            ready = {descriptor for descriptor, _ in waited.poll(left * 1000)}
            if echo is not None and echo.fileno() in ready:
                _send_back(echo)
            answer = _received(probe) if probe.fileno() in ready else b""
            if answer and token in answer and is_answer(answer):
                return Probe(reached=True, milliseconds=(time.perf_counter() - started) * 1000)
    except OSError as exc:
        return Probe(reached=False, reason=_reason(exc))
    return Probe(reached=False, reason="no answer")


def _send_back(echo: socket.socket) -> None:
    with suppress(OSError):  # then nothing comes back, and that is what is told
        echo.sendto(*echo.recvfrom(_LARGEST))


def _received(probe: socket.socket) -> bytes:
    """Return what has arrived; nothing where that turned out to be broken."""
    try:
        return probe.recv(_LARGEST)
    except BlockingIOError:
        return b""


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


def _forbid_fragments(probe: socket.socket, version: int) -> None:
    if version == 4:  # noqa: PLR2004
        probe.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
    else:
        probe.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _IP_PMTUDISC_DO)


def _reason(exc: OSError) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer"
    return (exc.strerror or str(exc)).lower()
