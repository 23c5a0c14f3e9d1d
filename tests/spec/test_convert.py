"""Conversion of results: every pair of versions, and what is lost on the way (SPEC history)."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podnet.cni.convert import convert
from podnet.cni.errors import IncompatibleVersionError
from podnet.cni.result import Dns, Interface, IPConfig, Result, Route
from podnet.cni.versions import RELEASED

OLDEST = ("0.1.0", "0.2.0")
OLD = ("0.3.0", "0.3.1", "0.4.0")
NEW = ("1.0.0", "1.1.0")
PAIRS = [(source, target) for source in RELEASED for target in RELEASED]

FULL = Result(
    cni_version="1.1.0",
    interfaces=(
        Interface("cni0", "00:11:22:33:44:55", 1500),
        Interface("eth0", "00:11:22:33:44:66", 1400, "/run/netns/web", "/s.sock", "8086:9a01"),
    ),
    ips=(
        IPConfig(ip_interface("fd00::5/64"), None, 1),
        IPConfig(ip_interface("10.0.0.5/24"), ip_address("10.0.0.1"), 1),
        IPConfig(ip_interface("10.0.0.6/24"), None, 0),
        IPConfig(ip_interface("fd00::6/64"), ip_address("fd00::1")),
    ),
    routes=(
        Route(ip_interface("::/0"), ip_address("fd00::1"), 1280, 1220, 7, 0, 0),
        Route(ip_interface("0.0.0.0/0"), ip_address("10.0.0.1"), 1400, 1360, 5, 100, 253),
        Route(ip_interface("192.168.0.0/16")),
    ),
    dns=Dns(("10.0.0.10",), "local", ("svc.local",), ("ndots:5",)),
)
V4_ONLY = replace(FULL, ips=FULL.ips[1:3])
NO_IPS = replace(FULL, ips=())


def families(result: Result) -> list[str]:
    """Return what each address says about its family."""
    return [ip.version for ip in result.ips]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_result_converts_between_every_pair_of_versions(source, target):
    """From libcni: a converter is registered for all 49 pairs."""
    result = convert(FULL, source)

    converted = convert(result, target)

    assert converted.cni_version == target
    assert converted.dns == FULL.dns
    assert Result.from_wire(converted.to_wire()) == converted


@pytest.mark.parametrize("version", RELEASED)
def test_a_result_in_the_wanted_version_is_returned_itself(version):
    result = convert(FULL, version)

    assert convert(result, version) is result


@pytest.mark.parametrize("target", OLDEST)
@pytest.mark.parametrize("source", [*OLD, *NEW])
def test_the_oldest_shape_keeps_the_first_address_of_each_family(source, target):
    """From libcni types_test: down to 0.1.0; interfaces are lost, routes keep dst and gw."""
    assert convert(convert(FULL, source), target) == Result(
        cni_version=target,
        ips=(
            IPConfig(ip_interface("10.0.0.5/24"), ip_address("10.0.0.1")),
            IPConfig(ip_interface("fd00::5/64")),
        ),
        routes=(
            Route(ip_interface("0.0.0.0/0"), ip_address("10.0.0.1")),
            Route(ip_interface("192.168.0.0/16")),
            Route(ip_interface("::/0"), ip_address("fd00::1")),
        ),
        dns=FULL.dns,
    )


def test_the_oldest_shape_is_written_with_its_routes_per_family():
    assert convert(FULL, "0.2.0").to_wire() == {
        "cniVersion": "0.2.0",
        "ip4": {
            "ip": "10.0.0.5/24",
            "gateway": "10.0.0.1",
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "192.168.0.0/16"}],
        },
        "ip6": {"ip": "fd00::5/64", "routes": [{"dst": "::/0", "gw": "fd00::1"}]},
        "dns": {
            "nameservers": ["10.0.0.10"],
            "domain": "local",
            "search": ["svc.local"],
            "options": ["ndots:5"],
        },
    }


@pytest.mark.parametrize("target", OLDEST)
@pytest.mark.parametrize("source", [*OLD, *NEW])
def test_a_route_without_an_address_of_its_family_is_lost_in_the_oldest_shape(source, target):
    converted = convert(convert(V4_ONLY, source), target)

    assert [str(route.dst) for route in converted.routes] == ["0.0.0.0/0", "192.168.0.0/16"]


@pytest.mark.parametrize("target", OLDEST)
@pytest.mark.parametrize("source", [*OLD, *NEW])
def test_a_result_without_addresses_has_no_oldest_shape(source, target):
    """From libcni types_test: no-IP downconvert fails."""
    with pytest.raises(IncompatibleVersionError) as raised:
        convert(convert(NO_IPS, source), target)

    assert (raised.value.code, raised.value.msg) == (1, "cannot convert: no valid IP addresses")


@pytest.mark.parametrize(("source", "target"), [OLDEST, OLDEST[::-1]])
def test_between_the_oldest_versions_only_the_label_changes(source, target):
    """From libcni types_test: 0.1.0 and 0.2.0 are one type, addresses or not."""
    empty = Result(cni_version=source, dns=FULL.dns)

    assert convert(empty, target) == replace(empty, cni_version=target)
    assert convert(convert(FULL, source), target) == convert(FULL, target)


@pytest.mark.parametrize("source", OLD)
def test_a_result_is_believed_about_the_family_that_it_states(source):
    """As in libcni: a missing or other version is no address of 0.1.0."""
    result = Result(
        cni_version=source,
        ips=(
            IPConfig(ip_interface("10.0.0.1/8"), version=""),
            IPConfig(ip_interface("10.0.0.2/8"), version="6"),
            IPConfig(ip_interface("10.0.0.3/8"), version="IPv4"),
            IPConfig(ip_interface("10.0.0.4/8"), version="4"),
        ),
    )

    assert convert(result, "0.1.0").ips == (IPConfig(ip_interface("10.0.0.4/8")),)


@pytest.mark.parametrize("source", OLD)
def test_addresses_of_unstated_families_are_no_addresses_for_the_oldest_shape(source):
    result = Result(cni_version=source, ips=(IPConfig(ip_interface("10.0.0.1/8")),))

    with pytest.raises(IncompatibleVersionError, match="no valid IP addresses"):
        convert(result, "0.2.0")


@pytest.mark.parametrize("target", OLD)
@pytest.mark.parametrize("source", NEW)
def test_before_1_0_0_interfaces_are_poorer_and_addresses_say_their_family(source, target):
    """From libcni types_test: 1.x to 0.4.0.  Trap: routes keep all they say."""
    converted = convert(convert(FULL, source), target)

    assert converted == replace(
        FULL,
        cni_version=target,
        interfaces=(
            Interface("cni0", "00:11:22:33:44:55"),
            Interface("eth0", "00:11:22:33:44:66", sandbox="/run/netns/web"),
        ),
        ips=tuple(
            replace(ip, version=family)
            for ip, family in zip(FULL.ips, ["6", "4", "4", "6"], strict=True)
        ),
    )


def test_a_v4_mapped_address_is_called_version_4():
    """Trap: v4-mapped IPv6 collapses to IPv4, as Go's To4 does."""
    result = Result.from_wire({"cniVersion": "1.0.0", "ips": [{"address": "::ffff:10.0.0.1/120"}]})

    assert convert(result, "0.4.0").to_wire()["ips"] == [{"version": "4", "address": "10.0.0.1/24"}]


