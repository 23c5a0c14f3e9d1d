"""The bridge's decisions: its configuration, gateways, and the marks on what it makes (pure).

And where plugins look for programs.
"""

from collections.abc import Sequence
from dataclasses import fields
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

import pytest

from podnet.cni.errors import CniError
from podnet.cni.result import IPConfig, Result, Route
from podnet.cni.versions import Verb
from podnet.cni.wire import Fields
from podnet.kernel import xtables
from podnet.kernel.vlans import Vlan
from podnet_plugins import delegate, gateways, marks
from podnet_plugins.bridge_config import BridgeConfig, asked_mac
from podnet_plugins.skel import Call, parse_args

IPAM: dict[str, Any] = {"ipam": {"type": "host-local", "subnet": "10.1.0.0/24"}}
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03")


def _config(**keys: Any) -> BridgeConfig:
    return BridgeConfig.of(Call(verb=Verb.ADD, config=Fields(keys)))


def _mac(cni_args: str, **keys: Any) -> str:
    call = Call(verb=Verb.ADD, config=Fields(keys), args=parse_args(cni_args))
    return asked_mac(call, BridgeConfig.of(call))


def _refusal(**keys: Any) -> tuple[int, str]:
    with pytest.raises(CniError) as raised:
        _config(**keys)
    return raised.value.code, raised.value.msg


# The configuration


def test_the_defaults_are_the_reference_s():
    config = _config()

    assert config.bridge == "cni0"
    values = [getattr(config, one.name) for one in fields(BridgeConfig)]
    assert set(map(str, values)) == {"cni0", "", "0", "()", "False"}


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("isGateway", "is_gateway"),
        ("isDefaultGateway", "is_default_gateway"),
        ("forceAddress", "force_address"),
        ("ipMasq", "ip_masq"),
        ("hairpinMode", "hairpin_mode"),
        ("promiscMode", "promisc_mode"),
        ("preserveDefaultVlan", "preserve_default_vlan"),
        ("macspoofchk", "macspoofchk"),
        ("portIsolation", "port_isolation"),
        ("enabledad", "enabledad"),
        ("disableContainerInterface", "disable_container_interface"),
    ],
)
def test_every_switch_has_its_key(key, field):
    keys: dict[str, Any] = {key: True}

    assert getattr(_config(**keys), field) is True


def test_keys_match_in_any_case_as_in_go():
    assert _config(ISGATEWAY=True, Bridge="br1").is_gateway
    assert _config(ISGATEWAY=True, Bridge="br1").bridge == "br1"


def test_a_default_gateway_is_a_gateway():
    assert _config(isDefaultGateway=True).gateway


def test_an_empty_name_is_the_default_one():
    assert _config(bridge="").name == "cni0"


@pytest.mark.parametrize(
    ("keys", "code", "text"),
    [
        (
            {"hairpinMode": True, "promiscMode": True},
            7,
            "cannot set hairpin mode and promiscuous mode at the same time",
        ),
        (
            {"disableContainerInterface": True, **IPAM},
            7,
            "cannot use IPAM when DisableContainerInterface flag is set",
        ),
        ({"mtu": -1}, 7, "mtu must be between 0 and 65535, not -1"),
        ({"mtu": 65536}, 7, "mtu must be between 0 and 65535, not 65536"),
        ({"mtu": "1500"}, 6, 'mtu must be a whole number, not "1500"'),
        ({"isGateway": "yes"}, 6, 'isGateway must be true or false, not "yes"'),
        ({"ipam": []}, 6, "ipam must be an object, not a list"),
        ({"ipMasqBackend": "x"}, 7, 'unknown ipmasq backend "x"'),
        ({"vlan": -1}, 7, "vlan must be between 0 and 4094, not -1"),
        ({"vlan": 4095}, 7, "vlan must be between 0 and 4094, not 4095"),
        (
            {"vlanTrunk": [{"id": 0}]},
            7,
            "vlanTrunk[0].id must be between 1 and 4094, not 0",
        ),
        (
            {"vlanTrunk": [{"id": 5}, {"minID": 0, "maxID": 9}]},
            7,
            "vlanTrunk[1].minID must be between 1 and 4094, not 0",
        ),
        (
            {"vlanTrunk": [{"minID": 5}]},
            7,
            "minID and maxID should be configured simultaneously, maxID is missing",
        ),
        (
            {"vlanTrunk": [{"maxID": 5}]},
            7,
            "minID and maxID should be configured simultaneously, minID is missing",
        ),
        (
            {"vlanTrunk": [{"minID": 6, "maxID": 5}]},
            7,
            "minID is greater than maxID in trunk parameter",
        ),
        (
            {"bridge": "a-long-bridge", "vlan": 100, "isGateway": True},
            7,
            "the gateway's interface would be called a-long-bridge.100: too long",
        ),
        ({"bridge": "a" * 16}, 7, f'bridge "{"a" * 16}": interface name is too long'),
        ({"bridge": "a\0b"}, 7, "bridge has a NUL in it"),
    ],
)
def test_what_excludes_each_other_or_cannot_be_done_is_refused(keys, code, text):
    assert _refusal(**keys) == (code, text)


