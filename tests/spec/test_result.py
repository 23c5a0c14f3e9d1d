"""Results (SPEC section 5): every shape that a version has had, read and written."""

from contextlib import suppress
from dataclasses import FrozenInstanceError, replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podnet.cni import wire
from podnet.cni.errors import CniError, DecodeError, IncompatibleVersionError
from podnet.cni.result import (
    Dns,
    Interface,
    IPConfig,
    Result,
    Route,
    has_one_ip_per_family,
    parse_address,
    parse_cidr,
)
from podnet.cni.versions import RELEASED

OLDEST = ("0.1.0", "0.2.0")
OLD = ("0.3.0", "0.3.1", "0.4.0")
NEW = ("1.0.0", "1.1.0")

# One result per shape, with everything that the shape can say.
WIRE_OLDEST: dict[str, object] = {
    "ip4": {
        "ip": "1.2.3.30/24",
        "gateway": "1.2.3.1",
        "routes": [{"dst": "15.5.6.0/24", "gw": "15.5.6.8"}, {"dst": "0.0.0.0/0"}],
    },
    "ip6": {
        "ip": "abcd:1234:ffff::cdde/64",
        "gateway": "abcd:1234:ffff::1",
        "routes": [{"dst": "1111:dddd::/80", "gw": "1111:dddd::aaaa"}],
    },
    "dns": {
        "nameservers": ["1.2.3.4", "1::cafe"],
        "domain": "acompany.com",
        "search": ["somedomain.com"],
        "options": ["foo", "bar"],
    },
}
WIRE_OLD: dict[str, object] = {
    "interfaces": [
        {"name": "cni0", "mac": "00:11:22:33:44:55"},
        {"name": "eth0", "mac": "00:11:22:33:44:66", "sandbox": "/run/netns/web"},
    ],
    "ips": [
        {"version": "4", "interface": 1, "address": "1.2.3.30/24", "gateway": "1.2.3.1"},
        {"version": "6", "interface": 0, "address": "abcd::cdde/64"},
    ],
    "routes": [
        {"dst": "15.5.6.0/24", "gw": "15.5.6.8"},
        {"dst": "::/0", "mtu": 1400, "advmss": 1360, "priority": 5, "table": 0, "scope": 253},
    ],
    "dns": {"nameservers": ["1.2.3.4"]},
}
WIRE_NEW: dict[str, object] = {
    "interfaces": [
        {
            "name": "eth0",
            "mac": "00:11:22:33:44:66",
            "mtu": 1500,
            "sandbox": "/run/netns/web",
            "socketPath": "/run/vhost.sock",
            "pciID": "8086:9a01",
        }
    ],
    "ips": [{"interface": 0, "address": "1.2.3.30/24", "gateway": "1.2.3.1"}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "1.2.3.1", "table": 100, "scope": 0}],
    "dns": {"search": ["svc.local"]},
}
WIRE = (
    dict.fromkeys(OLDEST, WIRE_OLDEST) | dict.fromkeys(OLD, WIRE_OLD) | dict.fromkeys(NEW, WIRE_NEW)
)


@pytest.mark.parametrize("version", RELEASED)
def test_a_full_result_is_written_as_it_was_read(version):
    """From libcni types_test of 020, 040 and 100: encode."""
    wired = {"cniVersion": version} | WIRE[version]

    assert Result.from_wire(wired).to_wire() == wired


@pytest.mark.parametrize("version", OLDEST)
def test_the_oldest_shape_becomes_addresses_and_routes(version):
    result = Result.from_wire({"cniVersion": version} | WIRE_OLDEST)

    assert result == Result(
        cni_version=version,
        ips=(
            IPConfig(ip_interface("1.2.3.30/24"), ip_address("1.2.3.1")),
            IPConfig(ip_interface("abcd:1234:ffff::cdde/64"), ip_address("abcd:1234:ffff::1")),
        ),
        routes=(
            Route(ip_interface("15.5.6.0/24"), ip_address("15.5.6.8")),
            Route(ip_interface("0.0.0.0/0")),
            Route(ip_interface("1111:dddd::/80"), ip_address("1111:dddd::aaaa")),
        ),
        dns=Dns(("1.2.3.4", "1::cafe"), "acompany.com", ("somedomain.com",), ("foo", "bar")),
    )


