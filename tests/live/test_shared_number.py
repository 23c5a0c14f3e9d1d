"""A number in a file wakes those who wait for it: any process, all of them, and at once."""

import errno
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from podnet.kernel.shared_number import SharedNumber
from podnet.node import Node

LONG = 60.0


@pytest.fixture
def number(tmp_path):
    with SharedNumber(tmp_path / "number") as made:
        yield made


def test_another_process_wakes_who_waits(number, tmp_path) -> None:
    seen = number.seen
    child = os.fork()
    if child == 0:
        with SharedNumber(tmp_path / "number") as theirs:
            time.sleep(0.1)
            theirs.announce(7)
        os._exit(0)

    while number.seen == seen:
        number.wait(seen, LONG)

    assert number.seen == 7
    assert os.waitpid(child, 0)[1] == 0
    assert (tmp_path / "number").stat().st_mode & 0o777 == 0o600


def test_what_happened_before_is_not_waited_for(number) -> None:
    seen = number.seen
    number.announce(7)

    number.wait(seen, LONG)
    number.wait(number.seen, 0.01)


def test_all_who_wait_are_woken(number, tmp_path) -> None:
    waiting = threading.Barrier(9)

    def wait() -> int:
        with closing(SharedNumber(tmp_path / "number")) as mine:
            seen = mine.seen
            waiting.wait()
            while mine.seen == seen:
                mine.wait(seen, LONG)
            return mine.seen

    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(wait) for _ in range(8)]
        waiting.wait()
        number.announce(9)

        assert [result.result() for result in results] == [9] * 8


def test_a_nudge_wakes_and_says_nothing_twice(number) -> None:
    seen = number.seen
    number.nudge()
    number.wait(seen, LONG)
    again = number.seen

    number.nudge()

    number.wait(again, LONG)
    assert number.seen == seen


@pytest.mark.root
def test_on_a_full_disk_it_is_refused_and_kills_nobody(tmp_path) -> None:
    def on_a_full_disk() -> None:
        command = ["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(tmp_path)]
        subprocess.run(command, check=True)
        (tmp_path / "all there is").write_bytes(bytes(4096))
        SharedNumber(tmp_path / "number")

    with Node.in_memory("full") as node, pytest.raises(OSError, match="No space") as caught:
        node.run(on_a_full_disk)

    assert caught.value.errno == errno.ENOSPC
