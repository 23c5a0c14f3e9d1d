"""What flannel keeps for a container's interfaces: two files, at any moment of any of their changes."""

import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from podnet.cni.errors import CniError
from podnet_plugins import flannel_kept, flannel_state
from podnet_plugins.flannel_config import Delegated
from podnet_plugins.flannel_kept import UNNAMED, Kept


def told(what: str) -> Delegated:
    return Delegated({"name": "demo", "type": "bridge", "what": what})


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(tmp_path / "flannel")


def keep(data: str, *ifnames: str) -> None:
    for ifname in ifnames:
        flannel_kept.keep(data, "c1", ifname, told(ifname), [])


def forget(data: str, *ifnames: str) -> None:
    for ifname in ifnames:
        flannel_kept.forget(data, "c1", ifname)


def names(data: str) -> list[str]:
    """Return the interfaces that something is kept for; the one of flannel's file once more."""
    kept = flannel_kept.load(data, "c1")
    assert all(one == told(ifname) for ifname, one in kept.told.items() if ifname)
    return [*kept.told, *([str(kept.last.values["what"])] if kept.last else [])]


def files(data: str) -> list[Path]:
    return [path for path in Path(data).rglob("*") if path.is_file()]


class KilledError(BaseException):
    """No handler of ours gets to run."""


def killed(monkeypatch: pytest.MonkeyPatch, step: int, change: Callable[[], None]) -> bool:
    """Be killed before file number *step* gets its name, or goes; tell whether there was one."""
    steps = count()

    def until(real: Callable[..., object]) -> Callable[..., object]:
        def one(*arguments: object, **more: object) -> object:
            if next(steps) == step:
                raise KilledError
            return real(*arguments, **more)

        return one

    with monkeypatch.context() as patched:
        for name in ("replace", "unlink"):
            patched.setattr(Path, name, until(getattr(Path, name)))
        try:
            change()
        except KilledError:
            return True
    return False


def test_a_kill_at_any_step_of_add_takes_nothing_from_the_other_interface(data, monkeypatch):
    for step in range(3):
        keep(data, "eth0")
        assert killed(monkeypatch, step, lambda: keep(data, "eth1")) == (step < 2)
        forget(data, "eth1")
        assert names(data) == ["eth0", "eth0"]
        forget(data, "eth0")
        assert files(data) == []


@pytest.mark.parametrize("left", [(), ("eth0",)])
def test_a_kill_at_any_step_of_del_leaves_a_del_to_do(data, monkeypatch, left):
    for step in count():
        keep(data, *left, "eth1")
        was_killed = killed(monkeypatch, step, lambda: forget(data, "eth1"))
        assert not was_killed or flannel_kept.load(data, "c1").of("eth1")
        forget(data, "eth1")
        assert names(data) == [*left, *left]
        forget(data, *left)
        assert files(data) == []
        if not was_killed:
            break
    assert step > 2


@pytest.mark.parametrize("change", [keep, forget])
@pytest.mark.parametrize("step", range(4))
def test_an_interface_comes_again_without_a_del_after_a_kill(data, monkeypatch, change, step):
    if change is forget:
        keep(data, "eth0")
    assert killed(monkeypatch, step, lambda: change(data, "eth0")) == (change is forget or step < 2)
    keep(data, "eth0")
    assert names(data) == ["eth0", "eth0"]
    forget(data, "eth0")
    assert files(data) == []


def test_interfaces_that_come_and_go_at_once_are_all_kept_or_forgotten(data):
    ifnames = [f"eth{number}" for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda ifname: keep(data, ifname), ifnames))
        assert sorted(names(data)[:-1]) == sorted(ifnames)
        list(pool.map(lambda ifname: forget(data, ifname), ifnames))
    assert files(data) == []


def test_on_a_full_disk_nothing_is_kept_and_everything_forgotten(data, monkeypatch):
    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:1])
        if path.name == ".c1.draft":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    keep(data, "eth0", "eth1")
    before = files(data)
    with monkeypatch.context() as patched:
        patched.setattr(flannel_state, "_write", full)
        with pytest.raises(CniError, match="No space left on device"):
            keep(data, "eth2")
        assert files(data) == before
        forget(data, "eth1")
        assert names(data) == ["eth0", "eth1"]  # flannel's file is one step late
        forget(data, "eth0")
    assert files(data) == []


@pytest.mark.parametrize("content", [b"", b"\0\0"])
def test_a_spoilt_file_goes_with_its_interface(data, content):
    keep(data, "eth0", "eth1")
    for path in files(data):
        if path.name.endswith("eth1"):
            path.write_bytes(content)
    forget(data, "eth1")
    assert names(data) == ["eth0", "eth0"]
    forget(data, "eth0")
    assert files(data) == []


@pytest.mark.parametrize(
    ("others", "found"),
    [(["eth0"], ["eth0", "eth1"]), (["eth0", "net1"], [UNNAMED, "eth1"]), ([], ["eth1"])],
)
def test_flannels_interface_has_a_name_when_there_is_no_doubt(data, others, found):
    flannel_state.save({Path(data, "c1"): told("eth0").stdin})
    flannel_kept.keep(data, "c1", "eth1", told("eth1"), others)
    assert list(flannel_kept.load(data, "c1").ifnames) == found
    forget(data, *reversed(found))
    assert files(data) == []


@pytest.mark.parametrize(
    ("valid", "stale"),
    [
        ({"eth0"}, ["eth1"]),
        ({"eth1"}, [UNNAMED]),
        (set(), [UNNAMED, "eth1"]),
        ({"eth0", "eth1"}, []),
    ],
)
def test_an_interface_is_stale_when_it_is_not_valid_and_the_unnamed_when_none_can_be_it(
    valid, stale
):
    assert Kept(last=told("x"), ifnames=(UNNAMED, "eth1")).stale(valid) == stale


def test_what_flannel_alone_keeps_is_stale_when_its_container_is():
    kept = Kept(last=told("x"))
    assert (kept.stale({"eth0"}), kept.stale(set())) == ([], [UNNAMED])
