"""A recording, run again: the same calls, and what is different."""

import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from podnet.cni.config import Network
from podnet.cni.errors import DecodeError
from podnet.errors import UsageError
from podnet.execute import ProcessExecutor
from podnet.node import Node
from podnet.rig import as_test, recording, shims
from podnet.rig.caller import Caller, without_cni
from podnet.rig.replay import compared, replay
from podnet.rig.shims import Task
from podnet.testing import calls as asked_of
from podnet.testing import stub_plugin

pytestmark = pytest.mark.root

BRIDGE = {
    "type": "bridge",
    "bridge": "br0",
    "ipam": {"type": "host-local", "subnet": "10.9.0.0/24"},
}
RESULT = {"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.2/24"}]}


@pytest.fixture
def recorded(tmp_path):
    """Record the life of a pod on a chain, in a Node that is gone then."""

    def life(path: str, *plugins: dict[str, object], verbs: str = "add check delete"):
        shims.mirror(tmp_path / "shims", [path], Task(record=tmp_path / "calls"))
        conflist = {"cniVersion": "1.0.0", "name": "net", "plugins": plugins}
        network = Network.from_conflist(json.dumps(conflist).encode())
        executor = ProcessExecutor(path=(str(tmp_path / "shims"),), environment=without_cni())
        with Node.in_memory("then") as node:
            caller = Caller(node=node, network=network, executor=executor)
            pod = caller.pod()
            for verb in verbs.split():
                getattr(caller, verb)(pod)
        return recording.read(tmp_path / "calls")

    return life


def test_the_same_plugins_do_the_same_again(recorded, node, debian_plugins):
    read = recorded(debian_plugins, BRIDGE, {"type": "tuning", "mtu": 1400})
    made = replay(read, node, [debian_plugins], look=True)

    assert [(one.call.verb, one.call.plugin) for one in made] == [
        ("ADD", "bridge"),
        ("ADD", "tuning"),
        ("CHECK", "bridge"),
        ("CHECK", "tuning"),
        ("DEL", "tuning"),
        ("DEL", "bridge"),
    ]
    assert [one.differences for one in made if one.differences] == []
    assert any("link br0" in change for change in made[0].changes)
    with Node.in_memory("other") as other:
        again = replay(read, other, [debian_plugins], look=True)
    assert [one.differences for one in compared(made, again) if one.differences] == []


def test_another_version_is_told_by_what_it_says_and_does(recorded, node, debian_plugins, tmp_path):
    read = recorded(debian_plugins, BRIDGE, verbs="add delete")
    stub_plugin(
        tmp_path / "new",
        "bridge",
        stdout={"cniVersion": "1.0.0", "ips": [{"address": "10.8.0.2/24"}]},
        script="ip link add made type bridge",
    )
    made = replay(read, node, [str(tmp_path / "new")], look=True)
    with Node.in_memory("other") as other:
        add, delete = compared(made, replay(read, other, [debian_plugins], look=True))

    assert any(what.startswith("ips: ") and "10.8.0.0" in what for what in add.differences)
    assert any(what.startswith("only now: + link made") for what in add.differences)
    assert any(what.startswith("not now: + link br0") for what in add.differences)
    assert any(what.startswith("printed") or "cniVersion" in what for what in delete.differences)


def test_prev_result_and_namespaces_are_those_of_this_run(recorded, node, tmp_path):
    first = {**RESULT, "interfaces": [{"name": "eth0", "sandbox": "/run/netns/pod1"}]}
    stub_plugin(tmp_path / "old", "main", stdout=first)
    stub_plugin(tmp_path / "old", "meta", stdout=first)
    read = recorded(str(tmp_path / "old"), {"type": "main"}, {"type": "meta"}, verbs="add delete")
    new = {"cniVersion": "1.0.0", "ips": [{"address": "10.7.0.7/24"}]}
    for name in ("main", "meta"):
        stub_plugin(tmp_path / "new", name, stdout=new, script='[ "$(readlink $CNI_NETNS)" ] || :')

    replay(read, node, [str(tmp_path / "new")])

    for name in ("main", "meta"):
        *_, (environment, stdin) = asked_of(tmp_path / "new", name)
        assert environment["CNI_NETNS"] == "/run/netns/pod1"
        assert environment["CNI_PATH"] == str(tmp_path / "new")
        assert isinstance(stdin, dict)
        assert stdin["prevResult"]["ips"] == new["ips"]


