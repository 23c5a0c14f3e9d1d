"""Which plugin runs when, with exactly which environment and stdin: values in, values out."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from podnet import plan
from podnet.cni import CniError, InvalidConfigError, wire
from podnet.cni.config import Network
from podnet.cni.errors import IncompatibleVersionError, InvalidEnvironmentError
from podnet.cni.result import Result
from podnet.cni.versions import RELEASED, Verb
from podnet.plan import Attachment

PATH = ("/opt/cni/bin", "/usr/lib/cni")
PARAMETERS = {
    "CNI_COMMAND",
    "CNI_CONTAINERID",
    "CNI_NETNS",
    "CNI_IFNAME",
    "CNI_ARGS",
    "CNI_PATH",
}
CHAIN = ({"type": "bridge"}, {"type": "tuning"}, {"type": "portmap"})
WEB = Attachment(
    container_id="c1",
    ifname="eth0",
    netns="/run/netns/web",
    args=(("IgnoreUnknown", "1"), ("K8S_POD_NAME", "web")),
)
RESULT = Result.from_wire(
    {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "sandbox": "/run/netns/web"}],
        "ips": [{"address": "10.1.0.5/24", "interface": 0}],
    }
)


def network(*plugins: dict[str, object], **keys: object) -> Network:
    """Read a conflist of *plugins*, good but for *keys*."""
    listed = {"cniVersion": "1.1.0", "name": "demo", "plugins": plugins or CHAIN} | keys
    return Network.from_conflist(json.dumps(listed).encode())


def stdin_of(config: dict[str, object], attachment: Attachment = WEB) -> dict[str, object]:
    """Return what a plugin with *config* is sent on ADD."""
    return dict(plan.add(network(config), attachment, PATH)[0].stdin)


# --- order


def test_add_visits_plugins_in_the_order_of_the_file():
    """From libcni api_test: executes all plugins with command ADD."""
    steps = plan.add(network(), WEB, PATH)

    assert [(s.verb, s.plugin, s.position, s.chain) for s in steps] == [
        (Verb.ADD, "bridge", 0, 3),
        (Verb.ADD, "tuning", 1, 3),
        (Verb.ADD, "portmap", 2, 3),
    ]
    assert {s.network for s in steps} == {"demo"}


def test_on_add_every_plugin_but_the_first_awaits_the_one_before():
    steps = plan.add(network(), WEB, PATH)

    assert [s.awaits_result for s in steps] == [False, True, True]
    assert all("prevResult" not in s.stdin for s in steps)


def test_delete_visits_plugins_in_reverse():
    """From libcni api_test: executes plugins in reverse order with command DEL."""
    steps = plan.delete(network(), WEB, PATH, None)

    assert [(s.verb, s.plugin, s.position) for s in steps] == [
        (Verb.DEL, "portmap", 2),
        (Verb.DEL, "tuning", 1),
        (Verb.DEL, "bridge", 0),
    ]


@pytest.mark.parametrize("verb", [Verb.CHECK, Verb.STATUS, Verb.GC])
def test_the_other_verbs_visit_plugins_forward(verb):
    steps = {
        Verb.CHECK: plan.check(network(), WEB, PATH, RESULT),
        Verb.STATUS: plan.status(network(), PATH),
        Verb.GC: plan.gc(network(), [], PATH),
    }[verb]

    assert [(s.verb, s.plugin) for s in steps] == [
        (verb, "bridge"),
        (verb, "tuning"),
        (verb, "portmap"),
    ]


def test_a_network_without_plugins_has_no_steps():
    assert plan.add(replace(network(), plugins=()), WEB, PATH) == []


# --- environment


@pytest.mark.parametrize("verb", ["ADD", "CHECK", "DEL"])
def test_the_environment_of_an_attachment_is_exact(verb):
    """From libcni api_test: env exact for ADD, CHECK and DEL."""
    steps = {
        "ADD": plan.add(network(), WEB, PATH),
        "CHECK": plan.check(network(), WEB, PATH, RESULT),
        "DEL": plan.delete(network(), WEB, PATH, RESULT),
    }[verb]

    assert len(steps) == 3
    for step in steps:
        assert step.environment == {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": "/run/netns/web",
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web",
            "CNI_PATH": "/opt/cni/bin:/usr/lib/cni",
        }


@pytest.mark.parametrize("verb", ["STATUS", "GC"])
def test_verbs_without_an_attachment_name_the_path_only(verb):
    """Trap 3: the six parameters are always present, even where they are empty."""
    (step,) = (
        plan.status(network({"type": "a"}), PATH)
        if verb == "STATUS"
        else plan.gc(network({"type": "a"}), [], PATH)
    )

    assert step.environment == {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": "",
        "CNI_NETNS": "",
        "CNI_IFNAME": "",
        "CNI_ARGS": "",
        "CNI_PATH": "/opt/cni/bin:/usr/lib/cni",
    }


def test_a_plugin_is_asked_what_it_is_by_a_version_with_an_argument() -> None:
    step = plan.describe("bridge", ["/opt/cni/bin"])

    assert (step.verb, step.arguments, step.path) == (
        Verb.VERSION,
        ("--describe",),
        ("/opt/cni/bin",),
    )
    assert step.stdin == plan.version("bridge").stdin


def test_version_is_asked_with_dummies():
    """From libcni invoke: dummy env values for VERSION; Trap 3."""
    step = plan.version("bridge")

    assert (step.verb, step.plugin, step.network) == (Verb.VERSION, "bridge", "")
    assert step.stdin == {"cniVersion": "1.1.0"}
    assert step.environment == {
        "CNI_COMMAND": "VERSION",
        "CNI_CONTAINERID": "",
        "CNI_NETNS": "dummy",
        "CNI_IFNAME": "dummy",
        "CNI_ARGS": "",
        "CNI_PATH": "dummy",
    }


def test_all_six_parameters_are_in_every_invocation():
    """Trap 3: an inherited CNI_* must never reach a plugin."""
    bare = Attachment(container_id="c1", ifname="eth0")
    everything = [
        *plan.add(network(), bare, ()),
        *plan.check(network(), bare, (), RESULT),
        *plan.delete(network(), bare, (), None),
        *plan.status(network(), ()),
        *plan.gc(network(), [], ()),
        plan.version("bridge"),
    ]

    assert {frozenset(step.environment) for step in everything} == {frozenset(PARAMETERS)}


def test_a_namespace_that_is_gone_is_an_empty_netns():
    """Trap 22: DEL must work with a netns of ""."""
    (step,) = plan.delete(network({"type": "a"}), replace(WEB, netns=""), PATH, None)

    assert step.environment["CNI_NETNS"] == ""


def test_arguments_are_joined_in_their_order():
    args = (("b", "2"), ("a", "1"), ("empty", ""))

    (step,) = plan.add(network({"type": "a"}), replace(WEB, args=args), PATH)

    assert step.environment["CNI_ARGS"] == "b=2;a=1;empty="


# --- stdin


def test_a_request_is_the_plugin_object_with_name_and_version():
    """From libcni api_test: stdin exact."""
    assert stdin_of({"type": "bridge", "mtu": 1400, "some": {"deep": [1, None]}}) == {
        "cniVersion": "1.1.0",
        "name": "demo",
        "type": "bridge",
        "mtu": 1400,
        "some": {"deep": [1, None]},
    }


def test_the_list_has_the_last_word_on_name_and_version():
    stdin = stdin_of({"type": "a", "name": "mine", "cniVersion": "0.2.0"})

    assert stdin == {"cniVersion": "1.1.0", "name": "demo", "type": "a"}


@pytest.mark.parametrize(
    "key",
    [
        "Name",
        "CNIVERSION",
        "prevResult",
        "PrevResult",
        "runtimeConfig",
        "runtimeconfig",
        "cni.dev/valid-attachments",
        "cni.dev/anything",
        "CNI.dev/Attachments",
    ],
)
def test_what_a_file_says_under_the_runtimes_keys_is_dropped(key):
    """Not covered upstream: static prevResult; Go reads any spelling of it."""
    values: dict[str, object] = {
        "PrevResult": {},
        "prevResult": {},
        "cni.dev/valid-attachments": [],
        "CNI.dev/Attachments": [],
    }

    stdin = stdin_of({"type": "a", key: values.get(key, "x"), "kept": 1})

    assert stdin == {"cniVersion": "1.1.0", "name": "demo", "type": "a", "kept": 1}


def test_arguments_by_convention_pass_through():
    stdin = stdin_of({"type": "a", "args": {"cni": {"ips": ["10.1.0.9"]}}})

    assert stdin["args"] == {"cni": {"ips": ["10.1.0.9"]}}


def test_a_plugin_gets_the_values_of_the_capabilities_it_declares():
    """From libcni api_test: adds correct runtime config for capabilities to stdin; Trap 19."""
    declared = {"portMappings": True, "bandwidth": False, "unused": True}
    ports = [{"hostPort": 80, "containerPort": 8080}]
    given = replace(WEB, capability_args={"portMappings": ports, "bandwidth": {}, "mac": "x"})

    stdin = stdin_of({"type": "a", "capabilities": declared}, given)

    assert stdin["runtimeConfig"] == {"portMappings": ports}


@pytest.mark.parametrize("declared", [{}, {"portMappings": False}, {"other": True}, None])
def test_without_a_used_capability_there_is_no_runtime_config(declared):
    """From libcni api_test: adds no runtimeConfig when the plugin advertises no used capabilities."""
    given = replace(WEB, capability_args={"portMappings": []})

    assert "runtimeConfig" not in stdin_of({"type": "a", "capabilities": declared}, given)


def test_capabilities_are_matched_per_plugin():
    """Trap 19: filtered per plugin, not per network."""
    chain = network(
        {"type": "a", "capabilities": {"mac": True}}, {"type": "b", "capabilities": {"ips": True}}
    )
    given = replace(WEB, capability_args={"mac": "02::1", "ips": ["10.1.0.9/24"]})

    stdins = [step.stdin["runtimeConfig"] for step in plan.add(chain, given, PATH)]

    assert stdins == [{"mac": "02::1"}, {"ips": ["10.1.0.9/24"]}]


def test_an_empty_value_of_a_capability_is_passed_on():
    given = replace(WEB, capability_args={"portMappings": []})

    stdin = stdin_of({"type": "a", "capabilities": {"portMappings": True}}, given)

    assert stdin["runtimeConfig"] == {"portMappings": []}


def test_the_declaration_of_capabilities_stays_in():
    """From libcni api_test: the key capabilities remains, whatever the spec's text says."""
    assert stdin_of({"type": "a", "capabilities": {"mac": True}})["capabilities"] == {"mac": True}


