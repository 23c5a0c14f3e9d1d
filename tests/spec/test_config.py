"""Network configurations (SPEC section 1): what a conflist may say, and what is made of it."""

import json
from contextlib import suppress
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podnet.cni.config import LIST_KEYS, Network, PluginConfig
from podnet.cni.errors import CniError, DecodeError, IncompatibleVersionError, InvalidConfigError
from podnet.cni.versions import RELEASED

BRIDGE = {"type": "bridge"}


def conflist(**keys: object) -> bytes:
    """Write a conflist that is good but for *keys*; ``...`` leaves a key out."""
    good: dict[str, object] = {"cniVersion": "1.0.0", "name": "demo", "plugins": [BRIDGE]}
    return json.dumps({key: value for key, value in (good | keys).items() if value != ...}).encode()


def plugin(**keys: object) -> PluginConfig:
    """Read a plugin object of type bridge."""
    return PluginConfig.from_wire({"type": "bridge"} | keys)


def test_a_conflist_becomes_a_network():
    source = conflist(
        cniVersion="1.1.0",
        plugins=[{"type": "bridge", "bridge": "b0"}, {"type": "portmap", "snat": True}],
        disableCheck=True,
    )

    network = Network.from_conflist(source)

    assert network.name == "demo"
    assert network.cni_version == "1.1.0"
    assert network.allowed_versions == ("1.1.0",)
    assert [p.type for p in network.plugins] == ["bridge", "portmap"]
    assert network.plugins[0].config == {"type": "bridge", "bridge": "b0"}
    assert network.disable_check
    assert not network.disable_gc
    assert not network.load_only_inlined_plugins
    assert network.source == source


def test_the_source_keeps_its_bytes_verbatim():
    """From libcni conf_test: the original list bytes are kept."""
    source = b' {"plugins": [ {"type":"a"} ],\n"name":"demo", "unknown": 1.50}\n\n'

    assert Network.from_conflist(source).source == source


def test_a_network_and_its_plugins_are_values():
    network = Network.from_conflist(conflist())

    with pytest.raises(FrozenInstanceError):
        network.name = "other"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        network.plugins[0].type = "other"  # type: ignore[misc]


def test_a_network_made_by_hand_disables_nothing():
    network = Network(
        name="demo", cni_version="1.0.0", allowed_versions=("1.0.0",), plugins=(plugin(),)
    )

    assert network == Network.from_wire(json.loads(conflist()))


def test_a_network_introduces_itself_in_one_line():
    network = Network.from_conflist(conflist(plugins=[BRIDGE, {"type": "portmap"}]))

    assert repr(network) == "<Network demo 1.0.0: bridge -> portmap>"
    assert repr(replace(network, plugins=())) == "<Network demo 1.0.0: no plugins>"


def test_unknown_keys_of_a_plugin_pass_through_untouched():
    config = {"type": "x", "Custom": [1.5, None, {"a": "é"}], "args": {"cni": {"ips": []}}}

    [read] = Network.from_conflist(conflist(plugins=[config])).plugins

    assert read.config == config
    assert list(read.config) == ["type", "Custom", "args"]


@pytest.mark.parametrize("name", [..., None, ""])
def test_a_conflist_needs_a_name(name):
    """From libcni conf_test: no name."""
    with pytest.raises(InvalidConfigError, match="missing network name"):
        Network.from_conflist(conflist(name=name))


@pytest.mark.parametrize("name", ["../e", "a/b", "demo\n", ".", "a b"])
def test_a_name_that_could_leave_the_directory_is_refused_on_loading(name):
    """Trap: libcni joins the name to a path, unvalidated."""
    with pytest.raises(InvalidConfigError, match="invalid characters found in network name"):
        Network.from_conflist(conflist(name=name))


@pytest.mark.parametrize("key", ["Name", "NAME"])
def test_the_keys_of_the_list_itself_are_case_sensitive(key):
    """As in libcni: the keys of the list are looked up as they are."""
    with pytest.raises(InvalidConfigError, match="missing network name"):
        Network.from_conflist(conflist(name=..., **{key: "demo"}))


