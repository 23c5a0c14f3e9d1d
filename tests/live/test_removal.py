"""A link that is removed is gone for everybody when we go on, whoever waits for the kernel."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podnet.kernel import links, namespaces, removal
from podnet.kernel.netlink import Netlink, NetlinkError

DEADLINE = 8  # bytes before the request


@pytest.fixture
def somebody() -> Iterator[socket.socket]:
    """The socket of who is left the wait to."""
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, ours:
        removal.leave_to(ours.fileno())
        yield theirs
        removal.leave_to(-1)


def _removed(name: str = "dummy0") -> tuple[bool, bool]:
    """Make a bridge and remove it; tell what is said of that, and whether it is there still."""
    with Netlink() as netlink:
        links.add_bridge(netlink, "dummy0")
        return removal.remove(name), links.find(netlink, "dummy0") is not None


def _send(somebody: socket.socket, after: float = 0.0) -> None:
    message, [descriptor], _, _ = socket.recv_fds(somebody, 4096, 1)
    time.sleep(after)
    with socket.socket(fileno=descriptor) as netlink:
        netlink.send(message[DEADLINE:])


def test_where_nobody_takes_the_wait_it_is_ours(node):
    assert node.run(_removed) == (True, False)


def test_a_link_that_is_not_there_is_none(node, somebody):
    assert node.run(_removed, "other0") == (False, True)


@pytest.mark.parametrize("after", [0.0, 0.05])
def test_somebody_else_removes_it_and_it_is_gone_when_we_go_on(node, somebody, after):
    thread = threading.Thread(target=_send, args=(somebody, after))
    thread.start()

    assert node.run(_removed) == (True, False)
    thread.join()


def test_who_takes_it_and_does_nothing_is_not_waited_for(node, somebody, monkeypatch):
    monkeypatch.setattr(removal, "_PATIENCE", 0.05)

    assert node.run(_removed) == (True, False)


def test_who_is_gone_leaves_it_to_us(node, somebody):
    somebody.close()

    assert node.run(_removed) == (True, False)


def test_what_the_kernel_refuses_is_said(node, somebody):
    thread = threading.Thread(target=_send, args=(somebody,))
    thread.start()

    with pytest.raises(NetlinkError, match="delete link lo"):
        node.run(removal.remove, "lo")
    thread.join()


def test_an_end_in_a_container_goes_with_the_other(node, somebody):
    def work() -> Any:
        pod = "/run/netns/pod"
        namespaces.create(Path(pod))
        descriptor = os.open(pod, os.O_RDONLY)
        with Netlink() as netlink:
            links.add_veth(netlink, "veth0", peer="eth0", peer_netns=descriptor)
            os.close(descriptor)
            with namespaces.entered(pod):
                removal.remove("eth0")
            return links.find(netlink, "veth0")

    thread = threading.Thread(target=_send, args=(somebody,))
    thread.start()
    assert node.run(work) is None
    thread.join()
