"""CHECK for the bridge plugin: every object that ADD made, on both sides."""

from dataclasses import replace

from podnet.cni.errors import CniError
from podnet.cni.result import IPConfig
from podnet.kernel import links
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet_plugins import (
    bridge_host,
    bridge_vlans,
    container,
    forwarding,
    ip_masq,
    mac_spoof,
    previous,
)
from podnet_plugins.bridge_config import BridgeConfig
from podnet_plugins.previous import Own
from podnet_plugins.skel import Call


def check(call: Call, config: BridgeConfig) -> None:
    """Compare the kernel with prevResult and the configuration.

    Raises:
        CniError: Something is gone or changed.
    """
    result = call.require_prev_result()
    expected = previous.own(call, result)
    with container.entered(call.netns), Netlink() as netlink:
        inside = previous.as_made(netlink, expected.inside, "veth")
        if not config.disable_container_interface:
            container.check(netlink, inside, expected.ips, result)
    with Netlink() as netlink:
        bridge = _bridge(netlink, config, expected)
        missing = f"CNI veth created for bridge {bridge.name} was not found"
        host = previous.other_end(netlink, expected, inside, missing)
        _check_port(host, bridge, config)
        _check_mtu(netlink, bridge, expected)  # after the port, which it may have followed
        bridge_vlans.check(netlink, host, config)
        if call.ipam_type and config.gateway:
            _check_gateway(netlink, config, expected.ips)
    previous.check_pair_mtu(call, inside, host, expected.inside, config.mtu)
    if config.macspoofchk:
        mac_spoof.check(call, host.name, inside.mac)
    if call.ipam_type and config.ip_masq:
        ip_masq.check(call, config.ip_masq_backend, [ip.address for ip in expected.ips])


def _bridge(netlink: Netlink, config: BridgeConfig, expected: Own) -> Link:
    interface = next((one for one in expected.hosts if one.name == config.name), None)
    if interface is None:
        raise CniError(f"prevResult does not have bridge {config.name}")
    if not config.gateway:  # nobody knows it by its MAC, which moves with the ports of some
        interface = replace(interface, mac="")
    bridge = previous.as_made(netlink, interface, "bridge")
    if not bridge.up:
        raise CniError(f"bridge {bridge.name} is down")
    if config.promisc_mode and not bridge.promiscuous:
        raise CniError(f"bridge {bridge.name} is not promiscuous any more")
    return bridge


def _check_mtu(netlink: Netlink, bridge: Link, expected: Own) -> None:
    """Check a bridge's MTU, where the result says what it was (1.1.0)."""
    said = next((one.mtu for one in expected.hosts if one.name == bridge.name), 0)
    if not said or bridge.mtu == said:
        return
    # Until somebody sets it, it follows the smallest port: other containers come and go.
    if bridge.mtu != min((port.mtu for port in bridge_host.ports(netlink, bridge)), default=said):
        raise CniError(f"bridge {bridge.name} has MTU {bridge.mtu}, not {said}")


def _check_gateway(netlink: Netlink, config: BridgeConfig, ips: tuple[IPConfig, ...]) -> None:
    link = links.find(netlink, config.gateway_name)
    if link is None or not link.up:
        raise CniError(f"the gateway's interface {config.gateway_name} is gone or down")
    absent = [f"address {one} of {link.name}" for one in bridge_host.missing(netlink, link, ips)]
    families = (ip.address.version for ip in ips)
    absent += [f"sysctl {name}" for name in forwarding.missing(families)]
    if absent:
        raise CniError(f"the gateway lacks {', '.join(absent)}")


def _check_port(host: Link, bridge: Link, config: BridgeConfig) -> None:
    if host.master != bridge.index:
        raise CniError(f"{host.name} is not a port of bridge {bridge.name}")
    if not host.up:
        raise CniError(f"host interface {host.name} is down")
    if (host.hairpin, host.isolated) != (config.hairpin_mode, config.port_isolation):
        raise CniError(f"hairpin or isolation of port {host.name} is not as configured")