def test_a_flag_in_another_case_is_an_unknown_key():
    network = Network.from_conflist(conflist(DisableCheck=True, CniVersions=["1.1.0"]))

    assert not network.disable_check
    assert network.cni_version == "1.0.0"


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"name": 1}, "name must be a string, not 1"),
        ({"cniVersion": 1.0}, "cniVersion must be a string, not 1"),
        ({"cniVersions": "1.0.0"}, 'cniVersions must be a list, not "1.0.0"'),
        ({"cniVersions": ["1.0.0", 1]}, "cniVersions[1] must be a string, not 1"),
        ({"plugins": None}, "plugins must be a list, not null"),
        ({"plugins": {}}, "plugins must be a list, not an object"),
        ({"plugins": "bridge"}, "plugins must be a list, not a string"),
        ({"plugins": ["bridge"]}, "plugins[0] must be an object, not a string"),
        ({"plugins": [BRIDGE, {"type": 1}]}, "plugins[1].type must be a string, not 1"),
    ],
)
def test_a_list_with_a_value_of_the_wrong_type_is_refused(keys, complaint):
    """From libcni conf_test: invalid types."""
    with pytest.raises(DecodeError) as raised:
        Network.from_conflist(conflist(**keys))

    assert (raised.value.code, raised.value.msg) == (6, complaint)


def test_a_text_without_a_name_of_its_own_is_called_what_it_is():
    with pytest.raises(DecodeError, match=r"^the conflist is empty$"):
        Network.from_conflist(b"")
    with pytest.raises(DecodeError, match=r"^the configuration is empty$"):
        Network.from_conf(b"")


@pytest.mark.parametrize("value", [None, [], "demo", 1])
def test_a_conflist_is_an_object(value):
    with pytest.raises(DecodeError, match="the document must be an object"):
        Network.from_conflist(json.dumps(value).encode())


@pytest.mark.parametrize(
    "source",
    [
        b"\xef\xbb\xbf" + conflist(),
        conflist() + b"{}",
        conflist()[:-1],
        conflist()[:-1] + b",}",
        b"// demo\n" + conflist(),
        conflist().replace(b'"type"', b'"mtu": NaN, "type"'),
        b"",
    ],
)
def test_a_conflist_that_is_not_json_is_refused_by_its_name(source):
    """From libcni conf_test: malformed; Trap: BOM, comments, trailing commas and bytes, NaN."""
    with pytest.raises(DecodeError, match=r"^10-demo\.conflist ") as raised:
        Network.from_conflist(source, "10-demo.conflist")

    assert raised.value.code == 6


def test_of_duplicate_keys_the_last_one_wins():
    network = Network.from_conflist(b'{"name":"a","plugins":[{"type":"x"}],"name":"b"}')

    assert network.name == "b"


@pytest.mark.parametrize("key", ["disableCheck", "disableGC", "loadOnlyInlinedPlugins"])
@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (True, True),
        (False, False),
        ("true", True),
        ("TRUE", True),
        ("tRuE", True),
        ("false", False),
        ("FALSE", False),
        (..., False),
    ],
)
def test_a_flag_is_a_boolean_or_its_name_in_any_case(key, value, answer):
    """From libcni conf_test: disableCheck "true", "false"; Trap: the strings are accepted."""
    network = Network.from_conflist(conflist(**{key: value}))

    flags = {
        "disableCheck": network.disable_check,
        "disableGC": network.disable_gc,
        "loadOnlyInlinedPlugins": network.load_only_inlined_plugins,
    }
    assert flags == dict.fromkeys(flags, False) | {key: answer}


@pytest.mark.parametrize("key", ["disableCheck", "disableGC", "loadOnlyInlinedPlugins"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("1", '"1"'),
        ("yes", '"yes"'),
        ("", '""'),
        (" true", '" true"'),
        (1, "1"),
        (0, "0"),
        (None, "null"),
        ([True], "a list"),
        ({}, "an object"),
    ],
)
def test_a_flag_that_says_anything_else_is_refused(key, value, shown):
    """From libcni conf_test: invalid value for disableCheck."""
    with pytest.raises(DecodeError) as raised:
        Network.from_conflist(conflist(**{key: value}))

    assert raised.value.msg == f"{key} must be true or false, not {shown}"


