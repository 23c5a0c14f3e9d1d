"""The inside of a container: entering its namespace, and giving an interface its addresses.

What every plugin that ends in addresses shares (the reference's ipam.ConfigureIface),
and the check that they are still there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from podnet.cni.errors import CniError, Code
from podnet.cni.result import IPConfig, Result
from podnet.cni.result import Route as ResultRoute
from podnet.kernel import addresses, links, namespaces, routes, sysctl
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink

_IPV6 = 6
_SCOPE_UNIVERSE = 0


def require(netns: str) -> None:
    """Check that *netns* is there, before anything is made for it.

    Raises:
        CniError: Code 8 when it is not there or is no namespace.
    """
    if namespaces.is_namespace(netns):
        return
    if not Path(netns).exists():
        raise CniError(f'failed to open netns "{netns}": no such file', code=Code.INVALID_NETNS)
    raise CniError(f'"{netns}" is not a network namespace', code=Code.INVALID_NETNS)


@contextmanager
def entered(netns: str) -> Iterator[None]:
    """Work inside the namespace *netns* for a while.

    Raises:
        CniError: Code 8 when it is not there or is no namespace.
    """
    require(netns)
    with namespaces.entered(netns):
        yield


def configure(netlink: Netlink, link: Link, result: Result, *, detect: bool = False) -> None:
    """Give *link* the addresses and routes of *result*, and set it up.

    Args:
        netlink: A socket in the container.
        link: The interface.
        result: What to configure; a route without a gateway goes through its family's first.
        detect: Leave IPv6 duplicate address detection on; without, an address is usable at
            once (an IPAM plugin gave it to nobody else, and the reference waits 2 s for it).

    Raises:
        OSError: The kernel refused.
    """
    if any(ip.address.version == _IPV6 for ip in result.ips):
        for name in ("lo", link.name):
            sysctl.write("ipv6", "conf", name, "disable_ipv6", value="0")
        sysctl.write("ipv6", "conf", link.name, "keep_addr_on_down", value="1")
    for ip in result.ips:
        flags = addresses.IFA_F_NODAD if ip.address.version == _IPV6 and not detect else 0
        addresses.add(netlink, link.index, ip.address, flags=flags)
    links.set_up(netlink, link.index)
    for route in result.routes:
        routes.add(netlink, kernel_route(route, link.index, result.ips))


def kernel_route(route: ResultRoute, oif: int, ips: tuple[IPConfig, ...]) -> routes.Route:
    """Return the kernel's route for a result's: through its own gateway, or its family's first."""
    gateways = (ip.gateway for ip in ips if ip.address.version == route.dst.version)
    first: IPv4Address | IPv6Address | None = next((gw for gw in gateways if gw is not None), None)
    # What is on the link itself has no gateway, and the kernel refuses one.
    on_link = route.scope is not None and route.scope >= routes.SCOPE_LINK
    return routes.Route(
        dst=route.network,
        oif=oif,
        gw=route.gw or (None if on_link else first),
        priority=route.priority,
        table=routes.MAIN_TABLE if route.table is None else route.table,
        scope=_SCOPE_UNIVERSE if route.scope is None else route.scope,
        mtu=route.mtu,
        advmss=route.advmss,
    )


def check(netlink: Netlink, link: Link, ips: tuple[IPConfig, ...], result: Result) -> None:
    """Check that *link* is up and has *ips*, the ways to their subnets and the routes of *result*.

    A route whose table nobody asked for may be in any: sbr moves them, and a VRF has its own.
    Of metric, MTU and segment size, too, only what the result names is looked at.

    Raises:
        CniError: Something is missing.
    """
    if not link.up:
        raise CniError(f"interface {link.name} is down")
    present = {address.interface for address in addresses.of(netlink, link.index)}
    for ip in ips:
        if ip.address not in present:
            raise CniError(f"Failed to match addr {ip.address} on interface {link.name}")
    families = {ip.address.version for ip in ips} | {route.dst.version for route in result.routes}
    existing = {r for family in families for r in routes.of(netlink, link.index, family)}
    reached = {route.dst for route in existing}
    for network in (ip.address.network for ip in ips):
        if network.prefixlen < network.max_prefixlen and network not in reached:
            raise CniError(f"the route to {network} of interface {link.name} is gone")
    for route in result.routes:
        wanted = kernel_route(route, link.index, ips)
        same = [r for r in existing if (r.dst, r.gw) == (wanted.dst, wanted.gw)]
        if not any(route.table in {None, r.table} and _is_as_named(route, r) for r in same):
            via = f" via {wanted.gw}" if wanted.gw else ""
            raise CniError(
                f"Expected Route {wanted.dst}{via}{_named(route)} not found in routing table"
            )


def _is_as_named(named: ResultRoute, found: routes.Route) -> bool:
    asked = (named.priority, named.mtu, named.advmss)
    return all(
        one in {0, now}
        for one, now in zip(asked, (found.priority, found.mtu, found.advmss), strict=True)
    )


def _named(route: ResultRoute) -> str:
    """Say the numbers of a route that it names, in the words of ``ip route``."""
    numbers = {"metric": route.priority, "mtu": route.mtu, "advmss": route.advmss}
    return "".join(f" {word} {number}" for word, number in numbers.items() if number)
