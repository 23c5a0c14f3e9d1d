"""Every scenario of the repository comes out as it says, and its cause is named."""

from pathlib import Path

import pytest

from podnet.errors import MissingError
from podnet.rig.faults import KINDS
from podnet.rig.scenario import reading
from podnet.rig.scenario.evidence import CAUSES
from podnet.rig.scenario.run import run
from podnet.rig.scenario.schema import ACTIONS, EXPECT

ROOT = Path(__file__).parents[2]
SCENARIOS = sorted((ROOT / "scenarios").glob("*.yaml"))


@pytest.mark.root
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_comes_out_as_it_says(path, node):
    scenario = reading.load(path)
    try:
        report = run(scenario)
    except MissingError as exc:
        pytest.skip(str(exc))

    wrong = [f"{s.number}: {s.step.title}: {s.said}: {s.unmet}" for s in report.steps if s.unmet]
    assert not wrong
    expected = {s.expect.text("cause") for s in scenario.steps} - {""}
    assert expected == {cause.name for cause in report.causes}


def test_each_pain_names_where_it_hurt_and_its_cause():
    about_faults = ("disk-", "addresses-", "killed-", "answer-")
    for path in SCENARIOS:
        scenario = reading.load(path)
        assert scenario.about, path
        if not path.stem.startswith(about_faults):
            assert scenario.issues, path
        causes = [step.expect.text("cause") for step in scenario.steps]
        ends_well = scenario.steps[-1].expect.get("leaks") == []
        assert any(causes) or ends_well, path


WORKING = """
networks:
  - {cniVersion: 1.0.0, name: net, plugins: [{type: ours, mtu: 1}]}
stubs:
  ours: {stdout: '{"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/8"}]}'}
steps:
"""


@pytest.fixture
def outcome(tmp_path, node):
    """Run a scenario on stub plugins, given its steps."""

    def act(steps: str, head: str = WORKING):
        path = tmp_path / "scenario.yaml"
        path.write_text(head + steps)
        return run(reading.load(path))

    return act


@pytest.mark.root
def test_what_works_names_no_cause_and_leaves_nothing(outcome):
    report = outcome("""
  - create: {pod: web}
    expect: {result: {ips: [{address: 10.0.0.1/8}]}, pods: {web: ready}}
  - attach: {pod: web, network: net}
  - check: {pod: web}
  - status: {}
  - exec: {pod: web, command: [ip, link]}
    expect: {stdout: 'lo:'}
  - detach: {pod: web, ifname: eth1}
  - delete: {pod: web}
    expect: {leaks: [], pods: {web: absent}, files: {/run/netns/web: absent}}
""")
    assert report.ok, report
    assert (report.causes, report.leaks) == ((), ())


@pytest.mark.root
def test_over_libcni_nobody_is_asked_what_a_version_has_not(outcome):
    report = outcome("  - gc: {}\n  - status: {}\n", f"runtime: libcni{WORKING}")
    assert report.ok, report


@pytest.mark.root
def test_the_kernel_is_asked_of_the_node_and_of_its_pods(outcome):
    report = outcome("""
  - create: {pod: web}
  - exec: {pod: web, command: [ip, address, add, 10.0.0.1/8, dev, lo]}
    expect:
      kernel:
        /run/netns/web address 10.0.0.1/8 dev lo: present
        node address 10.0.0.1/8 dev lo: absent
        node namespace /run/netns/web: present
""")
    assert report.ok, report.steps[-1]


@pytest.mark.root
def test_a_step_that_is_not_as_expected_says_why_and_ends_the_scenario(outcome):
    report = outcome("""
  - create: {pod: web}
    expect: {code: 11, leaks: [gone], result: {ips: []}, links: {lo: absent}, cause: killed}
  - delete: {pod: web}
""")
    [first, second] = report.steps
    assert [sentence.split(",")[0] for sentence in first.unmet] == [
        "it must fail",
        'the result must have {"ips":[]}',
        "gone must be left",
        "lo must be absent",
        "the cause killed must be named",
    ]
    assert second.skipped
    assert not report.ok


@pytest.mark.root
def test_what_comes_of_a_step_in_the_background_is_waited_for(outcome):
    report = outcome("""
  - fault: ours:ADD:slow=0.3
  - create: {pod: web, background: true}
  - wait: {pod: web}
    expect: {pods: {web: ready}}
  - heal: ours:ADD:slow=0.3
  - fault: ours:DEL:error=11
  - delete: {pod: web, background: true}
  - wait: {pod: web}
    expect: {code: 11, plugin: ours}
""")
    assert report.ok, report


@pytest.mark.root
def test_what_nobody_waits_for_counts_all_the_same(outcome):
    report = outcome("""
  - fault: ours:ADD:error
  - create: {pod: web, background: true}
""")
    assert [step.unmet for step in report.steps] == [(), (), ("it must succeed",)]
    assert report.steps[-1].step.title == "wait web"


@pytest.mark.root
def test_one_thing_at_a_time_happens_to_a_pod_in_the_background(outcome):
    report = outcome("""
  - create: {pod: web, background: true}
  - attach: {pod: web, network: net, background: true}
    expect: {message: in the background already}
""")
    assert report.ok, report


@pytest.mark.root
def test_a_probe_reaches_somebody_unless_it_must_not(outcome):
    report = outcome("""
  - probe: {from: '@node', to: 203.0.113.9}
    expect: {reached: false}
  - probe: {from: '@node', to: 203.0.113.9}
""")
    assert [step.unmet for step in report.steps] == [(), ("it must succeed",)]


