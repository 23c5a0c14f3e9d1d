"""macvlan: an interface with a hardware address of its own on one of the host's.

Keys, results and kernel objects are the reference's (containernetworking/plugins,
main/macvlan).  A failed ADD leaves no link, CHECK looks at mode and master, and DEL needs
neither the master nor a valid configuration.
"""

from dataclasses import dataclass
from functools import partial

from podnet.cni.errors import CniError, InvalidConfigError
from podnet.cni.formats import IFNAME, MAC
from podnet.cni.result import Result
from podnet.kernel import virtual_links
from podnet_plugins import macs, sublinks
from podnet_plugins.schema import capability, key, read
from podnet_plugins.skel import Call, Plugin, run
from podnet_plugins.sublinks import Place

_KIND = "macvlan"
_MODES = tuple(virtual_links.MACVLAN_MODES)


@dataclass(frozen=True, slots=True, kw_only=True)
class MacvlanConfig:
    """The keys of the macvlan plugin, with the reference's names and defaults."""

    master: str = key(
        "", format=IFNAME, doc="The interface it hangs on; that of the default route by default."
    )
    mode: str = key("", choices=("", *_MODES), doc='How macvlans reach each other; "" is bridge.')
    mtu: int = key(0, least=0, doc="At most the master's, which 0 stands for.")
    mac: str = key(
        "", format=MAC, own_words=True, doc="The hardware address, a random one by default."
    )
    link_in_container: bool = key(False, doc="The master is in the container, not on the host.")
    queue: int = key(
        0, name="bcqueuelen", least=0, doc="Broadcasts that may wait; 0: the kernel's."
    )
    requested_mac: str = capability("mac", "", doc="Asked for by the runtime.")

    @property
    def place(self) -> Place:
        """Where the master is."""
        return Place(master=self.master, in_container=self.link_in_container)


def _config(call: Call) -> MacvlanConfig:
    mode = call.config.text("mode")
    if mode not in {"", *_MODES}:
        raise InvalidConfigError(
            f'unknown macvlan mode: "{mode}"', f"it may be {', '.join(_MODES)}"
        )
    return read(MacvlanConfig, call.config)


def add(call: Call) -> Result:
    """Make the link and give it its addresses; leave nothing when one fails."""
    config = _config(call)
    mac = macs.asked_for(call, config.mac, config.requested_mac)
    new = partial(virtual_links.add_macvlan, mode=config.mode or "bridge", queue=config.queue)
    make = partial(sublinks.make, call, config.place, new, mtu=config.mtu, mac=mac)
    return sublinks.with_dns(call, sublinks.attach(call, make, announce=True))


def check(call: Call) -> None:
    """Check the lease, the link and its addresses, and how it hangs on its master."""
    config = _config(call)
    link = sublinks.check(call, _KIND, mtu=config.mtu)
    sublinks.check_master(call, link, config.place)
    mode, wanted = virtual_links.macvlan_mode(link), config.mode or "bridge"
    if mode != wanted:
        raise CniError(f"{link.name} is in mode {mode or 'unknown'}, not {wanted}")
    queue = virtual_links.macvlan_queue(link)
    if config.queue and queue != config.queue:
        raise CniError(f"{link.name} has bcqueuelen {queue}, not {config.queue}")


def status(call: Call) -> None:
    """Say whether an ADD could succeed."""
    sublinks.status(call, _KIND, _config(call).place)


PLUGIN = Plugin(
    _KIND,
    add=add,
    check=check,
    delete=sublinks.delete,
    gc=sublinks.gc,
    status=status,
    about="Makes an interface with a hardware address of its own on one of the host's.",
    config=MacvlanConfig,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
