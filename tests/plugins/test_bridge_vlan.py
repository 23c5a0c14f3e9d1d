"""bridge's VLANs: which the ports are in, and the gateway's own port.

Many kernels' bridges do not filter.  There the plugin says so, and what it makes of its keys is
tested with a bridge that does not filter and a note of each port's VLANs in place of the
kernel's; where this one's do, all of it is tested with the real thing, too.
"""

import json
import os
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from tests.plugins.bridges import C1, L2, SUBNET, SUBNET6, gateway, nothing_left, veths
from tests.plugins.conftest import OURS

from podnet.cni.errors import CniError
from podnet.errors import MissingError
from podnet.kernel import links, vlans
from podnet.kernel.netlink import Netlink
from podnet.kernel.vlans import Vlan
from podnet_plugins.bridge import PLUGIN
from podnet_plugins.skel import respond

C2 = "/run/netns/c2"
DEFAULT = Vlan(1, pvid=True, untagged=True)
LACKING = "vlan: this kernel's bridges do not filter VLANs (CONFIG_BRIDGE_VLAN_FILTERING)"


def _lacks() -> bool:
    try:
        vlans.require_filtering()
    except MissingError:
        return True
    return False


class World:
    """A host whose bridges filter, or whose ports' VLANs are noted.

    Attributes:
        notes: The VLANs of each port, by name; ``None``: ask the kernel.
    """

    def __init__(self, host: Any, notes: dict[str, set[Vlan]] | None) -> None:
        self.host, self.notes = host, notes

    def call(self, verb: str, config: Any, cid: str = "c1") -> Any:
        """Run the plugin in this process, where the stand-in is."""
        environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": cid, "CNI_IFNAME": "eth0"}
        environment |= {"CNI_NETNS": f"/run/netns/{cid}", "CNI_PATH": str(OURS)}
        stdin = json.dumps({"cniVersion": "1.1.0", "name": "demo"} | config).encode()
        with patch.dict(os.environ, environment):
            return self.host.node.run(respond, PLUGIN, environment, lambda: stdin) or {}

    def added(self, config: Any, cid: str = "c1") -> Any:
        """Make a container and ADD it."""
        self.host.container(cid)
        return self.call("ADD", config, cid)

    def of(self, name: str) -> set[Vlan]:
        """The VLANs of a port."""
        if self.notes is not None:
            return self.notes[name]

        def ask() -> set[Vlan]:
            with Netlink() as netlink:
                link = links.find(netlink, name)
                assert link is not None
                return vlans.of(netlink, link.index)

        found: set[Vlan] = self.host.node.run(ask)
        return found

    def set(self, name: str, vid: int) -> None:
        """Put a port into one more VLAN, behind the plugin's back."""
        if self.notes is not None:
            self.notes[name].add(Vlan(vid))
        else:
            self.host.sh(f"bridge vlan add dev {name} vid {vid}")


def _stand_in(notes: dict[str, set[Vlan]]) -> dict[str, Any]:
    """The kernel's part, as far as it can be had of notes."""

    def name(netlink: Netlink, index: int) -> str:
        link = links.at(netlink, index)
        assert link is not None
        return link.name

    def add(netlink: Netlink, index: int, members: Any) -> None:
        there = notes.setdefault(name(netlink, index), {DEFAULT})
        members = set(members)
        if any(one.pvid for one in members):  # there is but one
            there |= {Vlan(one.vid, untagged=one.untagged) for one in there if one.pvid}
            there -= {one for one in there if one.pvid}
        notes[name(netlink, index)] = {
            one for one in there if one.vid not in {new.vid for new in members}
        } | members

    def clear(netlink: Netlink, index: int) -> None:
        notes[name(netlink, index)] = set()

    return {
        "add_bridge": links.add_bridge,
        "is_filtering": lambda bridge: True,
        "require_filtering": lambda: None,
        "add": add,
        "clear": clear,
        "of": lambda netlink, index: notes.get(name(netlink, index), {DEFAULT}),
    }


@pytest.fixture(params=["noted", "kernel"])
def world(request: Any, host: Any) -> Iterator[World]:
    """A host with VLANs."""
    if request.param == "noted":
        notes: dict[str, set[Vlan]] = {}
        with patch.multiple(vlans, **_stand_in(notes)):
            yield World(host, notes)
        return
    if host.node.run(_lacks):
        pytest.skip("this kernel's bridges do not filter VLANs (CONFIG_BRIDGE_VLAN_FILTERING)")
    yield World(host, None)


