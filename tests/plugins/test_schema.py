"""A configuration is declared once, and read, checked and described from that."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

import podnet_plugins
from podnet.cni.errors import CniError, DecodeError, InvalidConfigError
from podnet.cni.result import Route, parse_cidr
from podnet.cni.wire import Fields
from podnet.shapes import Shape, check
from podnet_plugins.schema import capability, key, read, schema

BIN = Path(podnet_plugins.__file__).parent / "bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk:
    """A part of a configuration."""

    vid: int = key(name="id", least=1, most=4094, doc="The VLAN.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Every kind of field there is."""

    master: str = key(format="ifname", doc="The interface it hangs on.")
    mode: str = key("bridge", choices=("bridge", "private"))
    mtu: int = key(0, least=0, most=9000)
    is_gateway: bool = key(False)
    promisc: bool | None = key(None)
    vlan_trunk: tuple[Trunk, ...] = key(())
    names: tuple[str, ...] = key(())
    sysctl: Mapping[str, str] = key(None)
    delegate: Fields | None = key(None)
    routes: tuple[tuple[Route, ...], ...] = key(())
    trunks: tuple[tuple[Trunk, ...], ...] = key(())
    answer: Mapping[str, object] | None = key(None)
    mac: str = capability("mac", "")


TRUNK = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "description": "The VLAN.", "minimum": 1, "maximum": 4094}
    },
    "required": ["id"],
}


def _read(**keys: object) -> Example:
    return read(Example, Fields({"master": "eth0"} | keys))


def test_keys_are_read_by_their_names_in_camel_case() -> None:
    config = _read(
        isGateway=True,
        vlanTrunk=[{"id": 7}],
        names=["a"],
        sysctl={"a.b": "1"},
        delegate={"type": "x", "y": [1]},
        answer={"ips": [5]},
        promisc=False,
        runtimeConfig={"mac": "02:00:00:00:00:01"},
    )

    assert config == Example(
        master="eth0",
        mode="bridge",
        mtu=0,
        is_gateway=True,
        promisc=False,
        vlan_trunk=(Trunk(vid=7),),
        names=("a",),
        sysctl={"a.b": "1"},
        delegate=Fields({"type": "x", "y": [1]}, "delegate"),
        answer={"ips": [5]},
        mac="02:00:00:00:00:01",
    )


def test_lists_may_be_nested_and_the_spec_s_values_read_themselves() -> None:
    config = _read(trunks=[[{"id": 1}, {"id": 2}], []], routes=[[{"dst": "10.0.0.0/8"}]])

    assert config.trunks == ((Trunk(vid=1), Trunk(vid=2)), ())
    assert config.routes == ((Route(parse_cidr("10.0.0.0/8", "dst")),),)


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"trunks": [{"id": 1}]}, r"trunks\[0\] must be a list, not an object"),
        ({"trunks": [[1]]}, r"trunks\[0\]\[0\] must be an object"),
        ({"trunks": [[], [{"id": "1"}]]}, r"trunks\[1\]\[0\].id must be a whole number"),
        ({"routes": [[{"dst": "ten"}]]}, r"routes\[0\]\[0\].dst"),
        ({"names": [1]}, r"names\[0\] must be a string, not 1"),
    ],
)
def test_errors_in_lists_say_where_they_are(keys: dict[str, object], path: str) -> None:
    with pytest.raises(DecodeError, match=path):
        _read(**keys)


def test_keys_may_stand_in_a_section_while_capabilities_stand_outside() -> None:
    whole = {"ipam": {"master": "eth1", "mac": "x"}, "runtimeConfig": {"mac": "y"}}

    config = read(Example, Fields(whole), "ipam")

    assert (config.master, config.mac) == ("eth1", "y")
    with pytest.raises(DecodeError, match=r"ipam.mtu must be"):
        read(Example, Fields({"ipam": {"master": "eth1", "mtu": "1"}}), "ipam")
    with pytest.raises(InvalidConfigError, match="IPAM config missing 'ipam' key"):
        read(Example, Fields({}), "ipam")


def test_null_and_absent_are_the_default() -> None:
    assert _read(mtu=None, promisc=None) == _read()
    assert _read().promisc is None


def test_a_capability_is_read_from_the_runtime_config_only() -> None:
    assert _read(mac="02:00:00:00:00:01").mac == ""


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"master": None}, "master is missing"),
        ({"mtu": 9001}, "mtu must be between 0 and 9000, not 9001"),
        ({"mode": "vepa"}, 'mode must be bridge or private, not "vepa"'),
        ({"vlanTrunk": [{"id": 0}]}, r"vlanTrunk\[0\].id must be between 1 and 4094, not 0"),
    ],
)
def test_a_value_out_of_bounds_names_its_field(keys: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        _read(**keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"mtu": "1500"},
        {"mtu": 1500.5},
        {"isGateway": "true"},
        {"names": "a"},
        {"sysctl": []},
        {"delegate": []},
    ],
)
def test_a_value_of_the_wrong_type_is_refused_as_go_refuses_it(keys: dict[str, object]) -> None:
    with pytest.raises(DecodeError, match=next(iter(keys))):
        _read(**keys)


def test_field_names_match_in_any_case() -> None:
    assert _read(ISGATEWAY=True).is_gateway


def test_errors_can_cross_the_process_boundary() -> None:
    with pytest.raises(CniError) as caught:
        _read(mtu=-1)

    assert caught.value.to_wire()["code"] == 7


