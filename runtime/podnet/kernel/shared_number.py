"""A number in a file that processes share, and wait for to change (futex(2)).

No polling, and no kernel object that there are few of: inotify has 128 for all of a user's
processes.  Everybody who waits is woken at once.  Where the system call has another name,
waiting is looking now and then.
"""

import ctypes
import errno
import mmap
import os
import platform
import time
from pathlib import Path
from typing import Self

_NUMBERS = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
_NR_FUTEX = _NUMBERS.get(platform.machine())
_WAIT, _WAKE, _EVERYBODY = 0, 1, 0x7FFFFFFF
_NUDGE = 1 << 31
_GLANCE = 0.05
_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    """struct timespec of 64-bit architectures."""

    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class SharedNumber:
    """A number of 31 bits in a file; any thread may wait.

    Args:
        path: The file; made, for its owner alone, where there is none.

    Raises:
        OSError: It cannot be opened, or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Not ftruncate: on a full disk a store to a page that has no block is a SIGBUS.
            os.posix_fallocate(descriptor, 0, ctypes.sizeof(ctypes.c_uint32))
            self._memory = mmap.mmap(descriptor, ctypes.sizeof(ctypes.c_uint32))
        finally:
            os.close(descriptor)
        self._word: ctypes.c_uint32 | None = ctypes.c_uint32.from_buffer(self._memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; nobody may wait any more."""
        self._word = None
        self._memory.close()

    @property
    def seen(self) -> int:
        """What is there now, for :meth:`wait`."""
        return self._there.value

    def announce(self, number: int) -> None:
        """Set it, and wake everybody."""
        self._there.value = number & ~_NUDGE
        self._wake()

    def nudge(self) -> None:
        """Wake everybody, for nothing that they wait for."""
        self._there.value ^= _NUDGE
        self._wake()

    def wait(self, seen: int, seconds: float) -> None:
        """Wait until it is not *seen* any more, at most *seconds*; it may be sooner."""
        if _NR_FUTEX is None:
            time.sleep(min(seconds, _GLANCE))
            return
        whole, part = divmod(max(0.0, seconds), 1.0)
        limit = _Timespec(int(whole), int(part * 1e9))
        pointers = ctypes.byref(self._there), ctypes.byref(limit)
        done = _libc.syscall(
            _NR_FUTEX, pointers[0], _WAIT, ctypes.c_uint32(seen), pointers[1], 0, 0
        )
        if done != 0 and ctypes.get_errno() not in {errno.EAGAIN, errno.ETIMEDOUT, errno.EINTR}:
            raise OSError(ctypes.get_errno(), "futex")

    def _wake(self) -> None:
        if _NR_FUTEX is not None:
            _libc.syscall(_NR_FUTEX, ctypes.byref(self._there), _WAKE, _EVERYBODY, 0, 0, 0)

    @property
    def _there(self) -> ctypes.c_uint32:
        assert self._word is not None, "it is closed"  # noqa: S101  a bug of the caller's
        return self._word
