"""A Kubernetes API over real HTTP, on a Node."""

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from podnet.rig.fake_kube import FakeKube

ATTACHMENTS = "/apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions"


@pytest.fixture
def api(node) -> Iterator[FakeKube]:
    """The API."""
    with FakeKube(node) as served:
        yield served


class Client:
    """A client that has read the kubeconfig."""

    def __init__(self, api: FakeKube, directory: Any) -> None:
        config = yaml.safe_load(api.kubeconfig(directory / "kubeconfig").read_text())
        server = config["clusters"][0]["cluster"]["server"].removeprefix("http://")
        self.token = config["users"][0]["user"]["token"]
        self.connection = http.client.HTTPConnection(server, timeout=20)
        api.node.run(self.connection.connect)

    def __call__(self, verb: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Ask; return the status and the object."""
        said = {"Authorization": f"Bearer {self.token}", **headers}
        self.connection.request(verb, path, json.dumps(body) if body else None, said)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.fixture
def ask(api, tmp_path) -> Iterator[Client]:
    """Ask the API."""
    client = Client(api, tmp_path)
    yield client
    client.connection.close()


def test_a_plugin_gets_the_pod_and_the_networks_that_a_test_made(api, ask):
    api.pod("web", k8s_v1_cni_cncf_io__networks="macvlan")
    api.network("macvlan", {"cniVersion": "1.0.0", "type": "macvlan"})

    status, pod = ask("GET", "/api/v1/namespaces/default/pods/web")
    assert (status, pod["spec"]["nodeName"]) == (200, "test")
    wanted = pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"]
    status, network = ask("GET", f"{ATTACHMENTS}/{wanted}")
    assert json.loads(network["spec"]["config"])["type"] == "macvlan"
    assert api.requests[0] == ("GET", "/api/v1/namespaces/default/pods/web")


def test_a_plugin_writes_to_a_pod_and_the_test_sees_it(api, ask):
    api.pod("web")
    kind = {"Content-Type": "application/merge-patch+json"}
    change = {"metadata": {"annotations": {"status": "done"}}}

    status, _ = ask("PATCH", "/api/v1/namespaces/default/pods/web", change, **kind)

    assert status == 200
    assert api.get("Pod", "web")["metadata"]["annotations"]["status"] == "done"


def test_objects_are_made_listed_replaced_and_removed(ask):
    created, made = ask("POST", "/api/v1/nodes", {"metadata": {"name": "n1", "labels": {"a": "b"}}})
    ask("POST", "/api/v1/nodes", {"metadata": {"name": "n2"}})
    _, listed = ask("GET", "/api/v1/nodes?labelSelector=a%3Db")
    replaced, _ = ask("PUT", "/api/v1/nodes/n1/status", made | {"status": {"ready": True}})
    removed, _ = ask("DELETE", "/api/v1/nodes/n1")
    gone, status = ask("GET", "/api/v1/nodes/n1")

    assert (created, replaced, removed, gone) == (201, 200, 200, 404)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["n1"]
    assert (listed["kind"], status["reason"]) == ("NodeList", "NotFound")


def test_a_watch_is_a_line_for_each_change(api, ask):
    api.pod("web")
    path = "/api/v1/pods?watch=true&resourceVersion=0&timeoutSeconds=0"
    ask.connection.request("GET", path, headers={"Authorization": f"Bearer {ask.token}"})

    lines = ask.connection.getresponse().read().splitlines()

    assert [json.loads(line)["type"] for line in lines] == ["ADDED"]


def test_a_watch_tells_of_what_is_selected(api, ask):
    pod = api.pod("web")
    api.pod("db")
    web = {**pod, "metadata": {**pod["metadata"], "labels": {"app": "shop"}}}
    path = "/api/v1/namespaces/default/pods"
    ask("PUT", f"{path}/web", web)
    ask("PUT", f"{path}/web", {**web, "metadata": pod["metadata"] | {"resourceVersion": ""}})
    query = "?watch=true&resourceVersion=1&timeoutSeconds=0&labelSelector=app%20in%20(shop)"
    ask.connection.request("GET", path + query, headers={"Authorization": f"Bearer {ask.token}"})

    told = [json.loads(line) for line in ask.connection.getresponse().read().splitlines()]

    assert [(one["type"], one["object"]["metadata"]["name"]) for one in told] == [
        ("MODIFIED", "web"),
        ("DELETED", "web"),
    ]


def test_no_watch_outlives_the_api(node, tmp_path):
    with FakeKube(node) as api:
        client = Client(api, tmp_path)
        said = {"Authorization": f"Bearer {client.token}"}
        client.connection.request("GET", "/api/v1/pods?watch=true", headers=said)
        answer = client.connection.getresponse()
        serving = [one for one in threading.enumerate() if "process_request" in one.name]
        assert serving

    assert answer.read() == b""
    assert not any(one.is_alive() and one in serving for one in threading.enumerate())
    client.connection.close()


@pytest.mark.parametrize("path", ["/", "/foo", "/foo/bar"])
def test_where_nothing_is_nothing_is_found(ask, path):
    assert ask("GET", path)[0] == 404


def test_clients_find_out_what_there_is(api, ask):
    api.add_kind("whereabouts.cni.cncf.io/v1alpha1", "ippools", "IPPool")

    groups = [group["name"] for group in ask("GET", "/apis")[1]["groups"]]
    assert groups == ["k8s.cni.cncf.io", "whereabouts.cni.cncf.io"]
    kinds = ask("GET", "/apis/whereabouts.cni.cncf.io/v1alpha1")[1]["resources"]
    assert [kind["name"] for kind in kinds] == ["ippools"]
    assert ask("GET", "/version")[1]["major"] == "1"
    assert ask("GET", "/api/v1/secrets")[0] == 404


def test_who_has_no_token_gets_nothing(ask):
    ask.token = ask.token[::-1]

    assert ask("GET", "/api/v1/pods")[0] == 401


def test_a_body_that_is_not_json_is_refused(ask):
    status, answer = ask("POST", "/api/v1/pods")

    assert (status, answer["reason"]) == (400, "BadRequest")
