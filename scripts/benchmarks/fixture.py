"""fixture: what a Node per test costs a test suite, set-up and tear-down together."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, row

_TESTS = 500
_SUITE = f"""
import pytest

@pytest.mark.parametrize("number", range({_TESTS}))
def test_nothing(number): pass

@pytest.mark.parametrize("number", range({_TESTS}))
def test_node(number, podnet_node): pass
"""
_CONFTEST = """
import json
from pathlib import Path

took = {}

def pytest_runtest_logreport(report):
    if report.when != "call":
        kind = report.nodeid.partition("[")[0].rpartition("::")[2]
        took.setdefault(kind, {}).setdefault(report.nodeid, []).append(report.duration * 1000)

def pytest_sessionfinish():
    sums = {kind: [sum(parts) for parts in tests.values()] for kind, tests in took.items()}
    Path(__file__).with_name("took.json").write_text(json.dumps(sums))
"""


def rows(_: Path, __: int) -> Iterator[Row]:
    """500 tests with a Node each; the peer is 500 that ask for nothing."""
    with tempfile.TemporaryDirectory() as directory:
        suite = Path(directory, "test_suite.py")
        suite.write_text(_SUITE)
        suite.with_name("conftest.py").write_text(_CONFTEST)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", directory]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=directory)
        took = json.loads(suite.with_name("took.json").read_text())
    yield row("fixture node fixture", took["test_node"], "an empty test", took["test_nothing"])
