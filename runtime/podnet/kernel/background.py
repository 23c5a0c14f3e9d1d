"""Programs that run beside us for a while: the servers and daemons that a test needs.

Such a program ends when it is told to, and when we end, however that is: a shell looks after it,
at the other end of a pipe that nobody writes to.  (The kernel's own signal for a parent that dies
is lost when a program changes its user or group, as servers do.)
"""

import os
from collections.abc import Sequence

from podnet.kernel.programs import RESTORED

# Whichever comes first: the program ends, or the pipe does, and then the program.
_LOOK_AFTER = (
    '"$@" 3<&- & it=$!; { read -r _ <&3; kill -9 $it; } & pipe=$!; '
    "{ wait $it; kill $pipe; wait $pipe; } 2>/dev/null"
)


class Background:
    """A program that was started; it is born in the namespaces of the calling thread.

    Args:
        command: The program, looked for in PATH, and its arguments.  It must not go into the
            background by itself.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = tuple(command)
        self._said = os.memfd_create("said")
        listens, self._pipe = os.pipe()
        streams = ((self._said, 1), (self._said, 2), (listens, 3))
        self._pid = os.posix_spawn(
            "/bin/sh",
            ("sh", "-c", _LOOK_AFTER, "sh", *command),
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                *((os.POSIX_SPAWN_DUP2, file, number) for file, number in streams),
            ],
            setsigdef=RESTORED,
            setpgroup=0,  # an interrupt from the terminal is for us, who end it
        )
        os.close(listens)

    def has_ended(self) -> bool:
        """Tell whether it ended by itself."""
        if self._pid and os.waitpid(self._pid, os.WNOHANG) != (0, 0):
            self._pid = 0
        return not self._pid

    def said(self) -> str:
        """Return what it printed so far."""
        return os.pread(self._said, os.fstat(self._said).st_size, 0).decode(errors="replace")

    def end(self) -> None:
        """End it, and wait until it has."""
        os.close(self._pipe)
        if not self.has_ended():
            os.waitpid(self._pid, 0)
            self._pid = 0
        os.close(self._said)
