"""The host's side of a bridge: the bridge itself, and its addresses as a gateway."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial

from podnet.cni.errors import CniError
from podnet.cni.result import IPConfig
from podnet.kernel import addresses, links, sysctl, vlans
from podnet.kernel.addresses import Interface
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet_plugins import failures, macs, pairs
from podnet_plugins.bridge_config import BridgeConfig
from podnet_plugins.gateways import gateway_addresses

# What the reference waits for a port to come up, all its pauses together.
_PORT_PATIENCE = 2.5


def ensure(netlink: Netlink, config: BridgeConfig) -> Link:
    """Return the bridge, made if it was not there, and up.

    Raises:
        CniError: The name is another link's, or the kernel's bridges have no VLANs.
    """
    found = links.find(netlink, config.name)
    bridge = found or _make(netlink, config)
    require(bridge)
    if found and config.gateway:
        # Containers know the gateway by its address: one that was never set moves with the ports.
        links.set_mac(netlink, bridge.index, bridge.mac)
    with failures.named("vlan"):
        if config.memberships and not vlans.is_filtering(bridge):
            vlans.set_filtering(netlink, bridge.index)
    if config.promisc_mode and not bridge.promiscuous:
        links.set_promiscuous(netlink, bridge.index)
    if not bridge.up:
        links.set_up(netlink, bridge.index)
    return bridge


def require(link: Link) -> None:
    """Check that a link that is there is a bridge.

    Raises:
        CniError: It is not.
    """
    if link.kind != "bridge":
        name = link.name
        raise CniError(
            f'failed to create bridge "{name}": "{name}" already exists but is not a bridge'
        )


def _make(netlink: Netlink, config: BridgeConfig) -> Link:
    # With an address of its own: one that follows its ports is lost with the last of them,
    # and every later ADD of the reference fails then (plugins#620).
    add = vlans.add_bridge if config.memberships else links.add_bridge
    with failures.named("vlan"), suppress(FileExistsError):  # another ADD was faster
        add(netlink, config.name, mtu=config.mtu, mac=macs.made_up())
        if config.gateway:
            # While its link-local address is tentative, it asks for no neighbour: 2 s.
            sysctl.write("ipv6", "conf", config.name, "accept_dad", value="0")
    sysctl.write("ipv6", "conf", config.name, "accept_ra", value="0")
    return pairs.named(netlink, config.name)


def make_gateway(
    netlink: Netlink, link: Link, ips: tuple[IPConfig, ...], *, port: Link, force: bool = False
) -> Iterator[Callable[[], None]]:
    """Give a bridge, or its port in a VLAN, the gateways' addresses.

    Args:
        netlink: A socket on the host.
        link: Bridge or port.
        ips: What IPAM assigned, with the gateways.
        port: The port of the bridge that it is for.
        force: Replace another address that is in the way.

    Yields:
        For each address that it gave: what takes it back.

    Raises:
        CniError: It has another address, which may not be replaced.
    """
    for address in gateway_addresses(ips):
        present = [a.interface for a in addresses.of(netlink, link.index, address.version)]
        if address in present:
            continue
        if not force and (refused := refusal(link.name, present, address)):
            raise refused
        replaced = _in_the_way(present, address)
        for other in replaced:
            addresses.delete(netlink, link.index, other)
        with suppress(FileExistsError):  # another ADD was faster
            _give(netlink, link, address)
            yield partial(take_back, link, address, port=port, replaced=replaced)


def take_back(link: Link, address: Interface, *, port: Link, replaced: Iterable[Interface]) -> None:
    """Take a gateway's address away again, unless others on the bridge may have come to use it.

    Who comes meanwhile is plugged in before it looks for the address: either its port is seen
    here after the address is gone, or it sees that there is none.

    Args:
        link: What has the address.
        address: The address.
        port: The only port that does not count.
        replaced: The addresses that it has in its place again.
    """
    with Netlink() as netlink:
        if _is_used(netlink, port):
            return
        addresses.delete(netlink, link.index, address)
        for wanted in [address] if _is_used(netlink, port) else replaced:
            with suppress(FileExistsError):
                _give(netlink, link, wanted)


def _give(netlink: Netlink, link: Link, address: Interface) -> None:
    flags = addresses.IFA_F_NODAD if address.version == 6 else 0  # noqa: PLR2004
    addresses.add(netlink, link.index, address, flags=flags)


def _is_used(netlink: Netlink, port: Link) -> bool:
    """Tell whether a port's bridge has another one; who cannot say so says that it has."""
    now = links.at(netlink, port.index)
    if now is None or not now.master:
        return True
    others = [one for one in links.every(netlink) if one.master == now.master]
    # A pair with both ends on the host is the gateway's own, in a VLAN.
    own = [one for one in others if one.kind == "veth" and one.peer_namespace is None]
    return len(others) - len(own) > 1


def refusal(name: str, present: list[Interface], address: Interface) -> CniError | None:
    """Return why a link with some addresses may not have another; ``None`` where it may."""
    others = _in_the_way(present, address)
    if not others:
        return None
    return CniError(
        f'failed to set bridge addr: "{name}" already has an IP address different from {address}',
        f"it has {others[0]}; forceAddress replaces it",
    )


def _in_the_way(present: list[Interface], address: Interface) -> list[Interface]:
    if address in present:
        return []
    family = [other for other in present if other.version == address.version]
    return [other for other in family if _excludes(other, address)]


def _excludes(other: Interface, address: Interface) -> bool:
    """IPv4: any other address; IPv6: one of an overlapping subnet (the reference's rule)."""
    if address.version == 4:  # noqa: PLR2004
        return True
    return not other.ip.is_link_local and other.network.overlaps(address.network)


def missing(netlink: Netlink, link: Link, ips: Iterable[IPConfig]) -> list[Interface]:
    """Return the gateways' addresses that a link does not have any more."""
    present = {a.interface for a in addresses.of(netlink, link.index)}
    return [address for address in gateway_addresses(ips) if address not in present]


def ports(netlink: Netlink, bridge: Link) -> list[Link]:
    """Return the ports of a bridge."""
    return [link for link in links.every(netlink) if link.master == bridge.index]


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