def test_a_flag_that_is_nested_a_thousandfold_is_refused_in_few_words():
    source = conflist(disableCheck="?").replace(b'"?"', b"[" * 800 + b"]" * 800)

    with pytest.raises(DecodeError, match=r"^disableCheck must be true or false, not a list$"):
        Network.from_conflist(source)


def test_without_the_key_plugins_the_chain_is_empty_until_siblings_are_added():
    """From libcni conf_test: plugins may be in a sibling directory (SPEC section 1)."""
    network = Network.from_conflist(conflist(plugins=...))
    assert network.plugins == ()

    extended = network.with_plugins([plugin(), PluginConfig.from_wire({"type": "tuning"})])

    assert [p.type for p in extended.plugins] == ["bridge", "tuning"]
    assert network.plugins == ()


def test_sibling_plugins_come_after_inlined_ones():
    """From libcni conf_test: merged, the inlined plugins first."""
    network = Network.from_conflist(conflist(plugins=[{"type": "first"}]))

    assert [p.type for p in network.with_plugins([plugin()]).plugins] == ["first", "bridge"]


def test_an_empty_list_of_plugins_is_refused():
    with pytest.raises(InvalidConfigError, match=r"^no plugins in list$"):
        Network.from_conflist(conflist(plugins=[]))


def test_a_list_that_loads_only_inlined_plugins_needs_some():
    """From libcni conf_test: loadOnlyInlinedPlugins is true, and no 'plugins' key."""
    message = "`loadOnlyInlinedPlugins` is true, and no 'plugins' key"
    with pytest.raises(InvalidConfigError) as raised:
        Network.from_conflist(conflist(plugins=..., loadOnlyInlinedPlugins=True))

    assert (raised.value.code, raised.value.msg) == (7, message)


@pytest.mark.parametrize(
    ("keys", "version", "allowed"),
    [
        ({}, "1.0.0", ("1.0.0",)),
        ({"cniVersion": ...}, "0.1.0", ("0.1.0",)),
        ({"cniVersion": ""}, "0.1.0", ("0.1.0",)),
        ({"cniVersions": []}, "1.0.0", ("1.0.0",)),
        ({"cniVersion": ..., "cniVersions": ["0.4.0", "0.3.1"]}, "0.4.0", ("0.4.0", "0.3.1")),
        ({"cniVersions": ["1.1.0", "0.4.0"]}, "1.1.0", ("1.1.0", "1.0.0", "0.4.0")),
        ({"cniVersions": ["0.3.1", "0.3.0"]}, "1.0.0", ("1.0.0", "0.3.1", "0.3.0")),
        ({"cniVersions": ["1.0.5", "42.0.0"]}, "1.0.0", ("1.0.0",)),
    ],
)
def test_the_newest_version_that_the_list_allows_is_chosen(keys, version, allowed):
    """From libcni conf_test: version selection.  Trap: 1.0.5 was never released."""
    network = Network.from_conflist(conflist(**keys))

    assert network.cni_version == version
    assert network.allowed_versions == allowed


@pytest.mark.parametrize("version", ["junk", "1.1", "1.1.0-rc1", "v1.0.0"])
@pytest.mark.parametrize("key", ["cniVersion", "cniVersions"])
def test_a_version_that_is_none_is_refused_on_loading(key, version):
    """From libcni conf_test: an invalid entry of cniVersions fails the load."""
    with pytest.raises(InvalidConfigError, match=f"invalid cniVersion '{version}'"):
        Network.from_conflist(conflist(**{key: version if key == "cniVersion" else [version]}))


def test_a_version_of_the_future_is_refused_on_loading():
    with pytest.raises(IncompatibleVersionError, match=r"unknown cniVersion 1\.2\.3") as raised:
        Network.from_conflist(conflist(cniVersion="1.2.3"))

    assert raised.value.code == 1


