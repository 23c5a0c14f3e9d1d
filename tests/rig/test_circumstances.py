"""What is so on a Node around a failure is seen without a hand on it."""

import fcntl
import subprocess
from pathlib import Path

import pytest

from podnet.rig.scenario import circumstances

pytestmark = pytest.mark.root

FREE, OURS, THEIRS = Path("/run/free"), Path("/run/ours"), Path("/run/theirs")


def test_locks_are_seen_whoever_holds_them(node):
    free = node.run(FREE.open, "w")
    mine = node.run(OURS.open, "w")
    fcntl.flock(mine, fcntl.LOCK_SH)
    command = ["flock", str(THEIRS), "sh", "-c", "echo held; read _"]
    theirs = node.run(
        subprocess.Popen, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with theirs, mine, free:
        assert theirs.stdout
        theirs.stdout.readline()
        assert sorted(node.run(circumstances.locks)) == [str(OURS), str(THEIRS)]
        theirs.communicate("")
    assert node.run(circumstances.locks) == []


def test_who_will_not_wait_for_a_lock_gets_it_while_locks_are_looked_at(node, monkeypatch):
    def taken(*_: object) -> None:
        raise AssertionError("somebody else would find it held")

    node.run(FREE.touch)
    monkeypatch.setattr(fcntl, "flock", taken)
    assert node.run(circumstances.locks) == []
