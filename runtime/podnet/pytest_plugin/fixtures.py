"""All fixtures, on one page.

Everything is a test's own unless its name says otherwise.  To share a Node, a module overrides
one fixture::

    @pytest.fixture
    def podnet_node(podnet_node_module):
        return podnet_node_module

What they are made of is imported when a test asks for it: pytest loads this module in every
project of a Python that has podnet, and most have nothing to do with it.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from podnet.pytest_plugin.settings import lacking, marked

if TYPE_CHECKING:
    from podnet.node import Node
    from podnet.pytest_plugin.calling import Callers, Faults, Recorder
    from podnet.pytest_plugin.clusters import Maker
    from podnet.pytest_plugin.leaking import LeakCheck
    from podnet.pytest_plugin.nodes import Features, Pods
    from podnet.pytest_plugin.stubs import StubIpam, Stubs
    from podnet.rig.fake_kube import FakeKube


@pytest.fixture(scope="session")
def podnet_privilege(request: pytest.FixtureRequest) -> None:
    """Root, or a user namespace; a skip where neither is to be had."""
    from podnet.pytest_plugin import nodes

    nodes.need_privilege(request.config)


@pytest.fixture
def podnet_node(request: pytest.FixtureRequest, podnet_privilege: None) -> "Iterator[Node]":
    """A Node of the test's own, in memory: network, /run, /var/lib, /etc/cni and a hostname."""
    from podnet.pytest_plugin import nodes

    with nodes.in_memory(request, "test") as node:
        yield node


@pytest.fixture(scope="module")
def podnet_node_module(request: pytest.FixtureRequest, podnet_privilege: None) -> "Iterator[Node]":
    """A Node for all tests of a module."""
    from podnet.pytest_plugin import nodes

    with nodes.in_memory(request, "module") as node:
        yield node


@pytest.fixture(scope="session")
def podnet_node_session(request: pytest.FixtureRequest, podnet_privilege: None) -> "Iterator[Node]":
    """A Node for all tests; of each worker, under pytest-xdist."""
    from podnet.pytest_plugin import nodes

    with nodes.in_memory(request, "session") as node:
        yield node


@pytest.fixture(scope="session")
def podnet_features(podnet_privilege: None) -> "Iterator[Features]":
    """What kernel and system have: `podnet_features.lacking("macvlan")` is "" where it is there."""
    from podnet.node import Node
    from podnet.pytest_plugin.nodes import Features

    with Node.in_memory("features") as node:
        yield Features(node)


@pytest.fixture
def podnet_requirements(request: pytest.FixtureRequest, podnet_features: "Features") -> None:
    """What the marker podnet_requires names, or a skip."""
    wanted = marked(request.node, "podnet_requires")
    reasons = list(filter(None, map(podnet_features.lacking, wanted)))
    if reasons:
        lacking(request.config, "; ".join(reasons))


@pytest.fixture
def make_pod(podnet_node: "Node") -> "Pods":
    """Make pods: call it with a name."""
    from podnet.pytest_plugin.nodes import Pods

    return Pods(podnet_node)


@pytest.fixture
def stub_plugin(tmp_path: Path) -> "Stubs":
    """Write plugins that answer as they are told, like `stub_plugin("mock", status=1)`."""
    from podnet.pytest_plugin.stubs import Stubs

    directory = tmp_path / "stubs"
    directory.mkdir()
    return Stubs(directory)


@pytest.fixture
def stub_ipam(stub_plugin: "Stubs") -> "StubIpam":
    """Write an IPAM plugin that gives what it is told to, and return what names it.

    Like `{"ipam": stub_ipam("10.1.0.9/24")}`.
    """
    from podnet.pytest_plugin.stubs import StubIpam

    return StubIpam(stub_plugin)


@pytest.fixture
def cni_version() -> str:
    """The version of the spec that callers ask in, "" for the network's own; see podnet_versions."""
    return ""


@pytest.fixture
def cni(request: pytest.FixtureRequest, podnet_node: "Node", cni_version: str) -> "Callers":
    """Make callers, like `cni("bridge", {"ipam": …})`, `cni(Path("my.conflist"))`."""
    from podnet.pytest_plugin.calling import Callers

    return Callers(podnet_node, cni_version, request)


@pytest.fixture
def recorder(tmp_path: Path) -> "Recorder":
    """Record every call of a plugin, those that plugins make of each other, too."""
    from podnet.pytest_plugin.calling import Recorder

    return Recorder(tmp_path / "recording.jsonl")


@pytest.fixture
def podnet_faults(
    request: pytest.FixtureRequest, podnet_node: "Node", tmp_path: Path
) -> "Iterator[Faults]":
    """Let things go wrong, like `podnet_faults("bridge:ADD:kill-after")`; see podnet_fault."""
    from podnet.pytest_plugin.calling import Faults, plugin_path
    from podnet.rig.faults import Fault

    recorded = "recorder" in request.fixturenames
    faults = Faults(
        podnet_node,
        tmp_path / "shims",
        plugin_path(request),
        record=request.getfixturevalue("recorder").path if recorded else None,
        wanted=tuple(map(Fault.parse, marked(request.node, "podnet_fault"))),
    )
    yield faults
    faults.mend()


@pytest.fixture
def leakcheck(request: pytest.FixtureRequest, podnet_node: "Node") -> "Iterator[LeakCheck]":
    """The test must leave nothing on its Node; see the marker podnet_leakcheck."""
    from podnet.pytest_plugin import leaking, sight

    check = leaking.of(request, podnet_node)
    yield check
    try:
        check.require_clean()
    except (Exception, pytest.fail.Exception):  # the Node ends before pytest reports the failure
        sight.gather(request.node)
        raise


@pytest.fixture
def fake_kube(podnet_node: "Node") -> "Iterator[FakeKube]":
    """A Kubernetes API on the test's Node: `fake_kube.kubeconfig(path)` leads there."""
    from podnet.rig.fake_kube import FakeKube

    with FakeKube(podnet_node) as api:
        yield api


@pytest.fixture
def etcd(request: pytest.FixtureRequest, podnet_node: "Node") -> Iterator[str]:
    """The system's etcd on the test's Node, gone with it: its URL, there."""
    from podnet.pytest_plugin import services

    with services.running_etcd(request.config, podnet_node) as url:
        yield url


@pytest.fixture
def podnet_cluster(request: pytest.FixtureRequest, podnet_privilege: None) -> "Iterator[Maker]":
    """Make a cluster, like `podnet_cluster(nodes=2, backend="host-gw", dual_stack=True)`."""
    from podnet.pytest_plugin import trial
    from podnet.pytest_plugin.clusters import Maker

    with ExitStack() as stack:
        yield Maker(trial.of(request.node), stack)
