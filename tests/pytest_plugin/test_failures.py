"""What an author sees and gets of a test that fails: the story, the files, the way in."""

import json
import os
import re
import subprocess
import time
from pathlib import Path

from podnet.kernel import users

FAILING = """
CONFIG = {"bridge": "br0", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/24"}]]}}

def test_wrong(cni, make_pod, podnet_node):
    bridge, pod = cni("bridge", CONFIG), make_pod()
    bridge.add(pod).require()
    assert bridge.check(pod).exit_status == 1
"""
PASSING = FAILING.replace("exit_status == 1", "exit_status == 0")


def test_a_failed_assertion_shows_what_was_asked_said_and_what_is_on_the_node(suite):
    result = suite(FAILING, failed=1)

    result.stdout.fnmatch_lines(
        [
            "*podnet: what was called*",
            "ADD bridge (1 of 1): exit status 0*",
            "*CNI_COMMAND=ADD*CNI_IFNAME=eth0*/bridge",
            "*stdin:*",
            '*"bridge": "br0"*',
            "*stdout:*",
            '*"address":"10.9.0.2/24"*',
            "CHECK bridge (1 of 1): exit status 0*",
            "*podnet: Node test, next to an empty one*",
            "+ file /var/lib/cni/networks/demo/10.9.0.2*",
            "+ link br0 kind=bridge*",
        ]
    )


def test_a_test_that_passes_tells_nothing_unless_asked_and_then_what_each_call_changed(suite):
    assert "what was called" not in suite(PASSING, passed=1).stdout.str()

    explained = suite(PASSING, "--podnet-explain", passed=1)

    explained.stdout.fnmatch_lines(
        ["*test_wrong: podnet: what was called*", "ADD bridge*", "    + link br0 kind=bridge*"]
    )


def test_calls_in_another_version_are_explained_too(suite):
    marked = PASSING.replace("def test", '@pytest.mark.podnet_versions("1.0.0")\ndef test')

    explained = suite(f"import pytest\n{marked}", "--podnet-explain", passed=1)

    explained.stdout.fnmatch_lines(["*podnet: what was called*", "    + link br0 kind=bridge*"])


def test_artifacts_of_a_test_that_failed_are_in_a_directory_of_its_own(suite, pytester):
    pinged = FAILING.replace(
        "    assert", "    assert reaches(podnet_node, pod, ip_address('10.9.0.2'))\n    assert"
    )
    imports = "from ipaddress import ip_address\nfrom podnet.testing import reaches\n"
    suite(imports + pinged + PASSING.replace("wrong", "right"), *_ARTIFACTS, failed=1, passed=1)

    (directory,) = (pytester.path / "out").iterdir()
    assert directory.name.startswith("test_suite.py-test_wrong-call-")
    assert {path.name for path in directory.iterdir()} == {
        *("failure.txt", "transcript.jsonl", "test.mmd", "test.pcapng", "test.state.txt")
    }
    lines = (directory / "transcript.jsonl").read_text().splitlines()
    assert [json.loads(line)["verb"] for line in lines] == ["ADD", "CHECK"]
    assert "+ link br0" in (directory / "test.state.txt").read_text()
    assert re.search(r"l\d+ === l\d+", (directory / "test.mmd").read_text())
    assert (directory / "test.pcapng").read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"


_ARTIFACTS = ("--podnet-artifacts=out", "--podnet-pcap")


def test_a_plugin_that_says_what_utf_8_has_not_ends_no_run(suite, pytester):
    told = r'{"code": 100, "msg": "a \ud800 b"}'
    suite(
        f"""
def test_it(cni, make_pod, stub_plugin):
    stub_plugin("stub", stdout=r'{told}', status=1)
    answer = cni("stub").add(make_pod())
    assert answer.ok, answer.error.msg

def test_another():
    pass
""",
        *_ARTIFACTS,
        failed=1,
        passed=1,
    )

    (directory,) = (pytester.path / "out").iterdir()
    assert r"a \ud800 b" in (directory / "failure.txt").read_text()


def test_artifacts_that_cannot_be_written_are_no_other_failure(suite, pytester):
    (pytester.path / "out").touch()

    result = suite("def test_it(cni):\n    assert not cni", *_ARTIFACTS, failed=1)

    result.stdout.fnmatch_lines(["they cannot all be written to out/*: *"])


def test_a_node_of_a_test_that_failed_can_be_kept_and_entered(suite):
    printed = suite(FAILING, "--podnet-keep", failed=1).stdout.str()

    entering = re.search(r"enter it: (\S*nsenter .*)", printed)
    ending = re.search(r"end it:   kill (\d+)", printed)
    assert entering
    assert ending
    try:
        command = [*entering[1].split(), "ip", "-br", "link"]
        if not users.is_root():  # who reads it is outside of the user namespace; we are inside
            command.remove("--user")
            command.remove("--preserve-credentials")
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        assert "br0" in said.stdout
    finally:
        os.kill(int(ending[1]), 9)
    _await_end(int(ending[1]))


def _await_end(pid: int) -> None:
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_leak_is_told_of_as_any_failure_with_the_node_as_it_was(suite, pytester):
    result = suite(
        """
import pytest

@pytest.mark.podnet_leakcheck(strict=True)
def test_it(cni, make_pod, leakcheck):
    cni("loopback").add(make_pod(ifname="lo"))
    leakcheck.node.run(open, "/var/lib/litter", "w").close()
""",
        *_ARTIFACTS,
        "--podnet-keep",
        passed=1,
        errors=1,
    )

    kept = re.search(r"end it:   kill (\d+)", result.stdout.str())
    assert kept
    os.kill(int(kept[1]), 9)
    _await_end(int(kept[1]))
    result.stdout.fnmatch_lines(["*this is left on the Node*", "ADD loopback (1 of 1): exit*"])
    result.stdout.fnmatch_lines(["+ file /var/lib/litter*"])
    (directory,) = (pytester.path / "out").iterdir()
    assert {path.name for path in directory.iterdir()} == {
        *("failure.txt", "transcript.jsonl", "test.mmd", "test.pcapng", "test.state.txt")
    }
