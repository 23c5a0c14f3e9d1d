"""bandwidth: limit what a pod receives and sends, with token buckets on the host.

What the pod receives leaves the host by its end of the veth pair, and waits there; what it
sends arrives there, is sent on to an ifb of the attachment's, and waits in that.  Objects,
numbers and names are the reference's (containernetworking/plugins, meta/bandwidth).  Unlike
it two interfaces of one container do not share an ifb, a failed ADD leaves nothing, CHECK
looks at the redirection too, DEL removes what is on the host's end, GC and STATUS are real.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from podnet.cni.errors import CniError, Code
from podnet.cni.result import Interface, Result
from podnet.cni.versions import RELEASED
from podnet.kernel import links, namespaces, removal, traffic
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink, NetlinkError
from podnet.kernel.traffic import Redirection, TokenBucket
from podnet_plugins import marks
from podnet_plugins.bandwidth_config import BandwidthConfig, Limits
from podnet_plugins.container import entered
from podnet_plugins.hashes import sha512
from podnet_plugins.skel import Call, Plugin, run

_PREFIX, _LONGEST = "bwp", 15


def add(call: Call) -> Result:
    """Make the buckets that are asked for; leave none when one fails."""
    previous = call.require_chained()
    limits = Limits.of(call)
    if not limits:
        return previous
    with Netlink() as netlink, ExitStack() as undo:
        host = _host_end(netlink, call, previous)
        if limits.ingress is not None:
            _shape(netlink, host, limits.ingress)
            undo.callback(traffic.delete_token_bucket, netlink, host.index)
        made: tuple[Interface, ...] = ()
        if limits.egress is not None:
            ifb = _add_ifb(netlink, call, host.mtu)
            undo.callback(links.delete, netlink, ifb.name)
            links.set_alias(netlink, ifb.index, _mark(call))
            with _naming("create ingress qdisc"):
                traffic.add_ingress(netlink, host.index)
            undo.callback(traffic.delete_ingress, netlink, host.index)
            with _naming("add filter"):
                traffic.redirect(netlink, host.index, to=ifb.index)
            _shape(netlink, ifb, limits.egress)
            made = (Interface(ifb.name, mac=ifb.mac),)
        undo.pop_all()
    return replace(previous, interfaces=(*previous.interfaces, *made))


def check(call: Call) -> None:
    """Check the buckets, and the way to the one in the ifb."""
    previous = call.require_chained()
    limits = Limits.of(call)
    if not limits:
        return
    with Netlink() as netlink:
        host = _host_end(netlink, call, previous)
        if limits.ingress is not None:
            _check_bucket(netlink, host, limits.ingress)
        if limits.egress is not None:
            ifb = _ifb(netlink, call)
            if ifb is None:
                raise CniError("get ifb device: Link not found")
            if not ifb.up:
                raise CniError(f"ifb device {ifb.name} is down")
            if ifb.mtu != host.mtu:
                raise CniError(f"ifb device {ifb.name} has MTU {ifb.mtu}, not {host.mtu}")
            _check_bucket(netlink, ifb, limits.egress)
            wanted = Redirection(to=ifb.index, whole=True)
            if wanted not in traffic.redirections(netlink, host.index):
                raise CniError(f"what arrives on {host.name} is not redirected to {ifb.name}")


def delete(call: Call) -> None:
    """Remove the ifb, and the queues on the host's end where that is still there."""
    with Netlink() as netlink:
        ifb, host = _ifb(netlink, call), _remaining_host_end(netlink, call)
        if host is not None:
            traffic.delete_token_bucket(netlink, host.index)
            if _is_our_queue(netlink, host, ifb):
                traffic.delete_ingress(netlink, host.index)
        # After the queue: where the filter is gone, only the ifb says whose the queue is.
        if ifb is not None:
            removal.remove(ifb.name)


def _is_our_queue(netlink: Netlink, host: Link, ifb: Link | None) -> bool:
    """Tell whether the ingress queue, if there is one, leads to our ifb and nowhere else.

    A filter whose ifb is gone leads nowhere, which the kernel calls 0.  With the ifb there, ADD
    made the queue, whatever became of its filter: ADD refuses a link that has one.
    """
    targets = {one.to for one in traffic.redirections(netlink, host.index)}
    return targets == {0} if ifb is None else targets <= {0, ifb.index}