@pytest.mark.parametrize("version", OLD)
def test_versions_0_3_to_0_4_say_the_family_of_an_address(version):
    result = Result.from_wire({"cniVersion": version} | WIRE_OLD)

    assert result == Result(
        cni_version=version,
        interfaces=(
            Interface("cni0", "00:11:22:33:44:55"),
            Interface("eth0", "00:11:22:33:44:66", sandbox="/run/netns/web"),
        ),
        ips=(
            IPConfig(ip_interface("1.2.3.30/24"), ip_address("1.2.3.1"), 1, "4"),
            IPConfig(ip_interface("abcd::cdde/64"), None, 0, "6"),
        ),
        routes=(
            Route(ip_interface("15.5.6.0/24"), ip_address("15.5.6.8")),
            Route(ip_interface("::/0"), None, 1400, 1360, 5, 0, 253),
        ),
        dns=Dns(nameservers=("1.2.3.4",)),
    )


@pytest.mark.parametrize("version", NEW)
def test_versions_from_1_0_0_say_more_about_interfaces(version):
    result = Result.from_wire({"cniVersion": version} | WIRE_NEW)

    assert result == Result(
        cni_version=version,
        interfaces=(
            Interface(
                "eth0",
                "00:11:22:33:44:66",
                1500,
                "/run/netns/web",
                socket_path="/run/vhost.sock",
                pci_id="8086:9a01",
            ),
        ),
        ips=(IPConfig(ip_interface("1.2.3.30/24"), ip_address("1.2.3.1"), 0),),
        routes=(Route(ip_interface("0.0.0.0/0"), ip_address("1.2.3.1"), table=100, scope=0),),
        dns=Dns(search=("svc.local",)),
    )


@pytest.mark.parametrize("version", OLD)
@pytest.mark.parametrize("mtu", [1500, "large"])
def test_what_an_interface_did_not_say_before_1_0_0_is_an_unknown_field(version, mtu):
    """Trap: libcni's struct of 0.4.0 has name, mac and sandbox only."""
    result = Result.from_wire(
        {
            "cniVersion": version,
            "interfaces": [{"name": "eth0", "mtu": mtu, "socketPath": "/s", "pciID": "0"}],
        }
    )

    assert result.interfaces == (Interface("eth0"),)


@pytest.mark.parametrize("version", NEW)
def test_the_family_of_an_address_is_an_unknown_field_from_1_0_0_on(version):
    result = Result.from_wire(
        {
            "cniVersion": version,
            "ips": [{"version": "6", "address": "10.0.0.1/8"}],
        }
    )

    assert result.ips == (IPConfig(ip_interface("10.0.0.1/8")),)


@pytest.mark.parametrize(
    ("value", "default", "version"),
    [
        ({}, "0.4.0", "0.4.0"),
        ({"cniVersion": ""}, "0.4.0", "0.4.0"),
        ({"cniVersion": None}, "1.0.0", "1.0.0"),
        ({"cniVersion": 1}, "1.0.0", "1.0.0"),
        ({"cniVersion": ["1.1.0"]}, "0.3.1", "0.3.1"),
        ({}, "", "0.1.0"),
        ({"cniVersion": ""}, "", "0.1.0"),
        ({"cniVersion": "1.0.0"}, "0.4.0", "1.0.0"),
        (None, "1.0.0", "1.0.0"),
    ],
)
def test_a_result_without_a_version_has_the_configurations(value, default, version):
    """From libcni exec_test: version missing or empty is the config's, both empty is 0.1.0."""
    assert Result.from_wire(value, default_version=default) == Result(cni_version=version)


def test_an_unversioned_result_has_the_oldest_shape():
    """From libcni backwards_compatibility_test: unversioned plugin, 0.1.0 result."""
    result = Result.from_wire({"ip4": {"ip": "10.1.2.3/24"}})

    assert result.to_wire() == {"cniVersion": "0.1.0", "ip4": {"ip": "10.1.2.3/24"}, "dns": {}}


@pytest.mark.parametrize("version", ["0.9.0", "1.1", "junk", "1.2.0"])
def test_a_result_of_an_unknown_version_is_refused(version):
    """From libcni: unsupported CNI result version."""
    with pytest.raises(IncompatibleVersionError) as raised:
        Result.from_wire({"cniVersion": version})

    assert raised.value.code == 1
    assert raised.value.msg == f"unsupported CNI result version '{version}'"