def test_the_schema_says_types_bounds_defaults_and_what_is_required() -> None:
    made = schema(Example)

    assert made["required"] == ["master"]
    assert made["properties"] == {
        "master": {
            "type": "string",
            "description": "The interface it hangs on.",
            "format": "ifname",
        },
        "mode": {"type": "string", "enum": ["bridge", "private"], "default": "bridge"},
        "mtu": {"type": "integer", "minimum": 0, "maximum": 9000, "default": 0},
        "isGateway": {"type": "boolean", "default": False},
        "promisc": {"type": "boolean"},
        "vlanTrunk": {"type": "array", "items": TRUNK},
        "names": {"type": "array", "items": {"type": "string"}},
        "sysctl": {"type": "object", "additionalProperties": {"type": "string"}},
        "delegate": {"type": "object"},
        "routes": {"type": "array", "items": {"type": "array", "items": {"type": "object"}}},
        "trunks": {"type": "array", "items": {"type": "array", "items": TRUNK}},
        "answer": {"type": "object"},
        "capabilities": {"type": "object", "properties": {"mac": {"type": "boolean"}}},
    }


@pytest.mark.parametrize("name", sorted(path.name for path in BIN.iterdir()))
def test_every_plugin_says_what_it_is_and_which_keys_it_has(name: str) -> None:
    module = import_module(f"podnet_plugins.{name.replace('-', '_')}")
    plugin = module.PLUGIN

    assert plugin.name == name
    assert plugin.about.endswith(".")
    assert plugin.section == ("ipam" if name in {"dhcp", "host-local", "static"} else "")
    if plugin.config is None:
        assert name in {"dummy", "loopback"}
        return
    made = json.loads(json.dumps(schema(plugin.config)))
    described = [one for one in made["properties"].items() if one[0] != "capabilities"]
    assert described != []
    assert [key for key, value in described if not value.get("description")] == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mode": "a\0b"}, "mode has a NUL in it"),
        ({"names": ["a", "\ud800"]}, r"names\[1\] has half a surrogate pair in it"),
        ({"sysctl": {"a": "\0"}}, "sysctl.a has a NUL in it"),
        ({"sysctl": {"\udc80": "1"}}, "a key of sysctl has half a surrogate pair in it"),
        ({"master": "a/b"}, r'master "a/b": interface name contains /'),
        ({"master": "a" * 16}, f'master "{"a" * 16}": interface name is too long'),
    ],
)
def test_a_string_that_the_system_could_not_be_told_names_its_field(
    keys: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        _read(**keys)


EXCLUDED = "hairpinMode and promiscMode exclude each other"
IFNAME = "interface name contains / or : or whitespace characters"
HOST_BITS = (
    "Network has host bits set. For a subnet mask of length 24 the network address is 10.1.1.0"
)


@pytest.mark.parametrize(
    ("plugin", "keys", "message"),
    [
        ("portmap", {"backend": "x"}, 'backend must be "" or "nftables" or "iptables", not "x"'),
        ("firewall", {"backend": "x"}, 'backend must be "" or "iptables" or "nftables", not "x"'),
        ("vrf", {}, "vrfname is missing"),
        ("host_local", {"subnet": "10.1.1.5/24"}, f'subnet "10.1.1.5/24": {HOST_BITS}'),
        (
            "host_local",
            {"ranges": [[{"subnet": "10.1.1.0/31"}]]},
            'ranges[0][0].subnet "10.1.1.0/31": Network 10.1.1.0/31 too small to allocate from',
        ),
        ("host_local", {"rangeStart": "banana"}, 'rangeStart "banana": no IP address'),
        ("host_local", {"dataDir": "a\0b"}, "dataDir has a NUL in it"),
        ("tuning", {"mac": "zz"}, 'mac "zz": no hardware address'),
        ("bandwidth", {"egressRate": 8, "egressBurst": 0}, "egressRate needs egressBurst"),
        ("bridge", {"hairpinMode": True, "promiscMode": True}, EXCLUDED),
        ("bridge", {"bridge": "a/b"}, f'bridge "a/b": {IFNAME}'),
        ("sbr", {"gateways": ["10.1.1.1", "x"]}, 'gateways[1] "x": no IP address'),
        (
            "static",
            {"addresses": [{"address": "10.1.1.5"}]},
            'addresses[0].address "10.1.1.5": no address with a prefix length, like 10.1.0.5/24',
        ),
    ],
)
def test_what_every_add_refuses_is_against_the_schema_that_lint_reads(
    plugin: str, keys: dict[str, object], message: str
) -> None:
    declared = import_module(f"podnet_plugins.{plugin}").PLUGIN.config

    problems = list(check(keys, Shape.of(Fields(schema(declared)))))

    assert [problem.message for problem in problems] == [message]


@pytest.mark.parametrize(
    ("plugin", "keys"),
    [
        ("bandwidth", {"egressRate": 0, "ingressRate": 8, "INGRESSBURST": 8}),
        ("bridge", {"bridge": "", "hairpinMode": True, "promiscMode": False}),
        ("host_local", {"subnet": "fd00::/64", "rangeStart": "", "gateway": "fd00::1"}),
        ("tuning", {"mac": "02-00-00-00-00-01"}),
    ],
)
def test_what_an_add_takes_is_not(plugin: str, keys: dict[str, object]) -> None:
    declared = import_module(f"podnet_plugins.{plugin}").PLUGIN.config

    assert list(check(keys, Shape.of(Fields(schema(declared))))) == []
