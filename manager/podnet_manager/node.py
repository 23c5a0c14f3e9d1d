"""One Node's part of the network in its kernel: links, entries and rules brought to what they should be.

Knows the kernel and the configuration; knows no store and no time.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from podnet.kernel.netlink import Netlink, NetlinkError
from podnet_manager import bgp, bird, desired, masquerade, reconcile, vtep
from podnet_manager.backend import Bgp
from podnet_manager.desired import Entry, Skipped, Surroundings
from podnet_manager.lease import Lease, Subnets
from podnet_manager.netconf import NetConf
from podnet_manager.placed import Placed
from podnet_manager.preparation import Choices, Prepared
from podnet_manager.reconcile import Difference


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one reconciliation did.

    Attributes:
        change: What was set and removed.
        refused: What of it the kernel refused.
        skipped: Leases that nothing can be set for.
        placed: What is there now, for each lease.
        waiting: Peers whose routes somebody else will set.
    """

    change: Difference
    refused: list[NetlinkError]
    skipped: list[Skipped]
    placed: Placed
    waiting: list[Skipped] = field(default_factory=list)


def bring(
    netlink: Netlink,
    conf: NetConf,
    prepared: Prepared,
    own: Subnets,
    peers: Collection[Lease],
    choices: Choices,
) -> Outcome:
    """Bring addresses, routes, neighbours and forwarding entries to what the leases say.

    Raises:
        PodnetError: BIRD, where it is needed, cannot be started.
    """
    vtep.remove_others(netlink, prepared.links)
    vtep.address(netlink, prepared.vteps, own, conf)
    entries, skipped = _desired(conf, prepared, own, {lease.subnets: lease for lease in peers})
    placed = Placed(entries)
    wanted = placed.every()
    there = reconcile.actual(netlink, _devices(prepared).values(), wanted)
    change = reconcile.difference(wanted, there)
    refused = reconcile.apply(netlink, change) if change else []
    if not isinstance(conf.backend, Bgp):
        _end_bird(netlink, choices)
        return Outcome(change, refused, skipped, placed)
    unreachable = {one.lease.subnets for one in skipped}
    spoken = [lease for lease in peers if lease.subnets not in unreachable]
    waiting = _speak(netlink, conf, prepared, own, spoken, choices)
    return Outcome(change, refused, skipped, placed, waiting)


def _speak(
    netlink: Netlink,
    conf: NetConf,
    prepared: Prepared,
    own: Subnets,
    peers: Collection[Lease],
    choices: Choices,
) -> list[Skipped]:
    """Have BIRD say where our pods are; return whose are not known by it yet."""
    there = bird.routes_of(netlink, bgp.METRIC)
    said = bgp.configuration(
        conf,
        prepared.uplink,
        (own, prepared.attributes),
        peers,
        scan=max(1, round(choices.resync)),
        log=bird.log_of(choices.run),
    )
    bird.keep(choices.run, said, recovers=bool(there))
    known = {route.dst for route in there}
    return [
        Skipped(lease, "BGP knows no route to it")
        for lease in peers
        if not known.issuperset(lease.subnets.each)
    ]


def _end_bird(netlink: Netlink, choices: Choices) -> None:
    """End the BIRD that another backend has left, and its routes."""
    if bird.was_started(choices.run):
        bird.end(choices.run)
        reconcile.apply(netlink, reconcile.difference((), bird.routes_of(netlink, bgp.METRIC)))


def follow(
    netlink: Netlink,
    conf: NetConf,
    prepared: Prepared,
    placed: Placed,
    own: Subnets,
    news: Mapping[Subnets, Lease | None],
) -> Outcome:
    """Bring the entries of some leases to what is new of them, without a look at the others."""
    entries, skipped = _desired(conf, prepared, own, news)
    change = placed.replace(entries)
    return Outcome(change, reconcile.apply(netlink, change) if change else [], skipped, placed)


def mend(netlink: Netlink, placed: Placed, change: Difference) -> Outcome:
    """Undo what somebody else has done to some entries, without a look at the others."""
    return Outcome(change, reconcile.apply(netlink, change), [], placed)


def _desired(
    conf: NetConf, prepared: Prepared, own: Subnets, leases: Mapping[Subnets, Lease | None]
) -> tuple[dict[Subnets, set[Entry]], list[Skipped]]:
    here = Surroundings(
        uplink=prepared.uplink,
        devices=_devices(prepared),
        macs={family: one.mac for family, one in prepared.vteps.items()},
        networks=[pool.network for pool in conf.pools],
        own=_own_addresses(prepared),
        leased=own.each,
    )
    found, skipped = dict[Subnets, set[Entry]](), list[Skipped]()
    for subnets, lease in leases.items():
        found[subnets], missed = desired.entries(conf.backend, [lease] if lease else [], here)
        skipped += missed
    return found, skipped


def _own_addresses(prepared: Prepared) -> set[IPv4Address | IPv6Address]:
    """Return what others may know this Node by: also an address that is not on its uplink."""
    public = prepared.attributes.public_ip, prepared.attributes.public_ipv6
    there = (one.ip for one in prepared.uplink.networks)
    return {address for address in (*public, *there) if address}


def _devices(prepared: Prepared) -> dict[int, int]:
    return {family: one.index for family, one in prepared.vteps.items()}


def ensure_rules(conf: NetConf, own: Subnets, choices: Choices) -> bool:
    """Put the rules in place, and no others; tell whether that was needed.

    Raises:
        PodnetError: nft is missing, or refused.
    """
    wanted = masquerade.tables(conf, own, ip_masq=choices.ip_masq, forward=choices.forward)
    if masquerade.is_in_place(wanted):
        return False
    masquerade.put(wanted)
    return True


def cleanings(netlink: Netlink, choices: Choices) -> tuple[Callable[[], object], ...]:
    """Return what removes all that a manager has made in this Node's kernel: each can fail alone."""
    return (
        lambda: _end_bird(netlink, choices),
        lambda: _remove_entries(netlink),
        lambda: vtep.remove_others(netlink),
        masquerade.remove,
    )


def _remove_entries(netlink: Netlink) -> None:
    there = reconcile.actual(netlink, devices=(), desired=())
    reconcile.apply(netlink, reconcile.difference((), there))