def test_a_configuration_of_an_unknown_version_is_no_default_for_a_result():
    with pytest.raises(IncompatibleVersionError, match=r"1\.1"):
        Result.from_wire({}, default_version="1.1")


def test_unknown_fields_of_a_result_are_dropped():
    """Trap: libcni decodes into structs.  The `ip` of SPEC 0.3.0 is one of them."""
    result = Result.from_wire(
        {
            "cniVersion": "0.3.0",
            "ip": [{"version": "4", "address": "10.0.0.1/8"}],
            "podnet": {},
            "interfaces": [{"name": "eth0", "colour": "red"}],
            "ips": [{"version": "4", "address": "10.0.0.2/8", "scope": "link"}],
            "dns": {"ttl": 5},
        }
    )

    assert result.to_wire() == {
        "cniVersion": "0.3.0",
        "interfaces": [{"name": "eth0"}],
        "ips": [{"version": "4", "address": "10.0.0.2/8"}],
        "dns": {},
    }


def test_fields_of_a_result_match_in_any_case():
    """Trap: Go's encoding/json matches field names in any case."""
    result = Result.from_wire(
        {
            "CNIVERSION": "1.0.0",
            "IPs": [{"Address": "10.0.0.1/8", "INTERFACE": 0}],
            "DNS": {"Domain": "x"},
        }
    )

    assert result == Result(
        cni_version="1.0.0",
        ips=(IPConfig(ip_interface("10.0.0.1/8"), interface=0),),
        dns=Dns(domain="x"),
    )


@pytest.mark.parametrize("version", RELEASED)
def test_lists_that_are_empty_or_null_are_left_out(version):
    wired = Result.from_wire(
        {
            "cniVersion": version,
            "interfaces": None,
            "ips": [],
            "routes": None,
            "ip4": None,
            "dns": None,
        }
    ).to_wire()

    assert {key: value for key, value in wired.items() if key != "dns"} == {"cniVersion": version}


@pytest.mark.parametrize("version", [*OLDEST, *OLD])
def test_dns_is_always_written_before_1_0_0(version):
    """Trap: libcni writes "dns": {} in 0.x."""
    assert Result(cni_version=version).to_wire() == {"cniVersion": version, "dns": {}}


@pytest.mark.parametrize("version", NEW)
def test_empty_dns_is_left_out_from_1_0_0_on(version):
    """Trap: libcni deletes the empty object in 1.x."""
    assert Result(cni_version=version).to_wire() == {"cniVersion": version}


@pytest.mark.parametrize(
    "dns", [Dns(("1.1.1.1",)), Dns(domain="a"), Dns(search=("a",)), Dns(options=("a",))]
)
def test_dns_that_says_anything_is_written(dns):
    wired = Result(dns=dns).to_wire()

    assert bool(dns)
    assert wired == {"cniVersion": "1.1.0", "dns": dns.to_wire()}
    assert Result.from_wire(wired).dns == dns


@pytest.mark.parametrize("version", [*OLD, *NEW])
def test_what_is_not_said_is_not_written(version):
    result = Result(
        cni_version=version,
        interfaces=(Interface("eth0"), Interface("")),
        ips=(IPConfig(ip_interface("10.0.0.1/8"), version="4" if version in OLD else ""),),
        routes=(Route(ip_interface("0.0.0.0/0")),),
    )

    wired = result.to_wire()

    assert wired["interfaces"] == [{"name": "eth0"}, {"name": ""}]
    assert wired["ips"] == [
        {"version": "4", "address": "10.0.0.1/8"} if version in OLD else {"address": "10.0.0.1/8"}
    ]
    assert wired["routes"] == [{"dst": "0.0.0.0/0"}]


def test_no_dns_is_false():
    assert not Dns()
    assert Dns.from_wire(None) == Dns()


@pytest.mark.parametrize("version", [*OLD, *NEW])
@pytest.mark.parametrize("index", [0, 7, -1])
def test_the_index_of_an_interface_is_kept_even_when_0(version, index):
    """From libcni types_test: interface index 0 is kept; Trap: it is not "empty"."""
    result = Result.from_wire(
        {
            "cniVersion": version,
            "ips": [{"address": "10.0.0.1/8", "interface": index}],
        }
    )

    assert result.ips == (IPConfig(ip_interface("10.0.0.1/8"), interface=index),)
    assert f'"interface":{index}' in wire.dumps(result.to_wire())


