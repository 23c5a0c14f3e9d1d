"""The manager's decisions, without a kernel or a store."""

import json
from dataclasses import replace
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podnet.cni.errors import CniError
from podnet.kernel.neighbours import Forwarding, Neighbour
from podnet.kernel.routes import Route
from podnet_manager import desired, masquerade, netconf, subnet_env
from podnet_manager.acquire import (
    Claimant,
    Create,
    GiveBack,
    NoSubnetError,
    Reuse,
    decide,
)
from podnet_manager.backend import HostGw, Vxlan
from podnet_manager.desired import PROTOCOL, Surroundings
from podnet_manager.lease import Attributes, Lease, Subnets
from podnet_manager.log import Log
from podnet_manager.main import main
from podnet_manager.peers import Peers
from podnet_manager.reconcile import Difference, difference
from podnet_manager.status import Status
from podnet_manager.store import Change
from podnet_manager.subnet_env import SubnetEnv
from podnet_manager.uplink import Uplink


def conf(text: str) -> netconf.NetConf:
    return netconf.parse(text.encode())


# -- configuration (facts of flannel's net-conf.json)


def test_defaults_are_flannels_documented_ones() -> None:
    read = conf('{"Network": "10.5.0.0/16"}')

    assert read.backend == Vxlan(vni=1, port=8472, mtu=0)
    assert read.ipv6 is None
    assert read.ipv4 is not None
    assert (read.ipv4.subnet_len, len(read.ipv4)) == (24, 255)
    assert read.ipv4.first == ip_network("10.5.1.0/24")
    assert read.ipv4.last == ip_network("10.5.255.0/24")


@pytest.mark.parametrize(
    ("network", "length"), [("10.5.0.0/22", 24), ("10.5.0.0/23", 25), ("10.5.0.0/28", 30)]
)
def test_a_small_network_has_smaller_subnets(network: str, length: int) -> None:
    pool = conf(f'{{"Network": "{network}"}}').ipv4
    assert pool is not None
    assert pool.subnet_len == length


def test_keys_match_in_any_case_and_host_bits_are_masked() -> None:
    read = conf('{"network": "10.5.3.4/16", "backend": {"type": "HOST-GW"}}')

    assert read.backend == HostGw()
    assert read.pools[0].network == ip_network("10.5.0.0/16")


def test_dual_stack_has_a_pool_for_each_family() -> None:
    read = conf('{"EnableIPv6": true, "Network": "10.5.0.0/16", "IPv6Network": "fd00:5::/48"}')

    assert [pool.subnet_len for pool in read.pools] == [24, 64]


DUAL = '"EnableIPv6": true, "Network": "10.5.0.0/16", "IPv6Network": "fd00:5::/48"'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "Network is missing"),
        ('{"Network": "10.5.0.0"}', "must be an IPv4 network"),
        ('{"Network": "fd00::/48"}', "must be an IPv4 network"),
        ('{"Network": "10.5.0.0/29"}', "too small"),
        ('{"Network": "10.5.0.0/16", "SubnetLen": 17}', "less than four"),
        ('{"Network": "10.5.0.0/16", "SubnetLen": 31}', "at most 30"),
        ('{"Network": "10.5.0.0/16", "SubnetMin": "10.6.0.0"}', "not in"),
        ('{"Network": "10.5.0.0/16", "SubnetMin": "10.5.1.7"}', "not the beginning"),
        ('{"Network": "10.5.0.0/16", "SubnetMin": "10.5.9.0", "SubnetMax": "10.5.8.0"}', "after"),
        ('{"EnableIPv4": false}', "both false"),
        ('{"Network": "10.5.0.0/16", "Backend": {}}', "no backend"),
        ('{"Network": "10.5.0.0/16", "Backend": {"Type": "udp"}}', "no backend"),
        ('{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": 16777216}}', "VNI"),
        ('{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "Port": "1"}}', "Port"),
        ('{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "MTU": 625}}', "MTU 625"),
        (f'{{{DUAL}, "Backend": {{"Type": "vxlan", "MTU": 1349}}}}', "MTU 1349"),
    ],
)
def test_a_bad_configuration_names_field_and_reason(text: str, said: str) -> None:
    with pytest.raises(CniError) as caught:
        conf(text)

    assert said in caught.value.msg


