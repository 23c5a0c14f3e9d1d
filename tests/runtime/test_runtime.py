"""ADD, CHECK, DEL, GC, STATUS and VERSION over one network: order, data flow, and what fails."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from podnet import garbage
from podnet.answer import PluginDriftError, PluginError
from podnet.cache import Cache, CacheError
from podnet.cni.config import Network, PluginConfig
from podnet.cni.errors import CniError, IncompatibleVersionError
from podnet.cni.result import Result
from podnet.cni.versions import RELEASED
from podnet.errors import PodnetError, UsageError
from podnet.execute import Outcome, ProcessExecutor
from podnet.garbage import GcError
from podnet.kernel import namespaces
from podnet.plan import Attachment, Invocation
from podnet.runtime import RollbackError, Runtime
from podnet.testing import FakeExecutor, calls, stub_plugin

Plugin = Callable[[Invocation], Mapping[str, object] | None]
WEB = Attachment(
    container_id="c1",
    ifname="eth0",
    netns="/run/netns/web",
    args=(("IgnoreUnknown", "1"),),
    capability_args={"mac": "02::1"},
)


def result(address: str = "10.1.0.5/24", version: str = "1.1.0") -> dict[str, object]:
    """Return a result as a plugin prints it."""
    return {"cniVersion": version, "ips": [{"address": address}]}


def network(*types: str, **keys: object) -> Network:
    """Read a conflist of plugins of *types*, good but for *keys*."""
    plugins = [{"type": kind} for kind in types or ("bridge", "tuning", "portmap")]
    listed = {"cniVersion": "1.1.0", "name": "demo", "plugins": plugins} | keys
    return Network.from_conflist(json.dumps(listed).encode())


DEMO = network()


def fails_on(*verbs: str, code: int = 100, msg: str = "no") -> Plugin:
    """Return a plugin that says no to *verbs*, and a result to the others."""

    def plugin(step: Invocation) -> Mapping[str, object] | None:
        if step.verb in verbs:
            raise CniError(msg, code=code)
        return result()

    return plugin


def answers(said: Mapping[str, object] | None) -> Plugin:
    """Return a plugin that always says the same."""
    return lambda _: said


def speaks(*versions: str) -> Plugin:
    """Return a plugin that answers VERSION."""
    supported: dict[str, object] = {"cniVersion": "1.1.0", "supportedVersions": list(versions)}
    return lambda step: supported if step.verb == "VERSION" else result()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path / "cni")


@pytest.fixture
def run(cache: Cache) -> Callable[..., tuple[Runtime, FakeExecutor]]:
    """Make a runtime over plugins that are functions; those not named say a result."""

    def make(options: Mapping[str, Any] | None = None, **plugins: Plugin) -> Any:
        everyone = dict.fromkeys(("bridge", "tuning", "portmap"), answers(result())) | plugins
        executor = FakeExecutor(everyone)
        given: dict[str, Any] = {"check_netns": lambda _: None, "environment": {}}
        given |= options or {}
        return Runtime(executor=executor, cache=cache, **given), executor

    return make


def added(runtime: Runtime, executor: FakeExecutor, what: Network = DEMO) -> Result:
    """ADD the attachment, and forget that it was asked."""
    made = runtime.add(what, WEB)
    executor.calls.clear()
    return made


def prev_results(executor: FakeExecutor) -> list[object]:
    """Return the prevResult of every call, ``None`` where there is none."""
    return [call.stdin.get("prevResult") for call in executor.calls]


def refusal(verb: Callable[..., object], *args: object, **kwargs: object) -> CniError:
    """Return the error that *verb* raises."""
    with pytest.raises(CniError) as caught:
        verb(*args, **kwargs)
    return caught.value


def put(cache: Cache, content: object, name: str = "demo-c1-eth0") -> Path:
    """Write a file into the cache as somebody else would."""
    path = cache.directory / "results" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def libcni_entry(cache: Cache, container_id: str = "c9", **keys: object) -> Path:
    """Write an entry as another runtime would."""
    content = {
        "kind": "cniCacheV1",
        "containerId": container_id,
        "ifName": "eth0",
        "networkName": "demo",
        "result": result(),
    }
    return put(cache, content | keys, f"demo-{container_id}-eth0")


# --- ADD


def test_add_runs_the_chain_and_returns_the_last_result(run):
    """From libcni api_test: executes all plugins with command ADD and returns a result."""
    runtime, executor = run(portmap=answers(result("10.1.0.9/24")))

    made = runtime.add(DEMO, WEB)

    assert executor.order == [("ADD", "bridge"), ("ADD", "tuning"), ("ADD", "portmap")]
    assert made.to_wire() == result("10.1.0.9/24")


def test_on_add_every_plugin_gets_what_the_one_before_said(run):
    """From libcni api_test: an intermediate result is handed on (PASSTHROUGH, INJECT-DNS)."""
    runtime, executor = run(
        bridge=answers(result("10.1.0.1/24")), tuning=answers(result("10.1.0.2/24"))
    )

    runtime.add(DEMO, WEB)

    assert prev_results(executor) == [None, result("10.1.0.1/24"), result("10.1.0.2/24")]


@pytest.mark.parametrize("version", RELEASED)
def test_results_are_handed_on_in_every_version(run, version):
    spoken = {
        "cniVersion": version,
        "ip4": {"ip": "10.1.0.5/24"},
        "ips": [{"address": "10.1.0.5/24"}],
    }
    runtime, executor = run(bridge=answers(spoken), tuning=answers(spoken), portmap=answers(spoken))

    made = runtime.add(network(cniVersion=version), WEB)

    assert made.cni_version == version
    assert [p is None for p in prev_results(executor)] == [True, False, False]


def test_results_of_another_version_are_converted_between_plugins(run):
    """Trap 5: mixed-version chains break where nobody converts."""
    old = {"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.1.0.5/24"}], "dns": {}}
    runtime, executor = run(bridge=answers(old), portmap=answers(old))

    made = runtime.add(network(cniVersion="1.0.0"), WEB)

    assert prev_results(executor)[1] == result(version="1.0.0")
    assert made.to_wire() == result(version="1.0.0")


def test_a_result_without_a_version_has_the_networks(run):
    """From libcni backwards_compatibility_test: unversioned conf, 0.1.0 result."""
    runtime, _ = run(bridge=answers({"ip4": {"ip": "10.1.0.5/24"}}))

    made = runtime.add(network("bridge", cniVersion=""), WEB)

    assert made.to_wire() == {"cniVersion": "0.1.0", "ip4": {"ip": "10.1.0.5/24"}, "dns": {}}


def test_a_result_that_cannot_be_converted_is_the_plugins_failure(run, cache):
    runtime, executor = run(bridge=answers({"cniVersion": "1.0.0"}))

    with pytest.raises(PluginError, match=r"bridge \(1 of 1\).* no valid IP addresses"):
        runtime.add(network("bridge", cniVersion="0.2.0"), WEB)

    assert executor.order == [("ADD", "bridge"), ("DEL", "bridge")]


def test_add_caches_what_it_returned_and_was_given(run, cache):
    """From libcni api_test: correct cached result and config, attachments, args, caps."""
    runtime, _ = run()

    made = runtime.add(DEMO, WEB)

    (entry,) = cache.entries()
    assert (entry.network_name, entry.attachment, entry.result) == ("demo", WEB, made)
    assert entry.config == DEMO.source
    assert entry.path == ("/fake",)
    assert entry.by_podnet


@pytest.mark.parametrize(("stage", "tried"), [("bridge", 1), ("tuning", 2), ("portmap", 3)])
def test_a_failed_add_is_undone_by_a_del_of_the_whole_chain(run, cache, stage, tried):
    """From libcni api_test: a plugin errors, no cache files after; Trap 8."""
    runtime, executor = run(**{stage: fails_on("ADD", code=11, msg="later")})

    with pytest.raises(PluginError) as caught:
        runtime.add(DEMO, WEB)

    forward = [("ADD", "bridge"), ("ADD", "tuning"), ("ADD", "portmap")][:tried]
    back = [("DEL", "portmap"), ("DEL", "tuning"), ("DEL", "bridge")]
    assert executor.order == forward + back
    assert (caught.value.error.code, caught.value.error.msg) == (11, "later")
    last = result() if tried > 1 else None
    assert prev_results(executor)[tried:] == [last, last, last]
    assert list(cache.entries()) == []


def test_a_result_that_is_none_is_undone_too(run):
    """Trap 8: any failure, also of parsing."""
    runtime, executor = run(tuning=lambda step: None if step.verb == "ADD" else {})

    with pytest.raises(PluginError, match="its output is empty"):
        runtime.add(DEMO, WEB)

    assert executor.order[-1] == ("DEL", "bridge")


def test_an_interrupted_add_is_undone(run):
    def interrupted(step: Invocation) -> None:
        if step.verb == "ADD":
            raise KeyboardInterrupt

    runtime, executor = run(tuning=interrupted)

    with pytest.raises(KeyboardInterrupt):
        runtime.add(DEMO, WEB)

    assert executor.order[2:] == [("DEL", "portmap"), ("DEL", "tuning"), ("DEL", "bridge")]


def test_an_add_that_cannot_be_cached_is_undone(run, cache):
    """From libcni api_test: cache dir unwritable after the chain; Trap 8."""

    def sabotage(step: Invocation) -> Mapping[str, object]:
        if step.verb == "ADD":
            (cache.directory / "results" / "demo-c1-eth0").mkdir()
        else:
            (cache.directory / "results" / "demo-c1-eth0").rmdir()
        return result()

    runtime, executor = run(portmap=sabotage)

    with pytest.raises(PodnetError, match="cannot write"):
        runtime.add(DEMO, WEB)

    assert executor.order[3:] == [("DEL", "portmap"), ("DEL", "tuning"), ("DEL", "bridge")]


def test_an_undo_that_fails_tells_both_failures(run):
    """Trap 8: what DEL cannot undo is not forgotten."""
    runtime, executor = run(
        bridge=fails_on("DEL", msg="busy"), portmap=fails_on("ADD", msg="no ports")
    )

    with pytest.raises(RollbackError) as caught:
        runtime.add(DEMO, WEB)

    assert isinstance(caught.value.failure, PluginError)
    assert isinstance(caught.value.rollback, PluginError)
    assert "no ports" in caught.value.message
    assert "DEL, which was to undo it, failed too" in caught.value.message
    assert "busy" in caught.value.message
    assert executor.order[-1] == ("DEL", "bridge")


def test_a_second_add_is_refused_before_any_plugin_runs(run, cache):
    runtime, executor = run()
    added(runtime, executor)

    with pytest.raises(CacheError, match="already has eth0 on network demo"):
        runtime.add(DEMO, WEB)

    assert executor.order == []
    assert len(list(cache.entries())) == 1, "the first one's entry is as it was"


def test_after_a_delete_an_add_is_welcome(run):
    runtime, executor = run()
    added(runtime, executor)
    runtime.delete("demo", WEB)

    runtime.add(DEMO, WEB)


def test_two_interfaces_of_one_container_are_two_attachments(run, cache):
    """From libcni api_test: separate files per ifname."""
    runtime, executor = run()
    added(runtime, executor)

    runtime.add(DEMO, replace(WEB, ifname="eth1"))

    assert [e.attachment.ifname for e in cache.entries()] == ["eth0", "eth1"]


def test_a_missing_plugin_is_found_before_the_first_runs(run):
    """From libcni api_test: find fails on the 2nd plugin; here before the 1st ran."""
    runtime, executor = run()

    with pytest.raises(UsageError, match='failed to find plugin "nosuch" in path \\[/fake\\]'):
        runtime.add(network("bridge", "nosuch"), WEB)

    assert executor.order == []


def test_a_missing_ipam_plugin_is_found_before_the_first_runs(run):
    runtime, executor = run()
    plugin = PluginConfig.from_wire({"type": "bridge", "ipam": {"type": "nosuch-ipam"}})

    with pytest.raises(UsageError, match='failed to find plugin "nosuch-ipam"'):
        runtime.add(replace(DEMO, plugins=(plugin,)), WEB)

    assert executor.order == []


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"container_id": ""}, 3),
        ({"container_id": "some-*-id"}, 4),
        ({"ifname": ""}, 4),
        ({"ifname": "longer-than-15-x"}, 4),
        ({"ifname": "."}, 4),
        ({"ifname": ".."}, 4),
        ({"ifname": "test/test"}, 4),
        ({"ifname": "test:test"}, 4),
        ({"ifname": "test test"}, 4),
        ({"args": (("K", "a;b"),)}, 4),
    ],
)
def test_identifiers_are_checked_on_every_verb_before_anything_is_touched(run, cache, wrong, code):
    """From libcni api_test: invalid containerID, ifname (unwrapped codes); Trap 12."""
    runtime, executor = run()
    bad = replace(WEB, **wrong)

    assert refusal(runtime.add, DEMO, bad).code == code
    assert refusal(runtime.check, "demo", bad).code == code
    assert refusal(runtime.delete, "demo", bad, fallback=DEMO).code == code

    assert executor.order == []
    assert not cache.directory.exists()


def test_a_bad_network_name_is_code_7_on_every_verb(run):
    """From libcni api_test: invalid networkName {7}; Trap 12."""
    runtime, executor = run()

    assert refusal(runtime.add, replace(DEMO, name="../x"), WEB).code == 7
    assert refusal(runtime.check, "../x", WEB).code == 7
    assert refusal(runtime.delete, "../x", WEB, fallback=DEMO).code == 7

    assert executor.order == []


def test_names_too_long_for_a_file_are_refused_before_plugins_run(run):
    """Not covered upstream: >255 name; Trap 20."""
    runtime, executor = run()

    with pytest.raises(CacheError, match="too long"):
        runtime.add(DEMO, replace(WEB, container_id="c" * 250))

    assert executor.order == []


def test_a_file_in_place_of_the_cache_is_found_before_plugins_run(run, cache):
    """From libcni api_test: cache dir is a file."""
    cache.directory.write_text("")
    runtime, executor = run()

    with pytest.raises(PodnetError):
        runtime.add(DEMO, WEB)

    assert executor.order == []


def test_a_network_without_plugins_cannot_be_added(run):
    runtime, _ = run()

    with pytest.raises(UsageError, match="network demo has no plugins"):
        runtime.add(replace(DEMO, plugins=()), WEB)


# --- the namespace


def test_the_namespace_is_checked_before_any_plugin_runs(run, tmp_path):
    """Trap 22: a namespace that is none is refused with code 8."""
    runtime, executor = run({"check_netns": namespaces.check})

    with pytest.raises(CniError) as caught:
        runtime.add(DEMO, replace(WEB, netns=str(tmp_path)))

    assert caught.value.code == 8
    assert caught.value.msg.startswith(f"{tmp_path} is not a ")
    assert executor.order == []


def test_podnets_own_namespace_is_refused(run):
    """Not covered upstream: same netns; Trap 22: compared by device and inode."""
    runtime, executor = run({"check_netns": namespaces.check})

    with pytest.raises(CniError, match="podnet's own network namespace") as caught:
        runtime.add(DEMO, replace(WEB, netns="/proc/self/ns/net"))

    assert caught.value.code == 8
    assert executor.order == []


@pytest.mark.parametrize("value", ["1", "true", "True", "TRUE"])
def test_podnets_own_namespace_can_be_allowed(run, value):
    options = {"check_netns": namespaces.check, "environment": {"CNI_NETNS_OVERRIDE": value}}
    runtime, executor = run(options)

    runtime.add(DEMO, replace(WEB, netns="/proc/self/ns/net"))

    assert len(executor.order) == 3


@pytest.mark.parametrize("value", ["", "0", "false", "yes"])
def test_nothing_else_allows_it(run, value):
    options = {"check_netns": namespaces.check, "environment": {"CNI_NETNS_OVERRIDE": value}}
    runtime, _ = run(options)

    with pytest.raises(CniError):
        runtime.add(DEMO, replace(WEB, netns="/proc/self/ns/net"))


# --- CHECK


def test_check_gives_everyone_the_final_result(run):
    """From libcni api_test: CheckNetworkList, all get the cached prevResult; Trap 4."""
    runtime, executor = run(
        bridge=answers(result("10.1.0.1/24")), portmap=answers(result("10.1.0.9/24"))
    )
    added(runtime, executor)

    runtime.check("demo", WEB)

    assert executor.order == [("CHECK", "bridge"), ("CHECK", "tuning"), ("CHECK", "portmap")]
    assert prev_results(executor) == [result("10.1.0.9/24")] * 3


def test_check_sends_nothing_of_the_cache_but_the_result(run):
    """From libcni api_test: only passes a prevResult (no config or kind leaks)."""
    runtime, executor = run()
    added(runtime, executor, network("bridge"))

    runtime.check("demo", WEB)

    assert executor.calls[0].stdin == {
        "cniVersion": "1.1.0",
        "name": "demo",
        "type": "bridge",
        "prevResult": result(),
    }


def test_check_uses_the_configuration_and_arguments_of_the_add(run):
    """Trap 14: peers use the current configuration; an edit in between leaks."""
    plugin = PluginConfig.from_wire({"type": "tuning", "capabilities": {"mac": True}})
    runtime, executor = run()
    added(runtime, executor, network("bridge").with_plugins([plugin]))

    runtime.check("demo", Attachment(container_id="c1", ifname="eth0"))

    assert executor.order == [("CHECK", "bridge"), ("CHECK", "tuning")]
    assert executor.calls[0].environment["CNI_ARGS"] == "IgnoreUnknown=1"
    assert executor.calls[0].environment["CNI_NETNS"] == "/run/netns/web"
    assert executor.calls[1].stdin["runtimeConfig"] == {"mac": "02::1"}


def test_check_takes_a_namespace_that_is_given(run):
    runtime, executor = run()
    added(runtime, executor)

    runtime.check("demo", replace(WEB, netns="/run/netns/moved"))

    assert executor.calls[0].environment["CNI_NETNS"] == "/run/netns/moved"


def test_a_check_that_finds_a_difference_stops_there(run, cache):
    """From libcni api_test: second errors (unwrapped)."""
    runtime, executor = run(tuning=fails_on("CHECK", msg="mtu is 1400"))
    added(runtime, executor)

    with pytest.raises(PluginDriftError, match="mtu is 1400"):
        runtime.check("demo", WEB)

    assert executor.order == [("CHECK", "bridge"), ("CHECK", "tuning")]
    assert len(list(cache.entries())) == 1, "CHECK leaves the cache as it was"


def test_what_was_never_added_cannot_be_checked(run):
    """SPEC section 3: a runtime must not CHECK what was not ADDed."""
    runtime, executor = run()

    with pytest.raises(CacheError, match="has no cached result for eth0 on network demo"):
        runtime.check("demo", WEB)

    assert executor.order == []


def test_a_cache_entry_without_a_result_cannot_be_checked(run, cache):
    """Trap 7: never an empty prevResult."""
    libcni_entry(cache, "c1", result=None)
    runtime, executor = run()

    with pytest.raises(CacheError, match="has no cached result"):
        runtime.check("demo", WEB)

    assert executor.order == []


@pytest.mark.parametrize(
    "content",
    [b"", b"junk", {"kind": "cniCacheV1", "containerId": "c1", "cniArgs": {}}, {"ifName": "eth0"}],
)
def test_a_corrupt_cache_entry_fails_check(run, cache, content):
    """From libcni api_test: cache invalid JSON error; Traps 6 and 7."""
    put(cache, content)
    runtime, executor = run()

    with pytest.raises(CacheError, match="is corrupt"):
        runtime.check("demo", WEB)

    assert executor.order == []


def test_another_attachments_entry_fails_check(run, cache):
    """Not covered upstream: filename collision; Trap 20."""
    runtime, executor = run()
    runtime.add(network(name="a-b"), replace(WEB, container_id="c"))
    executor.calls.clear()

    with pytest.raises(CacheError, match="belongs to another attachment"):
        runtime.check("a", replace(WEB, container_id="b-c"))

    assert executor.order == []


def test_disabled_check_runs_nothing(run):
    """From libcni api_test: disableCheck executes nothing."""
    runtime, executor = run(tuning=fails_on("CHECK"))
    added(runtime, executor, network(disableCheck=True))

    runtime.check("demo", WEB)

    assert executor.order == []


@pytest.mark.parametrize("disabled", [False, True])
def test_check_before_040_is_an_error_that_precedes_disable_check(run, disabled):
    """From libcni api_test: ErrorCheckNotSupp; Trap 17."""
    runtime, executor = run(bridge=answers(result(version="1.0.0")))
    added(runtime, executor, network("bridge", cniVersion="0.3.1", disableCheck=disabled))

    with pytest.raises(IncompatibleVersionError, match=r'"0\.3\.1" does not support the CHECK'):
        runtime.check("demo", WEB)

    assert executor.order == []


def test_a_missing_plugin_fails_check(run):
    """From libcni api_test: CheckNetworkList, find fails."""
    runtime, executor = run()
    added(runtime, executor)
    executor.plugins = {"bridge": answers(None)}

    with pytest.raises(UsageError, match='failed to find plugin "tuning"'):
        runtime.check("demo", WEB)


# --- DEL


def test_delete_runs_the_chain_backwards_with_the_final_result(run, cache):
    """From libcni api_test: DEL in reverse order, prevResult, cache gone; Trap 4."""
    runtime, executor = run(portmap=answers(result("10.1.0.9/24")))
    added(runtime, executor)

    notes = runtime.delete("demo", WEB)

    assert executor.order == [("DEL", "portmap"), ("DEL", "tuning"), ("DEL", "bridge")]
    assert prev_results(executor) == [result("10.1.0.9/24")] * 3
    assert list(cache.entries()) == []
    assert notes == []


def test_delete_before_040_has_no_prev_result_and_drops_the_cache(run, cache):
    """From libcni api_test: <0.4.0 none; Trap 6: removed in any version."""
    runtime, executor = run(bridge=answers(result(version="1.0.0")))
    added(runtime, executor, network("bridge", cniVersion="0.3.1"))

    runtime.delete("demo", WEB)

    assert prev_results(executor) == [None]
    assert list(cache.entries()) == []


def test_delete_uses_the_configuration_and_arguments_of_the_add(run):
    """Trap 14: the cached configuration, arguments and capabilities, not today's."""
    plugin = PluginConfig.from_wire({"type": "tuning", "capabilities": {"mac": True}})
    runtime, executor = run()
    added(runtime, executor, network("bridge").with_plugins([plugin]))
    today = network("portmap")

    runtime.delete("demo", Attachment(container_id="c1", ifname="eth0"), fallback=today)

    assert executor.order == [("DEL", "tuning"), ("DEL", "bridge")]
    assert executor.calls[0].stdin["runtimeConfig"] == {"mac": "02::1"}
    assert executor.calls[0].environment["CNI_ARGS"] == "IgnoreUnknown=1"


