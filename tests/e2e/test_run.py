"""`podnet run`: a person's scenario, what it prints, and how it exits."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from podnet.testing import stub_plugin

pytestmark = pytest.mark.root

SCENARIOS = Path(__file__).parents[2] / "scenarios"
FAILING = """
networks: [{cniVersion: 1.0.0, name: net, plugins: [{type: ours}]}]
stubs: {ours: {status: 3, stderr: broken}}
steps:
  - about: must work
    create: {pod: web}
  - delete: {pod: web}
"""


def test_a_failure_is_told_by_step_line_and_cause(podnet, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(FAILING)
    done = podnet("run", path, status=1)
    assert done.stdout.startswith("bad\n   1  NOT OK")
    assert done.stdout.endswith("  NOT as expected\n")
    assert f"{path}:5: step 1: it must succeed" in done.stdout
    assert "broken" in done.stdout
    assert "skipped" in done.stdout
    assert "0 of 1 as expected" in done.stderr

    [item] = podnet.json("run", path, status=1)["items"]
    assert (item["ok"], [step["state"] for step in item["steps"]]) == (False, ["failed", "skipped"])


def test_the_cause_and_what_helps_are_named(podnet, debian_plugins):
    done = podnet("run", SCENARIOS / "missing-ipam-plugin.yaml")
    assert "cause: binary-missing: step 2 (create web): host-local is in no plugin" in done.stdout
    assert "install the plugin" in done.stdout


def test_a_file_that_makes_no_sense_is_a_usage_error(podnet, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("steps: [{creat: {}}]")
    assert f"{path}:1:10: " in podnet("run", path, status=2).stderr
    assert "cannot read" in podnet("run", tmp_path / "no.yaml", status=2).stderr
    assert "which scenarios" in podnet("run", status=2).stderr
    path.write_text("networks: [{cniVersion: 1.0.0, name: n, plugins: [{type: nope}]}]\nsteps: []")
    assert "there is no plugin nope" in podnet("run", path, status=7).stderr


def test_the_schema_is_one_and_fits_every_scenario(podnet):
    schema = json.loads(podnet("run", "--schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    for path in SCENARIOS.glob("*.yaml"):
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)


def test_podnet_s_own_are_run_by_name_with_plugins_that_are_given_and_recorded(podnet, tmp_path):
    names = podnet("run", "--list", "-o", "name").stdout.split()
    assert set(names) == {path.stem for path in SCENARIOS.glob("*.yaml")}
    assert "kubernetes/kubernetes#34278" in podnet("run", "--list", "-o", "wide").stdout

    stub_plugin(tmp_path / "bin", "noop", stdout={"cniVersion": "1.0.0"})
    calls = tmp_path / "calls"
    arguments = ("--plugin-dir", tmp_path / "bin", "--record", calls)
    done = podnet("run", "result-of-another-sandbox", *arguments, status=1)
    assert "the cause wrong-sandbox must be named, there is: none" in done.stdout
    [add] = podnet.json("record", "show", calls)["items"]
    assert (add["verb"], add["plugin"]) == ("ADD", "noop")

    done = podnet("run", "leak-reboot", "--fault", "bridge:kill", status=2)
    assert "in its file" in done.stderr