@pytest.mark.parametrize("target", NEW)
@pytest.mark.parametrize("source", OLD)
def test_from_1_0_0_on_the_family_is_no_longer_said_and_nothing_else_changes(source, target):
    result = convert(FULL, source)

    converted = convert(result, target)

    assert families(result) == ["6", "4", "4", "6"]
    assert families(converted) == ["", "", "", ""]
    assert converted.ips == FULL.ips
    assert replace(converted, cni_version=source, ips=()) == replace(result, ips=())


@pytest.mark.parametrize(("source", "target"), [*pairwise(OLD), *pairwise(OLD[::-1])])
def test_between_0_3_0_and_0_4_0_only_the_label_changes(source, target):
    """From libcni types_test: encode 0.3.x."""
    result = convert(FULL, source)

    assert convert(result, target) == replace(result, cni_version=target)


@pytest.mark.parametrize(("source", "target"), [NEW, NEW[::-1]])
def test_between_1_0_0_and_1_1_0_only_the_label_changes(source, target):
    """From libcni types_test: 1.0 to 1.1; going down strips nothing."""
    result = replace(FULL, cni_version=source)

    assert convert(result, target) == replace(FULL, cni_version=target)


def test_a_family_that_an_old_result_spells_its_own_way_is_kept_among_old_versions():
    odd = Result(cni_version="0.3.0", ips=(IPConfig(ip_interface("10.0.0.1/8"), version="IPv4"),))

    assert families(convert(odd, "0.4.0")) == ["IPv4"]


@pytest.mark.parametrize("source", OLDEST)
@pytest.mark.parametrize(
    ("target", "said"), [*((v, ["4", "6"]) for v in OLD), *((v, ["", ""]) for v in NEW)]
)
def test_the_oldest_shape_becomes_addresses_without_interfaces(source, target, said):
    """From libcni types_test: up from 0.2.0, v4 before v6, routes merged."""
    result = convert(FULL, source)

    converted = convert(result, target)

    assert converted.interfaces == ()
    assert families(converted) == said
    assert [(str(ip.address), ip.interface) for ip in converted.ips] == [
        ("10.0.0.5/24", None),
        ("fd00::5/64", None),
    ]
    assert (converted.routes, converted.dns) == (result.routes, result.dns)


def test_no_version_means_0_1_0():
    """From libcni types_test: convert "" is 0.1.0."""
    oldest = convert(FULL, "")

    assert oldest == convert(FULL, "0.1.0")
    assert convert(oldest, "") is oldest


