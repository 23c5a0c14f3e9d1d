"""VLANs of bridge ports: what is sent and read, proved with pyroute2's codec.

Many kernels are built without them; where this one has them, it is asked, too.
"""

import struct
from collections.abc import Callable
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from podnet.errors import MissingError
from podnet.kernel import links, vlans
from podnet.kernel.netlink import Message, Netlink, NetlinkError
from podnet.kernel.vlans import Vlan

NATIVE = Vlan(5, pvid=True, untagged=True)
BEGIN, END, PVID, UNTAGGED = 8, 16, 2, 4
RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK, AF_BRIDGE = 16, 17, 19, 7


class Recorder(Netlink):
    """Sends nothing, keeps what would have been sent, and answers a dump as it is told."""

    def __init__(self, *answers: bytes) -> None:
        self.read: Any = None
        self.answers = answers

    def request(self, kind: int, body: bytes, *, flags: int = 0, what: str = "") -> list[Message]:
        """Keep the message as pyroute2 reads it."""
        self.read = _decoded(kind, body)
        return []

    def dump(self, kind: int, body: bytes, *, what: str = "") -> list[Message]:
        """Keep the message, and answer."""
        self.read = _decoded(kind, body)
        return [Message(RTM_NEWLINK, answer) for answer in self.answers]


def _decoded(kind: int, body: bytes) -> Any:
    message = ifinfmsg(struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body)
    message.decode()
    return message


def _sent(act: Callable[[Netlink], object]) -> Any:
    recorder = Recorder()
    act(recorder)
    return recorder.read


def _infos(message: Any) -> list[tuple[int, int]]:
    """(flags, vid) of each membership in a message."""
    found = message.get("IFLA_AF_SPEC").get_attrs("IFLA_BRIDGE_VLAN_INFO")
    return [(info["flags"], info["vid"]) for info in found]


def _encoded(index: int, infos: list[tuple[int, int]]) -> bytes:
    """A port with memberships, as pyroute2 packs it."""
    answer = ifinfmsg()
    answer["family"], answer["index"] = AF_BRIDGE, index
    members = [["IFLA_BRIDGE_VLAN_INFO", {"flags": f, "vid": v}] for f, v in infos]
    answer["attrs"] = [["IFLA_IFNAME", "veth0"], ["IFLA_AF_SPEC", {"attrs": members}]]
    answer.encode()
    return bytes(answer.data[16:])


# The messages


def test_pyroute2_reads_memberships_runs_and_all():
    members = [Vlan(12), Vlan(7), Vlan(11), NATIVE, Vlan(10)]

    message = _sent(lambda netlink: vlans.add(netlink, 3, members))

    assert (message["header"]["type"], message["family"]) == (RTM_SETLINK, AF_BRIDGE)
    assert message["index"] == 3
    assert message.get("IFLA_AF_SPEC").get("IFLA_BRIDGE_VLAN_FLAGS") == 1
    wanted = [(PVID | UNTAGGED, 5), (0, 7), (BEGIN, 10), (END, 12)]
    assert _infos(message) == wanted


def test_a_whole_trunk_fits_into_a_message_and_the_native_vlan_is_no_part_of_a_run():
    members = [NATIVE, *(Vlan(vid) for vid in range(1, 4095) if vid != 5)]

    message = _sent(lambda netlink: vlans.add(netlink, 3, members))

    wanted = [(BEGIN, 1), (END, 4), (PVID | UNTAGGED, 5), (BEGIN, 6), (END, 4094)]
    assert _infos(message) == wanted


def test_pyroute2_reads_that_a_port_leaves_every_vlan():
    message = _sent(lambda netlink: vlans.clear(netlink, 3))

    assert (message["header"]["type"], message["index"]) == (RTM_DELLINK, 3)
    assert _infos(message) == [(BEGIN, 1), (END, 4094)]


@pytest.mark.parametrize("made", [True, False])
def test_pyroute2_reads_that_a_bridge_filters(made):
    def act(netlink: Netlink) -> None:
        if made:
            vlans.add_bridge(netlink, "br0", mtu=1400, mac="02:00:00:00:00:01")
        else:
            vlans.set_filtering(netlink, 3)

    message = _sent(act)

    assert message["header"]["type"] == RTM_NEWLINK
    assert message["index"] == (0 if made else 3)
    assert message.get("IFLA_IFNAME") == ("br0" if made else None)
    assert message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == "bridge"
    data = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA")
    assert data.get("IFLA_BR_VLAN_FILTERING") == 1


def test_what_pyroute2_packs_of_a_port_is_read():
    infos = [(PVID | UNTAGGED, 5), (0, 7), (BEGIN | UNTAGGED, 10), (END | UNTAGGED, 12)]
    recorder = Recorder(_encoded(9, [(0, 99)]), _encoded(3, infos))

    found = vlans.of(recorder, 3)

    assert found == {NATIVE, Vlan(7), *(Vlan(vid, untagged=True) for vid in (10, 11, 12))}
    assert (recorder.read["family"], recorder.read.get("IFLA_EXT_MASK")) == (AF_BRIDGE, 2)


# The kernel


def _filters(netlink: Netlink) -> bool:
    try:
        vlans.require_filtering()
    except MissingError as exc:
        assert "CONFIG_BRIDGE_VLAN_FILTERING" in exc.message  # noqa: PT017  it says what is missing
        return False
    return True


def _port(netlink: Netlink, filtering: Callable[..., None]) -> int:
    filtering(netlink, "br0")
    links.add_ifb(netlink, "p0", mtu=1500)
    bridge, port = links.find(netlink, "br0"), links.find(netlink, "p0")
    assert bridge is not None
    assert port is not None
    links.add_port(netlink, port.name, bridge=bridge.index)
    return port.index


def test_a_kernel_without_vlans_says_so_and_makes_nothing(node):
    def work() -> object:
        with Netlink() as netlink:
            if _filters(netlink):
                return "it has them"
            index = _port(netlink, links.add_bridge)
            with pytest.raises(MissingError, match="CONFIG_BRIDGE_VLAN_FILTERING"):
                vlans.add_bridge(netlink, "br1")
            with pytest.raises(MissingError, match="CONFIG_BRIDGE_VLAN_FILTERING"):
                vlans.set_filtering(netlink, index)
            with pytest.raises(NetlinkError, match="not supported"):
                vlans.add(netlink, index, [NATIVE])
            found = (
                vlans.of(netlink, index),
                links.find(netlink, "br1"),
                links.find(netlink, "probe"),
            )
            assert found == (set(), None, None)
        return None

    if reason := node.run(work):
        pytest.skip(str(reason))


def test_a_port_s_vlans_are_set_and_cleared(node):
    def work() -> object:
        with Netlink() as netlink:
            if not _filters(netlink):
                return "this kernel's bridges do not filter VLANs (CONFIG_BRIDGE_VLAN_FILTERING)"
            index = _port(netlink, vlans.add_bridge)
            before = vlans.of(netlink, index)
            vlans.clear(netlink, index)
            vlans.add(netlink, index, [NATIVE, Vlan(7), Vlan(8)])
            after = vlans.of(netlink, index)
            vlans.clear(netlink, index)
            assert before == {Vlan(1, pvid=True, untagged=True)}
            assert after == {NATIVE, Vlan(7), Vlan(8)}
            assert vlans.of(netlink, index) == set()
            bridge = links.find(netlink, "br0")
            assert bridge is not None
            assert vlans.is_filtering(bridge)
        return None

    if reason := node.run(work):
        pytest.skip(str(reason))
