"""What plugins talk to besides the kernel: the system's etcd."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from podnet.cluster import etcd
from podnet.errors import MissingError, TimedOutError
from podnet.node import Node
from podnet.pytest_plugin.settings import lacking

_PATIENCE = 60.0
_LOOPBACK = "127.0.0.1"


@contextmanager
def running_etcd(config: pytest.Config, node: Node) -> Iterator[str]:
    """Have an etcd on a Node; its URL, there."""
    try:
        pid = node.run(etcd.start, _LOOPBACK)
    except MissingError as exc:
        lacking(config, str(exc))
    try:
        problem = node.run(etcd.await_ready, _LOOPBACK, time.monotonic() + _PATIENCE)
        if problem:
            raise TimedOutError(f"etcd: {problem}", node.run(etcd.log_tail))
        yield f"http://{_LOOPBACK}:{etcd.PORT}"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