def test_without_declarations_the_key_goes_and_its_effect_stays():
    chain = network({"type": "a", "Capabilities": {"mac": True}, "capabilities": {"mac": True}})
    given = replace(WEB, capability_args={"mac": "02::1"})

    (step,) = plan.add(chain.without_declarations(), given, PATH)

    assert step.stdin == {
        "cniVersion": "1.1.0",
        "name": "demo",
        "type": "a",
        "runtimeConfig": {"mac": "02::1"},
    }


@pytest.mark.parametrize("verb", [Verb.STATUS, Verb.GC])
def test_verbs_without_an_attachment_carry_no_runtime_config(verb):
    chain = network({"type": "a", "capabilities": {"mac": True}, "runtimeConfig": {"mac": "x"}})

    (step,) = plan.status(chain, PATH) if verb is Verb.STATUS else plan.gc(chain, [], PATH)

    assert {"runtimeConfig", "prevResult"}.isdisjoint(step.stdin)


def test_whole_floats_are_sent_as_integers():
    """Trap 2: Go refuses 1500.0 for an int."""
    (step,) = plan.add(network({"type": "a", "mtu": 1500.0, "half": 0.5}), WEB, PATH)

    assert '"mtu":1500,"half":0.5' in wire.dumps(step.stdin)


# --- prevResult


