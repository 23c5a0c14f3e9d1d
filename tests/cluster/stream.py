"""Datagrams with sequence numbers, all the time and between all: which of them did not arrive."""

import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Self

from podnet.cluster.matrix import End
from podnet.kernel import namespaces

_PORT = 40_000
_PAUSE = 0.02
_AFTERGLOW = 2.0
_BUFFER = 1 << 22
_PACKET = struct.Struct("!HI")  # the stream's number, and the packet's

Address = IPv4Address | IPv6Address


@dataclass(slots=True)
class Stream:
    """From one end to another.

    Attributes:
        name: "n1/web > n2/web".
        target: Where to.
        source: The sender's socket.
        sent: When each packet was sent, seconds from the start.
        missing: The numbers of those that have not arrived.
    """

    name: str
    target: Address
    source: socket.socket
    sent: list[float] = field(default_factory=list)
    missing: set[int] = field(default_factory=set)


class Streams:
    """Streams between all ends, for as long as the context lasts.

    Attributes:
        all: The streams.
    """

    def __init__(self, ends: Sequence[End]) -> None:
        self._stack = ExitStack()
        self._over = threading.Event()
        self._receivers = dict[int, socket.socket]()
        self.all = list(self._streams(ends))
        self._thread = threading.Thread(target=self._run, name="streams")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._stack.close()

    def lost(self) -> list[str]:
        """Return what was lost, in words; after the context only."""
        return [
            f"{one.name}: {len(one.missing)} of {len(one.sent)} lost, "
            f"{_when(one.sent[number] for number in sorted(one.missing))}"
            for one in self.all
            if one.missing
        ]

    def _streams(self, ends: Sequence[End]) -> Iterator[Stream]:
        for end in ends:
            receiver = self._socket(end.netns)
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            receiver.bind(("", _PORT))
            self._receivers[receiver.fileno()] = receiver
        for source in ends:
            for target in ends:
                if source is not target:
                    name = f"{source.name} > {target.name}"
                    yield Stream(name, target.addresses[0], self._socket(source.netns))

    def _socket(self, netns: str) -> socket.socket:
        def make() -> socket.socket:
            with namespaces.entered(netns):
                return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

        return self._stack.enter_context(namespaces.in_thread(make))

    def _run(self) -> None:
        began = time.monotonic()
        due = began
        while not self._over.is_set():
            for number, one in enumerate(self.all):
                packet = len(one.sent)
                one.sent.append(time.monotonic() - began)
                one.missing.add(packet)
                try:
                    one.source.sendto(_PACKET.pack(number, packet), (str(one.target), _PORT))
                except OSError:  # no route: it counts as lost
                    continue
            due = max(due + _PAUSE, time.monotonic())
            self._receive(due)
        end = time.monotonic() + _AFTERGLOW
        while any(one.missing for one in self.all) and time.monotonic() < end:
            self._receive(time.monotonic() + _PAUSE)

    def _receive(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select(list(self._receivers), [], [], left)
            for descriptor in ready:
                number, packet = _PACKET.unpack(self._receivers[descriptor].recv(100))
                self.all[number].missing.discard(packet)


def _when(moments: Iterator[float]) -> str:
    listed = [f"{moment:.2f}" for moment in moments]
    return f"sent at {', '.join(listed[:5])}{' …' if len(listed) > 5 else ''} s"
