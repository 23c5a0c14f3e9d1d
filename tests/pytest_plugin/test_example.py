"""The example repository, plugins that are not ours: its tests pass, and CI's script tells of them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
#: What the runner makes of a step's `shell`.
SHELLS = {"sh": ("sh", "-e"), "bash": ("bash", "--noprofile", "--norc", "-eo", "pipefail")}
EXAMPLE = ROOT / "examples" / "plugin-repository"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the example."""
    if os.geteuid() != 0:
        pytest.skip("neither root nor a user namespace: a Node is made of namespaces")
    if not shutil.which("jq"):
        pytest.skip("hello reads JSON with jq: apt-get install jq")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "repository"))


def _run(
    repository: Path, *command: str, given: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    # As where pip installed podnet: with a script nsenter in front that is not util-linux's.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CNI_")}
    environment = kept | {"PATH": path, "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    summary = {"GITHUB_STEP_SUMMARY": str(repository / "summary.md")}
    return subprocess.run(
        command,
        cwd=repository,
        env=environment | summary | (given or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.fixture
def act(repository: Path) -> Callable[..., tuple[list[str], "subprocess.CompletedProcess[str]"]]:
    """Run the action's own steps as GitHub's runner does, but for what would change the machine."""
    programs = repository.parent / "programs"
    programs.mkdir()
    for name in ("apt-get", "modprobe", "sysctl", "python"):
        program = programs / name
        program.write_text(
            f'#!/bin/sh\necho {name} "$@" >>{programs}.log\nexit "${{FAILS_{name[:3]}:-0}}"\n'
        )
        program.chmod(0o755)

    def run(inputs: dict[str, str], **given: str):
        action = yaml.safe_load((ROOT / "action.yml").read_text())
        values = {name: one.get("default", "") for name, one in action["inputs"].items()} | inputs
        path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.CompletedProcess((), 0, "", "")
        for step in (
            one for one in action["runs"]["steps"] if "run" in one and not done.returncode
        ):
            (programs / "step").write_text(step["run"])
            set_to = {
                name: re.sub(r"\$\{\{ inputs\.(\S+) \}\}", lambda found: values[found[1]], text)
                for name, text in step.get("env", {}).items()
            }
            environment = {"PATH": path, "GITHUB_ACTION_PATH": str(ROOT)} | set_to | given
            command = (*SHELLS[step["shell"]], str(programs / "step"))
            done = _run(repository, *command, given=environment)
        return Path(f"{programs}.log").read_text().splitlines(), done

    return run


def test_the_action_installs_what_is_asked_for_and_runs_the_tests_of_the_page(repository, act):
    page = (ROOT / "docs" / "testing.md").read_text()
    (repository / "the page").mkdir()
    for number, block in enumerate(page.split("```python\n")[1:]):
        (repository / "the page" / f"test_{number}.py").write_text(block.partition("```")[0])
    inputs = {"plugins": "the page\nplugins\n", "tests": "the page\n"}

    log, done = act(
        inputs | {"packages": "nftables etcd-server", "pytest-options": "-k\nlo_is or reach"}
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in log if not line.startswith(("modprobe", "sysctl"))] == [
        "apt-get update -q",
        "apt-get install -qy --no-install-recommends nftables etcd-server",
        f"python -m pip install --quiet {ROOT}[pytest]",
    ]
    assert "modprobe -q vxlan" in log
    assert " 2 passed" in (repository / "summary.md").read_text()
    assert not (repository / "podnet-ci/failed").exists()


def test_the_action_ends_where_packages_cannot_be_had(act):
    log, done = act({"tests": "tests"}, FAILS_apt="100")

    assert (log[-1], done.returncode) == ("apt-get update -q", 100)


def test_the_example_s_plugin_is_held_against_the_spec_by_the_script(repository):
    command = (str(ROOT / "scripts/plugin-ci"), "--plugins", "plugins")
    held = ("--conformance", "note.conflist", "--case", "chain-*", "--case", "env-*")

    done = _run(repository, *command, *held)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "| noted/link-note | conformant |" in (repository / "summary.md").read_text()
    assert (repository / "podnet-ci/conformance.xml").exists()


def test_the_example_in_a_shell_is_conformant_in_what_a_shell_gets_wrong(repository):
    # The whole suite takes a minute; these are a few of the 31 that it failed once.
    cases = (
        "config-empty,config-version-unknown",
        "env-container-id-*",
        "result-shape,del-leaves-*",
    )
    given = [word for case in cases for word in ("--case", case)]
    command = (str(ROOT / "scripts/plugin-ci"), "--conformance", "plugins/hello", "--config")

    done = _run(repository, *command, "hello.yaml", *given)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "", done.stdout


def test_a_plugin_that_is_broken_fails_the_script_and_leaves_its_story(repository):
    broken = repository / "plugins" / "hello"
    broken.write_text(broken.read_text().replace("interfaces:", "interfazes:"))
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
