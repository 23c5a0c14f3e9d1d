"""Which subnets a Node leases, and the attempt to get them.

The decision is pure: from the configuration, the leases there are and what the Node had
before, to what to do next.  Somebody may always be faster; then it is decided again, over
the whole network and not its first hundred subnets, so that many Nodes that start at once
rarely meet.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat
from random import Random

from podnet.errors import PodnetError
from podnet_manager.lease import Attributes, Lease, Subnets
from podnet_manager.netconf import NetConf
from podnet_manager.pool import Pool, Subnet
from podnet_manager.store import Store

_ATTEMPTS = 100
_DRAWS = 32  # in a pool that is not nearly full, that many never all miss


class NoSubnetError(PodnetError):
    """Every subnet of the network is leased."""


class DuplicateAddressError(PodnetError):
    """Another Node that is alive has our public address."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """The Node has a lease that will do."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class GiveBack:
    """The Node has a lease that the configuration does not allow any more."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Create:
    """Take these, which nobody has."""

    subnets: Subnets


Step = Reuse | GiveBack | Create


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """A Node that wants a lease.

    Attributes:
        attributes: Who it is; it is known by its public address.
        holder: The identity that it keeps, whatever its address; "" for none.
        previous: What it had before, if it knows.
    """

    attributes: Attributes
    holder: str = ""
    previous: Subnets | None = None

    def is_own(self, lease: Lease) -> bool:
        """Tell whether a lease has this Node's public address."""
        theirs, ours = lease.attributes, self.attributes
        pairs = (theirs.public_ip, ours.public_ip), (theirs.public_ipv6, ours.public_ipv6)
        # Of the first family that both have; who has none of ours is somebody else.
        return next((one == other for one, other in pairs if one and other), False)


def allows(conf: NetConf, subnets: Subnets) -> bool:
    """Tell whether *subnets* are one of each family that the network has, within its bounds."""
    pools = {pool.network.version: pool for pool in conf.pools}
    families = {subnet.version: subnet for subnet in subnets.each}
    return pools.keys() == families.keys() and all(families[v] in pools[v] for v in pools)


def decide(conf: NetConf, leases: tuple[Lease, ...], claimant: Claimant, draw: Random) -> Step:
    """Return what to do next for a lease.

    Raises:
        NoSubnetError: The network is full.
    """
    for lease in filter(claimant.is_own, leases):
        if allows(conf, lease.subnets):
            return Reuse(lease)
        if not lease.is_reservation:  # which is not ours to end
            return GiveBack(lease)
    leased = [subnet for lease in leases for subnet in lease.subnets.each]
    previous = claimant.previous
    taken = [Taken(pool, leased) for pool in conf.pools]
    if (
        previous
        and allows(conf, previous)
        and not any(s in t for s in previous.each for t in taken)
    ):
        return Create(previous)
    return Create(Subnets.of(tuple(map(_free, conf.pools, taken, repeat(draw)))))


class Taken:
    """What is taken of a pool, also by leases of other sizes: SubnetLen may have been another.

    Args:
        pool: The pool.
        leased: What is leased, of any family.
    """

    def __init__(self, pool: Pool, leased: Iterable[Subnet]) -> None:
        of_family = [one for one in leased if one.version == pool.network.version]
        length = pool.subnet_len
        self._wider = {one for one in of_family if one.prefixlen < length}
        self._lengths = {one.prefixlen for one in self._wider}
        self._subnets = {
            one.supernet(new_prefix=length) for one in of_family if one.prefixlen >= length
        }

    def __contains__(self, subnet: Subnet) -> bool:
        return subnet in self._subnets or any(
            subnet.supernet(new_prefix=length) in self._wider for length in self._lengths
        )


def _free(pool: Pool, taken: Taken, draw: Random) -> Subnet:
    for _ in range(_DRAWS):
        subnet = pool.at(draw.randrange(len(pool)))
        if subnet not in taken:
            return subnet
    start = draw.randrange(len(pool))
    for number in range(len(pool)):
        subnet = pool.at((start + number) % len(pool))
        if subnet not in taken:
            return subnet
    raise NoSubnetError(
        f"out of subnets: all {len(pool)} of {pool.network} are leased",
        "a larger Network, or a longer SubnetLen, has more; leases of Nodes that are gone end",
    )


def acquire(
    store: Store, conf: NetConf, claimant: Claimant, *, ttl: float, draw: Random | None = None
) -> Lease:
    """Get a lease: the one that the Node has, had before, or any.

    Raises:
        NoSubnetError: The network is full.
        DuplicateAddressError: Another Node has our address.
        StoreError: The store cannot be reached.
    """
    draw = draw or Random()  # noqa: S311  spreads Nodes out, hides nothing
    for _ in range(_ATTEMPTS):
        kept = _attempt(store, decide(conf, store.snapshot().leases, claimant, draw), claimant, ttl)
        if kept is not None:
            return kept
    raise NoSubnetError(f"no subnet after {_ATTEMPTS} attempts: others are always faster")


def release(store: Store, attributes: Attributes) -> list[str]:
    """Give back what a Node has, whoever took it; return what that was.

    A reservation stays: somebody set it for good.

    Raises:
        StoreError: The store cannot be reached.
    """
    claimant = Claimant(attributes=attributes)
    own = [lease for lease in store.snapshot().leases if claimant.is_own(lease)]
    return [str(lease) for lease in own if not lease.is_reservation and store.delete(lease)]


def _attempt(store: Store, step: Step, claimant: Claimant, ttl: float) -> Lease | None:
    if isinstance(step, Create):
        return store.create(step.subnets, claimant.attributes, ttl=ttl)
    lease, holder = step.lease, store.holder(step.lease)
    if holder and claimant.holder and holder != claimant.holder:
        raise DuplicateAddressError(
            f"another Node has the public address of this one, and the lease {lease}",
            "give one of them another address (--public-ip, --iface); the lease of a Node that is "
            "gone ends by itself, or with podnet-manager --release on this one",
        )
    if isinstance(step, GiveBack):
        store.delete(lease)
        return None
    is_signed = lease.is_reservation or holder == claimant.holder
    if not is_signed or lease.attributes.to_wire() != claimant.attributes.to_wire():
        return store.update(lease, claimant.attributes, ttl=ttl)
    return store.renew(lease, ttl=ttl)
