"""The bridge plugin's configuration, read and checked once."""

from dataclasses import dataclass

from podnet.cni.errors import CniError, Code, InvalidConfigError
from podnet.cni.result import Dns
from podnet.kernel import links
from podnet_plugins.skel import Call, known_args

_LARGEST_MTU = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeConfig:
    """The keys of the bridge plugin, with the reference's names and defaults.

    Attributes:
        bridge: The bridge's name.
        is_gateway: The bridge gets the subnet's gateway address.
        is_default_gateway: And containers a default route to it.
        force_address: Replace another address that the bridge has.
        ip_masq: Masquerade what leaves the subnet.
        mtu: For bridge and pairs, 0 for the kernel's choice.
        hairpin: A port may send back where it came from.
        promiscuous: The bridge is promiscuous.
        isolated: Ports may talk to the bridge only, not to each other.
        duplicate_detection: Leave IPv6 duplicate address detection on.
        interface_down: Leave the container's interface down (``disableContainerInterface``).
        mac: The container interface's hardware address, "" for a random one.
        has_ipam: Addresses are managed; without, the bridge is layer 2 only.
        dns: Replaces what IPAM says.
    """

    bridge: str
    is_gateway: bool
    is_default_gateway: bool
    force_address: bool
    ip_masq: bool
    mtu: int
    hairpin: bool
    promiscuous: bool
    isolated: bool
    duplicate_detection: bool
    interface_down: bool
    mac: str
    has_ipam: bool
    dns: Dns

    @classmethod
    def of(cls, call: Call) -> "BridgeConfig":
        """Read and check the configuration of *call*.

        Raises:
            CniError: A field of the wrong type or value, or two that exclude each other.
        """
        fields = call.config
        default_gateway = fields.flag("isDefaultGateway")
        config = cls(
            bridge=fields.text("bridge") or "cni0",
            is_gateway=fields.flag("isGateway") or default_gateway,
            is_default_gateway=default_gateway,
            force_address=fields.flag("forceAddress"),
            ip_masq=fields.flag("ipMasq"),
            mtu=fields.number("mtu") or 0,
            hairpin=fields.flag("hairpinMode"),
            promiscuous=fields.flag("promiscMode"),
            isolated=fields.flag("portIsolation"),
            duplicate_detection=fields.flag("enabledad"),
            interface_down=fields.flag("disableContainerInterface"),
            mac=_mac(call),
            has_ipam=bool(call.ipam_type),
            dns=Dns.from_wire(fields.child("dns")),
        )
        config._check()
        _refuse_unsupported(call)
        return config

    def _check(self) -> None:
        if self.hairpin and self.promiscuous:
            raise InvalidConfigError(
                "cannot set hairpin mode and promiscuous mode at the same time"
            )
        if self.has_ipam and self.interface_down:
            raise InvalidConfigError("cannot use IPAM when DisableContainerInterface flag is set")
        if not 0 <= self.mtu <= _LARGEST_MTU:
            raise InvalidConfigError(f"mtu must be between 0 and {_LARGEST_MTU}, not {self.mtu}")


def _refuse_unsupported(call: Call) -> None:
    """Refuse what this plugin cannot do, instead of leaving it out silently."""
    fields = call.config
    for key in ("vlan", "vlanTrunk", "macspoofchk"):
        if fields.get(key):
            raise CniError(
                f"podnet's bridge does not support {key} yet",
                "the reference plugin does: put its directory first with --plugin-dir",
                code=Code.UNSUPPORTED_FIELD,
            )
    backend = fields.text("ipMasqBackend", "nftables")
    if backend != "nftables":
        raise CniError(
            f'podnet\'s bridge masquerades with nftables, not with ipMasqBackend "{backend}"',
            code=Code.UNSUPPORTED_FIELD,
        )


def _mac(call: Call) -> str:
    """CNI_ARGS, then ``args.cni``, then the capability: the last that is given counts."""
    args = call.config.child("args")
    conventional = args.child("cni") if args else None
    mac = (
        call.runtime_config.text("mac")
        or (conventional.text("mac") if conventional else "")
        or known_args(call, "MAC").get("MAC", "")
    )
    if mac:
        try:
            links.mac_bytes(mac)
        except ValueError as exc:
            raise InvalidConfigError(str(exc)) from None
    return mac
