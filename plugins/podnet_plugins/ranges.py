"""Address ranges of host-local: read, checked, and walked.  Pure: knows no leases.

Ranges within a set are alternatives, tried in order; every set yields one address.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from podnet.cni import formats
from podnet.cni.errors import InvalidConfigError
from podnet.cni.formats import IP, SUBNET
from podnet_plugins.schema import key

Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeConfig:
    """The keys of one range."""

    subnet: str = key(
        "", format=SUBNET, own_words=True, doc="Where the addresses are from, like 10.1.0.0/24."
    )
    range_start: str = key(
        "",
        format=IP,
        own_words=True,
        doc="The first address to assign, the subnet's first by default.",
    )
    range_end: str = key(
        "",
        format=IP,
        own_words=True,
        doc="The last one, by default the subnet's last for a host.",
    )
    gateway: str = key(
        "",
        format=IP,
        own_words=True,
        doc="The gateway, never assigned; the subnet's first by default.",
    )


@dataclass(frozen=True, slots=True)
class Range:
    """A run of addresses in one subnet.

    Attributes:
        subnet: The subnet.
        start: The first address to assign.
        end: The last one.
        gateway: The subnet's gateway, never assigned.
    """

    subnet: Subnet
    start: Address
    end: Address
    gateway: Address

    def __contains__(self, address: object) -> bool:
        return (
            isinstance(address, IPv4Address | IPv6Address)
            and address.version == self.start.version
            and int(self.start) <= int(address) <= int(self.end)
        )

    def __str__(self) -> str:
        return f"{self.start}-{self.end}"

    def overlaps(self, other: "Range") -> bool:
        """Tell whether the two have an address in common."""
        return other.start in self or self.start in other

    @classmethod
    def of(cls, config: RangeConfig) -> "Range":
        """Check and complete one range.

        Raises:
            InvalidConfigError: It makes no sense.
        """
        subnet = _subnet(config.subnet)
        first = subnet.network_address + 1
        last = subnet.broadcast_address
        if isinstance(last, IPv4Address):
            last -= 1
        chosen = cls(
            subnet=subnet,
            start=_address("rangeStart", config.range_start) or first,
            end=_address("rangeEnd", config.range_end) or last,
            gateway=_address("gateway", config.gateway) or first,
        )
        for name, address in (("RangeStart", chosen.start), ("RangeEnd", chosen.end)):
            if address not in subnet:
                raise InvalidConfigError(f"{name} {address} not in network {subnet}")
        if int(chosen.start) > int(chosen.end):
            raise InvalidConfigError(f"RangeStart {chosen.start} is after RangeEnd {chosen.end}")
        return chosen


def _subnet(text: str) -> Subnet:
    try:
        subnet = ip_network(text, strict=False)
    except ValueError:
        raise InvalidConfigError(f"invalid subnet {text!r}", "it reads like 10.1.0.0/24") from None
    if "/" not in text:
        raise InvalidConfigError(f"invalid subnet {text!r}", "the prefix length is missing")
    if trouble := formats.problem(SUBNET, text):
        raise InvalidConfigError(trouble)
    return subnet


def _address(name: str, text: str) -> Address | None:
    try:
        return ip_address(text) if text else None
    except ValueError:
        raise InvalidConfigError(f"{name} is not an IP address: {text!r}") from None


@dataclass(frozen=True, slots=True)
class RangeSet:
    """Alternatives of one family; one address is assigned from them."""

    ranges: tuple[Range, ...]

    def __str__(self) -> str:
        return ",".join(map(str, self.ranges))

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.ranges[0].subnet.version

    def holding(self, address: Address) -> Range | None:
        """Return the range that *address* is in, if any."""
        return next((r for r in self.ranges if address in r), None)

    def walk(self, last: Address | None) -> Iterator[tuple[Address, Range]]:
        """Yield every address but the gateways, beginning after *last* and wrapping around."""
        at = next((i for i, r in enumerate(self.ranges) if last is not None and last in r), None)
        if at is None or last is None:
            yield from _addresses((r, int(r.start), int(r.end)) for r in self.ranges)
            return
        now, here = self.ranges[at], int(last)
        others = (*self.ranges[at + 1 :], *self.ranges[:at])
        rest = [(r, int(r.start), int(r.end)) for r in others]
        yield from _addresses([(now, here + 1, int(now.end)), *rest, (now, int(now.start), here)])

    @classmethod
    def of(cls, ranges: Iterable[Range], index: int) -> "RangeSet":
        """Check that *ranges* can stand in one set.

        Raises:
            InvalidConfigError: They cannot.
        """
        members = tuple(ranges)
        if not members:
            raise InvalidConfigError(f"invalid range set {index}: empty range set")
        if len({member.subnet.version for member in members}) > 1:
            raise InvalidConfigError(f"invalid range set {index}: mixed address families")
        for i, one in enumerate(members):
            for other in members[i + 1 :]:
                if one.overlaps(other):
                    raise InvalidConfigError(
                        f"invalid range set {index}: subnets {one} and {other} overlap"
                    )
        return cls(members)


def _addresses(
    runs: Iterable[tuple[Range, int, int]],
) -> Iterator[tuple[Address, Range]]:
    for run, first, last in runs:
        kind, gateway = type(run.start), int(run.gateway)
        for number in range(first, last + 1):
            if number != gateway:
                yield kind(number), run


def checked(sets: Iterable[Iterable[RangeConfig]]) -> tuple[RangeSet, ...]:
    """Return range sets, checked and complete.

    Raises:
        InvalidConfigError: One makes no sense, two overlap, or there is none.
    """
    found = tuple(_set(index, members) for index, members in enumerate(sets))
    if not found:
        raise InvalidConfigError("no IP ranges specified")
    for i, one in enumerate(found):
        for j, other in enumerate(found[i + 1 :], i + 1):
            if any(a.overlaps(b) for a in one.ranges for b in other.ranges):
                raise InvalidConfigError(f"range set {i} overlaps with {j}")
    return found


def _set(index: int, members: Iterable[RangeConfig]) -> RangeSet:
    try:
        ranges = [Range.of(member) for member in members]
    except InvalidConfigError as exc:
        raise InvalidConfigError(f"invalid range set {index}: {exc.msg}", exc.details) from None
    return RangeSet.of(ranges, index)