# -- leases, as flannel writes them

VXLAN = (
    b'{"PublicIP":"10.99.0.1","PublicIPv6":null,"BackendType":"vxlan",'
    b'"BackendData":{"VNI":1,"VtepMAC":"86:b9:6b:d1:29:7c"}}'
)


@pytest.mark.parametrize(
    "value",
    [
        VXLAN,
        b'{"PublicIP":"10.99.0.1","PublicIPv6":null,"BackendType":"host-gw"}',
        b'{"PublicIP":"10.99.0.1","PublicIPv6":null}',
        (
            b'{"PublicIP":"10.99.0.1","PublicIPv6":"fd99::1","BackendType":"vxlan",'
            b'"BackendData":{"VNI":7,"VtepMAC":"6e:00:00:00:00:01"},'
            b'"BackendV6Data":{"VNI":7,"VtepMAC":"6e:00:00:00:00:02"}}'
        ),
    ],
)
def test_values_are_flannels_byte_for_byte(value: bytes) -> None:
    assert Attributes.from_wire(value).to_wire() == value


def test_an_old_value_without_vni_and_ipv6_is_read() -> None:
    old = b'{"PublicIP":"10.1.1.1","BackendType":"vxlan","BackendData":{"VtepMAC":"02:00:00:00:00:01"}}'

    assert Attributes.from_wire(old).data == {"VtepMAC": "02:00:00:00:00:01"}


@given(st.integers(0, 255), st.integers(0, 0xFFFF), st.booleans())
def test_a_key_comes_apart_again(third: int, fourth: int, dual: object) -> None:
    subnets = Subnets.of(
        (
            ip_network(f"10.5.{third}.0/24"),
            *((ip_network(f"fd00:5:0:{fourth:x}::/64"),) if dual else ()),
        )
    )

    assert Subnets.from_key(subnets.key) == subnets


def test_the_key_of_both_families_is_flannels() -> None:
    subnets = Subnets.of((ip_network("10.5.21.0/24"), ip_network("fd00:5:0:55::/64")))

    assert subnets.key == "10.5.21.0-24&fd00:5:0:55::-64"


