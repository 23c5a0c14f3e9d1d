"""veth pairs between a container and the host, marked as an attachment's."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from podnet.cni.errors import CniError
from podnet.kernel import links, namespaces, sysctl
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink, NetlinkError
from podnet_plugins import container, marks
from podnet_plugins.skel import Call

_NAME_TRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A veth pair: the end on the host, and the one inside the container."""

    host: Link
    inside: Link


def make(netlink: Netlink, call: Call, *, mtu: int = 0, mac: str = "") -> Pair:
    """Make a pair: the container's end called CNI_IFNAME, the host's end ``veth…`` and marked.

    It is made from inside, so that nobody on the host ever sees half of it.

    Args:
        netlink: A socket in the host's namespace.
        call: Whose attachment it is.
        mtu: For both ends, 0 for the kernel's choice.
        mac: Of the container's end, "" for a random one.

    Raises:
        CniError: The container has an interface of that name, or the kernel refused.
    """
    with namespaces.opened() as home, container.entered(call.netns), Netlink() as inside:
        name = _make(inside, call.ifname, home=home, mtu=mtu, mac=mac)
        within = named(inside, call.ifname)
    host = named(netlink, name)
    links.set_alias(netlink, host.index, marks.mark(call.network, call.container_id, call.ifname))
    sysctl.write("ipv6", "conf", name, "accept_ra", value="0")
    return Pair(host=host, inside=within)


def _make(inside: Netlink, ifname: str, *, home: int, mtu: int, mac: str) -> str:
    for _ in range(_NAME_TRIES):
        peer = f"veth{os.urandom(4).hex()}"
        try:
            links.add_veth(inside, ifname, peer=peer, peer_netns=home, mtu=mtu, mac=mac)
        except FileExistsError as exc:
            if links.find(inside, ifname) is not None:
                message = f'container veth name ("{ifname}") already exists'
                raise CniError(message, "the container has an interface of that name") from exc
        except NetlinkError as exc:
            raise CniError(f"failed to make veth pair: {exc.strerror}") from exc
        else:
            return peer
    raise CniError(f"failed to make veth pair: no free name after {_NAME_TRIES} tries")


def delete(call: Call) -> None:
    """Remove the attachment's pair, by its end in the container or, if that is gone, by its mark.

    Raises:
        CniError: CNI_NETNS is there and is no namespace.
    """
    if call.netns and os.path.lexists(call.netns):
        with container.entered(call.netns), Netlink() as inside:
            links.delete(inside, call.ifname)
        return
    prefix = marks.prefix(call.network, call.container_id, call.ifname)
    delete_marked(lambda alias: alias.startswith(prefix))


def delete_marked(wanted: Callable[[str], bool]) -> None:
    """Remove every pair on the host whose mark is *wanted*."""
    with Netlink() as netlink:
        for link in links.every(netlink):
            if link.kind == "veth" and wanted(link.alias):
                links.delete(netlink, link.name)


def delete_inside(netns: str, ifname: str) -> None:
    """Remove an interface inside a container, and so its pair."""
    with namespaces.entered(netns), Netlink() as inside:
        links.delete(inside, ifname)


def named(netlink: Netlink, name: str) -> Link:
    """Return the link called *name*.

    Raises:
        CniError: There is none.
    """
    link = links.find(netlink, name)
    if link is None:
        raise CniError(f'interface "{name}" not found')
    return link