def test_where_the_plugins_of_a_run_are_is_no_difference(recorded, node, tmp_path):
    said = """msg="$(dirname "$0") $1in path [$(echo "$CNI_PATH" | tr : ' ')], $CNI_PATH"
printf '{"code": 7, "msg": "%s"}' "$msg"; exit 1"""
    for directory in ("old", "new", "other"):
        stub_plugin(tmp_path / directory, "main", script=said)
    read = recorded(str(tmp_path / "old"), {"type": "main"}, verbs="add")
    stub_plugin(tmp_path / "other", "main", script=f"set -- not\n{said}")

    [same] = replay(read, node, [str(tmp_path / "new"), "/usr/lib/cni"])
    with Node.in_memory("other") as other:
        [different] = replay(read, other, [str(tmp_path / "other")])

    assert same.differences == ()
    assert 'now "<plugins> notin path' in different.differences[0]


def test_a_namespace_of_a_process_is_one_of_its_own(recorded, node, tmp_path):
    stub_plugin(tmp_path / "old", "main", stdout=RESULT)
    recorded(str(tmp_path / "old"), {"type": "main"}, verbs="add")
    text = (tmp_path / "calls").read_text().replace("/run/netns/pod1", "/proc/4711/ns/net")
    (tmp_path / "calls").write_text(text)
    stub_plugin(tmp_path / "new", "main", stdout=RESULT, script='ls "$CNI_NETNS" >&2 || exit 5')

    [add] = replay(recording.read(tmp_path / "calls"), node, [str(tmp_path / "new")])

    assert (add.succeeded, add.differences) == (True, ())
    assert add.outcome
    assert add.outcome.stderr == b"/run/netns/replayed-1\n"


def test_a_plugin_that_is_no_more_is_a_difference(recorded, node, tmp_path):
    stub_plugin(tmp_path / "old", "main", stdout=RESULT)
    read = recorded(str(tmp_path / "old"), {"type": "main"}, verbs="add")
    (tmp_path / "new").mkdir()
    [add] = replay(read, node, [str(tmp_path / "new")])
    assert not add.succeeded
    assert 'failed to find plugin "main"' in add.differences[0]


def test_a_recorded_failure_is_a_test_that_fails_until_the_plugin_is_mended(
    recorded, tmp_path, monkeypatch
):
    home = tmp_path / "home"
    plugins = home / "plugins"
    stub_plugin(plugins, "main", stdout=RESULT, script="[ $CNI_COMMAND = ADD ] || exec printf bad")
    stub_plugin(plugins, "main", stdout=RESULT)
    broken = {"code": 100, "msg": "cannot find it"}
    stub_plugin(plugins, "meta", stdout=broken, status=1)
    read = recorded(str(plugins), {"type": "main"}, {"type": "meta"}, verbs="add")
    about = as_test.failure(read, None)
    assert (about.verb, about.plugin) == ("ADD", "meta")

    monkeypatch.chdir(tmp_path)
    (home / "tests").mkdir()
    as_test.write(home / "tests" / "test_meta.py", read, about, [str(plugins)])
    plugins = home.rename(tmp_path / "of somebody else") / "plugins"
    path = plugins.parent / "tests" / "test_meta.py"
    assert "def test_add_of_meta_succeeds(podnet_node):" in path.read_text()
    failed = _pytest(path)
    assert failed.returncode == 1
    assert "ADD meta: exit 1: " in failed.stdout
    assert "cannot find it" in failed.stdout

    stub_plugin(plugins, "meta", stdout=RESULT)
    assert _pytest(path).returncode == 0


def _pytest(path: Path) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path.name],
        cwd=path.parent, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


