"""The example repository, plugins that are not ours: its tests pass, and CI's script tells of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "plugin-repository"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the example."""
    if os.geteuid() != 0:
        pytest.skip("neither root nor a user namespace: a Node is made of namespaces")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "repository"))


def _run(repository: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    # As where pip installed podnet: with a script nsenter in front that is not util-linux's.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CNI_")}
    environment = kept | {"PATH": path, "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    summary = {"GITHUB_STEP_SUMMARY": str(repository / "summary.md")}
    return subprocess.run(
        command,
        cwd=repository,
        env=environment | summary,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_the_script_that_ci_runs_sums_up_tests_that_pass(repository):
    plugins, tests = ("--plugins", "plugins"), ("--tests", "tests/test_hello.py")
    done = _run(repository, str(ROOT / "scripts/plugin-ci"), *plugins, *tests, "--", "-q")

    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in (repository / "summary.md").read_text()
    assert not (repository / "podnet-ci/failed").exists()


def test_the_example_s_plugin_is_held_against_the_spec_by_the_script(repository):
    command = (str(ROOT / "scripts/plugin-ci"), "--plugins", "plugins")
    held = ("--conformance", "note.conflist", "--case", "chain-*", "--case", "env-*")

    done = _run(repository, *command, *held)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "| noted/link-note | conformant |" in (repository / "summary.md").read_text()
    assert (repository / "podnet-ci/conformance.xml").exists()


def test_a_plugin_that_is_broken_fails_the_script_and_leaves_its_story(repository):
    broken = repository / "plugins" / "hello"
    broken.write_text(broken.read_text().replace('"interfaces"', '"interfazes"'))
    command = (str(ROOT / "scripts/plugin-ci"), "--plugins", "plugins")

    done = _run(repository, *command, "--tests", "tests/test_hello.py")

    assert done.returncode == 1, done.stdout
    assert "```mermaid" in (repository / "summary.md").read_text()
    assert list((repository / "podnet-ci/failed").glob("*/transcript.jsonl"))


def test_a_script_that_is_asked_nothing_says_so():
    script = str(ROOT / "scripts/plugin-ci")
    done = subprocess.run(
        [script, "--plugins", "plugins"], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 2
    assert done.stderr.startswith("usage: plugin-ci ")


def test_the_action_asks_for_what_it_declares():
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    text = (ROOT / "action.yml").read_text()

    asked = {part.split("}}")[0].strip() for part in text.split("${{")[1:]}
    assert asked == {f"inputs.{name}" for name in action["inputs"]}
    # What somebody wrote into an input is never part of a script.
    assert all("${{" not in step.get("run", "") for step in action["runs"]["steps"])
