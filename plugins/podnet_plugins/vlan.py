"""vlan: an 802.1Q interface on one of the host's.

Keys, results and kernel objects are the reference's (containernetworking/plugins,
main/vlan).  A failed ADD leaves no link, CHECK looks at the master, and DEL does not
need it.
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

_KIND = "vlan"
_LARGEST_ID = 4094


@dataclass(frozen=True, slots=True, kw_only=True)
class VlanConfig:
    """The keys of the vlan plugin, with the reference's names and defaults."""

    master: str = key(format=IFNAME, doc="The interface it hangs on.")
    vlan_id: int = key(0, least=0, most=_LARGEST_ID, doc="The VLAN.")
    mtu: int = key(0, least=0, doc="At most the master's, which 0 stands for.")
    link_in_container: bool = key(False, doc="The master is in the container, not on the host.")

    @property
    def place(self) -> Place:
        """Where the master is."""
        return Place(master=self.master, in_container=self.link_in_container)


def _config(call: Call) -> VlanConfig:
    if not call.config.text("master"):
        raise InvalidConfigError(
            '"master" field is required. It specifies the host interface name to create the VLAN for.'
        )
    sublinks.needs_ipam(call, "failed to execute IPAM delegate: no plugin name provided")
    return read(VlanConfig, call.config)


def add(call: Call) -> Result:
    """Make the link and give it its addresses; leave nothing when one fails."""
    config = _config(call)
    new = partial(virtual_links.add_vlan, vid=config.vlan_id)
    make = partial(sublinks.make, call, config.place, new, mtu=config.mtu)
    return sublinks.with_dns(call, sublinks.attach(call, make))


def check(call: Call) -> None:
    """Check the lease, the link and its addresses, and how it hangs on its master."""
    config = _config(call)
    link = sublinks.check(call, _KIND, mtu=config.mtu)
    sublinks.check_master(call, link, config.place)
    vid = virtual_links.vlan_id(link)
    if vid != config.vlan_id:
        raise CniError(f"{link.name} is of VLAN {vid}, not {config.vlan_id}")


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
    about="Makes an 802.1Q interface on one of the host's.",
    config=VlanConfig,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
