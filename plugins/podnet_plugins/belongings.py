"""What a link loses when it is moved or enslaved, and how it gets it back.

IPv6 addresses go when a link goes down, all addresses when it changes its namespace, and
the routes that somebody made with either.  What is lost is decided from two listings;
link-local addresses and those with a lifetime come again from where they came.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from podnet.cni.errors import CniError
from podnet.kernel import addresses, links, route_copies
from podnet.kernel.addresses import Address
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet.kernel.route_copies import Copy

_IPV6 = 6
_FIRST_PAUSE, _LONGEST_WAIT = 0.01, 2.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """What a link had.

    Attributes:
        link: The link as it was.
        addresses: Its addresses.
        routes: The routes that somebody made by it, in the main table.
    """

    link: Link
    addresses: tuple[Address, ...]
    routes: tuple[Copy, ...]


def of(netlink: Netlink, link: Link) -> Belongings:
    """Return what *link* has."""
    return Belongings(
        link=link,
        addresses=tuple(addresses.of(netlink, link.index)),
        routes=tuple(route_copies.by(netlink, link.index)),
    )


def lost(before: Iterable[Address], after: Iterable[Address]) -> list[Address]:
    """Return the addresses of *before* that are not in *after* and that nobody will make again."""
    kept = {address.interface for address in after}
    return [
        address
        for address in before
        if address.interface not in kept
        and address.flags & addresses.IFA_F_PERMANENT
        and not (address.interface.version == _IPV6 and address.interface.is_link_local)
    ]


def flags_again(address: Address) -> int:
    """Return the flags to make an address again with: it was ours, nobody else has it."""
    nodad = addresses.IFA_F_NODAD if address.interface.version == _IPV6 else 0
    return address.flags & addresses.IFA_F_ASKED_FOR | nodad


def give_back(netlink: Netlink, index: int, had: Belongings, *, table: int = 0) -> None:
    """Give a link back what it had, the routes in their own table or in *table*.

    Args:
        netlink: A socket where the link is.
        index: Its index now.
        had: What it had.
        table: The table for the routes, 0 for their own.

    Raises:
        OSError: The kernel refused.
        CniError: An address did not become usable.
    """
    missing = lost(had.addresses, addresses.of(netlink, index))
    for address in missing:
        flags = flags_again(address)
        addresses.add(netlink, index, address.interface, flags=flags, scope=address.scope)
    if any(address.interface.version == _IPV6 for address in missing):
        _wait_until_usable(netlink, index)
    for copy in had.routes:
        route_copies.make(netlink, copy.moved(table=table, was=had.link.index, now=index))


def put_back(netlink: Netlink, name: str, had: Belongings) -> None:
    """Make a link what it was: its master, up or down, its addresses and routes."""
    link = links.find(netlink, name)
    if link is None:
        return
    if had.link.master:
        links.set_master(netlink, link.index, had.link.master)
    if had.link.up:
        links.set_up(netlink, link.index)
    give_back(netlink, link.index, had)


def _wait_until_usable(netlink: Netlink, index: int) -> None:
    """Wait until a route may have one of the addresses as its source, a moment after they came."""
    pause, deadline = _FIRST_PAUSE, time.monotonic() + _LONGEST_WAIT
    while waiting := [a for a in addresses.of(netlink, index, _IPV6) if _is_tentative(a)]:
        if time.monotonic() > deadline:
            raise CniError(f"address {waiting[0].interface} is still not usable")
        time.sleep(pause)
        pause *= 2


def _is_tentative(address: Address) -> bool:
    return bool(address.flags & addresses.IFA_F_TENTATIVE) and not address.interface.is_link_local
