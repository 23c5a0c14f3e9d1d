"""Whether there is room on a disk for what an ADD would write down: STATUS asks.

Leaves no trace, not even for a moment; knows nothing of what is to be written.
"""

import errno
import os
from pathlib import Path

# The file system has no files without a name: ADD will see.
_CANNOT_TELL = {errno.EOPNOTSUPP, errno.EISDIR}


def require(directory: str | Path) -> None:
    """Hold that something could be written below *directory*, which may be missing.

    Raises:
        OSError: The disk is full, or read-only.
    """
    wanted = Path(directory)
    nearest = next(path for path in (wanted, *wanted.parents) if path.is_dir())
    try:
        descriptor = os.open(nearest, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        if exc.errno in _CANNOT_TELL:
            return
        raise
    try:
        os.write(descriptor, b"\n")
    finally:
        os.close(descriptor)