@pytest.mark.parametrize("version", [*OLD, *NEW])
def test_a_missing_index_of_an_interface_stays_missing(version):
    """From libcni types_test: missing index omitted."""
    result = Result.from_wire({"cniVersion": version, "ips": [{"address": "10.0.0.1/8"}]})

    assert result.ips[0].interface is None
    assert "interface" not in wire.dumps(result.to_wire())


@pytest.mark.parametrize("version", [*OLD, *NEW])
def test_table_and_scope_of_a_route_are_kept_even_when_0(version):
    """Trap: they are pointers in Go; mtu, advmss and priority are not, and 0 is left out."""
    route = {"dst": "10.0.0.0/8", "table": 0, "scope": 0, "mtu": 0, "advmss": 0, "priority": 0}
    result = Result.from_wire({"cniVersion": version, "routes": [route]})

    assert result.to_wire()["routes"] == [{"dst": "10.0.0.0/8", "table": 0, "scope": 0}]


def test_the_routes_of_the_oldest_shape_say_destination_and_gateway_only():
    result = Result.from_wire(
        {
            "ip4": {
                "ip": "10.0.0.1/8",
                "routes": [
                    {"dst": "0.0.0.0/0", "gw": "10.0.0.2", "mtu": 1400, "table": 1, "scope": 0}
                ],
            }
        }
    )

    assert result.routes == (Route(ip_interface("0.0.0.0/0"), ip_address("10.0.0.2")),)


def test_the_oldest_shape_writes_the_first_address_of_each_family_and_its_routes():
    result = Result(
        cni_version="0.2.0",
        ips=(IPConfig(ip_interface("10.0.0.1/8")), IPConfig(ip_interface("10.0.0.2/8"))),
        routes=(Route(ip_interface("::/0")), Route(ip_interface("0.0.0.0/0"), mtu=1400)),
    )

    assert result.to_wire() == {
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.0.0.1/8", "routes": [{"dst": "0.0.0.0/0"}]},
        "dns": {},
    }


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"ip4": {"ip": "fd00::1/64"}}, "ip4.ip is not an IPv4 address: fd00::1/64"),
        ({"ip6": {"ip": "10.0.0.1/8"}}, "ip6.ip is not an IPv6 address: 10.0.0.1/8"),
        ({"ip4": {}}, "ip4.ip is not an address with a prefix: ''"),
        ({"ip4": []}, "ip4 must be an object, not a list"),
        (
            {"ip4": {"ip": "10.0.0.1/8", "gateway": "x"}},
            "ip4.gateway is not an IP address: 'x'",
        ),
        (
            {"ip4": {"ip": "10.0.0.1/8", "routes": [{}]}},
            "ip4.routes[0].dst is not an address with a prefix: ''",
        ),
    ],
)
def test_a_bad_field_of_the_oldest_shape_is_refused_with_its_path(value, complaint):
    with pytest.raises(DecodeError) as raised:
        Result.from_wire({"cniVersion": "0.2.0"} | value)

    assert (raised.value.code, raised.value.msg) == (6, complaint)


@pytest.mark.parametrize("version", [*OLD, *NEW])
@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"interfaces": {}}, "interfaces must be a list, not an object"),
        ({"interfaces": ["eth0"]}, "interfaces[0] must be an object, not a string"),
        ({"interfaces": [{"name": 1}]}, "interfaces[0].name must be a string, not 1"),
        ({"ips": [{}]}, "ips[0].address is not an address with a prefix: ''"),
        (
            {"ips": [{"address": "10.0.0.1"}]},
            "ips[0].address is not an address with a prefix: '10.0.0.1'",
        ),
        (
            {"ips": [{"address": "10.0.0.1/8", "interface": 1.5}]},
            "ips[0].interface must be a whole number, not 1.5",
        ),
        (
            {"ips": [{"address": "10.0.0.1/8", "gateway": "10.0.0.1/8"}]},
            "ips[0].gateway is not an IP address: '10.0.0.1/8'",
        ),
        (
            {"routes": [{"dst": "default"}]},
            "routes[0].dst is not an address with a prefix: 'default'",
        ),
        (
            {"routes": [{"dst": "::/0", "gw": "via"}]},
            "routes[0].gw is not an IP address: 'via'",
        ),
        (
            {"routes": [{"dst": "::/0"}, {"dst": "::/0", "table": "main"}]},
            'routes[1].table must be a whole number, not "main"',
        ),
        ({"dns": {"search": "x"}}, 'dns.search must be a list, not "x"'),
    ],
)
def test_a_bad_field_of_a_result_is_refused_with_its_path(version, value, complaint):
    """From libcni types_test: bad JSON."""
    with pytest.raises(DecodeError) as raised:
        Result.from_wire({"cniVersion": version} | value)

    assert raised.value.msg == complaint


