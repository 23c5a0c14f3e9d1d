"""Faults of a Node, done and undone: its disks, its cached results, its locks, its addresses.

Runs on a thread of the Node.  What a fault is, :mod:`podnet.rig.faults` says; to start a
Node again is for whoever holds it.
"""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from podnet.cni.config import Network
from podnet.cni.wire import Fields
from podnet.errors import UsageError
from podnet.kernel import disks
from podnet.places import LIBCNI_CACHE, Places
from podnet.rig.faults import Fault

#: Where host-local keeps its leases, a file for each.
LEASES = Path("/var/lib/cni/networks")
_OWN = ("/run", "/var/lib", "/etc/cni")
_NOBODY = b"podnet-fault\r\neth0"
_MOST_ADDRESSES = 65536
_LARGEST_DISK = 64 << 20

Undo = Callable[[], None]


def befall(fault: Fault, places: Places, networks: Iterable[Network]) -> Undo:
    """Let a fault of the Node happen; return what undoes it.

    Raises:
        UsageError: It cannot happen here.
    """
    match fault.kind:
        case "disk-full":
            if disks.occupied(_path(fault), _LARGEST_DISK) > _LARGEST_DISK:
                raise UsageError(f"the fault {fault}: there is too much below it to be moved")
            return _disk(fault, disks.fill, disks.empty)
        case "disk-read-only":
            return _disk(fault, disks.make_read_only, disks.uncover)
        case "cache-empty":
            return _cached(places, lambda path: path.write_bytes(b""))
        case "cache-gone":
            return _cached(places, Path.unlink)
        case "lock-held":
            return _lock(_path(fault))
        case "ipam-exhausted":
            return _exhaust(_named(networks, fault))
        case _:
            raise UsageError(f"the fault {fault} cannot be done to a Node that runs on")


def _path(fault: Fault) -> Path:
    """Return the path of a fault; one that is the machine's, too, is refused."""
    path = Path(fault.value)
    if not any(path.resolve().is_relative_to(one) for one in _OWN):
        raise UsageError(
            f"the fault {fault}: {path} is not the Node's own", f"a path below {', '.join(_OWN)}"
        )
    return path


def _disk(fault: Fault, done: Callable[[Path], None], undone: Callable[[Path], None]) -> Undo:
    directory = _path(fault)
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    done(directory)
    return lambda: undone(directory)


def _cached(places: Places, spoil: Callable[[Path], object]) -> Undo:
    for cache in {places.cache, LIBCNI_CACHE}:
        results = cache / "results"
        for path in results.iterdir() if results.is_dir() else ():
            spoil(path)
    return lambda: None  # what is lost is lost


def _lock(path: Path) -> Undo:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return lambda: os.close(descriptor)


def _named(networks: Iterable[Network], fault: Fault) -> Network:
    known = {network.name: network for network in networks}
    if fault.value not in known:
        there = f"there are: {', '.join(known)}" if known else "there are none yet"
        raise UsageError(f"the fault {fault}: there is no network {fault.value}", there)
    return known[fault.value]


def _exhaust(network: Network) -> Undo:
    """Lease every free address to nobody."""
    directory = LEASES / network.name
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    taken = []
    for address in pool(network):
        path = directory / str(address)
        if not path.exists():
            path.write_bytes(_NOBODY)
            taken.append(path)

    def give_back() -> None:
        for path in taken:
            if path.is_file() and path.read_bytes() == _NOBODY:
                path.unlink()

    return give_back


def pool(network: Network) -> list[IPv4Address | IPv6Address]:
    """Return the addresses that host-local may give to pods of *network*.

    Raises:
        UsageError: Another IPAM plugin is in charge, or there are too many.
    """
    found: list[IPv4Address | IPv6Address] = []
    for plugin in network.plugins:
        ipam = Fields(plugin.config).child("ipam")
        if ipam is not None and ipam.text("type") == "host-local":
            for one in _ranges(ipam):
                found += _addresses(one)
    if not found:
        raise UsageError(f"network {network.name} gets no addresses from host-local")
    return found


def _ranges(ipam: Fields) -> Iterator[Fields]:
    if ipam.text("subnet"):
        yield ipam
    for number, alternatives in enumerate(ipam.items("ranges")):
        yield from Fields({"set": alternatives}, f"ranges[{number}]").children("set")


def _addresses(one: Fields) -> Iterator[IPv4Address | IPv6Address]:
    subnet = ip_network(one.text("subnet"), strict=False)
    if subnet.num_addresses > _MOST_ADDRESSES:
        raise UsageError(f"the range {subnet} has too many addresses to take", "a smaller subnet")
    gateway = one.text("gateway") or str(subnet[1])
    first = ip_address(one.text("rangeStart") or str(subnet[1]))
    last = ip_address(one.text("rangeEnd") or str(subnet[-2]))
    for address in subnet.hosts():
        if int(first) <= int(address) <= int(last) and str(address) != gateway:
            yield address
