"""The fixtures that a plugin's author gets, in suites that are run as theirs would be."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from podnet import places
from podnet.errors import UsageError
from podnet.kernel import namespaces
from podnet.pytest_plugin.plugin import hide_refusal, pytest_report_header

SUITES = sorted(Path(__file__).with_name("suites").glob("suite_*.py"))
NAMES = [
    n for suite in SUITES for n in re.findall(r"^def (test_\w+)", suite.read_text(), re.MULTILINE)
]

BRIDGE = """
import json
import pytest

SUBNET = {"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/24"}]]}
CONFIG = {"bridge": "br0", "isGateway": True, "ipam": SUBNET}
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """How the tests of SUITES ended, run together: nothing for one that passed."""
    if os.geteuid() != 0:
        pytest.skip("neither root nor a user namespace: a Node is made of namespaces")
    directory = tmp_path_factory.mktemp("author")
    (directory / "pyproject.toml").write_text(
        '[tool.pytest]\nstrict = true\nfilterwarnings = ["error"]\npython_files = ["suite_*.py"]\n'
    )
    for suite in SUITES:
        shutil.copy(suite, directory)
    options = ("-p", "no:cacheprovider", "--cni-conf-dir=net.d", "--junit-xml=ended.xml")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CNI_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=directory,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    found: dict[str, list[str]] = {}
    for case in ET.parse(directory / "ended.xml").iter("testcase"):  # noqa: S314  of our own pytest
        name = case.attrib["name"].partition("[")[0]
        told = [f"{one.tag}: {one.get('message')}" for one in case if one.tag != "system-out"]
        found[name] = found.get(name, []) + told
    assert set(found) == set(NAMES), done.stdout + done.stderr
    return found


@pytest.mark.parametrize("name", NAMES)
def test_an_author_finds_that(ended, name):
    if ended[name] and ended[name][0].startswith("skipped"):
        pytest.skip(ended[name][0])
    assert ended[name] == []


def test_a_version_that_a_plugin_does_not_speak_is_skipped(suite):
    result = suite(
        BRIDGE
        + """
@pytest.mark.podnet_versions("0.1.0", "1.1.0")
def test_old(cni, make_pod, stub_plugin):
    stub_plugin("new", result={"cniVersion": "1.1.0", "supportedVersions": ["1.1.0"]})
    cni("new")
""",
        passed=1,
        skipped=1,
    )

    result.stdout.fnmatch_lines(["*new does not speak 0.1.0"])


def test_versions_can_be_chosen_on_the_command_line(suite):
    suite(
        BRIDGE
        + """
@pytest.mark.podnet_versions()
def test_result(cni, make_pod, cni_version):
    assert cni_version == "1.0.0"
""",
        "--cni-versions=1.0.0",
        passed=1,
    )


def test_a_missing_feature_is_a_skip_that_says_so_and_an_error_where_it_must_not_be(suite):
    text = """
import pytest

@pytest.mark.podnet_requires("veth", "bridge", "tbf")
def test_there(): pass

@pytest.mark.podnet_requires("batadv", "bareudp", "ovs-vsctl")
def test_missing(): pass
"""

    suite(text, passed=1, skipped=1).stdout.fnmatch_lines(["*this kernel has no batadv*"])
    suite(text, "--podnet-strict", passed=1, errors=1).stdout.fnmatch_lines(["*no batadv*strict*"])


def test_a_feature_or_fault_that_nobody_knows_stops_the_run(suite):
    for marker in ('podnet_requires("macvaln")', 'podnet_fault("bridge:ADD:kil")'):
        result = suite(f"import pytest\n@pytest.mark.{marker}\ndef test_it(cni): pass\n")

        assert result.ret == 4, result.stdout.str()
        result.stderr.fnmatch_lines(["*test_suite.py::test_it: there is no *"])


@pytest.mark.parametrize(
    "marker",
    [
        'podnet_leakcheck(allowed="file *")',
        "podnet_leakcheck(strct=True)",
        "podnet_leakcheck(True)",
        'podnet_versions("1.0")',
        'podnet_fault("reboot")',
    ],
)
def test_a_marker_that_would_ask_nothing_stops_the_run(suite, marker):
    text = f"import pytest\n@pytest.mark.{marker}\ndef test_it(cni): pass\n"
    result = suite(text)

    assert result.ret == 4, result.stdout.str()
    assert "test_suite.py::test_it" in result.stderr.str()


def test_a_fault_that_happens_to_nobody_stops_the_run(suite):
    result = suite("import pytest\n@pytest.mark.podnet_fault('bridge:hang')\ndef test_it(): pass\n")

    assert result.ret == 4, result.stdout.str()
    result.stderr.fnmatch_lines(["*test_it: podnet_fault bridge:hang: nobody calls a plugin"])


@pytest.mark.parametrize("option", ["--cni-bin-dir=nowhere", "--cni-versions=9.9"])
def test_an_option_that_would_be_passed_over_stops_the_run(suite, option):
    result = suite("def test_it(): pass\n", option)

    assert result.ret == 4, result.stdout.str()
    assert option.partition("=")[2] in result.stderr.str()


def test_what_is_left_on_the_node_fails_the_test(suite):
    result = suite(
        BRIDGE
        + """
@pytest.mark.podnet_leakcheck
def test_leaky(cni, make_pod, podnet_node):
    bridge, pod = cni("bridge", CONFIG), make_pod()
    bridge.add(pod)
    bridge.remove(pod)
""",
        passed=1,
        errors=1,
    )

    result.stdout.fnmatch_lines(["*this is left on the Node:*", "*file /var/lib/cni*10.9.0.2*"])


def test_workers_share_nothing(suite):
    text = BRIDGE + (
        "@pytest.mark.parametrize('number', range(20))\n"
        "def test_one(cni, make_pod, number):\n"
        "    pod = make_pod()\n"
        "    assert str(cni('bridge', CONFIG).add(pod).result.ips[0].address.ip) == '10.9.0.2'\n"
    )

    suite(text, "-n", "2", "-p", "no:randomly", passed=20)


def test_a_library_that_hides_a_program_which_plugins_call_is_told_of(monkeypatch):
    assert pytest_report_header() == []

    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")

    assert "nsenter in PATH is" in pytest_report_header()[0]


def test_what_podnet_refuses_is_shown_where_the_author_asked_for_it():
    def ask():
        places.require_directories("--cni-bin-dir", ["/nowhere"])

    with pytest.raises(UsageError) as refused:
        namespaces.in_thread(ask)

    hide_refusal(refused.value)

    assert refused.traceback[-1].name == "ask"
