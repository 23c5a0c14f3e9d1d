"""sbr: source based routing, for containers with several interfaces.

Every address gets a rule and a table of its own, with the interface's routes, which leave
the main table; with ``table`` it gets the rule only.  Objects are the reference's
(containernetworking/plugins, meta/sbr).  Unlike it a failed ADD puts the routes back, a
table in use is not taken, routes that no address of the result can use stay, CHECK and
STATUS are real, and nothing is ever written where a namespace was.  Everything is inside
the container and goes with it: there is nothing for GC.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from itertools import count
from typing import Self

from podnet.cni.errors import CniError, Code, InvalidConfigError
from podnet.cni.formats import IP
from podnet.cni.result import IPConfig, Result, parse_address
from podnet.kernel import addresses, links, namespaces, routes, rules
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet.kernel.routes import MAIN_TABLE, SCOPE_LINK, Route
from podnet.kernel.rules import Rule
from podnet_plugins.container import entered
from podnet_plugins.schema import key, read
from podnet_plugins.skel import Call, Plugin, run

_FIRST_TABLE = 100
_IPV6_METRIC = 1024
_FAMILIES = (4, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class SbrConfig:
    """The keys of the configuration."""

    table: int | None = key(
        None, least=1, most=0xFFFFFFFF, doc="Only add rules, to this table that somebody fills."
    )
    gateways: tuple[str, ...] = key(
        (),
        format=IP,
        own_words=True,
        doc="Default gateways instead of IPAM's, at most one of each family.",
    )
    add_source_hints: bool = key(
        False, doc="Keep the subnets in the main table, with the address as preferred source."
    )

    @classmethod
    def of(cls, call: Call) -> Self:
        """Read and check the configuration of *call*.

        Raises:
            CniError: A gateway is no address, or the second of its family.
        """
        config = read(cls, call.config)
        if len(config.gateway) < len(config.gateways):
            raise InvalidConfigError("gateways: at most one of each family")
        return config

    @property
    def gateway(self) -> dict[int, IPv4Address | IPv6Address]:
        """The gateways by family."""
        addresses = (parse_address(text, "gateways") for text in self.gateways)
        return {address.version: address for address in addresses if address}

    def with_gateway(self, ip: IPConfig) -> IPConfig:
        """Return an address with the gateway that it has here."""
        return replace(ip, gateway=self.gateway.get(ip.address.version, ip.gateway))


def add(call: Call) -> Result:
    """Give each address its rule and its table; when that fails, all is as before."""
    previous = call.require_chained("This plugin must be called as chained plugin")
    config = SbrConfig.of(call)
    ips = [config.with_gateway(ip) for ip in _ips(call, previous)]
    with _locked(call.netns), Netlink() as netlink, ExitStack() as undo:
        link = _link(netlink, call.ifname)
        if config.table is not None:
            for ip in ips:
                _add_rule(netlink, _host(ip), config.table, undo)
        else:
            _move(netlink, link, ips, undo, own_gateways=set(config.gateway))
            for hint in {_hint(ip, link) for ip in ips if config.add_source_hints}:
                routes.add(netlink, hint)
                undo.callback(routes.delete, netlink, hint)
        undo.pop_all()
    return previous


def _move(
    netlink: Netlink, link: Link, ips: list[IPConfig], undo: ExitStack, *, own_gateways: set[int]
) -> None:
    """Copy the interface's routes to the addresses' tables, then take them out of the main one.

    A family with a gateway of its own in the configuration keeps no other default route.
    """
    main = [route for route in _routes(netlink, link) if route.table == MAIN_TABLE]
    used, moved = _used_tables(netlink), []
    for ip in ips:
        table = next(number for number in count(_FIRST_TABLE) if number not in used)
        used.add(table)
        _add_rule(netlink, _host(ip), table, undo)
        suitable = [route for route in main if _suits(route, ip)]
        moved += [route for route in suitable if route not in moved]
        own = ip.address.version in own_gateways
        kept = [route for route in suitable if route.dst.prefixlen or not own]
        for route in _table(ip, link, kept):
            routes.add(netlink, replace(route, table=table))
            undo.callback(routes.delete, netlink, replace(route, table=table))
    # Back they come the other way round: what a gateway is reached by, first.
    for route in sorted(moved, key=lambda route: route.gw is None):
        routes.delete(netlink, route)
        undo.callback(routes.add, netlink, route)


def _table(ip: IPConfig, link: Link, suitable: list[Route]) -> list[Route]:
    """Return an address's routes: to its gateway by default, and those that suit it instead."""
    wanted = {}
    if ip.gateway is not None:
        everywhere = ip_network("0.0.0.0/0" if ip.address.version == 4 else "::/0")  # noqa: PLR2004
        metric = 0 if ip.address.version == 4 else _IPV6_METRIC  # noqa: PLR2004
        default = Route(dst=everywhere, oif=link.index, gw=ip.gateway, priority=metric)
        wanted[everywhere, metric] = default
    wanted |= {(route.dst, route.priority): route for route in suitable}
    # What a gateway is reached by must be there before what goes through it.
    return sorted(wanted.values(), key=lambda route: route.gw is not None)


def _hint(ip: IPConfig, link: Link) -> Route:
    scope = SCOPE_LINK if ip.address.version == 4 else 0  # noqa: PLR2004
    return Route(dst=ip.address.network, oif=link.index, source=ip.address.ip, scope=scope)


def _suits(route: Route, ip: IPConfig) -> bool:
    """Tell whether a route is one for an address: from or through its subnet, or for anybody."""
    ends = [end for end in (route.source, route.gw) if end is not None]
    return not ends or any(end in ip.address.network for end in ends)


