"""Fixtures: Nodes, pods, and what kernel and system have.

Everything is a test's own unless its name says otherwise.  To share a Node, a module overrides
one fixture::

    @pytest.fixture
    def podnet_node(podnet_node_module):
        return podnet_node_module
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from podnet import rootless
from podnet.errors import MissingError
from podnet.kernel import namespaces
from podnet.kernel.capture import Capture
from podnet.node import Node
from podnet.plan import Attachment
from podnet.pytest_plugin import trial
from podnet.pytest_plugin.settings import lacking, marked
from podnet.rig import features

_NETNS = Path("/run/netns")


@pytest.fixture(scope="session")
def podnet_privilege(request: pytest.FixtureRequest) -> None:
    """Root, or a user namespace; a skip where neither is to be had."""
    try:
        rootless.become_root()
    except MissingError as exc:
        hint = (
            ""
            if not hasattr(request.config, "workerinput")
            else (
                "; under pytest-xdist it must be entered at the start: podnet_rootless = true in the "
                "ini, or --podnet-rootless"
            )
        )
        lacking(request.config, f"no Nodes: {exc.message}{hint}")


@contextmanager
def _node(request: pytest.FixtureRequest, name: str) -> Iterator[Node]:
    own = trial.of(request.node)
    with Node.in_memory(name) as node:
        pcap = request.config.getoption("podnet_pcap")
        own.nodes[node] = node.run(Capture) if pcap else None
        try:
            yield node
        finally:
            capture = own.nodes.pop(node)
            if capture:
                capture.stop()


@pytest.fixture
def podnet_node(request: pytest.FixtureRequest, podnet_privilege: None) -> Iterator[Node]:
    """A Node of the test's own, in memory: network, /run, /var/lib, /etc/cni and a hostname."""
    with _node(request, "test") as node:
        yield node


@pytest.fixture(scope="module")
def podnet_node_module(request: pytest.FixtureRequest, podnet_privilege: None) -> Iterator[Node]:
    """A Node for all tests of a module."""
    with _node(request, "module") as node:
        yield node


@pytest.fixture(scope="session")
def podnet_node_session(request: pytest.FixtureRequest, podnet_privilege: None) -> Iterator[Node]:
    """A Node for all tests; of each worker, under pytest-xdist."""
    with _node(request, "session") as node:
        yield node


@pytest.fixture(autouse=True)
def _podnet_requirements(request: pytest.FixtureRequest) -> None:
    """Skip a test whose features are missing."""
    wanted = marked(request.node, "podnet_requires")
    if not wanted:
        return
    request.getfixturevalue("podnet_privilege")
    found = request.getfixturevalue("podnet_features")
    reasons = list(filter(None, map(found.lacking, wanted)))
    if reasons:
        lacking(request.config, "; ".join(reasons))


@dataclass(slots=True)
class Features:
    """What kernel and system have, tried once."""

    node: Node
    known: dict[str, str] = field(default_factory=dict)

    def lacking(self, name: str) -> str:
        """Return what is missing where a feature is not there; "" where it is."""
        if name not in self.known:
            self.known[name] = features.lacking(self.node, name)
        return self.known[name]


@pytest.fixture(scope="session")
def podnet_features(podnet_privilege: None) -> Iterator[Features]:
    """What kernel and system have: `podnet_features.lacking("macvlan")` is "" where it is there."""
    with Node.in_memory("features") as node:
        yield Features(node)


@dataclass(slots=True)
class Pods:
    """Makes pods: network namespaces with lo up, on a Node, gone with it."""

    node: Node
    made: int = 0

    def __call__(
        self, name: str = "", *, ifname: str = "eth0", node: Node | None = None
    ) -> Attachment:
        """Make a pod, and return an attachment for it.

        Args:
            name: Its name and container ID; default: pod1, pod2 and so on.
            ifname: The interface it is to get.
            node: Where; default: the test's Node.
        """
        self.made += 1
        name = name or f"pod{self.made}"
        path = _NETNS / name
        (node or self.node).run(namespaces.create, path)
        return Attachment(container_id=name, ifname=ifname, netns=str(path))


@pytest.fixture
def make_pod(podnet_node: Node) -> Pods:
    """Make pods: call it with a name."""
    return Pods(podnet_node)
