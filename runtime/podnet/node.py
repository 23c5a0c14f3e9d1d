"""A Node: a machine as the runtime sees it, and the threads that live inside it.

Linux gives every thread its own network, UTS and (after ``unshare(CLONE_FS)``) mount
namespace, and processes that a thread starts inherit them.  So a Node needs no agent:
``node.run(function)`` runs the function on a thread that is inside, and the same code
serves the host and any Node.

A Node in memory lives as long as the object (a killed process leaves nothing); a named
one is pinned below the run directory and keeps its /var/lib and /etc/cni on disk.
"""

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from podnet.cni import names
from podnet.errors import PodnetError, UsageError
from podnet.kernel import namespaces, worlds

_THREADS = 16
_LONGEST_NAME = 63  # a hostname, RFC 1123
_PATIENCE = 2.0

P = ParamSpec("P")
T = TypeVar("T")


class Node:
    """A Node that can be worked in, by functions.

    Use it as a context manager, or :meth:`close` it: its threads end then.

    Attributes:
        name: Its hostname.
    """

    def __init__(self, name: str, descriptors: dict[str, int]) -> None:
        self.name = name
        self._descriptors = descriptors
        self._pool = ThreadPoolExecutor(
            max_workers=_THREADS,
            thread_name_prefix=f"node-{name}",
            initializer=worlds.enter,
            initargs=(descriptors,),
        )

    @classmethod
    def in_memory(cls, name: str = "node") -> "Node":
        """Make a Node that is gone when it is closed, or when the process ends.

        Raises:
            MissingError: No privilege.
        """
        _check(name)
        return cls(name, worlds.create(name))

    @classmethod
    def here(cls) -> "Node":
        """Return the Node that the calling thread is in."""
        return cls(current(), dict(zip(worlds.KINDS, worlds.own(), strict=True)))

    @classmethod
    def with_disk(cls, name: str, disk: Path) -> "Node":
        """Make a Node in memory, but for its /var/lib and /etc/cni, which are below *disk*.

        One after the other of the same disk is one machine that starts again.

        Raises:
            MissingError: No privilege.
        """
        _check(name)
        return cls(name, worlds.create(name, _kept(disk)))

    def __repr__(self) -> str:
        return f"<Node {self.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *function* inside the Node and return what it returns.

        Files, sockets and processes that it opens are the Node's.
        """
        return self._pool.submit(function, *args, **kwargs).result()

    def show(self, *directories: Path) -> None:
        """Let the Node see directories of the caller's that are where it has others of its own.

        Those that are not below /run, /var/lib or /etc/cni it sees anyway.

        Raises:
            OSError: The kernel refuses.
        """
        for directory in worlds.covered(directories):
            tree = worlds.shown(directory)
            try:
                self.run(worlds.show, tree, directory)
            finally:
                os.close(tree)

    def enter(self) -> None:
        """Move the whole process into the Node, for good; only while it has one thread."""
        self._pool.shutdown()
        worlds.enter(self._descriptors)
        self._close_descriptors()

    def halt(self) -> None:
        """End everything that runs in the Node, and close it.

        Raises:
            PodnetError: A process in it cannot be ended.
        """
        uts = os.fstat(self._descriptors["uts"])
        self._pool.shutdown()
        _end_processes(self.name, [(uts.st_dev, uts.st_ino)])
        self.close()

    def close(self) -> None:
        """End the Node's threads; a Node in memory is gone then."""
        self._pool.shutdown()
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors = {}


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
        _check(name)
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
        _check(name)
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
            _check(name)
            directory = self.pins / name
            if not directory.is_dir():
                raise UsageError(f"there is no Node {name}")
            if _are_inside(name, directory / "uts"):
                raise UsageError(f"Node {name} cannot be deleted from inside")
            if namespaces.is_namespace(str(directory / "uts")):
                inside.append(namespaces.identity(str(directory / "uts")))
        _end_processes(", ".join(names), inside)

    def _disk(self, name: str) -> worlds.Kept:
        return _kept(self.disks / name)


def _kept(disk: Path) -> worlds.Kept:
    kept = worlds.Kept(disk / "var-lib", disk / "etc-cni")
    with namespaces.needing_privilege("make a Node"):
        for directory in (kept.var_lib, kept.etc_cni):
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    return kept


def current() -> str:
    """Return the name of the Node that we are in: the hostname."""
    return socket.gethostname()


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


def _check(name: str) -> None:
    if not names.is_identifier(name) or len(name) > _LONGEST_NAME:
        raise UsageError(
            f"a Node cannot be called {name!r}",
            f"letters, digits, '-', '_' and '.', at most {_LONGEST_NAME}",
        )


def _end_processes(names: str, inside: Sequence[tuple[int, int]]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while running := worlds.processes(*inside):
        if time.monotonic() > deadline:
            raise PodnetError(f"processes {running} in Node {names} do not end")
        for pid in running:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)
