"""A file per container in a directory, written whole, under a lock that a kill releases.

Path and modes are flannel's.  The container ID is an identifier: the skeleton has checked it.
Knows files; knows nothing of what is in them, nor of when they are written.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from podnet.cni import names
from podnet.cni.errors import CniError, Code

_DIRECTORY, _FILE = 0o700, 0o600


def make(data_dir: str) -> None:
    """Make the directory, unless it is there.

    Raises:
        CniError: It cannot be made.
    """
    try:
        Path(data_dir).mkdir(mode=_DIRECTORY, parents=True, exist_ok=True)
    except OSError as exc:
        raise _failed("write", exc) from exc


def is_made(data_dir: str) -> bool:
    """Tell whether the directory is there."""
    return Path(data_dir).is_dir()


@contextmanager
def locked(data_dir: str) -> Iterator[None]:
    """Be the only one for a while who changes what is in the directory.

    Raises:
        CniError: It cannot be locked.
    """
    try:
        descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise _failed("lock", exc) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read(data_dir: str, container_id: str) -> bytes | None:
    """Return what is kept for a container, or ``None``.

    Raises:
        CniError: It cannot be read.
    """
    try:
        return Path(data_dir, container_id).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise _failed("read", exc) from exc


def save(data_dir: str, container_id: str, content: bytes) -> None:
    """Keep *content* for a container: all of it or, when this fails, what was there.

    Raises:
        CniError: It cannot be written.
    """
    make(data_dir)
    draft = _draft(data_dir, container_id)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _FILE)
        with open(descriptor, "wb") as file:  # noqa: PTH123  opened with a mode of our own
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(Path(data_dir, container_id))
    except OSError as exc:
        with suppress(OSError):  # the disk's trouble is what to tell
            draft.unlink(missing_ok=True)
        raise _failed("write", exc) from exc


def remove(data_dir: str, container_id: str) -> None:
    """Keep nothing for a container any more, not even a draft that a crash left.

    Raises:
        CniError: The file cannot be removed.
    """
    try:
        for file in (_draft(data_dir, container_id), Path(data_dir, container_id)):
            file.unlink(missing_ok=True)
    except NotADirectoryError:
        return
    except OSError as exc:
        raise _failed("remove", exc) from exc


def containers(data_dir: str) -> Iterator[str]:
    """Yield the containers that something is kept for.

    Raises:
        CniError: The directory cannot be read.
    """
    try:
        found = sorted(path.name for path in Path(data_dir).iterdir() if path.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as exc:
        raise _failed("read", exc) from exc
    yield from filter(names.is_identifier, found)


def _draft(data_dir: str, container_id: str) -> Path:
    """No container's name begins with a dot."""
    return Path(data_dir, f".{container_id}.draft")


def _failed(what: str, exc: OSError) -> CniError:
    reason = f"failed to {what} flannel's state: {exc.filename}: {exc.strerror}"
    return CniError(reason, "dataDir names another directory", code=Code.IO_FAILURE)
