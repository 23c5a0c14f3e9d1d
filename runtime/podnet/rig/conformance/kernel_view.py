"""What the kernel says of a namespace: links, addresses and routes, to hold a Result against.

Reads, and breaks one thing at a time for CHECK to notice; judges nothing.  Everything here
runs on a Node's thread.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from podnet.kernel import addresses, firewall, links, namespaces, programs, routes, rules
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet.kernel.routes import Route

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One network namespace.

    Attributes:
        links: By name.
        addresses: By the link's name, without link-local ones.
        routes: Of all tables, by links that are there.
    """

    links: Mapping[str, Link] = field(default_factory=dict)
    addresses: Mapping[str, tuple[Interface, ...]] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()

    def link(self, name: str) -> Link | None:
        """Return a link."""
        return self.links.get(name)

    def routes_of(self, name: str) -> list[Route]:
        """Return the routes that leave by a link."""
        link = self.links.get(name)
        return [route for route in self.routes if link and route.oif == link.index]


@contextmanager
def within(netns: str = "") -> Iterator[Netlink]:
    """Be in a namespace for a while, the Node's own by default."""
    if not netns:
        with Netlink() as netlink:
            yield netlink
        return
    with namespaces.entered(netns), Netlink() as netlink:
        yield netlink


def look(netns: str = "") -> Seen:
    """Return what is in a namespace."""
    with within(netns) as netlink:
        there = {link.name: link for link in links.every(netlink)}
        listed = {
            name: tuple(
                address.interface
                for address in addresses.of(netlink, link.index)
                if address.index == link.index and not address.interface.ip.is_link_local
            )
            for name, link in there.items()
        }
        ways = [
            route
            for link in there.values()
            for family in (4, 6)
            for route in routes.of(netlink, link.index, family)
        ]
    return Seen(links=there, addresses=listed, routes=tuple(ways))


def delete_link(netns: str, name: str) -> None:
    """Delete a link."""
    with within(netns) as netlink:
        links.delete(netlink, name)


def on_link(netns: str, name: str, change: Callable[[Netlink, int], object]) -> None:
    """Change a link."""
    with within(netns) as netlink:
        found = links.find(netlink, name)
        if found is not None:
            change(netlink, found.index)


def set_down(netns: str, name: str) -> None:
    """Set a link down."""
    on_link(netns, name, lambda netlink, index: links.set_up(netlink, index, up=False))


def delete_address(netns: str, name: str, address: Interface) -> None:
    """Take an address from a link."""
    on_link(netns, name, lambda netlink, index: addresses.delete(netlink, index, address))


def add_address(netns: str, name: str, address: Interface) -> None:
    """Give a link an address."""
    on_link(netns, name, lambda netlink, index: addresses.add(netlink, index, address))


def delete_route(netns: str, route: Route) -> None:
    """Delete a route."""
    with within(netns) as netlink:
        routes.delete(netlink, route)


def add_route(netns: str, route: Route) -> None:
    """Add a route."""
    with within(netns) as netlink:
        routes.add(netlink, route)


def flush_rules() -> None:
    """Remove every rule of nftables and iptables, as a firewall does that is restarted."""
    if firewall.installed():
        firewall.apply("flush ruleset")


def delete_queues(name: str) -> None:
    """Give a link of the Node's the queue that it was born with."""
    for parent in ("root", "ingress"):
        programs.run("tc", "qdisc", "del", "dev", name, parent)  # there may be none


def delete_policy(netns: str) -> None:
    """Remove every policy rule that somebody made."""
    with within(netns) as netlink:
        there = [rule for family in (4, 6) for rule in rules.every(netlink, family)]
        for rule in there:
            if rule.source.prefixlen:
                rules.delete(netlink, rule)


def delete_files(paths: Iterable[str]) -> None:
    """Remove files; a directory stays."""
    for path in paths:
        Path(path).unlink(missing_ok=True)


def reboot() -> None:
    """Remove every link but lo, every rule of nftables, and all of /run but what is podnet's."""
    with Netlink() as netlink:
        for link in links.every(netlink):
            if link.name != "lo":
                links.delete(netlink, link.name)
    flush_rules()
    for path in Path("/run").iterdir():
        if path.name in {"netns", "podnet", ".podnet-etc"}:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
