"""System calls that Python 3.11 has no word for, by way of the C library.

Every function raises OSError with the object in it; nothing here has an opinion.
"""

import ctypes
import os
from pathlib import Path

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 4096, 16384, 1 << 18, 1 << 20
MNT_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = 1, 4
# Not in Debian 12's C library; the numbers are the same on all architectures.
_NR_OPEN_TREE, _NR_MOVE_MOUNT = 428, 429
_PR_SET_PDEATHSIG = 1
_MADV_POPULATE_WRITE = 23
_MAPPINGS = Path("/proc/self/maps")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)


class _Statfs(ctypes.Structure):
    """The beginning of struct statfs; the rest is room."""

    _fields_ = (("type", ctypes.c_long), ("rest", ctypes.c_long * 31))


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own."""
    _checked(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """Move the calling thread into the namespace that *descriptor* is of."""
    _checked(_libc.setns(descriptor, kind), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount *source* on *target*."""
    arguments = [os.fsencode(item) for item in (source, target, kind)]
    done = _libc.mount(*arguments, flags, os.fsencode(options) if options else None)
    _checked(done, f"mount {source} on {target}")


def unmount(target: str, flags: int = MNT_DETACH) -> None:
    """Take the topmost mount off *target*."""
    _checked(_libc.umount2(os.fsencode(target), flags), f"unmount {target}")


def open_tree(path: str) -> int:
    """Return a descriptor of a mount of *path* that is nowhere yet, and fits any mount namespace.

    With what is mounted below: a user namespace may not see what that hides.
    """
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    descriptor = int(_libc.syscall(_NR_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags))
    _checked(min(descriptor, 0), f"open tree {path}")
    return descriptor


def move_mount(descriptor: int, target: str) -> None:
    """Put a mount that is nowhere yet on *target*."""
    arguments = (descriptor, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    _checked(_libc.syscall(_NR_MOVE_MOUNT, *arguments), f"move mount to {target}")


def sethostname(name: str) -> None:
    """Set the hostname of the thread's UTS namespace."""
    encoded = os.fsencode(name)
    _checked(_libc.sethostname(encoded, len(encoded)), "sethostname")


def die_with_parent(signal: int) -> None:
    """Send ourselves *signal* when the thread that forked us ends; 0: nothing."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal), 0, 0, 0), "prctl")


def populate_writable() -> None:
    """Make every page that we may write to our own now, not when it is first written to.

    A fork shares its parent's pages until then.  Kernels before 5.14 do not know how.
    """
    for mapping in _MAPPINGS.read_text().splitlines():
        addresses, rights, *_ = mapping.split()
        if rights == "rw-p":
            start, end = (int(address, 16) for address in addresses.split("-"))
            length = ctypes.c_size_t(end - start)
            _libc.madvise(ctypes.c_void_p(start), length, _MADV_POPULATE_WRITE)


def filesystem(path: str) -> int:
    """Return the magic number of the file system that *path* is on (statfs)."""
    buffer = _Statfs()
    _checked(_libc.statfs(os.fsencode(path), ctypes.byref(buffer)), path)
    return int(buffer.type)


def _checked(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
