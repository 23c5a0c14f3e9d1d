"""The skeleton of a plugin: environment, checks and their codes, versions, stdout.

The spec is SPEC sections 2 and 4 and, where that is silent, the reference's skel.
"""

import json
import sys
from importlib import import_module
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, cast

import pytest
from tests.plugins import in_process

import podnet
import podnet_plugins
from podnet.cni import versions
from podnet.cni.errors import CniError
from podnet.cni.result import IPConfig, Result
from podnet_plugins import skel
from podnet_plugins.skel import Call, Plugin, respond

CONFIG = {"cniVersion": "1.1.0", "name": "demo", "type": "probe"}
ENVIRONMENT = {
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/gone",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}
VERBS = ["ADD", "CHECK", "DEL", "GC", "STATUS"]


class Probe:
    """A plugin that keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def add(self, call: Call) -> Result:
        """Assign an address."""
        self.calls.append(call)
        return Result(ips=(IPConfig(ip_interface("10.1.0.2/24")),))

    def other(self, call: Call) -> None:
        """Be any other verb."""
        self.calls.append(call)

    def plugin(self, **changes: Any) -> Plugin:
        """Return it as a plugin, some of its verbs or versions changed."""
        verbs = {"check": self.other, "delete": self.other, "gc": self.other, "status": self.other}
        given: dict[str, Any] = {"add": self.add} | verbs | changes
        return Plugin("probe", **given)


def _respond(
    verb: str,
    config: dict[str, object] | bytes | None = None,
    environment: dict[str, str | None] | None = None,
    probe: Probe | None = None,
    **changes: Any,
) -> Any:
    stdin = config if isinstance(config, bytes) else json.dumps(CONFIG | (config or {})).encode()
    variables = ENVIRONMENT | {"CNI_COMMAND": verb} | (environment or {})
    plugin = (probe or Probe()).plugin(**changes)
    return respond(plugin, {k: v for k, v in variables.items() if v is not None}, lambda: stdin)


def _refusal(*args: Any, **kwargs: Any) -> tuple[int, str]:
    with pytest.raises(CniError) as raised:
        _respond(*args, **kwargs)
    return raised.value.code, raised.value.msg


# The environment


@pytest.mark.parametrize(
    ("verb", "missing"),
    [
        ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("DEL", "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"),
        ("GC", "CNI_PATH"),
        ("STATUS", "CNI_PATH"),
    ],
)
def test_what_a_verb_needs_is_asked_for_in_one_error(verb, missing):
    nothing = dict.fromkeys(ENVIRONMENT)

    assert _refusal(verb, environment=nothing) == (
        4,
        f"required env variables [{missing}] missing",
    )


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_variable_is_a_missing_one(empty):
    assert _refusal("ADD", environment={"CNI_IFNAME": empty}) == (
        4,
        "required env variables [CNI_IFNAME] missing",
    )


@pytest.mark.parametrize("verb", ["DEL", "GC", "STATUS"])
def test_delete_gc_and_status_need_no_netns(verb):
    assert _respond(verb, environment={"CNI_NETNS": ""}) is None


@pytest.mark.parametrize("verb", ["add", "UPDATE", "ADD "])
def test_an_unknown_verb_is_code_4(verb):
    assert _refusal(verb) == (4, f"unknown CNI_COMMAND: {verb}")


@pytest.mark.parametrize(
    ("environment", "code", "text"),
    [
        ({"CNI_CONTAINERID": "a/b"}, 4, "invalid characters in containerID"),
        ({"CNI_IFNAME": "sixteen-letters-"}, 4, "interface name is too long"),
        ({"CNI_IFNAME": ".."}, 4, "interface name is . or .."),
        (
            {"CNI_IFNAME": "a b"},
            4,
            "interface name contains / or : or whitespace characters",
        ),
        ({"CNI_ARGS": "FOO"}, 4, 'ARGS: invalid pair "FOO"'),
        ({"CNI_ARGS": "A=1;B=2=3"}, 4, 'ARGS: invalid pair "B=2=3"'),
    ],
)
def test_a_malformed_variable_is_code_4(environment, code, text):
    assert _refusal("ADD", environment=environment) == (code, text)


def test_gc_does_not_look_at_variables_that_it_does_not_need():
    assert _respond("GC", environment={"CNI_CONTAINERID": "a/b", "CNI_IFNAME": ".."}) is None


# The configuration


@pytest.mark.parametrize(
    ("config", "code", "text"),
    [
        (b"", 6, "the configuration on stdin is empty"),
        (b"[]", 6, "the document must be an object, not a list"),
        ({"name": ""}, 7, "missing network name"),
        ({"name": "a/b"}, 7, "invalid characters found in network name"),
        ({"name": 5}, 6, "name must be a string, not 5"),
        ({"prevResult": []}, 6, "prevResult must be an object, not a list"),
    ],
)
def test_a_configuration_that_is_wrong_never_reaches_the_plugin(config, code, text):
    probe = Probe()

    assert _refusal("ADD", config, probe=probe) == (code, text)
    assert probe.calls == []


def test_broken_json_is_code_6():
    code, text = _refusal("ADD", b'{"name": ')

    assert code == 6
    assert text.startswith("the configuration on stdin is not valid JSON")


def test_stdin_that_cannot_be_read_is_code_5():
    def broken() -> bytes:
        raise OSError("gone")

    with pytest.raises(CniError, match="error reading from stdin: gone") as raised:
        respond(Probe().plugin(), ENVIRONMENT | {"CNI_COMMAND": "ADD"}, broken)

    assert raised.value.code == 5


def test_the_checks_come_in_the_reference_s_order():
    """Environment, JSON, network name, container ID, interface name, version."""
    wrong = {"CNI_CONTAINERID": "a/b", "CNI_IFNAME": ".."}
    bad = {"name": "", "cniVersion": "9.9.9"}

    def msg(config: Any, environment: dict[str, str]) -> str:
        return _refusal("ADD", config, environment)[1]

    assert msg(b"", wrong | {"CNI_PATH": ""}) == "required env variables [CNI_PATH] missing"
    assert msg(bad, wrong) == "missing network name"
    assert msg(bad | {"name": "demo"}, wrong) == "invalid characters in containerID"
    assert msg(bad | {"name": "demo"}, {"CNI_IFNAME": ".."}) == "interface name is . or .."
    assert msg(bad | {"name": "demo"}, {}) == "incompatible CNI versions"


# Versions


def test_a_version_that_the_plugin_does_not_speak_is_code_1():
    with pytest.raises(CniError) as raised:
        _respond("ADD", {"cniVersion": "9.9.9"})

    assert (raised.value.code, raised.value.msg) == (1, "incompatible CNI versions")
    assert raised.value.details.startswith('config is "9.9.9", plugin supports [')


@pytest.mark.parametrize(
    ("verb", "before", "since"),
    [("CHECK", "0.3.1", "0.4.0"), ("GC", "1.0.0", "1.1.0"), ("STATUS", "1.0.0", "1.1.0")],
)
def test_a_verb_that_is_younger_than_the_configuration_is_code_1(verb, before, since):
    assert _refusal(verb, {"cniVersion": before}) == (
        1,
        f"config version does not allow {verb}",
    )
    assert _respond(verb, {"cniVersion": since}) is None


def test_a_configuration_without_a_version_is_0_1_0():
    answer = _respond("ADD", {"cniVersion": ""})

    assert answer == {"cniVersion": "0.1.0", "ip4": {"ip": "10.1.0.2/24"}, "dns": {}}


@pytest.mark.parametrize("version", versions.RELEASED)
def test_a_result_is_printed_in_the_configuration_s_version(version):
    answer = _respond("ADD", {"cniVersion": version})

    assert answer["cniVersion"] == version
    assert ("ip4" in answer) == (version in {"0.1.0", "0.2.0"})


def test_version_answers_without_stdin_and_without_parameters():
    def never() -> bytes:
        raise AssertionError("stdin was read")

    answer = respond(Probe().plugin(), {"CNI_COMMAND": "VERSION"}, never)

    assert answer == {"cniVersion": "1.1.0", "supportedVersions": list(versions.RELEASED)}


def test_a_plugin_may_speak_fewer_versions():
    only = ("0.4.0",)
    answer = respond(
        Probe().plugin(versions=only), {"CNI_COMMAND": "VERSION"}, lambda: b"never read"
    )

    assert answer == {"cniVersion": "1.1.0", "supportedVersions": ["0.4.0"]}
    assert _refusal("ADD", {"cniVersion": "1.0.0"}, versions=only)[0] == 1


# What the plugin gets


def test_a_call_has_everything_the_runtime_said():
    probe = Probe()
    config = {
        "runtimeConfig": {"mac": "02:00:00:00:00:01"},
        "ipam": {"type": "host-local"},
        "prevResult": {"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.9/24"}]},
    }

    _respond("ADD", config, {"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web;"}, probe)

    [call] = probe.calls
    assert (call.verb, call.container_id, call.ifname) == ("ADD", "c1", "eth0")
    assert (call.netns, call.path, call.network) == ("/run/netns/gone", "/opt/cni/bin", "demo")
    assert call.args == {"IgnoreUnknown": "1", "K8S_POD_NAME": "web"}
    assert call.runtime_config.text("mac") == "02:00:00:00:00:01"
    assert call.ipam_type == "host-local"
    assert json.loads(call.stdin) == CONFIG | config
    assert call.require_prev_result().ips == (IPConfig(ip_interface("10.1.0.9/24")),)


def test_prev_result_without_a_version_is_of_the_configuration_s():
    probe = Probe()
    previous = {"ips": [{"version": "4", "address": "10.1.0.9/24"}]}

    _respond("CHECK", {"cniVersion": "0.4.0", "prevResult": previous}, probe=probe)

    assert probe.calls[0].require_prev_result().cni_version == "0.4.0"


def test_a_plugin_that_passes_prev_result_on_prints_it_in_the_configuration_s_version():
    previous = {"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.1.0.9/24"}]}

    answer = _respond("ADD", {"prevResult": previous}, add=lambda call: call.prev_result)

    assert answer == {"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.9/24"}]}


def test_a_missing_prev_result_is_an_error_only_for_who_needs_it():
    assert _respond("CHECK") is None
    assert _refusal("CHECK", check=lambda call: call.require_prev_result()) == (
        7,
        "Required prevResult missing",
    )


VALID, ONCE = "cni.dev/valid-attachments", "cni.dev/attachments"
ETH0, ETH1 = ({"containerID": "c1", "ifname": ifname} for ifname in ("eth0", "eth1"))


@pytest.mark.parametrize(
    ("said", "valid"),
    [
        ({VALID: [ETH0, ETH1]}, {("c1", "eth0"), ("c1", "eth1")}),
        ({ONCE: [ETH0]}, {("c1", "eth0")}),
        ({VALID: [ETH0], ONCE: [ETH1]}, {("c1", "eth0"), ("c1", "eth1")}),
        ({VALID: [], ONCE: [ETH1]}, {("c1", "eth1")}),
        ({VALID.upper(): None}, set()),
    ],
)
def test_valid_attachments_are_pairs_under_either_name(said, valid):
    """SPEC 1.1.0 called the key cni.dev/attachments in one place until cni#1103."""
    probe = Probe()

    _respond("GC", said, probe=probe)

    assert probe.calls[0].valid_attachments == valid


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({}, f"{VALID} is missing"),
        ({VALID: [ETH0, {"containerID": "c2"}]}, f"{VALID}[1].ifname is missing"),
        ({VALID: [], ONCE: [{"ifname": "eth0"}]}, f"{ONCE}[0].containerID is missing"),
    ],
)
def test_no_plugin_collects_what_it_is_not_told_to_be_unused(node, said, complaint):
    every = {path.name for path in (Path(podnet_plugins.__file__).parent / "bin").iterdir()}
    for name in every - {"noop"}:
        plugin = import_module(f"podnet_plugins.{name.replace('-', '_')}").PLUGIN
        ipam = {"type": "host-local", "subnet": "10.1.0.0/24"}
        config = {"cniVersion": "1.1.0", "type": name, "ipam": ipam, "vlanId": 5, **said}
        if plugin.gc is not skel.Plugin("none", add=plugin.add).gc:
            assert in_process.respond(node, plugin, "GC", config) == complaint, name


