"""`podnet conformance`: what it is asked, what it prints, what it writes, how it exits."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from podnet.errors import PodnetError
from podnet.rig.conformance.cases import all_cases
from podnet.rig.conformance.reports import forms

DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"
PODNET = Path(sys.executable).parent / "podnet"
#: It answers VERSION, and everything else with the empty success.
HOLLOW = """#!/bin/sh
[ "$CNI_COMMAND" = VERSION ] && echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}'
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion": "1.0.0", "hint": "<b>&\\u0007"}'
exit 0
"""


@pytest.fixture
def hollow(tmp_path: Path) -> Path:
    path = tmp_path / "hollow"
    path.write_text(HOLLOW)
    path.chmod(0o755)
    return path


def conformance(
    *arguments: object, status: int = 0, path: str = os.environ["PATH"]
) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [str(PODNET), "conformance", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": path, "HOME": "/nonexistent"},
    )
    said = f"{arguments}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, said
    assert done.returncode == status, said
    return done


def test_the_cases_are_listed_with_all_that_is_said_of_them() -> None:
    listed = json.loads(conformance("--list", "-o", "json").stdout)["items"]
    assert [item["name"] for item in listed] == [case.id for case in all_cases()]
    assert len(listed) >= 80
    for item in listed:
        assert all(item[key] for key in ("level", "section", "sentence", "reason", "kinds"))


def test_the_documentation_lists_the_cases_as_they_are() -> None:
    text = DOCUMENT.read_text()
    listed = text[text.index("| case | level |") : text.index("<!-- end -->")].splitlines()[2:]
    cells = (
        (f"`{c.id}`", c.level, c.section, c.sentence, c.reason.replace("|", "\\|"))
        for c in all_cases()
    )
    assert listed == [f"| {' | '.join(row)} |" for row in cells]


def test_the_documentation_s_findings_are_of_cases_that_there_are() -> None:
    findings = DOCUMENT.read_text().partition("| case | plugins |")[2]
    first = [line.split("|")[1] for line in findings.splitlines() if line.startswith("| `")]
    named = re.findall(r"`([a-z-]+)`", "".join(first))
    assert len(named) > 40
    assert not set(named) - {case.id for case in all_cases()}


def test_cases_are_chosen_by_id_and_level() -> None:
    chosen = conformance("--list", "--case", "del-*,add-succeeds", "--level", "must", "-o", "json")
    items = json.loads(chosen.stdout)["items"]
    assert {item["level"] for item in items} == {"MUST"}
    assert {item["name"].partition("-")[0] for item in items} == {"add", "del"}


@pytest.mark.root
def test_a_must_that_fails_is_exit_status_6(hollow: Path) -> None:
    done = conformance(hollow, "--case", "result-has-the-interface,del-twice", status=6)
    assert "no interface eth0 with a sandbox" in done.stdout
    assert "del-twice" not in done.stdout
    assert f"hollow ({hollow}): not conformant, 1 times a MUST: 1 failed, 1 passed" in done.stderr


@pytest.mark.root
@pytest.mark.parametrize("option", ["--record=calls", "--fault=bridge:hang", "--diff"])
def test_an_option_that_does_nothing_here_is_refused(option: str) -> None:
    assert option.partition("=")[0] in conformance("bridge", option, status=2).stderr


@pytest.mark.root
def test_which_binary_was_tested_is_said(hollow: Path) -> None:
    done = conformance(hollow, "--case", "version-answers", status=0)
    assert f"hollow ({hollow}): conformant" in done.stderr


@pytest.mark.root
def test_a_directory_of_plugins_that_is_not_there_is_no_reason_to_test_others(
    tmp_path: Path,
) -> None:
    done = conformance("bridge", "--plugin-dir", tmp_path / "gone", status=2)
    assert f"--plugin-dir {tmp_path}/gone: there is no such directory" in done.stderr


@pytest.mark.root
def test_a_should_that_fails_is_no_failure(hollow: Path) -> None:
    done = conformance(hollow, "--case", "error-has-version,config-malformed-code", status=0)
    assert "error-has-version" in done.stdout


@pytest.mark.root
def test_each_case_runs_in_the_versions_and_as_often_as_asked(hollow: Path) -> None:
    asked = ("--case", "del-twice", "--cni-versions", "0.4.0,1.0.0", "--repeat", 2, "-o", "json")
    items = json.loads(conformance(hollow, *asked).stdout)["items"]
    runs = [(item["cniVersion"], item["repetition"]) for item in items]
    assert runs == [("0.4.0", 1), ("0.4.0", 2), ("1.0.0", 1), ("1.0.0", 2)]
    assert {call["verb"] for item in items for call in item["calls"]} == {"ADD", "DEL"}


@pytest.mark.root
def test_reports_are_written_whatever_the_plugin_printed(hollow: Path, tmp_path: Path) -> None:
    forms = {"junit": "x.xml", "html": "x.html", "markdown": "deep/x.md", "json": "x.json"}
    asked = [f"--report={form}={tmp_path / name}" for form, name in forms.items()]
    cases = "result-has-the-interface,del-twice,gc-twice"
    conformance(hollow, "--case", cases, *asked, status=6)
    [suite] = ET.parse(tmp_path / "x.xml").getroot()  # noqa: S314  ours
    counted = {key: suite.get(key) for key in ("tests", "failures", "skipped", "errors")}
    assert counted == {"tests": "3", "failures": "1", "skipped": "1", "errors": "0"}
    page = (tmp_path / "x.html").read_text()
    assert "<b>&" not in page
    assert "&lt;b&gt;" in page
    assert not {"<script", "http://", "https://"} & set(page.split())
    assert "| hollow | not conformant | 1 | 1 | 0 | 0 | 1 |" in (tmp_path / "deep/x.md").read_text()
    found = json.loads((tmp_path / "x.json").read_text())["items"]
    assert [item["verdict"] for item in found] == ["failed", "passed", "skipped"]


@pytest.mark.root
def test_an_add_that_does_not_work_is_one_finding_and_hides_no_other(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text(HOLLOW.replace("exit 0", 'echo done; [ "$CNI_COMMAND" != DEL ]'))
    broken.chmod(0o755)
    cases = "result-shape,add-succeeds,del-twice,del-never-added"
    done = conformance(broken, "--case", cases, "-o", "json", status=6)
    said = {item["name"]: item["message"] for item in json.loads(done.stdout)["items"]}
    assert "ADD" in said["add-succeeds"]
    assert said["result-shape"] == said["del-twice"] == "needs add-succeeds"
    assert "DEL" in said["del-never-added"]
    assert "2 failed, 2 skipped, 2 of them because ADD does not work" in done.stderr


@pytest.mark.root
def test_what_utf_8_has_not_is_spelled_out_in_reports(tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    evil.write_text('#!/bin/sh\necho \'{"code": 100, "msg": "a \\ud800 b"}\'\nexit 1\n')
    evil.chmod(0o755)
    asked = [f"--report={form}={tmp_path / form}" for form in forms.FORMS]
    conformance(evil, "--case", "add-succeeds", *asked, status=6)
    for form in ("html", "markdown", "json"):
        assert re.search(r"a \\+ud800 b", (tmp_path / form).read_text()), form
    assert ET.parse(tmp_path / "junit").getroot().find(".//failure") is not None  # noqa: S314  ours


def test_a_report_that_cannot_be_made_takes_no_other_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(forms.FORMS, "html", lambda findings: findings[0])  # there is none
    wanted = [("html", tmp_path / "x.html"), ("json", tmp_path / "x.json")]
    with pytest.raises(PodnetError, match=r"no html can be made for .*x\.html"):
        forms.write(wanted, [])
    assert json.loads((tmp_path / "x.json").read_text())["items"] == []


@pytest.mark.root
def test_a_report_that_cannot_be_written_is_said_before_anything_is_asked(
    hollow: Path, tmp_path: Path
) -> None:
    report = f"json={tmp_path}/hollow/report"
    done = conformance(hollow, "--case", "version-answers", "--report", report, status=1)
    assert str(tmp_path / "hollow") in done.stderr
    assert "conformant" not in done.stderr


@pytest.mark.root
def test_parameters_say_what_a_plugin_needs(hollow: Path, tmp_path: Path) -> None:
    given = {
        "hollow": {
            "config": {"answer": 42},
            "kind": "ipam",
            "prepare": ["touch /run/prepared"],
            "args": {"K": "v"},
        }
    }
    (tmp_path / "parameters.yaml").write_text(yaml.safe_dump(given))
    options = ("--config", tmp_path / "parameters.yaml", "-o", "json")
    done = conformance(hollow, *options, "--case", "result-mac,add-succeeds")
    mac, add = sorted(json.loads(done.stdout)["items"], key=lambda item: str(item["verdict"]))[::-1]
    assert mac["message"] == "not about a plugin that manages addresses"
    assert add["calls"][0]["stdin"]["answer"] == 42
    assert add["calls"][0]["environment"]["CNI_ARGS"] == "K=v"


#: Its address is what its configuration says, whoever asks.
CHOSEN = """#!/bin/sh
[ "$CNI_COMMAND" = VERSION ] && echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}'
[ "$CNI_COMMAND" = ADD ] || exit 0
given=$(sed -n 's/.*"fixed":"\\([^"]*\\)".*/\\1/p')
echo "{\\"cniVersion\\": \\"1.0.0\\", \\"ips\\": [{\\"address\\": \\"$given\\"}]}"
"""


@pytest.mark.root
@pytest.mark.parametrize(
    ("address", "more", "status"),
    [
        ("10.78.0.2/24", {}, 0),
        ("10.78.0.2/24", {"distinct": True}, 6),
        ("127.0.0.1/8", {"distinct": True}, 0),
    ],
)
def test_an_address_that_is_configured_may_be_everybody_s_unless_it_is_said_not_to(
    tmp_path: Path, address: str, more: dict[str, bool], status: int
) -> None:
    (tmp_path / "chosen").write_text(CHOSEN)
    (tmp_path / "chosen").chmod(0o755)
    given = {"config": {"fixed": address}, "kind": "makes"} | more
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(given))
    options = ("--config", tmp_path / "p.yaml", "--case", "parallel-add", "-o", "wide")
    done = conformance(tmp_path / "chosen", *options, status=status)
    assert ("two containers have 10.78.0.2" in done.stdout) == bool(status)
    assert "passed" in done.stderr or status


@pytest.mark.root
def test_what_the_system_lacks_is_said_and_is_no_finding(hollow: Path, tmp_path: Path) -> None:
    needs = tmp_path / "parameters.yaml"
    needs.write_text("hollow: {requires: [ovs-vsctl]}")
    if shutil.which("ovs-vsctl"):
        pytest.skip("this machine has ovs-vsctl")
    done = conformance(hollow, "--config", needs, "--case", "result-mac", "-o", "wide", status=7)
    assert "skipped" in done.stdout
    assert "hollow was not tested: there is no program ovs-vsctl" in done.stderr


@pytest.mark.root
def test_a_node_that_cannot_be_prepared_is_said_and_is_no_success(
    hollow: Path, tmp_path: Path
) -> None:
    prepare = ["background: {plugin} daemon", "wait: /run/socket"]
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"prepare": prepare}))
    done = conformance(hollow, "--config", tmp_path / "p.yaml", "--case", "del-twice", status=7)
    assert f"hollow was not tested: `{hollow} daemon` ended" in done.stderr


@pytest.mark.root
def test_dhcp_without_a_server_is_not_tested_and_not_passed(tmp_path: Path) -> None:
    done = conformance("dhcp", "--case", "add-succeeds", status=7, path=str(tmp_path))
    assert "dhcp was not tested: there is no program dnsmasq" in done.stderr


@pytest.mark.root
def test_each_plugin_of_a_chain_is_tested_behind_those_before_it(tmp_path: Path) -> None:
    ipam = {"type": "static", "addresses": [{"address": "198.18.0.2/24"}]}
    chain = [{"type": "bridge", "bridge": "b0", "ipam": ipam}, {"type": "tuning", "mtu": 1300}]
    whole = {"cniVersion": "1.0.0", "name": "lab", "plugins": chain}
    (tmp_path / "lab.conflist").write_text(json.dumps(whole))
    done = conformance(tmp_path / "lab.conflist", "--case", "result-is-one-document", "-o", "json")
    items = json.loads(done.stdout)["items"]
    assert [item["plugin"] for item in items] == ["lab/bridge", "lab/tuning"]
    given = items[1]["calls"][0]["stdin"]["prevResult"]["ips"][0]["address"]
    assert given == "198.18.0.2/24"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no plugin to test"),
        (("no-such-plugin",), 'failed to find plugin "no-such-plugin"'),
        (("bridge", "--case", "nonsense"), "no case is called nonsense"),
        (("bridge", "--level", "WOULD"), "MUST, SHOULD, MAY"),
        (("bridge", "--cni-versions", "7.0.0"), "7.0.0 is no version of the spec"),
        (("bridge", "--report", "pdf=x"), "no report can be made of pdf=x"),
        (("nowhere.conflist",), "nowhere.conflist"),
        (("bridge", "--config", "/nonexistent.yaml"), "/nonexistent.yaml cannot be read"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(arguments: tuple[str, ...], said: str) -> None:
    assert said in conformance(*arguments, status=2).stderr


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("bridge: {konfig: {}}", "there is no key konfig"),
        ("bridge: {kind: magic}", "no plugin is of kind magic"),
        ("bridge: {config: 7}", "config must be an object"),
        ('bridge: {prepare: ["ip \'link"]}', "No closing quotation"),
        ("bridge: {requires: [magic]}", "there is no feature 'magic'"),
        ("- 1", "are no mapping"),
        ("{", "cannot be read"),
    ],
)
def test_parameters_that_make_no_sense_are_a_usage_error(
    tmp_path: Path, parameters: str, said: str
) -> None:
    (tmp_path / "p.yaml").write_text(parameters)
    done = conformance("bridge", "--config", tmp_path / "p.yaml", status=2)
    assert said in done.stderr
