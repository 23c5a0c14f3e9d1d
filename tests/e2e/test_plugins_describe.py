"""What plugins say of themselves, and what follows: describe, lint, a schema for editors."""

import json
import sys

import pytest
from jsonschema import Draft7Validator

pytestmark = pytest.mark.root

POOL = {"type": "host-local", "ranges": [[{"subnet": "10.66.0.0/24"}]]}


def test_describe_has_keys_types_defaults_bounds_and_capabilities(podnet):
    told = podnet("plugins", "describe", "ptp").stdout
    rows = {line.split()[0]: line.split() for line in told.splitlines() if line}
    assert rows["mtu"][1:4] == ["integer", "0", "0..65535"]
    assert rows["ipMasq"][1:4] == ["boolean", "false", "-"]
    assert rows["versions"][-1] == "1.1.0"

    found = podnet.json("plugins", "describe", "portmap")
    assert found["about"] == "Forwards ports of the host to the container."
    assert [row["name"] for row in found["capabilities"]] == ["portMappings"]
    assert {"name": "snat", "default": True, "type": "boolean"}.items() <= next(
        row.items() for row in found["keys"] if row["name"] == "snat"
    )
    assert "type: portmap" in podnet("plugins", "describe", "portmap", "-o", "yaml").stdout


def test_the_schema_of_a_plugin_is_json_schema(podnet):
    made = json.loads(podnet("plugins", "describe", "ptp", "-o", "schema").stdout)

    Draft7Validator.check_schema(made)
    assert Draft7Validator(made).is_valid({"type": "ptp", "mtu": 1500})
    assert not Draft7Validator(made).is_valid({"type": "ptp", "mtu": 65536})


def test_a_foreign_plugin_has_nothing_to_say_beyond_its_versions(podnet, debian_plugins):
    theirs = ("--plugin-dir", debian_plugins, "plugins", "describe", "ptp")

    done = podnet(*theirs)
    found = podnet.json(*theirs)

    assert "none of podnet's SDK" in done.stderr
    assert "podnet's own ptp tells its keys" in done.stderr
    assert (found["described"], found["keys"], found["schema"]) == (False, [], None)
    assert found["versions"][-1] == "1.0.0"
    assert "declares no keys" in podnet(*theirs, "-o", "schema", status=2).stderr


def test_a_foreign_plugin_meets_nothing_but_a_version_request(podnet, stub, tmp_path):
    stub("odd", stdout='{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}')

    podnet("plugins", "describe", "odd")

    [environment] = [path.read_text() for path in (tmp_path / "stubs/odd.calls").glob("*.env")]
    assert "CNI_COMMAND=VERSION\n" in environment


@pytest.mark.parametrize(
    ("stdout", "reason"),
    [
        ("not JSON", "is not valid JSON"),
        ('{"apiVersion": "podnet/v1", "kind": "PluginDescription", "keys": 5}', "keys must be"),
        (
            '{"apiVersion": "podnet/v1", "kind": "PluginDescription", "schema": {"type": 5}}',
            "schema.type must be a string",
        ),
    ],
)
def test_what_a_plugin_says_is_not_trusted(podnet, stub, conflist, stdout, reason):
    stub("liar", stdout=stdout)

    assert reason in podnet("plugins", "describe", "liar", status=3).stderr
    linted = podnet("lint", conflist("n", {"type": "liar"})).stdout
    assert "warning: liar cannot be asked for its keys" in linted
    assert "without liar" in podnet("plugins", "schema").stderr


def test_a_plugin_that_does_not_answer_is_ended(podnet, stub):
    stub("slow", script="sleep 600")

    done = podnet("--timeout", "0.3", "plugins", "describe", "slow", status=124)

    assert "timed out" in done.stderr


@pytest.mark.parametrize("foreign", [False, True])
def test_lint_finds_wrong_types_unknown_keys_and_bounds(podnet, tmp_path, debian_plugins, foreign):
    """Also of a foreign plugin that podnet has one of, too."""
    path = tmp_path / "n.conflist"
    path.write_text(
        '{\n  "cniVersion": "1.0.0",\n  "name": "n",\n  "plugins": [\n'
        '    {"type": "ptp", "MTU": 70000, "ipMask": true,\n'
        '     "dns": {"nameserver": []}},\n'
        '    {"type": "portmap", "snat": "yes",\n'
        '     "capabilities": {"portMappings": true, "mac": true}}\n  ]\n}'
    )
    where = ("--plugin-dir", debian_plugins) if foreign else ()

    said = podnet(*where, "lint", path, status=2).stdout

    assert said.splitlines() == [
        f"{path}:5:21: error: ptp: MTU must be at most 65535, not 70000",
        f"{path}:5:35: warning: ptp: the plugin has no key ipMask",
        "  did you mean ipMasq?",
        f"{path}:6:14: warning: ptp: dns has no key nameserver",
        "  did you mean nameservers?",
        f'{path}:7:25: error: portmap: snat must be true or false, not "yes"',
        f"{path}:8:45: warning: portmap: capabilities has no key mac",
        "  known: portMappings",
    ]