def test_delete_names_the_namespace_it_is_given_or_none(run):
    """Trap 22: the cached path may be somebody else's by now."""
    runtime, executor = run()
    added(runtime, executor)

    runtime.delete("demo", replace(WEB, netns=""))

    assert {call.environment["CNI_NETNS"] for call in executor.calls} == {""}


def test_delete_includes_sibling_plugins_that_are_gone_by_now(run):
    """Trap 16: cached original bytes lack sibling plugins, our extra key has them."""
    sibling = PluginConfig.from_wire({"type": "tuning"})
    runtime, executor = run()
    added(runtime, executor, network("bridge").with_plugins([sibling]))

    runtime.delete("demo", WEB, fallback=network("bridge"))

    assert executor.order == [("DEL", "tuning"), ("DEL", "bridge")]


def test_delete_looks_for_plugins_where_add_found_them(run):
    """A pod made with --plugin-dir is deletable without it."""
    runtime, executor = run()
    added(runtime, executor)
    executor.path = ("/today",)

    replace(runtime, given=("/asked",)).delete("demo", WEB)

    assert {call.path for call in executor.calls} == {("/asked", "/fake", "/today")}
    assert {call.environment["CNI_PATH"] for call in executor.calls} == {"/asked:/fake:/today"}


def test_without_an_entry_delete_looks_where_it_is_told(run):
    runtime, executor = run()

    runtime.delete("demo", WEB, fallback=network("bridge"), path=["/remembered"])

    assert executor.calls[0].path == ("/remembered", "/fake")