def test_a_network_can_be_called_with_another_version():
    network = Network.from_conflist(conflist(cniVersions=["0.4.0", "1.0.0"]))

    older = network.at_version("0.4.0")

    assert (older.cni_version, older.allowed_versions) == ("0.4.0", ("1.0.0", "0.4.0"))
    assert network.cni_version == "1.0.0"


@pytest.mark.parametrize("key", ["capabilities", "Capabilities"])
def test_a_network_can_keep_what_its_plugins_declare_to_itself(key):
    """SPEC section 3: `capabilities` must not be set in the request.  Trap: Go's cases."""
    network = Network.from_conflist(conflist(plugins=[{"type": "a", key: {"mac": True}, "b": 1}]))

    [sent] = network.without_declarations().plugins

    assert sent.config == {"type": "a", "b": 1}
    assert sent.capabilities == {"mac"}
    assert key in network.plugins[0].config


def test_the_version_and_name_of_a_plugin_object_do_not_matter_to_the_list():
    network = Network.from_conflist(
        conflist(plugins=[{"type": "x", "cniVersion": "0.1.0", "name": "other"}])
    )

    assert (network.name, network.cni_version) == ("demo", "1.0.0")


@pytest.mark.parametrize("value", [{}, {"type": ""}, {"type": None}, {"kind": "bridge"}])
def test_a_plugin_object_needs_a_type(value):
    """From libcni conf_test: missing 'type'."""
    with pytest.raises(InvalidConfigError) as raised:
        Network.from_conflist(conflist(plugins=[BRIDGE, value]))

    assert (raised.value.code, raised.value.msg) == (7, "plugins[1].type is missing")
    assert raised.value.details == "it names the plugin"


def test_the_type_of_a_plugin_is_no_path():
    with pytest.raises(InvalidConfigError) as raised:
        Network.from_conflist(conflist(plugins=[{"type": "../sh"}]))

    assert raised.value.msg == "plugins[0].type: invalid plugin name: '../sh'"
    assert raised.value.details == "a type is a file name, never a path"


def test_well_known_fields_of_a_plugin_match_in_any_case():
    """Trap: Go's encoding/json matches field names in any case."""
    config = {
        "Type": "bridge",
        "IPAM": {"TYPE": "host-local"},
        "Capabilities": {"portMappings": True},
    }

    read = PluginConfig.from_wire(config)

    assert read.type == "bridge"
    assert read.ipam_type == "host-local"
    assert read.capabilities == {"portMappings"}
    assert read.config == config


@pytest.mark.parametrize(
    ("declared", "enabled"),
    [
        ({"portMappings": True, "bandwidth": False}, {"portMappings"}),
        ({"portMappings": True, "ips": True, "mac": None}, {"portMappings", "ips"}),
        ({}, set()),
        (None, set()),
    ],
)
def test_only_capabilities_declared_as_true_are_enabled(declared, enabled):
    """From libcni conf_test and api_test: capabilities."""
    assert plugin(capabilities=declared).capabilities == enabled


def test_a_plugin_without_capabilities_declares_none():
    assert plugin().capabilities == frozenset()


@pytest.mark.parametrize(
    ("ipam", "ipam_type"),
    [({"type": "host-local"}, "host-local"), ({}, ""), (None, ""), ({"type": None}, "")],
)
def test_a_plugin_names_the_plugin_that_manages_its_addresses(ipam, ipam_type):
    assert plugin(ipam=ipam).ipam_type == ipam_type


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"cniVersion": 1}, "cniVersion must be a string, not 1"),
        ({"name": ["a"]}, "name must be a string, not a list"),
        ({"capabilities": ["mac"]}, "capabilities must be an object, not a list"),
        (
            {"capabilities": {"mac": "true"}},
            'capabilities.mac must be true or false, not "true"',
        ),
        ({"ipam": "dhcp"}, "ipam must be an object, not a string"),
        ({"ipam": {"type": 1}}, "ipam.type must be a string, not 1"),
        ({"dns": []}, "dns must be an object, not a list"),
        ({"dns": {"domain": 1}}, "dns.domain must be a string, not 1"),
        ({"dns": {"nameservers": "1.1.1.1"}}, 'dns.nameservers must be a list, not "1.1.1.1"'),
        ({"dns": {"search": [1]}}, "dns.search[0] must be a string, not 1"),
        ({"dns": {"options": [None]}}, "dns.options[0] must be a string, not null"),
        ({"prevResult": []}, "prevResult must be an object, not a list"),
        (
            {"cni.dev/valid-attachments": {}},
            "cni.dev/valid-attachments must be a list, not an object",
        ),
        (
            {"cni.dev/valid-attachments": ["c1"]},
            "cni.dev/valid-attachments[0] must be an object, not a string",
        ),
        ({"cni.dev/attachments": {}}, "cni.dev/attachments must be a list, not an object"),
    ],
)
def test_a_well_known_field_of_the_wrong_type_is_refused_with_its_path(keys, complaint):
    with pytest.raises(DecodeError) as raised:
        Network.from_conflist(conflist(plugins=[BRIDGE | keys]))

    assert raised.value.msg == f"plugins[0].{complaint}"


