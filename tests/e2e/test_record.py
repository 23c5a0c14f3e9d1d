"""`podnet record`, `--record` and `--fault`: what a person does, and what comes of it."""

import os
import stat
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

NET = {
    "type": "bridge",
    "bridge": "br0",
    "isGateway": True,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/24"}]]},
}


def test_podnet_records_its_own_calls_and_its_pods_know_nothing_of_it(podnet, conflist, tmp_path):
    conflist("net", NET)
    calls = tmp_path / "calls.jsonl"
    podnet("create", "web", "--record", calls)
    podnet("delete", "web")

    shown = podnet.json("record", "show", calls)["items"]
    assert [(c["verb"], c["plugin"], c["delegated"]) for c in shown] == [
        ("ADD", "bridge", False),
        ("ADD", "host-local", True),
    ]
    assert stat.S_IMODE(calls.stat().st_mode) == 0o600
    [add, delete] = podnet.json("trace", "web")["items"]
    assert add["environment"]["CNI_PATH"] == delete["environment"]["CNI_PATH"]


def test_record_run_exits_as_its_command_does(podnet, tmp_path):
    podnet("record", "run", tmp_path / "calls", "--", "sh", "-c", "exit 9", status=9)
    podnet("record", "run", tmp_path / "calls", "--", "no-such-command", status=127)
    path = f"/{'x' * 300}:{os.environ['PATH']}"  # where nobody may look
    unseen = ("record", "run", tmp_path / "calls", "--", "no-such-command")
    assert "No such file" in podnet(*unseen, status=127, env={"PATH": path}).stderr
    missing = tmp_path / "nowhere" / "calls"
    assert "nowhere" in podnet("record", "run", missing, "--", "true", status=1).stderr


def test_a_podnet_inside_record_run_records_each_call_once(podnet, conflist, tmp_path):
    conflist("net", NET)
    command = (Path(sys.executable).parent / "podnet", "create", "web")
    podnet("record", "run", tmp_path / "calls", "--", *command)

    shown = podnet.json("record", "show", tmp_path / "calls")["items"]
    assert [(one["verb"], one["plugin"]) for one in shown].count(("ADD", "bridge")) == 1


def test_a_command_that_cannot_be_run_is_said_as_a_shell_says_it(podnet, tmp_path):
    refused = podnet("record", "run", str(tmp_path / "r"), "--", "/etc/passwd", status=126)
    missing = podnet("record", "run", str(tmp_path / "r"), "--", "/nowhere/x", status=127)

    assert refused.stderr.endswith("error: /etc/passwd cannot be run: Permission denied\n")
    assert missing.stderr.endswith("cannot be run: No such file or directory\n")


def test_a_recording_that_is_none_is_said_to_be(podnet, tmp_path):
    (tmp_path / "calls").write_text("no json\n")
    assert "is no recording" in podnet("record", "show", tmp_path / "calls", status=2).stderr
    assert "cannot read" in podnet("record", "show", tmp_path / "gone", status=2).stderr


def test_half_a_line_does_not_hide_the_others(podnet, conflist, tmp_path):
    conflist("net", NET)
    calls = tmp_path / "calls"
    podnet("create", "web", "--record", calls)
    calls.write_text(calls.read_text() + '{"recording": 1, "ti')
    shown = podnet("record", "show", calls)
    assert "calls:3: no call" in shown.stderr
    assert shown.stdout.count("ADD") == 2


def test_a_fault_of_one_plugin_on_one_verb_is_undone_like_any_failure(podnet, conflist, tmp_path):
    conflist("net", NET, {"type": "tuning"})
    done = podnet("create", "web", "--fault", "tuning:ADD:kill-after", status=3)
    assert "killed by signal 9" in done.stderr
    assert podnet("list").stdout == ""
    podnet("create", "web")
    podnet("delete", "web", "--fault", "tuning:DEL:error=11", status=3)
    podnet("delete", "web")