def test_a_result_handed_on_becomes_prev_result():
    second = plan.add(network(), WEB, PATH)[1]

    after = second.after(RESULT)

    assert after.stdin == {**second.stdin, "prevResult": RESULT.to_wire()}
    assert not after.awaits_result
    assert (after.plugin, after.environment) == (second.plugin, second.environment)
    assert second.awaits_result, "the invocation before is as it was"


@pytest.mark.parametrize("version", RELEASED)
def test_the_first_add_has_no_prev_result_in_any_version(version):
    first = plan.add(network(cniVersion=version), WEB, PATH)[0]

    assert "prevResult" not in first.stdin


@pytest.mark.parametrize("version", [v for v in RELEASED if v < "0.4.0"])
def test_delete_before_040_has_no_prev_result(version):
    """From libcni api_test: <0.4.0 no prevResult on DEL; Trap 4."""
    steps = plan.delete(network(cniVersion=version), WEB, PATH, RESULT)

    assert len(steps) == 3
    assert all("prevResult" not in step.stdin for step in steps)


@pytest.mark.parametrize("version", [v for v in RELEASED if v >= "0.4.0"])
def test_delete_from_040_on_gives_everyone_the_final_result(version):
    """From libcni api_test: 0.4.0 prevResult on DEL; Trap 4: the same for every plugin, converted."""
    steps = plan.delete(network(cniVersion=version), WEB, PATH, RESULT)

    sent = [step.stdin["prevResult"] for step in steps]
    assert len(sent) == 3
    assert sent[0] == sent[1] == sent[2]
    assert isinstance(sent[0], dict)
    assert sent[0]["cniVersion"] == version
    assert sent[0]["ips"][0]["address"] == "10.1.0.5/24"


