"""A plugin that has another one do the work, as flannel has bridge: every verb, any configuration."""

import sys
from pathlib import Path
from typing import Any

import pytest

import podnet
import podnet_plugins
from podnet.testing import calls, stub_plugin

VERBS = ["ADD", "CHECK", "DEL", "GC", "STATUS"]
NOBODY: dict[str, list[object]] = {"cni.dev/valid-attachments": []}
ROOTS = [str(Path(str(module.__file__)).parents[1]) for module in (podnet, podnet_plugins)]
OURS = str(Path(str(podnet_plugins.__file__)).parent / "bin")
RESULT = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/x"}], "dns": {}}
POOL = {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]]}
# What it delegates to is in its own configuration, where a real one computes it.
WRAPPER = """
from podnet_plugins import delegate
from podnet_plugins.skel import Plugin, run

def add(call): return delegate.add(call, call.config.get("delegate"))
def check(call): delegate.check(call, call.config.get("delegate"))
def delete(call): delegate.delete(call, call.config.get("delegate"))
def gc(call): delegate.gc(call, call.config.get("delegate"))
def status(call): delegate.status(call, call.config.get("delegate"))

run(Plugin("wrapper", add, check, delete, gc, status))
"""


@pytest.fixture
def wrapper(tmp_path: Path) -> Path:
    """A directory with a plugin in it that delegates everything."""
    plugin = tmp_path / "wrapper"
    plugin.write_text(f"#!{sys.executable}\nimport sys; sys.path[0:0] = {ROOTS}\n{WRAPPER}")
    plugin.chmod(0o755)
    return tmp_path


def _call(host: Any, directory: Path, verb: str, delegate: object, **more: object) -> Any:
    config = {"type": "wrapper", "delegate": delegate} | more
    path = {"CNI_PATH": f"{directory}:{OURS}"}
    return host.call(verb, config, directory=directory, **path)


def test_a_delegate_is_asked_with_its_own_configuration_on_every_verb(host, wrapper):
    host.container("c1")
    stub_plugin(wrapper, "other", stdout=RESULT)
    said = {
        "runtimeConfig": {"mac": "02:00:00:00:00:01"},
        "prevResult": {"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.9/24"}]},
        "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}],
    }

    for verb in VERBS:
        answer = _call(host, wrapper, verb, {"type": "other", "bridge": "cni9"}, **said)
        expected = {"cniVersion": "1.1.0", "interfaces": RESULT["interfaces"]}
        assert answer.result == (expected if verb == "ADD" else {})

    asked = calls(wrapper, "other")
    assert [environment["CNI_COMMAND"] for environment, _ in asked] == VERBS
    for environment, config in asked:
        assert environment["CNI_CONTAINERID"] == "c1"
        assert environment["CNI_NETNS"] == "/run/netns/c1"
        assert environment["CNI_PATH"] == f"{wrapper}:{OURS}"
        own = {"cniVersion": "1.1.0", "name": "demo", "type": "other", "bridge": "cni9"}
        assert config == own | said


def test_a_delegate_of_podnets_own_does_the_work(host, wrapper):
    host.container("c1")
    before = host.state()
    delegate = {"type": "ptp", "mtu": 1400, "ipam": POOL}

    assert _call(host, wrapper, "STATUS", delegate).result == {}
    result = _call(host, wrapper, "ADD", delegate).result
    assert host.addresses("eth0", netns="/run/netns/c1") == {"10.1.0.2/24"}
    assert host.ip("link show eth0", netns="/run/netns/c1")[0]["mtu"] == 1400
    assert _call(host, wrapper, "CHECK", delegate, prevResult=result).result == {}
    host.sh("ip addr flush dev eth0", netns="/run/netns/c1")
    assert _call(host, wrapper, "CHECK", delegate, prevResult=result).status == 1
    assert _call(host, wrapper, "GC", delegate, **NOBODY).result == {}

    assert host.leases() == {}
    assert _call(host, wrapper, "DEL", delegate).result == {}
    assert host.state() == before


def test_a_delegates_error_is_passed_on_with_its_code(host, wrapper):
    host.container("c1")
    refusal = {"code": 117, "msg": "not today", "details": "ask again"}
    stub_plugin(wrapper, "other", stdout=refusal, status=1)

    for verb in VERBS:
        answer = _call(host, wrapper, verb, {"type": "other"}, **NOBODY)
        assert answer.error == refusal


def test_a_delegate_that_is_older_than_gc_and_status_has_no_say_in_them(host, wrapper):
    for verb in ("GC", "STATUS"):
        refusal = {"code": 4, "msg": f"unknown CNI_COMMAND: {verb}"}
        stub_plugin(wrapper, "other", stdout=refusal, status=1)
        assert _call(host, wrapper, verb, {"type": "other"}, **NOBODY).result == {}


@pytest.mark.parametrize(
    ("delegate", "message"),
    [
        ({}, "no plugin name provided"),
        ({"type": "../sh"}, "invalid plugin name: '../sh'"),
        ({"type": "lost"}, 'failed to find plugin "lost" in path ['),
        ({"type": "ptp", "ipam": POOL, "mtu": "x"}, 'mtu must be a whole number, not "x"'),
    ],
)
def test_a_delegate_that_cannot_be_run_is_an_error(host, wrapper, delegate, message):
    host.container("c1")

    assert _call(host, wrapper, "ADD", delegate).error["msg"].startswith(message)


def test_the_configuration_may_overrule_what_the_runtime_said(host, wrapper):
    stub_plugin(wrapper, "other")
    older = {"type": "other", "cniVersion": "0.4.0", "name": "cbr0"}

    _call(host, wrapper, "DEL", older)

    [(_, config)] = calls(wrapper, "other")
    assert config == older
