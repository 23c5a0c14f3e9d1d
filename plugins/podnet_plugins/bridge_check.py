"""CHECK for the bridge plugin: every object that ADD made, on both sides."""

from dataclasses import dataclass, replace

from podnet.cni.errors import CniError
from podnet.cni.result import Interface, IPConfig, Result
from podnet.kernel import links
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet_plugins import bridge_host, container, masquerade
from podnet_plugins.bridge_config import BridgeConfig
from podnet_plugins.skel import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What prevResult says that ADD made.

    Attributes:
        bridge: The bridge.
        hosts: What else is on the host: the host's end is among it.
        inside: The container's end.
        ips: Its addresses.
    """

    bridge: Interface
    hosts: tuple[Interface, ...]
    inside: Interface
    ips: tuple[IPConfig, ...]


def made(call: Call, config: BridgeConfig, result: Result) -> Made:
    """Find our interfaces in *result*, among those of other plugins of the chain.

    Raises:
        CniError: One of them is not in it.
    """
    outside = [i for i in result.interfaces if not i.sandbox]
    bridge = next((i for i in outside if i.name == config.bridge), None)
    inside = [
        (index, interface)
        for index, interface in enumerate(result.interfaces)
        if interface.name == call.ifname and interface.sandbox == call.netns
    ]
    if bridge is None or not inside:
        what = f"bridge {config.bridge}" if bridge is None else f"{call.ifname} in {call.netns}"
        raise CniError(f"prevResult does not have {what}")
    index, interface = inside[0]
    return Made(
        bridge=bridge,
        hosts=tuple(i for i in outside if i is not bridge),
        inside=interface,
        ips=tuple(ip for ip in result.ips if ip.interface in {None, index}),
    )


def check(call: Call, config: BridgeConfig) -> None:
    """Compare the kernel with prevResult and the configuration.

    Raises:
        CniError: Something is gone or changed.
    """
    result = call.require_prev_result()
    expected = made(call, config, result)
    with container.entered(call.netns), Netlink() as netlink:
        inside = _as_made(netlink, expected.inside)
        if not config.interface_down:
            container.check(netlink, inside, expected.ips, result)
    with Netlink() as netlink:
        bridge = _as_made(netlink, expected.bridge)
        _check_bridge(netlink, config, bridge, replace(result, ips=expected.ips))
        _check_port(_host_end(netlink, expected, inside), bridge, config)
    if config.has_ipam and config.ip_masq:
        ips = [ip.address for ip in expected.ips]
        absent = masquerade.missing(call.network, call.container_id, call.ifname, ips)
        if absent:
            raise CniError(f"masquerading is gone: {', '.join(absent)}")


def _check_bridge(netlink: Netlink, config: BridgeConfig, bridge: Link, result: Result) -> None:
    if bridge.kind != "bridge":
        raise CniError(f"{bridge.name} is not a bridge")
    if not bridge.up:
        raise CniError(f"bridge {bridge.name} is down")
    if config.promiscuous and not bridge.promiscuous:
        raise CniError(f"bridge {bridge.name} is not promiscuous any more")
    if config.is_gateway and (absent := bridge_host.missing_of_gateway(netlink, bridge, result)):
        raise CniError(f"the gateway lacks {', '.join(absent)}")


def _host_end(netlink: Netlink, expected: Made, inside: Link) -> Link:
    for interface in expected.hosts:
        host = links.find(netlink, interface.name)
        if host is not None and host.kind == "veth" and host.index == inside.peer:
            if interface.mac and host.mac != interface.mac:
                raise CniError(f"{host.name} has address {host.mac}, not {interface.mac}")
            return host
    raise CniError(f"CNI veth created for bridge {expected.bridge.name} was not found")


def _check_port(host: Link, bridge: Link, config: BridgeConfig) -> None:
    if host.master != bridge.index:
        raise CniError(f"{host.name} is not a port of bridge {bridge.name}")
    if not host.up:
        raise CniError(f"host interface {host.name} is down")
    if config.mtu and host.mtu != config.mtu:
        raise CniError(f"{host.name} has MTU {host.mtu}, not {config.mtu}")
    if (host.hairpin, host.isolated) != (config.hairpin, config.isolated):
        raise CniError(f"hairpin or isolation of port {host.name} is not as configured")


def _as_made(netlink: Netlink, interface: Interface) -> Link:
    link = links.find(netlink, interface.name)
    if link is None:
        raise CniError(f"interface {interface.name} is gone")
    if interface.mac and link.mac != interface.mac:
        raise CniError(f"{link.name} has address {link.mac}, not {interface.mac}")
    return link
