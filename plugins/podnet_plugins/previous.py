"""What prevResult says of this attachment, among what other plugins of the chain added.

And whether the kernel still says the same of it.
"""

from dataclasses import dataclass

from podnet.cni import versions
from podnet.cni.errors import CniError
from podnet.cni.result import Interface, IPConfig, Result
from podnet.kernel import links
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet_plugins.skel import Call

# What the kernel gives both ends of a pair that is made without one.
_MTU_OF_A_PAIR = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """The attachment's part of a result.

    Attributes:
        inside: The container's interface.
        hosts: Everything on the host; the other end is among it.
        ips: The interface's addresses.
    """

    inside: Interface
    hosts: tuple[Interface, ...]
    ips: tuple[IPConfig, ...]


def own(call: Call, result: Result) -> Own:
    """Find the attachment's interface in *result*.

    Raises:
        CniError: It is not in it.
    """
    for index, interface in enumerate(result.interfaces):
        if interface.name == call.ifname and interface.sandbox == call.netns:
            return Own(
                inside=interface,
                hosts=tuple(other for other in result.interfaces if not other.sandbox),
                ips=tuple(ip for ip in result.ips if ip.interface in {None, index}),
            )
    raise CniError(f"prevResult does not have {call.ifname} in {call.netns}")


def as_made(netlink: Netlink, interface: Interface, kind: str | None) -> Link:
    """Return the link of *interface*.

    Raises:
        CniError: It is gone, of another kind than *kind* (``None``: any is right), or has
            another hardware address.
    """
    link = links.find(netlink, interface.name)
    if link is None:
        raise CniError(f"interface {interface.name} is gone")
    if kind is not None and link.kind != kind:
        raise CniError(f"{link.name} is not a {kind}")
    if interface.mac and link.mac != interface.mac:
        raise CniError(f"{link.name} has address {link.mac}, not {interface.mac}")
    return link


def check_mtu(call: Call, inside: Link, interface: Interface, mtu: int) -> None:
    """Check the MTU of the container's end, which a plugin further along may have changed.

    Only a result of version 1.1.0 or later can say that one did (tuning's does).

    Args:
        call: The call.
        inside: The link.
        interface: What prevResult says of it.
        mtu: What it was given at first; 0: the kernel's choice.

    Raises:
        CniError: It is another one.
    """
    wanted = interface.mtu or mtu
    if wanted and inside.mtu != wanted and versions.at_least(call.cni_version, "1.1.0"):
        raise CniError(f"{inside.name} has MTU {inside.mtu}, not {wanted}")


def check_pair_mtu(call: Call, inside: Link, host: Link, interface: Interface, mtu: int) -> None:
    """Check the MTU of both ends of a pair.

    Where no MTU was asked for, the ends may have another than at first if it is the same:
    somebody has seen to both.

    Args:
        call: The call.
        inside: The container's end.
        host: The other.
        interface: What prevResult says of the container's end.
        mtu: What was asked for; 0: the kernel's choice.

    Raises:
        CniError: One has another MTU.
    """
    wanted = mtu or _MTU_OF_A_PAIR
    if host.mtu != wanted and (mtu or host.mtu != inside.mtu):
        raise CniError(f"{host.name} has MTU {host.mtu}, not {wanted}")
    check_mtu(call, inside, interface, mtu or host.mtu)


def other_end(netlink: Netlink, expected: Own, inside: Link, missing: str = "") -> Link:
    """Return the host's end of the veth pair that *inside* is an end of.

    Args:
        netlink: A socket on the host.
        expected: The attachment.
        inside: Its interface.
        missing: What to say when the end is not there.

    Raises:
        CniError: It is not among what prevResult names, or has another hardware address.
    """
    for interface in expected.hosts:
        host = links.find(netlink, interface.name)
        if host is not None and host.kind == "veth" and host.index == inside.peer:
            return as_made(netlink, interface, "veth")
    raise CniError(missing or f"the host's end of {inside.name} was not found")
