"""vrf: put a container's interface into a VRF, with a routing table of its own.

Keys and kernel objects are the reference's (containernetworking/plugins, meta/vrf).  All
routes that somebody made by the interface move with it, those with several next hops
included (plugins#1253); a failed ADD leaves no VRF, CHECK is real, and DEL tolerates
whatever is gone.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count

from podnet.cni import formats, versions
from podnet.cni.errors import CniError, InvalidConfigError
from podnet.cni.formats import IFNAME
from podnet.cni.result import Result
from podnet.errors import MissingError
from podnet.kernel import links, namespaces, virtual_links
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet.kernel.virtual_links import NewLink
from podnet_plugins import belongings, container, pairs, previous, sublinks
from podnet_plugins.schema import key, read
from podnet_plugins.skel import Call, Plugin, run

_KIND = "vrf"
_RESERVED = frozenset({253, 254, 255})  # default, main and local
_LARGEST_TABLE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class VrfConfig:
    """The keys of the vrf plugin, with the reference's names and defaults."""

    vrfname: str = key(
        format=IFNAME, doc="The VRF; it is made if the container has none of that name."
    )
    table: int = key(
        0, least=0, most=_LARGEST_TABLE, doc="Its routing table, 0 for the first that no VRF has."
    )

    @classmethod
    def of(cls, call: Call) -> "VrfConfig":
        """Read and check the configuration.

        Raises:
            CniError: The VRF has no name, or one that no link can have.
        """
        if not call.config.text("vrfname"):
            raise InvalidConfigError("configuration is expected to have a valid vrf name")
        return read(cls, call.config)


def free_table(used: Iterable[int]) -> int:
    """Return the first routing table that is neither *used* nor the kernel's own."""
    taken = _RESERVED.union(used)
    return next(table for table in count(1) if table not in taken)


def add(call: Call) -> Result:
    """Put the interface into the VRF; leave all as it was when that fails."""
    config = VrfConfig.of(call)
    result = call.require_chained("missing prevResult from earlier plugin")
    with _failing_as_add(), container.entered(call.netns), Netlink() as netlink:
        link = pairs.named(netlink, call.ifname)
        if link.master:
            master = links.at(netlink, link.master)
            named = master.name if master else link.master
            raise CniError(f"interface {link.name} has already a master set: {named}")
        with ExitStack() as undo:
            vrf = _found_or_made(netlink, config, undo)
            _enslave(netlink, link, vrf, undo)
            undo.pop_all()
    return result


@contextmanager
def _failing_as_add() -> Iterator[None]:
    """Begin messages as the reference does."""
    try:
        yield
    except MissingError as exc:
        raise CniError(exc.message, exc.hint) from exc
    except CniError as exc:
        raise CniError(f"cmdAdd failed: {exc.msg}", exc.details, code=exc.code) from exc
    except OSError as exc:
        raise CniError(f"cmdAdd failed: {exc.strerror}") from exc


def _found_or_made(netlink: Netlink, config: VrfConfig, undo: ExitStack) -> Link:
    name = config.vrfname
    vrf = links.find(netlink, name)
    if vrf is None:
        used = {virtual_links.vrf_table(link) for link in links.every(netlink)}
        table = config.table or free_table(used)
        virtual_links.add_vrf(netlink, NewLink(name=name), table=table)
        undo.callback(links.delete, netlink, name)
        vrf = pairs.named(netlink, name)
        links.set_up(netlink, vrf.index)
    _check_table(vrf, config)
    return vrf


def _check_table(vrf: Link, config: VrfConfig) -> None:
    if vrf.kind != _KIND:
        raise CniError(f"{vrf.name} is not a VRF")
    table = virtual_links.vrf_table(vrf)
    if config.table and config.table != table:
        raise CniError(f"VRF {vrf.name} already exist with different routing table {table}")


def _enslave(netlink: Netlink, link: Link, vrf: Link, undo: ExitStack) -> None:
    had = belongings.of(netlink, link)
    undo.callback(belongings.put_back, netlink, link.name, had)
    links.set_master(netlink, link.index, vrf.index)
    undo.callback(links.set_master, netlink, link.index, 0)
    belongings.give_back(netlink, link.index, had, table=virtual_links.vrf_table(vrf))


def check(call: Call) -> None:
    """Check that the interface is in the VRF, and that addresses and routes are there."""
    config = VrfConfig.of(call)
    result = call.require_prev_result()
    expected = previous.own(call, result)
    with container.entered(call.netns), Netlink() as netlink:
        vrf = pairs.named(netlink, config.vrfname)
        _check_table(vrf, config)
        if not vrf.up:
            raise CniError(f"VRF {vrf.name} is down")
        link = previous.as_made(netlink, expected.inside, None)
        if link.master != vrf.index:
            raise CniError(f"{link.name} is not in VRF {vrf.name}")
        container.check(netlink, link, expected.ips, result)


def delete(call: Call) -> None:
    """Take the interface out, and remove the VRF with its last one; all of it may be gone."""
    name = call.config.text("vrfname")
    if (
        formats.problem(IFNAME, name)
        or not name
        or not call.netns
        or not namespaces.is_namespace(call.netns)
    ):
        return
    with container.entered(call.netns), Netlink() as netlink:
        vrf = links.find(netlink, name)
        if vrf is None or vrf.kind != _KIND:
            return
        link = links.find(netlink, call.ifname)
        if link is not None and link.master == vrf.index:
            links.set_master(netlink, link.index, 0)
        if not any(other.master == vrf.index for other in links.every(netlink)):
            links.delete(netlink, name)


def status(call: Call) -> None:
    """Say whether an ADD could succeed."""
    VrfConfig.of(call)
    sublinks.status(call, _KIND)


PLUGIN = Plugin(
    _KIND,
    add=add,
    check=check,
    delete=delete,
    status=status,
    versions=tuple(v for v in versions.RELEASED if versions.at_least(v, "0.3.1")),
    about="Puts a container's interface into a VRF, with a routing table of its own.",
    config=VrfConfig,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