def test_a_failed_delete_stops_and_keeps_the_entry(run, cache):
    """From libcni api_test: plugin error on DEL; Traps 6 and 25: stop, keep, try again."""
    runtime, executor = run(tuning=fails_on("DEL", msg="busy"))
    added(runtime, executor)

    with pytest.raises(PluginError, match=r"tuning \(2 of 3\).* failed on DEL: busy"):
        runtime.delete("demo", WEB)

    assert executor.order == [("DEL", "portmap"), ("DEL", "tuning")]
    assert len(list(cache.entries())) == 1

    executor.plugins = dict.fromkeys(("bridge", "tuning", "portmap"), answers(None))
    runtime.delete("demo", WEB)
    assert list(cache.entries()) == []


def test_a_missing_plugin_fails_delete_and_keeps_the_entry(run, cache):
    """From libcni api_test: DEL, find fails; Trap 6."""
    runtime, executor = run()
    added(runtime, executor)
    executor.plugins = {"portmap": answers(None), "bridge": answers(None)}

    with pytest.raises(UsageError, match='failed to find plugin "tuning"'):
        runtime.delete("demo", WEB)

    assert executor.order == [("DEL", "portmap")]
    assert len(list(cache.entries())) == 1


def test_what_is_not_cached_is_deleted_with_the_fallback(run):
    """From libcni api_test: the 2nd DEL is fine; no cache, prevResult absent; R9."""
    runtime, executor = run()
    added(runtime, executor)
    runtime.delete("demo", WEB)
    executor.calls.clear()

    runtime.delete("demo", WEB, fallback=DEMO)

    assert executor.order == [("DEL", "portmap"), ("DEL", "tuning"), ("DEL", "bridge")]
    assert prev_results(executor) == [None, None, None]


