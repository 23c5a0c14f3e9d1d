"""Without root: the user's own machine, and the way into it.

The first command that needs it makes a user, a mount and a network namespace, and leaves a
process there that keeps them (podnet.keeper); every command enters before it starts a thread,
and does then what it would do as root.  /var/lib is a directory below the user's state, so it
survives a reboot; /run does not, as ever.
"""

import fcntl
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from podnet import files, keeper, places
from podnet.errors import MissingError, PodnetError, UsageError
from podnet.kernel import namespaces, users
from podnet.places import UserPlaces

_FIRST_OWN_DESCRIPTOR = 10
_FAILURES = {kind.exit_code: kind for kind in (PodnetError, UsageError, MissingError)}
_START_TIME = 19  # of the fields of /proc/PID/stat after the name: proc_pid_stat(5), number 22


@dataclass(frozen=True, slots=True)
class Keeper:
    """The process that keeps a user's namespaces, as it is on record.

    Attributes:
        pid: Its process ID.
        started: When, as /proc tells it: so another process of that ID is none.
        user: What tells its user namespace from others (device and inode).
    """

    pid: int
    started: int
    user: tuple[int, int]

    @classmethod
    def of(cls, pid: int) -> "Keeper":
        """Return the keeper that process *pid* is.

        Raises:
            OSError: There is no such process, or it is somebody else's.
        """
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return cls(pid, int(fields[_START_TIME]), namespaces.identity(f"/proc/{pid}/ns/user"))

    def runs(self) -> bool:
        """Tell whether it is still that process."""
        try:
            return keeper.runs(self.pid) and Keeper.of(self.pid) == self
        except OSError:
            return False


