"""What a lease store can do, whichever it is.

A store keeps the network's configuration and its leases.  Every change has a revision,
greater than those before; who changes a lease says which revision he knows, so that a Node
that slept through the end of its lease never overwrites the next one's.
"""

from dataclasses import dataclass
from typing import Protocol

from podnet.errors import PodnetError
from podnet_manager.bell import Bell
from podnet_manager.lease import Attributes, Lease, Subnets

DAY = 86400.0


class StoreError(PodnetError):
    """The store did not answer, or not in a way that can be understood; later it may."""


class CompactedError(StoreError):
    """What changed since that revision is forgotten: take a new snapshot."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All leases, as they were at one revision."""

    revision: int
    leases: tuple[Lease, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the lease on some subnets: the new lease, ``None`` when there is none."""

    subnets: Subnets
    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened up to a revision; maybe nothing."""

    revision: int
    changes: tuple[Change, ...] = ()


class Keeping(Protocol):
    """What a lease is kept by.  Every method raises StoreError when the store cannot be reached."""

    def renew(self, lease: Lease, *, ttl: float) -> Lease | None:
        """Keep a lease for another *ttl* seconds; ``None``: it is not this one any more.

        A reservation is returned as it is.  A store may keep to the TTL that the lease was
        made with; what is returned says when it ends.
        """

    def update(self, lease: Lease, attributes: Attributes, *, ttl: float) -> Lease | None:
        """Say something new of a lease; ``None``: it is not this one any more."""


class Store(Keeping, Protocol):
    """A lease store.  Every method raises StoreError when the store cannot be reached."""

    def config(self) -> bytes | None:
        """Return the network's configuration, ``None`` while there is none."""

    def set_config(self, text: bytes) -> None:
        """Set the network's configuration."""

    def snapshot(self) -> Snapshot:
        """Return all leases."""

    def holder(self, lease: Lease) -> str:
        """Return who took a lease: the identity of a Node; "" where nobody has said."""

    def create(self, subnets: Subnets, attributes: Attributes, *, ttl: float) -> Lease | None:
        """Take a lease for *ttl* seconds, if nobody has it; ``None``: somebody has."""

    def delete(self, lease: Lease) -> bool:
        """Give a lease back; false: it is not this one any more, and stays."""

    def reserve(self, subnets: Subnets, attributes: Attributes) -> Lease:
        """Set a lease for good, whoever had it."""

    def changes(self, since: int, *, patience: float, cancelled: Bell | None = None) -> Changes:
        """Wait for changes after revision *since*, at most *patience* seconds, or until cancelled.

        A store that is away is looked for, for as long as any other request would take.

        Raises:
            CompactedError: They are forgotten.
        """

    def close(self) -> None:
        """Let go of the store."""
