"""A program in the background ends with us, however we end."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

STARTS = """
import sys, time
from podnet.kernel.background import Background
Background(["sh", "-c", 'echo $$ >"$0.draft"; mv "$0.draft" "$0"; exec sleep 60', sys.argv[1]])
time.sleep(60)
"""


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def test_a_program_in_the_background_ends_when_we_are_killed(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", STARTS, str(told)]) as we:
        _until(told.exists)
        program = Path("/proc", told.read_text().strip())
        assert program.exists()
        we.kill()
    _until(lambda: not program.exists())