def test_well_known_fields_of_the_right_type_are_accepted():
    config = {
        "type": "bridge",
        "cniVersion": "1.0.0",
        "name": "demo",
        "capabilities": {"mac": True},
        "ipam": {"type": "host-local", "ranges": []},
        "dns": {"nameservers": ["1.1.1.1"], "domain": "a", "search": ["b"], "options": ["c"]},
        "prevResult": {"cniVersion": "1.0.0"},
        "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}],
        "cni.dev/attachments": [{"containerID": "c1", "ifname": "eth0"}],
    }

    assert PluginConfig.from_wire(config).config == config


def test_keys_that_belong_to_the_runtime_are_pointed_out():
    """SPEC section 1: prevResult, runtimeConfig and cni.dev/ are reserved.  Trap: Go's cases."""
    read = plugin(
        prevResult={},
        RuntimeConfig={},
        capabilities={},
        **{"cni.dev/attachments": [], "CNI.dev/x": 1, "cni.devices": []},
    )

    assert read.reserved_keys == [
        "prevResult",
        "RuntimeConfig",
        "cni.dev/attachments",
        "CNI.dev/x",
    ]


def test_an_ordinary_plugin_has_no_reserved_keys():
    assert plugin(bridge="b0", args={}).reserved_keys == []


def test_a_single_configuration_becomes_a_chain_of_one():
    """From libcni conf_test: conf to list."""
    source = b'{"cniVersion": "0.4.0", "name": "old", "type": "bridge", "bridge": "b0"}'

    network = Network.from_conf(source)

    assert (network.name, network.cni_version) == ("old", "0.4.0")
    assert network.allowed_versions == ("0.4.0",)
    assert network.load_only_inlined_plugins
    assert network.source == source
    assert [p.config for p in network.plugins] == [json.loads(source)]


def test_an_unversioned_single_configuration_is_0_1_0():
    """From libcni backwards_compatibility_test: unversioned configuration."""
    assert Network.from_conf(b'{"name": "old", "type": "bridge"}').cni_version == "0.1.0"


def test_flags_and_versions_of_a_list_mean_nothing_in_a_single_configuration():
    """Trap: libcni ignores disableCheck and cniVersions at the top of a .conf."""
    network = Network.from_conf(
        b'{"name": "old", "type": "bridge", "cniVersion": "0.3.1", "cniVersions": ["1.0.0"],'
        b' "disableCheck": true, "disableGC": true}'
    )

    assert network.cni_version == "0.3.1"
    assert not network.disable_check
    assert not network.disable_gc
    assert network.plugins[0].config["disableCheck"] is True


