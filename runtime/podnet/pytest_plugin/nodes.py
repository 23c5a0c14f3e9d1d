"""Nodes and pods of tests, and what kernel and system have."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from podnet import rootless
from podnet.errors import MissingError
from podnet.kernel.capture import Capture
from podnet.node import Node
from podnet.plan import Attachment
from podnet.pytest_plugin import trial
from podnet.pytest_plugin.settings import bin_dirs, lacking
from podnet.rig import features
from podnet.rig.caller import make_namespace

_AT_THE_START = (
    "; under pytest-xdist it must be entered at the start: podnet_rootless = true in the ini, or "
    "--podnet-rootless"
)


def need_privilege(config: pytest.Config) -> None:
    """Be root, of the machine or of a user namespace; skip where neither is to be had."""
    try:
        rootless.become_root()
    except MissingError as exc:
        hint = _AT_THE_START if hasattr(config, "workerinput") else ""
        lacking(config, f"no Nodes: {exc.message}{hint}")


@contextmanager
def in_memory(request: pytest.FixtureRequest, name: str) -> Iterator[Node]:
    """Have a Node for as long as a fixture does."""
    own = trial.of(request.node)
    with Node.in_memory(name) as node:
        node.show(request.config.rootpath, *map(Path, bin_dirs(request.config)))
        pcap = request.config.getoption("podnet_pcap")
        own.nodes[node] = node.run(Capture) if pcap else None
        try:
            yield node
        finally:
            capture = own.nodes.pop(node)
            if capture:
                capture.stop()


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
        path = make_namespace(node or self.node, name)
        return Attachment(container_id=name, ifname=ifname, netns=str(path))