def test_a_plugin_that_is_missing_on_delete_keeps_the_pod_on_record(podnet, conflist):
    conflist("net", NET, {"type": "tuning"})
    podnet("create", "web")
    done = podnet("delete", "web", "--fault", "tuning:missing", status=2)
    assert 'failed to find plugin "tuning"' in done.stderr
    assert [pod["state"] for pod in podnet.json("list")["items"]] == ["failed"]
    podnet("delete", "web")


def test_an_ipam_that_hangs_is_ended_with_the_plugin_that_waits_for_it(podnet, conflist):
    conflist("net", NET)
    fault = ("--fault", "host-local:ADD:hang", "--timeout", "2")
    assert "timed out" in podnet("create", "web", *fault, status=124).stderr


def test_a_fault_that_makes_no_sense_is_a_usage_error(podnet, conflist):
    conflist("net", NET)
    done = podnet("create", "web", "--fault", "bridge:kil", status=2)
    assert "did you mean kill" in done.stderr
    done = podnet("create", "web", "--fault", "nobody:kill", status=2)
    assert "there is no plugin nobody" in done.stderr
    assert podnet.json("list")["items"] == []
    done = podnet("create", "web", "--fault", "disk-full", status=2)
    assert "would be one of this machine" in done.stderr


def test_a_fault_of_a_node_lasts_as_long_as_the_command(podnet, conflist):
    conflist("net", NET)
    podnet("node", "create", "lab")
    try:
        done = podnet("--node", "lab", "create", "web", "--fault", "disk-full=/var/lib", status=1)
        assert "No space left on device" in done.stderr
        podnet("--node", "lab", "create", "web", "--fault", "disk-full=/run/empty")
        done = podnet("--node", "lab", "create", "db", "--fault", "disk-full=/usr", status=2)
        assert "/usr is not the Node's own" in done.stderr
        podnet("--node", "lab", "delete", "web")
    finally:
        podnet("node", "delete", "lab")


def test_pods_that_are_made_at_once_are_all_recorded(podnet, conflist, tmp_path):
    conflist("net", {"type": "noop"})
    calls = tmp_path / "calls"
    podnet("create", *(f"p{n}" for n in range(6)), "--record", calls)
    podnet("delete", "--all", "--record", calls)
    recorded = podnet.json("record", "show", calls)["items"]
    assert sorted(call["verb"] for call in recorded) == ["ADD"] * 6 + ["DEL"] * 6


def test_a_recording_is_replayed_and_a_failure_becomes_a_test(podnet, conflist, tmp_path):
    conflist("net", {"type": "noop"}, {"type": "tuning"})
    calls = tmp_path / "calls"
    podnet("create", "web", "--record", calls, "--fault", "tuning:ADD:error=100", status=3)
    done = podnet("replay", calls, status=1)
    assert 'call 2: ended: "exit 1", now "exit 0"' in done.stdout
    assert "3 of 4 calls as they were" in done.stderr
    [_, add, *_] = podnet.json("replay", calls, status=1)["items"]
    assert (add["verb"], add["plugin"], add["then"], add["now"]) == (
        "ADD",
        "tuning",
        "exit 1",
        "exit 0",
    )
    done = podnet("replay", calls, "--as-test", tmp_path / "test_tuning.py", status=2)
    assert "no recorded call failed" in done.stderr

    text = calls.read_text().replace(', "fault": "error=100"', "")
    assert text != calls.read_text()
    calls.write_text(text)
    asked = ("replay", calls, "--as-test", tmp_path / "test_tuning.py")
    assert "--plugin-dir" in podnet(*asked, status=2).stderr
    done = podnet("--plugin-dir", tmp_path, *asked)
    assert f"passes when ADD of tuning in {tmp_path} succeeds" in done.stderr
    assert "def test_add_of_tuning_succeeds" in (tmp_path / "test_tuning.py").read_text()
