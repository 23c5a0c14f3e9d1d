"""Network sysctls of the calling thread's namespace, under /proc/sys/net.

Keys are path components, so that an interface called ``eth0.5`` needs no escape.
"""

import os

_ROOT = "/proc/sys/net"
_LONGEST = 16384


def read(*key: str) -> str | None:
    """Return a value, or ``None`` where the kernel has no such key."""
    try:
        descriptor = os.open(_path(key), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(descriptor, _LONGEST).decode().strip()
    finally:
        os.close(descriptor)


def write(*key: str, value: str) -> bool:
    """Set a value if it is not set already; return whether the kernel has the key.

    Raises:
        OSError: The kernel refuses the value.
    """
    try:
        descriptor = os.open(_path(key), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:  # not ours to write; but what is there already need not be written
        if read(*key) == value:
            return True
        raise
    try:
        if os.read(descriptor, _LONGEST).decode().strip() != value:
            os.pwrite(descriptor, value.encode(), 0)
    finally:
        os.close(descriptor)
    return True


def _path(key: tuple[str, ...]) -> str:
    # Plain system calls: a dozen of these are part of every ADD, and a Path costs more than they.
    return "/".join((_ROOT, *key))
