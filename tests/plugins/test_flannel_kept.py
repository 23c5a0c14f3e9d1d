"""What flannel keeps for a container's interfaces: two files, at any moment of any of their changes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

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
    assert all(one == told(ifname) for ifname, one in kept.told.items())
    return [*kept.told, *([str(kept.last.values["what"])] if kept.last else [])]


def files(data: str) -> list[Path]:
    return [path for path in Path(data).rglob("*") if path.is_file()]


class KilledError(BaseException):
    """No handler of ours gets to run."""


def killed(monkeypatch: pytest.MonkeyPatch, step: int, change: Callable[[], None]) -> bool:
    """Be killed while the file number *step* is written or removed; tell whether there was one."""
    steps = count()

    def until(real: Callable[..., None]) -> Callable[..., None]:
        def one(directory: str, container_id: str, *content: bytes) -> None:
            if next(steps) == step:
                Path(directory).mkdir(exist_ok=True)
                Path(directory, f".{container_id}.draft").write_text("{")
                raise KilledError
            real(directory, container_id, *content)

        return one

    with monkeypatch.context() as patched:
        for name in ("save", "remove"):
            patched.setattr(flannel_state, name, until(getattr(flannel_state, name)))
        try:
            change()
        except KilledError:
            return True
    return False


def test_a_kill_at_any_step_of_add_takes_nothing_from_the_other_interface(data, monkeypatch):
    for step in count():
        keep(data, "eth0")
        was_killed = killed(monkeypatch, step, lambda: keep(data, "eth1"))
        forget(data, "eth1")
        assert names(data) == ["eth0", "eth0"]
        forget(data, "eth0")
        assert files(data) == []
        if not was_killed:
            break
    assert step == 2


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
    assert step == 2


@pytest.mark.parametrize("change", [keep, forget])
@pytest.mark.parametrize("step", range(2))
def test_an_interface_comes_again_without_a_del_after_a_kill(data, monkeypatch, change, step):
    if change is forget:
        keep(data, "eth0")
    assert killed(monkeypatch, step, lambda: change(data, "eth0"))
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


def test_what_cannot_be_written_changes_nothing(data):
    keep(data, "eth0")
    Path(data, ".c1.draft").mkdir()
    with pytest.raises(CniError, match="failed to write flannel's state"):
        keep(data, "eth1")
    assert names(data) == ["eth0", "eth0"]


UNKNOWN: Any = Kept(content=b"", last=told("x"), told={UNNAMED: told("x"), "eth1": told("eth1")})


@pytest.mark.parametrize(
    ("others", "found"),
    [
        (["eth0"], ["eth0", "eth1"]),
        (["eth0", "eth1"], ["eth0", "eth1"]),
        (["eth1"], [UNNAMED, "eth1"]),
        (["eth0", "net1"], [UNNAMED, "eth1"]),
        ([], [UNNAMED, "eth1"]),
    ],
)
def test_the_unnamed_interface_is_named_when_there_is_no_doubt(others, found):
    assert list(UNKNOWN.named(others).told) == found


def test_an_interface_is_stale_when_it_is_not_valid_and_the_unnamed_when_none_can_be_it():
    kept = {"c1": UNKNOWN, "c2": UNKNOWN}
    assert flannel_kept.stale(kept, {("c1", "eth0")}) == [
        ("c1", "eth1"),
        ("c2", UNNAMED),
        ("c2", "eth1"),
    ]
    assert flannel_kept.stale({"c1": UNKNOWN}, {("c1", "eth1")}) == [("c1", UNNAMED)]
