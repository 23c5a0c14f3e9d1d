"""What is written of a Node for people: a graph of its links, and its packets."""

import socket
import struct
import threading
import time
from pathlib import Path

from podnet.kernel import links, namespaces
from podnet.kernel.capture import Capture, pcapng
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet.rig import topology
from podnet.rig.picture import NODE
from podnet.rig.topology import Seen

WEB = Path("/run/netns/web")


def test_pairs_and_ports_are_lines_of_a_graph():
    bridge = Link(index=2, name="br0", kind="bridge")
    port = Link(index=3, name="veth1", kind="veth", master=2, peer=2)
    inside = Link(index=2, name="eth0", kind="veth", peer=3)

    drawn = topology.mermaid(
        [
            Seen(where=NODE, link=bridge, addresses=("10.1.0.1/24",)),
            Seen(where=NODE, link=port),
            Seen(where='a "pod"', link=inside),
        ]
    )

    assert drawn.splitlines() == [
        "graph LR",
        '  subgraph p0["node"]',
        '    l0["br0<br/>bridge<br/>10.1.0.1/24"]',
        '    l1["veth1<br/>veth"]',
        "  end",
        '  subgraph p1["a #quot;pod#quot;"]',
        '    l2["eth0<br/>veth"]',
        "  end",
        "  l1 --- l0",
        "  l1 === l2",
    ]


def test_a_node_is_seen_with_its_pods(node):
    def work() -> None:
        namespaces.create(WEB)
        WEB.with_name("what-a-crash-left").touch()
        with Netlink() as netlink, namespaces.opened(str(WEB)) as pod:
            links.add_veth(netlink, "veth1", peer="eth0", peer_netns=pod)

    node.run(work)

    seen = topology.look(node)

    assert [(one.where, one.link.name) for one in seen] == [(NODE, "veth1"), ("web", "eth0")]
    assert "l0 === l1" in topology.mermaid(seen)


def test_packets_are_a_file_that_tells_where_and_when():
    moment = (7 << 32) + 9

    content = pcapng([(moment, "eth0", b"12345"), (moment, "lo", b"1234")])

    blocks = []
    while content:
        kind, size = struct.unpack_from("<II", content)
        assert struct.unpack_from("<I", content, size - 4) == (size,)
        blocks.append((kind, content[8 : size - 4]))
        content = content[size:]
    assert [kind for kind, _ in blocks] == [0x0A0D0D0A, 1, 1, 6, 6]
    assert struct.unpack_from("<IIIII", blocks[3][1]) == (0, 7, 9, 5, 5)
    assert blocks[3][1][20:] == b"12345\0\0\0"
    assert struct.unpack_from("<I", blocks[4][1]) == (1,)
    assert b"eth0" in blocks[1][1]


def test_a_capture_has_what_was_sent_on_the_node(node):
    capture = node.run(Capture)

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"a very special packet", ("127.0.0.1", 9))

    node.run(send)

    assert b"a very special packet" in capture.packets()
    capture.stop()


def test_a_capture_ends_while_there_is_traffic(node):
    capture, over = node.run(Capture), threading.Event()

    def chatter() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(2000):  # ten seconds: long after the capture was to end
                sender.sendto(b"hello", ("127.0.0.1", 9))
                if over.wait(0.005):
                    return

    def run() -> None:
        node.run(chatter)

    chatterbox = threading.Thread(target=run)
    chatterbox.start()
    try:
        while b"hello" not in capture.packets():
            time.sleep(0.01)
        capture.stop()
        assert chatterbox.is_alive()
    finally:
        over.set()
        chatterbox.join()
