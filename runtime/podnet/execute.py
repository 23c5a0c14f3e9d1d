"""Find a plugin, run it, and read what it says.

The only room that starts plugins.  It promises: everything the plugin writes is read
while it runs (up to a bound), a timeout ends its whole process group, a child that it
leaves behind never makes us wait, and what happened is told as it happened.  It knows
one invocation at a time; chains are the runtime's.
"""

import errno
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from podnet.cni import names, wire
from podnet.errors import PodnetError, UsageError
from podnet.pipes import Child, Exchange, NeverRanError, Talking, converse
from podnet.plan import Invocation
from podnet.plugin_host import PluginHost

DEFAULT_TIMEOUT = 60.0
# ETXTBSY means that the file is still open for writing: an installer at work.  libcni
# waits five times one second; the first waits here are short, the sum is about the same.
_BUSY_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0)


class MissingPluginError(UsageError):
    """A plugin is in no directory of the search path.

    Attributes:
        plugin: Its type.
    """

    def __init__(self, plugin: str, directories: Sequence[str]) -> None:
        super().__init__(
            f'failed to find plugin "{plugin}" in path [{" ".join(directories)}]',
            "`podnet plugins` lists what there is; --plugin-dir adds a directory",
        )
        self.plugin = plugin


class NotStartedError(Exception):
    """A plugin is there and cannot be started, in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one invocation.

    Attributes:
        invocation: What was asked.
        binary: The file that was run.
        started: When, in seconds since the epoch.
        duration: How long, in seconds.
        exit_status: Its exit status; ``None`` when it never ran or died by a signal.
        signal: The signal that ended it, or ``None``.
        stdout: What it printed.
        stderr: What it logged.
        problem: Why podnet ended it or could not start it; "" when neither.
        timed_out: The problem is that it took too long.
        left_behind: A process of its group was still alive when it had exited.
        traceparent: The trace context it was given.
        observed: What somebody who watched it has to say; the transcript keeps it as it is.
    """

    invocation: Invocation
    binary: Path
    started: float
    duration: float = 0.0
    exit_status: int | None = None
    signal: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    problem: str = ""
    timed_out: bool = False
    left_behind: bool = False
    traceparent: str = ""
    observed: Mapping[str, object] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Outcome {self.invocation!r}: {self.ending}>"

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        if self.problem:
            return self.problem
        if self.signal is not None:
            return f"killed by signal {self.signal} ({_signal_name(self.signal)})"
        return f"exit status {self.exit_status}"


class Executor(Protocol):
    """Anything that can find and run plugins; :mod:`podnet.testing` has one of functions."""

    @property
    def path(self) -> Sequence[str]:
        """The search path, as CNI_PATH will name it."""
        ...

    def find(self, plugin: str, path: Sequence[str] = ()) -> Path:
        """Return the file that *plugin* is; raise a UsageError when there is none."""
        ...

    def run(self, invocation: Invocation) -> Outcome:
        """Run one invocation to its end."""
        ...


