"""What the delegates of a container's interfaces were told, kept until the DEL of each has succeeded.

``<dataDir>/<container ID>`` is flannel's: what one of the interfaces was told, the last one if it
is still there.  It stays until the last of them goes, so that either implementation deletes what
the other added.  ``<dataDir>/.podnet/<container ID>:<ifname>`` is ours, one for each interface;
without ifname it is for one that flannel added and that could be any of several.

Ours is written first and removed last: what a kill in between leaves has the interface's name, and
whoever comes next works with it.  To forget needs no room on the disk.  Whoever writes holds a
lock on the directory, and none while a delegate runs.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from podnet.cni import names
from podnet.cni.errors import CniError
from podnet_plugins import flannel_state
from podnet_plugins.flannel_config import Delegated
from podnet_plugins.skel import log

UNNAMED = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept for a container.

    Attributes:
        content: Flannel's file, or ``None``.
        last: What that says, if it can be read.
        ifnames: The interfaces that there are files of ours for.
        told: What theirs were told, as far as it can be read.
    """

    content: bytes | None = None
    last: Delegated | None = None
    ifnames: tuple[str, ...] = ()
    told: Mapping[str, Delegated] = field(default_factory=dict)

    @property
    def everything(self) -> list[Delegated]:
        """Everything that any of the delegates was told."""
        return [*self.told.values(), *([self.last] if self.last else [])]

    @property
    def network(self) -> str:
        """The network that all of the interfaces are of, or ""."""
        known = self.everything
        return known[0].network if known else ""

    def of(self, ifname: str) -> Delegated | None:
        """Return what an interface was told; of one that has no name here, the best guess."""
        return self.told.get(ifname) or self.told.get(UNNAMED) or self.last

    def before(self, ifname: str) -> Delegated | None:
        """Return what an earlier ADD of an interface was told, unless flannel has deleted it."""
        return self.told.get(ifname) if self.content is not None else None

    def name_of_theirs(self, others: Sequence[str]) -> str | None:
        """Return the interface that flannel added, where there is a file of its alone.

        Args:
            others: The container's interfaces, without the one that comes now.

        Returns:
            Its name, "" when it could be any of several; ``None``, when there is none.
        """
        if self.ifnames or self.last is None or not others:
            return None
        return others[0] if len(others) == 1 else UNNAMED

    def stale(self, valid: Collection[str]) -> list[str]:
        """Return the interfaces that are none of the container's that are *valid*.

        The unnamed is one of those that are, as long as one of them has no file of its own.
        """
        unnamed = set(valid) - set(self.ifnames)
        listed = self.ifnames or ((UNNAMED,) if self.last else ())
        return [name for name in listed if not (name in valid or (name == UNNAMED and unnamed))]


def containers(data_dir: str) -> list[str]:
    """Return the containers that something is kept for.

    Raises:
        CniError: A directory cannot be read.
    """
    found = [*flannel_state.names(Path(data_dir)), *flannel_state.names(_ours(data_dir))]
    return sorted(filter(names.is_identifier, {name.partition(":")[0] for name in found}))


def load(data_dir: str, container_id: str) -> Kept:
    """Return what is kept for a container.

    Raises:
        CniError: It cannot be read.
    """
    theirs = Path(data_dir, container_id)
    content = flannel_state.read(theirs)
    begins = f"{container_id}:"
    listed = flannel_state.names(_ours(data_dir))
    ifnames = tuple(name.removeprefix(begins) for name in listed if name.startswith(begins))
    found = {name: _file(data_dir, container_id, name) for name in ifnames}
    read = {name: _parsed(flannel_state.read(path), path) for name, path in found.items()}
    return Kept(
        content=content,
        last=_parsed(content, theirs),
        ifnames=ifnames,
        told={name: told for name, told in read.items() if told},
    )


def keep(
    data_dir: str, container_id: str, ifname: str, told: Delegated, others: Sequence[str] = ()
) -> None:
    """Keep what an interface is told.

    Args:
        data_dir: The directory.
        container_id: The container.
        ifname: Its interface.
        told: What the delegate is told.
        others: The container's other interfaces: one of them may be flannel's.

    Raises:
        CniError: It cannot be written; then nothing has changed.
    """
    flannel_state.make(Path(data_dir))
    with flannel_state.locked(Path(data_dir)):
        kept, contents = load(data_dir, container_id), dict[Path, bytes]()
        name = kept.name_of_theirs(others)
        if kept.last and name is not None:
            contents[_file(data_dir, container_id, name)] = kept.last.stdin
        contents[_file(data_dir, container_id, ifname)] = told.stdin
        contents[Path(data_dir, container_id)] = told.stdin
        flannel_state.save(contents)


def forget(data_dir: str, container_id: str, ifname: str) -> None:
    """Keep nothing for an interface any more; the unnamed goes with one that has no file.

    Raises:
        CniError: A file cannot be removed.
    """
    if not Path(data_dir).is_dir():
        return
    with flannel_state.locked(Path(data_dir)):
        kept = load(data_dir, container_id)
        gone = ifname if ifname in kept.ifnames else UNNAMED
        left = [name for name in kept.ifnames if name != gone]
        if not left:
            flannel_state.remove(Path(data_dir, container_id))
        for name in {gone, ifname}:
            flannel_state.remove(_file(data_dir, container_id, name))
        theirs = [kept.told[name].stdin for name in left if name in kept.told]
        if theirs and kept.content not in theirs:
            with suppress(CniError):  # on a full disk flannel would tell its delegate as before
                flannel_state.save({Path(data_dir, container_id): theirs[0]})


def _ours(data_dir: str) -> Path:
    """No container is called that: an identifier does not begin with a dot."""
    return Path(data_dir, ".podnet")


def _file(data_dir: str, container_id: str, ifname: str) -> Path:
    """Neither of the two may contain a colon."""
    return _ours(data_dir) / f"{container_id}:{ifname}"


def _parsed(content: bytes | None, path: Path) -> Delegated | None:
    """Return what a file says; a crash or a full disk can leave an empty one of others'."""
    try:
        return None if content is None else Delegated.from_bytes(content)
    except CniError as exc:
        log(f"flannel: the state {path} is broken: {exc}")
        return None
