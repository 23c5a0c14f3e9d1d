"""Taps: links whose other end is a file that a virtual machine reads and writes (linux/if_tun.h).

The kernel makes them by ioctl on /dev/net/tun alone, in the network namespace of the thread
that opens it; everything else about them is netlink's.
"""

import errno
import fcntl
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from podnet.errors import MissingError
from podnet.kernel.links import Link
from podnet.kernel.netlink import as_int, attributes

KIND = "tun"
_DEVICE = "/dev/net/tun"
# linux/if_tun.h, as all but a few architectures number them
_TUNSETIFF, _TUNSETPERSIST, _TUNSETOWNER, _TUNSETGROUP = (
    0x400454CA,
    0x400454CB,
    0x400454CC,
    0x400454CE,
)
_IFF_TAP, _IFF_MULTI_QUEUE, _IFF_NO_PI, _IFF_TUN_EXCL = 0x0002, 0x0100, 0x1000, 0x8000
_REQUEST = struct.Struct("16sH22x")  # struct ifreq
# linux/if_link.h
_IFLA_TUN_OWNER, _IFLA_TUN_GROUP, _IFLA_TUN_TYPE, _IFLA_TUN_MULTI_QUEUE = 1, 2, 3, 7
_SELINUX = Path("/sys/fs/selinux")
_EXEC_LABEL = Path("/proc/thread-self/attr/exec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """What there is to say about a tap beyond what all links have.

    Attributes:
        multi_queue: Several files may be its other end at once.
        owner: The user who may open it besides root, or ``None``.
        group: The group that may, or ``None``.
    """

    multi_queue: bool = False
    owner: int | None = None
    group: int | None = None


def add(name: str, tap: Tap, *, label: str = "") -> None:
    """Make a tap in the thread's network namespace; it stays when nobody has it open.

    Args:
        name: Its name.
        tap: What it is to be like.
        label: The SELinux context that it is to have, "" for our own.

    Raises:
        FileExistsError: There is a link of that name.
        MissingError: The kernel has no taps, or a label is asked for without SELinux.
        OSError: The kernel refused.
    """
    try:
        if label:
            _add_labelled(name, tap, label)
        else:
            _add(name, tap)
    except OSError as exc:
        if exc.errno == errno.EBUSY:
            raise FileExistsError(errno.EEXIST, f"add tap {name}: File exists") from exc
        raise type(exc)(exc.errno, f"add tap {name}: {exc.strerror}") from exc


def _add(name: str, tap: Tap) -> None:
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_TUN_EXCL | (_IFF_MULTI_QUEUE if tap.multi_queue else 0)
    device = _opened()
    try:
        fcntl.ioctl(device, _TUNSETIFF, _REQUEST.pack(os.fsencode(name), flags))
        if tap.owner is not None:
            fcntl.ioctl(device, _TUNSETOWNER, _as_c(tap.owner))
        if tap.group is not None:
            fcntl.ioctl(device, _TUNSETGROUP, _as_c(tap.group))
        fcntl.ioctl(device, _TUNSETPERSIST, 1)  # last: until now closing it removes the link
    finally:
        os.close(device)


def _as_c(number: int) -> int:
    """Return a 32-bit number as the signed one that Python passes on."""
    return int(struct.unpack("=i", struct.pack("=I", number))[0])


def _opened() -> int:
    try:
        return os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno in {errno.ENOENT, errno.ENODEV, errno.ENXIO}:
            hint = f"there is no {_DEVICE}"
            raise MissingError("this kernel has no tun (CONFIG_TUN)", hint) from exc
        if exc.errno in {errno.EACCES, errno.EPERM}:
            hint = f"most systems let everybody: chmod 0666 {_DEVICE}"
            raise MissingError(f"no permission to open {_DEVICE}", hint) from exc
        raise


def _add_labelled(name: str, tap: Tap, label: str) -> None:
    """Make it from a process with the label: a tap has that of the process that makes it.

    By executing a program, since policies let a runtime's processes change on that only.
    """
    import subprocess  # noqa: PLC0415  8 ms that only this needs

    if not _SELINUX.is_dir():
        raise MissingError("this system has no SELinux", "selinuxContext needs it")
    make = f"tuntap.make_and_exit({name!r}, {tap.multi_queue}, {tap.owner}, {tap.group})"
    code = f"import sys; sys.path[:] = {sys.path!r}; from podnet.kernel import tuntap; {make}"
    _EXEC_LABEL.write_text(label)
    try:
        done = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False)
    finally:
        _EXEC_LABEL.write_text("\n")  # nothing: our own again
    if done.returncode:
        raise OSError(done.returncode, os.strerror(done.returncode))


def make_and_exit(name: str, multi_queue: bool, owner: int | None, group: int | None) -> None:  # noqa: FBT001  called in source text
    """Be the process that makes a labelled tap; the exit status is the errno."""
    try:
        _add(name, Tap(multi_queue=multi_queue, owner=owner, group=group))
    except OSError as exc:
        sys.exit(exc.errno)


def require() -> None:
    """Hold that taps can be made here.

    Raises:
        MissingError: The kernel has none, or this user may make none.
    """
    os.close(_opened())


def tap_of(link: Link) -> Tap | None:
    """Return what a link is as a tap, ``None`` when it is none."""
    found = attributes(link.data)
    if link.kind != KIND or as_int(found.get(_IFLA_TUN_TYPE, b"")) != _IFF_TAP:
        return None
    return Tap(
        multi_queue=as_int(found.get(_IFLA_TUN_MULTI_QUEUE, b"")) > 0,
        owner=_number(found.get(_IFLA_TUN_OWNER)),
        group=_number(found.get(_IFLA_TUN_GROUP)),
    )


def _number(packed: bytes | None) -> int | None:
    return None if packed is None else as_int(packed)
