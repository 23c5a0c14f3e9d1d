"""A lease: a Node's hold on its subnets, in flannel's own spelling.

Keys and values are byte for byte what flannel's daemons write and read, so that both kinds
share one store.  Pure: knows no store, no clock and no kernel.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from podnet.cni import wire
from podnet.cni.errors import DecodeError
from podnet.cni.wire import Fields

Subnet = IPv4Network | IPv6Network
_PART = re.compile(r"([0-9a-fA-F.:]+)-(\d+)")


@dataclass(frozen=True, slots=True)
class Subnets:
    """What one Node leases: a subnet of each family that the network has."""

    ipv4: IPv4Network | None = None
    ipv6: IPv6Network | None = None

    @property
    def key(self) -> str:
        """The name in the store: ``10.5.21.0-24&fd00:5:0:55::-64``."""
        return "&".join(f"{s.network_address}-{s.prefixlen}" for s in self.each)

    @property
    def each(self) -> tuple[Subnet, ...]:
        """The subnets there are, IPv4 first."""
        return tuple(subnet for subnet in (self.ipv4, self.ipv6) if subnet)

    def __str__(self) -> str:
        return " and ".join(map(str, self.each))

    @classmethod
    def of(cls, subnets: tuple[Subnet, ...]) -> "Subnets":
        """Take one subnet of each family."""
        by_family = {subnet.version: subnet for subnet in subnets}
        ipv4, ipv6 = by_family.get(4), by_family.get(6)
        assert not isinstance(ipv4, IPv6Network)  # noqa: S101  the key was its version
        assert not isinstance(ipv6, IPv4Network)  # noqa: S101
        return cls(ipv4, ipv6)

    @classmethod
    def from_key(cls, key: str) -> "Subnets":
        """Read a name in the store.

        Raises:
            DecodeError: It is no lease's.
        """
        return _subnets(key)


# A manager reads each lease twice when it starts, and its own whenever it renews it.
_REMEMBERED = 10_000


@lru_cache(_REMEMBERED)
def _subnets(key: str) -> Subnets:
    found = []
    for part in key.split("&"):
        matched = _PART.fullmatch(part)
        try:
            found.append(ip_network(f"{matched[1]}/{matched[2]}") if matched else None)
        except ValueError:
            found.append(None)
    subnets = tuple(subnet for subnet in found if subnet)
    if len(subnets) != len(found) or len({s.version for s in subnets}) != len(found):
        raise DecodeError(f"{key} is no lease's key")
    return Subnets.of(subnets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What the others must know of a Node.

    Attributes:
        public_ip: Its IPv4 address in the underlay; a Node is known by it.
        public_ipv6: Its IPv6 address there.
        backend_type: "" for a backend that leaves routes to others.
        data: What the backend needs to reach it over IPv4.
        v6_data: And over IPv6.
    """

    public_ip: IPv4Address | None = None
    public_ipv6: IPv6Address | None = None
    backend_type: str = ""
    data: Mapping[str, object] | None = None
    v6_data: Mapping[str, object] | None = None

    def to_wire(self) -> bytes:
        """Return the value in the store: fields in flannel's order, no spaces."""
        value: dict[str, object] = {
            "PublicIP": str(self.public_ip) if self.public_ip else "0.0.0.0",  # noqa: S104  Go's zero address
            "PublicIPv6": str(self.public_ipv6) if self.public_ipv6 else None,
        }
        if self.backend_type:
            value["BackendType"] = self.backend_type
        if self.data is not None:
            value["BackendData"] = dict(self.data)
        if self.v6_data is not None:
            value["BackendV6Data"] = dict(self.v6_data)
        return wire.dumps(value).encode()

    @classmethod
    def from_wire(cls, text: bytes) -> "Attributes":
        """Read a value of the store, of any version of flannel's.

        Raises:
            DecodeError: It is no lease's.
        """
        return _attributes(text)


@lru_cache(_REMEMBERED)
def _attributes(text: bytes) -> Attributes:
    fields = Fields.of(wire.loads(text, "the lease"))
    public, public6 = _address(fields, "PublicIP"), _address(fields, "PublicIPv6")
    return Attributes(
        public_ip=public if isinstance(public, IPv4Address) and int(public) else None,
        public_ipv6=public6 if isinstance(public6, IPv6Address) else None,
        backend_type=fields.text("BackendType"),
        data=_object(fields, "BackendData"),
        v6_data=_object(fields, "BackendV6Data"),
    )


def _object(fields: Fields, key: str) -> Mapping[str, object] | None:
    child = fields.get(key)
    return child if isinstance(child, dict) else None


def _address(fields: Fields, key: str) -> IPv4Address | IPv6Address | None:
    text = fields.text(key)
    try:
        return ip_address(text) if text else None
    except ValueError:
        raise DecodeError(f"{key} is not an IP address: {wire.dumps(text)}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease as the store has it.

    Attributes:
        subnets: What is leased.
        attributes: Whose it is.
        revision: Of its last change; who changes a lease says which one he knows.
        hold: What keeps it alive, as the store calls it; "" for a reservation.
        expires: Seconds since the epoch, infinite where the store does not tell of others;
            ``None`` for a reservation, which never does.
    """

    subnets: Subnets
    attributes: Attributes
    revision: int = 0
    hold: str = ""
    expires: float | None = None

    @property
    def is_reservation(self) -> bool:
        """Whether somebody set it for good."""
        return self.expires is None

    def __str__(self) -> str:
        return f"{self.subnets} of {self.attributes.public_ip or self.attributes.public_ipv6}"