def enter(environment: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Move the process, which has one thread, into its user's own machine; root stays.

    Args:
        environment: Where that is; see :func:`podnet.places.of_user`.
        say: Is told when the user has no such machine yet.

    Raises:
        MissingError: The system allows no user namespaces.
        UsageError: A directory is somebody else's.
    """
    if os.geteuid() == 0:
        return
    own = places.of_user(environment, os.geteuid())
    make_private(own.run)
    # Held until we are inside: the keeper looks for processes there before it ends.
    with _locked(own.run):
        kept = _recorded(own.run, say) or _start(own, say)
        try:
            # Open as long as the process lives, and nobody's to close: the keeper waits for that.
            os.open(own.run / keeper.ALIVE, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            users.enter(kept.pid)
        except OSError as exc:
            message = f"cannot enter the namespaces that process {kept.pid} keeps: {exc.strerror}"
            raise PodnetError(message, f"kill {kept.pid} ends them; try again") from exc
    _search_where_root_does()


def become_root() -> None:
    """Make a program without root the root of a machine in memory, gone when it ends.

    For programs and test suites: call it first, while there is one thread.  Root stays as it is.

    Raises:
        MissingError: The system allows no user namespaces.
    """
    if os.geteuid() != 0:
        users.become_root()
        _search_where_root_does()


def _search_where_root_does() -> None:
    """Let plugins find root's programs, as sudo does: a user's PATH may lead to no iptables."""
    found = os.environ.get("PATH", os.defpath).split(":")
    os.environ["PATH"] = ":".join(dict.fromkeys((*found, "/usr/sbin", "/sbin")))


def make_private(directory: Path) -> None:
    """Make a directory that is the user's alone, or see that it is.

    Raises:
        UsageError: It is somebody else's, open to others, or none.
        PodnetError: It cannot be made.
    """
    try:
        files.make_directory(directory.parent)
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.lstat()
    except (OSError, PodnetError) as exc:
        raise _unusable(directory, f"cannot be made: {getattr(exc, 'message', exc)}") from exc
    if not stat.S_ISDIR(found.st_mode):
        raise _unusable(directory, "is no directory")
    if found.st_uid != os.geteuid():
        raise _unusable(directory, f"belongs to user {found.st_uid}")
    if found.st_mode & 0o022:
        raise _unusable(directory, "can be written to by others")


def _unusable(directory: Path, why: str) -> UsageError:
    return UsageError(
        f"{directory} {why}",
        "without root podnet keeps things below XDG_RUNTIME_DIR and XDG_STATE_HOME (or HOME): "
        "name directories of yours",
    )


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    lock = os.open(run / keeper.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _recorded(run: Path, say: Callable[[str], None]) -> Keeper | None:
    """Return the keeper that runs; a record of one that does not is removed."""
    path = run / keeper.RECORD
    try:
        found = json.loads(path.read_bytes())
        kept = Keeper(int(found["pid"]), int(found["started"]), tuple(found["user"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as exc:
        say(f"ignored {path}: it cannot be read: {exc}")
        return None
    if kept.runs():
        return kept
    say(
        f"process {kept.pid}, which kept your Nodes and pods, was ended from outside; "
        "they are gone, as after a reboot: podnet gc"
    )
    return None


def _start(own: UserPlaces, say: Callable[[str], None]) -> Keeper:
    """Make the namespaces and the process that keeps them.

    Raises:
        MissingError: The system allows no user namespaces.
        UsageError: The state is not ours alone.
    """
    make_private(own.state)
    var_lib = own.state / "var-lib"
    if not var_lib.is_dir():
        say(
            "without root: your Nodes, pods and networks are in a user namespace of your own, "
            f"which podnet keeps while there are any; its /var/lib is {var_lib}"
        )
        files.make_directory(var_lib)
    for name in (keeper.ALIVE, keeper.RECORD):
        (own.run / name).unlink(missing_ok=True)
    os.mkfifo(own.run / keeper.ALIVE, 0o600)
    failure, failing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become_keeper(own, var_lib, failing)
    os.close(failing)
    with open(failure, "rb") as answer:  # noqa: PTH123  until it is the keeper, or says why not
        said = answer.read()
    if said:
        os.waitpid(pid, 0)
        status, message, hint = json.loads(said)
        raise _FAILURES[status](message, hint)
    kept = Keeper.of(pid)
    files.write(own.run / keeper.RECORD, json.dumps(asdict(kept)).encode())
    return kept


def _become_keeper(own: UserPlaces, var_lib: Path, failing: int) -> NoReturn:
    """Be the keeper, in namespaces of its own; the child's part of a fork."""
    try:
        os.setsid()
        state, directory = (os.open(p, os.O_RDONLY | os.O_DIRECTORY) for p in (own.state, own.run))
        alive = os.open(own.run / keeper.ALIVE, os.O_RDONLY | os.O_NONBLOCK)
        _claim(own, state)
        users.become_root(var_lib)
        given = (directory, alive, state)
        passed = [fcntl.fcntl(one, fcntl.F_DUPFD, _FIRST_OWN_DESCRIPTOR) for one in given]
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere, stream)
        inherited = sorted(keeper.pins())  # here: when it runs, a command may have made a Node
        command = [sys.executable, "-I", "-S", keeper.__file__, *map(str, passed), *inherited]
        os.execv(sys.executable, command)  # noqa: S606  no shell anywhere
    except PodnetError as exc:
        said = [exc.exit_code, exc.message, exc.hint]
        os.write(failing, json.dumps(said).encode())
    except BaseException as exc:  # noqa: BLE001  a forked child must not go on as its parent
        os.write(failing, json.dumps([1, f"no keeper: {exc}", ""]).encode())
    os._exit(1)


def _claim(own: UserPlaces, state: int) -> None:
    """Hold the state as long as the process lives: two keepers must not share one /var/lib.

    Raises:
        UsageError: Another keeper has it.
    """
    try:
        fcntl.flock(state, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"{own.state} is in use by a podnet that was started with another XDG_RUNTIME_DIR "
            f"than {own.run.parent}",
            "use the same one, or another XDG_STATE_HOME",
        ) from None
