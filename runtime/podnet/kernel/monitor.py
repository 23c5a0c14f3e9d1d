"""News from the kernel: that something about links, routes or neighbours has changed.

Says that, not what: who listens looks himself.  News that were missed are news, too.
"""

import errno
import os
import select
import socket
import struct
from types import TracebackType
from typing import Self

# linux/rtnetlink.h, RTMGRP_*
_LINK, _NEIGHBOUR, _IPV4_ROUTE, _IPV6_ROUTE = 0x1, 0x4, 0x40, 0x400
_GROUPS = _LINK | _NEIGHBOUR | _IPV4_ROUTE | _IPV6_ROUTE
_RTM_NEWLINK, _RTM_DELLINK, _RTM_DELROUTE, _RTM_DELNEIGH = 16, 17, 25, 29
_LOSSES = frozenset({_RTM_NEWLINK, _RTM_DELLINK, _RTM_DELROUTE, _RTM_DELNEIGH})
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_RECEIVE = 1 << 17


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

    def wait(self) -> bool:
        """Wait until something is gone or a link has changed; false when it was stopped."""
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            if self._stop in ready:
                return False
            if self._drain():
                return True

    def stop(self) -> None:
        """End every wait."""
        os.eventfd_write(self._stop, 1)

    def _drain(self) -> bool:
        """Read what has come; tell whether there was a loss among it."""
        lost = False
        while True:
            try:
                received = self._socket.recv(_RECEIVE)
            except BlockingIOError:
                return lost
            except OSError as exc:
                if exc.errno != errno.ENOBUFS:
                    raise
                lost = True
                continue
            offset = 0
            while offset + _HEADER.size <= len(received):
                length, kind, _, _, _ = _HEADER.unpack_from(received, offset)
                lost = lost or kind in _LOSSES
                offset += max(_HEADER.size, length + (-length % 4))
