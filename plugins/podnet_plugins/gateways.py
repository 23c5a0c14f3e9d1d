"""Gateways: what a bridge that is one adds to what IPAM assigned.  Pure."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from podnet.cni.result import IPConfig, Result, Route
from podnet_plugins.bridge_config import BridgeConfig

_EVERYWHERE = {4: ip_interface("0.0.0.0/0"), 6: ip_interface("::/0")}


def with_gateways(config: BridgeConfig, assigned: Result) -> Result:
    """Return *assigned* with the gateways and default routes that *config* asks for.

    The container's interface is number 2 of the result.  A family that has a default route
    from IPAM, with or without a gateway of its own, gets no second one (the reference's ADD
    fails on it).
    """
    ips = tuple(replace(_with_gateway(config, ip), interface=2) for ip in assigned.ips)
    routes = assigned.routes
    if config.is_default_gateway:
        routes += _default_routes(ips, routes)
    return replace(assigned, ips=ips, routes=routes)


def _with_gateway(config: BridgeConfig, ip: IPConfig) -> IPConfig:
    if ip.gateway is not None or not config.gateway:
        return ip
    return replace(ip, gateway=ip.address.network.network_address + 1)


def _default_routes(ips: tuple[IPConfig, ...], existing: tuple[Route, ...]) -> tuple[Route, ...]:
    covered = {route.dst.version for route in existing if route.network.prefixlen == 0}
    added: dict[int, Route] = {}
    for ip in ips:
        family = ip.address.version
        if family not in covered and family not in added:
            added[family] = Route(_EVERYWHERE[family], ip.gateway)
    return tuple(added.values())


def gateway_addresses(ips: Iterable[IPConfig]) -> list[IPv4Interface | IPv6Interface]:
    """Return the addresses a bridge needs to be the gateway of *ips*, each once."""
    wanted = [
        ip_interface(f"{ip.gateway}/{ip.address.network.prefixlen}")
        for ip in ips
        if ip.gateway is not None
    ]
    return list(dict.fromkeys(wanted))