def check(call: Call) -> None:
    """Check each address's rule, and what its table must have."""
    previous = call.require_chained("This plugin must be called as chained plugin")
    config = SbrConfig.of(call)
    with _locked(call.netns), Netlink() as netlink:
        link = _link(netlink, call.ifname)
        for ip in map(config.with_gateway, _ips(call, previous)):
            source = _host(ip)
            tables = {one.table for one in _rules(netlink) if one.source == source}
            if not tables or (config.table is not None and config.table not in tables):
                raise CniError(f"there is no rule for {source} any more", f"tables: {tables or 0}")
            if config.table is None:
                _check_table(netlink, link, ip, tables)
                _check_main(netlink, link, ip, hinted=config.add_source_hints)


def _check_table(netlink: Netlink, link: Link, ip: IPConfig, tables: set[int]) -> None:
    there = [route for route in _routes(netlink, link) if route.table in tables]
    if ip.gateway and not any(r.gw == ip.gateway and not r.dst.prefixlen for r in there):
        raise CniError(f"the default route of {ip.address} via {ip.gateway} is gone")
    if not any(route.dst == ip.address.network for route in there):
        raise CniError(f"the route of {ip.address} to its subnet is gone")


def _check_main(netlink: Netlink, link: Link, ip: IPConfig, *, hinted: bool) -> None:
    found = [route for route in _routes(netlink, link) if route.table == MAIN_TABLE]
    hints = [route.source for route in found if route.dst == ip.address.network]
    if hinted and ip.address.ip not in hints:
        raise CniError(f"the route to {ip.address.network} from {ip.address.ip} is gone")
    if not hinted and hints:
        raise CniError(f"the route to {ip.address.network} is in the main table again")
    if ip.gateway and any(r.gw == ip.gateway and not r.dst.prefixlen for r in found):
        raise CniError(f"the default route via {ip.gateway} is in the main table again")


def delete(call: Call) -> None:
    """Remove the rules of the interface's addresses, and move its routes back where it stays.

    The tables of ADD are those that its rules name and the configuration does not.
    """
    if not call.netns or not namespaces.is_namespace(call.netns):
        return
    given = call.config.number("table")
    with _locked(call.netns), Netlink() as netlink:
        link = links.find(netlink, call.ifname)
        found = addresses.of(netlink, link.index) if link else []
        sources = {ip_network(address.interface.ip) for address in found}
        if call.prev_result is not None:
            sources |= {_host(ip) for ip in _ips(call, call.prev_result)}
        tables = set[int]()
        for rule in _rules(netlink):
            if rule.source in sources:
                rules.delete(netlink, rule)
                tables.add(rule.table)
        if link is not None:
            _move_back(netlink, link, tables - {given})
            hinted = call.config.flag("addSourceHints")
            hints = [_hint(IPConfig(address.interface), link) for address in found if hinted]
            _remove(netlink, hints)


def _move_back(netlink: Netlink, link: Link, tables: set[int]) -> None:
    """Take an interface's routes out of the tables, and put them back into the main one."""
    moved = [route for route in _routes(netlink, link) if route.table in tables]
    # What a gateway is reached by must be there before what goes through it.
    for route in sorted(moved, key=lambda route: route.gw is not None):
        with suppress(OSError):  # another address's table had it, too; or it was a hint
            routes.add(netlink, replace(route, table=MAIN_TABLE))
    _remove(netlink, sorted(moved, key=lambda route: route.gw is None))


def _remove(netlink: Netlink, unwanted: Iterable[Route]) -> None:
    for route in unwanted:
        with suppress(OSError):  # it is gone, or was never there
            routes.delete(netlink, route)


def status(call: Call) -> None:
    """An ADD succeeds when the configuration is right and the kernel has policy rules."""
    try:
        SbrConfig.of(call)
    except CniError as exc:
        raise CniError(exc.msg, exc.details, code=Code.NOT_AVAILABLE) from exc
    with Netlink() as netlink:
        if not rules.every(netlink, 4):
            raise CniError("the kernel lacks policy routing", code=Code.NOT_AVAILABLE)


@contextmanager
def _locked(netns: str) -> Iterator[None]:
    """Work inside a container, alone: the next table is free for one of us only."""
    with entered(netns):
        lock = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _add_rule(
    netlink: Netlink, source: IPv4Network | IPv6Network, table: int, undo: ExitStack
) -> None:
    rule = Rule(source=source, table=table)
    rules.add(netlink, rule)
    undo.callback(rules.delete, netlink, rule)


def _ips(call: Call, result: Result) -> list[IPConfig]:
    """Return the addresses that the result gives the interface."""
    own = {index for index, one in enumerate(result.interfaces) if one.name == call.ifname}
    return [ip for ip in result.ips if ip.interface in own]


def _host(ip: IPConfig) -> IPv4Network | IPv6Network:
    return ip_network(ip.address.ip)


def _rules(netlink: Netlink) -> list[Rule]:
    return [rule for family in _FAMILIES for rule in rules.every(netlink, family)]


def _routes(netlink: Netlink, link: Link) -> list[Route]:
    return [route for family in _FAMILIES for route in routes.of(netlink, link.index, family)]


def _used_tables(netlink: Netlink) -> set[int]:
    everywhere = [route for link in links.every(netlink) for route in _routes(netlink, link)]
    return {route.table for route in everywhere} | {rule.table for rule in _rules(netlink)}


def _link(netlink: Netlink, name: str) -> Link:
    link = links.find(netlink, name)
    if link is None:
        raise CniError(f"Cannot find network interface {name}: Link not found")
    return link


PLUGIN = Plugin(
    "sbr",
    add=add,
    check=check,
    delete=delete,
    status=status,
    about="Routes by source address, for containers with several interfaces.",
    config=SbrConfig,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
