"""Who may work on what: containers side by side, one container one after the other, GC alone."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from podnet import keeper, locks
from podnet.cni.errors import CniError
from podnet.errors import MissingError, TimedOutError

SOON = 0.02


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory for locks that does not exist yet."""
    return tmp_path / "run" / "locks"


def busy(directory: Path, container_id: str) -> bool:
    """Tell whether somebody has the lock of a container."""
    try:
        with locks.container(directory, container_id, wait=SOON):
            return False
    except TimedOutError:
        return True


def test_a_container_is_worked_on_by_one_at_a_time(directory):
    """Trap 24: no two operations on one container."""
    with locks.container(directory, "c1"):
        assert busy(directory, "c1")

    assert not busy(directory, "c1")


def test_different_containers_are_worked_on_side_by_side(directory):
    """Trap 24: different containers in parallel."""
    with locks.container(directory, "c1"), locks.container(directory, "c2"):
        assert busy(directory, "c1")
        assert busy(directory, "c2")
        assert not busy(directory, "c3")


def test_gc_waits_for_every_container(directory):
    """Trap 13: GC is exclusive."""
    with (
        locks.container(directory, "c1"),
        pytest.raises(TimedOutError),
        locks.everything(directory, wait=SOON),
    ):
        raise AssertionError("GC runs next to c1")

    with locks.everything(directory, wait=SOON):
        pass


def test_every_container_waits_for_gc(directory):
    """Trap 24: GC excludes all."""
    with locks.everything(directory):
        assert busy(directory, "c1")
        assert busy(directory, "c2")


def test_two_gcs_exclude_each_other(directory):
    with (
        locks.everything(directory),
        pytest.raises(TimedOutError),
        locks.everything(directory, wait=SOON),
    ):
        raise AssertionError("two at once")


@pytest.mark.parametrize("container_id", ["gc", "gc.lock", "container-c1", "c1.lock"])
def test_no_container_id_collides_with_another_lock(directory, container_id):
    with locks.container(directory, "c1"), locks.container(directory, container_id, wait=SOON):
        assert busy(directory, container_id)

    with locks.everything(directory, wait=SOON):
        pass


def test_giving_up_says_what_to_look_at(directory):
    with locks.container(directory, "c1"):
        with pytest.raises(TimedOutError) as caught, locks.container(directory, "c1", wait=0):
            raise AssertionError("two at once")

        (path,) = directory.glob("*c1.lock")

    assert str(path) in caught.value.message
    assert f"fuser -v {path}" in caught.value.hint
    assert caught.value.exit_code == 124


def test_an_error_lets_go(directory):
    with pytest.raises(RuntimeError), locks.container(directory, "c1"):
        raise RuntimeError

    assert not busy(directory, "c1")
    with locks.everything(directory, wait=SOON):
        pass


def test_a_lock_file_without_a_container_is_removed(directory):
    with locks.container(directory, "c1"):
        assert len(list(directory.iterdir())) == 2

    assert [p.name for p in directory.iterdir()] == ["gc.lock"]


def test_who_waits_gets_the_lock_though_its_file_was_removed(directory):
    """The waiter holds a file that is no longer there, and must open it again."""
    inside: list[str] = []
    overlaps: list[int] = []

    def work(_: int) -> None:
        for _turn in range(10):
            with locks.container(directory, "c1", wait=30):
                inside.append(threading.current_thread().name)
                overlaps.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))

    assert overlaps == [1] * 40


def test_a_lock_on_a_file_that_was_removed_is_no_lock(directory, monkeypatch):
    """Between opening the file and locking it, its last owner removes it."""
    flock, removed = fcntl.flock, list[Path]()

    def late(descriptor: int, kind: int) -> None:
        flock(descriptor, kind)
        if kind & fcntl.LOCK_EX and not removed:
            (path,) = directory.glob("*c1.lock")
            path.unlink()
            removed.append(path)

    monkeypatch.setattr(fcntl, "flock", late)

    with locks.container(directory, "c1"):
        assert removed
        assert busy(directory, "c1"), "the file that others see is the one that is locked"


def test_a_waiter_goes_on_as_soon_as_it_can(directory):
    """No wait is longer than a twentieth of a second once the lock is free."""
    entered = threading.Event()
    got: list[float] = []

    def wait() -> None:
        entered.set()
        with locks.container(directory, "c1", wait=10):
            got.append(time.monotonic())

    with locks.container(directory, "c1"):
        thread = threading.Thread(target=wait)
        thread.start()
        entered.wait()
        time.sleep(0.1)
    free = time.monotonic()
    thread.join()

    assert free - 0.01 <= got[0] < free + 0.5


def test_a_plugin_that_outlives_podnet_holds_its_locks(directory):
    """Trap 9: an orphan still works on the container."""
    killed = (
        "import os, subprocess, sys; from pathlib import Path; from podnet import locks\n"
        "with locks.container(Path(sys.argv[1]), 'c1') as held:\n"
        "    orphan = subprocess.Popen(['sleep', '60'], pass_fds=held, stdout=subprocess.DEVNULL)\n"
        "    print(orphan.pid, flush=True)\n"
        "    os._exit(9)\n"
    )
    podnet = subprocess.run(
        [sys.executable, "-c", killed, str(directory)], stdout=subprocess.PIPE, check=False
    )
    orphan = int(podnet.stdout)
    try:
        assert busy(directory, "c1")
        with pytest.raises(TimedOutError), locks.everything(directory, wait=SOON):
            raise AssertionError("GC runs next to an orphan")
    finally:
        os.kill(orphan, 9)

    deadline = time.monotonic() + 5
    while busy(directory, "c1") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not busy(directory, "c1")


def test_a_background_process_does_not_keep_the_lock_of_a_finished_operation(directory):
    with locks.container(directory, "c1") as descriptors:
        child = subprocess.Popen(["sleep", "60"], pass_fds=descriptors)
    try:
        assert not busy(directory, "c1")
        with locks.everything(directory, wait=SOON):
            pass
    finally:
        child.kill()
        child.wait()


def test_descriptors_are_closed(directory):
    with locks.container(directory, "c1") as held:
        pass

    for descriptor in held:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_a_long_container_id_has_a_lock_too(directory):
    with locks.container(directory, "c" * 400):
        assert busy(directory, "c" * 400)


@pytest.mark.parametrize("container_id", ["", "../x", "a/b", "a\n"])
def test_no_lock_file_is_made_of_a_name_that_is_not_allowed(directory, container_id):
    """Trap 12: checked before a path is built."""
    with pytest.raises(CniError), locks.container(directory, container_id):
        raise AssertionError("locked")

    assert not directory.exists()


def test_a_directory_that_cannot_be_made_is_told(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)

    with pytest.raises(MissingError, match="no permission"), locks.container(tmp_path / "x", "c1"):
        raise AssertionError("locked")


def test_who_sees_that_a_keeper_s_record_is_gone_can_have_what_it_held(tmp_path: Path) -> None:
    (tmp_path / keeper.RECORD).touch()
    directory, held, mine = (os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY) for _ in range(3))
    fcntl.flock(held, fcntl.LOCK_EX)

    keeper.forget(directory, held)

    assert not (tmp_path / keeper.RECORD).exists()
    fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(mine)
    os.close(directory)
