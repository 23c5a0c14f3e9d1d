"""Files written whole or not at all, and directories that are nobody else's business.

Knows drafts, fsync and modes; knows nothing of what is written.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from podnet.errors import MissingError, PodnetError

_PRIVATE_DIRECTORY = 0o700
_PRIVATE_FILE = 0o600
_ORDINARY_SIZE = 16384
_HINTS = {
    errno.ENOSPC: "free some space",
    errno.EROFS: "PODNET_STATE and PODNET_RUN name other directories",
}


def make_directory(directory: Path) -> None:
    """Make *directory* and its parents, for the owner alone.

    Raises:
        PodnetError: It cannot be made.
    """
    if os.path.isdir(directory):
        return
    missing = [d for d in (directory, *directory.parents) if not d.is_dir()]
    with naming(directory):
        for one in reversed(missing):
            one.mkdir(mode=_PRIVATE_DIRECTORY, exist_ok=True)


def write(path: Path, content: bytes, *, drafts: Path | None = None) -> None:
    """Write *content* to *path* so that a reader sees all of it or the file before.

    Args:
        path: The file.
        content: Its new content.
        drafts: Where to write it first, on the same file system: a directory in which
            nobody takes a half-written file for a whole one.  Default: next to *path*.

    Raises:
        PodnetError: The disk is full, read-only, or not ours; *path* is as it was.
    """
    draft = f"{drafts or path.parent}/.{path.name[:100]}.{os.urandom(4).hex()}.draft"
    with naming(path):
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(draft)
            raise


def probe(directory: Path) -> None:
    """Check that a file of ordinary size could be written to *directory* now.

    Raises:
        PodnetError: It could not: read-only, full, or not ours.
    """
    draft = f"{directory}/.{os.urandom(4).hex()}.probe"
    with naming(directory):
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
        try:
            os.posix_fallocate(descriptor, 0, _ORDINARY_SIZE)
        finally:
            os.close(descriptor)
            os.unlink(draft)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn the system's word for a failure into a sentence that names *path*."""
    try:
        yield
    except PermissionError as exc:
        hint = "it is somebody else's: PODNET_STATE and PODNET_RUN name other directories"
        raise MissingError(f"no permission to write {path}", hint) from exc
    except OSError as exc:
        if exc.errno == errno.ENAMETOOLONG:
            raise PodnetError(f"the file name {path.name} is too long", "shorten the name") from exc
        reason = f"cannot write {path}: {exc.strerror}"
        raise PodnetError(reason, _HINTS.get(exc.errno or 0, "")) from exc
