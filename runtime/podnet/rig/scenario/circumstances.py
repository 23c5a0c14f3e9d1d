"""What is so on a Node around a failure: caches, locks, disks, leases.

Runs on a thread of the Node, and changes nothing.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from podnet.cache import Cache
from podnet.cni.config import Network
from podnet.errors import UsageError
from podnet.kernel import disks as kernel_disks
from podnet.places import LIBCNI_CACHE, Places
from podnet.rig import disasters, disk, picture, running
from podnet.rig.disasters import LEASES

_WATCHED = (Path("/var/lib/cni"), Path("/var/lib/podnet"), Path("/run"))


def unreadable(found: Places) -> dict[str, int]:
    """Return the cached results that cannot be read, and their size."""
    sizes = {}
    for path in (p for one in {found.cache, LIBCNI_CACHE} for p in Cache(one).junk()):
        with suppress(FileNotFoundError):  # it went while we looked
            sizes[str(path)] = path.stat().st_size
    return sizes


def locks() -> list[str]:
    """Return the files whose lock somebody holds; to try them would be to hold them, for a moment."""
    found = picture.WHOLE
    return [
        path
        for path in running.locked()
        if disk.is_below(path, found.directories) and not disk.is_below(path, found.ignored)
    ]


def disks(more: Sequence[Path]) -> dict[str, str]:
    """Return the directories whose disk is full or read-only.

    Args:
        more: Where to look besides the usual places.
    """
    looked = {path: kernel_disks.state(path) for path in (*_WATCHED, *more) if path.is_absolute()}
    return {str(path): state for path, state in looked.items() if state}


def leases() -> dict[Path, str]:
    """Return host-local's leases, and the container of each; "" where it names none."""
    found = {}
    for path in sorted(LEASES.glob("*/*")):
        with suppress(ValueError, FileNotFoundError):
            ip_address(path.name)
            text = path.read_text(errors="replace").split()
            found[path] = text[0] if text else ""
    return found


def pools(networks: Sequence[Network], living: Sequence[str]) -> Mapping[str, tuple[int, int]]:
    """Return the networks all of whose addresses are leased: how many, and how many to nobody.

    Args:
        networks: Which to look at.
        living: The containers that are there.
    """
    full = {}
    held = leases()
    for network in networks:
        mine = {p.name: owner for p, owner in held.items() if p.parent.name == network.name}
        with suppress(UsageError):
            if all(str(address) in mine for address in disasters.pool(network)):
                full[network.name] = (len(mine), sum(o not in living for o in mine.values()))
    return full