def test_without_entry_and_fallback_nothing_is_known(run):
    runtime, executor = run()

    with pytest.raises(UsageError, match="nothing is known of network demo"):
        runtime.delete("demo", WEB)

    assert executor.order == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk",
        {"kind": "cniCacheV9"},
        {"cniVersion": "9.9.9"},
        {
            "kind": "cniCacheV1",
            "containerId": "c1",
            "networkName": "demo",
            "ifName": "eth0",
            "config": "!",
        },
    ],
)
def test_delete_goes_on_without_a_corrupt_entry_and_removes_it(run, cache, content):
    """From libcni api_test: DEL, invalid JSON tolerated; Trap 6: unlink and go on."""
    path = put(cache, content)
    runtime, executor = run()

    (note,) = runtime.delete("demo", WEB, fallback=DEMO)

    assert "is corrupt" in note
    assert note.endswith("DEL goes on without it")
    assert len(executor.order) == 3
    assert prev_results(executor) == [None, None, None]
    assert not path.exists()


def test_delete_goes_on_without_a_result_that_cannot_be_converted(run, cache):
    """From libcni api_test: DEL, unconvertible tolerated."""
    libcni_entry(cache, "c1", result={"cniVersion": "1.0.0"})
    runtime, executor = run()
    runtime_conf = network("bridge", cniVersion="0.4.0")
    runtime.delete("demo", WEB, fallback=runtime_conf)
    assert prev_results(executor) == [{"cniVersion": "0.4.0", "dns": {}}], "convertible is used"
    libcni_entry(cache, "c1", result={"cniVersion": "0.9.9"})

    (note,) = runtime.delete("demo", WEB, fallback=runtime_conf)

    assert "unsupported CNI result version" in note
    assert prev_results(executor)[-1] is None
    assert list(cache.junk()) == []


