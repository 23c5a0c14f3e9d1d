"""A Node: a machine as the runtime sees it, and the threads that live inside it.

Linux gives every thread its own network, UTS and (after ``unshare(CLONE_FS)``) mount
namespace, and processes that a thread starts inherit them.  So a Node needs no agent:
``node.run(function)`` runs the function on a thread that is inside, and the same code
serves the host and any Node.

A Node in memory lives as long as the object (a killed process leaves nothing); one that
lasts is :mod:`podnet.nodes`'.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from podnet.cni import names
from podnet.errors import PodnetError, UsageError
from podnet.kernel import namespaces, worlds

_THREADS = 16
_LONGEST_NAME = 63  # a hostname, RFC 1123
_PATIENCE = 2.0
_DISK, _MEMORY = (Path("/var/lib"), Path("/etc/cni")), Path("/run")
P = ParamSpec("P")
T = TypeVar("T")


class Node:  # noqa: PLR0904  a machine is made, worked in, started again and ended
    """A Node that can be worked in, by functions.

    Use it as a context manager, or :meth:`close` it: its threads end then.

    Attributes:
        name: Its hostname.
    """

    def __init__(self, name: str, descriptors: dict[str, int]) -> None:
        self.name = name
        self._shown: list[Path] = []
        self._live_in(descriptors)

    def _live_in(self, descriptors: dict[str, int]) -> None:
        self._descriptors = descriptors
        self._pool = ThreadPoolExecutor(
            max_workers=_THREADS,
            thread_name_prefix=f"node-{self.name}",
            initializer=worlds.enter,
            initargs=(descriptors,),
        )

    @classmethod
    def in_memory(cls, name: str = "node") -> "Node":
        """Make a Node that is gone when it is closed, or when the process ends.

        Raises:
            MissingError: No privilege.
        """
        check_name(name)
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
        check_name(name)
        return cls(name, worlds.create(name, kept_below(disk)))

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
            self._shown.append(directory)

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
        end_processes(self.name, [(uts.st_dev, uts.st_ino)])
        self.close()

    def restart(self) -> None:
        """Let the Node start again, the same object: what is on its disk stays, the rest is gone.

        Links, pods, what runs here and all of /run go, but for directories that it was shown.

        Raises:
            PodnetError: A process in it cannot be ended; the Node is closed.
        """
        memory = [path for path in self._shown if path.is_relative_to(_MEMORY)]
        lasting = {path: self.run(worlds.shown, path) for path in (*_DISK, *memory)}
        try:
            self.halt()
            self._live_in(worlds.create(self.name))
            for path, tree in lasting.items():
                self.run(worlds.replace if path in _DISK else worlds.show, tree, path)
        finally:
            for tree in lasting.values():
                os.close(tree)

    def close(self) -> None:
        """End the Node's threads; a Node in memory is gone then."""
        self._pool.shutdown()
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors = {}


def kept_below(disk: Path) -> worlds.Kept:
    """Make a disk's directories, and return which a Node has of them.

    Raises:
        MissingError: No privilege.
    """
    kept = worlds.Kept(disk / "var-lib", disk / "etc-cni")
    with namespaces.needing_privilege("make a Node"):
        for directory in (kept.var_lib, kept.etc_cni):
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    return kept


def current() -> str:
    """Return the name of the Node that we are in: the hostname."""
    return socket.gethostname()


def check_name(name: str) -> None:
    """Check the name of a Node, which is its hostname.

    Raises:
        UsageError: It is none.
    """
    if not names.is_identifier(name) or len(name) > _LONGEST_NAME:
        raise UsageError(
            f"a Node cannot be called {name!r}",
            f"letters, digits, '-', '_' and '.', at most {_LONGEST_NAME}",
        )


def end_processes(names: str, inside: Sequence[tuple[int, int]]) -> None:
    """End all that runs in the UTS namespaces *inside*, of the Nodes called *names*.

    Raises:
        PodnetError: A process cannot be ended.
    """
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