@pytest.mark.parametrize("value", ["1", "true", "True", "TRUE"])
def test_unknown_arguments_may_be_ignored_on_request(value):
    probe = Probe()
    _respond("ADD", environment={"CNI_ARGS": f"IgnoreUnknown={value};A=1;MAC=x"}, probe=probe)

    assert skel.known_args(probe.calls[0], "MAC") == {"MAC": "x"}


def test_unknown_arguments_are_refused_otherwise():
    probe = Probe()
    _respond("ADD", environment={"CNI_ARGS": "A=1;MAC=x"}, probe=probe)

    with pytest.raises(CniError) as raised:
        skel.known_args(probe.calls[0], "MAC")

    assert (raised.value.code, raised.value.msg) == (4, 'ARGS: unknown args ["A=1"]')


def test_verbs_that_a_plugin_has_no_work_in_succeed():
    nothing = Plugin("probe", add=Probe().add)

    for verb in VERBS[1:]:
        environment = ENVIRONMENT | {"CNI_COMMAND": verb}
        assert respond(nothing, environment, json.dumps(CONFIG).encode) is None


# Our own namespace (plugins#714)

OWN = "/proc/self/ns/net"
REFUSAL = (8, "plugin's netns and netns from CNI_NETNS should not be the same")


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_the_plugin_s_own_namespace_is_refused_before_any_work(verb):
    probe = Probe()

    assert _refusal(verb, environment={"CNI_NETNS": OWN}, probe=probe) == REFUSAL
    assert probe.calls == []