@pytest.mark.parametrize("key", ["", "config", "10.5.1.0", "10.5.1.0-24&10.5.2.0-24", "../x-24"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(CniError):
        Subnets.from_key(key)


def test_subnet_env_has_flannels_lines_in_order() -> None:
    read = conf('{"EnableIPv6": true, "Network": "10.5.0.0/16", "IPv6Network": "fd00:5::/48"}')
    subnets = Subnets.of((ip_network("10.5.49.0/24"), ip_network("fd00:5:0:55::/64")))

    assert SubnetEnv.of(read, subnets, mtu=1430, ip_masq=True).to_text() == (
        "FLANNEL_NETWORK=10.5.0.0/16\n"
        "FLANNEL_SUBNET=10.5.49.1/24\n"
        "FLANNEL_IPV6_NETWORK=fd00:5::/48\n"
        "FLANNEL_IPV6_SUBNET=fd00:5:0:55::1/64\n"
        "FLANNEL_MTU=1430\n"
        "FLANNEL_IPMASQ=true\n"
    )


def test_what_an_earlier_run_had_is_read_from_its_file(tmp_path) -> None:
    path = tmp_path / "subnet.env"
    subnets = Subnets.of((ip_network("10.5.49.0/24"),))
    subnet_env.write(
        path, SubnetEnv.of(conf('{"Network":"10.5.0.0/16"}'), subnets, mtu=1, ip_masq=False)
    )

    assert subnet_env.read(path) == subnets
    assert path.stat().st_mode & 0o777 == 0o644
    path.write_text("FLANNEL_SUBNET\nnonsense=\n")
    assert subnet_env.read(path) is None
    assert subnet_env.read(tmp_path / "none") is None


# -- acquisition

SMALL = '{"Network": "10.5.0.0/24", "SubnetLen": 26, "Backend": {"Type": "host-gw"}}'


def lease(subnet: str, public: str, *, hold: str = "", revision: int = 1, **more: object) -> Lease:
    attributes = Attributes(public_ip=ip_address(public), **{"backend_type": "host-gw"} | more)  # type: ignore[arg-type]
    subnets = Subnets.of((ip_network(subnet),))
    return Lease(subnets=subnets, attributes=attributes, revision=revision, hold=hold)


def claimant(public: str = "10.99.0.1", **more: object) -> Claimant:
    return Claimant(attributes=Attributes(public_ip=ip_address(public)), **more)  # type: ignore[arg-type]


def test_a_lease_with_the_nodes_address_is_used_again() -> None:
    own = lease("10.5.0.64/26", "10.99.0.1")

    assert decide(conf(SMALL), (own,), claimant(), Random(1)) == Reuse(own)


def test_a_lease_that_the_configuration_does_not_allow_is_given_back() -> None:
    own = replace(lease("10.6.0.0/24", "10.99.0.1"), expires=1000.0)

    assert decide(conf(SMALL), (own,), claimant(), Random(1)) == GiveBack(own)


def test_a_reservation_that_the_configuration_does_not_allow_is_left_alone() -> None:
    reserved, own = lease("10.6.0.0/24", "10.99.0.1"), lease("10.5.0.64/26", "10.99.0.1")
    assert reserved.is_reservation

    assert isinstance(decide(conf(SMALL), (reserved,), claimant(), Random(1)), Create)
    assert decide(conf(SMALL), (reserved, own), claimant(), Random(1)) == Reuse(own)


@pytest.mark.parametrize(
    ("ours", "theirs", "is_own"),
    [
        (("10.99.0.1", None), ("10.99.0.1", None), True),
        (("10.99.0.1", None), ("10.99.0.2", None), False),
        (("10.99.0.1", "fd99::1"), ("10.99.0.2", "fd99::1"), False),
        (("10.99.0.1", "fd99::1"), (None, "fd99::1"), True),
        ((None, "fd99::1"), (None, "fd99::1"), True),
        ((None, "fd99::1"), ("10.99.0.1", None), False),
        ((None, None), ("10.99.0.1", None), False),
        ((None, None), (None, None), False),
    ],
)
def test_a_lease_is_a_nodes_own_by_an_address_that_both_have(ours, theirs, is_own) -> None:
    who, other = (
        Attributes(
            public_ip=IPv4Address(ipv4) if ipv4 else None,
            public_ipv6=IPv6Address(ipv6) if ipv6 else None,
        )
        for ipv4, ipv6 in (ours, theirs)
    )
    taken = Lease(subnets=Subnets.of((ip_network("10.5.0.64/26"),)), attributes=other)

    assert Claimant(attributes=who).is_own(taken) is is_own


def test_what_it_had_before_comes_first_unless_somebody_has_it() -> None:
    previous = Subnets.of((ip_network("10.5.0.128/26"),))
    who = claimant(previous=previous)

    assert decide(conf(SMALL), (), who, Random(1)) == Create(previous)
    taken = (lease("10.5.0.128/26", "10.99.0.9"),)
    assert decide(conf(SMALL), taken, who, Random(1)) != Create(previous)


@given(st.integers())
def test_only_free_subnets_of_the_whole_range_are_chosen(seed: int) -> None:
    taken = (lease("10.5.0.64/26", "10.99.0.8"), lease("10.5.0.192/26", "10.99.0.9"))

    step = decide(conf(SMALL), taken, claimant(), Random(seed))

    assert step == Create(Subnets.of((ip_network("10.5.0.128/26"),)))


@given(st.integers())
def test_leases_of_another_size_are_not_cut_into_or_covered(seed: int) -> None:
    """Who changes SubnetLen has Nodes that still hold the old leases."""
    taken = (
        lease("10.5.0.0/25", "10.99.0.7"),
        lease("10.5.0.128/28", "10.99.0.8"),
        lease("fd00::/64", "10.99.0.9"),
    )

    step = decide(conf(SMALL), taken, claimant(), Random(seed))

    assert step == Create(Subnets.of((ip_network("10.5.0.192/26"),)))
    before = claimant(previous=Subnets.of((ip_network("10.5.0.128/26"),)))
    assert decide(conf(SMALL), taken, before, Random(seed)) == step


def test_simultaneous_starts_are_spread_over_the_whole_network() -> None:
    big = conf('{"Network": "10.0.0.0/8"}')
    chosen = {str(decide(big, (), claimant(), Random(seed))) for seed in range(200)}

    assert len(chosen) > 190


def test_a_full_network_is_an_error_with_a_way_out() -> None:
    taken = tuple(lease(f"10.5.0.{64 * n}/26", f"10.99.0.{n + 5}") for n in (1, 2, 3))

    with pytest.raises(NoSubnetError, match="out of subnets"):
        decide(conf(SMALL), taken, claimant(), Random(1))


# -- desired state

UPLINK = Uplink(
    index=2, name="eth0", mtu=1500, ipv4=ip_address("10.99.0.1"),  # type: ignore[arg-type]
    networks=(ip_interface("10.99.0.1/16"),),
)  # fmt: skip
HERE = Surroundings(
    uplink=UPLINK,
    devices={4: 7},
    macs={4: "7a:00:00:00:00:99"},
    networks=[ip_network("10.5.0.0/16")],
)
PEER = lease(
    "10.5.43.0/24", "10.99.0.2", backend_type="vxlan", data={"VtepMAC": "7A:00:00:00:00:01"}
)


def test_a_vxlan_peer_is_a_neighbour_a_forwarding_entry_and_a_route() -> None:
    gateway, mac = ip_address("10.5.43.0"), "7a:00:00:00:00:01"

    entries, skipped = desired.entries(Vxlan(), [PEER], HERE)

    assert skipped == []
    assert entries == {
        Neighbour(7, gateway, mac),
        Forwarding(7, mac, ip_address("10.99.0.2")),
        Route(dst=ip_network("10.5.43.0/24"), gw=gateway, oif=7, onlink=True, protocol=PROTOCOL),
    }


def test_direct_routing_is_for_peers_on_the_link() -> None:
    far = lease(
        "10.5.44.0/24", "192.0.2.1", backend_type="vxlan", data={"VtepMAC": "02:00:00:00:00:02"}
    )

    entries, _ = desired.entries(Vxlan(direct_routing=True), [PEER, far], HERE)

    assert sum(isinstance(entry, Forwarding) for entry in entries) == 1
    direct = Route(
        dst=ip_network("10.5.43.0/24"), gw=ip_address("10.99.0.2"), oif=2, protocol=PROTOCOL
    )
    assert direct in entries


@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        (lease("10.5.43.0/24", "10.99.0.2"), "backend is host-gw"),
        (lease("10.5.43.0/24", "10.99.0.2", backend_type="vxlan"), "VtepMAC is None"),
        (
            lease("10.5.43.0/24", "10.99.0.2", backend_type="vxlan", data={"VtepMAC": "x"}),
            "VtepMAC",
        ),
        (
            lease(
                "10.5.43.0/24",
                "10.99.0.2",
                backend_type="vxlan",
                data={"VtepMAC": "7A:00:00:00:00:99"},
            ),
            "this Node's own",
        ),
        (
            lease(
                "0.0.0.0/0",
                "10.99.0.2",
                backend_type="vxlan",
                data={"VtepMAC": "7a:00:00:00:00:01"},
            ),
            "of no network",
        ),
    ],
)
def test_a_peer_that_cannot_be_reached_is_skipped_with_a_reason(peer: Lease, reason: str) -> None:
    entries, skipped = desired.entries(Vxlan(), [peer], HERE)

    assert entries == set()
    assert reason in skipped[0].reason