def test_lint_says_nothing_of_plugins_that_declare_nothing(podnet, stub, conflist):
    stub("odd", stdout='{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}')

    assert podnet("lint", conflist("n", {"type": "odd", "whatever": 5})).stdout == ""


def test_the_schema_of_conflists_accepts_and_refuses_what_the_plugins_do(podnet, conflist):
    made = json.loads(podnet("plugins", "schema").stdout)
    Draft7Validator.check_schema(made)
    judge = Draft7Validator(made)

    def mistakes(*plugins: dict[str, object], **more: object) -> list[object]:
        path = conflist("n", *plugins)
        whole = json.loads(path.read_text()) | more
        return [list(error.absolute_path) for error in judge.iter_errors(whole)]

    ptp: dict[str, object] = {"type": "ptp", "ipam": POOL}
    assert mistakes(ptp, {"type": "portmap", "capabilities": {"portMappings": True}}) == []
    assert mistakes({"type": "somebody-elses", "any": {"key": 1}}) == []
    assert mistakes(ptp, {"type": "portmap", "snat": "yes"}) == [["plugins", 1, "snat"]]
    assert mistakes(ptp | {"mtu": -1}) == [["plugins", 0, "mtu"]]
    assert mistakes(ptp | {"mtuu": 1}) == [["plugins", 0]]
    assert mistakes({"bridge": "no type"}) == [["plugins", 0]]
    assert mistakes(ptp, cniVersion="7") == [["cniVersion"]]
    assert mistakes(ptp, plugin=[]) == [[]]


_IPAM = f"""#!{sys.executable}
from dataclasses import dataclass
from podnet.cni.result import Result
from podnet_plugins.schema import capability, key
from podnet_plugins.skel import Plugin, run

@dataclass(frozen=True, kw_only=True)
class Config:
    pool: str = key(doc="Where the addresses are from.")
    spare: int = key(0, least=0, most=9)
    ips: tuple[str, ...] = capability("ips", ())

run(Plugin("pool", lambda call: Result(), config=Config, section="ipam"))
"""


@pytest.fixture
def pool(stub):
    """An IPAM plugin that declares its keys."""
    path = stub("pool")
    path.write_text(_IPAM)
    return path


def test_the_keys_of_an_ipam_plugin_stand_in_its_section(podnet, pool, tmp_path):
    path = tmp_path / "one.conf"
    path.write_text(
        '{"cniVersion": "1.0.0", "name": "one", "type": "ptp",\n'
        ' "capabilities": {"ips": true, "mac": true},\n'
        ' "IPAM": {"type": "pool", "Spare": 10, "pol": "a"}}'
    )

    assert podnet("lint", path, status=2).stdout.splitlines() == [
        f"{path}:2:32: warning: ptp: capabilities has no key mac",
        "  known: ips",
        f"{path}:3:2: error: ptp: IPAM.pool is missing",
        f"{path}:3:27: error: ptp: IPAM.Spare must be at most 9, not 10",
        f"{path}:3:40: warning: ptp: IPAM has no key pol",
        "  did you mean pool?",
    ]
    assert ["section", "ipam"] in [
        line.split() for line in podnet("plugins", "describe", "pool").stdout.splitlines()
    ]


def test_editors_know_the_keys_of_an_ipam_plugin_too(podnet, pool):
    made = json.loads(podnet("plugins", "schema").stdout)
    Draft7Validator.check_schema(made)

    def accepts(**ipam: object) -> bool:
        ptp = {"type": "ptp", "capabilities": {"ips": True}, "ipam": {"type": "pool"} | ipam}
        return Draft7Validator(made).is_valid({"name": "n", "plugins": [ptp]})

    assert accepts(pool="a", spare=9)
    assert not accepts()
    assert not accepts(pool="a", spare=10)
    assert not accepts(pool="a", other=1)