def test_a_legacy_entry_gives_delete_its_result(run, cache):
    """From libcni api_test: prevResult from a legacy cache file."""
    path = put(cache, result("10.1.0.7/24"))
    runtime, executor = run()

    runtime.delete("demo", WEB, fallback=network("bridge"))

    assert prev_results(executor) == [result("10.1.0.7/24")]
    assert not path.exists()


def test_a_legacy_entry_is_checked_with_the_configuration_that_is_given(run, cache):
    """From libcni api_test: CHECK with prevResult from a legacy cache file."""
    put(cache, result("10.1.0.7/24"))
    runtime, executor = run()

    runtime.check("demo", WEB, fallback=network("bridge"))

    assert prev_results(executor) == [result("10.1.0.7/24")]
    assert executor.order == [("CHECK", "bridge")]


def test_a_cached_configuration_that_cannot_be_read_is_replaced_by_the_fallback(run, cache):
    """From libcni api_test: cached config invalid JSON; DEL must not fail for ever."""
    libcni_entry(cache, "c1", config="anVuaw==")
    runtime, executor = run()

    with pytest.raises(CniError, match="the cached configuration"):
        runtime.delete("demo", WEB)
    (note,) = runtime.delete("demo", WEB, fallback=network("bridge"))

    assert note.startswith("the cached configuration cannot be used: ")
    assert executor.order == [("DEL", "bridge")]
    assert prev_results(executor) == [result()]


