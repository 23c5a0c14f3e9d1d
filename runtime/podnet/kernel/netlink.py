"""A small rtnetlink codec: a socket, messages packed by hand, and the kernel's own words on error.

Plugins run for every pod, so what they need of the kernel must not cost the 200 ms that
importing a full netlink library does.  This module knows framing (linux/netlink.h) and
attributes; links, addresses and routes know their messages.  Tests prove it against pyroute2.
"""

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

# linux/netlink.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_ECHO, NLM_F_DUMP = 0x1, 0x4, 0x8, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLM_F_DUMP_INTR = 0x10
_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_LAST = frozenset({_NLMSG_ERROR, _NLMSG_DONE})
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 270, 11, 12
NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
# A dump comes in messages of 32 KiB at most (af_netlink.c); room for more is paid on every call.
_RECEIVE = 1 << 16
# The reference plugins try five times, and then believe what they have (netlinksafe).
_DUMP_TRIES = 20
# Acknowledgements wait in the socket until they are read, and it holds a few hundred.
_BATCH = 64

Attributes = Mapping[int, bytes]


class NetlinkError(OSError):
    """The kernel said no; ``errno`` says which no, the text has the kernel's explanation."""


class AlreadyThereError(NetlinkError, FileExistsError):
    """There is one already (EEXIST); Python picks OSError's subclasses for OSError only."""


class DumpInterruptedError(NetlinkError):
    """The table changed while it was read, again and again."""


