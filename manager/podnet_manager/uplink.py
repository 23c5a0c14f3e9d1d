"""The link that carries a Node's traffic to the others: which one, and its addresses.

Named by the user, by name or address, or as the way to somewhere; else the link of the default route.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address

from podnet.errors import UsageError
from podnet.kernel import addresses, links, routes
from podnet.kernel.addresses import Interface
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink, NetlinkError

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """The link and what it is known by.

    Attributes:
        index: Its index.
        name: Its name.
        mtu: In bytes.
        ipv4: The Node's IPv4 address in the underlay.
        ipv6: Its IPv6 address there.
        networks: The networks that are on the link itself.
    """

    index: int
    name: str
    mtu: int
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    networks: tuple[Interface, ...] = ()

    def is_on_link(self, address: IPv4Address | IPv6Address) -> bool:
        """Tell whether *address* is reached without a gateway."""
        return any(
            address in one.network for one in self.networks if one.version == address.version
        )


def find(netlink: Netlink, wanted: str = "", towards: Address | None = None) -> Uplink:
    """Return the uplink.

    Args:
        netlink: A socket in the Node's namespace.
        wanted: Its name or one of its addresses; "" for the default route's.
        towards: Where it must lead, if it has no name.

    Raises:
        UsageError: There is no such link, or it has no address.
    """
    link = _named(netlink, wanted) if wanted else _leading(netlink, towards)
    found = [
        a for a in addresses.of(netlink, link.index) if not a.flags & addresses.IFA_F_TENTATIVE
    ]
    ordered = sorted(found, key=lambda a: (a.scope, not a.flags & addresses.IFA_F_PERMANENT))
    ipv4 = next((a.interface for a in ordered if isinstance(a.interface, IPv4Interface)), None)
    ipv6 = next(
        (
            a.interface
            for a in ordered
            if isinstance(a.interface, IPv6Interface) and not a.interface.ip.is_link_local
        ),
        None,
    )
    if ipv4 is None and ipv6 is None:
        raise UsageError(f"interface {link.name} has no address that other Nodes could use")
    return Uplink(
        index=link.index,
        name=link.name,
        mtu=link.mtu,
        ipv4=ipv4.ip if ipv4 else None,
        ipv6=ipv6.ip if ipv6 else None,
        networks=tuple(a.interface for a in found),
    )


def _named(netlink: Netlink, wanted: str) -> Link:
    try:
        address = ip_address(wanted)
    except ValueError:
        link = links.find(netlink, wanted)
        if link is None:
            raise UsageError(f"there is no interface {wanted}", "ip -br link lists them") from None
        return link
    for link in links.every(netlink):
        if any(a.interface.ip == address for a in addresses.of(netlink, link.index)):
            return link
    raise UsageError(f"no interface has the address {wanted}", "ip -br addr lists them")


def _leading(netlink: Netlink, towards: Address | None) -> Link:
    if towards is not None:
        try:
            index = routes.interface_towards(netlink, towards)
        except NetlinkError as exc:
            raise UsageError(f"no interface leads there: {exc.strerror}") from exc
    else:
        index = routes.default_link(netlink)
    link = links.at(netlink, index) if index else None
    if link is None:
        raise UsageError(
            "there is no default route to tell which interface reaches the other Nodes",
            "name it: --iface, or --iface-can-reach with the address of another Node",
        )
    return link