@pytest.mark.parametrize("value", [[], "x", 1, True])
def test_a_result_is_an_object(value):
    with pytest.raises(DecodeError, match="the result must be an object, not a"):
        Result.from_wire(value)


@pytest.mark.parametrize(
    ("text", "interface"),
    [
        ("10.1.2.3/8", "10.1.2.3/8"),
        ("10.1.2.3/08", "10.1.2.3/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("ABCD:0::1/64", "abcd::1/64"),
        ("::ffff:10.0.0.1/120", "10.0.0.1/24"),
        ("::ffff:0a00:1/96", "10.0.0.1/0"),
        ("::/0", "::/0"),
    ],
)
def test_an_address_with_a_prefix_is_read_as_go_reads_it(text, interface):
    """From libcni types_test: ParseCIDR keeps host bits; Trap: v4-mapped IPv6 is IPv4."""
    assert str(parse_cidr(text, "address")) == interface


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/24",
        "10.0.0.1",
        "10.0.0.1/",
        "10.0.0.1/33",
        "10.0.0.1/-1",
        "10.0.0.1/ 8",
        "10.0.0.1/8/8",
        "10.0.0.1/255.0.0.0",
        "10.0.0.1/\u0668",
        "010.0.0.1/8",
        "10.0.1/8",
        " 10.0.0.1/8",
        "10.0.0.1/8\n",
        "fe80::1%eth0/64",
        "::1/129",
        "::ffff:10.0.0.1/95",
        f"10.0.0.1/{'1' * 5000}",
        "default",
    ],
)
def test_nothing_else_is_an_address_with_a_prefix(text):
    """Trap: Python's ipaddress takes netmasks, zones, bare addresses and other digits."""
    with pytest.raises(DecodeError) as raised:
        parse_cidr(text, "ips[0].address")

    assert raised.value.msg == f"ips[0].address is not an address with a prefix: {text!r}"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("ABCD::0001", "abcd::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
    ],
)
def test_an_address_is_read_as_go_reads_it(text, address):
    """Trap: v4-mapped IPv6 is IPv4."""
    assert str(parse_address(text, "gateway")) == address


def test_an_empty_address_is_none():
    assert parse_address("", "gateway") is None


