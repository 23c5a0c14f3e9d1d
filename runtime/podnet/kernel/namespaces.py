"""Network namespaces: make them, name them, enter them, tell them apart.

Linux gives every thread its own network namespace.  ``/proc/self`` is the main thread,
so only ``/proc/thread-self`` tells the truth here.
"""

import errno
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

from podnet.cni.errors import CniError, Code
from podnet.errors import MissingError, PodnetError
from podnet.kernel import libc

OWN = "/proc/thread-self/ns/net"
_IP_NETNS = Path("/run/netns")
# linux/magic.h
_NSFS = 0x6E736673
# linux/nsfs.h
_NS_GET_NSTYPE = 0xB703
# linux/sockios.h, linux/if.h
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1

P = ParamSpec("P")
T = TypeVar("T")


def create(path: Path) -> None:
    """Make a network namespace, its loopback up, and pin it at *path* (a bind mount).

    Raises:
        PodnetError: *path* is taken.
        MissingError: No privilege.
    """
    with needing_privilege("make a network namespace"):
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if path.parent == _IP_NETNS:
            _share(path.parent)
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o444))
        except FileExistsError:
            raise PodnetError(
                f"{path} exists already, and is not podnet's", "choose another name"
            ) from None
        try:
            in_thread(_create, path)
        except BaseException:
            delete(path)  # also what an interrupt came too late for
            raise


def _share(directory: Path) -> None:
    """Make *directory* a mount point of its own, shared, as `ip netns` does.

    It would do so when somebody uses it next, and cover the pins that are there already: what
    is covered cannot be unmounted, and its file cannot be removed.
    """
    try:
        libc.mount("none", str(directory), flags=libc.MS_SHARED | libc.MS_REC)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
        libc.mount(str(directory), str(directory), flags=libc.MS_BIND | libc.MS_REC)
        libc.mount("none", str(directory), flags=libc.MS_SHARED | libc.MS_REC)


def _create(path: Path) -> None:
    libc.unshare(libc.CLONE_NEWNET)
    set_loopback_up()
    libc.mount(OWN, str(path), flags=libc.MS_BIND)


def delete(path: Path) -> None:
    """Unpin the namespace at *path*, however often it is mounted there; it may be gone."""
    with needing_privilege("remove a network namespace"):
        while _unmounted(path):
            pass
        path.unlink(missing_ok=True)


def _unmounted(path: Path) -> bool:
    try:
        libc.unmount(str(path))
    except OSError as exc:
        if exc.errno in {errno.EINVAL, errno.ENOENT}:  # not a mount, or no such file
            return False
        raise
    return True


def is_namespace(path: str) -> bool:
    """Tell whether *path* is a namespace: a file of nsfs, as links in /proc lead to."""
    try:
        return libc.filesystem(path) == _NSFS
    except OSError:
        return False


def check(path: str) -> None:
    """Check that *path* can be somebody's CNI_NETNS: a network namespace, and not our own.

    Raises:
        CniError: Code 8, it is missing, something else, or our own.
    """
    if not os.path.lexists(path):
        raise CniError(f"there is no network namespace {path}", code=Code.INVALID_NETNS)
    if not is_namespace(path) or not _is_network(path):
        raise CniError(f"{path} is not a network namespace", code=Code.INVALID_NETNS)
    if identity(path) == identity(OWN):
        raise CniError(
            f"{path} is podnet's own network namespace",
            "plugins would reconfigure the host itself; CNI_NETNS_OVERRIDE=1 allows it",
            code=Code.INVALID_NETNS,
        )


def _is_network(path: str) -> bool:
    with opened(path) as namespace:
        return fcntl.ioctl(namespace, _NS_GET_NSTYPE) == libc.CLONE_NEWNET


def identity(path: str) -> tuple[int, int]:
    """Return what tells one namespace from another (device and inode)."""
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino


@contextmanager
def entered(path: str) -> Iterator[None]:
    """Put the calling thread into the network namespace at *path* for a while.

    Raises:
        OSError: It cannot be opened or entered.
    """
    with opened() as home, opened(path) as target:
        libc.setns(target, libc.CLONE_NEWNET)
        try:
            yield
        finally:
            libc.setns(home, libc.CLONE_NEWNET)


@contextmanager
def opened(path: str = OWN) -> Iterator[int]:
    """Hold the namespace at *path* open for a while, by default the thread's own.

    Yields:
        Its file descriptor.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run *function* on a thread of its own, which may change its namespaces and then ends."""
    results: list[T] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function(*args, **kwargs))
        except BaseException as exc:  # noqa: BLE001  raised again, by the caller
            failures.append(exc)

    thread = threading.Thread(target=body, name=f"podnet {getattr(function, '__name__', '')}")
    thread.start()
    try:
        thread.join()
    except BaseException:  # an interrupt: what was begun comes to its end before anybody undoes it
        thread.join()
        raise
    if failures:
        raise failures[0]
    return results[0]


def set_loopback_up() -> None:
    """Set lo up; the kernel gives it its addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        request = bytearray(struct.pack("16sh22x", b"lo", 0))
        fcntl.ioctl(control, _SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("h", request, 16)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


def execute_in(path: Path, command: Sequence[str]) -> NoReturn:
    """Become *command* inside the network namespace at *path*, with a /sys that shows it.

    For a process of its own: the main thread enters, and never comes back.

    Raises:
        MissingError: No privilege.
        OSError: The command cannot be executed.
    """
    from nsenter import Namespace  # noqa: PLC0415  28 ms that only this needs

    with ExitStack() as inside:
        with needing_privilege("enter a pod"):
            inside.enter_context(Namespace(str(path), "net"))
            libc.unshare(libc.CLONE_NEWNS)
            libc.mount("none", "/", flags=libc.MS_REC | libc.MS_PRIVATE)
            mount_sysfs()
        os.execvp(command[0], list(command))  # noqa: S606  that is what it is for
    raise AssertionError("execvp does not return")  # pragma: no cover


def mount_sysfs() -> None:
    """Show the links of the thread's own network namespace in /sys/class/net.

    Where the system does not let us, /sys goes on showing the host's: nothing of podnet's
    reads it, and a container without the right to mount is no reason to fail.
    """
    try:
        libc.mount("sysfs", "/sys", "sysfs", libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC)
    except PermissionError:
        return


@contextmanager
def needing_privilege(purpose: str) -> Iterator[None]:
    """Turn "operation not permitted" into a sentence that says for what."""
    try:
        yield
    except PermissionError as exc:
        raise MissingError(
            f"no permission to {purpose}: {exc.strerror}",
            "a program without root begins with podnet.rootless.become_root(); the podnet "
            "command does so by itself, but a container must allow it",
        ) from exc
