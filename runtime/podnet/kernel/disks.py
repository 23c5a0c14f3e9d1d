"""Directories whose disk is full, or cannot be written to, for the calling thread's mounts.

What is in them stays, and what is done to it meanwhile is kept.  Knows mounts and files;
why anybody wants this is the rig's.
"""

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from podnet.kernel import libc

_PAGE = 4096
_FILLER = ".podnet-filler"


def make_read_only(directory: Path) -> None:
    """Let nothing below *directory* be changed, until :func:`uncover`."""
    libc.mount(str(directory), str(directory), flags=libc.MS_BIND)
    flags = libc.MS_BIND | libc.MS_REMOUNT | libc.MS_RDONLY
    libc.mount("none", str(directory), flags=flags)


def uncover(directory: Path) -> None:
    """Take the topmost mount off *directory*."""
    libc.unmount(str(directory))


def fill(directory: Path) -> None:
    """Put *directory* on a disk of its own that has no room left, until :func:`empty`."""
    with _held(directory) as below:
        options = f"mode=755,size={max(_PAGE, occupied(below))}"
        libc.mount("podnet", str(directory), "tmpfs", libc.MS_NODEV, options)
        _copy(below, directory)
        for socket in filter(Path.is_socket, below.rglob("*")):
            shown = directory / socket.relative_to(below)
            shown.touch()
            libc.mount(str(socket), str(shown), flags=libc.MS_BIND)
    fill_up(directory)


def fill_up(directory: Path) -> None:
    """Take the room that has become free on the full disk at *directory*."""
    with (directory / _FILLER).open("ab", buffering=0) as filler, _until_full():
        while True:
            filler.write(bytes(_PAGE))


def empty(directory: Path) -> None:
    """Undo :func:`fill`; what was made of the files meanwhile is what they are."""
    with _held(directory) as full:
        uncover(directory)
        _clear(directory)
        _copy(full, directory)


def _copy(source: Path, target: Path) -> None:
    """Copy what is in a directory; sockets, at which somebody listens, stay where they are."""

    def others(where: str, names: list[str]) -> list[str]:
        same = (Path(where), target / Path(where).relative_to(source))
        sockets = [name for name in names if any((one / name).is_socket() for one in same)]
        return [_FILLER, *sockets]

    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True, ignore=others)


def _clear(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            _clear(path)
            with suppress(OSError):  # a socket is in it
                path.rmdir()
        elif not path.is_socket():
            path.unlink()


def state(directory: Path) -> str:
    """Return "full", "read-only", or "" where there is nothing wrong with a disk."""
    try:
        status = os.statvfs(directory)
    except OSError:
        return ""
    if status.f_flag & os.ST_RDONLY:
        return "read-only"
    return "full" if status.f_blocks and not status.f_bavail else ""


def occupied(directory: Path, most: int = sys.maxsize) -> int:
    """Return how many bytes the files below *directory* take on a disk; not much more than *most*."""
    total = 0
    for path in directory.rglob("*"):
        total += -(-path.stat().st_size // _PAGE) * _PAGE if _counts(path) else 0
        if total > most:
            break
    return total


def _counts(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


@contextmanager
def _held(directory: Path) -> Iterator[Path]:
    """Hold on to what is at *directory* now, whatever is mounted over it, or taken off."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/thread-self/fd/{descriptor}")
    finally:
        os.close(descriptor)


@contextmanager
def _until_full() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno != errno.ENOSPC:
            raise
