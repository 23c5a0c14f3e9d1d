"""Who reaches whom: pods and Nodes, by every way there is.

One process holds both ends of each probe: namespaces are entered by descriptors, which any
thread may use, whatever Node they were opened in.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from podnet import places
from podnet.kernel import addresses, links, namespaces, probes
from podnet.kernel.netlink import Netlink
from podnet.node import Node
from podnet.pod import Pod
from podnet.records import Records

#: The ways; ``mtu`` is the largest echo that the sender's interface takes, not to be fragmented.
WAYS = ("icmp", "mtu", "tcp", "udp")
_PORT = 34567
_AT_ONCE = 16
_FIRST_WAIT = 0.1
_ORDINARY = 56  # bytes of an echo's payload
# IP and ICMP headers around an echo's payload.
_HEADERS = {4: 28, 6: 48}
_SMALLEST_MTU = 1280

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Somebody who is probed, and probes.

    Attributes:
        name: "n1/web", or "@n1" for the Node itself.
        netns: Its network namespace, as a path that this process may open.
        addresses: How it is reached.
        mtu: Of its interface.
    """

    name: str
    netns: str
    addresses: tuple[Address, ...] = ()
    mtu: int = _SMALLEST_MTU

    @property
    def is_node(self) -> bool:
        """Whether it is a Node itself."""
        return self.name.startswith("@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One probe, and what came of it."""

    source: str
    target: str
    address: Address
    way: str
    outcome: probes.Probe


def ends(stack: ExitStack, nodes: Sequence[Node]) -> list[End]:
    """Return the Nodes and their pods; *stack* keeps them open."""
    found = []
    for node in nodes:
        known, mtu = node.run(_uplink)
        found.append(_end(stack, node, f"@{node.name}", namespaces.OWN, known, mtu))
        for pod in node.run(_pods):
            known, mtu = tuple(_addresses(pod)), node.run(_mtu, pod.netns)
            found.append(_end(stack, node, f"{node.name}/{pod.name}", pod.netns, known, mtu))
    return found


def _end(
    stack: ExitStack, node: Node, name: str, netns: str, known: tuple[Address, ...], mtu: int
) -> End:
    descriptor = node.run(os.open, netns, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return End(name=name, netns=f"/proc/self/fd/{descriptor}", addresses=known, mtu=mtu)


def _uplink() -> tuple[tuple[Address, ...], int]:
    """Return how a Node is reached: by its uplink; by a bridge of its pods where it has none."""
    with Netlink() as netlink:
        there = {link.index: link for link in links.every(netlink) if link.kind != "vxlan"}
        listed = [one for one in addresses.of(netlink, 0) if one.index in there and _counts(one)]
    listed.sort(key=lambda one: (there[one.index].kind == "bridge", one.index))
    chosen = {one.interface.version: one for one in reversed(listed)}
    mtu = min((there[one.index].mtu for one in chosen.values()), default=_SMALLEST_MTU)
    return tuple(chosen[version].interface.ip for version in sorted(chosen)), mtu


def _counts(address: addresses.Address) -> bool:
    ip = address.interface.ip
    return not (ip.is_loopback or ip.is_link_local)


def _pods() -> list[Pod]:
    """Return the pods of the calling thread's Node that are alive."""
    records = Records(places.resolve(os.environ).records)
    listed = [pod for pod in records.all() if isinstance(pod, Pod)]
    return [pod for pod in listed if namespaces.is_namespace(pod.netns)]


def _addresses(pod: Pod) -> Iterator[Address]:
    for membership in pod.memberships:
        for ip in membership.result.ips if membership.result else ():
            yield ip_address(str(ip.address.ip))


def _mtu(netns: str) -> int:
    with namespaces.entered(netns), Netlink() as netlink:
        return min((link.mtu for link in links.every(netlink) if link.name != "lo"), default=0)


def probe(everybody: Sequence[End], *, timeout: float) -> list[Cell]:
    """Try every way from Nodes to pods, and from pods to everybody else."""
    wanted = [
        (source, target, address, way)
        for source in everybody
        for target in everybody
        for address in target.addresses
        for way in WAYS
        if _is_wanted(source, target, address)
    ]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        running = [pool.submit(_cell, *one, timeout) for one in _ported(wanted)]
        return [one.result() for one in running]


def _is_wanted(source: End, target: End, address: Address) -> bool:
    """Nodes reach each other by the underlay, which nobody asks for here."""
    speaks = any(own.version == address.version for own in source.addresses)
    return source is not target and speaks and not (source.is_node and target.is_node)


def _ported(
    wanted: Sequence[tuple[End, End, Address, str]],
) -> Iterator[tuple[End, End, Address, str, int]]:
    # Each probe listens on a port of its own: some run at the same time.
    for number, one in enumerate(wanted):
        yield (*one, _PORT + number % 20_000)


def _cell(source: End, target: End, address: Address, way: str, port: int, timeout: float) -> Cell:
    def ask(wait: float) -> probes.Probe:
        match way:
            case "udp":
                return probes.udp(source.netns, target.netns, address, port, timeout=wait)
            case "mtu":
                size = min(source.mtu, target.mtu) - _HEADERS[address.version]
            case _:
                size = _ORDINARY
        return probes.icmp(source.netns, address, size=size, timeout=wait)

    if way == "tcp":
        outcome = probes.tcp(source.netns, target.netns, address, port, timeout=timeout)
    else:
        outcome = _again(ask, timeout)
    return Cell(source=source.name, target=target.name, address=address, way=way, outcome=outcome)


def _again(ask: Callable[[float], probes.Probe], timeout: float) -> probes.Probe:
    """Ask until there is an answer, each time with twice the patience.

    While a neighbour is asked for, or a bridge's port comes up, packets get lost.  TCP does
    the same by itself.
    """
    wait, left = _FIRST_WAIT, timeout
    while True:
        outcome = ask(min(wait, left))
        left -= wait
        if outcome.reached or left <= 0:
            return outcome
        wait *= 2