def test_a_lease_on_this_nodes_own_address_is_no_peer() -> None:
    here = replace(HERE, own={ip_address("10.99.0.1")})
    ours = lease("10.5.43.0/24", "10.99.0.1", backend_type="")

    entries, skipped = desired.entries(HostGw(), [ours, lease("10.5.44.0/24", "10.99.0.2")], here)

    assert {entry.dst for entry in entries if isinstance(entry, Route)} == {
        ip_network("10.5.44.0/24")
    }
    assert [str(one.reason) for one in skipped] == [
        "its public address, 10.99.0.1, is this Node's own, which uses another lease"
    ]


def test_host_gw_needs_its_peers_on_the_link() -> None:
    far = lease("10.5.44.0/24", "192.0.2.1")

    _, skipped = desired.entries(HostGw(), [far], HERE)

    assert "not on the link" in skipped[0].reason


@pytest.mark.parametrize("subnet", ["0.0.0.0/0", "10.0.0.0/8", "10.6.0.0/24", "::/0"])
def test_a_lease_outside_the_network_becomes_no_route(subnet: str) -> None:
    """A key like 0.0.0.0-0 would take the Node's default route away."""
    strange = lease(subnet, "10.99.0.2")

    entries, skipped = desired.entries(HostGw(), [strange], HERE)

    assert entries == set()
    assert [one.reason for one in skipped] == ["it is of no network"]


