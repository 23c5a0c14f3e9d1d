"""Results: what ADD returned, in every shape the spec has had (SPEC section 5).

One value holds all versions: the fields of 1.1.0, and of the older shapes what they
said beyond it.  Knows shapes; changing from one version to another is convert's.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
)

from podnet.cni import versions
from podnet.cni.errors import DecodeError, IncompatibleVersionError
from podnet.cni.wire import Fields

_MAPPED_BITS = 96  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2


def parse_cidr(text: str, where: str) -> IPv4Interface | IPv6Interface:
    """Read ``address/prefix`` as Go's ParseCIDR does; host bits are kept.

    Raises:
        DecodeError: A netmask, a zone, a missing prefix, leading zeros, or no address at all.
    """
    try:
        return _parsed_cidr(text)
    except ValueError:
        raise DecodeError(f"{where} is not an address with a prefix: {text!r}") from None


@lru_cache(maxsize=1024)  # a chain reads the same addresses at every step
def _parsed_cidr(text: str) -> IPv4Interface | IPv6Interface:
    address, _, prefix = text.partition("/")
    if not (prefix.isascii() and prefix.isdigit()) or "%" in address:
        raise ValueError(text)
    value = ip_interface(f"{address}/{int(prefix)}")
    mapped = value.ip.ipv4_mapped if isinstance(value, IPv6Interface) else None
    if mapped is None:
        return value
    return IPv4Interface((mapped, value.network.prefixlen - _MAPPED_BITS))


def parse_address(text: str, where: str) -> IPv4Address | IPv6Address | None:
    """Read an address; "" is none, and a v4-mapped IPv6 address is IPv4, as in Go.

    Raises:
        DecodeError: It is not an address.
    """
    if not text:
        return None
    try:
        if "%" in text:
            raise ValueError  # noqa: TRY301
        address = ip_address(text)
    except ValueError:
        raise DecodeError(f"{where} is not an IP address: {text!r}") from None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface that a plugin made or found (SPEC section 5, "interfaces").

    Attributes:
        name: Its name, in its own namespace.
        mac: Its hardware address, or "".
        mtu: Its MTU in bytes, 0 when not said (1.1.0).
        sandbox: The namespace it is in, or "" for the host's.
        socket_path: The socket of a vhost-user interface (1.1.0).
        pci_id: The PCI address of a device (1.1.0).
    """

    name: str
    mac: str = ""
    mtu: int = 0
    sandbox: str = ""
    socket_path: str = ""
    pci_id: str = ""


@dataclass(frozen=True, slots=True)
class IPConfig:
    """An address that a plugin assigned (SPEC section 5, "ips").

    Attributes:
        address: The address and its prefix length, host bits kept.
        gateway: The subnet's gateway, if any.
        interface: Index into the result's interfaces; ``None`` when not said.
        version: "4" or "6", as versions 0.3.0 to 0.4.0 spell it; "" elsewhere.
    """

    address: IPv4Interface | IPv6Interface
    gateway: IPv4Address | IPv6Address | None = None
    interface: int | None = None
    version: str = ""

    @property
    def family(self) -> str:
        """The address family as the older versions spell it, 4 or 6."""
        return str(self.address.version)


@dataclass(frozen=True, slots=True)
class Route:
    """A route that a plugin made (SPEC section 5, "routes").

    Attributes:
        dst: The destination.
        gw: The next hop, if any.
        mtu: Path MTU in bytes, 0 when not said.
        advmss: Largest TCP segment to advertise, 0 when not said.
        priority: The metric, lower is better; 0 when not said.
        table: The routing table; ``None`` for the main one, 0 is kept.
        scope: The route's scope; ``None`` when not said, 0 is kept.
    """

    dst: IPv4Interface | IPv6Interface
    gw: IPv4Address | IPv6Address | None = None
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None

    @classmethod
    def from_wire(cls, fields: Fields) -> "Route":
        """Read a route object."""
        return cls(
            dst=parse_cidr(fields.text("dst"), fields.path("dst")),
            gw=parse_address(fields.text("gw"), fields.path("gw")),
            mtu=fields.number("mtu") or 0,
            advmss=fields.number("advmss") or 0,
            priority=fields.number("priority") or 0,
            table=fields.number("table"),
            scope=fields.number("scope"),
        )

    @property
    def network(self) -> IPv4Network | IPv6Network:
        """The destination without host bits."""
        return self.dst.network


