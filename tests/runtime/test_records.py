"""The pods' records on disk: written before anything can leak, readable after any crash."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from podnet import records
from podnet.cni.config import Network
from podnet.cni.result import Result
from podnet.errors import PodnetError, UsageError
from podnet.pod import Membership, Pod, State
from podnet.records import CorruptRecordError, Records

SOURCE = b'{"cniVersion":"1.0.0","name":"demo","plugins":[{"type":"bridge"}], "more": 1.50}\n'
DEMO = Membership(
    network=Network.from_conflist(SOURCE),
    ifname="eth0",
    args=(("IgnoreUnknown", "1"), ("K", "")),
    capability_args={"mac": "02::1"},
    path=("/opt/cni/bin",),
    result=Result.from_wire({"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5/24"}]}),
)
WEB = Pod(
    name="web",
    container_id="c1",
    netns="/run/netns/web",
    labels={"app": "web"},
    created=1700000000.25,
    memberships=(DEMO, replace(DEMO, ifname="eth1", result=None)),
)


@pytest.fixture
def kept(tmp_path: Path) -> Records:
    """Records in a directory that does not exist yet."""
    return Records(tmp_path / "state" / "pods")


def effective(pod: Pod) -> Pod:
    """Return what a pod is after a trip to the disk: every plugin inlined."""
    return replace(
        pod,
        memberships=tuple(
            replace(m, network=replace(m.network, load_only_inlined_plugins=True))
            for m in pod.memberships
        ),
    )


def put(kept: Records, name: str, content: bytes) -> Path:
    """Write a record's file as a crash or somebody else would leave it."""
    kept.directory.mkdir(parents=True, exist_ok=True)
    path = kept.directory / f"{name}.json"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("state", list(State))
def test_a_record_is_read_as_it_was_written(kept, state):
    pod = replace(WEB, state=state, failure="why", owns_netns=False)

    kept.reserve(pod)

    assert kept.load("web") == effective(pod)


def test_a_pod_without_anything_is_read_as_it_was_written(kept):
    bare = Pod(name="bare", container_id="c2", netns="")

    kept.reserve(bare)

    assert kept.load("bare") == bare


def test_the_configuration_keeps_its_bytes(kept):
    kept.reserve(WEB)

    assert [m.network.source for m in kept.load("web").memberships] == [SOURCE, SOURCE]


def test_a_record_is_json_for_the_owner_alone(kept):
    kept.reserve(WEB)

    path = kept.directory / "web.json"
    value = json.loads(path.read_bytes())
    assert (value["apiVersion"], value["kind"], value["state"]) == ("podnet/v1", "Pod", "creating")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.directory.stat().st_mode) == 0o700


def test_a_name_can_be_reserved_once(kept):
    kept.reserve(WEB)

    with pytest.raises(UsageError) as caught:
        kept.reserve(replace(WEB, container_id="c2"))

    assert caught.value.message == "there is a pod web already"
    assert caught.value.hint == "podnet delete web"
    assert kept.load("web").container_id == "c1"
    assert [p.name for p in kept.directory.iterdir()] == ["web.json"]


def test_of_many_who_reserve_a_name_one_gets_it(kept):
    def reserve(number: int) -> bool:
        try:
            kept.reserve(replace(WEB, container_id=f"c{number}"))
        except UsageError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(reserve, range(16)))

    assert got.count(True) == 1
    assert kept.load("web").container_id == f"c{got.index(True)}"


def test_a_reservation_that_fails_leaves_nothing(kept, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", fail)

    with pytest.raises(PodnetError, match="No space left on device"):
        kept.reserve(WEB)

    assert list(kept.directory.iterdir()) == []


def test_saving_replaces_the_record_and_returns_the_pod(kept):
    kept.reserve(WEB)

    ready = kept.save(replace(WEB, state=State.READY))

    assert ready.state is State.READY
    assert kept.load("web").state is State.READY


def test_a_forgotten_pod_is_gone_and_may_be_forgotten_again(kept):
    kept.reserve(WEB)

    kept.forget("web")
    kept.forget("web")

    assert kept.names() == []


def test_a_pod_that_is_not_there_is_told_with_those_that_are(kept):
    kept.reserve(WEB)
    kept.reserve(replace(WEB, name="db"))

    with pytest.raises(UsageError) as caught:
        kept.load("nosuch")

    assert caught.value.message == "there is no pod nosuch"
    assert caught.value.hint == "there are: db, web"


def test_without_any_pod_there_are_none(kept):
    assert kept.names() == []
    assert list(kept.all()) == []
    with pytest.raises(UsageError, match="there are: none"):
        kept.load("web")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        b"[]",
        b"{}",
        b"\xff",
        b'{"name":"web","containerId":"c1"}',
        b'{"name":"web","containerId":"c1","state":"dreaming"}',
        b'{"name":"web","containerId":"../x","state":"ready"}',
        b'{"name":"web","containerId":"c1","state":"ready","labels":[]}',
        b'{"name":"web","containerId":"c1","state":"ready","attachments":[{}]}',
        b'{"containerId":"c1","state":"ready","attachments":[{"network":{}}]}',
        json.dumps(WEB.to_wire()).replace('["K", ""]', '["K"]').encode(),
        json.dumps(WEB.to_wire()).replace('["K", ""]', "7").encode(),
    ],
)
def test_a_record_that_cannot_be_read_is_an_error_of_its_own(kept, content):
    path = put(kept, "web", content)

    with pytest.raises(CorruptRecordError) as caught:
        kept.load("web")

    assert caught.value.message.startswith(f"the record {path} is corrupt: ")
    assert "podnet delete web" in caught.value.hint


