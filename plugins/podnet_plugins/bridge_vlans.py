"""VLANs on a bridge: which of them a container's port is in, and the gateway's own port.

Which VLANs these are is the configuration's to say.
"""

import os
from contextlib import suppress

from podnet.cni.errors import CniError
from podnet.kernel import links, namespaces, sysctl, vlans
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet.kernel.vlans import Vlan
from podnet_plugins import pairs
from podnet_plugins.bridge_config import BridgeConfig


def plug(netlink: Netlink, port: Link, config: BridgeConfig) -> None:
    """Put a container's port into its VLANs, and out of the one that the bridge put it in."""
    if not config.memberships:
        return
    if not config.preserve_default_vlan:
        vlans.clear(netlink, port.index)
    vlans.add(netlink, port.index, config.memberships)


def check(netlink: Netlink, port: Link, config: BridgeConfig) -> None:
    """Check that a container's port is in its VLANs, and in no others.

    Raises:
        CniError: It is not.
    """
    if not config.memberships:
        return
    found = vlans.of(netlink, port.index)
    if absent := config.memberships - found:
        raise CniError(f"{port.name} is not in VLAN {_shown(absent)} as configured")
    if (others := found - config.memberships) and not config.preserve_default_vlan:
        raise CniError(f"{port.name} is in VLAN {_shown(others)}, too")


def _shown(members: frozenset[Vlan] | set[Vlan]) -> str:
    return ", ".join(str(one.vid) for one in sorted(members))


def gateway(netlink: Netlink, bridge: Link, config: BridgeConfig) -> Link:
    """Return the host's interface in the VLAN, made and plugged in if it was not there.

    It is one end of a pair; the other is a port of the bridge.  It stays, as the bridge does.
    """
    name = config.gateway_name
    if links.find(netlink, name) is None:
        _make(netlink, bridge, config)
    # Also where it was there: the ADD that made it may have come to no more.
    link = pairs.named(netlink, name)
    port = links.at(netlink, link.peer) if link.kind == "veth" else None
    if port is not None:
        links.add_port(netlink, port.name, bridge=bridge.index)
        vlans.add(netlink, port.index, [Vlan(config.vlan, pvid=True, untagged=True)])
    links.set_up(netlink, link.index)
    return link


def _make(netlink: Netlink, bridge: Link, config: BridgeConfig) -> None:
    name, peer = config.gateway_name, f"veth{os.urandom(4).hex()}"
    home = os.open(namespaces.OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(FileExistsError):  # another ADD was faster
            links.add_veth(netlink, name, peer=peer, peer_netns=home, mtu=bridge.mtu)
            for end in (name, peer):
                sysctl.write("ipv6", "conf", end, "accept_ra", value="0")
            sysctl.write("ipv6", "conf", name, "accept_dad", value="0")
            port = pairs.named(netlink, peer)
            links.add_port(netlink, port.name, bridge=bridge.index)
            if not config.preserve_default_vlan:
                vlans.clear(netlink, port.index)
    finally:
        os.close(home)
