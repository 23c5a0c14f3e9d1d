"""dummy: an interface that leads nowhere, for addresses that only the container itself needs.

Results and kernel objects are the reference's (containernetworking/plugins, main/dummy).
There are no keys but ``ipam``.
"""

from functools import partial

from podnet.cni.result import Result
from podnet.kernel import virtual_links
from podnet.kernel.netlink import Netlink
from podnet.kernel.virtual_links import NewLink
from podnet_plugins import sublinks
from podnet_plugins.skel import Call, Plugin, run

_KIND = "dummy"


def _check_config(call: Call) -> None:
    sublinks.needs_ipam(call, "dummy interface requires an IPAM configuration")


def _make(call: Call) -> None:
    with Netlink() as netlink:
        sublinks.make_in(call, netlink, virtual_links.add_dummy, NewLink(name=call.ifname))


def add(call: Call) -> Result:
    """Make the link and give it its addresses; leave nothing when one fails."""
    _check_config(call)
    return sublinks.attach(call, partial(_make, call))


def check(call: Call) -> None:
    """Check the lease, the link, its addresses and routes."""
    _check_config(call)
    sublinks.check(call, _KIND)


def status(call: Call) -> None:
    """Say whether an ADD could succeed."""
    _check_config(call)
    sublinks.status(call, _KIND)


PLUGIN = Plugin(
    _KIND,
    add=add,
    check=check,
    delete=sublinks.delete,
    gc=sublinks.gc,
    status=status,
    about="Makes an interface that leads nowhere, for addresses of the container itself.",
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
