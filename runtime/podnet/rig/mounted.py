"""The mounts of a Node, as facts, and which network namespaces are pinned on it.

A Node begins with the mounts of the machine, some of them covered by its own and some of them
pins of other Nodes: none of these are its own, and nobody looks into them.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from podnet.kernel.facts import Fact
from podnet.rig import disk

_MOUNTS = "/proc/thread-self/mountinfo"
_OCTAL = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}
_NETWORK = "net:["


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo: where, which file system, and what of it is shown there."""

    point: str
    kind: str
    root: str


def every() -> list[Mount]:
    """Return the mounts of the mount namespace that the calling thread is in."""
    text = Path(_MOUNTS).read_text(encoding="utf-8", errors="surrogateescape")
    return [_mount(line) for line in text.splitlines()]


def _mount(line: str) -> Mount:
    front, _, back = line.partition(" - ")
    _, _, _, root, point, *_ = front.split()
    for code, character in _OCTAL.items():
        point = point.replace(code, character)
    return Mount(point, back.split()[0], root)


def pins(mounts: Sequence[Mount], directories: Sequence[str]) -> list[str]:
    """Return where network namespaces are pinned, below some directories, and can be seen."""
    found = [
        m for m in mounts if m.root.startswith(_NETWORK) and disk.is_below(m.point, directories)
    ]
    return list(dict.fromkeys(mount.point for mount in found if _is_shown(mount)))


def _is_shown(mount: Mount) -> bool:
    """Tell whether a pin is not covered by something else."""
    try:
        return mount.root == f"{_NETWORK}{os.stat(mount.point).st_ino}]"  # noqa: PTH116
    except OSError:
        return False


def facts(mounts: Sequence[Mount], ignored: Sequence[str]) -> Iterator[Fact]:
    """Yield the facts of mounts; those of network namespaces are pins."""
    for mount in mounts:
        if not mount.root.startswith(_NETWORK) and not disk.is_below(mount.point, ignored):
            yield Fact("mount", f"{mount.kind} {mount.point}")
