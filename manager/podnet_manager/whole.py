"""Files that are written whole or not at all: who reads one sees what was there before, or all of it.

Not even a power failure leaves half of one.  Knows nothing of what is written.
"""

import os
from pathlib import Path


def write(path: Path, text: str, *, mode: int = 0o600, directory_mode: int = 0o700) -> None:
    """Write a file, and make the directory where there is none.

    Args:
        path: The file.
        text: Its new content.
        mode: Who may read and write it, whatever the umask.
        directory_mode: Likewise, of a directory that is made.

    Raises:
        OSError: It cannot be written; it is as it was.
    """
    path.parent.mkdir(mode=directory_mode, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123  opened with a mode of our own
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
