"""veth pairs between a container and the host, marked as an attachment's."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from podnet.cni.errors import CniError
from podnet.kernel import links, namespaces, removal, sysctl
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink, NetlinkError
from podnet_plugins import container, macs, marks
from podnet_plugins.skel import Call

_NAME_TRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A veth pair: the end on the host, and the one inside the container, as they were made."""

    host: Link
    inside: Link


def make(
    netlink: Netlink, call: Call, *, mtu: int = 0, mac: str = "", bridge: int | None = None
) -> Pair:
    """Make a pair: the container's end called CNI_IFNAME, the host's end ``veth…`` and marked.

    It is made from inside, so that nobody on the host ever sees half of it.

    Args:
        netlink: A socket in the host's namespace.
        call: Whose attachment it is.
        mtu: For both ends, 0 for the kernel's choice.
        mac: Of the container's end, "" for a random one.
        bridge: The index of the bridge that the host's end becomes a port of, and is set up.

    Raises:
        CniError: The container has an interface of that name, or the kernel refused.
    """
    with container.entered(call.netns):
        inside = Netlink()  # stays in there
    with inside, ExitStack() as undo:
        with namespaces.opened() as home:
            pair = _make(home, inside, call.ifname, mtu=mtu, mac=mac)
        undo.callback(links.delete, inside, call.ifname)
        sysctl.write("ipv6", "conf", pair.host.name, "accept_ra", value="0")
        mark = marks.mark(call.network, call.container_id, call.ifname)
        if bridge is None:
            links.set_alias(netlink, pair.host.index, mark)
        else:
            links.add_port(netlink, pair.host.name, bridge=bridge, alias=mark)
        undo.pop_all()
    return pair


def _make(home: int, inside: Netlink, ifname: str, *, mtu: int, mac: str) -> Pair:
    """Make a pair whose other end is in the namespace *home*."""
    addresses = {"mac": mac or macs.made_up(), "peer_mac": macs.made_up()}
    for _ in range(_NAME_TRIES):
        peer = f"veth{os.urandom(4).hex()}"
        try:
            link = links.add_veth(inside, ifname, peer=peer, peer_netns=home, mtu=mtu, **addresses)
        except FileExistsError as exc:
            if links.find(inside, ifname) is not None:
                message = f'container veth name ("{ifname}") already exists'
                raise CniError(message, "the container has an interface of that name") from exc
        except NetlinkError as exc:
            raise CniError(f"failed to make veth pair: {exc.strerror}") from exc
        else:
            host = Link(index=link.peer, name=peer, kind="veth", mac=addresses["peer_mac"])
            return Pair(host=host, inside=link)
    raise CniError(f"failed to make veth pair: no free name after {_NAME_TRIES} tries")


def delete(call: Call) -> None:
    """Remove the attachment's pair, by its end in the container or, if that is gone, by its mark.

    A plain file at CNI_NETNS is what is left of a namespace that is gone.
    """
    if call.netns and namespaces.is_namespace(call.netns):
        delete_inside(call.netns, call.ifname)
        return
    prefix = marks.prefix(call.network, call.container_id, call.ifname)
    delete_marked(lambda alias: alias.startswith(prefix))


def delete_marked(wanted: Callable[[str], bool]) -> None:
    """Remove every pair on the host whose mark is *wanted*."""
    with Netlink() as netlink:
        found = [link for link in links.every(netlink) if link.kind == "veth"]
    for link in found:
        if wanted(link.alias):
            removal.remove(link.name)


def delete_inside(netns: str, ifname: str) -> None:
    """Remove an interface inside a container, and so its pair."""
    with namespaces.entered(netns):
        removal.remove(ifname)


def named(netlink: Netlink, name: str) -> Link:
    """Return the link called *name*.

    Raises:
        CniError: There is none.
    """
    link = links.find(netlink, name)
    if link is None:
        raise CniError(f'interface "{name}" not found')
    return link