@pytest.mark.parametrize("text", ["x", "10.0.0.1/8", "fe80::1%eth0", "010.0.0.1", "1", " ::1"])
def test_nothing_else_is_an_address(text):
    with pytest.raises(DecodeError) as raised:
        parse_address(text, "gw")

    assert raised.value.msg == f"gw is not an IP address: {text!r}"


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (Result(), "ips"),
        (Interface("eth0"), "name"),
        (IPConfig(ip_interface("10.0.0.1/8")), "interface"),
        (Route(ip_interface("10.0.0.0/8")), "gw"),
        (Dns(), "domain"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_crosses_the_wire_is_a_value(value, field):
    assert hash(value) == hash(replace(value))
    with pytest.raises(FrozenInstanceError):
        setattr(value, field, None)


def test_a_route_knows_its_network():
    assert Route(ip_interface("10.1.2.3/8")).network == ip_network("10.0.0.0/8")


@pytest.mark.parametrize(("address", "family"), [("10.0.0.1/8", "4"), ("fd00::1/64", "6")])
def test_an_address_knows_its_family(address, family):
    assert IPConfig(ip_interface(address)).family == family


@pytest.mark.parametrize("version", ["", *RELEASED])
def test_only_the_oldest_versions_have_one_address_per_family(version):
    assert has_one_ip_per_family(version) is (version in {"", "0.1.0", "0.2.0"})


TEXTS = st.lists(st.text(max_size=5), max_size=2).map(tuple)
V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(network="2000::/3") | st.sampled_from(
    [ip_address("::"), ip_address("fe80::1")]
)
CIDR4 = st.builds(lambda a, n: ip_interface((a, n)), V4, st.integers(0, 32))
CIDR6 = st.builds(lambda a, n: ip_interface((a, n)), V6, st.integers(0, 128))
GATEWAYS = st.none() | V4 | V6
DNS = st.builds(Dns, TEXTS, st.text(max_size=5), TEXTS, TEXTS)
SPELLED = st.text(max_size=5)
NUMBERS = st.integers(-5, 2**40)
OPTIONAL = st.none() | st.integers(0, 300)
INTERFACES_OLD = st.builds(Interface, SPELLED, SPELLED, sandbox=SPELLED)
INTERFACES_NEW = st.builds(Interface, SPELLED, SPELLED, NUMBERS, SPELLED, SPELLED, SPELLED)
ROUTES = st.builds(Route, CIDR4 | CIDR6, GATEWAYS, NUMBERS, NUMBERS, NUMBERS, OPTIONAL, OPTIONAL)


def one_family(
    cidr: st.SearchStrategy[IPv4Interface | IPv6Interface],
) -> st.SearchStrategy[tuple[tuple[IPConfig, ...], tuple[Route, ...]]]:
    """Make nothing, or one address and the routes of its family."""
    ips = st.tuples(st.builds(IPConfig, cidr, GATEWAYS))
    routes = st.lists(st.builds(Route, cidr, GATEWAYS), max_size=2).map(tuple)
    return st.just(((), ())) | st.tuples(ips, routes)


def oldest(version: str) -> st.SearchStrategy[Result]:
    """Make results of 0.1.0 and 0.2.0."""
    return st.builds(
        lambda four, six, dns: Result(
            cni_version=version, ips=four[0] + six[0], routes=four[1] + six[1], dns=dns
        ),
        one_family(CIDR4),
        one_family(CIDR6),
        DNS,
    )


def later(version: str) -> st.SearchStrategy[Result]:
    """Make results of the versions with lists of interfaces and addresses."""
    spelled = st.sampled_from(["4", "6", ""]) if version in OLD else st.just("")
    ips = st.builds(IPConfig, CIDR4 | CIDR6, GATEWAYS, st.none() | st.integers(-1, 3), spelled)
    return st.builds(
        Result,
        cni_version=st.just(version),
        interfaces=st.lists(INTERFACES_OLD if version in OLD else INTERFACES_NEW, max_size=2).map(
            tuple
        ),
        ips=st.lists(ips, max_size=3).map(tuple),
        routes=st.lists(ROUTES, max_size=3).map(tuple),
        dns=DNS,
    )


@pytest.mark.parametrize("version", RELEASED)
@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_result_survives_the_wire_in_every_version(version, data):
    result = data.draw(oldest(version) if version in OLDEST else later(version))

    assert Result.from_wire(result.to_wire()) == result
    assert Result.from_wire(wire.loads(wire.dumps(result.to_wire()).encode())) == result


KEYS = st.sampled_from(
    [
        *["cniVersion", "interfaces", "ips", "routes", "dns", "ip4", "ip6", "ip", "gateway"],
        *["address", "dst", "gw", "table", "version", "interface", "name", "mtu", "domain"],
    ]
)
VALUES = st.sampled_from([*RELEASED, "10.0.0.1/8", "fd00::1/64", "10.0.0.1", "4", 10**4000])
NEARLY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)
SHAPED = st.fixed_dictionaries(
    {
        "cniVersion": st.sampled_from(RELEASED),
        "interfaces": st.just([]) | st.lists(st.dictionaries(KEYS, NEARLY, max_size=3), max_size=2),
        "ips": st.lists(st.fixed_dictionaries({"address": VALUES, "gateway": VALUES}), max_size=2),
        "ip4": st.none() | st.fixed_dictionaries({"ip": VALUES, "gateway": VALUES}),
        "dns": NEARLY,
    }
)


@settings(deadline=None, max_examples=150)
@given(NEARLY | SHAPED, st.sampled_from(["", *RELEASED]))
def test_any_json_is_a_result_or_a_cni_error(value, default):
    with suppress(CniError):
        result = Result.from_wire(value, default_version=default)
        assert result.cni_version in RELEASED
        again = Result.from_wire(result.to_wire())
        # Not all routes: 0.1.0 could write routes of a family that has no address.
        assert replace(again, routes=()) == replace(result, routes=())
