"""Test suites of somebody else, run by pytest in a process of their own, as their authors would."""

import os
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Write a test module, run it, and return what came of it."""
    if os.geteuid() != 0:
        pytest.skip("neither root nor a user namespace: a Node is made of namespaces")
    for name in [key for key in os.environ if key.startswith(("CNI_", "COV_", "COVERAGE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_COLOR", "1")

    def run(text: str, *options: str, **outcomes: int) -> pytest.RunResult:
        pytester.makepyprojecttoml(
            '[tool.pytest]\nstrict = true\nfilterwarnings = ["error"]\n'
            'addopts = ["-p", "no:cacheprovider", "-ra"]\n'
        )
        pytester.makepyfile(test_suite=text)
        result = pytester.runpytest_subprocess(*options, timeout=100)
        if outcomes:
            assert result.parseoutcomes() == outcomes, result.stdout.str() + result.stderr.str()
        return result

    return run