@pytest.mark.parametrize("subnet", ["10.5.1.128/25", "10.5.0.0/16"])
def test_a_lease_that_overlaps_this_nodes_becomes_no_route(subnet: str) -> None:
    """The smaller one would take the traffic of this Node's own pods."""
    here = replace(HERE, leased=[ip_network("10.5.1.0/24")])

    entries, skipped = desired.entries(HostGw(), [lease(subnet, "10.99.0.2")], here)

    assert entries == set()
    assert [one.reason for one in skipped] == ["it overlaps this Node's, 10.5.1.0/24"]


def test_a_changed_entry_is_set_and_not_removed_before() -> None:
    old = Neighbour(7, ip_address("10.5.43.0"), "02:00:00:00:00:01")
    new = Neighbour(7, ip_address("10.5.43.0"), "02:00:00:00:00:02")
    stale = Neighbour(7, ip_address("10.5.44.0"), "02:00:00:00:00:03")

    change = difference({new}, {old, stale})

    assert (*change.put,) == (new,)
    assert (*change.remove,) == (stale,)
    assert not difference({new}, {new})


def test_of_several_routes_to_one_destination_only_ours_stays() -> None:
    """The kernel holds several of IPv4, and takes the first."""
    ours, first = (
        Route(dst=ip_network("10.5.43.0/24"), gw=ip_address(gateway), oif=2)
        for gateway in ("10.99.0.2", "10.99.0.77")
    )

    assert difference({ours}, {ours, first}) == Difference(frozenset({first}), frozenset())
    assert difference({ours}, {first}) == Difference(frozenset(), frozenset({ours}))


# -- peers


def test_peers_linger_when_their_leases_end_because_the_store_was_out() -> None:
    now = [0.0]
    peers = Peers(grace=10, clock=lambda: now[0])
    own, peer = lease("10.5.0.64/26", "10.99.0.1"), lease("10.5.0.128/26", "10.99.0.2")
    peers.replace([own, peer])
    peers.store_was_out()

    assert peers.change(Change(peer.subnets, None))
    assert peers.others(own.subnets) == [peer]
    now[0] = 11
    assert peers.others(own.subnets) == []


def test_without_an_outage_a_peer_goes_at_once() -> None:
    peers = Peers(grace=10, clock=lambda: 0.0)
    own, peer = lease("10.5.0.64/26", "10.99.0.1"), lease("10.5.0.128/26", "10.99.0.2")
    peers.replace([own, peer])

    peers.replace([own])

    assert peers.others(own.subnets) == []