def test_a_record_that_is_a_directory_is_corrupt(kept):
    (kept.directory / "web.json").mkdir(parents=True)

    with pytest.raises(CorruptRecordError, match="Is a directory"):
        kept.load("web")


def test_one_corrupt_record_does_not_hide_the_others(kept):
    kept.reserve(replace(WEB, name="a"))
    put(kept, "b", b"junk")
    kept.reserve(replace(WEB, name="c"))

    first, second, third = kept.all()

    assert isinstance(first, Pod)
    assert isinstance(second, CorruptRecordError)
    assert isinstance(third, Pod)
    assert (first.name, third.name) == ("a", "c")


def test_a_pod_that_is_deleted_meanwhile_is_not_listed(kept):
    kept.reserve(replace(WEB, name="a"))
    kept.reserve(replace(WEB, name="b"))
    everyone = kept.all()
    next(everyone)

    kept.forget("b")

    assert list(everyone) == []


def test_drafts_and_files_of_others_are_no_pods(kept):
    kept.reserve(WEB)
    for name in (".web.json.1234.draft", ".hidden.json", "notes.txt"):
        (kept.directory / name).write_text("junk")

    assert kept.names() == ["web"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", ".x", "-x", "a b", "a\n", "a" * 201]
)
def test_no_path_is_built_from_a_name_that_is_not_allowed(kept, name):
    """Trap 12: checked before any path is built."""
    with pytest.raises(UsageError, match="a pod cannot be called"):
        kept.load(name)
    with pytest.raises(UsageError, match="a pod cannot be called"):
        kept.reserve(replace(WEB, name=name))
    assert not kept.directory.exists()


def test_the_longest_name_can_be_kept(kept):
    name = "a" * 200

    kept.reserve(replace(WEB, name=name))
    kept.save(replace(WEB, name=name, state=State.READY))

    assert kept.names() == [name]


# --- pods as values


def test_a_membership_is_added_or_replaced_in_its_place():
    changed = replace(DEMO, result=None)

    assert WEB.with_membership(changed).memberships == (changed, WEB.memberships[1])
    assert WEB.with_membership(replace(DEMO, ifname="net1")).memberships == (
        *WEB.memberships,
        replace(DEMO, ifname="net1"),
    )


def test_a_membership_is_removed_by_its_ifname():
    assert WEB.without_membership("eth0").memberships == WEB.memberships[1:]
    assert WEB.without_membership("nosuch") == WEB


def test_the_one_membership_that_is_meant_is_found():
    pod = WEB.without_membership("eth1")

    assert pod.membership() == pod.membership(ifname="eth0") == pod.membership(network="demo")
    assert WEB.membership(ifname="eth1", network="demo").ifname == "eth1"


def test_several_memberships_that_fit_are_too_many():
    with pytest.raises(UsageError) as caught:
        WEB.membership(network="demo")

    assert caught.value.hint == "say --ifname; it has: eth0 on demo, eth1 on demo"


@pytest.mark.parametrize("asked", [{"ifname": "net1"}, {"network": "x"}])
def test_a_membership_that_is_not_there_is_told_with_those_that_are(asked):
    with pytest.raises(UsageError, match="pod web has no such attachment"):
        WEB.membership(**asked)
    with pytest.raises(UsageError, match="it has: none"):
        replace(WEB, memberships=()).membership(**asked)


def test_a_membership_becomes_an_attachment():
    attachment = DEMO.attachment("c1", "/run/netns/web")

    assert (attachment.container_id, attachment.netns) == ("c1", "/run/netns/web")
    assert (attachment.ifname, attachment.args) == ("eth0", DEMO.args)
    assert attachment.capability_args == DEMO.capability_args


def test_a_pod_introduces_itself_in_one_line():
    assert repr(WEB) == "<Pod web creating: eth0=demo, eth1=demo>"
    assert repr(replace(WEB, memberships=())) == "<Pod web creating: detached>"


def test_a_pod_name_is_checked_by_itself():
    records.check_pod_name("web-1.example_x")
