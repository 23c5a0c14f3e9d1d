"""Fixtures: what plugins talk to besides the kernel: a Kubernetes API, etcd."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from podnet.cluster import etcd as store
from podnet.errors import MissingError, TimedOutError
from podnet.node import Node
from podnet.pytest_plugin.settings import lacking
from podnet.rig.fake_kube import FakeKube

_PATIENCE = 60.0
_LOOPBACK = "127.0.0.1"


@pytest.fixture
def fake_kube(podnet_node: Node) -> Iterator[FakeKube]:
    """A Kubernetes API on the test's Node: `fake_kube.kubeconfig(path)` leads there."""
    with FakeKube(podnet_node) as api:
        yield api


@pytest.fixture
def etcd(request: pytest.FixtureRequest, podnet_node: Node) -> Iterator[str]:
    """The system's etcd on the test's Node, gone with it: its URL, there."""
    try:
        pid = podnet_node.run(store.start, _LOOPBACK)
    except MissingError as exc:
        lacking(request.config, str(exc))
    try:
        problem = podnet_node.run(store.await_ready, _LOOPBACK, time.monotonic() + _PATIENCE)
        if problem:
            raise TimedOutError(f"etcd: {problem}", podnet_node.run(store.log_tail))
        yield f"http://{_LOOPBACK}:{store.PORT}"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
