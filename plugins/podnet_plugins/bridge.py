"""bridge: plug containers into a Linux bridge, with addresses or as layer 2 only.

Keys, results and kernel objects are the reference's (containernetworking/plugins, main/bridge).
Where it leaves things behind or does not look, this one does: the bridge's address is its
own, a failed ADD leaves no pair, CHECK looks at the host's side too, DEL needs no namespace
to find its rules, GC and STATUS are real.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from podnet.cni.errors import CniError, Code
from podnet.cni.result import Interface, Result
from podnet.errors import PodnetError
from podnet.kernel import firewall, links, sysctl
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet_plugins import (
    bridge_check,
    bridge_host,
    container,
    delegate,
    gateways,
    marks,
    masquerade,
    pairs,
)
from podnet_plugins.bridge_config import BridgeConfig
from podnet_plugins.skel import Call, Plugin, run


def add(call: Call) -> Result:
    """Make the bridge, the pair, the addresses and the rules; leave nothing when one fails."""
    config = BridgeConfig.of(call)
    container.require(call.netns)
    with ExitStack() as undo, Netlink() as netlink:
        bridge = bridge_host.ensure(netlink, config)
        pair = pairs.make(netlink, call, mtu=config.mtu, mac=config.mac, bridge=bridge.index)
        undo.callback(pairs.delete_inside, call.netns, call.ifname)
        if config.hairpin or config.isolated:  # a new port is neither
            port = {"hairpin": config.hairpin, "isolated": config.isolated}
            links.set_port(netlink, pair.host.index, **port)
        bridge = pairs.named(netlink, bridge.name)  # its MAC may have changed with its ports
        result = Result(cni_version=call.cni_version, dns=config.dns)
        if config.has_ipam:
            result = _addressed(netlink, call, config, bridge, inside=pair.inside, undo=undo)
        elif not config.interface_down:
            with container.entered(call.netns), Netlink() as inside:
                links.set_up(inside, pair.inside.index)
        host = pair.host if config.interface_down else bridge_host.await_port(netlink, pair.host)
        undo.pop_all()
    outside = (Interface(link.name, mac=link.mac) for link in (bridge, host))
    inside_one = Interface(call.ifname, mac=pair.inside.mac, sandbox=call.netns)
    return replace(result, interfaces=(*outside, inside_one))


def _addressed(
    netlink: Netlink,
    call: Call,
    config: BridgeConfig,
    bridge: Link,
    *,
    inside: Link,
    undo: ExitStack,
) -> Result:
    """Have addresses assigned, and do everything that follows from them."""
    assigned = delegate.add(call)
    undo.callback(delegate.delete, call)
    planned = gateways.with_gateways(config, assigned)
    result = replace(planned, dns=config.dns or assigned.dns)
    _configure_inside(call, config, inside, result)
    if config.is_gateway:
        bridge_host.make_gateway(netlink, config, bridge, result)
    if config.ip_masq:
        _masquerade(call, result)
        undo.callback(masquerade.delete, call.network, call.container_id, call.ifname)
    return result


def check(call: Call) -> None:
    """Check the lease, and every object that ADD made."""
    config = BridgeConfig.of(call)
    delegate.check(call)
    bridge_check.check(call, config)


def delete(call: Call) -> None:
    """Remove the pair, the lease and the rules; what is gone already is no error."""
    config = BridgeConfig.of(call)
    with ExitStack() as everything:  # each of them, whatever the others raise
        if config.ip_masq:
            everything.enter_context(_naming_masquerade())
            everything.callback(masquerade.delete, call.network, call.container_id, call.ifname)
        everything.callback(pairs.delete, call)
        everything.callback(delegate.delete, call)  # first: dhcp releases through the link


def gc(call: Call) -> None:
    """Remove the pairs, leases and rules of every attachment that is not valid."""
    config, valid = BridgeConfig.of(call), call.valid_attachments
    with ExitStack() as everything:
        if config.ip_masq:
            everything.enter_context(_naming_masquerade())
            everything.callback(masquerade.gc, call.network, valid)
        everything.callback(
            pairs.delete_marked, lambda alias: marks.is_stale(alias, call.network, valid)
        )
        everything.callback(delegate.gc, call)


def status(call: Call) -> None:
    """Say whether an ADD could succeed: IPAM has its own say, and masquerading needs nft."""
    if BridgeConfig.of(call).ip_masq and not firewall.available():
        raise CniError("ipMasq needs nft, and it cannot be run", code=Code.NOT_AVAILABLE)
    delegate.status(call)


def _configure_inside(call: Call, config: BridgeConfig, link: Link, result: Result) -> None:
    with container.entered(call.netns), Netlink() as inside:
        conf = ("ipv6", "conf", call.ifname)
        if config.duplicate_detection:
            sysctl.write(*conf, "enhanced_dad", value="1")
        sysctl.write(*conf, "accept_dad", value="1" if config.duplicate_detection else "0")
        # The kernel announces the address when the link comes up.
        sysctl.write("ipv4", "conf", call.ifname, "arp_notify", value="1")
        container.configure(inside, link, result, detect=config.duplicate_detection)


def _masquerade(call: Call, result: Result) -> None:
    ips = [ip.address for ip in result.ips]
    with _naming_masquerade():
        masquerade.add(call.network, call.container_id, call.ifname, ips)


@contextmanager
def _naming_masquerade() -> Iterator[None]:
    """Say what nft was wanted for."""
    try:
        yield
    except PodnetError as exc:
        raise CniError(f"ipMasq: {exc.message}", exc.hint) from exc


PLUGIN = Plugin("bridge", add=add, check=check, delete=delete, gc=gc, status=status)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