def test_delete_never_drops_another_attachments_entry(run, cache):
    """Not covered upstream: filename collision; Trap 20."""
    runtime, _ = run()
    runtime.add(network(name="a-b"), replace(WEB, container_id="c"))

    (note,) = runtime.delete("a", replace(WEB, container_id="b-c"), fallback=network(name="a"))

    assert "belongs to another attachment" in note
    assert [e.network_name for e in cache.entries()] == ["a-b"]


def test_what_is_odd_about_a_delete_is_noted(run):
    """Not covered upstream: exit 0 with error JSON."""
    runtime, executor = run(
        bridge=lambda s: {"code": 7, "msg": "x"} if s.verb == "DEL" else result()
    )
    added(runtime, executor)

    notes = runtime.delete("demo", WEB)

    assert notes == ["plugin bridge exited with 0, but printed an error: x"]


# --- STATUS


def test_status_asks_every_plugin(run):
    """From libcni api_test: GetStatusNetworkList, STATUS issued."""
    runtime, executor = run()

    asked = runtime.status(DEMO)

    assert executor.order == [("STATUS", "bridge"), ("STATUS", "tuning"), ("STATUS", "portmap")]
    assert executor.calls[0].stdin == {"cniVersion": "1.1.0", "name": "demo", "type": "bridge"}
    assert asked == DEMO


def test_status_stops_at_the_first_that_is_not_ready(run):
    """From libcni api_test: error code 50, plugin 3 not run."""
    runtime, executor = run(tuning=fails_on("STATUS", code=50, msg="full"))

    with pytest.raises(PluginError) as caught:
        runtime.status(DEMO)

    assert caught.value.error.code == 50
    assert executor.order == [("STATUS", "bridge"), ("STATUS", "tuning")]


def test_nobody_is_asked_for_status_before_110(run):
    """Trap 17: STATUS is gated by 1.1.0."""
    runtime, executor = run()

    runtime.status(network(cniVersion="1.0.0"))

    assert executor.order == []


# --- GC


def test_gc_keeps_what_is_valid_and_deletes_the_rest(run, cache):
    """From libcni api_test: GCNetworkList issues a DEL and GC as necessary (ADD,GC,DEL,GC)."""
    runtime, executor = run()
    chain = network("bridge")

    runtime.add(chain, WEB)
    kept = garbage.collect(runtime, chain, [("c1", "eth0")])
    removed = garbage.collect(runtime, chain, [])

    assert [verb for verb, _ in executor.order] == ["ADD", "GC", "DEL", "GC"]
    first, second = (call.stdin for call in executor.calls if call.verb == "GC")
    assert first["cni.dev/valid-attachments"] == [{"containerID": "c1", "ifname": "eth0"}]
    assert first["cni.dev/attachments"] == first["cni.dev/valid-attachments"]
    assert second["cni.dev/valid-attachments"] == second["cni.dev/attachments"] == []
    assert kept == []
    assert removed == ["stale attachment c1 eth0 of network demo"]
    assert list(cache.entries()) == []


def test_gc_deletes_with_what_add_was_given(run):
    """Trap 14: GC in peers uses the current configuration."""
    runtime, executor = run()
    added(runtime, executor, network("bridge", "tuning"))

    garbage.collect(runtime, network("portmap"), [])

    assert executor.order == [("DEL", "tuning"), ("DEL", "bridge"), ("GC", "portmap")]
    assert executor.calls[0].environment["CNI_ARGS"] == "IgnoreUnknown=1"
    assert executor.calls[0].environment["CNI_NETNS"] == "", "a namespace that is gone"


def test_gc_names_a_namespace_that_is_still_there(run):
    runtime, executor = run()
    runtime.add(network("bridge"), replace(WEB, netns="/proc/self/ns/net"))

    garbage.collect(runtime, network("bridge"), [])

    assert executor.calls[1].verb == "DEL"
    assert executor.calls[1].environment["CNI_NETNS"] == "/proc/self/ns/net"


def test_gc_leaves_other_networks_alone(run, cache):
    """Trap 13: everything of that network, and of no other."""
    runtime, executor = run()
    runtime.add(network("bridge", name="other"), WEB)
    executor.calls.clear()

    garbage.collect(runtime, network("bridge"), [])

    assert executor.order == [("GC", "bridge")]
    assert [e.network_name for e in cache.entries()] == ["other"]


def test_disabled_gc_does_nothing_at_all(run, cache):
    """From libcni api_test: disableGC is a no-op."""
    runtime, executor = run()
    added(runtime, executor)

    assert garbage.collect(runtime, network(disableGC=True), []) == []

    assert executor.order == []
    assert len(list(cache.entries())) == 1


def test_before_110_gc_still_deletes_what_is_stale(run, cache):
    """From libcni: for <1.1.0 the DELs still happen; Trap 17."""
    runtime, executor = run(bridge=answers(result(version="1.0.0")))
    older = network("bridge", cniVersion="1.0.0")
    added(runtime, executor, older)

    garbage.collect(runtime, older, [])

    assert executor.order == [("DEL", "bridge")]
    assert list(cache.entries()) == []


def test_gc_goes_on_where_something_fails_and_tells_everything(run, cache):
    """From libcni: GC continues on error and joins the errors."""
    runtime, executor = run()
    for container_id in ("c1", "c2"):
        runtime.add(DEMO, replace(WEB, container_id=container_id))
    executor.calls.clear()
    executor.plugins = {
        "bridge": fails_on("GC", msg="bridge is stuck"),
        "tuning": answers(None),
        "portmap": lambda s: (
            fails_on("DEL", msg="c1 is stuck")(s)
            if s.environment["CNI_CONTAINERID"] == "c1"
            else None
        ),
    }

    with pytest.raises(GcError) as caught:
        garbage.collect(runtime, DEMO, [])

    assert executor.order == [
        ("DEL", "portmap"),
        ("DEL", "portmap"),
        ("DEL", "tuning"),
        ("DEL", "bridge"),
        ("GC", "bridge"),
        ("GC", "tuning"),
        ("GC", "portmap"),
    ]
    assert len(caught.value.failures) == 2
    assert "c1 is stuck" in caught.value.message
    assert "bridge is stuck" in caught.value.message
    assert [e.attachment.container_id for e in cache.entries()] == ["c1"]


