"""Whether a Result is true: what it says, held against a picture of the kernel.  Pure.

SPEC section 5 has a plugin name the interfaces it made and the addresses and routes on them.
Whatever comes after it in the chain, and the runtime, believe it.
"""

from collections.abc import Iterator, Mapping

from podnet.cni.result import Interface, IPConfig, Result, Route
from podnet.kernel.facts import Fact
from podnet.rig.picture import NODE, Picture

_TABLES = {254: "main", 255: "local", 253: "default"}


def untrue(result: Result, picture: Picture, *, netns: str) -> list[str]:
    """Return what a result says and the kernel does not, in sentences; nothing when all is true.

    Args:
        result: What ADD returned.
        picture: The Node after it.
        netns: The container's network namespace, CNI_NETNS.
    """
    found = [fact for fact in picture if fact.where in {netns, NODE}]
    links = {(f.where, f.key): f for f in found if f.kind == "link"}
    addresses = {(f.where, f.key) for f in found if f.kind == "address"}
    routes = [f.key for f in found if f.kind == "route" and f.where == netns]
    said = [line for one in result.interfaces for line in _interface(one, links, netns)]
    for ip in result.ips:
        said += _address(ip, result, addresses, netns)
    for route in result.routes:
        said += _route(route, routes)
    return said


def _place(interface: Interface, netns: str) -> str:
    """A sandbox may be spelt in another way than CNI_NETNS; there is only one container."""
    return netns if interface.sandbox else NODE


def _interface(one: Interface, links: Mapping[tuple[str, str], Fact], netns: str) -> Iterator[str]:
    where = "the container" if one.sandbox else "the host"
    link = links.get((_place(one, netns), one.name))
    if one.socket_path or (one.pci_id and link is None):  # no interface of the kernel's
        return
    if link is None:
        other = links.get((NODE if one.sandbox else netns, one.name))
        there = f", but in {'the host' if one.sandbox else 'the container'}" if other else ""
        yield f"interface {one.name} is not in {where}{there}"
        return
    mac = link.get("mac")
    if one.mac and mac and one.mac.lower().replace("-", ":") != mac:
        yield f"interface {one.name} has the MAC {mac}, not {one.mac}"
    if one.mtu and link.get("mtu") != one.mtu:
        yield f"interface {one.name} has an MTU of {link.get('mtu')}, not {one.mtu}"


def _address(
    ip: IPConfig, result: Result, addresses: set[tuple[str, str]], netns: str
) -> Iterator[str]:
    if ip.interface is None:  # an IPAM plugin's, or a result that does not say
        return
    if not 0 <= ip.interface < len(result.interfaces):
        there = len(result.interfaces)
        yield f"address {ip.address} is on interface number {ip.interface}, and there are {there}"
        return
    one = result.interfaces[ip.interface]
    if (_place(one, netns), f"{ip.address} dev {one.name}") not in addresses:
        yield f"address {ip.address} is not on interface {one.name}"


def _route(route: Route, routes: list[str]) -> Iterator[str]:
    """Where a result names no table, the route may be in any: source-based routing moves it."""
    table = "" if route.table is None else _TABLES.get(route.table, str(route.table))
    via = f" via {route.gw}" if route.gw else ""
    wanted = (f"{route.dst} ", f"{via} ", f" table {table} " if table else "")
    if not any(key.startswith(wanted[0]) and all(w in f"{key} " for w in wanted) for key in routes):
        yield f"there is no route to {route.dst}{via}{f' in table {table}' if table else ''}"
