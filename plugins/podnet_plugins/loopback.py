"""loopback: set lo up in the container, as runtimes run it before the network of a pod.

Unlike the reference it checks that the addresses are there, and never touches a namespace
that is its own (skel refuses before any work).
"""

from ipaddress import ip_interface

from podnet.cni.errors import CniError
from podnet.cni.result import Interface, IPConfig, Result
from podnet.kernel import addresses, links, namespaces, sysctl
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet_plugins.container import entered
from podnet_plugins.skel import Call, Plugin, run

_NAME = "lo"
_NO_MAC = "00:00:00:00:00:00"
_EXPECTED = (ip_interface("127.0.0.1/8"), ip_interface("::1/128"))


def add(call: Call) -> Result:
    """Set lo up; the kernel gives it 127.0.0.1/8 and, where it has IPv6, ::1/128."""
    with entered(call.netns), Netlink() as netlink:
        link = _lo(netlink)
        links.set_up(netlink, link.index)
        found = [address.interface for address in addresses.of(netlink, link.index)]
    strange = [str(address) for address in found if not address.ip.is_loopback]
    if strange:
        raise CniError("loopback interface found with non-loopback address", ", ".join(strange))
    if call.prev_result is not None:
        return call.prev_result
    return Result(
        interfaces=(Interface(_NAME, mac=_NO_MAC, sandbox=call.netns),),
        ips=tuple(IPConfig(address, interface=0) for address in _EXPECTED if address in found),
    )


def check(call: Call) -> None:
    """Check that lo is up and has its addresses: that of IPv6 where that is not switched off."""
    with entered(call.netns), Netlink() as netlink:
        link = _lo(netlink)
        if not link.up:
            raise CniError("loopback interface is down")
        found = [address.interface for address in addresses.of(netlink, link.index)]
        has_ipv6 = sysctl.read("ipv6", "conf", _NAME, "disable_ipv6") == "0"
    for address in _EXPECTED if has_ipv6 else _EXPECTED[:1]:
        if address not in found:
            raise CniError(f"loopback interface has lost its address {address}")


def delete(call: Call) -> None:
    """Set lo down, if its namespace is still there."""
    if not call.netns or not namespaces.is_namespace(call.netns):
        return
    with entered(call.netns), Netlink() as netlink:
        links.set_up(netlink, _lo(netlink).index, up=False)


def _lo(netlink: Netlink) -> Link:
    link = links.find(netlink, _NAME)
    if link is None:
        raise CniError("there is no loopback interface")
    return link


PLUGIN = Plugin(
    "loopback",
    add=add,
    check=check,
    delete=delete,
    about="Sets lo up in the container.",
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
