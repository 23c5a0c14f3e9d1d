"""What the delegates of a container's interfaces were told, kept until the DEL of each has succeeded.

``<dataDir>/<container ID>`` is flannel's: what the interface that came last was told.  It stays
until the last interface goes, so that either implementation deletes what the other added.
``<dataDir>/.podnet/<container ID>`` is ours: an object of the same by interface name.  An interface
that flannel added, or we when we wrote no such object, has no name there.

Ours is written first and removed last: what a kill in between leaves has the interface's name, and
whoever comes next works with it.  Whoever writes holds a lock on the directory, and none while a
delegate runs.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from podnet.cni import wire
from podnet.cni.errors import CniError
from podnet.cni.wire import Fields
from podnet_plugins import flannel_state
from podnet_plugins.flannel_config import Delegated
from podnet_plugins.skel import log

UNNAMED = ""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept for a container.

    Attributes:
        content: Flannel's file, or ``None``.
        last: What that says, if it can be read.
        told: By interface name, in the order in which they came.
    """

    content: bytes | None = None
    last: Delegated | None = None
    told: Mapping[str, Delegated] = field(default_factory=dict)

    @property
    def network(self) -> str:
        """The network that all of its interfaces are of, or ""."""
        known = [*self.told.values(), *([self.last] if self.last else [])]
        return known[0].network if known else ""

    def of(self, ifname: str) -> Delegated | None:
        """Return what an interface was told; of one that has no name here, the best guess."""
        return self.told.get(ifname) or self.told.get(UNNAMED) or self.last

    def holds(self, ifname: str) -> bool:
        """Tell whether an interface is certainly there; what flannel has deleted is not."""
        return self.content is not None and ifname in self.told

    def having(self, ifname: str, told: Delegated) -> dict[str, Delegated]:
        """Return what was told with one more interface, which comes last."""
        return {name: one for name, one in self.told.items() if name != ifname} | {ifname: told}

    def without(self, ifname: str) -> dict[str, Delegated]:
        """Return what was told without an interface; one that has no name here is the unnamed."""
        gone = ifname if ifname in self.told else UNNAMED
        return {name: one for name, one in self.told.items() if name != gone}

    def named(self, others: list[str]) -> "Kept":
        """Return it with the name of the unnamed interface, if the container has just one that it can be."""
        free = [name for name in others if name not in self.told]
        if UNNAMED not in self.told or len(free) != 1:
            return self
        told = {name or free[0]: one for name, one in self.told.items()}
        return Kept(content=self.content, last=self.last, told=told)


def stale(kept: Mapping[str, Kept], valid: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the interfaces of *kept* that are no valid attachment, as (container ID, ifname).

    The unnamed is one of those that are, as long as one of them has no entry of its own.
    """
    found = []
    for container_id, one in kept.items():
        names = {ifname for container, ifname in valid if container == container_id}
        unnamed = {UNNAMED} if names - one.told.keys() else set()
        found += [(container_id, name) for name in one.told if name not in names | unnamed]
    return found


def containers(data_dir: str) -> list[str]:
    """Return the containers that something is kept for.

    Raises:
        CniError: The directory cannot be read.
    """
    return sorted({*flannel_state.containers(data_dir), *flannel_state.containers(_ours(data_dir))})


def load(data_dir: str, container_id: str) -> Kept:
    """Return what is kept for a container.

    Raises:
        CniError: It cannot be read.
    """
    content = flannel_state.read(data_dir, container_id)
    last = _read(content, Delegated.from_bytes, f"{data_dir}/{container_id}")
    ours = _ours(data_dir)
    told = _read(flannel_state.read(ours, container_id), _by_name, f"{ours}/{container_id}")
    return Kept(content=content, last=last, told=told or ({UNNAMED: last} if last else {}))


def keep(data_dir: str, container_id: str, ifname: str, told: Delegated, others: list[str]) -> None:
    """Keep what an interface is told.

    Args:
        data_dir: The directory.
        container_id: The container.
        ifname: Its interface.
        told: What the delegate is told.
        others: The other interfaces of the container, as far as they are known.

    Raises:
        CniError: It cannot be written; then nothing has changed.
    """
    flannel_state.make(data_dir)
    with flannel_state.locked(data_dir):
        kept = load(data_dir, container_id)
        try:
            _save(data_dir, container_id, kept.named(others).having(ifname, told))
        except CniError:
            with suppress(CniError):  # the disk's trouble is what to tell
                _save(data_dir, container_id, kept.told)
            raise


def forget(data_dir: str, container_id: str, ifname: str) -> None:
    """Keep nothing for an interface any more, not even a draft that a crash left.

    Raises:
        CniError: A file cannot be written or removed.
    """
    if not flannel_state.is_made(data_dir):
        return
    with flannel_state.locked(data_dir):
        _save(data_dir, container_id, load(data_dir, container_id).without(ifname))


def _ours(data_dir: str) -> str:
    """No container is called that: an identifier does not begin with a dot."""
    return f"{data_dir}/.podnet"


def _read(content: bytes | None, parse: Callable[[bytes], T], path: str) -> T | None:
    """Return what a file says; a crash or a full disk can leave an empty one of others'."""
    try:
        return None if content is None else parse(content)
    except CniError as exc:
        log(f"flannel: the state {path} is broken: {exc}")
        return None


def _by_name(content: bytes) -> dict[str, Delegated]:
    fields = Fields.of(wire.loads(content))
    return {name: Delegated.read(Fields.of(one)) for name, one in fields.values.items()}


def _save(data_dir: str, container_id: str, told: Mapping[str, Delegated]) -> None:
    ours = _ours(data_dir)
    if not told:
        flannel_state.remove(data_dir, container_id)
        flannel_state.remove(ours, container_id)
        return
    by_name = {ifname: one.values for ifname, one in told.items()}
    flannel_state.save(ours, container_id, wire.dumps(by_name).encode())
    flannel_state.save(data_dir, container_id, list(told.values())[-1].stdin)
