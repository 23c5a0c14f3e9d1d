"""What a plugin keeps in files, and what becomes of it: disks in trouble, and files that are spoilt.

Finds the files by looking before and after ADD, so that it need not be told of them; knows
nothing of what a plugin means by them, and judges nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from podnet.kernel import disks
from podnet.plan import Attachment
from podnet.rig import disk
from podnet.rig.caller import NAMESPACES
from podnet.rig.conformance.scene import Inapplicable
from podnet.rig.conformance.trial import Trial, succeeded
from podnet.rig.picture import WHOLE

Contents = dict[Path, bytes]
#: What stays while its directories come and go: a Node's disk, and its memory.
_DISK, _MEMORY = Path("/var/lib"), Path("/run")
# The lock of iptables is no plugin's.
_OTHERS = (*WHOLE.ignored, str(NAMESPACES), "/run/xtables.lock")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a disk: the word for it, and how it begins and ends."""

    word: str
    begin: Callable[[Path], None]
    end: Callable[[Path], None]


FULL = Trouble("full", disks.fill, disks.empty)
READ_ONLY = Trouble("read-only", disks.make_read_only, disks.uncover)

#: What a power cut makes of a file that was written to and not synced.
SPOILT: Mapping[str, Callable[[bytes], bytes]] = {
    "is empty": lambda _: b"",
    "is full of NULs": lambda content: bytes(len(content)),
}


def contents() -> Contents:
    """Return all plain files that a plugin may have written, of the Node that the thread is in."""
    found = {}
    for name in disk.files(WHOLE.directories, _OTHERS):
        path = Path(name)
        if path.is_file() and not path.is_symlink():
            found[path] = path.read_bytes()
    return found


def written(before: Contents, after: Contents) -> list[Path]:
    """Return the files that have come, or have other contents."""
    return sorted(path for path, content in after.items() if before.get(path) != content)


def disks_of(files: Iterable[Path]) -> list[Path]:
    """Return the directories that stand for the disks of some files."""
    found = set()
    for path in files:
        if path.is_relative_to(_DISK):
            found.add(_DISK)
        elif path.is_relative_to(_MEMORY) and len(path.parts) > len(_MEMORY.parts) + 1:
            # Not all of it: pods are pinned there.
            found.add(_MEMORY / path.parts[len(_MEMORY.parts)])
    return sorted(found)


def learnt(trial: Trial) -> list[Path]:
    """Have an attachment come and go twice; return the disks on which a file of it was.

    Raises:
        Inapplicable: None was: the plugin does not care how disks are.
    """
    _came_and_went(trial)
    # What the network needs once is there by now: the rest is the attachment's.
    found = disks_of(_came_and_went(trial))
    if not found:
        raise Inapplicable("it keeps no file of an attachment")
    return found


def _came_and_went(trial: Trial) -> list[Path]:
    pod = trial.pod("pod0")
    before = trial.on_node(contents)
    trial.added(pod)
    after = trial.on_node(contents)
    trial.deleted(pod)
    trial.vanish(pod)
    return sorted(after.keys() - before.keys())


@contextmanager
def in_trouble(trial: Trial, directories: Iterable[Path], trouble: Trouble) -> Iterator[None]:
    """Have disks in trouble for a while."""
    with ExitStack() as undo:
        for directory in directories:
            trial.on_node(trouble.begin, directory)
            undo.callback(trial.on_node, trouble.end, directory)
        yield


def spoilings(trial: Trial, pod: Attachment, *, mended: bool = True) -> Iterator[str]:
    """ADD *pod* again and again, and spoil one of its files each time, in each way; say which.

    The files that its network shares are among them.

    Args:
        trial: Where.
        pod: What comes and goes.
        mended: Give the file its content again before DEL, unless somebody has dealt with it;
            not where DEL is what is asked for.

    Raises:
        Inapplicable: There are none.
        Violation: An ADD fails.
    """
    known: set[Path] = set()
    last, number = "", 0
    while True:
        before = trial.on_node(contents)
        succeeded(trial.add(pod), f"ADD after one where {last}" if last else "ADD")
        there = trial.on_node(contents)
        known.update(written(before, there))
        ways = [
            (path, how, spoil(there[path]))
            for path in sorted(known & there.keys())
            for how, spoil in SPOILT.items()
            if spoil(there[path]) != there[path]
        ]
        if not ways:
            raise Inapplicable("it keeps no files")
        if number == len(ways):
            return
        path, how, bad = ways[number]
        trial.on_node(path.write_bytes, bad)
        last = f"{path} {how}"
        yield last
        if mended:
            trial.on_node(_mend, path, bad, there[path])
        trial.delete(pod)
        number += 1


def _mend(path: Path, bad: bytes, good: bytes) -> None:
    if path.is_file() and path.read_bytes() == bad:
        path.write_bytes(good)
