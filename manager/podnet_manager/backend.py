"""Backends: how the Nodes of a network reach each other's pods, as its configuration says.

Keys and defaults are flannel's documented ones.  What no link takes is refused here.  Pure.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv6Address,
    ip_address,
)

from podnet.cni import wire
from podnet.cni.errors import InvalidConfigError
from podnet.cni.wire import Fields

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


def read(fields: Fields) -> Backend:
    """Read the backend of a network.

    Raises:
        CniError: There is none of that type, or a field has the wrong type or makes no sense.
    """
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


def require_families(backend: Backend, families: Collection[int]) -> None:
    """Check that a backend will do for these families.

    Raises:
        CniError: It will not.
    """
    if isinstance(backend, Bgp) and backend.reflectors:
        for family in families:
            if family not in backend.reflectors:
                raise InvalidConfigError(
                    f"Backend.{_REFLECTORS[family]} is missing",
                    "there is one for each family, or for none",
                )
    if isinstance(backend, Vxlan) and backend.mtu:
        least = smallest_mtu(families)
        if backend.mtu < least:
            raise InvalidConfigError(
                f"Backend.MTU {backend.mtu} leaves too little inside a tunnel",
                f"it is that of the underlay, at least {least}",
            )


def smallest_mtu(families: Iterable[int]) -> int:
    """Return what an underlay must carry, for tunnels of these families to be of use."""
    return max(_SMALLEST_PACKET[family] + OVERHEAD[family] for family in families)


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


def _number(section: Fields, key: str, *, default: int, most: int) -> int:
    value = section.number(key)
    if value is None:
        return default
    if not 0 <= value <= most:
        raise InvalidConfigError(f"{section.path(key)} must be between 0 and {most}, not {value}")
    return value


_BACKENDS: Mapping[str, Callable[[Fields], Backend]] = {
    "vxlan": _vxlan,
    "host-gw": lambda _: HostGw(),
    "bgp": _bgp,
    "alloc": lambda _: Alloc(),
}
