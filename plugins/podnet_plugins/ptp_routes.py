"""Where a ptp link leads: every packet of the container to the gateway, which is the host's end.

The container reaches even its own subnet through the gateway only, and the host reaches
each address through the pair.  Pure, but for giving it all to the kernel and looking
whether it is still there.
"""

from collections.abc import Iterable
from ipaddress import ip_interface, ip_network

from podnet.cni.errors import CniError, InvalidConfigError
from podnet.cni.result import IPConfig, Result
from podnet.kernel import addresses, links, routes, sysctl
from podnet.kernel.addresses import Interface
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet.kernel.routes import Gateway, Route
from podnet_plugins import container


def gateway_of(ip: IPConfig) -> Gateway:
    """Return the gateway of an address.

    Raises:
        InvalidConfigError: IPAM gave it none.
    """
    if ip.gateway is None:
        raise InvalidConfigError(
            f"ptp needs a gateway for {ip.address}, and IPAM gave none",
            "the host's end of the link has the gateway's address",
        )
    return ip.gateway


def host_addresses(ips: Iterable[IPConfig]) -> list[Interface]:
    """Return the addresses of the host's end: every gateway, once."""
    return list(dict.fromkeys(ip_interface(gateway_of(ip)) for ip in ips))


def host_routes(ips: Iterable[IPConfig], index: int) -> list[Route]:
    """Return the host's routes to the container."""
    scope = routes.SCOPE_HOST
    return [Route(dst=ip_network(ip.address.ip), oif=index, scope=scope) for ip in ips]


def inside_routes(ips: Iterable[IPConfig], index: int) -> list[Route]:
    """Return the container's own routes: to each gateway, and through it to the subnet."""
    planned: dict[routes.Destination, Route] = {}
    for ip in ips:
        gateway, source = gateway_of(ip), ip.address.ip
        beside, subnet = ip_network(gateway), ip.address.network
        near = Route(dst=beside, oif=index, source=source, scope=routes.SCOPE_LINK)
        planned.setdefault(beside, near)
        if subnet != ip_network(source):
            planned.setdefault(subnet, Route(dst=subnet, oif=index, gw=gateway, source=source))
    return list(planned.values())


def configure_host(netlink: Netlink, host: Link, ips: tuple[IPConfig, ...]) -> None:
    """Give the host's end its addresses and routes, and set it up."""
    # While its addresses are tentative, the gateway is mute and nothing is forwarded: 2 s.
    sysctl.write("ipv6", "conf", host.name, "accept_dad", value="0")
    links.set_up(netlink, host.index)
    for address in host_addresses(ips):
        addresses.add(netlink, host.index, address)
    for route in host_routes(ips, host.index):
        routes.add(netlink, route)


def configure_inside(netlink: Netlink, link: Link, result: Result) -> None:
    """Give the container's end its addresses and routes, and set it up."""
    container.configure(netlink, link, Result(ips=result.ips))
    for subnet in (ip.address.network for ip in result.ips):
        kernels = Route(
            dst=subnet,
            oif=link.index,
            protocol=routes.PROTOCOL_KERNEL,
            scope=routes.SCOPE_LINK,
        )
        routes.delete(netlink, kernels)
    for route in inside_routes(result.ips, link.index):
        routes.add(netlink, route)
    for asked in result.routes:
        routes.add(netlink, container.kernel_route(asked, link.index, result.ips))


def check_host(netlink: Netlink, host: Link, ips: tuple[IPConfig, ...]) -> None:
    """Check what :func:`configure_host` did.

    Raises:
        CniError: Something of it is gone.
    """
    if not host.up:
        raise CniError(f"host interface {host.name} is down")
    present = {address.interface for address in addresses.of(netlink, host.index)}
    for address in host_addresses(ips):
        if address not in present:
            raise CniError(f"host interface {host.name} lacks the gateway's address {address}")
    _check_routes(netlink, host, host_routes(ips, host.index))


def check_inside(netlink: Netlink, link: Link, ips: tuple[IPConfig, ...], result: Result) -> None:
    """Check what :func:`configure_inside` did.

    Raises:
        CniError: Something of it is gone.
    """
    container.check(netlink, link, ips, result)
    _check_routes(netlink, link, inside_routes(ips, link.index))


def _check_routes(netlink: Netlink, link: Link, wanted: list[Route]) -> None:
    for family in sorted({route.dst.version for route in wanted}):
        found = {(r.dst, r.gw, r.source) for r in routes.of(netlink, link.index, family)}
        for route in (route for route in wanted if route.dst.version == family):
            if (route.dst, route.gw, route.source) not in found:
                via = f" via {route.gw}" if route.gw else f" dev {link.name}"
                raise CniError(f"Expected Route {route.dst}{via} not found in routing table")