@pytest.mark.parametrize("value", ["1", "true", "TRUE", "True"])
def test_cni_netns_override_allows_it(value):
    probe = Probe()

    _respond("ADD", environment={"CNI_NETNS": OWN, "CNI_NETNS_OVERRIDE": value}, probe=probe)

    assert len(probe.calls) == 1


@pytest.mark.parametrize("value", ["", "0", "yes"])
def test_any_other_value_of_it_does_not(value):
    environment = {"CNI_NETNS": OWN, "CNI_NETNS_OVERRIDE": value}

    assert _refusal("ADD", environment=environment) == REFUSAL


# As processes


PLUGINS = ["bridge", "host-local", "loopback"]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_without_a_command_introduces_itself_on_stderr(host, plugin):
    answer = host.run(plugin, "", {})

    assert (answer.status, answer.stdout) == (0, "")
    assert answer.stderr.startswith(f"CNI {plugin} plugin")
    assert "CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0" in answer.stderr


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_plugin_speaks_every_version(host, plugin):
    answer = host.run(plugin, "this is not read", {"CNI_COMMAND": "VERSION"})

    assert answer.result == {
        "cniVersion": "1.1.0",
        "supportedVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }
    assert answer.stderr == ""


@pytest.mark.parametrize("plugin", PLUGINS)
def test_an_error_is_an_object_on_stdout_and_exit_status_1(host, plugin):
    answer = host.run(plugin, "", {"CNI_COMMAND": "ADD", "CNI_PATH": "/opt/cni/bin"})

    assert answer.status == 1
    assert answer.stderr == ""
    assert json.loads(answer.stdout) == {
        "cniVersion": "1.1.0",
        "code": 4,
        "msg": "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing",
    }
    assert answer.stdout.startswith('{\n    "cniVersion": "1.1.0",\n')  # as MarshalIndent does


@pytest.mark.parametrize(
    ("stdin", "version"),
    [
        ('{"cniVersion": "0.4.0", "name": ""}', "0.4.0"),
        ('{"cniVersion": "99.0.0", "name": "demo"}', "1.1.0"),
        ('{"cniVersion": 7}', "1.1.0"),
        ("no JSON", "1.1.0"),
    ],
)
def test_an_error_is_told_in_the_version_of_the_configuration(host, stdin, version):
    given = {"CNI_CONTAINERID": "c1", "CNI_NETNS": "/x", "CNI_IFNAME": "e", "CNI_PATH": "/y"}
    answer = host.run("bridge", stdin, {"CNI_COMMAND": "ADD", **given})
    assert json.loads(answer.stdout)["cniVersion"] == version


def test_the_reference_refuses_with_the_same_codes_and_words(host, debian_plugins):
    host.container("c1")
    good = {"cniVersion": "1.0.0", "name": "demo", "type": "loopback"}
    everything = ENVIRONMENT | {"CNI_COMMAND": "ADD", "CNI_NETNS": "/run/netns/c1"}
    cases = [
        (good, everything | {"CNI_COMMAND": "UPDATE"}),
        (good, {"CNI_COMMAND": "ADD", "CNI_PATH": "/x"}),
        (good, everything | {"CNI_CONTAINERID": "a/b"}),
        (good, everything | {"CNI_IFNAME": "sixteen-letters-"}),
        (good, everything | {"CNI_IFNAME": ".."}),
        (good | {"name": ""}, everything),
        (good | {"name": "a/b"}, everything),
        (good | {"cniVersion": "9.9.9"}, everything),
        (good | {"cniVersion": "0.3.1"}, everything | {"CNI_COMMAND": "CHECK"}),
    ]

    for config, environment in cases:
        ours = host.run("loopback", config, environment)
        theirs = host.run("loopback", config, environment, directory=debian_plugins)
        assert ours.refusal == theirs.refusal


def test_a_defect_of_the_plugin_s_is_an_error_object_too(host, tmp_path):
    """Go would exit with status 2 and nothing on stdout."""
    answer = _run_plugin(host, tmp_path, "raise KeyError('oops')")

    assert answer.error == {"code": 999, "msg": "KeyError: 'oops'"}
    assert "Traceback" in answer.stderr


def test_an_error_of_the_system_names_the_file(host, tmp_path):
    answer = _run_plugin(host, tmp_path, "open('/nowhere/x', 'w')")

    assert answer.error == {"code": 999, "msg": "/nowhere/x: No such file or directory"}


def test_what_a_plugin_logs_is_on_stderr_and_the_result_alone_on_stdout(host, tmp_path):
    answer = _run_plugin(host, tmp_path, "skel.log('busy'); return Result()")

    assert (answer.stderr, answer.result) == ("busy\n", {"cniVersion": "1.1.0"})


def test_nothing_but_the_result_reaches_stdout(host, tmp_path):
    """Neither a print(), now or left in a buffer, nor what a child of the plugin prints."""
    body = "print('mine'); import os; os.system('echo a child'); return Result()"

    answer = _run_plugin(host, tmp_path, body)

    assert answer.result == {"cniVersion": "1.1.0"}
    assert sorted(answer.stderr.splitlines()) == ["a child", "mine"]


def test_an_error_is_alone_on_stdout_too(host, tmp_path):
    answer = _run_plugin(host, tmp_path, "print('mine'); raise OSError('broken')")

    assert answer.error == {"code": 999, "msg": "broken"}
    assert answer.stderr == "mine\n"


def test_a_plugin_that_exits_by_itself_has_not_succeeded(host, tmp_path):
    answer = _run_plugin(host, tmp_path, "raise SystemExit(0)")

    assert answer.error == {"code": 999, "msg": "SystemExit: 0"}


@pytest.mark.parametrize("returned", [None, {"cniVersion": "1.0.0"}])
def test_an_add_without_a_result_is_an_error(returned):
    assert _refusal("ADD", add=lambda call: returned) == (999, "probe: ADD made no result")


def test_only_add_prints_what_it_returns():
    for verb in VERBS[1:]:
        function = {"DEL": "delete"}.get(verb, verb.lower())
        chatty: dict[str, Any] = {function: lambda call: Result()}
        assert _respond(verb, **chatty) is None


@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_a_chained_plugin_is_refused_without_a_plugin_before_it(verb):
    probe = Probe()

    assert _refusal(verb, probe=probe, chained=True) == (7, "must be called as chained plugin")
    assert probe.calls == []
    _respond(verb, {"prevResult": {"cniVersion": "1.1.0"}}, probe=probe, chained=True)
    assert len(probe.calls) == 1


@pytest.mark.parametrize("verb", ["DEL", "GC", "STATUS"])
def test_what_a_chained_plugin_made_can_be_removed_without_a_prev_result(verb):
    assert _respond(verb, chained=True) is None


# What a plugin says of itself


def test_a_plugin_describes_itself_without_touching_stdin(host, tmp_path):
    answer = _described(host, tmp_path, {})

    assert answer.stderr == ""
    assert answer.result | {"versions": [], "schema": {}} == {
        "apiVersion": "podnet/v1",
        "kind": "PluginDescription",
        "type": "probe",
        "about": "Probes.",
        "versions": [],
        "section": "ipam",
        "chained": True,
        "keys": [
            {
                "name": "howMany",
                "type": "integer",
                "doc": "Of them.",
                "default": 1,
                "least": 0,
                "most": 9,
            },
            {"name": "who", "type": "list of string", "doc": "", "required": True},
            {"name": "kind", "type": "string", "doc": "", "default": "a", "choices": ["a", "b"]},
        ],
        "capabilities": [{"name": "mac", "type": "string", "doc": "Asked for."}],
        "schema": {},
    }
    schema = cast("dict[str, Any]", answer.result["schema"])
    assert (schema["title"], schema["required"]) == ("probe", ["who"])
    assert schema["properties"]["capabilities"]["properties"] == {"mac": {"type": "boolean"}}


@pytest.mark.parametrize("command", ["ADD", "VERSION", "nonsense"])
def test_who_asks_for_a_description_gets_it_whatever_the_command(host, tmp_path, command):
    answer = _described(host, tmp_path, {"CNI_COMMAND": command})

    assert answer.result["kind"] == "PluginDescription"


def test_run_by_hand_a_plugin_says_what_it_is_and_how_it_wants_to_be_called(host, tmp_path):
    _write_described(tmp_path)
    answer = host.run("probe", "", {}, directory=tmp_path)

    assert (answer.status, answer.stdout) == (0, "")
    lines = answer.stderr.splitlines()
    assert lines[0] == "CNI probe plugin (podnet)"
    assert lines[2] == "Probes."
    assert "  howMany (integer, at least 0, at most 9, default 1)  Of them." in lines
    assert "  who (list of string, required)" in lines
    assert "  mac (string)  Asked for." in lines
    assert f"  CNI_COMMAND=VERSION {tmp_path}/probe" in lines
    assert '"ipam":{"type":"probe","who":["you"]}' in answer.stderr


def test_a_plugin_of_ours_describes_itself_as_an_executable_too(host):
    described = host.run("portmap", "", {}, arguments=("--describe",)).result

    assert described["type"] == "portmap"
    keys = cast("list[dict[str, object]]", described["keys"])
    assert {"snat", "backend"} <= {row["name"] for row in keys}


_DESCRIBED = """
from dataclasses import dataclass
from podnet_plugins.schema import capability, key

@dataclass(frozen=True, kw_only=True)
class Config:
    how_many: int = key(1, least=0, most=9, doc="Of them.")
    who: tuple[str, ...] = key(example=["you"])
    kind: str = key("a", choices=("a", "b"))
    mac: str = capability("mac", "", doc="Asked for.")

plugin = skel.Plugin("probe", add, about="Probes.", config=Config, section="ipam", chained=True)
skel.run(plugin)
"""


def _write_described(tmp_path: Path) -> Path:
    return _write_plugin(tmp_path, "pass", _DESCRIBED)


def _described(host: Any, tmp_path: Path, environment: dict[str, str]) -> Any:
    _write_described(tmp_path)
    unread, arguments = "this is not read", ("--describe",)
    return host.run("probe", unread, environment, directory=tmp_path, arguments=arguments)


def _write_plugin(
    tmp_path: Path, body: str, ending: str = "skel.run(skel.Plugin('probe', add=add))\n"
) -> Path:
    """Write a plugin whose ADD is *body*, with the skeleton as anybody would."""
    roots = [str(Path(str(module.__file__)).parents[1]) for module in (podnet, podnet_plugins)]
    plugin = tmp_path / "probe"
    plugin.write_text(
        f"#!{sys.executable}\n"
        f"import sys; sys.path[0:0] = {roots}\n"
        "from podnet.cni.result import Result\n"
        "from podnet_plugins import skel\n"
        f"def add(call): {body}\n"
        f"{ending}"
    )
    plugin.chmod(0o755)
    return plugin


def _run_plugin(host: Any, tmp_path: Path, body: str) -> Any:
    """Run a plugin whose ADD is *body*."""
    _write_plugin(tmp_path, body)
    environment = ENVIRONMENT | {"CNI_COMMAND": "ADD"}
    return host.run("probe", CONFIG, environment, directory=tmp_path)