@pytest.mark.parametrize(
    ("keys", "members"),
    [
        ({"vlan": 100}, {Vlan(100, pvid=True, untagged=True)}),
        ({"vlanTrunk": [{"id": 7}]}, {DEFAULT, Vlan(7)}),
        (
            {"vlan": 5, "vlanTrunk": [{"minID": 10, "maxID": 12}, {"id": 5}]},
            {Vlan(5, pvid=True, untagged=True), Vlan(10), Vlan(11), Vlan(12)},
        ),
        (
            {"vlan": 100, "preserveDefaultVlan": True},
            {Vlan(100, pvid=True, untagged=True), Vlan(1, untagged=True)},
        ),
    ],
    ids=["access", "trunk", "both", "preserved"],
)
def test_a_port_is_in_the_vlans_that_are_asked_for_and_in_no_others(world, keys, members):
    result = world.added(L2 | keys)

    assert world.of(result["interfaces"][1]["name"]) == members
    assert len(result["interfaces"]) == 3
    assert world.call("CHECK", L2 | keys | {"prevResult": result}) == {}
    assert world.call("DEL", L2 | keys) == {}
    assert nothing_left(world.host)


def test_check_notices_other_vlans(world):
    config = L2 | {"vlan": 100}
    result = world.added(config)
    port = result["interfaces"][1]["name"]

    with pytest.raises(CniError, match=f"{port} is not in VLAN 7, 100 as configured"):
        world.call("CHECK", L2 | {"vlan": 7, "vlanTrunk": [{"id": 100}], "prevResult": result})
    world.set(port, 9)
    with pytest.raises(CniError, match=f"{port} is in VLAN 9, too"):
        world.call("CHECK", config | {"prevResult": result})
    preserving = config | {"preserveDefaultVlan": True}
    assert world.call("CHECK", preserving | {"prevResult": result}) == {}


def test_a_gateway_has_its_addresses_on_a_port_of_its_own_in_the_vlan(world):
    host = world.host
    config = gateway((SUBNET, SUBNET6), isDefaultGateway=True, vlan=100)

    results = [world.added(config, cid) for cid in ("c1", "c2")]

    [shown] = host.ip("link show dev br0.100")
    for result in results:
        assert result["interfaces"][3] == {"name": "br0.100", "mac": shown["address"]}
        assert {ip["interface"] for ip in result["ips"]} == {2}
    assert host.addresses("br0.100") == {"10.1.0.1/24", "fd00::1/64"}
    assert host.addresses("br0") == set()
    [port] = [one for one in host.ip("link show master br0") if one.get("link") == "br0.100"]
    assert world.of(port["ifname"]) == {Vlan(100, pvid=True, untagged=True)}
    for address in ("10.1.0.1", "fd00::1", "10.1.0.3"):
        assert host.reaches(address, netns=C1)
    assert world.call("CHECK", config | {"prevResult": results[0]}) == {}
    for cid in ("c1", "c2"):
        assert world.call("DEL", config, cid) == {}
    assert veths(host) == {port["ifname"]}
    assert host.leases() == {}


def test_check_notices_that_the_gateway_in_the_vlan_is_gone(world):
    config = gateway(vlan=100)
    result = world.added(config)
    world.host.sh("ip link set br0.100 down")

    with pytest.raises(CniError, match=r"gateway's interface br0.100 is gone or down"):
        world.call("CHECK", config | {"prevResult": result})


def test_a_gateway_that_an_add_left_half_made_is_finished_by_the_next(world):
    """Killed between making the pair and plugging it in."""
    world.host.sh("ip link add br0.100 type veth peer name vethhalf")

    world.added(gateway(vlan=100))

    [port] = world.host.ip("link show dev vethhalf")
    assert port["master"] == "br0"
    assert Vlan(100, pvid=True, untagged=True) in world.of("vethhalf")
    assert world.host.reaches("10.1.0.1", netns=C1)


def test_containers_in_different_vlans_do_not_reach_each_other(world):
    if world.notes is not None:
        pytest.skip("noted VLANs keep nobody apart")
    for number, vlan in ((1, 100), (2, 200), (3, 100)):
        world.added(L2 | {"vlan": vlan}, f"c{number}")
        world.host.sh(f"ip addr add 10.9.0.{number}/24 dev eth0", netns=f"/run/netns/c{number}")

    assert world.host.reaches("10.9.0.3", netns=C1)
    assert not world.host.reaches("10.9.0.2", netns=C1, timeout=0.3)


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("keys", [{"vlan": 100}, {"vlanTrunk": [{"id": 7}]}])
def test_without_the_kernel_s_part_vlans_are_an_error_and_nothing_is_made(host, keys, there):
    if not host.node.run(_lacks):
        pytest.skip("this kernel's bridges filter VLANs")
    host.container("c1")
    if there:
        host.sh("ip link add br0 type bridge")

    assert host.call("ADD", gateway(**keys)).refusal == (999, LACKING)
    assert host.call("STATUS", gateway(**keys)).refusal == (50, LACKING)

    assert nothing_left(host)
    assert host.names() == ({"br0"} if there else set())
    assert host.call("DEL", gateway(**keys)).result == {}