def test_what_can_be_no_test_says_why(recorded, tmp_path):
    stub_plugin(tmp_path / "old", "main", stdout=RESULT)
    read = recorded(str(tmp_path / "old"), {"type": "main"}, verbs="add")
    with pytest.raises(UsageError, match="no recorded call failed"):
        as_test.failure(read, None)
    with pytest.raises(UsageError, match="call 1 did not fail: exit 0"):
        as_test.failure(read, 1)
    with pytest.raises(UsageError, match="no call 7"):
        as_test.failure(read, 7)
    with pytest.raises(UsageError, match="called test_"):
        as_test.write(tmp_path / "x.py", read, read.calls[0], [])


def _call(plugin: str, verb: str, number: int = 1):
    said = {"recording": recording.FORMAT, "time": number, "plugin": plugin, "verb": verb}
    return recording.Recorded.from_wire(
        said | {"exit_status": 1, "stdout": "\u2028\0\x1b]0;", "duration_ms": 1e300}
    )


@pytest.mark.parametrize("plugin", ["my.plugin", '"""\nimport os\n"""', "a b\u2028c", "1-2"])
def test_what_a_recording_says_is_no_part_of_the_program(tmp_path, plugin):
    read = recording.Recording(calls=(_call(plugin, "ADD"),), lines=(b"{}",))
    path = tmp_path / "test_it's.py"
    as_test.write(path, read, as_test.failure(read, None), ["/x"])

    module = ast.parse(path.read_text())
    names = [one.name for one in module.body if isinstance(one, ast.FunctionDef)]
    assert len(names) == 1
    assert len(module.body) == 8  # docstring, three imports, three constants, one test

    with pytest.raises(UsageError, match="is there already"):
        as_test.write(path, read, read.calls[0], ["/x"])


def test_a_call_that_cannot_be_made_again_is_no_test():
    calls = (_call("main", "ADD"), _call("main", "FOO", 2), _call("../main", "ADD", 3))
    read = recording.Recording(calls=calls)
    with pytest.raises(UsageError, match="cannot be made again"):
        as_test.failure(read, 2)
    with pytest.raises(UsageError, match="names no plugin"):
        as_test.failure(read, None)


def test_what_a_fault_let_fail_is_no_failure_of_the_plugin():
    read = recording.Recording(calls=(replace(_call("main", "ADD"), fault="kill"),))
    with pytest.raises(UsageError, match="by the fault kill"):
        as_test.failure(read, 1)
    with pytest.raises(UsageError, match="no recorded call failed"):
        as_test.failure(read, None)


def test_nothing_to_make_again_is_said(tmp_path, node):
    with pytest.raises(UsageError, match="no call that could be made"):
        replay(recording.Recording(calls=()), node, [])


@pytest.mark.parametrize("name", ["A=B", "", "A\0B", "\udfff"])
def test_what_cannot_be_in_an_environment_is_no_call(name):
    with pytest.raises(DecodeError, match="there can be no variable"):
        recording.Recorded.from_wire({"recording": recording.FORMAT, "environment": {name: "1"}})


@pytest.mark.parametrize(
    "paths",
    [
        ("/run/netns/x", "/var/run/netns/x"),
        ("/run/netns/..", "/run/netns/" + "x" * 300),
        ("/elsewhere/x", "/proc/7/ns/net"),
    ],
    ids=["two spellings", "impossible names", "other places"],
)
def test_any_path_of_a_namespace_is_stood_in_for(node, tmp_path, paths):
    stub_plugin(tmp_path / "new", "any")
    calls = [
        recording.Recorded.from_wire(
            {
                "recording": recording.FORMAT,
                "plugin": "any",
                "verb": "DEL",
                "environment": {"CNI_COMMAND": "DEL", "CNI_NETNS": path, "CNI_CONTAINERID": "c"},
                "stdin": "{}",
                "exit_status": 0,
            }
        )
        for path in paths
    ]

    replay(recording.Recording(calls=tuple(calls)), node, [str(tmp_path / "new")])

    for environment, _ in asked_of(tmp_path / "new", "any"):
        assert node.run(Path(environment["CNI_NETNS"]).exists)
