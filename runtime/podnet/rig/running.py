"""Processes of a Node that are not podnet's, and the locks that they hold, as facts.

What a plugin leaves running has lost its parent; podnet's own are its children, and theirs.
Locks are asked of the processes, not of /proc/locks: to read that stops every file lock of the
machine for a while.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from podnet.kernel import namespaces, worlds
from podnet.kernel.facts import Fact

_OWN_UTS = "/proc/thread-self/ns/uts"
_INIT = 1
_LOCK = "lock:"
Family = Mapping[int, tuple[int, str]]


def facts() -> Iterator[Fact]:
    """Yield the facts of what runs on the Node that the calling thread is in."""
    own, found = os.getpid(), dict[int, tuple[int, str]]()
    for pid in worlds.processes(namespaces.identity(_OWN_UTS)):
        with suppress(OSError):  # it ended while we looked
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            found[pid] = parent, " ".join(words).strip()
    for pid, (_, command) in found.items():
        if own == _INIT or not _descends(pid, own, found):
            yield Fact("process", f"{command} (pid {pid})")
            yield from (Fact("lock", lock) for lock in sorted({said for said, _ in _locks(pid)}))


def locked() -> set[str]:
    """Return the files of the calling thread's Node whose lock somebody has, ourselves included."""
    family = {os.getpid(), *worlds.processes(namespaces.identity(_OWN_UTS))}
    return {path for pid in family for _, path in _locks(pid) if path}


def _descends(pid: int, ancestor: int, found: Family) -> bool:
    while pid in found and pid != ancestor:
        pid, _ = found[pid]
    return pid == ancestor


def _locks(pid: int) -> Iterator[tuple[str, str]]:
    """Yield the locks of a process, "flock write /run/x.lock", and the file if it is one of ours."""
    with suppress(OSError):  # it ended, or is somebody else's
        for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
            said = [line for line in entry.read_text().splitlines() if line.startswith(_LOCK)]
            file = Path(f"/proc/{pid}/fd/{entry.name}")
            path = str(file.readlink()) if said else ""
            for line in said:  # lock: 1: FLOCK  ADVISORY  WRITE 4711 00:2a:99 0 EOF
                _, _, kind, _, how, *_ = line.split()
                yield f"{kind.lower()} {how.lower()} {path}", path if _is_here(file, path) else ""


def _is_here(file: Path, path: str) -> bool:
    """Tell whether the path is the file's in our mounts, too: a process may work on many Nodes."""
    try:
        return Path(path).samefile(file)
    except OSError:
        return False
