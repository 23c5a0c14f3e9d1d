"""A link of its own for a container: macvlan, ipvlan, vlan, dummy, tap, a device of the host.

What these plugins share: where the master is, the link under its final name in the
container, addresses from IPAM, the result, and a check of it all.  What a link is made of
is for each of them to know.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from podnet.cni.errors import CniError, Code, InvalidConfigError
from podnet.cni.result import Dns, Interface, Result
from podnet.errors import MissingError
from podnet.kernel import links, namespaces, removal, routes, sysctl, virtual_links
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet.kernel.virtual_links import NewLink
from podnet_plugins import container, delegate, pairs, previous
from podnet_plugins.skel import Call

Add = Callable[[Netlink, NewLink], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a link's master is to be found.

    Attributes:
        master: Its name, "" for the interface of the default route.
        in_container: It is in the container, not on the host (``linkInContainer``).
    """

    master: str = ""
    in_container: bool = False

    @contextmanager
    def socket(self, call: Call) -> Iterator[Netlink]:
        """Open a socket where the master is."""
        with ExitStack() as stack:
            if self.in_container:
                stack.enter_context(container.entered(call.netns))
            yield stack.enter_context(Netlink())

    def find(self, netlink: Netlink) -> Link:
        """Return the master.

        Raises:
            CniError: There is no such link, or no default route.
        """
        if not self.master:
            index = routes.default_link(netlink)
            link = links.at(netlink, index) if index else None
            if link is None:
                raise CniError("no default route interface found", "say which one: master")
            return link
        found = links.find(netlink, self.master)
        if found is None:
            where = "in the container" if self.in_container else "on the host"
            raise CniError(f'master interface "{self.master}" not found', f"there is none {where}")
        return found


def check_mtu(mtu: int, master: Link) -> None:
    """Check that packets of *mtu* fit through *master*.

    Raises:
        InvalidConfigError: They do not.
    """
    if not 0 <= mtu <= master.mtu:
        raise InvalidConfigError(f"invalid MTU {mtu}, must be [0, master MTU({master.mtu})]")


def make(call: Call, place: Place, add: Add, *, mtu: int = 0, mac: str = "") -> None:
    """Make a link on a master, as CNI_IFNAME in the container.

    Raises:
        CniError: There is no master, the name is taken, or the kernel has no such links.
    """
    with place.socket(call) as netlink:
        master = place.find(netlink)
        check_mtu(mtu, master)
        new = NewLink(name=call.ifname, master=master.index, mtu=mtu, mac=mac)
        make_in(call, netlink, add, new)


def make_in(call: Call, netlink: Netlink, add: Add, new: NewLink) -> None:
    """Make *new* in the container, with a socket where its master is.

    Raises:
        CniError: The name is taken, or the kernel has no such links.
    """
    with container.entered(call.netns), Netlink() as inside, namespaces.opened() as netns:
        new = replace(new, netns=netns)
        try:
            add(netlink, new)
        except FileExistsError as exc:
            if links.find(inside, call.ifname) is not None:
                raise CniError(
                    f'container interface name ("{call.ifname}") already exists'
                ) from exc
            _make_and_rename(netlink, inside, add, new)
        except MissingError as exc:
            raise CniError(exc.message, exc.hint) from exc


def _make_and_rename(netlink: Netlink, inside: Netlink, add: Add, new: NewLink) -> None:
    # Before Linux 6.14 the name must be free where the request comes from, too.
    passing = f"tmp{os.urandom(4).hex()}"
    add(netlink, replace(new, name=passing))
    with ExitStack() as undo:
        undo.callback(links.delete, inside, passing)
        links.set_name(inside, pairs.named(inside, passing).index, new.name)
        undo.pop_all()


