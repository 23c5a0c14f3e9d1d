"""The vxlan links of a Node: one for each family that its underlay has.

One that is right is kept, with its hardware address and all that is set on it, so that
traffic does not stop when the manager starts again; one that is wrong is made anew, under
the same hardware address, since the others know it by that.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path

from podnet.errors import PodnetError
from podnet.kernel import addresses, links, sysctl, vxlan
from podnet.kernel.addresses import Interface
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet_manager import whole
from podnet_manager.backend import OVERHEAD, Vxlan, smallest_mtu
from podnet_manager.lease import Subnets
from podnet_manager.netconf import NetConf
from podnet_manager.uplink import Uplink

#: What a link of ours is known by, whatever its name.
ALIAS = "podnet-manager"
_NAMES = {4: "flannel", 6: "flannel-v6"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vtep:
    """A vxlan link: its index, and the hardware address that others know it by."""

    index: int
    mac: str


def mtu(config: Vxlan, uplink: Uplink, family: int) -> int:
    """Return the largest packet that travels in *family*'s tunnel."""
    return (config.mtu or uplink.mtu) - OVERHEAD[family]


def ensure(
    netlink: Netlink, config: Vxlan, uplink: Uplink, families: Iterable[int], macs: Path
) -> dict[int, Vtep]:
    """Return the vxlan link of each family, made where it is missing or wrong.

    Args:
        netlink: A socket in the Node's namespace.
        config: What they are made of.
        uplink: What carries them.
        families: 4, 6.
        macs: A directory where hardware addresses outlive a reboot.

    Raises:
        PodnetError: A name is another link's, or the uplink has no address of a family, or
            its MTU leaves too little inside a tunnel.
    """
    return {family: _ensure(netlink, config, uplink, family, macs) for family in families}


def _ensure(netlink: Netlink, config: Vxlan, uplink: Uplink, family: int, macs: Path) -> Vtep:
    local = uplink.ipv4 if family == 4 else uplink.ipv6  # noqa: PLR2004
    if local is None:
        raise PodnetError(
            f"interface {uplink.name} has no IPv{family} address for vxlan",
            "give it one, or leave that family out of the network configuration",
        )
    if not config.mtu and uplink.mtu < (least := smallest_mtu([family])):
        raise PodnetError(
            f"interface {uplink.name} has an MTU of {uplink.mtu}: too little for vxlan over IPv{family}",
            f"at least {least}: ip link set {uplink.name} mtu {least}",
        )
    name = f"{_NAMES[family]}.{config.vni}"
    wanted = vxlan.Vxlan(
        vni=config.vni,
        link=uplink.index,
        local=local,
        port=config.port,
        learning=config.learning,
        gbp=config.gbp,
    )
    size = mtu(config, uplink, family)
    mac = _remembered_mac(macs / f"{name}.mac")
    link = links.find(netlink, name)
    if link is not None and link.kind != "vxlan":
        raise PodnetError(
            f'interface "{name}" is there already, and is no vxlan', f"ip link delete {name}"
        )
    if link is not None and vxlan.of(link) != wanted:
        links.delete(netlink, name)
        link = None
    if link is None:
        vxlan.add(netlink, name, wanted, mtu=size, mac=mac)
        sysctl.write("ipv6", "conf", name, "accept_ra", value="0")
        link = _found(netlink, name)
    _settle(netlink, link, size=size, mac=mac)
    return Vtep(index=link.index, mac=mac)


def _found(netlink: Netlink, name: str) -> Link:
    link = links.find(netlink, name)
    if link is None:
        raise PodnetError(f"interface {name} has vanished while it was made")
    return link


def _settle(netlink: Netlink, link: Link, *, size: int, mac: str) -> None:
    """Mend what may be changed on a link that stays."""
    if link.mtu != size:
        links.set_mtu(netlink, link.index, size)
    if link.mac != mac:
        links.set_mac(netlink, link.index, mac)
    if link.alias != ALIAS:
        links.set_alias(netlink, link.index, ALIAS)
    if not link.up:
        links.set_up(netlink, link.index)


def address(netlink: Netlink, vteps: Mapping[int, Vtep], subnets: Subnets, conf: NetConf) -> None:
    """Give each link the first address of its family's subnet, and take older ones away.

    Addresses outside the network are somebody else's (flannel#1401).
    """
    networks = {pool.network.version: pool.network for pool in conf.pools}
    for subnet in subnets.each:
        vtep = vteps.get(subnet.version)
        if vtep is None:
            continue
        wanted: Interface = ip_interface(f"{subnet.network_address}/{subnet.max_prefixlen}")
        present = {a.interface for a in addresses.of(netlink, vtep.index, subnet.version)}
        for other in present - {wanted}:
            if other.ip in networks[subnet.version]:
                addresses.delete(netlink, vtep.index, other)
        if wanted not in present:
            flags = addresses.IFA_F_NODAD if wanted.version == 6 else 0  # noqa: PLR2004
            with suppress(FileExistsError):
                addresses.add(netlink, vtep.index, wanted, flags=flags)


def remove_others(netlink: Netlink, keep: Iterable[int] = ()) -> list[str]:
    """Remove links of ours that an earlier configuration has left; return their names."""
    kept = set(keep)
    stale = [
        link for link in links.every(netlink) if link.alias == ALIAS and link.index not in kept
    ]
    for link in stale:
        links.delete(netlink, link.name)
    return [link.name for link in stale]


def _remembered_mac(path: Path) -> str:
    """Return the hardware address of a link, drawn once."""
    with suppress(OSError, ValueError):
        mac = path.read_text().strip()
        links.mac_bytes(mac)
        return mac
    first, *rest = os.urandom(6)
    mac = bytes([first & 0xFC | 0x02, *rest]).hex(":")  # locally administered, of one host
    whole.write(path, mac)
    return mac