def gc(call: Call) -> None:
    """Remove the ifbs of attachments that are not valid; the queues die with the veth."""
    valid = call.valid_attachments
    with Netlink() as netlink:
        for link in links.every(netlink):
            if link.kind == "ifb" and marks.is_stale(link.alias, call.network, valid):
                removal.remove(link.name)


def status(call: Call) -> None:
    """An ADD succeeds when the limits are right and the kernel can do what they need."""
    try:
        Limits.of(call)
        traffic.try_out()
    except CniError as exc:
        raise CniError(exc.msg, exc.details, code=Code.NOT_AVAILABLE) from exc
    except OSError as exc:
        message = "the kernel lacks what bandwidth needs (tbf, ifb, ingress, u32, mirred)"
        raise CniError(message, str(exc.strerror), code=Code.NOT_AVAILABLE) from exc


def _shape(netlink: Netlink, link: Link, bucket: TokenBucket) -> None:
    with _naming("create qdisc"):
        traffic.add_token_bucket(netlink, link.index, bucket)


@contextmanager
def _naming(what: str) -> Iterator[None]:
    try:
        yield
    except NetlinkError as exc:
        reason = os.strerror(exc.errno or 0).lower()
        raise CniError(f"{what}: {reason}", str(exc.strerror)) from exc


def _check_bucket(netlink: Netlink, link: Link, wanted: TokenBucket) -> None:
    found = traffic.token_bucket(netlink, link.index)
    if found != wanted:
        raise CniError(
            f"the traffic of {link.name} is not shaped as it was: {found or 'not at all'}"
        )


def _host_end(netlink: Netlink, call: Call, previous: Result) -> Link:
    """Return the host's end of the container's interface, which prevResult must know."""
    if not previous.interfaces:
        raise CniError("no interfaces provided")
    with entered(call.netns), Netlink() as inside:
        link = links.find(inside, call.ifname)
    if link is None or link.kind != "veth":
        reason = f'interface "{call.ifname}" was not a veth interface'
        if link is None:
            reason = f'could not look up "{call.ifname}": Link not found'
        raise CniError(f"container interface {call.ifname} has no veth peer: {reason}")
    host = _other_end(netlink, link)
    if host is None or host.name not in {i.name for i in previous.interfaces if not i.sandbox}:
        raise CniError("no veth peer of container interface found in host ns")
    return host


def _remaining_host_end(netlink: Netlink, call: Call) -> Link | None:
    if not call.netns or not namespaces.is_namespace(call.netns):
        return None
    with entered(call.netns), Netlink() as inside:
        link = links.find(inside, call.ifname)
    return _other_end(netlink, link) if link and link.kind == "veth" else None


def _other_end(netlink: Netlink, link: Link) -> Link | None:
    found = links.at(netlink, link.peer)
    return found if found and found.kind == "veth" and found.peer == link.index else None


def _add_ifb(netlink: Netlink, call: Call, mtu: int) -> Link:
    """Make the ifb, under another name where a second interface of the container has the first."""
    name, other = _names(call)
    taken = links.find(netlink, name)
    if taken is not None and not _is_ours(taken, call):
        name = other
    with _naming("adding link"):
        links.add_ifb(netlink, name, mtu=mtu)
    made = links.find(netlink, name)
    if made is None:
        raise CniError("get ifb device: Link not found")
    return made


def _ifb(netlink: Netlink, call: Call) -> Link | None:
    """Return the attachment's ifb: marked as its own, or of the reference, which marks none."""
    name, other = _names(call)
    for candidate in (other, name):
        found = links.find(netlink, candidate)
        if found is not None and (_is_ours(found, call) or not found.alias):
            return found
    return None


def _names(call: Call) -> tuple[str, str]:
    """Return the reference's name for a container's ifb, and the one with the interface in it."""
    first = f"{call.network}{call.container_id}"
    hashes = [sha512(text.encode()).hexdigest() for text in (first, f"{first}:{call.ifname}")]
    first, other = ((_PREFIX + each)[:_LONGEST] for each in hashes)
    return first, other


def _mark(call: Call) -> str:
    return marks.mark(call.network, call.container_id, call.ifname)


def _is_ours(link: Link, call: Call) -> bool:
    return link.alias.startswith(marks.prefix(call.network, call.container_id, call.ifname))


PLUGIN = Plugin(
    "bandwidth",
    add=add,
    check=check,
    delete=delete,
    gc=gc,
    status=status,
    versions=RELEASED[2:],
    about="Limits how much an interface sends and receives.",
    config=BandwidthConfig,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
