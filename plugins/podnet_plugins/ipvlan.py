"""ipvlan: an interface that shares the hardware address of one of the host's.

Keys, results and kernel objects are the reference's (containernetworking/plugins,
main/ipvlan).  A failed ADD leaves no link, CHECK looks at mode and master, and DEL needs
neither the master nor a default route.
"""

from dataclasses import dataclass
from functools import partial

from podnet.cni.errors import CniError, InvalidConfigError
from podnet.cni.formats import IFNAME
from podnet.cni.result import Result
from podnet.kernel import virtual_links
from podnet_plugins import sublinks
from podnet_plugins.schema import key, read
from podnet_plugins.skel import Call, Plugin, run
from podnet_plugins.sublinks import Place

_KIND = "ipvlan"
_MODES = tuple(virtual_links.IPVLAN_MODES)


@dataclass(frozen=True, slots=True, kw_only=True)
class IpvlanConfig:
    """The keys of the ipvlan plugin, with the reference's names and defaults."""

    master: str = key(
        "",
        format=IFNAME,
        doc="The interface it hangs on; in a chain the one before it by default.",
    )
    mode: str = key("", choices=("", *_MODES), doc='Layer 2, 3, or 3 with netfilter; "" is l2.')
    mtu: int = key(0, least=0, doc="At most the master's, which 0 stands for.")
    link_in_container: bool = key(False, doc="The master is in the container, not on the host.")

    @property
    def place(self) -> Place:
        """Where the master is."""
        return Place(master=self.master, in_container=self.link_in_container)


def _config(call: Call) -> IpvlanConfig:
    mode = call.config.text("mode")
    if mode not in {"", *_MODES}:
        raise InvalidConfigError(f'unknown ipvlan mode: "{mode}"', f"it may be {', '.join(_MODES)}")
    return read(IpvlanConfig, call.config)


def _master(call: Call, config: IpvlanConfig) -> Place:
    """Return where the master is; chained, it is the one interface that there is already."""
    before = call.prev_result
    if config.master or before is None:
        return config.place
    if len(before.interfaces) != 1 or not before.interfaces[0].name:
        raise InvalidConfigError(
            "chained master failure. PrevResult lacks a single named interface"
        )
    return Place(master=before.interfaces[0].name, in_container=config.link_in_container)


def _addresses(call: Call) -> Result | None:
    """Return the addresses of the plugins before this one, where there is no IPAM of its own."""
    if call.ipam_type:
        return None
    if call.prev_result is None or not call.prev_result.ips:
        raise InvalidConfigError(
            "no plugin name provided", "ipvlan needs an ipam section, or addresses in prevResult"
        )
    return call.prev_result


def add(call: Call) -> Result:
    """Make the link and give it its addresses; leave nothing when one fails."""
    config = _config(call)
    base, place = _addresses(call), _master(call, config)
    new = partial(virtual_links.add_ipvlan, mode=config.mode or "l2")
    make = partial(sublinks.make, call, place, new, mtu=config.mtu)
    return sublinks.with_dns(call, sublinks.attach(call, make, announce=True, base=base))


def check(call: Call) -> None:
    """Check the lease, the link and its addresses, and how it hangs on its master."""
    config = _config(call)
    link = sublinks.check(call, _KIND, mtu=config.mtu)
    sublinks.check_master(call, link, config.place)
    mode, wanted = virtual_links.ipvlan_mode(link), config.mode or "l2"
    if mode != wanted:
        raise CniError(f"{link.name} is in mode {mode or 'unknown'}, not {wanted}")


def status(call: Call) -> None:
    """Say whether an ADD could succeed; the master of a chain is not known before."""
    config = _config(call)
    sublinks.status(call, _KIND, config.place if config.master else None)


PLUGIN = Plugin(
    _KIND,
    add=add,
    check=check,
    delete=sublinks.delete,
    gc=sublinks.gc,
    status=status,
    about="Makes an interface that shares the hardware address of one of the host's.",
    config=IpvlanConfig,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
