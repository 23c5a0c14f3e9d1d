"""A user namespace: root for somebody who is not, over namespaces of their own.

Knows maps, and what the kernel may have against it; who keeps a user namespace is
podnet.rootless's.  Only the user's own ID is mapped, so no helper with more rights is needed:
inside, the user is root, and everybody else is nobody.
"""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from podnet.errors import MissingError
from podnet.kernel import libc, worlds

KINDS = ("user", "net", "mnt")
#: The switches that forbid user namespaces: where, what they say then, what would allow it.
SWITCHES = {
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
    "user.max_user_namespaces": ("0", "15000"),
    "user.max_net_namespaces": ("0", "15000"),
    "user.max_mnt_namespaces": ("0", "15000"),
}
_FULL = (errno.ENOSPC, errno.EUSERS)


def become_root(var_lib: Path | None = None) -> None:
    """Make the process, which has one thread, root of a machine of its own.

    It has a network with nothing but lo, a /run in memory, and a /var/lib; the other files are
    the machine's, with the user's rights.

    Args:
        var_lib: What is seen at /var/lib; without, it is in memory.

    Raises:
        MissingError: The system allows no user namespaces.
    """
    user, group = os.geteuid(), os.getegid()
    places = (Path(os.environ.get("HOME", "/")), worlds.working_directory())
    own = [path for path in places if _is_of(path, user)]
    with _allowed():
        libc.unshare(libc.CLONE_NEWUSER)
        # The kernel maps a group only for who cannot leave the groups that keep them out.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        # Not at once with the user namespace: the files in a network namespace's /proc/net
        # belong to whom its root is mapped to when it is made.
        libc.unshare(libc.CLONE_NEWNS | libc.CLONE_NEWNET)
        worlds.furnish(var_lib, own)


def _is_of(path: Path, user: int) -> bool:
    """Tell whether a directory is the user's: a service's home may be below /var/lib."""
    return path.is_dir() and path.stat().st_uid == user


def enter(pid: int) -> None:
    """Move the process, which has one thread, to where process *pid* is root.

    Raises:
        OSError: The kernel refuses, or there is no such process.
    """
    opened = {kind: os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in KINDS}
    try:
        libc.unshare(libc.CLONE_FS)
        libc.setns(opened["user"], libc.CLONE_NEWUSER)
        worlds.enter({kind: opened[kind] for kind in ("net", "mnt")})
    finally:
        for descriptor in opened.values():
            os.close(descriptor)


def is_root() -> bool:
    """Tell whether the process is root of the machine, and not of a user namespace only."""
    mapped = Path("/proc/self/uid_map").read_text().split()
    return os.geteuid() == 0 and mapped == ["0", "0", str(2**32 - 1)]


@contextmanager
def _allowed() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        settings = {name: _setting(name) for name in SWITCHES}
        raise refusal(exc, settings) from exc


def _setting(name: str) -> str:
    try:
        return Path("/proc/sys", *name.split(".")).read_text().strip()
    except OSError:  # this kernel has no such switch
        return ""


def refusal(error: OSError, settings: Mapping[str, str]) -> MissingError:
    """Return why there can be no user namespace, and what to do about it.

    Args:
        error: What the kernel said.
        settings: The switches as they are, those that there are.
    """
    closed = [name for name, (off, _) in SWITCHES.items() if settings.get(name) == off]
    message = f"without root podnet needs a user namespace, and gets none: {error.strerror}"
    if closed:
        said = ", ".join(f"{name}={SWITCHES[name][0]}" for name in closed)
        mended = " ".join(f"{name}={SWITCHES[name][1]}" for name in closed)
        return MissingError(
            f"{message} ({said})", f"sudo sysctl -w {mended}; or run podnet as root"
        )
    if error.errno in _FULL:
        return MissingError(
            f"{message} (too many are there, or nested too deep)",
            "sudo sysctl -w user.max_user_namespaces=15000; or run podnet as root",
        )
    return MissingError(
        message,
        "a container must allow unshare(2) and mount(2), or be started with more rights "
        "(--privileged); or run podnet as root",
    )
