"""tap: an interface whose other end is a file, for a virtual machine in the container.

Keys, results and kernel objects are the reference's (containernetworking/plugins,
main/tap), made as ``ip tuntap`` makes them but without running it.  Hardware address and
MTU count whatever else is asked for, a failed ADD leaves no link, and CHECK looks at all of it.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from podnet.cni.errors import CniError, Code, InvalidConfigError
from podnet.cni.formats import IFNAME, MAC
from podnet.cni.result import Result
from podnet.errors import MissingError
from podnet.kernel import links, sysctl, tuntap
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet.kernel.tuntap import Tap
from podnet_plugins import container, delegate, macs, pairs, sublinks
from podnet_plugins.schema import capability, key, read
from podnet_plugins.skel import Call, Plugin, run

_LARGEST_ID = 0xFFFFFFFE  # the one above means "nobody" to the kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class TapConfig:
    """The keys of the tap plugin, with the reference's names and defaults."""

    multi_queue: bool = key(False, doc="Several files may be the other end at once.")
    mtu: int = key(0, least=0, doc="0 is the kernel's choice.")
    mac: str = key(
        "", format=MAC, own_words=True, doc="The hardware address, a random one by default."
    )
    owner: int | None = key(None, least=0, most=_LARGEST_ID, doc="The user who may open it.")
    group: int | None = key(None, least=0, most=_LARGEST_ID, doc="The group that may open it.")
    selinux_context: str = key("", doc="The SELinux context of it.")
    bridge: str = key(
        "", format=IFNAME, doc="A bridge in the container that it is to be a port of."
    )
    requested_mac: str = capability("mac", "", doc="Asked for by the runtime.")

    @property
    def tap(self) -> Tap:
        """What the tap is to be like."""
        return Tap(multi_queue=self.multi_queue, owner=self.owner, group=self.group)


def _bridge(netlink: Netlink, name: str) -> Link:
    found = links.find(netlink, name)
    if found is None or found.kind != "bridge":
        what = "is not a bridge" if found else "not found"
        raise InvalidConfigError(f'bridge "{name}" {what}', "it must be in the container")
    return found


def _make(call: Call, config: TapConfig, mac: str) -> None:
    with container.entered(call.netns), Netlink() as netlink, ExitStack() as undo:
        master = _bridge(netlink, config.bridge).index if config.bridge else 0
        try:
            tuntap.add(call.ifname, config.tap, label=config.selinux_context)
        except FileExistsError as exc:
            raise CniError(f'container interface name ("{call.ifname}") already exists') from exc
        except MissingError as exc:
            raise CniError(exc.message, exc.hint) from exc
        undo.callback(links.delete, netlink, call.ifname)
        link = pairs.named(netlink, call.ifname)
        if config.mtu:
            links.set_mtu(netlink, link.index, config.mtu)
        if mac:
            links.set_mac(netlink, link.index, mac)
        if master:
            links.set_master(netlink, link.index, master)
        if call.ipam_type:
            sysctl.write("ipv4", "conf", call.ifname, "arp_notify", value="1")
        undo.pop_all()


def add(call: Call) -> Result:
    """Make the link and give it its addresses; leave nothing when one fails."""
    config = read(TapConfig, call.config)
    mac = macs.asked_for(call, config.mac, config.requested_mac)
    make = partial(_make, call, config, mac)
    return sublinks.with_dns(call, sublinks.attach(call, make))


def check(call: Call) -> None:
    """Check the lease, the link and its addresses, and what it is like."""
    config = read(TapConfig, call.config)
    link = sublinks.check(call, tuntap.KIND, mtu=config.mtu)
    mac = macs.asked_for(call, config.mac, config.requested_mac)
    if mac and links.mac_bytes(mac) != links.mac_bytes(link.mac):
        raise CniError(f"{link.name} has address {link.mac}, not {mac}")
    found = tuntap.tap_of(link)
    if found is None:
        raise CniError(f"{link.name} is not a tap")
    for name in ("multi_queue", "owner", "group"):
        is_now, wanted = getattr(found, name), getattr(config.tap, name)
        if is_now != wanted:
            what = name.replace("_", " ")
            raise CniError(f"{link.name} has {what} {_word(is_now)}, not {_word(wanted)}")
    if config.bridge:
        with container.entered(call.netns), Netlink() as netlink:
            if link.master != _bridge(netlink, config.bridge).index:
                raise CniError(f"{link.name} is not a port of {config.bridge}")


def _word(value: object) -> str:
    return "none" if value is None else str(value).lower()


def status(call: Call) -> None:
    """Say whether an ADD could succeed."""
    read(TapConfig, call.config)
    try:
        tuntap.require()
    except MissingError as exc:
        raise CniError(exc.message, exc.hint, code=Code.NOT_AVAILABLE) from exc
    delegate.status(call)


PLUGIN = Plugin(
    "tap",
    add=add,
    check=check,
    delete=sublinks.delete,
    gc=sublinks.gc,
    status=status,
    about="An interface whose other end is a file, for a virtual machine in the container.",
    config=TapConfig,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