def search_path(*sources: str | Sequence[str] | None) -> tuple[str, ...]:
    """Join search paths: absolute, without duplicates and without empty elements.

    An empty element would mean the current directory or ``$PATH`` to Go's exec.
    """
    directories: list[str] = []
    for source in sources:
        listed = source.split(":") if isinstance(source, str) else source or ()
        directories += [os.path.abspath(item) for item in listed if item]
    return tuple(dict.fromkeys(directories))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessExecutor:
    """Runs plugins as processes.

    Attributes:
        path: Directories to look in, in order.
        timeout: Seconds that one invocation may take.
        environment: What plugins inherit besides the CNI_* parameters.
        keep_open: File descriptors that plugins inherit: locks, so that an orphaned
            plugin still holds them when podnet was killed.
        host: Starts podnet's own plugins faster than an interpreter can.
        trace_id: The trace that its invocations belong to, unless they inherit one.
    """

    path: tuple[str, ...]
    timeout: float = DEFAULT_TIMEOUT
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    keep_open: tuple[int, ...] = ()
    host: PluginHost | None = None
    trace_id: str = field(default_factory=lambda: os.urandom(16).hex())

    def find(self, plugin: str, path: Sequence[str] = ()) -> Path:
        """Find *plugin* as libcni does: the first regular file of that name.

        A file that cannot be executed is not passed over for one further along.

        Args:
            plugin: Its type.
            path: Where to look; default: our own path.

        Raises:
            UsageError: There is none, or the first one cannot be executed.
            CniError: The name is no plugin's.
        """
        names.check_plugin_type(plugin)
        directories = path or self.path
        if not directories:
            raise UsageError("no plugin directories given", "set CNI_PATH or --plugin-dir")
        candidates = (os.path.join(directory, plugin) for directory in directories)
        found = next((p for p in candidates if os.path.isfile(p)), None)
        if found is None:
            raise MissingPluginError(plugin, directories)
        if not os.access(found, os.X_OK):
            raise UsageError(
                f"plugin {found} is not executable", f"chmod +x {found}, or remove the file"
            )
        return Path(found)

    def run(self, invocation: Invocation) -> Outcome:
        """Run *invocation*; whatever the plugin does becomes an Outcome, never an exception.

        Raises:
            UsageError: The plugin is not there; nothing was run.
        """
        binary = self.find(invocation.plugin, invocation.path)
        started, clock = time.time(), time.monotonic()
        environment = {**self.environment, **invocation.environment}
        environment["TRACEPARENT"] = traceparent = self._trace_context()
        request = request_bytes(invocation)
        try:
            spoken, status, left_behind = self._speak(
                binary, environment, invocation.arguments, request, clock + self.timeout
            )
        except NotStartedError as exc:
            return Outcome(
                invocation=invocation,
                binary=binary,
                started=started,
                duration=time.monotonic() - clock,
                problem=str(exc),
                traceparent=traceparent,
            )
        return Outcome(
            invocation=invocation,
            binary=binary,
            started=started,
            duration=time.monotonic() - clock,
            exit_status=status if status >= 0 else None,
            signal=-status if status < 0 else None,
            stdout=spoken.stdout,
            stderr=spoken.stderr,
            problem=self._problem(spoken),
            timed_out=spoken.timed_out,
            left_behind=left_behind,
            traceparent=traceparent,
        )

    def _speak(
        self,
        binary: Path,
        environment: Mapping[str, str],
        arguments: Sequence[str],
        request: bytes,
        deadline: float,
    ) -> tuple[Exchange, int, bool]:
        """Start the plugin and talk to it; see :meth:`_converse`.

        Raises:
            NotStartedError: It cannot be started.
        """
        while True:
            try:
                child = self._start(binary, environment, arguments, deadline=deadline)
            except OSError as exc:
                raise NotStartedError(_could_not_start(binary, exc)) from exc
            with suppress(NeverRanError):  # who was to be it was killed before; another can
                return self._converse(child, request, deadline)

    def _start(
        self,
        binary: Path,
        environment: Mapping[str, str],
        arguments: Sequence[str],
        *,
        deadline: float,
    ) -> Talking:
        """Start the plugin; wait while its file is being written."""
        if self.host is not None and self.host.has(binary) and not arguments:
            with suppress(OSError):  # the host is gone, or cannot be: an interpreter will do
                return self.host.start(binary.name, environment, self.keep_open, deadline)
        waits = iter(_BUSY_WAITS)
        while True:
            try:
                return Child(binary, environment, self.keep_open, arguments)
            except OSError as exc:
                wait = next(waits, None)
                if exc.errno != errno.ETXTBSY or wait is None or time.monotonic() + wait > deadline:
                    raise
                time.sleep(wait)

    @staticmethod
    def _converse(child: Talking, request: bytes, deadline: float) -> tuple[Exchange, int, bool]:
        """Talk to the plugin until it is gone; whatever interrupts us ends it too.

        Returns:
            What was said, its exit status, and whether it left somebody behind.
        """
        try:
            spoken = _spoken_to_the_end(child, request, deadline)
            try:
                status = child.wait()
            except NeverRanError:
                if not spoken.timed_out:
                    raise
                status = -signal.SIGKILL
            return spoken, status, spoken.held_open or _group_is_alive(child.pid)
        finally:
            child.leave()

    def _trace_context(self) -> str:
        """Pass on the trace we are part of, or our own (W3C Trace Context; OTEP 258)."""
        inherited = self.environment.get("TRACEPARENT")
        return inherited or f"00-{self.trace_id}-{os.urandom(8).hex()}-01"

    def _problem(self, spoken: Exchange) -> str:
        if spoken.timed_out:
            return f"timed out after {self.timeout:g} s; its process group was killed"
        if spoken.overflow:
            return f"wrote more than 8 MiB to {spoken.overflow}; its process group was killed"
        return ""


def _spoken_to_the_end(child: Talking, request: bytes, deadline: float) -> Exchange:
    try:
        spoken = converse(child, request, deadline)
        if spoken.overflow or spoken.timed_out:
            child.kill()
    except BaseException:
        child.kill()
        with suppress(NeverRanError):
            child.wait()
        raise
    return spoken


def request_bytes(invocation: Invocation) -> bytes:
    """Return the bytes that go to the plugin's stdin."""
    if invocation.verbatim is not None:
        return invocation.verbatim
    if invocation.awaits_result:
        raise PodnetError(f"{invocation!r} still waits for the result of the plugin before it")
    return wire.dumps(invocation.stdin).encode()


def _could_not_start(binary: Path, exc: OSError) -> str:
    if exc.errno == errno.ETXTBSY:
        return f"{binary} is still being written (text file busy); try again later"
    if exc.errno == errno.ENOENT:
        return f"{binary} cannot be run: the interpreter in its first line does not exist"
    if exc.errno == errno.ENOEXEC:
        return f"{binary} cannot be run: neither a program nor a script with a first line '#!…'"
    return f"{binary} cannot be run: {exc.strerror}"


def _signal_name(number: int) -> str:
    """Return a signal's name; a real-time signal has a description only."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return signal.strsignal(number) or "unknown"


def _group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
