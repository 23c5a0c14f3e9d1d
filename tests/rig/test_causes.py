"""A cause is named where there is evidence of it, and nowhere else."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from podnet.cni.result import Result
from podnet.cni.versions import Verb
from podnet.execute import MissingPluginError, Outcome
from podnet.plan import Attachment, Invocation
from podnet.rig.scenario.causes import causes
from podnet.rig.scenario.evidence import Evidence, Moment

POD = Attachment(container_id="c1", ifname="eth0", netns="/run/netns/c1")
FAILED = RuntimeError("it failed")


def _outcome(
    verb: Verb, plugin: str, position: int = 0, status: int | None = 0, **more: object
) -> Outcome:
    invocation = Invocation(
        verb=verb,
        plugin=plugin,
        network="net",
        position=position,
        chain=2,
        environment={"CNI_CONTAINERID": "c1"},
        stdin={"cniVersion": "1.0.0", "prevResult": {}},
    )
    answer = b'{"cniVersion": "1.0.0"}' if status == 0 else b'{"code": 999, "msg": "no"}'
    outcome = Outcome(
        invocation=invocation, binary=Path(plugin), started=0, exit_status=status, stdout=answer
    )
    return replace(outcome, **more)  # type: ignore[arg-type]


def _moment(
    action: str, *outcomes: Outcome, error: Exception | None = None, **more: object
) -> Moment:
    made = Moment(number=1, title=action, action=action, pod="web", error=error, outcomes=outcomes)
    return replace(made, **more)  # type: ignore[arg-type]


def _named(*moments: Moment, **more: object) -> list[str]:
    numbered = tuple(replace(moment, number=n) for n, moment in enumerate(moments, 1))
    evidence = replace(Evidence(moments=numbered), **more)  # type: ignore[arg-type]
    return [cause.name for cause in causes(evidence)]


def _result(**more: object) -> tuple[Attachment, Result]:
    return POD, Result.from_wire({"cniVersion": "1.0.0", **more})


ADDED = _moment("create", _outcome(Verb.ADD, "bridge"), _outcome(Verb.ADD, "meta", 1))
DELETED = _moment("delete", _outcome(Verb.DEL, "meta", 1), _outcome(Verb.DEL, "bridge"))
STOPPED = _moment("delete", _outcome(Verb.DEL, "meta", 1, 1), error=FAILED)
HOST, INSIDE = {"name": "veth1"}, {"name": "eth0", "sandbox": "/run/netns/c1"}


def test_nothing_happened_and_everything_worked():
    assert _named() == []
    assert _named(ADDED, DELETED) == []


def test_a_delete_that_stops_at_the_last_it_comes_to_stopped_nobody():
    first = _moment("delete", _outcome(Verb.DEL, "bridge", 0, 1), error=FAILED)
    assert _named(ADDED, STOPPED) == ["chain-stopped"]
    assert _named(ADDED, first) == []


def test_only_the_second_of_two_deletes_can_be_not_idempotent():
    assert "not-idempotent" not in _named(ADDED, STOPPED)
    again = _moment("delete", _outcome(Verb.DEL, "meta", 1, 1), error=FAILED)
    assert "not-idempotent" in _named(ADDED, DELETED, again)


def test_what_is_left_is_explained_by_whatever_explains_it_best():
    assert _named(ADDED, DELETED, leaks=("link x",)) == ["left-behind"]
    assert _named(ADDED, leaks=("link x",)) == ["never-deleted"]
    assert _named(ADDED, leaks=("link x",), known=("c1",)) == ["left-behind"]
    assert _named(ADDED, STOPPED, leaks=("link x",)) == ["chain-stopped"]


def test_a_plugin_that_is_not_there_is_missing_only_where_something_failed():
    gone = MissingPluginError("meta", ["/bin"])
    assert _named(_moment("create", absent=("meta",))) == []
    assert _named(_moment("create", error=gone)) == ["binary-missing"]
    assert _named(_moment("create", error=FAILED, absent=("host-local",))) == ["binary-missing"]


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"timed_out": True, "exit_status": None, "signal": 9}, "timed-out"),
        ({"exit_status": None, "signal": 11}, "killed"),
        ({"stdout": b"hello"}, "not-a-result"),
        ({"stdout": b'{"code": 7, "msg": "no"}'}, "status-against-answer"),
        ({"exit_status": 1, "stdout": b'{"ips": []}'}, "status-against-answer"),
        ({"stdout": b"{}{}"}, "two-answers"),
        ({"exit_status": 1, "stdout": b'{"code": 11, "msg": "later"}'}, "try-again-later"),
        ({"exit_status": 1, "stdout": b'{}{"code": 8, "msg": "same"}'}, "two-answers"),
    ],
)
def test_how_a_plugin_ended_is_a_cause(more, name):
    failed = replace(_outcome(Verb.ADD, "meta", 1), **more)
    assert _named(_moment("create", failed, error=FAILED)) == [name]


@pytest.mark.parametrize(
    ("ips", "name"),
    [
        ([{"address": "10.0.0.2/24", "interface": 1}], None),
        ([{"address": "10.0.0.2/24", "interface": 0}], "wrong-interface"),
        ([{"address": "10.0.0.2/24", "interface": 2}], "wrong-interface"),
        ([{"address": "10.0.0.2/24", "interface": -1}], "wrong-interface"),
        ([{"address": "10.0.0.2/24"}], "wrong-interface"),
        ([], None),
    ],
)
def test_an_address_is_of_the_container_s_interface(ips, name):
    added = (_result(interfaces=[HOST, INSIDE], ips=ips),)
    assert _named(ADDED, added=added) == ([name] if name else [])


def test_a_result_without_interfaces_says_nothing_of_them():
    assert _named(ADDED, added=(_result(ips=[{"address": "10.0.0.2/24"}]),)) == []


def test_another_sandbox_is_none_of_the_container_s():
    elsewhere = {"name": "eth0", "sandbox": "/run/netns/c2"}
    ips = [{"address": "10.0.0.2/24", "interface": 0}]
    assert _named(ADDED, added=(_result(interfaces=[elsewhere], ips=ips),)) == ["wrong-sandbox"]


def test_what_is_so_around_a_success_is_no_cause():
    around: Any = {"locks": ("/x",), "disks": {"/var": "full"}, "pools": {"net": (3, 1)}}
    assert _named(replace(_moment("create", _outcome(Verb.ADD, "bridge")), **around)) == []
    failed = _moment("create", _outcome(Verb.ADD, "bridge", 0, 1), error=FAILED)
    assert _named(replace(failed, **around)) == ["disk-full", "lock-held", "addresses-exhausted"]


def test_addresses_matter_only_to_who_wants_one():
    deleting = _moment(
        "delete", _outcome(Verb.DEL, "bridge", 0, 1), error=FAILED, pools={"net": (3, 1)}
    )
    assert _named(deleting) == []


def test_who_is_damaged_though_only_another_was_touched():
    checked = _moment("check", error=FAILED)
    other = replace(DELETED, pod="db")
    assert _named(ADDED, other, checked) == ["damaged-others"]
    assert _named(ADDED, checked) == []
    assert _named(ADDED, other, _moment("exec", pod=""), checked) == []


def test_an_earlier_try_that_goes_on_is_the_cause_of_what_failed_meanwhile():
    goes_on = ("step 1 (create web)", "ADD bridge")
    assert _named(_moment("create", error=FAILED, running=goes_on)) == ["still-running"]
    assert _named(_moment("attach", running=goes_on)) == []


def test_each_cause_says_what_shows_it_and_what_helps():
    [cause] = causes(Evidence(moments=(replace(STOPPED, number=7),), leaks=("file lease",)))
    assert "step 7" in cause.story
    assert "meta (2 of 2)" in cause.story
    assert "file lease" in cause.story
    assert cause.remedy
    json.dumps({"name": cause.name})
