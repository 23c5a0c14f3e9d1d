"""Packets of a link without an address, between the two ends of a pair."""

import errno
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import ip_interface
from typing import Any

import pytest

from podnet.kernel import addresses, links
from podnet.kernel.addresses import Interface
from podnet.kernel.netlink import Netlink
from podnet.kernel.packets import Packets
from podnet.node import Node

PORT = 68
EVERYBODY = b"\xff" * 6


def _ip(port: int, *, protocol: int = 17, fragment: int = 0, options: bytes = b"") -> bytes:
    """Return a packet, its checksums left out: nobody here looks at them."""
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH8x", 0x40 | words, 0, words * 4 + 12, 0, fragment, 64, protocol, 0)
    return head + options + struct.pack("!HHHH", 67, port, 12, 0) + b"body"


def _pair(node: Node, act: Callable[[str, str], Any]) -> Any:
    """Run *act* in the Node with the names of a pair's ends, both up and without addresses."""

    def work() -> Any:
        with Netlink() as netlink, open("/proc/thread-self/ns/net") as here:  # noqa: PTH123
            links.add_veth(netlink, "a", peer="b", peer_netns=here.fileno())
            for name in ("a", "b"):
                link = links.find(netlink, name)
                assert link
                links.set_up(netlink, link.index)
        return act("a", "b")

    return node.run(work)


def _everything(packets: Packets) -> list[Any]:
    return [found for _ in range(20) if (found := packets.receive())]


def test_whole_udp_datagrams_to_the_port_arrive_with_their_sender(node):
    sent = {
        "right": _ip(PORT),
        "with options": _ip(PORT, options=b"\1" * 8),
        "another port": _ip(67),
        "tcp": _ip(PORT, protocol=6),
        "a fragment": _ip(PORT, fragment=0x2000 | 1),
    }

    def act(one: str, other: str) -> Any:
        with Netlink() as netlink:
            link = links.find(netlink, one)
        assert link
        with Packets(one, PORT) as sender, Packets(other, PORT) as receiver:
            for packet in sent.values():
                sender.send(packet, EVERYBODY)
            sender.send(sent["right"], b"\2\0\0\0\0\x77")  # somebody else's
            return link.mac, _everything(receiver), _everything(sender)

    mac, received, own = _pair(node, act)

    assert [packet for packet, _, _ in received] == [sent["right"], sent["with options"]]
    assert {sender.hex(":") for _, sender, _ in received} == {mac}
    assert own == []


def test_a_packet_that_never_left_the_machine_says_that_it_has_no_checksum(node):
    def act(one: str, other: str) -> Any:
        with ExitStack() as stack:
            receiver = stack.enter_context(Packets(other, PORT))
            plain = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with Netlink() as netlink:
                link = links.find(netlink, one)
                assert link
                address: Interface = ip_interface("10.9.0.1/24")
                addresses.add(netlink, link.index, address)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, one.encode())
            plain.sendto(b"body", ("255.255.255.255", PORT))
            stack.enter_context(Packets(one, PORT)).send(_ip(PORT), EVERYBODY)
            return [has_checksum for _, _, has_checksum in _everything(receiver)]

    assert _pair(node, act) == [False, True]


def test_a_link_that_is_gone_or_down_is_an_error(node):
    def act(one: str, other: str) -> Any:
        with pytest.raises(OSError, match="No such device"):
            Packets("none", PORT)
        with Netlink() as netlink, Packets(one, PORT) as packets:
            link = links.find(netlink, one)
            assert link
            links.set_up(netlink, link.index, up=False)
            with pytest.raises(OSError, match="down") as down:
                packets.receive()
            links.delete(netlink, one)
            with pytest.raises(OSError, match="device") as gone:
                packets.send(_ip(PORT), EVERYBODY)
        return down.value.errno, gone.value.errno

    down, gone = _pair(node, act)
    assert down == errno.ENETDOWN
    assert gone in {errno.ENODEV, errno.ENXIO}


def test_a_port_that_is_somebody_s_already_is_listened_to_as_well(node):
    def act(one: str, other: str) -> Any:
        with Packets(one, PORT) as first, Packets(one, PORT) as second:
            with Packets(other, PORT) as sender:
                sender.send(_ip(PORT), EVERYBODY)
            return len(_everything(first)), len(_everything(second))

    assert _pair(node, act) == (1, 1)
