"""News from the kernel: which links are not as they were, and what was set or is gone on them.

Of links only their index is said: who listens looks himself, for a link takes what is on it
along and says nothing of it.  Routes, and the neighbours and forwarding entries that are there
for good, are said themselves.  News that were missed are news, too.
"""

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from podnet.kernel import neighbours, routes
from podnet.kernel.neighbours import Forwarding, Neighbour
from podnet.kernel.netlink import Message
from podnet.kernel.routes import SCOPE_LINK, Route

# linux/rtnetlink.h, RTMGRP_*
_LINK, _NEIGHBOUR, _IPV4_ADDRESS, _IPV4_ROUTE = 0x1, 0x4, 0x10, 0x40
_IPV6_ADDRESS, _IPV6_ROUTE = 0x100, 0x400
_GROUPS = _LINK | _NEIGHBOUR | _IPV4_ADDRESS | _IPV4_ROUTE | _IPV6_ADDRESS | _IPV6_ROUTE
# RTM_NEWLINK and so on, and RTM_DELLINK and so on
_LINKS, _ADDRESSES = frozenset({16, 17}), frozenset({20, 21})
_ROUTE_SET, _ROUTE_GONE = 24, 25
_NEIGHBOUR_SET, _NEIGHBOUR_GONE = 28, 29
_INDEX = struct.Struct("=4xi")  # of struct ifinfomsg, and of struct ifaddrmsg
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_RECEIVE = 1 << 17
_SO_RCVBUFFORCE, _ROOM = 33, 1 << 22  # several thousand news
#: Stands for every link, when news were missed.
ANY_LINK = -1

Entry = Route | Neighbour | Forwarding


@dataclass(frozen=True, slots=True)
class News:
    """What has happened.

    Attributes:
        links: Links that have changed or are gone, or whose addresses have, but for those that
            every link gets by itself; maybe ANY_LINK.
        there: What was set, in the order of its setting.
        gone: What is not there any more; a neighbour's hardware address may be missing.
    """

    links: frozenset[int] = frozenset()
    there: tuple[Entry, ...] = ()
    gone: frozenset[Entry] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.links or self.there or self.gone)


class Monitor:
    """Listens in the network namespace of the thread that made it; any thread may wait, or stop it.

    Args:
        mute: The port of a netlink socket whose own changes are no news; 0 for none.
    """

    def __init__(self, *, mute: int = 0) -> None:
        self._mute = mute
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        with suppress(PermissionError):  # of a user namespace's root; then more may be missed
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        self._socket.bind((0, _GROUPS))
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        for descriptor in (self._socket.fileno(), self._stop):
            self._poll.register(descriptor, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        os.close(self._stop)

    def wait(self) -> News:
        """Wait for news; there are none when it was stopped."""
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            if self._stop in ready:
                return News()
            if news := self._drain():
                return news

    def stop(self) -> None:
        """End every wait."""
        os.eventfd_write(self._stop, 1)

    def _drain(self) -> News:
        links, last = set[int](), dict[object, tuple[Entry, bool]]()
        while True:
            try:
                received = self._socket.recv(_RECEIVE)
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:
                    raise
                links.add(ANY_LINK)
                continue
            for kind, payload in _messages(received, self._mute):
                if kind in _LINKS or (kind in _ADDRESSES and not _is_of_link_only(payload)):
                    links.add(_INDEX.unpack_from(payload)[0])
                elif entry := _entry(kind, payload):
                    last.pop(_subject(entry), None)  # the last word counts, and comes last
                    last[_subject(entry)] = entry, kind in {_ROUTE_SET, _NEIGHBOUR_SET}
        return News(
            frozenset(links),
            tuple(entry for entry, is_there in last.values() if is_there),
            frozenset(entry for entry, is_there in last.values() if not is_there),
        )


def _messages(received: bytes, mute: int) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(received):
        length, kind, _, _, port = _HEADER.unpack_from(received, offset)
        if not mute or port != mute:
            yield kind, received[offset + _HEADER.size : offset + length]
        offset += max(_HEADER.size, length + (-length % 4))


def _is_of_link_only(payload: bytes) -> bool:
    """Tell whether an address is the kind that every link gets by itself, some time later."""
    _, _, _, scope = payload[:4]  # struct ifaddrmsg
    return scope == SCOPE_LINK


def _subject(entry: Entry) -> object:
    """Return what there is only one of."""
    if isinstance(entry, Neighbour):
        return entry.index, entry.address
    return (entry.index, entry.mac) if isinstance(entry, Forwarding) else entry


def _entry(kind: int, payload: bytes) -> Entry | None:
    if kind in {_ROUTE_SET, _ROUTE_GONE}:
        route = routes.read(Message(kind, payload))
        return route if route and route.table == routes.MAIN_TABLE else None
    if kind in {_NEIGHBOUR_SET, _NEIGHBOUR_GONE}:
        return neighbours.read(Message(kind, payload))
    return None