def test_delete_without_a_cached_result_has_no_prev_result():
    """From libcni api_test: DelNetworkList, no cache, prevResult absent."""
    assert all("prevResult" not in s.stdin for s in plan.delete(network(), WEB, PATH, None))


def test_delete_says_when_a_result_cannot_be_converted():
    nothing = Result(cni_version="9.9.9")

    with pytest.raises(IncompatibleVersionError, match="no converter"):
        plan.delete(network(), WEB, PATH, nothing)


def test_check_gives_everyone_the_final_result_in_the_configurations_version():
    """From libcni api_test: CheckNetworkList, all get the cached prevResult; Trap 5."""
    steps = plan.check(network(cniVersion="0.4.0"), WEB, PATH, RESULT)

    assert [step.stdin["prevResult"] for step in steps] == [
        {
            "cniVersion": "0.4.0",
            "interfaces": [{"name": "eth0", "sandbox": "/run/netns/web"}],
            "ips": [{"version": "4", "interface": 0, "address": "10.1.0.5/24"}],
            "dns": {},
        }
    ] * 3


@pytest.mark.parametrize("disabled", [False, True])
@pytest.mark.parametrize("version", [v for v in RELEASED if v < "0.4.0"])
def test_check_before_040_is_an_error_even_where_it_is_disabled(version, disabled):
    """From libcni api_test: ErrorCheckNotSupp; Trap 17: the error precedes disableCheck."""
    older = network(cniVersion=version, disableCheck=disabled)

    with pytest.raises(IncompatibleVersionError) as caught:
        plan.check(older, WEB, PATH, RESULT)

    assert caught.value.code == 1
    assert (
        caught.value.msg == f'configuration version "{version}" does not support the CHECK command'
    )


def test_disabled_check_asks_nobody():
    """From libcni api_test: disableCheck executes nothing."""
    assert plan.check(network(disableCheck=True), WEB, PATH, RESULT) == []


def test_check_says_when_a_result_cannot_be_converted():
    """From libcni api_test: CheckNetwork, cached result not convertible."""
    with pytest.raises(IncompatibleVersionError, match="no converter"):
        plan.check(network(), WEB, PATH, Result(cni_version="9.9.9"))


# --- STATUS and GC


