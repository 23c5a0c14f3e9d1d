"""The story of a test: what its plugins were asked and said, how its Nodes are, how to get there.

Text for pytest's report, and files where artifacts are asked for.  How Nodes are looked at is
:mod:`podnet.pytest_plugin.sight`'s; of one that ended unseen, what was called is all there is to tell.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from podnet import transcript
from podnet.execute import Outcome
from podnet.pytest_plugin import sight, trial
from podnet.pytest_plugin.settings import TITLE
from podnet.pytest_plugin.sight import Sight
from podnet.pytest_plugin.trial import Trial
from podnet.rig import telling

_INDENT = "    "
_LONGEST, _LONGEST_NAME = 4000, 120


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
    seen = sight.gather(item)
    trial.of(item).seen.clear()
    for node in seen:
        yield f"{TITLE}Node {node.name}, next to an empty one", node.state
    directory = item.config.getoption("podnet_artifacts")
    if directory:
        where = Path(directory, slug(f"{item.nodeid}-{report.when}"))
        try:
            write(where, trials, seen, report)
            yield f"{TITLE}artifacts", str(where)
        except Exception as exc:  # noqa: BLE001  the test's own failure must be told
            yield f"{TITLE}artifacts", f"they cannot all be written to {where}: {exc}"
    yield from ((f"{TITLE}kept Node {node.name}", node.kept) for node in seen if node.kept)


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


def slug(name: str) -> str:
    """Return a directory name for a test; no two tests of one run have the same."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    return f"{readable[:_LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def write(
    directory: Path, trials: Sequence[Trial], seen: Sequence[Sight], report: pytest.TestReport
) -> None:
    """Write what is known of a test: what was called, how its Nodes are, what was sent."""
    directory.mkdir(parents=True, exist_ok=True)
    outcomes = [outcome for one in trials for outcome in one.outcomes()]
    entries = [json.dumps(transcript.entry(outcome)) for outcome in outcomes]
    _write(directory / "transcript.jsonl", "".join(f"{line}\n" for line in entries))
    _write(directory / "failure.txt", f"{report.nodeid}\n{report.longreprtext}\n")
    for node in seen:
        _write(directory / f"{node.name}.state.txt", f"{node.state}\n")
        _write(directory / f"{node.name}.mmd", node.topology)
        if node.packets:
            (directory / f"{node.name}.pcapng").write_bytes(node.packets)


def _write(file: Path, text: str) -> None:
    """Write what may hold what a plugin printed: half of a surrogate pair, which UTF-8 has not."""
    file.write_text(text, encoding="utf-8", errors="backslashreplace")