def attach(
    call: Call,
    make_link: Callable[[], None],
    *,
    unmake: Callable[[], None] | None = None,
    announce: bool = False,
    base: Result | None = None,
) -> Result:
    """Make a link, give it addresses, set it up; leave nothing when one of it fails.

    Args:
        call: The call.
        make_link: Makes the link.
        unmake: Undoes that; by default the link is deleted.
        announce: Have the kernel announce the addresses when the link comes up.
        base: The addresses and routes, where there is no IPAM.
    """
    with ExitStack() as undo:
        make_link()
        undo.callback(unmake or partial(pairs.delete_inside, call.netns, call.ifname))
        result = base or Result()
        if call.ipam_type:
            result = delegate.add(call)
            undo.callback(delegate.delete, call)
        result = replace(result, ips=tuple(replace(ip, interface=0) for ip in result.ips))
        with container.entered(call.netns), Netlink() as inside:
            if announce and result.ips:
                sysctl.write("ipv4", "conf", call.ifname, "arp_notify", value="1")
                sysctl.write("ipv6", "conf", call.ifname, "ndisc_notify", value="1")
            link = pairs.named(inside, call.ifname)
            container.configure(inside, link, result)
        undo.pop_all()
    interface = Interface(call.ifname, mac=link.mac, sandbox=call.netns)
    return replace(result, interfaces=(interface,))


def with_dns(call: Call, result: Result) -> Result:
    """Return *result* with the configuration's dns, if it says any, else with IPAM's."""
    return replace(result, dns=Dns.from_wire(call.config.child("dns")) or result.dns)


def needs_ipam(call: Call, what: str) -> None:
    """Refuse a configuration without IPAM.

    Raises:
        InvalidConfigError: There is none.
    """
    if not call.ipam_type:
        raise InvalidConfigError(what, 'the section "ipam" has no type')


def check(call: Call, kind: str | None, *, mtu: int = 0) -> Link:
    """Check the lease, the link, its addresses and routes; return the link.

    Args:
        call: The call.
        kind: What the link must be; ``None``: anything.
        mtu: What its MTU was at first; 0: anything.

    Raises:
        CniError: Something is gone or changed.
    """
    delegate.check(call)
    result = call.require_prev_result()
    expected = previous.own(call, result)
    with container.entered(call.netns), Netlink() as netlink:
        link = previous.as_made(netlink, expected.inside, kind)
        container.check(netlink, link, expected.ips, result)
    previous.check_mtu(call, link, expected.inside, mtu)
    return link


def check_master(call: Call, link: Link, place: Place) -> None:
    """Check that *link* hangs on the master that the configuration names, if it names one.

    Raises:
        CniError: The master is gone, or another one.
    """
    if not place.master:  # the default route may have moved since; the link stays where it was
        return
    with place.socket(call) as netlink:
        master = place.find(netlink)
    elsewhere = (link.peer_namespace is None) != place.in_container
    if link.peer != master.index or elsewhere:
        raise CniError(f"{link.name} does not hang on {master.name}")


def delete(call: Call, unmake: Callable[[], None] | None = None) -> None:
    """Remove the lease and the link; what is gone already is no error.

    Args:
        call: The call.
        unmake: What to do about the link; by default it is deleted.
    """
    with ExitStack() as everything:  # each of them, whatever the other raises
        everything.callback(unmake or partial(_delete_link, call))
        everything.callback(delegate.delete, call)  # first: dhcp releases through the link


def _delete_link(call: Call) -> None:
    if call.netns and namespaces.is_namespace(call.netns):
        with container.entered(call.netns):
            removal.remove(call.ifname)


def gc(call: Call) -> None:
    """Have IPAM release what is not valid; the links went with their containers."""
    delegate.gc(call)


def status(call: Call, kind: str, place: Place | None = None) -> None:
    """Say whether an ADD could succeed: the kernel's part, the master, and IPAM's own say.

    Raises:
        CniError: Code 50, it could not; code 51, and the pods that are there suffer, too: their
            links went with their master, or it is down.
    """
    with Netlink() as netlink:
        if not virtual_links.is_supported(netlink, kind):
            raise CniError(virtual_links.missing(kind).message, code=Code.NOT_AVAILABLE)
        if place and not place.in_container:
            suffering = Code.LIMITED_CONNECTIVITY if place.master else Code.NOT_AVAILABLE
            try:
                master = place.find(netlink)
            except CniError as exc:
                raise CniError(exc.msg, exc.details, code=suffering) from None
            if not master.up:
                message = f"master interface {master.name} is down"
                raise CniError(message, code=Code.LIMITED_CONNECTIVITY)
    delegate.status(call)