def attribute(kind: int, payload: bytes) -> bytes:
    """Pack one attribute, padded to four bytes."""
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Pack an attribute that holds attributes."""
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """Pack a string with its closing zero byte."""
    return attribute(kind, os.fsencode(value) + b"\0")


def u32(kind: int, value: int) -> bytes:
    """Pack an unsigned 32-bit number."""
    return attribute(kind, struct.pack("=I", value))


def u8(kind: int, value: int) -> bytes:
    """Pack an unsigned 8-bit number."""
    return attribute(kind, struct.pack("=B", value))


def attributes(buffer: bytes, offset: int = 0) -> dict[int, bytes]:
    """Unpack the attributes of *buffer* from *offset* on; of one kind the last counts.

    A link has fifty, and every plugin looks at several links: hence no generator here.
    """
    found, last = dict[int, bytes](), len(buffer) - _ATTRIBUTE.size
    while offset <= last:
        length, kind = _ATTRIBUTE.unpack_from(buffer, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _NLA_TYPE_MASK] = buffer[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def every_attribute(buffer: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Unpack the attributes of *buffer* one by one, where a kind may come several times."""
    while offset + _ATTRIBUTE.size <= len(buffer):
        length, kind = _ATTRIBUTE.unpack_from(buffer, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _NLA_TYPE_MASK, buffer[offset + _ATTRIBUTE.size : offset + length]
        offset += length + (-length % 4)


def as_text(payload: bytes) -> str:
    """Unpack a string."""
    return os.fsdecode(payload.rstrip(b"\0"))


def as_int(payload: bytes) -> int:
    """Unpack an unsigned number of any width."""
    return int.from_bytes(payload, "little" if _LITTLE else "big")


_LITTLE = struct.pack("=H", 1) == b"\1\0"


@dataclass(frozen=True, slots=True)
class Message:
    """One answer: its type and everything behind the header."""

    kind: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """One change among several that are asked for together.

    Attributes:
        kind: RTM_* or another family's.
        body: The family's header and attributes.
        flags: NLM_F_* besides REQUEST and ACK.
        what: What is being done, for the message.
        acknowledged: The kernel is to say that it is done.
    """

    kind: int
    body: bytes
    flags: int = 0
    what: str = ""
    acknowledged: bool = True


class Netlink:
    """A netlink socket in the network namespace of the thread that opened it.

    Args:
        protocol: NETLINK_ROUTE, or another subsystem of the kernel.

    Attributes:
        messages: How many went to the kernel and came from it so far.
    """

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        self._socket.bind((0, 0))
        for option in (_NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0
        self.messages = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """What the kernel knows the socket by; its news say which one made them."""
        name: tuple[int, int] = self._socket.getsockname()
        return name[0]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def request(self, kind: int, body: bytes, *, flags: int = 0, what: str = "") -> list[Message]:
        """Send one request and wait for the kernel's acknowledgement.

        Args:
            kind: RTM_*.
            body: The family's header and attributes.
            flags: NLM_F_* besides REQUEST and ACK.
            what: What is being done, for the message.

        Returns:
            What it said before; mostly nothing.

        Raises:
            NetlinkError: The kernel refused.
        """
        self._send(kind, NLM_F_REQUEST | NLM_F_ACK | flags, body)
        return [message for message, _ in self._answers(what)]

    def remove(self, kind: int, body: bytes, *, absent: Collection[int], what: str) -> bool:
        """Have the kernel delete something; return whether it was there.

        Args:
            kind: RTM_DEL*.
            body: The family's header and attributes.
            absent: The errors that say that it was not there: ENODEV and the like.
            what: What is being done, for the message.

        Raises:
            NetlinkError: The kernel refused for another reason.
        """
        try:
            self.request(kind, body, what=what)
        except NetlinkError as exc:
            if exc.errno in absent:
                return False
            raise
        return True

    def batch(self, requests: Sequence[Request]) -> list[NetlinkError]:
        """Send many requests, a few dozen to a message; return what the kernel refused.

        Requests are carried out in order; one that is refused does not keep the next from it.
        The kernel says which it refused, and of each message that the last one is done: to
        acknowledge one is as much work as to do it.
        """
        refused = list[NetlinkError]()
        for start in range(0, len(requests), _BATCH):
            refused += self._in_one_message(requests[start : start + _BATCH], each=False)
        return refused

    def together(self, requests: Sequence[Request]) -> None:
        """Send requests in one message, and wait until the kernel has done them in their order.

        Raises:
            NetlinkError: The kernel refused one; rtnetlink does those after it all the same.
        """
        for refused in list(self._in_one_message(requests, each=True)):
            raise refused

    def _in_one_message(self, requests: Sequence[Request], *, each: bool) -> Iterator[NetlinkError]:
        """Send requests, and wait for each or for the last; yield what the kernel refused."""
        message, sent, waiting = b"", dict[int, Request](), set[int]()
        first = self._sequence + 1
        for one in requests:
            is_awaited = one.acknowledged and (each or one is requests[-1])
            flags = NLM_F_REQUEST | one.flags | (NLM_F_ACK if is_awaited else 0)
            message += self._packed(one.kind, flags, one.body)
            sent[self._sequence] = one
            if is_awaited:
                waiting.add(self._sequence)
        self._socket.send(message)
        while waiting:
            received = self._messages(self._socket.recv(_RECEIVE), first)
            for kind, flags, payload, sequence in received:
                if kind != _NLMSG_ERROR:  # an echo of what was made
                    continue
                waiting.discard(sequence)
                try:
                    _raise_for(payload, flags, sent[sequence].what)
                except NetlinkError as exc:
                    yield exc

    def get(self, kind: int, body: bytes, *, flags: int = 0, what: str = "") -> Message:
        """Send one request and return its one answer.

        Raises:
            NetlinkError: The kernel refused; ENODEV and the like where there is no such thing.
        """
        return self.request(kind, body, flags=flags, what=what)[0]

    def dump(self, kind: int, body: bytes, *, what: str = "") -> list[Message]:
        """Return every object of a table; start again when it changed in the meantime.

        Raises:
            NetlinkError: The kernel refused.
            DumpInterruptedError: It changed all the time.
        """
        for _ in range(_DUMP_TRIES):
            self._send(kind, NLM_F_REQUEST | NLM_F_DUMP, body)
            answers = list(self._answers(what))
            if not any(interrupted for _, interrupted in answers):
                return [message for message, _ in answers]
        raise DumpInterruptedError(errno.EINTR, f"{what}: the table kept changing")

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._socket.send(self._packed(kind, flags, body))

    def _packed(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence += 1
        self.messages += 1
        header = _HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0)
        return header + body + bytes(-len(body) % 4)

    def _answers(self, what: str) -> Iterator[tuple[Message, bool]]:
        """Yield the answers to the last request up to its end."""
        while True:
            received = self._messages(self._socket.recv(_RECEIVE), self._sequence)
            for kind, flags, payload, _ in received:
                finished, interrupted = kind in _LAST, bool(flags & NLM_F_DUMP_INTR)
                if finished:
                    _raise_for(payload, flags, what)
                if interrupted or not finished:  # the end of a dump may be the first to say so
                    yield Message(kind, payload), interrupted
                if finished:
                    return

    def _messages(self, buffer: bytes, first: int) -> Iterator[tuple[int, int, bytes, int]]:
        """Yield type, flags, payload and number of every answer to request *first* up to the last one.

        Others are the rest of an earlier request that was given up.
        """
        offset = 0
        while offset + _HEADER.size <= len(buffer):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(buffer, offset)
            self.messages += 1
            if first <= sequence <= self._sequence:
                yield kind, flags, buffer[offset + _HEADER.size : offset + length], sequence
            offset += length + (-length % 4)


class LentNetlink(Netlink):
    """A socket on which somebody else sends our request, and waits in our place."""

    def give_away(self, request: Request, to: socket.socket, *, head: bytes = b"") -> None:
        """Have whoever reads *to* send a request on this socket.

        Raises:
            OSError: Nobody does.
        """
        message = self._packed(request.kind, NLM_F_REQUEST | NLM_F_ACK, request.body)
        socket.send_fds(to, [head, message], [self._socket.fileno()])

    def is_answered(self, what: str) -> bool:
        """Tell whether the kernel has acknowledged what was given away; wait for nothing.

        Raises:
            NetlinkError: It refused.
        """
        try:
            buffer = self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        for _, flags, payload, _ in self._messages(buffer, self._sequence):
            _raise_for(payload, flags, what)
        return True


def _raise_for(payload: bytes, flags: int, what: str) -> None:
    code = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0  # noqa: PLR2004
    if code == 0:
        return
    said = ""
    if flags & _NLM_F_ACK_TLVS and len(payload) > 4 + _HEADER.size:
        (inner,) = struct.unpack_from("=I", payload, 4)
        start = 4 + (_HEADER.size if flags & _NLM_F_CAPPED else inner + (-inner % 4))
        said = as_text(attributes(payload, start).get(_NLMSGERR_ATTR_MSG, b""))
    reason = os.strerror(code)
    parts = [what, f"{reason} ({said})" if said else reason]
    error = AlreadyThereError if code == errno.EEXIST else NetlinkError
    raise error(code, ": ".join(part for part in parts if part))
