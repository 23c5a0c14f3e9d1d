"""The named Nodes of this machine: pinned below the run directory, their disks kept below the state's.

A name is taken from the moment that its directory is there, before anything could be left.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from podnet.errors import UsageError
from podnet.kernel import namespaces, worlds
from podnet.node import Node, check_name, current, end_processes, kept_below


class Nodes:
    """The named Nodes of this machine.

    Attributes:
        pins: Where their namespaces are pinned (below the run directory).
        disks: Where their directories are kept (below the state directory).
    """

    def __init__(self, pins: Path, disks: Path) -> None:
        self.pins = pins
        self.disks = disks

    def names(self) -> list[str]:
        """Return the names of all Nodes."""
        return sorted(p.name for p in self.pins.iterdir()) if self.pins.is_dir() else []

    def create(self, name: str) -> Node:
        """Make a Node that lasts until it is deleted.

        Raises:
            UsageError: The name is taken, or no hostname.
            MissingError: No privilege.
        """
        check_name(name)
        directory = self.pins / name
        with namespaces.needing_privilege("make a Node"):
            try:
                _make_directory(directory)
            except FileExistsError:
                raise UsageError(
                    f"there is a Node {name} already", f"podnet node delete {name}"
                ) from None
        try:
            descriptors = worlds.create_pinned(name, self._disk(name), directory)
        except BaseException:
            worlds.unpin(directory)
            shutil.rmtree(self.disks / name, ignore_errors=True)
            raise
        return Node(name, descriptors)

    def open(self, name: str) -> Node:
        """Return an existing Node.

        Raises:
            UsageError: There is none of that name.
        """
        check_name(name)
        directory = self.pins / name
        if not namespaces.is_namespace(str(directory / "mnt")):
            there = ", ".join(self.names()) or "none"
            raise UsageError(
                f"there is no Node {name}", f"there are: {there}; podnet node create {name}"
            )
        with namespaces.needing_privilege("enter a Node"):
            return Node(
                name, {kind: os.open(directory / kind, os.O_RDONLY) for kind in worlds.KINDS}
            )

    def delete(self, *names: str) -> None:
        """End everything that runs in some Nodes and remove them with all they hold.

        Raises:
            UsageError: There is none of that name.
            PodnetError: A process in one cannot be ended.
        """
        self._stop(names)
        for name in names:
            worlds.unpin(self.pins / name)
            if (self.disks / name).exists():
                shutil.rmtree(self.disks / name)
        for parent in (self.pins, self.disks):
            with suppress(OSError):  # other Nodes are in it
                parent.rmdir()

    def reboot(self, name: str) -> Node:
        """End everything that runs in a Node, and make it anew with what it has on disk.

        Its network, its pods and its /run are gone; /var/lib and /etc/cni are as they were.

        Raises:
            UsageError: There is none of that name.
            PodnetError: A process in it cannot be ended.
        """
        self._stop([name])
        worlds.unpin(self.pins / name)
        _make_directory(self.pins / name)
        return Node(name, worlds.create_pinned(name, self._disk(name), self.pins / name))

    def _stop(self, names: Sequence[str]) -> None:
        """End everything that runs in some Nodes: one look at all processes for all of them."""
        inside = list[tuple[int, int]]()
        for name in names:
            check_name(name)
            directory = self.pins / name
            if not directory.is_dir():
                raise UsageError(f"there is no Node {name}")
            if _are_inside(name, directory / "uts"):
                raise UsageError(f"Node {name} cannot be deleted from inside")
            if namespaces.is_namespace(str(directory / "uts")):
                inside.append(namespaces.identity(str(directory / "uts")))
        end_processes(", ".join(names), inside)

    def _disk(self, name: str) -> worlds.Kept:
        return kept_below(self.disks / name)


def _make_directory(directory: Path) -> None:
    while True:
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # the last Node was deleted just now
            directory.mkdir(mode=0o700)
            return


def _are_inside(name: str, pin: Path) -> bool:
    if namespaces.is_namespace(str(pin)):
        return namespaces.identity(str(pin)) == namespaces.identity("/proc/thread-self/ns/uts")
    return current() == name  # from inside, a Node's own pins cannot be seen
