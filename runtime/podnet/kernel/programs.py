"""Short programs with text in and text out: nft and iptables.

What goes in and out is in memory files, so nobody waits for a full pipe; posix_spawn costs no
copy of our memory.  The subprocess module does the same with threads, selectors and an import
of 8 ms.  A program is born in the namespaces of the calling thread.
"""

import os
import signal
from dataclasses import dataclass

#: Python ignores the first two, and some parents the third, which a child would inherit.
RESTORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD)
_STREAMS = ("stdin", "stdout", "stderr")


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended and what it said."""

    status: int
    stdout: str
    stderr: str


def is_installed(program: str) -> bool:
    """Tell whether PATH has a program; cheaper than running it.

    PATH may lead to where the user may not look: what is there is not there for them.
    """
    directories = os.get_exec_path()
    return any(os.access(os.path.join(one, program), os.X_OK) for one in directories)  # noqa: PTH118  pathlib costs 5 ms


def is_nowhere(command: str) -> bool:
    """Tell whether *command* is a name that PATH has no program for.

    Who executes it is told another reason, if PATH leads to where they may not look.
    """
    return "/" not in command and not is_installed(command)


def run(*command: str, stdin: str = "") -> Done:
    """Run a program, looked for in PATH.

    Raises:
        FileNotFoundError: There is none.
    """
    files = [os.memfd_create(name) for name in _STREAMS]
    try:
        os.pwrite(files[0], stdin.encode(), 0)
        actions = [(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files)]
        pid = os.posix_spawnp(
            command[0], command, os.environ, file_actions=actions, setsigdef=RESTORED
        )
        _, status = os.waitpid(pid, 0)
        said = [_content(file) for file in files[1:]]
    finally:
        for file in files:
            os.close(file)
    return Done(os.waitstatus_to_exitcode(status), *said)


def _content(file: int) -> str:
    return os.pread(file, os.fstat(file).st_size, 0).decode(errors="backslashreplace")
