"""Address ranges of host-local: read, checked, and walked.  Pure: knows no leases.

Ranges within a set are alternatives, tried in order; every set yields one address.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from podnet.cni.errors import InvalidConfigError
from podnet.cni.wire import Fields

Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network
# Of a /31 and a /127 nothing is left between network and broadcast address.
_BITS_LEFT = 2


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
    def of(cls, fields: Fields) -> "Range":
        """Read and complete one range.

        Raises:
            InvalidConfigError: It makes no sense.
        """
        subnet = _subnet(fields.text("subnet"))
        first = subnet.network_address + 1
        last = subnet.broadcast_address
        if isinstance(last, IPv4Address):
            last -= 1
        chosen = cls(
            subnet=subnet,
            start=_address(fields, "rangeStart") or first,
            end=_address(fields, "rangeEnd") or last,
            gateway=_address(fields, "gateway") or first,
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
    if subnet.max_prefixlen - subnet.prefixlen < _BITS_LEFT:
        raise InvalidConfigError(f"Network {subnet} too small to allocate from")
    if str(ip_address(text.split("/", maxsplit=1)[0])) != str(subnet.network_address):
        raise InvalidConfigError(
            f"Network has host bits set. For a subnet mask of length {subnet.prefixlen} "
            f"the network address is {subnet.network_address}"
        )
    return subnet


def _address(fields: Fields, key: str) -> Address | None:
    text = fields.text(key)
    try:
        return ip_address(text) if text else None
    except ValueError:
        raise InvalidConfigError(f"{fields.path(key)} is not an IP address: {text!r}") from None


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


def read_sets(ipam: Fields, runtime_config: Fields) -> tuple[RangeSet, ...]:
    """Return the range sets of a configuration: the capability's, the old single form, the list.

    Raises:
        InvalidConfigError: One makes no sense, two overlap, or there is none.
    """
    sets = [*_sets(runtime_config, "ipRanges")]
    if ipam.text("subnet"):
        sets.append([ipam])
    sets += _sets(ipam, "ranges")
    if not sets:
        raise InvalidConfigError("no IP ranges specified")
    checked = tuple(_checked(index, members) for index, members in enumerate(sets))
    for i, one in enumerate(checked):
        for j, other in enumerate(checked[i + 1 :], i + 1):
            if any(a.overlaps(b) for a in one.ranges for b in other.ranges):
                raise InvalidConfigError(f"range set {i} overlaps with {j}")
    return checked


def _sets(fields: Fields, key: str) -> Iterator[list[Fields]]:
    listed = fields.get(key)
    for index, members in enumerate(listed if isinstance(listed, list) else ()):
        where = fields.path(f"{key}[{index}]")
        yield list(Fields({"set": members}, where).children("set"))


def _checked(index: int, members: list[Fields]) -> RangeSet:
    try:
        ranges = [Range.of(member) for member in members]
    except InvalidConfigError as exc:
        raise InvalidConfigError(f"invalid range set {index}: {exc.msg}", exc.details) from None
    return RangeSet.of(ranges, index)
