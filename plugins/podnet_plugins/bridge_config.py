"""The bridge plugin's configuration, read and checked once."""

from collections.abc import Iterator
from dataclasses import dataclass

from podnet.cni.errors import InvalidConfigError
from podnet.cni.formats import IFNAME
from podnet.kernel import vlans
from podnet.kernel.vlans import Vlan
from podnet_plugins import macs
from podnet_plugins.ip_masq import BACKENDS, check_backend
from podnet_plugins.schema import capability, key, read
from podnet_plugins.skel import Call

_LARGEST_MTU = 65535
_LONGEST_NAME = 15
_DEFAULT_NAME = "cni0"
_DEFAULT_VLAN = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkConfig:
    """VLANs whose frames are tagged: one, a run of them, or both."""

    min_id: int | None = key(
        None, name="minID", least=1, most=vlans.LARGEST, doc="The first VLAN of a run."
    )
    max_id: int | None = key(None, name="maxID", least=1, most=vlans.LARGEST, doc="Its last.")
    id: int | None = key(None, least=1, most=vlans.LARGEST, doc="A VLAN.")

    def check(self) -> None:
        """Check that a run has both ends, in order.

        Raises:
            InvalidConfigError: It has not.
        """
        if (self.min_id is None) != (self.max_id is None):
            absent = "minID" if self.min_id is None else "maxID"
            raise InvalidConfigError(
                f"minID and maxID should be configured simultaneously, {absent} is missing"
            )
        if (self.min_id or 0) > (self.max_id or 0):
            raise InvalidConfigError("minID is greater than maxID in trunk parameter")

    def vids(self) -> Iterator[int]:
        """Yield the VLANs."""
        if self.min_id is not None and self.max_id is not None:
            yield from range(self.min_id, self.max_id + 1)
        if self.id is not None:
            yield self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeConfig:
    """The keys of the bridge plugin, with the reference's names and defaults."""

    bridge: str = key(
        _DEFAULT_NAME, format=IFNAME, doc="The bridge's name; it is made where there is none."
    )
    is_gateway: bool = key(False, doc="The bridge gets the subnet's gateway address.")
    is_default_gateway: bool = key(False, doc="And containers a default route to it.")
    force_address: bool = key(False, doc="Replace another address that the bridge has.")
    ip_masq: bool = key(False, doc="Masquerade what leaves the container's subnet.")
    ip_masq_backend: str = key(
        "",
        choices=("", *BACKENDS),
        doc="What masquerades; by default nftables, or iptables without nft.",
    )
    mtu: int = key(
        0, least=0, most=_LARGEST_MTU, doc="For bridge and pairs; 0 is the kernel's choice."
    )
    hairpin_mode: bool = key(
        False, excludes="promiscMode", doc="A port may send back where it came from."
    )
    promisc_mode: bool = key(False, doc="The bridge is promiscuous.")
    vlan: int = key(
        0, least=0, most=vlans.LARGEST, doc="The VLAN of the container's untagged frames; 0: none."
    )
    vlan_trunk: tuple[TrunkConfig, ...] = key((), doc="VLANs that the container tags itself.")
    preserve_default_vlan: bool = key(
        False, doc="The port stays in the VLAN that the bridge puts it in."
    )
    macspoofchk: bool = key(False, doc="The container may only send with its own MAC (nftables).")
    enabledad: bool = key(False, doc="Leave IPv6 duplicate address detection on.")
    disable_container_interface: bool = key(False, doc="Leave the container's interface down.")
    port_isolation: bool = key(False, doc="Ports may talk to the bridge only, not to each other.")
    requested_mac: str = capability("mac", "", doc="The hardware address that is asked for.")

    @classmethod
    def of(cls, call: Call) -> "BridgeConfig":
        """Read and check the configuration of *call*.

        Raises:
            CniError: A field of the wrong type or value, or two that exclude each other.
        """
        check_backend(call)
        config = read(cls, call.config)
        config.check(has_ipam=bool(call.ipam_type))
        return config

    def check(self, *, has_ipam: bool) -> None:
        """Check what excludes what.

        Raises:
            InvalidConfigError: Two keys do.
        """
        if self.hairpin_mode and self.promisc_mode:
            raise InvalidConfigError(
                "cannot set hairpin mode and promiscuous mode at the same time"
            )
        if has_ipam and self.disable_container_interface:
            raise InvalidConfigError("cannot use IPAM when DisableContainerInterface flag is set")
        for trunk in self.vlan_trunk:
            trunk.check()
        if self.gateway and len(self.gateway_name.encode()) > _LONGEST_NAME:
            raise InvalidConfigError(
                f"the gateway's interface would be called {self.gateway_name}: too long",
                f"a name has at most {_LONGEST_NAME} bytes; bridge needs a shorter one with vlan",
            )

    @property
    def name(self) -> str:
        """The bridge's name."""
        return self.bridge or _DEFAULT_NAME

    @property
    def gateway(self) -> bool:
        """Whether the bridge is a gateway."""
        return self.is_gateway or self.is_default_gateway

    @property
    def gateway_name(self) -> str:
        """The link with the gateway's addresses: the bridge, or its own port in the VLAN."""
        return f"{self.name}.{self.vlan}" if self.vlan else self.name

    @property
    def memberships(self) -> frozenset[Vlan]:
        """The VLANs of a container's port; none when the bridge is not to filter.

        A trunk without ``vlan`` has untagged frames in VLAN 1, as the reference has it.
        """
        if not self.vlan and not self.vlan_trunk:
            return frozenset()
        native = self.vlan or _DEFAULT_VLAN
        tagged = {vid for trunk in self.vlan_trunk for vid in trunk.vids()} - {native}
        return frozenset({Vlan(native, pvid=True, untagged=True), *map(Vlan, tagged)})


def asked_mac(call: Call, config: BridgeConfig) -> str:
    """Return the MAC that is asked for: CNI_ARGS', ``args.cni``'s, the capability's; the last.

    Raises:
        CniError: It is no hardware address, or CNI_ARGS has what nobody knows.
    """
    return macs.asked_for(
        call, capability=config.requested_mac or call.conventional_args.text("mac")
    )