@dataclass(frozen=True, slots=True)
class Dns:
    """Name resolution for the pod (SPEC section 5, "dns")."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.nameservers or self.domain or self.search or self.options)

    @classmethod
    def from_wire(cls, fields: Fields | None) -> "Dns":
        """Read a ``dns`` object; none at all is an empty one."""
        if fields is None:
            return cls()
        return cls(
            nameservers=fields.texts("nameservers"),
            domain=fields.text("domain"),
            search=fields.texts("search"),
            options=fields.texts("options"),
        )

    def to_wire(self) -> dict[str, object]:
        """Return the object, empty fields left out."""
        return _filled(
            nameservers=list(self.nameservers),
            domain=self.domain,
            search=list(self.search),
            options=list(self.options),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a chain has built so far (SPEC section 5, "ADD Success").

    Attributes:
        cni_version: The version whose shape it is written in.
        interfaces: Absent from versions 0.1.0 and 0.2.0.
        ips: At most one per family in versions 0.1.0 and 0.2.0.
        routes: All routes; in 0.1.0 and 0.2.0 they are written under the address of their family.
        dns: Name resolution.
    """

    cni_version: str = versions.LATEST
    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IPConfig, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns = Dns()

    @classmethod
    def from_wire(cls, value: object, *, default_version: str = versions.UNVERSIONED) -> "Result":
        """Read a result in the shape of its own version.

        Unknown fields are dropped; field names match in any case, as in Go.

        Args:
            value: The parsed JSON; ``null`` is an empty result.
            default_version: What a missing, empty or non-string ``cniVersion`` means: the
                configuration's version (libcni).

        Raises:
            IncompatibleVersionError: A version that does not exist.
            DecodeError: A field of the wrong type.
        """
        fields = Fields.of({} if value is None else value, "the result")
        said = fields.get("cniVersion")
        version = (said if isinstance(said, str) and said else default_version) or "0.1.0"
        if version not in versions.RELEASED:
            raise IncompatibleVersionError(f"unsupported CNI result version {version!r}")
        fields = Fields(fields.values)
        if has_one_ip_per_family(version):
            return _from_020(fields, version)
        return cls(
            cni_version=version,
            interfaces=tuple(_interface(item, version) for item in fields.children("interfaces")),
            ips=tuple(_ip(item, version) for item in fields.children("ips")),
            routes=tuple(Route.from_wire(item) for item in fields.children("routes")),
            dns=Dns.from_wire(fields.child("dns")),
        )

    def to_wire(self) -> dict[str, object]:
        """Return the result in the shape of its version.

        Versions before 1.0.0 always carry ``dns``, later ones only when it says something.
        """
        before_100 = not versions.at_least(self.cni_version, "1.0.0")
        wired: dict[str, object] = {"cniVersion": self.cni_version}
        if has_one_ip_per_family(self.cni_version):
            wired |= _to_020(self)
        else:
            wired |= _filled(
                interfaces=[_interface_to_wire(i, minimal=before_100) for i in self.interfaces],
                ips=[_ip_to_wire(ip, spell_family=before_100) for ip in self.ips],
                routes=[_route_to_wire(route) for route in self.routes],
            )
        if before_100 or self.dns:
            wired["dns"] = self.dns.to_wire()
        return wired


def has_one_ip_per_family(version: str) -> bool:
    """Tell whether *version* has the oldest shape, ``ip4`` and ``ip6``."""
    return not versions.at_least(version, "0.3.0")