@pytest.mark.parametrize("version", [v for v in RELEASED if v < "1.1.0"])
def test_nobody_is_asked_for_status_or_gc_before_110(version):
    """Trap 17: STATUS and GC are gated by 1.1.0."""
    older = network(cniVersion=version)

    assert plan.status(older, PATH) == []
    assert plan.gc(older, [("c1", "eth0")], PATH) == []


def test_gc_tells_every_plugin_what_shall_stay_under_both_keys():
    """From libcni api_test: GCNetworkList, both spellings of the key."""
    valid = [("c1", "eth0"), ("c2", "net1")]

    steps = plan.gc(network(), valid, PATH)

    listed = [
        {"containerID": "c1", "ifname": "eth0"},
        {"containerID": "c2", "ifname": "net1"},
    ]
    for step, kind in zip(steps, ("bridge", "tuning", "portmap"), strict=True):
        assert step.stdin == {
            "cniVersion": "1.1.0",
            "name": "demo",
            "type": kind,
            "cni.dev/valid-attachments": listed,
            "cni.dev/attachments": listed,
        }


def test_gc_of_nothing_sends_an_empty_list():
    """Not covered upstream: null attachments; Trap 13."""
    (step,) = plan.gc(network({"type": "a"}), iter(()), PATH)

    assert '"cni.dev/valid-attachments":[],"cni.dev/attachments":[]' in wire.dumps(step.stdin)


def test_disabled_gc_asks_nobody():
    """From libcni api_test: disableGC is a no-op."""
    assert plan.gc(network(disableGC=True), [("c1", "eth0")], PATH) == []


# --- attachments


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"container_id": ""}, 3),
        ({"container_id": "../../x"}, 4),
        ({"container_id": "a\n"}, 4),
        ({"ifname": ""}, 4),
        ({"ifname": "a" * 16}, 4),
        ({"ifname": ".."}, 4),
        ({"ifname": "a/b"}, 4),
        ({"ifname": "a:b"}, 4),
        ({"ifname": "a b"}, 4),
        ({"args": (("K", "a;b"),)}, 4),
        ({"args": (("K", "a=b"),)}, 4),
        ({"args": (("K;L", "a"),)}, 4),
        ({"args": (("K", "a\0"),)}, 4),
        ({"args": (("", "a"),)}, 4),
    ],
)
def test_identifiers_and_arguments_that_cannot_be_passed_on_are_refused(wrong, code):
    """From libcni api_test: invalid containerID, ifname empty, too long and so on; Traps 1, 12, 23."""
    with pytest.raises(CniError) as caught:
        replace(WEB, **wrong).check()

    assert caught.value.code == code


def test_good_identifiers_pass():
    WEB.check()
    replace(WEB, container_id="a.B_c-9", ifname="a" * 15, args=()).check()


def test_an_argument_that_cannot_be_escaped_is_named():
    """Trap 23: CNI_ARGS has no escaping."""
    with pytest.raises(InvalidEnvironmentError, match="CNI_ARGS cannot carry K=a;b"):
        replace(WEB, args=(("K", "a;b"),)).check()


def test_values_introduce_themselves_in_one_line():
    first, second = plan.add(network({"type": "bridge"}, {"type": "portmap"}), WEB, PATH)

    assert repr(WEB) == "<Attachment c1 eth0>"
    assert repr(first) == "<ADD bridge (1/2 of demo)>"
    assert repr(second) == "<ADD portmap (2/2 of demo)>"


def test_invocations_and_attachments_are_values():
    step = plan.version("bridge")

    with pytest.raises(FrozenInstanceError):
        step.plugin = "other"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        WEB.ifname = "eth1"  # type: ignore[misc]
    assert plan.version("bridge") == step


def test_planning_changes_nothing_in_the_network():
    config: dict[str, object] = {"type": "a", "prevResult": {}, "capabilities": {"mac": True}}
    chain = network(config)

    plan.add(chain, replace(WEB, capability_args={"mac": "x"}), PATH)[0].after(RESULT)

    assert chain.plugins[0].config == config


def test_a_network_name_that_is_a_path_never_becomes_a_plan():
    """Trap 12: the name is checked where the configuration is read."""
    with pytest.raises(InvalidConfigError, match="network name"):
        network(name="../e")
