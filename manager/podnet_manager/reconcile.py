"""The difference between what the kernel should hold and what it holds, and its end.

Whatever anybody broke, added or left behind is found here: at the start, on every event and
now and then.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from podnet.kernel import neighbours, routes
from podnet.kernel.neighbours import Forwarding, Neighbour
from podnet.kernel.netlink import Netlink, NetlinkError, Request
from podnet.kernel.routes import Route
from podnet_manager.desired import METRICS, PROTOCOL, Entry

_FAMILIES = (4, 6)


@dataclass(frozen=True, slots=True)
class Difference:
    """What must go, and what must be set."""

    remove: frozenset[Entry]
    put: frozenset[Entry]

    def __bool__(self) -> bool:
        return bool(self.remove or self.put)

    def __str__(self) -> str:
        return f"{len(self.put)} to set, {len(self.remove)} to remove"


def difference(desired: Iterable[Entry], actual: Iterable[Entry]) -> Difference:
    """Compare; what only changes is set, and not removed before."""
    wanted, there = frozenset(desired), frozenset(actual)
    keys = {key(entry) for entry in wanted}
    found = Counter(map(key, there))
    gone = frozenset(e for e in there - wanted if key(e) not in keys or found[key(e)] > 1)
    return Difference(gone, wanted - there)


def is_beside(entry: Entry) -> bool:
    """Tell whether somebody's entry can be beside another of its key, and before it.

    Routes of IPv4 can; all else that is set twice takes the place of the first.
    """
    if not isinstance(entry, Route) or entry.protocol == routes.PROTOCOL_KERNEL:
        return False
    return entry.dst.version == 4  # noqa: PLR2004


def is_ours(entry: Entry, devices: Collection[int]) -> bool:
    """Tell whether nobody but us sets such an entry, with *devices* being ours."""
    match entry:
        case Route():
            by_kernel = entry.protocol == routes.PROTOCOL_KERNEL
            return not by_kernel and (entry.protocol == PROTOCOL or entry.oif in devices)
        case Neighbour() | Forwarding():
            return entry.index in devices


def rival(entry: Entry) -> tuple[object, ...] | None:
    """Return the key of a route of ours that packets would not take while *entry* is there."""
    if not isinstance(entry, Route) or entry.protocol == routes.PROTOCOL_KERNEL:
        return None
    metric = METRICS[entry.dst.version]
    return ("route", entry.dst, metric) if entry.priority <= metric else None


def key(entry: Entry) -> tuple[object, ...]:
    """Return what there should be one entry of."""
    match entry:
        case Route():
            return "route", entry.dst, entry.priority
        case Neighbour():
            return "neighbour", entry.index, entry.address
        case Forwarding():
            return "forwarding", entry.index, entry.mac


def actual(netlink: Netlink, devices: Iterable[int], desired: Iterable[Entry]) -> set[Entry]:
    """Return what the kernel holds of ours, and what stands in the way of what is desired.

    Args:
        netlink: A socket in the Node's namespace.
        devices: The vxlan links: everything on them is ours.
        desired: What should be there.
    """
    ours = set(devices)
    wanted = {key(entry) for entry in desired if isinstance(entry, Route)}
    found = set[Entry]()
    for family in _FAMILIES:
        for route in routes.every(netlink, family):
            if is_ours(route, ours) or rival(route) in wanted:
                found.add(route)
        for device in ours:
            found.update(neighbours.of(netlink, device, family))
    for device in ours:
        found.update(neighbours.forwarding_of(netlink, device))
    return found


def apply(netlink: Netlink, change: Difference) -> list[NetlinkError]:
    """Make the change, in few messages; return what the kernel refused.

    Routes go first and come last: no packet takes a route whose neighbour is missing.
    """
    requests = [
        *map(_removal, sorted(change.remove, key=_is_no_route)),
        *map(_setting, sorted(change.put, key=_is_no_route, reverse=True)),
    ]
    return netlink.batch(requests)


def _is_no_route(entry: Entry) -> bool:
    return not isinstance(entry, Route)


def _removal(entry: Entry) -> Request:
    return routes.deleting(entry) if isinstance(entry, Route) else neighbours.deleting(entry)


def _setting(entry: Entry) -> Request:
    return routes.replacing(entry) if isinstance(entry, Route) else neighbours.setting(entry)
