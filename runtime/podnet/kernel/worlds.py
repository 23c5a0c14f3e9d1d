"""What makes a Node: network, mount and UTS namespaces with directories of its own.

Knows mounts and how a thread gets in; which Nodes there are is podnet.node's.
"""

import errno
import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from podnet.kernel import libc, namespaces

KINDS = {"net": libc.CLONE_NEWNET, "uts": libc.CLONE_NEWUTS, "mnt": libc.CLONE_NEWNS}
_CNI = Path("/etc/cni")
_COVERED = (Path("/run"), Path("/var/lib"), _CNI)
# Python and podnet itself: where services are installed they may be below /var/lib.
_PROGRAMS = (Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[3])


@dataclass(frozen=True, slots=True)
class Kept:
    """The Node's own directories on the real disk, which outlive its namespaces.

    Attributes:
        var_lib: What it has at /var/lib.
        etc_cni: What it has at /etc/cni.
    """

    var_lib: Path
    etc_cni: Path


def create(hostname: str, kept: Kept | None = None, *, cpu: int | None = None) -> dict[str, int]:
    """Make a Node's namespaces; they live as long as somebody holds them.

    Args:
        hostname: What it is called.
        kept: Directories that outlive it; without, everything is in memory.
        cpu: Where to make them; see :func:`create_pinned`.

    Returns:
        An open file descriptor for each of KINDS.

    Raises:
        MissingError: No privilege.
    """
    with namespaces.needing_privilege("make a Node"):
        return namespaces.in_thread(_build, hostname, kept, cpu)


def create_pinned(hostname: str, kept: Kept, directory: Path) -> dict[str, int]:
    """Make a Node's namespaces and pin them in *directory*.

    A mount namespace can be pinned from one that is older only.  Linux 6.18 tells the age by
    numbers that each CPU takes from a heap of its own, and so refuses in a container for no
    reason (EINVAL): on the CPU that made ours the numbers do ascend.

    Raises:
        MissingError: No privilege.
        OSError: The kernel refuses, on every CPU.
    """
    cpus = sorted(os.sched_getaffinity(0))
    for cpu in (None, *cpus):
        descriptors = create(hostname, kept, cpu=cpu)
        try:
            pin(descriptors, directory)
        except BaseException as exc:
            for descriptor in descriptors.values():
                os.close(descriptor)
            if not isinstance(exc, OSError) or exc.errno != errno.EINVAL or cpu == cpus[-1]:
                raise
            _clear(directory)
        else:
            return descriptors
    raise AssertionError("the last CPU raises or returns")  # pragma: no cover


def _build(hostname: str, kept: Kept | None, cpu: int | None) -> dict[str, int]:
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    libc.unshare(libc.CLONE_NEWNET | libc.CLONE_NEWNS | libc.CLONE_NEWUTS)
    libc.sethostname(hostname)
    _lead_to_our_root()
    # A directory that is kept may be below one that is covered first: hold on to it.
    etc_cni = _source(kept.etc_cni if kept else None)
    try:
        furnish(kept.var_lib if kept else None)
        _make_mount_point(_CNI)
        _cover(_CNI, etc_cni)
    finally:
        if etc_cni is not None:
            os.close(etc_cni)
    return {kind: os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY) for kind in KINDS}


def _lead_to_our_root() -> None:
    """Let the namespace's root directory be ours, also in a chroot.

    Entering a mount namespace leads to its root directory: out of a chroot, to the files of
    the machine around it.  What is mounted over that root is where entering leads instead.
    """
    with ExitStack() as held:

        def opened(path: str, flags: int = os.O_RDONLY) -> int:
            descriptor = os.open(path, flags)
            held.callback(os.close, descriptor)
            return descriptor

        # Relative paths go on meaning what they meant.
        held.callback(os.chdir, opened(".", os.O_PATH))
        own, told = opened("/proc/thread-self/ns/mnt"), opened("/proc/thread-self/fdinfo")
        root = opened("/")
        libc.setns(own, libc.CLONE_NEWNS)
        if _mount_of(opened("/"), told) == _mount_of(root, told):
            return
        os.chdir(root)
        tree = shown(Path())
        held.callback(os.close, tree)
        libc.mount("none", "/", flags=libc.MS_REC | libc.MS_PRIVATE)
        libc.move_mount(tree, "/")
        libc.setns(own, libc.CLONE_NEWNS)


def _mount_of(descriptor: int, told: int) -> tuple[bytes, int]:
    """Return which mount an open file is of, as *told*, /proc's fdinfo, says, and its number."""
    facts = os.open(str(descriptor), os.O_RDONLY, dir_fd=told)
    try:
        mount = next(line for line in os.read(facts, 512).splitlines() if b"mnt_id" in line)
    finally:
        os.close(facts)
    return mount, os.fstat(descriptor).st_ino


def furnish(var_lib: Path | None, shown_too: Iterable[Path] = ()) -> None:
    """Give the calling thread's new namespaces what all work needs: lo, /sys, /run, /var/lib.

    Args:
        var_lib: What is seen at /var/lib; without, it is in memory.
        shown_too: Directories that are seen as ever, even below those.
    """
    libc.mount("none", "/", flags=libc.MS_REC | libc.MS_PRIVATE)
    namespaces.set_loopback_up()
    namespaces.mount_sysfs()
    source = _source(var_lib)
    held = {path: shown(path) for path in covered((*_PROGRAMS, *shown_too))}
    try:
        _cover(Path("/run"), None)
        _cover(Path("/var/lib"), source)
        for path, tree in held.items():
            show(tree, path)
    finally:
        for descriptor in (*held.values(), *([] if source is None else [source])):
            os.close(descriptor)


