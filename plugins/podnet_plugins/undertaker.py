"""The undertaker: waits in other processes' place until the kernel has forgotten a link.

A process of the plugin host's; every message that it gets is a deadline and a netlink request,
and brings the socket to send it on (:mod:`podnet.kernel.removal`).  Who sent it hears the kernel's
answer there, if they still listen.  Knows no plugins, and does not read what it sends.
"""

import os
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import NoReturn

_STREAMS = 3
_BEYOND_ALL = 1 << 20
_LONGEST = 4096
_ONE = struct.Struct("i")
_DEADLINE = struct.Struct("d")


def serve(requests: socket.socket) -> NoReturn:
    """Send what comes until nobody can send anything any more, and all of it is done."""
    try:
        number = requests.fileno()
        os.closerange(_STREAMS, number)
        os.closerange(number + 1, _BEYOND_ALL)
        _serve(requests)
    finally:
        os._exit(0)


def _serve(requests: socket.socket) -> None:
    waiting = set[threading.Thread]()
    while True:
        message, ancillary, _, _ = requests.recvmsg(_LONGEST, socket.CMSG_LEN(_ONE.size))
        if not message:
            break
        waiting = {one for one in waiting if one.is_alive()}
        for _, _, data in ancillary:
            one = threading.Thread(target=_send, args=(_ONE.unpack(data)[0], message))
            one.start()
            waiting.add(one)
    for one in waiting:
        one.join()


def _send(descriptor: int, message: bytes) -> None:
    (deadline,) = _DEADLINE.unpack_from(message)
    with socket.socket(fileno=descriptor) as netlink, suppress(OSError):
        if time.monotonic() < deadline:  # or who sent it has done it by now
            netlink.send(message[_DEADLINE.size :])
