"""Links that go: removed for everybody at once, while the kernel takes its time to forget them.

The kernel takes a link off every list, and then lets who asked wait until no CPU can be using it
any more (rcu_barrier in netdev_run_todo, net/core/dev.c): 15 to 25 ms in which nothing of the link is
left to see.  Who has somebody to leave that wait to, as plugins in the plugin host have, goes on
as soon as the link is gone.  Knows no plugins.
"""

import socket
import struct
import time

from podnet.kernel import links
from podnet.kernel.links import Link
from podnet.kernel.netlink import LentNetlink, Netlink, Request

_NOBODY = -1
# Seconds: whoever was to ask the kernel was killed if the link is there still.
_PATIENCE = 1.0
_PAUSE = 0.0001
# Before a request: until when it may be sent, in seconds of time.monotonic.
_DEADLINE = struct.Struct("d")

_undertaker = _NOBODY


def leave_to(descriptor: int) -> None:
    """Leave the wait to who reads that socket: each message is to be sent on the socket it brings."""
    global _undertaker  # noqa: PLW0603  one of a process, as its namespaces are
    _undertaker = descriptor


def remove(name: str) -> bool:
    """Remove a link of the thread's namespace; return whether there was one, when it is gone.

    Raises:
        NetlinkError: The kernel refused.
    """
    with Netlink() as netlink:
        link = links.find(netlink, name)
        if link is None:
            return False
        return _left_to_somebody(netlink, link) or links.delete(netlink, name)


def _left_to_somebody(netlink: Netlink, link: Link) -> bool:
    """Have the link removed; tell whether it is gone."""
    if _undertaker == _NOBODY:
        return False
    deadline = time.monotonic() + _PATIENCE
    with LentNetlink() as asking:
        try:
            _give_away(asking, links.deletion(link.index), deadline)
        except OSError:  # nobody is there any more
            return False
        while links.at(netlink, link.index) is not None:
            if asking.is_answered(f"delete link {link.name}"):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)
    return True


def _give_away(asking: LentNetlink, request: Request, deadline: float) -> None:
    somebody = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=_undertaker)
    try:
        asking.give_away(request, somebody, head=_DEADLINE.pack(deadline))
    finally:
        somebody.detach()
