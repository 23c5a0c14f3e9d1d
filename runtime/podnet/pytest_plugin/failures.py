"""The story of a test: what its plugins were asked and said, how its Nodes are, how to get there.

Text for pytest's report, and files where artifacts are asked for.  Looks at Nodes that are still
there; when a test's clean-up failed, they are gone, and what was called is all there is to tell.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from podnet import transcript
from podnet.errors import PodnetError
from podnet.execute import Outcome
from podnet.kernel import users
from podnet.node import Node
from podnet.pytest_plugin import trial
from podnet.pytest_plugin.settings import TITLE
from podnet.pytest_plugin.trial import Trial
from podnet.rig import picture, telling, topology
from podnet.rig.picture import Picture

_SYSTEM = "/usr/bin:/bin:/usr/sbin:/sbin"
_INDENT = "    "
_LONGEST, _LONGEST_NAME = 4000, 120
_KEEPER = "import signal; signal.pause()"


def sections(
    item: pytest.Item, report: pytest.TestReport, *, failed: bool
) -> Iterator[tuple[str, str]]:
    """Yield titles and texts for the report of a test.

    Args:
        item: The test.
        report: What pytest knows of it.
        failed: It did; else only what was called is told.
    """
    trials = list(trial.of_test(item))
    told = [line for one in trials for outcome in one.untold() for line in explained(outcome)]
    if told:
        yield f"{TITLE}what was called", "\n".join(told)
    if not failed:
        return
    nodes = [node for one in trials for node in one.nodes]
    for node in nodes:
        try:
            yield f"{TITLE}Node {node.name}, next to an empty one", state(node)
        except PodnetError as exc:
            yield f"{TITLE}Node {node.name}", f"it cannot be looked at: {exc}"
    directory = item.config.getoption("podnet_artifacts")
    if directory:
        where = Path(directory, slug(f"{item.nodeid}-{report.when}"))
        try:
            write(where, trials, report)
            yield f"{TITLE}artifacts", str(where)
        except (PodnetError, OSError) as exc:  # the test's own failure must be told
            yield f"{TITLE}artifacts", f"they cannot all be written to {where}: {exc}"
    if item.config.getoption("podnet_keep"):
        yield from ((f"{TITLE}kept Node {node.name}", kept(node)) for node in nodes)


def explained(outcome: Outcome) -> Iterator[str]:
    """Yield one invocation, in lines: how to repeat it, what went in, what came out."""
    step = outcome.invocation
    took = f"{outcome.duration * 1000:.1f} ms"
    yield f"{step.verb} {step.plugin} ({step.position + 1} of {step.chain}): {outcome.ending}, {took}"
    given = " ".join(f"{key}={shlex.quote(value)}" for key, value in step.environment.items())
    yield f"{_INDENT}{given} {shlex.quote(str(outcome.binary))}"
    sent = json.dumps(dict(step.stdin)) if step.verbatim is None else _text(step.verbatim)
    streams = (
        ("stdin", sent),
        ("stdout", _text(outcome.stdout)),
        ("stderr", _text(outcome.stderr)),
    )
    for name, content in streams:
        if content:
            yield f"{_INDENT}{name}:"
            yield from (f"{_INDENT * 2}{line}" for line in content[:_LONGEST].splitlines())
    changes, lies = outcome.observed.get("changes"), outcome.observed.get("untrue")
    if isinstance(changes, list):
        seen = list(telling.lines(changes)) or ["changed nothing"]
        yield from (f"{_INDENT}{line}" for line in seen)
    if isinstance(lies, list):
        yield from (f"{_INDENT}its result is not true: {line}" for line in lies)


def _text(output: bytes) -> str:
    return output.decode(errors="backslashreplace").strip()


def state(node: Node) -> str:
    """Return what a Node has that an empty one has not."""
    found = picture.difference(_empty(), picture.take(node))
    return "\n".join(telling.lines(telling.entries(found))) or "nothing"


def _empty() -> Picture:
    """Look at a fresh one each time: what the machine has mounted meanwhile is no test's."""
    with Node.in_memory("empty") as node:
        return picture.take(node)


def slug(name: str) -> str:
    """Return a directory name for a test; no two tests of one run have the same."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    return f"{readable[:_LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def write(directory: Path, trials: Sequence[Trial], report: pytest.TestReport) -> None:
    """Write what is known of a test: what was called, how its Nodes are, what was sent."""
    directory.mkdir(parents=True, exist_ok=True)
    outcomes = [outcome for one in trials for outcome in one.outcomes()]
    entries = [json.dumps(transcript.entry(outcome)) for outcome in outcomes]
    (directory / "transcript.jsonl").write_text("".join(f"{line}\n" for line in entries))
    (directory / "failure.txt").write_text(f"{report.nodeid}\n{report.longreprtext}\n")
    for one in trials:
        for node, capture in one.nodes.items():
            (directory / f"{node.name}.state.txt").write_text(state(node) + "\n")
            (directory / f"{node.name}.mmd").write_text(topology.mermaid(topology.look(node)))
            if capture:
                (directory / f"{node.name}.pcapng").write_bytes(capture.packets())


def kept(node: Node) -> str:
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