@pytest.mark.parametrize("keys", [{"vlan": 0}, {"vlanTrunk": []}, {"macspoofchk": False}])
def test_what_is_switched_off_is_no_reason_to_refuse(keys):
    assert _config(ipMasqBackend="nftables", **keys).memberships == frozenset()


@pytest.mark.parametrize(
    ("keys", "native", "tagged"),
    [
        ({"vlan": 100}, 100, set()),
        ({"vlanTrunk": [{"id": 7}]}, 1, {7}),
        ({"vlan": 5, "vlanTrunk": [{"minID": 4, "maxID": 6}, {"id": 9}]}, 5, {4, 6, 9}),
        ({"vlan": 9, "vlanTrunk": [{"minID": 2, "maxID": 3, "id": 4}]}, 9, {2, 3, 4}),
    ],
)
def test_a_port_has_one_vlan_for_untagged_frames_and_a_trunk_for_the_others(keys, native, tagged):
    wanted = {Vlan(native, pvid=True, untagged=True), *map(Vlan, tagged)}

    assert _config(**keys).memberships == wanted


def test_the_capability_s_mac_beats_the_conventional_one_and_that_the_argument():
    """args.cni is in CONVENTIONS.md; upstream's order is the same."""
    arguments, conventional, capability = MACS
    said = f"MAC={arguments}"
    cni = {"args": {"cni": {"mac": conventional}}}

    assert _mac(said) == arguments
    assert _mac(said, **cni) == conventional
    assert _mac(said, runtimeConfig={"mac": capability}, **cni) == capability


def test_what_is_no_hardware_address_is_refused():
    with pytest.raises(CniError, match="address zz: invalid MAC address"):
        _mac("MAC=zz")


def test_an_argument_that_the_bridge_does_not_know_is_refused_unless_it_may_be_ignored():
    with pytest.raises(CniError) as raised:
        _mac("COLOUR=blue")
    assert (raised.value.code, raised.value.msg) == (4, 'ARGS: unknown args ["COLOUR=blue"]')
    assert _mac("COLOUR=blue;IgnoreUnknown=1;MAC=02:00:00:00:00:01") == MACS[0]


# Gateways


def _assigned(
    *ips: tuple[str, str | None], routes: Sequence[tuple[str, str | None]] = ()
) -> Result:
    return Result(
        ips=tuple(IPConfig(ip_interface(ip), ip_address(gw) if gw else None) for ip, gw in ips),
        routes=tuple(Route(ip_interface(d), ip_address(gw) if gw else None) for d, gw in routes),
    )


def _routes(result: Result) -> list[tuple[str, str | None]]:
    return [(str(route.dst), str(route.gw) if route.gw else None) for route in result.routes]


def test_without_is_gateway_addresses_stay_as_ipam_said():
    result = gateways.with_gateways(_config(), _assigned(("10.1.0.7/24", None)))

    assert result.ips == (IPConfig(ip_interface("10.1.0.7/24"), None, 2),)


def test_a_gateway_that_ipam_did_not_say_is_the_first_address_of_the_subnet():
    planned = gateways.with_gateways(
        _config(isGateway=True),
        _assigned(("10.1.0.7/24", None), ("fd00::7/64", None), ("10.2.0.7/24", "10.2.0.254")),
    )

    assert [str(ip.gateway) for ip in planned.ips] == ["10.1.0.1", "fd00::1", "10.2.0.254"]
    assert {ip.interface for ip in planned.ips} == {2}
    assert planned.routes == ()


