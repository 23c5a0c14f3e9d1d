"""A picture of a Node: everything that a plugin could leave, as facts; and what has changed.

Of the Node's own network namespace and of every one that is pinned on it, what the kernel
holds; and of the Node its namespaces, mounts, processes, files in state directories and the
locks that are held on them.  Knows nothing of plugins, and does not judge.  Looking changes
nothing, and costs a few milliseconds for the Node and for each namespace.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from podnet.kernel import namespaces, snapshot
from podnet.kernel.facts import Fact, numbered
from podnet.node import Node
from podnet.rig import disk, mounted, running
from podnet.rig.mounted import Mount

Picture = frozenset[Fact]
#: Where facts are that are the Node's own, and no other namespace's.
NODE = "node"

#: What a Node has of its own, whatever the machine has there.
OWN = ("/run", "/var/lib", "/etc/cni")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What is in the picture besides what the kernel holds.

    Attributes:
        directories: Whose files are looked at; they may be missing.
        pins: Where else network namespaces are pinned that are looked into.
        ignored: Files and directories below them that are left out.
        processes: Look for processes; on a machine that is no Node there are others' too.
    """

    directories: tuple[str, ...] = OWN
    pins: tuple[str, ...] = ("/run/netns",)
    ignored: tuple[str, ...] = ("/run/podnet", "/run/.podnet-etc", "/var/lib/podnet")
    processes: bool = True


#: A Node that nobody else uses: all of its state.
WHOLE = Frame()
#: A machine with a life of its own: what is CNI's.
SHARED = Frame(directories=("/var/lib/cni", "/run/cni", "/etc/cni"), processes=False)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing, before and after."""

    before: Fact
    after: Fact

    @property
    def attributes(self) -> dict[str, tuple[object, object]]:
        """What is said differently of it: before and after, ``None`` where nothing was said."""
        old, new = dict(self.before.attributes), dict(self.after.attributes)
        both = {key: (old.get(key), new.get(key)) for key in (*old, *new)}
        return {key: pair for key, pair in both.items() if pair[0] != pair[1]}


@dataclass(frozen=True, slots=True)
class Difference:
    """What came, what went, and what is not as it was; each in the order of names.

    Attributes:
        added: Facts that are only in the picture after.
        removed: Facts that are only in the picture before.
        changed: Things in both, of which something else is said.
    """

    added: tuple[Fact, ...] = ()
    removed: tuple[Fact, ...] = ()
    changed: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def take(node: Node, frame: Frame = WHOLE) -> Picture:
    """Take a picture of a Node.

    Raises:
        PodnetError: The kernel or a program refused to tell.
    """
    return node.run(take_here, frame)


def take_here(frame: Frame = WHOLE) -> Picture:
    """Take a picture of the Node that the calling thread is in."""
    mounts = mounted.every()
    pins = mounted.pins(mounts, (*frame.directories, *frame.pins))
    found = set(snapshot.take(NODE))
    found.update(numbered(_things(mounts, pins, frame), NODE))
    seen = {namespaces.identity(namespaces.OWN)}
    for path in pins:
        found |= _inside(path, seen)
    return frozenset(found)


def difference(before: Picture, after: Picture) -> Difference:
    """Return what has changed between two pictures of one Node.

    A namespace that came or went is one fact; what is inside is not told one by one.
    """
    places = {fact.where for fact in before} & {fact.where for fact in after}
    old = {fact.identity: fact for fact in before - after if fact.where in places}
    new = {fact.identity: fact for fact in after - before if fact.where in places}
    return Difference(
        added=tuple(new[key] for key in sorted(new.keys() - old.keys())),
        removed=tuple(
            fact for key in sorted(old.keys() - new.keys()) if not _vanishes(fact := old[key])
        ),
        changed=tuple(Change(old[key], new[key]) for key in sorted(old.keys() & new.keys())),
    )


def _inside(path: str, seen: set[tuple[int, int]]) -> Picture:
    """Look into a pinned network namespace, once however often it is pinned."""
    try:
        identity = namespaces.identity(path)
        if identity in seen:
            return frozenset()
        seen.add(identity)
        with namespaces.entered(path):
            return snapshot.take(path)
    except (FileNotFoundError, PermissionError):  # it went just now; it is somebody else's
        return frozenset()


def _things(mounts: Sequence[Mount], pins: Sequence[str], frame: Frame) -> Iterator[Fact]:
    yield from (Fact("namespace", path) for path in pins)
    yield from mounted.facts(mounts, frame.ignored)
    yield from disk.facts(disk.files(frame.directories, (*frame.ignored, *pins)))
    if frame.processes:
        yield from running.facts()


def _vanishes(fact: Fact) -> bool:
    """Tell whether somebody outside may make it go: a mount that came with the Node's making.

    Who removes a mount point removes what is mounted there, in every mount namespace.
    """
    return fact.kind == "mount" and not disk.is_below(fact.key.partition(" ")[2], OWN)