def test_gc_spares_what_another_runtime_added_and_says_that_it_is_valid(run, cache):
    """Trap 13: a shared cache directory has other runtimes' attachments in it."""
    path = libcni_entry(cache, "theirs")
    runtime, executor = run()
    added(runtime, executor, network("bridge"))

    garbage.collect(runtime, network("bridge"), [])

    assert executor.order == [("DEL", "bridge"), ("GC", "bridge")]
    assert executor.calls[1].stdin["cni.dev/valid-attachments"] == [
        {"containerID": "theirs", "ifname": "eth0"}
    ]
    assert path.exists()


def test_gc_takes_foreign_attachments_only_where_it_is_told_to(run, cache):
    path = libcni_entry(cache, "theirs")
    runtime, executor = run()

    removed = garbage.collect(runtime, network("bridge"), [], foreign=True)

    assert executor.order == [("DEL", "bridge"), ("GC", "bridge")]
    assert executor.calls[1].stdin["cni.dev/valid-attachments"] == []
    assert removed == ["stale attachment theirs eth0 of network demo"]
    assert not path.exists()


def test_attachments_in_a_neighbours_cache_are_valid_too(run, tmp_path):
    """Trap 13: GC is host-wide for a plugin, whoever calls it."""
    neighbour = Cache(tmp_path / "neighbour")
    libcni_entry(neighbour, "theirs")
    libcni_entry(neighbour, "not-here", networkName="other")
    runtime, executor = run({"neighbours": (neighbour,)})

    garbage.collect(runtime, network("bridge"), [("c1", "eth0")])

    assert executor.calls[0].stdin["cni.dev/valid-attachments"] == [
        {"containerID": "c1", "ifname": "eth0"},
        {"containerID": "theirs", "ifname": "eth0"},
    ]


@pytest.mark.parametrize("content", [b"", b"junk", result()])
def test_gc_passes_over_files_that_nobody_can_read(run, cache, content):
    """From libcni: unreadable and legacy entries are ignored by the GC scan, and left."""
    path = put(cache, content)
    runtime, executor = run()

    garbage.collect(runtime, network("bridge"), [])

    assert executor.order == [("GC", "bridge")]
    assert path.exists()


def test_a_stale_entry_without_a_result_is_deleted(run, cache):
    libcni_entry(cache, "c1", result=None)
    runtime, executor = run()

    garbage.collect(runtime, network("bridge"), [], foreign=True)

    assert executor.order == [("DEL", "bridge"), ("GC", "bridge")]
    assert prev_results(executor)[0] is None


# --- VERSION


def test_a_plugin_is_asked_for_its_versions(run):
    """From libcni api_test: GetVersionInfo."""
    runtime, executor = run(bridge=speaks("0.4.0", "1.0.0"))

    assert runtime.versions("bridge").supported == ("0.4.0", "1.0.0")
    assert executor.order == [("VERSION", "bridge")]


def test_a_plugin_that_is_not_there_has_no_versions(run):
    """From libcni api_test: GetVersionInfo, find fails."""
    runtime, _ = run()

    with pytest.raises(UsageError, match="failed to find plugin"):
        runtime.versions("nosuch")


def test_where_there_is_no_choice_nobody_is_asked(run):
    runtime, executor = run()

    assert runtime.settle_version(DEMO) == DEMO
    assert executor.order == []


def test_the_newest_version_that_everyone_speaks_is_used(run, cache):
    """From libcni conf_test: version selection; Trap 17, SPEC section 1 "cniVersions"."""
    runtime, executor = run(
        bridge=speaks("0.4.0", "1.0.0", "1.1.0"), tuning=speaks("0.3.1", "0.4.0", "1.0.0")
    )
    chain = network("bridge", "tuning", cniVersions=["0.3.1", "0.4.0", "1.0.0", "1.1.0"])

    runtime.add(chain, WEB)

    assert executor.order == [
        ("VERSION", "bridge"),
        ("VERSION", "tuning"),
        ("ADD", "bridge"),
        ("ADD", "tuning"),
    ]
    assert [call.stdin["cniVersion"] for call in executor.calls[2:]] == ["1.0.0", "1.0.0"]
    (entry,) = cache.entries()
    assert entry.network.cni_version == "1.0.0", "DEL will use what ADD settled on"


def test_a_delete_uses_the_version_that_add_settled_on_without_asking(run):
    runtime, executor = run(bridge=speaks("0.4.0", "1.0.0"))
    added(runtime, executor, network("bridge", cniVersions=["0.4.0", "1.0.0", "1.1.0"]))

    runtime.delete("demo", WEB)

    assert executor.order == [("DEL", "bridge")]
    assert executor.calls[0].stdin["cniVersion"] == "1.0.0"


def test_without_a_common_version_nothing_is_run(run, cache):
    """From libcni api_test: ValidateNetworkList, unsupported version aggregated."""
    runtime, executor = run(bridge=speaks("0.4.0"), tuning=speaks("1.0.0", "2.0.0"))
    chain = network("bridge", "tuning", cniVersions=["0.4.0", "1.0.0", "1.1.0"])

    with pytest.raises(IncompatibleVersionError) as caught:
        runtime.add(chain, WEB)

    assert caught.value.msg == "no version of network demo is spoken by all its plugins"
    assert caught.value.details == (
        "allowed: 1.1.0, 1.0.0, 0.4.0; bridge: 0.4.0; tuning: 1.0.0, 2.0.0"
    )
    assert {verb for verb, _ in executor.order} == {"VERSION"}
    assert list(cache.entries()) == []


def test_a_plugin_that_does_not_know_version_speaks_010_only(run):
    """From libcni invoke: get_version, historical plugins without VERSION."""
    runtime, _ = run(bridge=fails_on("VERSION", msg="unknown CNI_COMMAND: VERSION"))

    settled = runtime.settle_version(network("bridge", cniVersions=["0.1.0", "1.1.0"]))

    assert settled.cni_version == "0.1.0"