def test_a_result_without_a_version_is_0_1_0():
    result = Result(cni_version="", ips=(IPConfig(ip_interface("10.0.0.1/8")),))

    assert convert(result, "0.1.0") == replace(result, cni_version="0.1.0")
    assert families(convert(result, "0.4.0")) == ["4"]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("1.0.0", "1.2.0"),
        ("1.0.0", "junk"),
        ("9.9.9", "1.0.0"),
        ("junk", "0.1.0"),
        ("2.0.0", "2.0.0"),
    ],
)
def test_versions_that_do_not_exist_have_no_converter(source, target):
    """From libcni: no converter for CNI result version A to B."""
    with pytest.raises(IncompatibleVersionError) as raised:
        convert(replace(FULL, cni_version=source), target)

    assert raised.value.code == 1
    assert raised.value.msg == f"no converter for CNI result version {source} to {target}"


V4 = st.builds(lambda a, n: ip_interface((a, n)), st.ip_addresses(v=4), st.integers(0, 32))
V6 = st.builds(
    lambda a, n: ip_interface((a, n)), st.ip_addresses(network="2000::/3"), st.integers(0, 128)
)
GATEWAYS = st.none() | st.ip_addresses(v=4) | st.ip_addresses(network="2000::/3")
NUMBERS = st.integers(0, 9000)
OPTIONAL = st.none() | st.integers(0, 255)
SPELLED = st.text(max_size=4)
NEWEST = st.builds(
    Result,
    interfaces=st.lists(
        st.builds(Interface, SPELLED, SPELLED, NUMBERS, SPELLED, SPELLED, SPELLED), max_size=2
    ).map(tuple),
    ips=st.lists(st.builds(IPConfig, V4 | V6, GATEWAYS, OPTIONAL), max_size=4).map(tuple),
    routes=st.lists(
        st.builds(Route, V4 | V6, GATEWAYS, NUMBERS, NUMBERS, NUMBERS, OPTIONAL, OPTIONAL),
        max_size=4,
    ).map(tuple),
    dns=st.builds(Dns, st.lists(SPELLED, max_size=2).map(tuple), SPELLED),
)
VERSIONS = st.sampled_from(RELEASED)


@settings(deadline=None, max_examples=60)
@given(NEWEST, VERSIONS, VERSIONS)
def test_a_conversion_fails_only_for_want_of_an_address(result, source, target):
    if target in OLDEST and not result.ips:
        with pytest.raises(IncompatibleVersionError, match="no valid IP addresses"):
            convert(result, target)
    elif result.ips or source not in OLDEST:
        converted = convert(convert(result, source), target)
        assert converted.cni_version == target
        assert Result.from_wire(converted.to_wire()) == converted


@settings(deadline=None, max_examples=60)
@given(NEWEST.filter(lambda result: bool(result.ips)), VERSIONS, VERSIONS)
def test_a_result_that_goes_up_and_comes_down_again_has_lost_nothing(result, low, high):
    """Every shape is contained in the next one."""
    if RELEASED.index(low) > RELEASED.index(high):
        low, high = high, low
    lowered = convert(result, low)

    assert convert(convert(lowered, high), low) == lowered


@settings(deadline=None, max_examples=60)
@given(NEWEST.filter(lambda result: bool(result.ips)), VERSIONS, VERSIONS)
def test_the_steps_on_the_way_down_do_not_matter(result, one, other):
    """As in libcni, which goes from 1.x to 0.1.0 by way of 0.4.0."""
    middle, lowest = sorted((one, other), key=RELEASED.index, reverse=True)

    assert convert(convert(result, middle), lowest) == convert(result, lowest)


@settings(deadline=None, max_examples=60)
@given(NEWEST, st.sampled_from([*OLD, *NEW]))
def test_addresses_routes_and_dns_survive_every_version_from_0_3_0(result, version):
    back = convert(convert(result, version), "1.1.0")

    assert (back.ips, back.routes, back.dns) == (result.ips, result.routes, result.dns)
    assert [(i.name, i.mac, i.sandbox) for i in back.interfaces] == [
        (i.name, i.mac, i.sandbox) for i in result.interfaces
    ]


@settings(deadline=None, max_examples=60)
@given(NEWEST.filter(lambda result: bool(result.ips)), st.sampled_from(OLDEST))
def test_the_oldest_shape_has_one_address_per_family_and_routes_only_for_those(result, version):
    converted = convert(result, version)

    kept = [ip.family for ip in converted.ips]
    assert kept == sorted({ip.family for ip in result.ips})
    for family, ip in zip(kept, converted.ips, strict=True):
        assert ip.address == next(i.address for i in result.ips if i.family == family)
    assert [(r.dst, r.gw) for r in converted.routes] == [
        (r.dst, r.gw) for f in kept for r in result.routes if str(r.dst.version) == f
    ]