def covered(directories: Iterable[Path]) -> list[Path]:
    """Return which of these directories are below those that a Node has of its own."""
    every = dict.fromkeys(path.absolute() for path in directories)
    return [path for path in every if set(_COVERED) & set(path.parents) and path.is_dir()]


def _source(path: Path | None) -> int | None:
    return None if path is None else os.open(path, os.O_PATH | os.O_DIRECTORY)


def _cover(target: Path, source: int | None) -> None:
    """Put a directory of the Node's own over *target*: *source*, or one in memory."""
    if source is None:
        flags = libc.MS_NOSUID | libc.MS_NODEV
        libc.mount("podnet", str(target), "tmpfs", flags, "mode=755")
    else:
        libc.mount(f"/proc/thread-self/fd/{source}", str(target), flags=libc.MS_BIND)


def _make_mount_point(target: Path) -> None:
    """See to it that *target* exists, for this Node only.

    On a machine without /etc/cni, /etc becomes an overlay whose changes are in memory.
    """
    if target.is_dir():
        return
    scratch = Path("/run/.podnet-etc")
    for name in ("upper", "work"):
        (scratch / name).mkdir(parents=True)
    parent = target.parent
    options = f"lowerdir={parent},upperdir={scratch}/upper,workdir={scratch}/work"
    libc.mount("podnet", str(parent), "overlay", 0, options)
    target.mkdir()


def shown(directory: Path) -> int:
    """Open a directory so that Nodes can be shown it; see :func:`show`."""
    return libc.open_tree(str(directory))


def show(directory: int, target: Path) -> None:
    """Show a directory from outside at *target*; runs on a Node's thread.

    Args:
        directory: What :func:`shown` returned; it can be shown once.
        target: Where the Node is to find it; made if it is missing.
    """
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    libc.move_mount(directory, str(target))


def replace(directory: int, target: Path) -> None:
    """Show a directory from outside instead of the Node's own at *target*; see :func:`show`."""
    libc.unmount(str(target))
    show(directory, target)


def enter(descriptors: dict[str, int]) -> None:
    """Move the calling thread into a Node; for a thread that stays there.

    Raises:
        OSError: The kernel refuses.
    """
    cwd = working_directory()
    enter_some(descriptors)
    # Entering a mount namespace leads to its root directory.
    if cwd.is_dir():
        os.chdir(cwd)


def working_directory() -> Path:
    """Return the working directory; the root where it was removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:  # it was removed
        return Path("/")


def enter_some(descriptors: dict[str, int]) -> None:
    """Move the calling thread into some namespaces of a Node, the others as they are.

    Raises:
        OSError: The kernel refuses.
    """
    libc.unshare(libc.CLONE_FS)
    for kind, descriptor in descriptors.items():
        libc.setns(descriptor, KINDS[kind])


def enter_those_of_the_process() -> None:
    """Move the calling thread to where the process's main thread is, if it is elsewhere.

    Raises:
        OSError: The kernel refuses.
    """
    theirs = {kind: f"/proc/self/ns/{kind}" for kind in KINDS}
    with ExitStack() as opened:
        enter_some(
            {
                kind: opened.enter_context(namespaces.opened(path))
                for kind, path in theirs.items()
                if namespaces.identity(path) != namespaces.identity(f"/proc/thread-self/ns/{kind}")
            }
        )


def own() -> list[int]:
    """Return an open file descriptor for each of KINDS: the calling thread's namespaces."""
    opened = list[int]()
    try:
        for kind in KINDS:
            opened.append(os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY))
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        raise
    return opened


def pin(descriptors: dict[str, int], directory: Path) -> None:
    """Pin a Node's namespaces as files of *directory*, so that they need nobody to hold them.

    The directory becomes a file system of its own, private, since a mount namespace can
    only be pinned where no other mount namespace sees it.
    """
    with namespaces.needing_privilege("pin a Node"):
        flags = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
        libc.mount("podnet", str(directory), "tmpfs", flags, "mode=700,size=64k")
        libc.mount("none", str(directory), flags=libc.MS_PRIVATE)
        for kind, descriptor in descriptors.items():
            target = directory / kind
            target.touch()
            libc.mount(f"/proc/thread-self/fd/{descriptor}", str(target), flags=libc.MS_BIND)


def unpin(directory: Path) -> None:
    """Let go of the namespaces pinned in *directory*, and remove it; it may be half made."""
    _clear(directory)
    directory.rmdir()


def _clear(directory: Path) -> None:
    for kind in KINDS:
        namespaces.delete(directory / kind)
    while os.path.ismount(directory):
        libc.unmount(str(directory))


def processes(*uts: tuple[int, int]) -> list[int]:
    """Return the processes that run inside the Nodes of these UTS namespaces."""
    everyone = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208  there are thousands
    return [pid for pid in everyone if _namespace_of(pid, "uts") in uts]


def _namespace_of(pid: int, kind: str) -> tuple[int, int] | None:
    try:
        return namespaces.identity(f"/proc/{pid}/ns/{kind}")
    except OSError:  # it ended while we looked
        return None
