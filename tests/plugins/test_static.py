"""static: the addresses that the configuration, CNI_ARGS, a convention or a capability names."""

import json
from collections.abc import Mapping

import pytest

from podnet.cni.errors import CniError
from podnet_plugins.skel import respond
from podnet_plugins.static import PLUGIN

ENVIRONMENT = {
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/none",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/plugins",
}
BOTH = [
    {"address": "10.1.0.5/24", "gateway": "10.1.0.1"},
    {"address": "fd00::5/64", "gateway": "fd00::1"},
]


def ask(
    verb: str = "ADD",
    *,
    ipam: Mapping[str, object] | None = None,
    cni_args: str = "",
    **keys: object,
) -> Mapping[str, object]:
    """Call the plugin in this process."""
    section = {"type": "static"} | dict({"addresses": BOTH} if ipam is None else ipam)
    config = {"cniVersion": "1.1.0", "name": "demo", "type": "x", "ipam": section} | keys
    environment = ENVIRONMENT | {"CNI_COMMAND": verb, "CNI_ARGS": cni_args}
    answer = respond(PLUGIN, environment, json.dumps(config).encode)
    return answer or {}


def test_add_returns_addresses_routes_and_dns_as_they_are_written() -> None:
    routes, dns = [{"dst": "0.0.0.0/0", "gw": "10.1.0.9"}], {"nameservers": ["10.1.0.2"]}

    assert ask(ipam={"addresses": BOTH, "routes": routes, "dns": dns}) == {
        "cniVersion": "1.1.0",
        "ips": BOTH,
        "routes": routes,
        "dns": dns,
    }


def test_addresses_in_cni_args_are_added_and_gateways_go_where_they_fit() -> None:
    args = "IP=10.2.0.5/24,10.3.0.5/24;GATEWAY=10.3.0.1;IgnoreUnknown=1"

    assert ask(ipam={}, cni_args=args)["ips"] == [
        {"address": "10.2.0.5/24"},
        {"address": "10.3.0.5/24", "gateway": "10.3.0.1"},
    ]


def test_the_convention_replaces_what_is_configured_and_the_capability_replaces_that() -> None:
    conventional: dict[str, object] = {"cni": {"ips": ["10.8.0.5/24"]}}

    assert ask(args=conventional)["ips"] == [{"address": "10.8.0.5/24"}]
    assert ask(args=conventional, runtimeConfig={"ips": ["10.9.0.5/24"]})["ips"] == [
        {"address": "10.9.0.5/24"}
    ]


def test_an_address_asked_for_by_capability_keeps_its_subnets_gateway() -> None:
    """plugins#654: the reference loses it."""
    assert ask(runtimeConfig={"ips": ["10.1.0.77/24"]})["ips"] == [
        {"address": "10.1.0.77/24", "gateway": "10.1.0.1"}
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"ipam": {"addresses": [{"address": "10.1.1.5"}]}}, "the 'address' field is expected"),
        ({"cni_args": "IP=10.1.1.5"}, "the 'ip' field is expected to be in CIDR notation"),
        ({"runtimeConfig": {"ips": ["10.1.1.5"]}}, "an entry in the 'ips' field is NOT in CIDR"),
        ({"ipam": {"addresses": [{"address": "10.1.1.5/24", "gateway": "x"}]}}, "gateway"),
    ],
)
def test_what_is_no_address_is_refused_by_field(keys: dict[str, object], message: str) -> None:
    with pytest.raises(CniError, match=message):
        ask(**keys)  # type: ignore[arg-type]


def test_the_oldest_versions_have_one_address_per_family() -> None:
    two = [{"address": "10.1.0.5/24"}, {"address": "10.1.0.6/24"}]

    with pytest.raises(CniError, match="does not support more than 1 address per family"):
        ask(ipam={"addresses": two}, cniVersion="0.2.0")
    assert ask(cniVersion="0.2.0")["ip6"] == {"ip": "fd00::5/64", "gateway": "fd00::1"}


def test_check_finds_an_address_or_a_gateway_that_is_not_as_configured() -> None:
    good = {"cniVersion": "1.1.0", "ips": BOTH}

    assert ask("CHECK", prevResult=good) == {}
    with pytest.raises(CniError, match="fd00::5/64 is not in the result"):
        ask("CHECK", prevResult=good | {"ips": BOTH[:1]})
    other = [BOTH[0] | {"gateway": "10.1.0.2"}, BOTH[1]]
    with pytest.raises(CniError, match=r"10.1.0.5/24 has gateway 10.1.0.2, not 10.1.0.1"):
        ask("CHECK", prevResult=good | {"ips": other})


@pytest.mark.parametrize("verb", ["DEL", "GC", "STATUS"])
def test_there_is_nothing_to_release(verb: str) -> None:
    assert ask(verb) == {}
