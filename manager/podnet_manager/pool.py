"""The subnets that the Nodes of a network lease: which there are, and how many.

What flannel only notices later, or never, is refused here, with the field and the reason:
ranges that are the wrong way round, subnets without an address.  Pure.
"""

from dataclasses import dataclass
from ipaddress import (
    IPv4Network,
    IPv6Network,
    ip_address,
    ip_network,
)

from podnet.cni import wire
from podnet.cni.errors import InvalidConfigError
from podnet.cni.wire import Fields

Subnet = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class _Lengths:
    """What a family's subnets may be: flannel's numbers."""

    ordinary: int  # the prefix length of a subnet, where the network has room for it
    roomy: int  # the longest network that has
    longest: int  # of a subnet
    smallest_network: int


_LENGTHS = {4: _Lengths(24, 22, 30, 28), 6: _Lengths(64, 62, 126, 124)}
# A network is for several Nodes: at least four subnets.
_BITS_FOR_NODES = 2
_EXAMPLES = {4: "10.244.0.0/16", 6: "fd00:10:244::/56"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The subnets that Nodes lease, of one family.

    Attributes:
        network: All of them, and those before ``first`` and after ``last``.
        subnet_len: The prefix length of each.
        first: The first that is leased.
        last: The last.
    """

    network: Subnet
    subnet_len: int
    first: Subnet
    last: Subnet

    def __len__(self) -> int:
        return self._number(self.last) - self._number(self.first) + 1

    def __contains__(self, subnet: object) -> bool:
        return (
            isinstance(subnet, IPv4Network | IPv6Network)
            and subnet.version == self.network.version
            and subnet.prefixlen == self.subnet_len
            and self._number(self.first) <= self._number(subnet) <= self._number(self.last)
        )

    def at(self, index: int) -> Subnet:
        """Return the subnet with this number, from 0."""
        number = (self._number(self.first) + index) << self._host_bits
        address = type(self.network.network_address)(number)
        return ip_network(f"{address}/{self.subnet_len}")

    @property
    def _host_bits(self) -> int:
        return self.network.max_prefixlen - self.subnet_len

    def _number(self, subnet: Subnet) -> int:
        return int(subnet.network_address) >> self._host_bits


def read(fields: Fields, version: int, prefix: str = "") -> Pool:
    """Read the pool of one family.

    Args:
        fields: The network configuration.
        version: Of IP.
        prefix: What the family's keys start with.

    Raises:
        CniError: A field has the wrong type, or makes no sense.
    """
    network = _network(fields, f"{prefix}Network", version)
    length = _subnet_len(fields, f"{prefix}SubnetLen", network)
    whole = Pool(network=network, subnet_len=length, first=network, last=network)
    count = 1 << (length - network.prefixlen)
    # The first one is left out, as by flannel: its first address is the network's own.
    least, most = f"{prefix}SubnetMin", f"{prefix}SubnetMax"
    first = _bound(fields, least, network, length) or whole.at(1)
    last = _bound(fields, most, network, length) or whole.at(count - 1)
    if first.network_address > last.network_address:  # type: ignore[operator]  # one family
        raise InvalidConfigError(
            f"{least} {first.network_address} is after {most} {last.network_address}"
        )
    return Pool(network=network, subnet_len=length, first=first, last=last)


def _network(fields: Fields, key: str, version: int) -> Subnet:
    text = fields.text(key)
    if not text:
        raise InvalidConfigError(f"{key} is missing", f"it reads like {_EXAMPLES[version]}")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        network = None
    if network is None or "/" not in text or network.version != version:
        raise InvalidConfigError(
            f"{key} must be an IPv{version} network, not {wire.dumps(text)}",
            f"it reads like {_EXAMPLES[version]}",
        )
    return network


def _subnet_len(fields: Fields, key: str, network: Subnet) -> int:
    lengths = _LENGTHS[network.version]
    if network.prefixlen > lengths.smallest_network:
        raise InvalidConfigError(
            f"network {network} is too small: the longest prefix is /{lengths.smallest_network}"
        )
    least = network.prefixlen + _BITS_FOR_NODES
    given = fields.number(key)
    if not given:
        return lengths.ordinary if network.prefixlen <= lengths.roomy else least
    if given < least:
        message = f"{key} {given} leaves network {network} less than four subnets"
        raise InvalidConfigError(message, f"it is at least {least}")
    if given > lengths.longest:
        raise InvalidConfigError(
            f"{key} {given} leaves no address: it is at most {lengths.longest}"
        )
    return given


def _bound(fields: Fields, key: str, network: Subnet, length: int) -> Subnet | None:
    text = fields.text(key)
    if not text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidConfigError(f"{key} is not an IP address: {wire.dumps(text)}") from None
    if address not in network:
        raise InvalidConfigError(f"{key} {address} is not in {network}")
    try:
        return ip_network(f"{address}/{length}")
    except ValueError:
        raise InvalidConfigError(f"{key} {address} is not the beginning of a /{length}") from None