def test_a_resync_never_takes_the_own_subnet_for_a_peer() -> None:
    peers = Peers(grace=10)
    own = lease("10.5.0.64/26", "10.99.0.1")
    for _ in range(3):
        peers.replace([own])

    assert peers.others(own.subnets) == []


# -- rules


def test_rules_keep_the_kube_proxy_mark_apart_and_masquerade_the_host() -> None:
    read = conf('{"Network": "10.5.0.0/16"}')
    [table] = masquerade.tables(
        read, Subnets.of((ip_network("10.5.49.0/24"),)), ip_masq=True, forward=True
    )

    assert table.rules["postrtg"][0] == "meta mark & 0x4000 == 0x4000 return"
    assert table.rules["postrtg"][-1].startswith(
        "ip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 masq"
    )
    assert "ip saddr != 10.5.0.0/16 ip daddr 10.5.49.0/24 return" in table.rules["postrtg"]


def test_every_masquerading_draws_its_port_at_random() -> None:
    """Two DNS queries at once would otherwise get one port, and one of them no answer."""
    read = conf('{"EnableIPv6": true, "Network": "10.5.0.0/16", "IPv6Network": "fd00:5::/48"}')
    own = Subnets.of((ip_network("10.5.49.0/24"), ip_network("fd00:5:0:55::/64")))

    made = masquerade.tables(read, own, ip_masq=True, forward=False)

    rules = [rule for table in made for rule in table.rules["postrtg"] if "masquerade" in rule]
    assert len(rules) == 4
    assert all(rule.endswith(" masquerade fully-random") for rule in rules)


# -- what is said


def test_a_line_of_the_log_is_json_with_time_level_event_and_facts(capsys) -> None:
    log = Log(as_json=True)
    log.say("entries", peers=2, change="3 to set", nothing="")
    log.complain("trouble", reason='it said "no"\nand hung up')

    said, complained = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert datetime.fromisoformat(said.pop("time")).tzinfo is not None
    assert said == {"level": "info", "event": "entries", "peers": 2, "change": "3 to set"}
    assert (complained["level"], complained["reason"]) == ("warning", 'it said "no"\nand hung up')


def test_a_line_for_people_is_one_line_whatever_it_says(capsys) -> None:
    Log().complain("trouble", reason="first\nsecond=2", lease="10.5.1.0/24")

    (line,) = capsys.readouterr().err.splitlines()
    assert line.split(" ", 1)[1] == ('warning: trouble reason="first\\nsecond=2" lease=10.5.1.0/24')


def test_an_outage_is_said_when_it_begins_and_when_it_ends(capsys) -> None:
    status = Status(ready=True, lease="10.5.1.0/24 of 10.99.0.1")
    for problem in ("", "refused", "timed out"):
        status.store_says(problem, Log())

    assert "podnet_manager_store_up 0\n" in status.to_metrics()
    assert "podnet_manager_store_failures_total 2\n" in status.to_metrics()
    assert status.to_words().endswith("; the lease store does not answer: timed out")
    status.store_says("", Log())
    status.store_says("", Log())

    said = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert said == [
        "warning: the lease store does not answer reason=refused",
        "the lease store answers again",
    ]
    assert "podnet_manager_store_up 1\n" in status.to_metrics()


def test_metrics_are_what_prometheus_reads() -> None:
    lines = Status().to_metrics().splitlines()

    named = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    values = dict(line.split() for line in lines if not line.startswith("#"))
    assert [*values] == named
    assert len(set(named)) == len(named)
    assert float(values["process_resident_memory_bytes"]) > 1e6
    assert float(values["process_cpu_seconds_total"]) > 0
    assert all(
        ("# TYPE " + name + " counter" in lines) == name.endswith("_total") for name in named
    )


# -- the command line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lease-ttl", "abc"], "abc is no number of seconds"),
        (["--resync", "0"], "0 is no number of seconds"),
        (["--public-ip", "fd00::1"], "fd00::1 is no IPv4 address"),
        (["--public-ipv6", "10.0.0.1"], "10.0.0.1 is no IPv6 address"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_in_words(arguments, said, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err
