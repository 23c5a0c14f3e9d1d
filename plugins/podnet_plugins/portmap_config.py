"""portmap's configuration, read and checked once, and the addresses it is about."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from podnet.cni.errors import DecodeError, InvalidConfigError
from podnet.cni.result import Result, parse_address
from podnet_plugins.schema import capability, key, read
from podnet_plugins.skel import Call

NFTABLES, IPTABLES = "nftables", "iptables"
_BACKENDS = ("", NFTABLES, IPTABLES)
_PROTOCOLS = ("tcp", "udp", "sctp")
_LARGEST_PORT = 65535
_DEFAULT_MARK_BIT = 13

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMapping:
    """A port of the host that is one of the container."""

    host_port: int = key(least=1, most=_LARGEST_PORT, doc="The host's port.")
    container_port: int = key(least=1, most=_LARGEST_PORT, doc="The container's port.")
    protocol: str = key("tcp", doc="tcp, udp or sctp, in any case.")
    host_ip: str = key("", name="hostIP", doc="The host's address; none or 0.0.0.0 for all.")

    @property
    def transport(self) -> str:
        """The protocol as firewalls spell it."""
        return self.protocol.lower()

    @property
    def destination(self) -> Address | None:
        """The host's address that is meant, ``None`` for all of its family."""
        address = parse_address(self.host_ip, "hostIP")
        return None if address is None or address.is_unspecified else address

    def concerns(self, family: int) -> bool:
        """Tell whether it is for addresses of family 4 or 6."""
        address = parse_address(self.host_ip, "hostIP")
        return address is None or address.version == family


@dataclass(frozen=True, slots=True, kw_only=True)
class PortmapConfig:
    """The keys of the portmap plugin, with the reference's names and defaults."""

    backend: str = key(
        "",
        choices=_BACKENDS,
        own_words=True,
        doc="nftables or iptables; by default nftables where there is nft.",
    )
    snat: bool = key(True, doc="Masquerade what comes from the host itself or its own subnet.")
    masq_all: bool = key(False, doc="Masquerade everything that is mapped.")
    mark_masq_bit: int | None = key(
        None, least=0, most=31, doc="The mark for what is masqueraded (iptables), 13 by default."
    )
    external_set_mark_chain: str = key(
        "", doc="Another program's chain that marks what is masqueraded (iptables)."
    )
    conditions_v4: tuple[str, ...] = key((), doc="Further matches, in the backend's language.")
    conditions_v6: tuple[str, ...] = key((), doc="The same for IPv6.")
    port_mappings: tuple[PortMapping, ...] = capability(
        "portMappings", (), doc="Which ports of the host are which of the container."
    )

    @classmethod
    def of(cls, call: Call) -> "PortmapConfig":
        """Read and check the configuration of *call*.

        Raises:
            CniError: A value of the wrong type or out of bounds, or two that exclude each other.
        """
        config = read(cls, call.config)
        if config.backend not in _BACKENDS:
            raise InvalidConfigError(f'unrecognized backend "{config.backend}"')
        if config.external_set_mark_chain and config.mark_masq_bit is not None:
            raise InvalidConfigError("Cannot specify externalSetMarkChain and markMasqBit")
        for mapping in config.port_mappings:
            _check(mapping)
        config.demanded_backend()
        return config

    @property
    def mark(self) -> str:
        """The mark with its mask, as iptables writes it."""
        value = 1 << (_DEFAULT_MARK_BIT if self.mark_masq_bit is None else self.mark_masq_bit)
        return f"{value:#x}/{value:#x}"

    def conditions(self, family: int) -> tuple[str, ...]:
        """Return the conditions for family 4 or 6."""
        return self.conditions_v4 if family == 4 else self.conditions_v6  # noqa: PLR2004

    def mappings(self, family: int) -> list[PortMapping]:
        """Return the mappings that concern addresses of family 4 or 6."""
        return [mapping for mapping in self.port_mappings if mapping.concerns(family)]

    def demanded_backend(self) -> str:
        """Return the backend that is named, or that other keys are only meant for, or "".

        Raises:
            InvalidConfigError: They contradict each other.
        """
        demands = {NFTABLES: "", IPTABLES: ""}
        if self.external_set_mark_chain:
            demands[IPTABLES] = "externalSetMarkChain"
        for family in (4, 6):
            if conditions := self.conditions(family):
                backend = IPTABLES if conditions[0][:1] in {"-", "!"} else NFTABLES
                demands[backend] = demands[backend] or f"conditionsV{family}"
        asked = [backend for backend, reason in demands.items() if reason]
        chosen = self.backend or (asked[0] if asked else "")
        for backend in asked:
            if backend != chosen:
                message = f"{demands[backend]} is for the {backend} backend"
                other = "backend" if self.backend else demands[chosen]
                raise InvalidConfigError(f"{message}, but {other} asks for {chosen}")
        return chosen


def _check(mapping: PortMapping) -> None:
    if mapping.transport not in _PROTOCOLS:
        wanted = ", ".join(_PROTOCOLS)
        raise InvalidConfigError(f'portMappings: protocol "{mapping.protocol}" is none of {wanted}')
    try:
        parse_address(mapping.host_ip, "portMappings: hostIP")
    except DecodeError as exc:
        raise InvalidConfigError(exc.msg) from None


def container_addresses(call: Call, result: Result) -> list[Interface]:
    """Return the container's first address of each family: on CNI_IFNAME, or on none that is known."""
    first: dict[int, Interface] = {}
    for ip in result.ips:
        at = ip.interface
        if at is not None and 0 <= at < len(result.interfaces):
            interface = result.interfaces[at]
            if interface.name != call.ifname or not interface.sandbox:
                continue
        first.setdefault(ip.address.version, ip.address)
    return [first[family] for family in sorted(first)]