@pytest.mark.root
@pytest.mark.parametrize("runtime", ["podnet", "libcni"])
def test_a_pod_is_nowhere_but_where_pods_are(outcome, runtime):
    report = outcome("  - create: {pod: ../../x}\n", f"runtime: {runtime}{WORKING}")
    assert "it must succeed" in report.steps[0].unmet
    assert not Path("/x").exists()


@pytest.mark.root
def test_a_fault_of_the_node_is_on_its_own_directories_and_no_pod_s_leak(outcome):
    report = outcome("""
  - fault: disk-full=/opt/podnet-x
    expect: {message: "is not the Node's own"}
  - fault: lock-held=/var/lib/../../opt/podnet-x/lock
    expect: {message: "is not the Node's own"}
  - fault: disk-full=/etc/cni
    expect: {leaks: []}
""")
    assert report.ok, report
    assert report.causes == ()
    assert not Path("/opt/podnet-x").exists()


@pytest.mark.root
def test_a_reboot_takes_what_runs_and_leaves_what_is_on_disk(outcome):
    report = outcome("""
  - create: {pod: web}
  - exec: {command: [ip, link, add, br9, type, bridge]}
    expect: {links: {br9: present}}
  - exec: {command: [sh, -c, 'touch /run/gone /var/lib/kept; sleep 600 >/dev/null 2>&1 & echo $! >/var/lib/pid']}
  - reboot: {}
    expect:
      links: {br9: absent}
      files: {/run/gone: absent, /var/lib/kept: empty, /run/netns/web: absent}
      pods: {web: ready}
  - exec: {command: [sh, -c, 'cut -d " " -f 3 /proc/$(cat /var/lib/pid)/stat || echo Z']}
    expect: {stdout: Z}
""")
    assert report.ok, report


@pytest.mark.root
def test_a_fault_that_is_there_twice_or_not_at_all_is_refused(outcome):
    report = outcome("""
  - fault: ours:kill
  - fault: ours:kill
    expect: {message: is there already}
  - heal: ours:hang
    expect: {message: 'there are: ours:kill'}
  - fault: other:kill
    expect: {message: there is no plugin other}
""")
    assert report.ok, report


@pytest.mark.root
def test_a_scenario_whose_plugins_are_missing_is_not_run(outcome):
    head = "networks: [{cniVersion: 1.0.0, name: net, plugins: [{type: nowhere}]}]\nsteps:\n"
    with pytest.raises(MissingError, match="no plugin nowhere"):
        outcome("  - create: {pod: web}\n", head)


MISTAKES = {
    "steps: [{create: {pod: web}, delete: {pod: web}}]": "s.yaml:1:9: a step has one action",
    "steps:\n  - about: nothing": "s.yaml:2:5: a step has one action",
    "steps:\n  - create: {pot: web}": "s.yaml:2:14: steps[0].create has no key pot (did you mean pod?)",
    "steps:\n  - fault: ours:kil": "s.yaml:2:5: there is no fault 'kil'",
    "steps:\n  - create: {pod: web}\n    expect: {cause: rain}": "s.yaml:3:14: there is no cause rain",
    "steps:\n  - wait: {seconds: x}": "s.yaml:2:",
    "steps:\n  - create: {pod: w, network: n}": "s.yaml:2:22: there is no network n",
    "steps: []\nsteps: []": "s.yaml:2:1: the key steps stands twice",
    "stubs: {../x: {}}\nsteps: []": "s.yaml:1:9: ",
    "networks: [{name: x}]\nsteps: []": "",
    "networks: [{name: ../x, cniVersion: 1.0.0, plugins: [{type: a}]}]\nsteps: []": "s.yaml:1:12: ",
    "steps: [": "s.yaml:1:9: no YAML",
    "- a": "s.yaml:1:1: a scenario is an object",
    "steps: []\n1: x": "s.yaml:2:1: no YAML: the key 1 is no text",
    "steps: []\nabout: !!binary aGk=": "s.yaml:2:8: no YAML: JSON has no value of the kind binary",
    "steps: &all [*all]": "s.yaml:1:8: no YAML: it holds itself",
    "name: x": "s.yaml:1:1: steps is missing",
    "runtime: crio\nsteps: []": 's.yaml:1:1: runtime must be "podnet" or "libcni"',
}


@pytest.mark.parametrize("text", [text for text, says in MISTAKES.items() if says])
def test_a_mistake_is_told_by_line_and_column(tmp_path, text):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(reading.ScenarioError) as error:
        reading.load(path)
    assert MISTAKES[text] in str(error.value)


def test_the_page_tells_every_word_that_a_scenario_knows():
    page = (ROOT / "docs" / "scenarios.md").read_text()
    expectations = EXPECT["properties"]
    assert isinstance(expectations, dict)
    for word in (*ACTIONS, *expectations, *CAUSES):
        assert f"| `{word}` |" in page, word
    for kind, about in KINDS.items():
        assert f"{kind}` | {about.about}" in page or f"{kind}={about.unit.upper()}` | " in page, (
            kind
        )


@pytest.mark.root
def test_the_scenario_of_the_page_comes_out_as_it_says(tmp_path, node):
    page = (ROOT / "docs" / "scenarios.md").read_text()
    path = tmp_path / "page.yaml"
    path.write_text(page.partition("```yaml\n")[2].partition("```")[0])
    assert run(reading.load(path)).ok