def test_a_default_gateway_adds_a_default_route_per_family():
    planned = gateways.with_gateways(
        _config(isDefaultGateway=True),
        _assigned(("10.1.0.7/24", None), ("10.2.0.7/24", None), ("fd00::7/64", None)),
    )

    assert _routes(planned) == [("0.0.0.0/0", "10.1.0.1"), ("::/0", "fd00::1")]


@pytest.mark.parametrize("gw", [None, "10.1.0.9"])
def test_a_default_route_of_ipam_s_is_not_added_again(gw):
    """The reference adds a second one when the first has no gateway, and fails."""
    planned = gateways.with_gateways(
        _config(isDefaultGateway=True),
        _assigned(("10.1.0.7/24", None), ("fd00::7/64", None), routes=[("0.0.0.0/0", gw)]),
    )

    assert _routes(planned) == [("0.0.0.0/0", gw), ("::/0", "fd00::1")]


def test_another_route_of_ipam_s_is_no_default_route():
    planned = gateways.with_gateways(
        _config(isDefaultGateway=True),
        _assigned(("10.1.0.7/24", None), routes=[("10.0.0.0/8", None)]),
    )

    assert _routes(planned) == [("10.0.0.0/8", None), ("0.0.0.0/0", "10.1.0.1")]


def test_a_bridge_needs_each_gateway_s_address_once_with_the_subnet_s_prefix():
    result = _assigned(
        ("10.1.0.7/24", "10.1.0.1"), ("10.1.0.8/24", "10.1.0.1"), ("fd00::7/64", None)
    )

    assert gateways.gateway_addresses(result.ips) == [ip_interface("10.1.0.1/24")]


# Marks


def test_a_mark_is_the_reference_s_comment():
    """Its nftables backend: sha512 of network and of "ifname:cid", 16 digits of each."""
    assert marks.mark("demo", "c1", "eth0") == (
        "26c669cd0814ac40-f4d01f2ef4b92245, net: demo, if: eth0, id: c1"
    )


def test_a_mark_fits_into_a_comment_of_nft_and_stays_unmistakable():
    mark = marks.mark("n" * 100, "c" * 64, "eth0")

    assert len(mark) == 128
    assert mark.startswith(marks.prefix("n" * 100, "c" * 64, "eth0"))


def test_no_two_attachments_share_a_prefix():
    """The hash is of the joined text, in an order that cannot be confused: no ":" in an ifname."""
    attachments = [("c1", "eth0"), ("c1", "eth01"), ("c11", "eth0"), ("eth0", "c1"), ("1", "eth0c")]
    prefixes = {marks.prefix("demo", cid, ifname) for cid, ifname in attachments}

    assert len(prefixes) == len(attachments)


@pytest.mark.parametrize(
    ("mark", "stale"),
    [
        (marks.mark("demo", "c1", "eth0"), False),
        (marks.mark("demo", "c1", "eth1"), True),
        (marks.mark("demo", "c2", "eth0"), True),
        (marks.mark("demo2", "c2", "eth0"), False),  # another network's is not ours to judge
        ("", False),
        ("an administrator's own words", False),
    ],
)
def test_stale_is_what_is_marked_for_this_network_and_not_valid(mark, stale):
    assert marks.is_stale(mark, "demo", {("c1", "eth0")}) is stale


def test_everything_of_a_network_is_stale_when_nothing_is_valid():
    assert marks.is_stale(marks.mark("demo", "c1", "eth0"), "demo", set())


# Where programs are looked for


@pytest.fixture
def nowhere_to_look() -> str:
    """A directory that the kernel refuses to look into, also for root: its name is too long."""
    return f"/{'x' * 300}"


def test_a_plugin_path_may_lead_to_where_nobody_may_look(
    tmp_path: Path, nowhere_to_look: str
) -> None:
    (tmp_path / "static").touch()
    assert delegate.find("static", f"{nowhere_to_look}:{tmp_path}") == tmp_path / "static"


def test_path_may_lead_to_where_nobody_may_look(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nowhere_to_look: str
) -> None:
    (tmp_path / "iptables-restore").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{nowhere_to_look}:{tmp_path}")
    assert xtables.available(4)
    assert not xtables.available(6)
