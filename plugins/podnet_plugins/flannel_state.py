"""Files in a directory, written whole, under a lock that a kill releases.

Modes are flannel's.  Names are made of identifiers: the skeleton has checked them.  Knows files;
knows nothing of what is in them, nor of when they are written.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from podnet.cni.errors import CniError, Code

_DIRECTORY, _FILE = 0o700, 0o600


def make(directory: Path) -> None:
    """Make the directory, unless it is there.

    Raises:
        CniError: It cannot be made.
    """
    try:
        directory.mkdir(mode=_DIRECTORY, parents=True, exist_ok=True)
    except OSError as exc:
        raise _failed("write", exc) from exc


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Be the only one for a while who changes what is in the directory.

    Raises:
        CniError: It cannot be locked.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise _failed("lock", exc) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read(path: Path) -> bytes | None:
    """Return what is in a file, or ``None``.

    Raises:
        CniError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise _failed("read", exc) from exc


def save(contents: Mapping[Path, bytes]) -> None:
    """Write files, in this order: all of them or, when there is no room, none.

    Raises:
        CniError: They cannot be written.
    """
    drafts = {_draft(path): path for path in contents}
    try:
        for draft, path in drafts.items():
            make(draft.parent)
            _write(draft, contents[path])
        for draft, path in drafts.items():
            draft.replace(path)
    except OSError as exc:
        for draft in drafts:
            with suppress(OSError):  # the disk's trouble is what to tell
                draft.unlink(missing_ok=True)
        raise _failed("write", exc) from exc


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _FILE)
    with open(descriptor, "wb") as file:  # noqa: PTH123  opened with a mode of our own
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Have no such file any more, not even a draft that a crash left.

    Raises:
        CniError: It cannot be removed.
    """
    try:
        for file in (_draft(path), path):
            file.unlink(missing_ok=True)
    except NotADirectoryError:
        return
    except OSError as exc:
        raise _failed("remove", exc) from exc


def names(directory: Path) -> list[str]:
    """Return the names of the files in a directory; it may be missing.

    Raises:
        CniError: The directory cannot be read.
    """
    try:
        return sorted(path.name for path in directory.iterdir() if path.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        raise _failed("read", exc) from exc


def _draft(path: Path) -> Path:
    """No identifier begins with a dot."""
    return path.with_name(f".{path.name}.draft")


def _failed(what: str, exc: OSError) -> CniError:
    reason = f"failed to {what} flannel's state: {exc.filename}: {exc.strerror}"
    return CniError(reason, "dataDir names another directory", code=Code.IO_FAILURE)
