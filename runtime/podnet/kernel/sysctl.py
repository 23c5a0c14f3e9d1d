"""Network sysctls of the calling thread's namespace, under /proc/sys/net.

Keys are path components, so that an interface called ``eth0.5`` needs no escape.
"""

from pathlib import Path

_ROOT = Path("/proc/sys/net")


def read(*key: str) -> str | None:
    """Return a value, or ``None`` where the kernel has no such key."""
    try:
        return _ROOT.joinpath(*key).read_text().strip()
    except FileNotFoundError:
        return None


def write(*key: str, value: str) -> bool:
    """Set a value if it is not set already; return whether the kernel has the key.

    Raises:
        OSError: The kernel refuses the value.
    """
    current = read(*key)
    if current is None:
        return False
    if current != value:
        _ROOT.joinpath(*key).write_text(value)
    return True
