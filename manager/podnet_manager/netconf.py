"""net-conf.json: which addresses a network has, and how its Nodes reach each other.

Keys and defaults are flannel's documented ones.  What flannel only notices later, or never,
is refused here, with the field and the reason: ranges that are the wrong way round, numbers
that no link takes.  Pure: knows no file and no store.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
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
_DEFAULT_PORT = 8472
_DEFAULT_AS, _BGP_PORT = 64512, 179
#: IP, UDP, vxlan and Ethernet headers around a packet, by the underlay's family.
OVERHEAD = {4: 50, 6: 70}
# What every host takes (RFC 791), and every link of IPv6 carries (RFC 8200).
_SMALLEST_PACKET = {4: 576, 6: 1280}
_LARGEST_AS = (1 << 32) - 2
_LARGEST_VNI = (1 << 24) - 1
_LARGEST = 65535


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Vxlan:
    """Packets travel in UDP: any underlay will do.

    Attributes:
        vni: The network identifier.
        port: The UDP port.
        mtu: Of the underlay, 0 for that of its link.
        gbp: Carry group policy.
        learning: Learn hardware addresses from traffic, too.
        direct_routing: Route without encapsulation to Nodes on the same link.
    """

    vni: int = 1
    port: int = _DEFAULT_PORT
    mtu: int = 0
    gbp: bool = False
    learning: bool = False
    direct_routing: bool = False


@dataclass(frozen=True, slots=True)
class HostGw:
    """Every Node is the gateway to its pods: all of them must be on one link."""


@dataclass(frozen=True, slots=True)
class Alloc:
    """Subnets are leased, and routes are somebody else's business."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bgp:
    """Nodes tell each other by BGP where their pods are: all of them are on one link.

    Attributes:
        asn: The autonomous system that they are.
        port: Of TCP.
        reflectors: Family to the one that all speak to, instead of each to each: a Node or a
            router on the link.
    """

    asn: int = _DEFAULT_AS
    port: int = _BGP_PORT
    reflectors: Mapping[int, IPv4Address | IPv6Address] = field(default_factory=dict)


Backend = Vxlan | HostGw | Bgp | Alloc


@dataclass(frozen=True, slots=True, kw_only=True)
class NetConf:
    """One network of many Nodes.

    Attributes:
        ipv4: Its IPv4 subnets, or ``None``.
        ipv6: Its IPv6 subnets, or ``None``.
        backend: How packets travel.
    """

    ipv4: Pool | None
    ipv6: Pool | None
    backend: Backend

    @property
    def pools(self) -> tuple[Pool, ...]:
        """The families it has, IPv4 first."""
        return tuple(pool for pool in (self.ipv4, self.ipv6) if pool)


def parse(text: bytes) -> NetConf:
    """Read a network's configuration.

    Raises:
        CniError: It is no JSON, a field has the wrong type, or makes no sense.
    """
    fields = Fields.of(wire.loads(text, "the network configuration"))
    ipv4 = fields.flag("EnableIPv4", default=True)
    ipv6 = fields.flag("EnableIPv6")
    if not (ipv4 or ipv6):
        raise InvalidConfigError("EnableIPv4 and EnableIPv6 are both false: no family is left")
    conf = NetConf(
        ipv4=_pool(fields, 4, "") if ipv4 else None,
        ipv6=_pool(fields, 6, "IPv6") if ipv6 else None,
        backend=_backend(fields),
    )
    if isinstance(conf.backend, Bgp) and conf.backend.reflectors:
        for pool in conf.pools:
            if pool.network.version not in conf.backend.reflectors:
                key = _REFLECTORS[pool.network.version]
                raise InvalidConfigError(
                    f"Backend.{key} is missing", "there is one for each family, or for none"
                )
    if isinstance(conf.backend, Vxlan) and conf.backend.mtu:
        least = smallest_mtu(pool.network.version for pool in conf.pools)
        if conf.backend.mtu < least:
            raise InvalidConfigError(
                f"Backend.MTU {conf.backend.mtu} leaves too little inside a tunnel",
                f"it is that of the underlay, at least {least}",
            )
    return conf


def smallest_mtu(families: Iterable[int]) -> int:
    """Return what an underlay must carry, for tunnels of these families to be of use."""
    return max(_SMALLEST_PACKET[family] + OVERHEAD[family] for family in families)


def _pool(fields: Fields, version: int, prefix: str) -> Pool:
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


_EXAMPLES = {4: "10.244.0.0/16", 6: "fd00:10:244::/56"}


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


def _backend(fields: Fields) -> Backend:
    section = fields.child("Backend")
    if section is None:  # as documented; flannel's code says udp
        return Vxlan()
    name = section.text("Type").lower()
    if name not in _BACKENDS:
        known = ", ".join(sorted(_BACKENDS))
        raise InvalidConfigError(
            f"{section.path('Type')} {wire.dumps(section.text('Type'))} is no backend of podnet's",
            f"there are: {known}",
        )
    return _BACKENDS[name](section)


def _vxlan(section: Fields) -> Vxlan:
    return Vxlan(
        vni=_number(section, "VNI", default=1, most=_LARGEST_VNI),
        port=_number(section, "Port", default=0, most=_LARGEST) or _DEFAULT_PORT,
        mtu=_number(section, "MTU", default=0, most=_LARGEST),
        gbp=section.flag("GBP"),
        learning=section.flag("Learning"),
        direct_routing=section.flag("DirectRouting"),
    )


_REFLECTORS = {4: "RouteReflector", 6: "IPv6RouteReflector"}


def _bgp(section: Fields) -> Bgp:
    return Bgp(
        asn=_number(section, "AS", default=0, most=_LARGEST_AS) or _DEFAULT_AS,
        port=_number(section, "Port", default=0, most=_LARGEST) or _BGP_PORT,
        reflectors={
            family: _address(section, key, family)
            for family, key in _REFLECTORS.items()
            if section.text(key)
        },
    )


def _address(section: Fields, key: str, family: int) -> IPv4Address | IPv6Address:
    text = section.text(key)
    try:
        address = ip_address(text)
    except ValueError:
        address = None
    if address is None or address.version != family:
        raise InvalidConfigError(
            f"{section.path(key)} must be an IPv{family} address, not {wire.dumps(text)}"
        )
    return address


_BACKENDS: Mapping[str, Callable[[Fields], Backend]] = {
    "vxlan": _vxlan,
    "host-gw": lambda _: HostGw(),
    "bgp": _bgp,
    "alloc": lambda _: Alloc(),
}


def _number(section: Fields, key: str, *, default: int, most: int) -> int:
    value = section.number(key)
    if value is None:
        return default
    if not 0 <= value <= most:
        raise InvalidConfigError(f"{section.path(key)} must be between 0 and {most}, not {value}")
    return value