def test_gc_that_cannot_settle_a_version_tells_and_has_deleted_already(run, cache):
    runtime, executor = run()
    added(runtime, executor, network("bridge"))
    executor.plugins = {"bridge": fails_on("VERSION", msg="bad")}

    with pytest.raises(GcError, match="failed on VERSION: bad"):
        garbage.collect(runtime, network("bridge", cniVersions=["1.0.0", "1.1.0"]), [])

    assert executor.order == [("DEL", "bridge"), ("VERSION", "bridge")]
    assert list(cache.entries()) == []


# --- what is told, sent and planned


def test_every_outcome_is_told_failures_included(run):
    told: list[Outcome] = []
    runtime, executor = run({"record": told.append}, portmap=fails_on("ADD"))

    with pytest.raises(PluginError):
        runtime.add(DEMO, WEB)

    assert [outcome.invocation for outcome in told] == executor.calls
    assert [outcome.exit_status for outcome in told] == [0, 0, 1, 0, 0, 0]


def test_versions_that_are_asked_for_are_told_too(run):
    told: list[Outcome] = []
    runtime, _ = run({"record": told.append}, bridge=speaks("1.0.0"))

    runtime.versions("bridge")

    assert [str(outcome.invocation.verb) for outcome in told] == ["VERSION"]


@pytest.mark.parametrize("strip", [False, True])
def test_declarations_of_capabilities_can_be_left_out(run, strip):
    """From libcni api_test: the key remains; the spec's text says otherwise."""
    runtime, executor = run({"strip_capabilities": strip})
    plugin = PluginConfig.from_wire({"type": "bridge", "capabilities": {"mac": True}})
    chain = replace(DEMO, plugins=(plugin,))

    runtime.add(chain, WEB)
    runtime.check("demo", WEB)
    runtime.status(chain)
    garbage.collect(runtime, chain, [("c1", "eth0")])
    runtime.delete("demo", WEB)

    assert [("capabilities" in call.stdin) for call in executor.calls] == [not strip] * 5
    assert executor.calls[0].stdin["runtimeConfig"] == {"mac": "02::1"}
    assert executor.calls[4].stdin["runtimeConfig"] == {"mac": "02::1"}


def test_what_is_planned_is_what_is_run(run):
    """The dry run prints the invocations of the real one."""
    runtime, executor = run()
    chain = network("bridge")

    planned = runtime.plan_add(chain, WEB)
    runtime.add(chain, WEB)
    planned += runtime.plan_check("demo", WEB)
    runtime.check("demo", WEB)
    planned += runtime.plan_delete("demo", WEB)[0]
    assert len(executor.calls) == 2, "planning runs nothing"
    runtime.delete("demo", WEB)

    assert planned == executor.calls


def test_real_plugins_are_added_checked_and_deleted(tmp_path, cache):
    """From libcni api_test: noop plugins as processes: env, stdin and cache all the way."""
    for name in ("first", "second"):
        stub_plugin(tmp_path / "bin", name, stdout=result())
    executor = ProcessExecutor(path=(str(tmp_path / "bin"),))
    runtime = Runtime(executor=executor, cache=cache, check_netns=lambda _: None)
    chain = network("first", "second")

    runtime.add(chain, WEB)
    runtime.check("demo", WEB)
    runtime.delete("demo", WEB)

    asked = calls(tmp_path / "bin", "second")
    assert [environment["CNI_COMMAND"] for environment, _ in asked] == ["ADD", "CHECK", "DEL"]
    assert [stdin for _, stdin in asked] == [
        {"cniVersion": "1.1.0", "name": "demo", "type": "second", "prevResult": result()}
    ] * 3
    assert list(cache.entries()) == []


def test_a_plugin_that_times_out_is_undone(tmp_path, cache):
    """From libcni api_test: sleep plugin (ctx timeout); Trap 8: also after a timeout."""
    directory = tmp_path / "bin"
    stub_plugin(directory, "first", stdout=result())
    stub_plugin(directory, "slow", stdout=result(), script='[ "$CNI_COMMAND" = DEL ] || sleep 60')
    executor = ProcessExecutor(path=(str(directory),), timeout=0.3)
    runtime = Runtime(executor=executor, cache=cache, check_netns=lambda _: None)

    with pytest.raises(PluginError, match=r"timed out after 0.3 s"):
        runtime.add(network("first", "slow"), WEB)

    for name in ("first", "slow"):
        commands = [environment["CNI_COMMAND"] for environment, _ in calls(directory, name)]
        assert commands == ["ADD", "DEL"]


@pytest.mark.parametrize("verb", ["CHECK", "DEL", "STATUS", "GC", "VERSION"])
def test_every_verb_has_a_timeout_that_is_named(tmp_path, cache, verb):
    """From libcni api_test: sleep plugin, timeout error for Del, Check, Version and so on."""
    stub_plugin(
        tmp_path / "bin",
        "slow",
        stdout=result(),
        script=f'[ "$CNI_COMMAND" = {verb} ] && sleep 60',
    )
    chain = network("slow")
    quick = ProcessExecutor(path=(str(tmp_path / "bin"),), timeout=0.2)
    patient = replace(quick, timeout=30)
    runtime = Runtime(executor=patient, cache=cache, check_netns=lambda _: None)
    runtime.add(chain, WEB)
    attempts: Mapping[str, Callable[[Runtime], object]] = {
        "CHECK": lambda hasty: hasty.check("demo", WEB),
        "DEL": lambda hasty: hasty.delete("demo", WEB),
        "STATUS": lambda hasty: hasty.status(chain),
        "GC": lambda hasty: garbage.collect(hasty, chain, [("c1", "eth0")]),
        "VERSION": lambda hasty: hasty.versions("slow"),
    }

    with pytest.raises(PodnetError, match=rf"failed on {verb}: timed out after 0\.2 s"):
        attempts[verb](replace(runtime, executor=quick))

    assert len(list(cache.entries())) == 1, "a DEL that timed out can be tried again"
