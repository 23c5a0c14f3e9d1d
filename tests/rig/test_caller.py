"""The caller: what plugins are sent, as a runtime sends it and as none does; what it makes of answers."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from podnet.answer import PluginError
from podnet.cni.config import Network
from podnet.cni.errors import CniError, IncompatibleVersionError
from podnet.errors import UsageError
from podnet.execute import ProcessExecutor
from podnet.node import Node
from podnet.rig.caller import Caller, Twist, of_plugin, without_cni
from podnet.testing import calls, stub_plugin

ANSWER = {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0"}]}


def caller(node: Node, directory: Path, *types: str, host_variables: dict[str, str] | None = None):
    chain = {"cniVersion": "1.1.0", "name": "demo", "plugins": [{"type": t} for t in types]}
    environment = without_cni() | (host_variables or {})
    executor = ProcessExecutor(path=(str(directory),), environment=environment)
    return Caller(node=node, network=Network.from_wire(chain), executor=executor)


def test_what_add_returned_is_the_prev_result_of_check_and_del(node: Node, tmp_path: Path) -> None:
    for name in ("first", "second"):
        stub_plugin(tmp_path, name, stdout=ANSWER)
    cni = caller(node, tmp_path, "first", "second")
    pod = cni.pod("web")
    assert cni.add(pod).result.to_wire() == ANSWER
    assert cni.check(pod).ok
    assert cni.delete(pod).ok
    assert cni.delete(pod, known=False).ok
    sent = [stdin.get("prevResult") for _, stdin in calls(tmp_path, "first")]  # type: ignore[attr-defined]
    assert sent == [None, ANSWER, ANSWER, None]
    verbs = [(str(o.invocation.verb), o.invocation.plugin) for o in cni.outcomes]
    assert verbs[:4] == [
        ("ADD", "first"),
        ("ADD", "second"),
        ("CHECK", "first"),
        ("CHECK", "second"),
    ]
    assert verbs[4:6] == [("DEL", "second"), ("DEL", "first")]


def test_a_pod_s_name_leads_nowhere_else(node: Node, tmp_path: Path) -> None:
    with pytest.raises(CniError, match="invalid characters in containerID"):
        caller(node, tmp_path, "first").pod("../../podnet-x")


def test_gc_status_and_version_reach_the_plugin(node: Node, tmp_path: Path) -> None:
    spoken = {"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}
    stub_plugin(tmp_path, "one", stdout=spoken)
    cni = caller(node, tmp_path, "one")
    pod = cni.pod("web")
    assert cni.gc([pod]).ok
    assert cni.status().ok
    assert cni.version().versions.supported == ("1.0.0", "1.1.0")
    (gc, request), (status, _), (version, _) = calls(tmp_path, "one")
    assert [e["CNI_COMMAND"] for e in (gc, status, version)] == ["GC", "STATUS", "VERSION"]
    listed = [{"containerID": "web", "ifname": "eth0"}]
    assert request["cni.dev/valid-attachments"] == listed  # type: ignore[index]


@pytest.mark.parametrize("verb", ["gc", "status"])
def test_a_verb_that_a_version_has_not_is_no_success(node: Node, tmp_path: Path, verb: str) -> None:
    stub_plugin(tmp_path, "one", stdout=ANSWER)
    with pytest.raises(IncompatibleVersionError, match=f"no {verb.upper()} in 1.0.0"):
        getattr(caller(node, tmp_path, "one").at_version("1.0.0"), verb)()


def test_an_answer_of_nobody_is_no_success(node: Node, tmp_path: Path) -> None:
    stub_plugin(tmp_path, "one", stdout=ANSWER)
    cni = caller(node, tmp_path, "one")
    answer = replace(cni, network=replace(cni.network, disable_gc=True)).gc()
    assert not answer.ok
    with pytest.raises(UsageError, match="no plugin was asked"):
        answer.require()


def test_a_twist_sends_what_no_runtime_sends(node: Node, tmp_path: Path) -> None:
    stub_plugin(tmp_path, "one", stdout=ANSWER, script="pwd > $(dirname $0)/cwd")
    cni = caller(node, tmp_path, "one", host_variables={"COLOUR": "red"})
    pod = cni.pod("web")
    where = tmp_path / "elsewhere"
    where.mkdir()
    cni.add(
        pod,
        Twist(
            config={"cniVersion": "9.9.9"},
            without_config=("name",),
            environment={"CNI_IFNAME": "no/name"},
            without=("CNI_NETNS", "COLOUR"),
            cwd=where,
        ),
    )
    [(environment, request)] = calls(tmp_path, "one")
    assert request == {"cniVersion": "9.9.9", "type": "one"}
    assert environment["CNI_IFNAME"] == "no/name"
    assert not {"CNI_NETNS", "COLOUR"} & set(environment)
    assert (tmp_path / "cwd").read_text().strip() == str(where)
    cni.version(twist=Twist(inherited={"PATH": "/usr/bin:/bin"}))
    assert "COLOUR" not in calls(tmp_path, "one")[1][0]
    assert node.run(Path.cwd) != where


def test_any_bytes_can_be_sent(node: Node, tmp_path: Path) -> None:
    stub_plugin(tmp_path, "one", stdout=ANSWER)
    cni = caller(node, tmp_path, "one")
    answer = cni.add(cni.pod("web"), Twist(stdin=b"{broken\xff"))
    assert (tmp_path / "one.calls" / "0.stdin").read_bytes() == b"{broken\xff"
    assert answer.transcript[0]["stdin"] == "{broken\\xff"


def test_a_failure_stops_the_chain_and_tells_itself(node: Node, tmp_path: Path) -> None:
    said = {"cniVersion": "1.1.0", "code": 11, "msg": "busy"}
    stub_plugin(tmp_path, "first", stdout=said, status=1, stderr="a log line")
    stub_plugin(tmp_path, "second", stdout=ANSWER)
    cni = caller(node, tmp_path, "first", "second")
    pod = cni.pod("web")
    answer = cni.add(pod)
    assert (answer.ok, answer.exit_status, answer.stderr) == (False, 1, b"a log line")
    assert answer.error is not None
    assert (answer.error.code, answer.error.msg) == (11, "busy")
    assert answer.document == said
    with pytest.raises(PluginError):
        _ = answer.result
    with pytest.raises(KeyError):
        cni.check(pod)
    assert not calls(tmp_path, "second")


def test_success_without_a_result_stops_the_chain(node: Node, tmp_path: Path) -> None:
    stub_plugin(tmp_path, "first", stdout="nothing that is JSON")
    stub_plugin(tmp_path, "second", stdout=ANSWER)
    cni = caller(node, tmp_path, "first", "second")
    answer = cni.add(cni.pod("web"))
    assert answer.ok
    with pytest.raises(PluginError):
        _ = answer.result
    assert len(answer.outcomes) == 1


def test_a_slow_plugin_is_killed_when_its_time_is_up(node: Node, tmp_path: Path) -> None:
    stub_plugin(tmp_path, "one", stdout=ANSWER, script="sleep 60")
    cni = caller(node, tmp_path, "one")
    answer = cni.add(cni.pod("web"), Twist(timeout=0.2))
    assert answer.last.timed_out
    assert answer.last.signal == 9
    assert answer.error is not None


def test_a_real_plugin_makes_what_it_says(node: Node, debian_plugins: str) -> None:
    ipam = {"type": "static", "addresses": [{"address": "10.1.0.2/24"}]}
    network = of_plugin("bridge", {"bridge": "br0", "ipam": ipam}, cni_version="1.0.0")
    cni = Caller(
        node=node,
        network=network,
        executor=ProcessExecutor(path=(debian_plugins,), environment=without_cni()),
    )
    pod = cni.pod("web")
    assert [str(ip.address) for ip in cni.add(pod).result.ips] == ["10.1.0.2/24"]
    shown = node.run(
        subprocess.run, ["ip", "-j", "-n", "web", "addr", "show", "eth0"], capture_output=True
    )
    assert json.loads(shown.stdout)[0]["addr_info"][0]["local"] == "10.1.0.2"
    older = cni.at_version("0.3.1")
    assert older.add(older.pod("db")).last.invocation.stdin["cniVersion"] == "0.3.1"
    assert cni.delete(pod).ok
    cni.remove(pod)
    assert not node.run(Path(pod.netns).exists)
