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
from podnet.kernel import addresses, links, namespaces, routes, sysctl, virtual_links
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink

_IPV6 = 6
_SCOPE_UNIVERSE = 0


def require(netns: str) -> None:
    """Check that *netns* is there, before anything is made for it.

    Raises:
        CniError: Code 8 when it is not there or is no namespace.
    """
    if not Path(netns).exists():
        raise CniError(f'failed to open netns "{netns}": no such file', code=Code.INVALID_NETNS)
    if not namespaces.is_namespace(netns):
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
    """Check that *link* is up and has *ips* and the routes of *result*, gateways included.

    The routes of a link in a VRF are in the VRF's table.

    Raises:
        CniError: Something is missing.
    """
    if not link.up:
        raise CniError(f"interface {link.name} is down")
    present = {address.interface for address in addresses.of(netlink, link.index)}
    for ip in ips:
        if ip.address not in present:
            raise CniError(f"Failed to match addr {ip.address} on interface {link.name}")
    main = _main_table(netlink, link) if result.routes else routes.MAIN_TABLE
    for family in {route.dst.version for route in result.routes}:
        existing = {(r.dst, r.gw, r.table) for r in routes.of(netlink, link.index, family)}
        for route in (r for r in result.routes if r.dst.version == family):
            wanted = kernel_route(route, link.index, ips)
            table = main if wanted.table == routes.MAIN_TABLE else wanted.table
            if (wanted.dst, wanted.gw, table) not in existing:
                via = f" via {wanted.gw}" if wanted.gw else ""
                raise CniError(f"Expected Route {wanted.dst}{via} not found in routing table")


def _main_table(netlink: Netlink, link: Link) -> int:
    master = links.at(netlink, link.master) if link.master else None
    return (virtual_links.vrf_table(master) if master else 0) or routes.MAIN_TABLE
