"""News from the kernel: on which links something has changed, or is gone.

Says where, not what: who listens looks himself.  News that were missed are news, too.
"""

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from podnet.kernel.netlink import as_int, attributes

# linux/rtnetlink.h, RTMGRP_*
_LINK, _NEIGHBOUR, _IPV4_ROUTE, _IPV6_ROUTE = 0x1, 0x4, 0x40, 0x400
_GROUPS = _LINK | _NEIGHBOUR | _IPV4_ROUTE | _IPV6_ROUTE
_RTM_NEWLINK, _RTM_DELLINK, _RTM_DELROUTE, _RTM_DELNEIGH = 16, 17, 25, 29
_BY_LINK = frozenset({_RTM_NEWLINK, _RTM_DELLINK, _RTM_DELNEIGH})
_RTA_OIF = 4
_ROUTE_SIZE = 12  # struct rtmsg
_INDEX = struct.Struct("=4xi")  # of struct ifinfomsg, and of struct ndmsg
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_RECEIVE = 1 << 17
#: Stands for every link, when news were missed.
ANY_LINK = -1


class Monitor:
    """Listens in the network namespace of the thread that made it; any thread may wait, or stop it."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.bind((0, _GROUPS))
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        for descriptor in (self._socket.fileno(), self._stop):
            self._poll.register(descriptor, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        os.close(self._stop)

    def wait(self) -> frozenset[int]:
        """Wait until something on a link is gone, or the link has changed.

        Returns:
            The links, as indexes, maybe ANY_LINK; empty when it was stopped.
        """
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            if self._stop in ready:
                return frozenset()
            if links := self._drain():
                return links

    def stop(self) -> None:
        """End every wait."""
        os.eventfd_write(self._stop, 1)

    def _drain(self) -> frozenset[int]:
        links = set[int]()
        while True:
            try:
                links.update(_affected(self._socket.recv(_RECEIVE)))
            except BlockingIOError:
                return frozenset(links)
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:
                    raise
                links.add(ANY_LINK)


def _affected(received: bytes) -> Iterator[int]:
    offset = 0
    while offset + _HEADER.size <= len(received):
        length, kind, _, _, _ = _HEADER.unpack_from(received, offset)
        payload = received[offset + _HEADER.size : offset + length]
        if kind in _BY_LINK:
            yield _INDEX.unpack_from(payload)[0]
        elif kind == _RTM_DELROUTE:
            yield as_int(attributes(payload, _ROUTE_SIZE).get(_RTA_OIF, b""))
        offset += max(_HEADER.size, length + (-length % 4))