def _filled(**fields: object) -> dict[str, object]:
    """Leave out what is empty, as Go's ``omitempty`` does."""
    return {key: value for key, value in fields.items() if value}


def _interface(fields: Fields, version: str) -> Interface:
    interface = Interface(
        name=fields.text("name"), mac=fields.text("mac"), sandbox=fields.text("sandbox")
    )
    if not versions.at_least(version, "1.0.0"):
        return interface
    return replace(
        interface,
        mtu=fields.number("mtu") or 0,
        socket_path=fields.text("socketPath"),
        pci_id=fields.text("pciID"),
    )


def _interface_to_wire(interface: Interface, *, minimal: bool) -> dict[str, object]:
    wired = {"name": interface.name} | _filled(mac=interface.mac, sandbox=interface.sandbox)
    if minimal:
        return wired
    return wired | _filled(
        mtu=interface.mtu, socketPath=interface.socket_path, pciID=interface.pci_id
    )


def _ip(fields: Fields, version: str) -> IPConfig:
    return IPConfig(
        address=parse_cidr(fields.text("address"), fields.path("address")),
        gateway=parse_address(fields.text("gateway"), fields.path("gateway")),
        interface=fields.number("interface"),
        version="" if versions.at_least(version, "1.0.0") else fields.text("version"),
    )


def _ip_to_wire(ip: IPConfig, *, spell_family: bool) -> dict[str, object]:
    wired: dict[str, object] = {"version": ip.version} if spell_family else {}
    if ip.interface is not None:
        wired["interface"] = ip.interface
    wired["address"] = str(ip.address)
    if ip.gateway is not None:
        wired["gateway"] = str(ip.gateway)
    return wired


def _route_to_wire(route: Route) -> dict[str, object]:
    wired: dict[str, object] = {"dst": str(route.dst)}
    if route.gw is not None:
        wired["gw"] = str(route.gw)
    wired |= _filled(mtu=route.mtu, advmss=route.advmss, priority=route.priority)
    if route.table is not None:
        wired["table"] = route.table
    if route.scope is not None:
        wired["scope"] = route.scope
    return wired


_FAMILIES = (("ip4", 4), ("ip6", 6))


def _from_020(fields: Fields, version: str) -> Result:
    """Read versions 0.1.0 and 0.2.0: ``ip4`` and ``ip6``, each with its routes."""
    ips: list[IPConfig] = []
    routes: list[Route] = []
    for key, family in _FAMILIES:
        entry = fields.child(key)
        if entry is None:
            continue
        address = parse_cidr(entry.text("ip"), entry.path("ip"))
        if address.version != family:
            raise DecodeError(f"{entry.path('ip')} is not an IPv{family} address: {address}")
        gateway = parse_address(entry.text("gateway"), entry.path("gateway"))
        ips.append(IPConfig(address, gateway))
        routes += [_plain_route(Route.from_wire(item)) for item in entry.children("routes")]
    return Result(
        cni_version=version,
        ips=tuple(ips),
        routes=tuple(sorted(routes, key=lambda route: route.dst.version)),
        dns=Dns.from_wire(fields.child("dns")),
    )


def _plain_route(route: Route) -> Route:
    return Route(route.dst, route.gw)


def _to_020(result: Result) -> dict[str, object]:
    wired: dict[str, object] = {}
    for key, family in _FAMILIES:
        ip = next((ip for ip in result.ips if ip.address.version == family), None)
        if ip is None:
            continue
        entry: dict[str, object] = {"ip": str(ip.address)}
        if ip.gateway is not None:
            entry["gateway"] = str(ip.gateway)
        entry |= _filled(routes=_routes_of(family, result.routes))
        wired[key] = entry
    return wired


def _routes_of(family: int, routes: Iterable[Route]) -> list[dict[str, object]]:
    return [_route_to_wire(_plain_route(r)) for r in routes if r.dst.version == family]
