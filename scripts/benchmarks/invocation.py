"""invocation: what podnet adds to a bare exec of the same plugin."""

import os
import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, in_turn, row
from benchmarks.world import REFERENCE
from podnet import plan
from podnet.execute import ProcessExecutor


def rows(_: Path, count: int) -> Iterator[Row]:
    """One VERSION of a Go plugin."""
    executor, step = ProcessExecutor(path=(REFERENCE,)), plan.version("loopback")
    environment = {**os.environ, **step.environment}
    binary = f"{REFERENCE}/loopback"

    def bare() -> None:
        pipes = [os.pipe() for _ in range(3)]
        (stdin, to), (out, stdout), (err, stderr) = pipes
        actions = [(os.POSIX_SPAWN_DUP2, fd, n) for n, fd in enumerate((stdin, stdout, stderr))]
        pid = os.posix_spawn(binary, [binary], environment, file_actions=actions)
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
        os.write(to, b"{}")
        os.close(to)
        for descriptor in (out, err):
            while os.read(descriptor, 65536):
                pass
            os.close(descriptor)
        os.waitpid(pid, 0)

    ours, theirs = in_turn(10 * count, lambda: executor.run(step), bare)
    yield row("invocation VERSION", ours, "posix_spawn", theirs)
    cost = statistics.median(o - t for o, t in zip(ours, theirs, strict=True))
    yield Row(name="invocation own cost", ours_ms=round(cost, 3), samples=len(ours))
