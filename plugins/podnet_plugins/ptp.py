"""ptp: a link of its own between a container and the host, which routes for it.

Keys, results and kernel objects are the reference's (containernetworking/plugins, main/ptp).
Where it waits, leaves things behind or does not look, this one does not: no duplicate
address detection, a failed ADD leaves no pair, CHECK looks at the host's side too, DEL needs
no namespace to find pair and rules, GC and STATUS are real.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace

from podnet.cni.errors import CniError, Code, InvalidConfigError
from podnet.cni.result import Dns, Interface, Result
from podnet.kernel import addresses, links
from podnet.kernel.netlink import Netlink
from podnet_plugins import (
    container,
    delegate,
    forwarding,
    ip_masq,
    marks,
    pairs,
    previous,
    ptp_routes,
)
from podnet_plugins.ip_masq import BACKENDS
from podnet_plugins.schema import key, read
from podnet_plugins.skel import Call, Plugin, run

_LARGEST_MTU = 65535
_INSIDE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PtpConfig:
    """The keys of the ptp plugin, with the reference's names and defaults."""

    mtu: int = key(0, least=0, most=_LARGEST_MTU, doc="For both ends; 0 is the kernel's choice.")
    ip_masq: bool = key(False, doc="Masquerade what leaves the container's subnet.")
    ip_masq_backend: str = key(
        "",
        choices=("", *BACKENDS),
        doc="What masquerades; by default nftables, or iptables without nft.",
    )


def _config(call: Call) -> PtpConfig:
    if not call.ipam_type:
        raise InvalidConfigError("no plugin name provided", "ptp needs an ipam section with a type")
    ip_masq.check_backend(call)
    return read(PtpConfig, call.config)


def add(call: Call) -> Result:
    """Make the pair, the addresses, the routes and the rules; leave nothing when one fails."""
    config = _config(call)
    with ExitStack() as undo, Netlink() as netlink:
        pair = pairs.make(netlink, call, mtu=config.mtu)
        undo.callback(pairs.delete_inside, call.netns, call.ifname)
        assigned = delegate.add(call)
        undo.callback(delegate.delete, call)
        ips = tuple(replace(ip, interface=_INSIDE) for ip in assigned.ips)
        for ip in ips:
            ptp_routes.gateway_of(ip)
        dns = Dns.from_wire(call.config.child("dns")) or assigned.dns
        result = replace(assigned, ips=ips, dns=dns)
        forwarding.enable(ip.address.version for ip in ips)
        with container.entered(call.netns), Netlink() as inside:
            ptp_routes.configure_inside(inside, pair.inside, result)
        ptp_routes.configure_host(netlink, pair.host, ips)
        if config.ip_masq:
            undo.callback(ip_masq.delete, call)
            ip_masq.add(call, config.ip_masq_backend, [ip.address for ip in ips])
        undo.pop_all()
    interfaces = (
        Interface(pair.host.name, mac=pair.host.mac),
        Interface(call.ifname, mac=pair.inside.mac, sandbox=call.netns),
    )
    return replace(result, interfaces=interfaces)


def check(call: Call) -> None:
    """Check the lease, and every object that ADD made, on both sides."""
    config = _config(call)
    delegate.check(call)
    result = call.require_chained("ptp: Required prevResult missing")
    expected = previous.own(call, result)
    with container.entered(call.netns), Netlink() as netlink:
        inside = previous.as_made(netlink, expected.inside, "veth")
        ptp_routes.check_inside(netlink, inside, expected.ips, result)
    with Netlink() as netlink:
        host = previous.other_end(netlink, expected, inside)
        ptp_routes.check_host(netlink, host, expected.ips)
    previous.check_pair_mtu(call, inside, host, expected.inside, config.mtu)
    if off := forwarding.missing(ip.address.version for ip in expected.ips):
        raise CniError(f"the host does not forward: {', '.join(off)} is off")
    if config.ip_masq:
        ip_masq.check(call, config.ip_masq_backend, [ip.address for ip in expected.ips])


def delete(call: Call) -> None:
    """Remove the pair, the lease and the rules; what is gone already is no error."""
    with ExitStack() as everything:  # each of them, whatever the others raise
        if call.config.flag("ipMasq"):
            everything.callback(ip_masq.delete, call)
        everything.callback(pairs.delete, call)
        everything.callback(delegate.delete, call)  # first: dhcp releases through the link


def gc(call: Call) -> None:
    """Remove the pairs, leases and rules of every attachment that is not valid."""
    valid = call.valid_attachments
    with ExitStack() as everything:
        if call.config.flag("ipMasq"):
            everything.callback(ip_masq.gc, call)
        everything.callback(
            pairs.delete_marked, lambda alias: marks.is_stale(alias, call.network, valid)
        )
        everything.callback(delegate.gc, call)


def status(call: Call) -> None:
    """Say whether an ADD could succeed, and whether the network's containers are cut off.

    IPAM has its own say, and masquerading needs its tool.
    """
    config = _config(call)
    if config.ip_masq:
        ip_masq.status(config.ip_masq_backend)
    delegate.status(call)
    if off := forwarding.missing(_families(call)):
        raise CniError(
            f"the host does not forward: {', '.join(off)} is off",
            "containers are cut off; the next ADD would mend it",
            code=Code.LIMITED_CONNECTIVITY,
        )


def _families(call: Call) -> set[int]:
    """Return the families of the addresses at the host's ends of the network's pairs."""
    prefix = marks.network_prefix(call.network)
    with Netlink() as netlink:
        ours = {link.index for link in links.every(netlink) if link.alias.startswith(prefix)}
        found = addresses.of(netlink, 0) if ours else []
    given = (one.interface for one in found if one.index in ours)
    return {one.version for one in given if not one.ip.is_link_local}


PLUGIN = Plugin(
    "ptp",
    add=add,
    check=check,
    delete=delete,
    gc=gc,
    status=status,
    about="Links a container to the host, which routes for it.",
    config=PtpConfig,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
