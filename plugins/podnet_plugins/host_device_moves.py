"""A device on its way into a container and back: all of the way, or none of it.

It changes its name, and gets or loses its alias (its name on the host, by which DEL knows
it), in the request that moves it.  So a name that is taken at the end it leaves is no
obstacle, and no step can be half done, also when we are killed.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from podnet.cni import names
from podnet.cni.errors import CniError
from podnet.kernel import links, namespaces
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink, NetlinkError
from podnet_plugins import belongings, container, pairs
from podnet_plugins.belongings import Belongings
from podnet_plugins.skel import Call, log

# What the kernel calls a device that comes home and finds its name taken (dev_get_valid_name).
_KERNELS_OWN_NAME = re.compile(r"dev\d+")


def bring_in(call: Call, had: Belongings) -> None:
    """Move a device of the host into the container, as CNI_IFNAME, down, its alias its old name.

    Raises:
        CniError: The container has an interface of that name, or the kernel refused.
    """
    with container.entered(call.netns), Netlink() as inside:
        if links.find(inside, call.ifname) is not None:
            raise CniError(f'container interface name ("{call.ifname}") already exists')
    with _home() as home, ExitStack() as undo:
        undo.callback(_restore, had)
        _carry((home, had.link.name, ""), (call.netns, call.ifname, had.link.name))
        undo.pop_all()


def undo(call: Call, had: Belongings) -> None:
    """Move a device back, and give it what it had on the host."""
    link = had.link
    with _home() as home:
        _carry((call.netns, call.ifname, link.name), (home, link.name, link.alias))
    _restore(had)


def _restore(had: Belongings) -> None:
    with Netlink() as netlink:
        belongings.put_back(netlink, had.link.name, had)


def bring_home(call: Call) -> None:
    """Move the attachment's device back to the host, where it gets its name back and is down.

    What is gone already is no error, and what was not moved here by name stays.

    Raises:
        CniError: The device's name is taken on the host.
    """
    if call.netns and namespaces.is_namespace(call.netns):
        with container.entered(call.netns), Netlink() as inside:
            link = _inside(inside, call)
        if link is not None:
            _bring_home(call.netns, link)
            return
    _rename_returned(call)


def _inside(inside: Netlink, call: Call) -> Link | None:
    """Find the device in the container, also when somebody renamed it there (plugins#773)."""
    link = links.find(inside, call.ifname)
    if link is not None and link.alias:
        return link
    if link is not None:
        log(f"{call.ifname} has no alias that says its name on the host: it stays where it is")
        return None
    device, mac = call.config.text("device"), _mac(call)
    for other in links.every(inside):
        if other.alias and (other.alias == device or (mac and other.mac == mac)):
            return other
    return None


def _bring_home(netns: str, link: Link) -> None:
    name = link.alias
    try:
        names.check_ifname(name)
    except CniError as exc:
        raise CniError(f"{link.name} cannot be called {name!r} on the host", exc.msg) from None
    with _home() as home, Netlink() as netlink:
        if links.find(netlink, name) is not None:
            raise CniError(
                f'failed to move {link.name} back: the host has an interface "{name}"',
                "rename that one, and DEL again",
            )
        _carry((netns, link.name, name), (home, name, ""))


def _rename_returned(call: Call) -> None:
    """Give a device its name back that the kernel sent home when its namespace ended.

    A physical device comes with the name that it had in the container, or with one of the
    kernel's own.  It is ours when it has the hardware address that ADD told of.
    """
    mac = _mac(call)
    if not mac:
        return
    with Netlink() as netlink:
        for link in links.every(netlink):
            is_ours = link.name == call.ifname or _KERNELS_OWN_NAME.fullmatch(link.name)
            if link.mac != mac or not is_ours or not link.alias or link.alias == link.name:
                continue
            if links.find(netlink, link.alias) is None:
                links.set_up(netlink, link.index, up=False)
                links.set_name(netlink, link.index, link.alias)
                links.set_alias(netlink, link.index, "")


def _mac(call: Call) -> str:
    """Return the hardware address that ADD told of, "" when it is not known."""
    told = call.prev_result.interfaces if call.prev_result else ()
    return next((i.mac for i in told if i.name == call.ifname and i.sandbox), "")


@contextmanager
def _home() -> Iterator[str]:
    """Hold the host's namespace by a path that means it from within others, too."""
    with namespaces.opened() as home:
        yield f"/proc/thread-self/fd/{home}"


def _carry(source: tuple[str, str, str], target: tuple[str, str, str]) -> None:
    """Carry a link from one namespace to another, or leave it where and as it was.

    Args:
        source: Namespace, name and alias that it has.
        target: Those that it is to have.

    Raises:
        CniError: The kernel refused.
    """
    (start, name, alias), (end, new_name, new_alias) = source, target
    try:
        try:
            _move(start, name, (end, new_name, new_alias))
        except NetlinkError:
            if not _is_there(start, name):  # it went, and could not be renamed
                _move(end, name, (start, name, alias))
            raise
    except NetlinkError as exc:
        raise CniError(f"failed to move link {name}: {exc.strerror}") from exc


def _move(start: str, name: str, target: tuple[str, str, str]) -> None:
    end, new_name, alias = target
    with namespaces.opened(end) as there, namespaces.entered(start), Netlink() as netlink:
        index = pairs.named(netlink, name).index
        links.move(netlink, index, there, name=new_name, alias=alias)


def _is_there(netns: str, name: str) -> bool:
    with namespaces.entered(netns), Netlink() as netlink:
        return links.find(netlink, name) is not None
