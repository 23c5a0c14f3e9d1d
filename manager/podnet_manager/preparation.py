"""A Node's side of the network before it knows its lease: its uplink, its tunnels, what others must know.

Knows the kernel and the configuration; knows no store, no lease and no peer.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from podnet.errors import UsageError
from podnet.kernel.netlink import Netlink
from podnet_manager import bird, desired, uplink, vtep
from podnet_manager.backend import Bgp, HostGw, Vxlan
from podnet_manager.lease import Attributes
from podnet_manager.netconf import NetConf
from podnet_manager.uplink import Uplink
from podnet_manager.vtep import Vtep


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a Node was told about itself.

    Attributes:
        iface: Its uplink, by name or address; "" for the default route's.
        towards: Or the link by which this address is reached.
        public_ip: Its IPv4 address for others, where that is not the uplink's.
        public_ipv6: Its IPv6 address, likewise.
        ip_masq: Masquerade what leaves the network.
        forward: Let the network's traffic through the forward hook.
        state: A directory that outlives a reboot.
        run: A directory for what does not: BIRD's files.
        resync: Seconds between looks at the kernel where nothing has happened.
    """

    iface: str = ""
    towards: IPv4Address | IPv6Address | None = None
    public_ip: IPv4Address | None = None
    public_ipv6: IPv6Address | None = None
    ip_masq: bool = False
    forward: bool = True
    state: Path = Path("/var/lib/podnet-manager")
    run: Path = Path("/run/podnet-manager")
    resync: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The Node's side of the network, before it knows its lease.

    Attributes:
        uplink: The link to the others.
        vteps: Family to vxlan link; empty for other backends.
        attributes: What the others must know of it.
        mtu: For pods.
    """

    uplink: Uplink
    vteps: Mapping[int, Vtep]
    attributes: Attributes
    mtu: int

    @property
    def links(self) -> frozenset[int]:
        """The links on which a change matters."""
        return frozenset({self.uplink.index}) | self.devices

    @property
    def devices(self) -> frozenset[int]:
        """The links that are ours, and everything on them."""
        return frozenset(one.index for one in self.vteps.values())


def prepare(netlink: Netlink, conf: NetConf, choices: Choices) -> Prepared:
    """Find the uplink, and make the links that the backend needs.

    Raises:
        PodnetError: There is no uplink, it has no address of a family that the network has, or
            a link cannot be made.
    """
    up = uplink.find(netlink, choices.iface, choices.towards)
    families = [pool.network.version for pool in conf.pools]
    _require_addresses(families, choices, up)
    vteps: Mapping[int, Vtep] = {}
    mtu = up.mtu
    if isinstance(conf.backend, Bgp):
        bird.require()
    if isinstance(conf.backend, HostGw | Bgp):
        _require_own_address(choices, up)
    if isinstance(conf.backend, Vxlan):
        vteps = vtep.ensure(netlink, conf.backend, up, families, choices.state)
        mtu = min(vtep.mtu(conf.backend, up, family) for family in families)
    return Prepared(
        uplink=up,
        vteps=vteps,
        attributes=_attributes(conf, choices, up, vteps),
        mtu=mtu,
    )


def _require_addresses(families: Collection[int], choices: Choices, up: Uplink) -> None:
    """Refuse a Node that the others could not reach, or not tell from another."""
    public = {4: choices.public_ip or up.ipv4, 6: choices.public_ipv6 or up.ipv6}
    for family in families:
        if public[family] is None:
            raise UsageError(
                f"interface {up.name} has no IPv{family} address, and the network is one of IPv{family}",
                "give it one, name another (--iface), or leave that family out of the network "
                "configuration",
            )


def _require_own_address(choices: Choices, up: Uplink) -> None:
    pairs = (choices.public_ip, up.ipv4), (choices.public_ipv6, up.ipv6)
    for public, there in pairs:
        if public and public != there:
            raise UsageError(
                f"public address {public} is not that of interface {up.name}, {there}",
                "a backend that routes to it needs that; vxlan does not",
            )


def identity(netlink: Netlink, choices: Choices) -> Attributes:
    """Return what a Node is known by, and no more: its public addresses.

    Raises:
        PodnetError: There is no uplink.
    """
    up = uplink.find(netlink, choices.iface, choices.towards)
    return Attributes(
        public_ip=choices.public_ip or up.ipv4, public_ipv6=choices.public_ipv6 or up.ipv6
    )


def _attributes(
    conf: NetConf, choices: Choices, up: Uplink, vteps: Mapping[int, Vtep]
) -> Attributes:
    data = {
        family: {"VNI": conf.backend.vni, "VtepMAC": one.mac}
        for family, one in vteps.items()
        if isinstance(conf.backend, Vxlan)
    }
    return Attributes(
        public_ip=choices.public_ip or up.ipv4,
        public_ipv6=(choices.public_ipv6 or up.ipv6) if conf.ipv6 else None,
        backend_type=desired.backend_type(conf.backend),
        data=data.get(4),
        v6_data=data.get(6),
    )
