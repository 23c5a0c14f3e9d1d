"""A Node of a test that failed: looked at while it is there, and kept where that is asked for.

A Node may be gone before its test is told of, so what was seen is a value.  Nothing that goes
wrong here is anything but a sentence: the test's own failure must be told.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from podnet.kernel import users
from podnet.kernel.capture import Capture
from podnet.node import Node
from podnet.pytest_plugin import trial
from podnet.pytest_plugin.trial import Trial
from podnet.rig import picture, telling, topology
from podnet.rig.picture import Picture

_SYSTEM = "/usr/bin:/bin:/usr/sbin:/sbin"
_KEEPER = "import signal; signal.pause()"


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of a Node.

    Attributes:
        name: Its name.
        state: What it has that an empty one has not.
        topology: What is joined to what, as Mermaid; "" where there are no artifacts.
        packets: What was captured on it, as pcapng; empty where nothing was asked for.
        kept: What enters it and what ends it, where it is kept.
    """

    name: str
    state: str
    topology: str = ""
    packets: bytes = b""
    kept: str = ""


def gather(item: pytest.Item) -> list[Sight]:
    """Look at the Nodes that a test has now, those of before included; each is looked at once."""
    seen = trial.of(item).seen
    for one in trial.of_test(item):
        for node in one.nodes:
            if node not in seen:
                seen[node] = _look(item.config, one, node)
    return list(seen.values())


def _look(config: pytest.Config, owner: Trial, node: Node) -> Sight:
    """Look at a Node."""
    artifacts, keep = config.getoption("podnet_artifacts"), config.getoption("podnet_keep")
    capture = owner.nodes[node]
    if keep and node not in owner.kept:  # one process is enough, however many tests fail
        owner.kept[node] = _said(lambda: _keep(node))
    return Sight(
        name=node.name,
        state=_said(lambda: _state(node)),
        topology=_said(lambda: topology.mermaid(topology.look(node))) if artifacts else "",
        packets=_packets(capture) if artifacts and capture else b"",
        kept=owner.kept.get(node, ""),
    )


def _said(what: Callable[[], str]) -> str:
    try:
        return what()
    except Exception as exc:  # noqa: BLE001  whatever it is, it is not what the test failed of
        return f"it cannot be looked at: {exc}"


def _packets(capture: Capture) -> bytes:
    try:
        return capture.packets()
    except Exception:  # noqa: BLE001  likewise
        return b""


def _state(node: Node) -> str:
    found = picture.difference(_empty(), picture.take(node))
    return "\n".join(telling.lines(telling.entries(found))) or "nothing"


def _empty() -> Picture:
    """Look at a fresh one each time: what the machine has mounted meanwhile is no test's."""
    with Node.in_memory("empty") as node:
        return picture.take(node)


def _keep(node: Node) -> str:
    """Leave a process on a Node that keeps it, and return what enters it and what ends it."""
    pid = node.run(_leave_keeper)
    # By its path: a virtual environment may have a program of that name that is another.
    nsenter = shutil.which("nsenter", path=_SYSTEM) or "nsenter"
    by_user = "" if users.is_root() else "--user --preserve-credentials "
    return (
        f"enter it: {nsenter} --target {pid} {by_user}--net --mount --uts --wd={shlex.quote(os.getcwd())}\n"  # noqa: PTH109
        f"end it:   kill {pid}"
    )


def _leave_keeper() -> int:
    nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    command = [sys.executable, "-I", "-S", "-c", _KEEPER]
    return os.posix_spawn(sys.executable, command, {}, file_actions=nowhere, setsid=True)