def test_the_keys_of_a_single_configuration_match_in_any_case():
    """As in libcni: it is decoded into a struct."""
    network = Network.from_conf(b'{"Name": "old", "TYPE": "bridge", "CNIVersion": "0.4.0"}')

    assert (network.name, network.cni_version) == ("old", "0.4.0")
    assert network.plugins[0].type == "bridge"


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (conflist(), InvalidConfigError, "type is missing"),
        (b'{"type": "bridge"}', InvalidConfigError, "missing network name"),
        (b'{"type": "bridge", "name": "a/b"}', InvalidConfigError, "invalid characters"),
        (b'{"type": "a/b", "name": "x"}', InvalidConfigError, "type: invalid plugin name: 'a/b'"),
        (b'{"type": "b", "name": "x", "cniVersion": "9.0.0"}', IncompatibleVersionError, "9.0.0"),
        (b"[]", DecodeError, "the document must be an object, not a list"),
        (b"{", DecodeError, "10-old.conf is not valid JSON"),
    ],
)
def test_a_bad_single_configuration_is_refused(source, error, message):
    """From libcni conf_test: ConfFromFile, missing type."""
    with pytest.raises(error, match=message):
        Network.from_conf(source, "10-old.conf")


def test_the_effective_list_has_one_version_and_every_plugin_inlined():
    network = Network.from_conflist(conflist(cniVersions=["0.4.0"], plugins=...))

    assert network.at_version("0.4.0").with_plugins([plugin(mtu=1500)]).to_wire() == {
        "cniVersion": "0.4.0",
        "name": "demo",
        "loadOnlyInlinedPlugins": True,
        "plugins": [{"type": "bridge", "mtu": 1500}],
    }


def test_the_effective_list_says_what_is_disabled():
    wired = Network.from_conflist(conflist(disableCheck="true", disableGC=True)).to_wire()

    assert (wired["disableCheck"], wired["disableGC"]) == (True, True)


def test_the_effective_list_uses_only_keys_of_a_list():
    wired = Network.from_conflist(conflist(disableCheck=True, disableGC=True)).to_wire()

    assert set(wired) == LIST_KEYS - {"cniVersions"}


NAMES = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,20}", fullmatch=True)
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        *sorted(LIST_KEYS),
        "type",
        "ipam",
        "dns",
        "capabilities",
        "prevResult",
        "cni.dev/valid-attachments",
        "Type",
    ]
)
# Objects that use the keys that are looked at, with values right and wrong.
NEARLY = st.recursive(
    SCALARS | st.floats() | st.sampled_from(["1.0.0", "0.4.0", "true", "bridge", 10**4000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)
PLUGINS = st.builds(
    lambda kind, capabilities, rest: rest | {"type": kind, "capabilities": capabilities},
    NAMES,
    st.dictionaries(st.text(), st.booleans(), max_size=3),
    st.dictionaries(st.sampled_from(["mtu", "bridge", "x"]), SCALARS, max_size=3),
)
NETWORKS = st.builds(
    lambda versions, flags, **keys: Network.from_wire(keys | flags | {"cniVersions": versions}),
    versions=st.lists(st.sampled_from(RELEASED), max_size=3),
    flags=st.dictionaries(st.sampled_from(["disableCheck", "disableGC"]), st.booleans()),
    name=NAMES,
    cniVersion=st.sampled_from(["", *RELEASED]),
    plugins=st.lists(PLUGINS, min_size=1, max_size=3),
)


@settings(deadline=None, max_examples=60)
@given(NETWORKS, NETWORKS)
def test_the_effective_list_reads_back_as_the_same_network(network, siblings):
    effective = network.with_plugins(siblings.plugins)

    assert Network.from_wire(effective.to_wire()) == replace(
        effective, allowed_versions=(network.cni_version,), load_only_inlined_plugins=True
    )


@settings(deadline=None, max_examples=60)
@given(JSON | NEARLY)
def test_any_json_is_a_network_or_a_cni_error(value):
    with suppress(CniError):
        network = Network.from_wire(value)
        assert network.cni_version in RELEASED
        assert network.to_wire()["name"] == network.name != ""


@settings(deadline=None, max_examples=60)
@given(NEARLY)
def test_any_json_is_a_plugin_object_or_a_cni_error(value):
    with suppress(CniError):
        read = PluginConfig.from_wire(value)
        assert read.config == value
        assert read.type


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=40) | NEARLY.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_network_or_a_cni_error(source):
    for read in (Network.from_conflist, Network.from_conf):
        with suppress(CniError):
            assert read(source).source == source
