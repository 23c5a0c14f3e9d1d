"""The host's side of a bridge: the bridge itself, its addresses, forwarding."""

import os
import time
from contextlib import suppress

from podnet.cni.errors import CniError
from podnet.cni.result import Result
from podnet.kernel import addresses, links, sysctl
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet_plugins import pairs
from podnet_plugins.bridge_config import BridgeConfig
from podnet_plugins.gateways import gateway_addresses

# What the reference waits for a port to come up, all its pauses together.
_PORT_PATIENCE = 2.5
_FORWARDING = {4: ("ipv4", "ip_forward"), 6: ("ipv6", "conf", "all", "forwarding")}


def ensure(netlink: Netlink, config: BridgeConfig) -> Link:
    """Return the bridge, made if it was not there, and up.

    Raises:
        CniError: The name is another link's.
    """
    bridge = links.find(netlink, config.bridge) or _make(netlink, config)
    if bridge.kind != "bridge":
        name = config.bridge
        raise CniError(
            f'failed to create bridge "{name}": "{name}" already exists but is not a bridge'
        )
    if config.promiscuous and not bridge.promiscuous:
        links.set_promiscuous(netlink, bridge.index)
    if not bridge.up:
        links.set_up(netlink, bridge.index)
    return bridge


def _make(netlink: Netlink, config: BridgeConfig) -> Link:
    # With an address of its own: one that follows its ports is lost with the last of them,
    # and every later ADD of the reference fails then (plugins#620).
    mac = bytes([0x02, *os.urandom(5)]).hex(":")
    with suppress(FileExistsError):  # another ADD was faster
        links.add_bridge(netlink, config.bridge, mtu=config.mtu, mac=mac)
    sysctl.write("ipv6", "conf", config.bridge, "accept_ra", value="0")
    return pairs.named(netlink, config.bridge)


def make_gateway(netlink: Netlink, config: BridgeConfig, bridge: Link, result: Result) -> None:
    """Give the bridge the gateways' addresses, and let the host forward.

    Raises:
        CniError: It has another address, and ``forceAddress`` is not set.
    """
    for address in gateway_addresses(result):
        present = [a.interface for a in addresses.of(netlink, bridge.index, address.version)]
        if address in present:
            continue
        for other in filter(lambda other: _excludes(other, address), present):
            if not config.force_address:
                raise CniError(
                    f'failed to set bridge addr: "{bridge.name}" already has an IP address '
                    f"different from {address}",
                    f"it has {other}; forceAddress replaces it",
                )
            addresses.delete(netlink, bridge.index, other)
        flags = addresses.IFA_F_NODAD if address.version == 6 else 0  # noqa: PLR2004
        with suppress(FileExistsError):  # another ADD was faster
            addresses.add(netlink, bridge.index, address, flags=flags)
    # Containers know the gateway by its address: one that was never set moves with the ports.
    links.set_mac(netlink, bridge.index, bridge.mac)
    for family in {ip.address.version for ip in result.ips}:
        sysctl.write(*_FORWARDING[family], value="1")


def _excludes(other: addresses.Interface, address: addresses.Interface) -> bool:
    """IPv4: any other address; IPv6: one of an overlapping subnet (the reference's rule)."""
    if address.version == 4:  # noqa: PLR2004
        return True
    return not other.ip.is_link_local and other.network.overlaps(address.network)


def missing_of_gateway(netlink: Netlink, bridge: Link, result: Result) -> list[str]:
    """Return what :func:`make_gateway` made and is not there any more, in words."""
    present = {a.interface for a in addresses.of(netlink, bridge.index)}
    absent = [
        f"address {address} of bridge {bridge.name}"
        for address in gateway_addresses(result)
        if address not in present
    ]
    families = sorted({ip.address.version for ip in result.ips})
    off = [_FORWARDING[f] for f in families if sysctl.read(*_FORWARDING[f]) == "0"]
    return absent + [f"sysctl net.{'.'.join(key)}" for key in off]


def await_port(netlink: Netlink, port: Link) -> Link:
    """Wait until a port is up, which it is as soon as the other end is; return it as it is then.

    Raises:
        CniError: It does not come up.
    """
    deadline = time.monotonic() + _PORT_PATIENCE
    while (link := pairs.named(netlink, port.name)).operstate != "up":
        if time.monotonic() > deadline:
            raise CniError(f"bridge port in error state: {link.operstate}")
        time.sleep(0.001)
    return link
