"""A Kubernetes API's objects, without a server."""

import threading
import time
from typing import Any

import pytest

from podnet.rig.kube.objects import NODES, PODS, KubeError
from podnet.rig.kube.patches import patched
from podnet.rig.kube.selectors import chosen
from podnet.rig.kube.store import Store

MERGE, STRATEGIC, JSON_PATCH = (
    f"application/{kind}+json" for kind in ("merge-patch", "strategic-merge-patch", "json-patch")
)


def _pod(name: str = "web", **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"nodeName": "n1"}}


def _code(raised: pytest.ExceptionInfo[KubeError]) -> tuple[int, str]:
    return int(raised.value.code), raised.value.reason


def test_an_object_gets_what_a_server_gives_it():
    made = Store().create(PODS, "", _pod())

    assert (made["apiVersion"], made["kind"]) == ("v1", "Pod")
    assert made["metadata"]["namespace"] == "default"
    assert made["metadata"]["resourceVersion"] == "1"
    assert made["metadata"]["uid"]


def test_what_a_caller_has_is_his_own():
    store = Store()
    store.create(PODS, "", _pod())["spec"]["nodeName"] = "elsewhere"

    assert store.get(PODS, "default", "web")["spec"]["nodeName"] == "n1"


def test_names_are_taken_once_in_each_namespace_and_may_be_made_up():
    store = Store()
    store.create(PODS, "a", _pod())
    store.create(PODS, "b", _pod())
    with pytest.raises(KubeError) as raised:
        store.create(PODS, "a", _pod())
    assert _code(raised) == (409, "AlreadyExists")
    with pytest.raises(KubeError) as raised:
        store.create(NODES, "", {})
    assert _code(raised) == (422, "Invalid")

    made_up = store.create(PODS, "a", {"metadata": {"generateName": "web-"}})
    assert made_up["metadata"]["name"].startswith("web-")
    assert len(store.select(PODS)) == 3
    assert len(store.select(PODS, "a")) == 2


def test_what_is_not_there_is_not_found():
    store = Store()
    for ask in (store.get, store.delete):
        with pytest.raises(KubeError) as raised:
            ask(PODS, "default", "web")
        assert _code(raised) == (404, "NotFound")


def test_who_knows_an_older_version_may_not_replace():
    store = Store()
    old = store.create(PODS, "", _pod())
    store.patch(PODS, "", "web", MERGE, {"spec": {"nodeName": "n2"}})

    with pytest.raises(KubeError) as raised:
        store.replace(PODS, "", "web", old)

    assert _code(raised) == (409, "Conflict")
    newest = store.get(PODS, "", "web")
    newest["spec"] = {"nodeName": "n3"}
    assert store.replace(PODS, "", "web", newest)["metadata"]["uid"] == old["metadata"]["uid"]


def test_a_status_is_replaced_without_the_rest():
    store = Store()
    store.create(PODS, "", _pod())

    made = store.replace(PODS, "", "web", {"status": {"phase": "Running"}, "spec": {}}, "status")

    assert (made["status"], made["spec"]) == ({"phase": "Running"}, {"nodeName": "n1"})


@pytest.mark.parametrize(
    ("labels", "fields", "fits"),
    [
        ("", "", True),
        ("app=shop", "", True),
        ("app==shop,tier!=db", "", True),
        ("app!=shop", "", False),
        ("app,!tier", "", True),
        ("tier", "", False),
        ("app in (web, shop),!tier", "", True),
        ("app notin (web,shop)", "", False),
        ("", "spec.nodeName=n1", True),
        ("", "spec.nodeName!=n1", False),
        ("", "metadata.name=db", False),
    ],
)
def test_selectors_choose(labels, fields, fits):
    assert chosen(_pod(app="shop"), labels=labels, fields=fields) is fits


@pytest.mark.parametrize("labels", ["app in web", "app within (web)", "app (web"])
def test_what_is_no_selector_is_refused(labels):
    with pytest.raises(KubeError, match="unable to parse"):
        chosen(_pod(app="shop"), labels=labels)


@pytest.mark.parametrize(
    ("kind", "change", "after"),
    [
        (MERGE, {"a": {"b": None, "c": 2}}, {"a": {"c": 2}, "l": [{"name": "x", "v": 1}]}),
        (MERGE, {"l": []}, {"a": {"b": 1}, "l": []}),
        (
            STRATEGIC,
            {"l": [{"name": "y"}, {"name": "x", "v": 2}]},
            {"a": {"b": 1}, "l": [{"name": "x", "v": 2}, {"name": "y"}]},
        ),
        (
            JSON_PATCH,
            [
                {"op": "test", "path": "/a/b", "value": 1},
                {"op": "replace", "path": "/a/b", "value": 2},
                {"op": "add", "path": "/l/-", "value": 3},
                {"op": "remove", "path": "/l/0"},
                {"op": "add", "path": "/x~1y", "value": 4},
            ],
            {"a": {"b": 2}, "l": [3], "x/y": 4},
        ),
    ],
)
def test_patches_change(kind, change, after):
    before = {"a": {"b": 1}, "l": [{"name": "x", "v": 1}]}

    assert patched(before, kind, change) == after
    assert before == {"a": {"b": 1}, "l": [{"name": "x", "v": 1}]}


@pytest.mark.parametrize(
    "step",
    [
        {"op": "replace", "path": "/nothing", "value": 1},
        {"op": "remove", "path": "/a/7"},
        {"op": "test", "path": "/a", "value": 0},
        {"op": "jump", "path": "/a"},
    ],
)
def test_a_patch_that_does_not_fit_is_refused(step):
    with pytest.raises(KubeError) as raised:
        patched({"a": [1]}, JSON_PATCH, [step])

    assert _code(raised) == (422, "Invalid")


def test_a_patch_of_another_kind_is_refused():
    with pytest.raises(KubeError) as raised:
        patched({}, "text/plain", {})

    assert _code(raised) == (415, "UnsupportedMediaType")


def test_a_watch_tells_what_happened_since_and_what_happens():
    store = Store()
    store.create(PODS, "a", _pod("old"))
    since = store.version
    store.create(PODS, "b", _pod("elsewhere"))
    store.create(NODES, "", {"metadata": {"name": "n1"}})
    events = store.watch(PODS, "a", since, time.monotonic() + 30)
    threading.Timer(0.01, store.create, (PODS, "a", _pod("new"))).start()

    event = next(events)

    assert (event.what, event.made["metadata"]["name"]) == ("ADDED", "new")
    store.delete(PODS, "a", "old")
    assert next(events).what == "DELETED"
    assert list(store.watch(PODS, "a", store.version, time.monotonic())) == []
