"""bridge: plug containers into a Linux bridge, with addresses or as layer 2 only.

Keys, results and kernel objects are the reference's (containernetworking/plugins, main/bridge).
Where it leaves things behind or does not look, this one does: the bridge's address is its
own, a failed ADD leaves no pair, CHECK looks at the host's side too, DEL needs no namespace
to find its rules, GC and STATUS are real.
"""

from contextlib import ExitStack
from dataclasses import replace

from podnet.cni import versions
from podnet.cni.errors import CniError, Code
from podnet.cni.result import Dns, Interface, Result
from podnet.errors import MissingError
from podnet.kernel import links, sysctl, vlans
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet_plugins import (
    bridge_check,
    bridge_host,
    bridge_status,
    bridge_vlans,
    container,
    delegate,
    forwarding,
    gateways,
    ip_masq,
    mac_spoof,
    marks,
    pairs,
)
from podnet_plugins.bridge_config import BridgeConfig, asked_mac
from podnet_plugins.pairs import Pair
from podnet_plugins.skel import Call, Plugin, run


def add(call: Call) -> Result:
    """Make the bridge, the pair, the addresses and the rules; leave nothing when one fails."""
    config = BridgeConfig.of(call)
    mac = asked_mac(call, config)
    container.require(call.netns)
    result = Result(dns=Dns.from_wire(call.config.child("dns")))
    with ExitStack() as undo, Netlink() as netlink:
        bridge = bridge_host.ensure(netlink, config)
        pair = pairs.make(netlink, call, mtu=config.mtu, mac=mac, bridge=bridge.index)
        undo.callback(pairs.delete_inside, call.netns, call.ifname)
        if config.hairpin_mode or config.port_isolation:  # a new port is neither
            port = {"hairpin": config.hairpin_mode, "isolated": config.port_isolation}
            links.set_port(netlink, pair.host.index, **port)
        bridge_vlans.plug(netlink, pair.host, config)
        if config.macspoofchk:
            mac_spoof.add(call, pair.host.name, pair.inside.mac)
            undo.callback(mac_spoof.delete, call)
        bridge = pairs.named(netlink, bridge.name)  # its MAC and its MTU may follow its ports
        host = pair.host
        if call.ipam_type:
            result = _addressed(netlink, call, config, bridge, pair=pair, undo=undo)
        elif not config.disable_container_interface:
            with container.entered(call.netns), Netlink() as inside:
                links.set_up(inside, pair.inside.index)
        if not config.disable_container_interface:
            host = bridge_host.await_port(netlink, host)
        undo.pop_all()
    # CHECK compares a pair's ends with each other; what the bridge's MTU was only this can say.
    mtu = bridge.mtu if versions.at_least(call.cni_version, "1.1.0") else 0
    interfaces = (
        Interface(bridge.name, mac=bridge.mac, mtu=mtu),
        Interface(host.name, mac=host.mac),
        Interface(call.ifname, mac=pair.inside.mac, sandbox=call.netns),
    )
    return replace(result, interfaces=(*interfaces, *result.interfaces))


def _addressed(
    netlink: Netlink,
    call: Call,
    config: BridgeConfig,
    bridge: Link,
    *,
    pair: Pair,
    undo: ExitStack,
) -> Result:
    """Have addresses assigned, and do everything that follows from them.

    Return the result with the interfaces that only this needed: the gateway in a VLAN.
    """
    assigned = delegate.add(call)
    undo.callback(delegate.delete, call)
    dns = Dns.from_wire(call.config.child("dns")) or assigned.dns
    result = replace(gateways.with_gateways(config, assigned), dns=dns, interfaces=())
    _configure_inside(call, config, pair.inside, result)
    if config.gateway:
        link = bridge_vlans.gateway(netlink, bridge, config) if config.vlan else bridge
        for taking_back in bridge_host.make_gateway(
            netlink, link, result.ips, port=pair.host, force=config.force_address
        ):
            undo.callback(taking_back)
        forwarding.enable(ip.address.version for ip in result.ips)
        if link is not bridge:
            result = replace(result, interfaces=(Interface(link.name, mac=link.mac),))
    if config.ip_masq:
        undo.callback(ip_masq.delete, call)
        ip_masq.add(call, config.ip_masq_backend, [ip.address for ip in result.ips])
    return result


def _configure_inside(call: Call, config: BridgeConfig, link: Link, result: Result) -> None:
    with container.entered(call.netns), Netlink() as inside:
        conf = ("ipv6", "conf", call.ifname)
        if config.enabledad:
            sysctl.write(*conf, "enhanced_dad", value="1")
        sysctl.write(*conf, "accept_dad", value="1" if config.enabledad else "0")
        # The kernel announces the address when the link comes up.
        sysctl.write("ipv4", "conf", call.ifname, "arp_notify", value="1")
        container.configure(inside, link, result, detect=config.enabledad)


def check(call: Call) -> None:
    """Check the lease, and every object that ADD made."""
    config = BridgeConfig.of(call)
    delegate.check(call)
    bridge_check.check(call, config)


def delete(call: Call) -> None:
    """Remove the pair, the lease and the rules; what is gone already is no error."""
    with ExitStack() as everything:  # each of them, whatever the others raise
        if call.config.flag("ipMasq"):
            everything.callback(ip_masq.delete, call)
        if call.config.flag("macspoofchk"):
            everything.callback(mac_spoof.delete, call)
        everything.callback(pairs.delete, call)
        everything.callback(delegate.delete, call)  # first: dhcp releases through the link


def gc(call: Call) -> None:
    """Remove the pairs, leases and rules of every attachment that is not valid."""
    valid = call.valid_attachments
    with ExitStack() as everything:
        if call.config.flag("ipMasq"):
            everything.callback(ip_masq.gc, call)
        if call.config.flag("macspoofchk"):
            everything.callback(mac_spoof.gc, call)
        everything.callback(
            pairs.delete_marked, lambda alias: marks.is_stale(alias, call.network, valid)
        )
        everything.callback(delegate.gc, call)


def status(call: Call) -> None:
    """Say whether an ADD could succeed, and whether who hangs on the bridge is cut off.

    IPAM has its own say, and some keys need something.
    """
    config = BridgeConfig.of(call)
    bridge_status.require_possible(call, config)
    if config.memberships:
        try:
            vlans.require_filtering()
        except MissingError as exc:
            raise CniError(f"vlan: {exc.message}", exc.hint, code=Code.NOT_AVAILABLE) from exc
    if config.macspoofchk:
        mac_spoof.status()
    if config.ip_masq:
        ip_masq.status(config.ip_masq_backend)
    delegate.status(call)
    bridge_status.require_connectivity(call, config)


PLUGIN = Plugin(
    "bridge",
    add=add,
    check=check,
    delete=delete,
    gc=gc,
    status=status,
    about="Plugs containers into a Linux bridge, with addresses or as layer 2 only.",
    config=BridgeConfig,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
