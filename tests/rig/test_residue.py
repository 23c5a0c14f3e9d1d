"""Whose a residue is, and whether it may be there: the judgement, without a kernel."""

import pytest

from podnet.kernel.facts import Fact, stated
from podnet.rig.picture import NODE
from podnet.rig.residue import Marks, Scope, residues

START = frozenset(
    {
        Fact("link", "eth0", stated(mtu=1500), NODE),
        Fact("sysctl", "ipv4/ip_forward", (("value", "0"),), NODE),
        Fact("route", "0.0.0.0/0 via 192.0.2.1 dev eth0 table main", (), NODE),
        Fact("file", "/var/lib/db", stated(content="1"), NODE),
    }
)
MARKS = Marks(names={"0123456789a"}, addresses={"10.1.0.2", "fd00::2", "02:00:00:00:00:01"})
BRIDGE = Fact("link", "cni0", stated(kind="bridge"), NODE)


def fact(what: str, key: str, /, **said: object) -> Fact:
    return Fact(what, key, stated(**said), NODE)


#: What is there afterwards, whose it is, and whether it leaks.
CAME = {
    "a bridge": ([BRIDGE], Scope.NETWORK, False),
    "its address": ([fact("address", "10.1.0.1/24 dev cni0"), BRIDGE], Scope.NETWORK, False),
    "a route that came with it": (
        [fact("route", "10.1.0.0/24 dev cni0 table main", protocol="kernel"), BRIDGE],
        Scope.NETWORK,
        False,
    ),
    "a route that did not": (
        [fact("route", "10.5.0.0/24 dev cni0 table main", protocol="boot"), BRIDGE],
        Scope.NETWORK,
        True,
    ),
    "the pair into a VLAN of it": (
        [fact("link", "cni0.7", kind="veth"), BRIDGE],
        Scope.NETWORK,
        False,
    ),
    "a pair": ([fact("link", "veth1", kind="veth")], Scope.ATTACHMENT, True),
    "what is on a pair": (
        [fact("address", "10.1.0.9/32 dev veth1"), fact("link", "veth1", kind="veth")],
        Scope.ATTACHMENT,
        True,
    ),
    "a chain": ([fact("iptables chain", "nat CNI-HOSTPORT-DNAT")], Scope.NETWORK, False),
    "a rule for the pod": (
        [fact("iptables rule", "nat POSTROUTING -s 10.1.0.2/32 -j X")],
        Scope.ATTACHMENT,
        True,
    ),
    "a rule for another address that begins alike": (
        [fact("iptables rule", "nat POSTROUTING -s 10.1.0.20/32 -j X")],
        Scope.NETWORK,
        False,
    ),
    "a file with the pod's ID in it": (
        [fact("file", "/var/lib/cni/x", content="0123456789abcdef\neth0")],
        Scope.ATTACHMENT,
        True,
    ),
    "a file that is named after the pod's address": (
        [fact("file", "/var/lib/cni/10.1.0.2")],
        Scope.ATTACHMENT,
        True,
    ),
    "the last address that was given": (
        [fact("file", "/var/lib/cni/last_reserved_ip.0", content="10.1.0.2")],
        Scope.NETWORK,
        False,
    ),
    "a queue on the host's link": ([fact("qdisc", "tbf 1: dev eth0 root")], Scope.HOST, True),
    "an address on the host's link": ([fact("address", "10.9.0.1/32 dev eth0")], Scope.HOST, True),
    "a process": ([fact("process", "sleep 9 (pid 7)")], Scope.ATTACHMENT, True),
    "a policy rule": ([fact("rule", "IPv4 500: from all lookup 7")], Scope.ATTACHMENT, True),
    "a sysctl that a network needs": (
        [fact("sysctl", "ipv4/ip_forward", value="1")],
        Scope.HOST,
        False,
    ),
    "one that none needs": (
        [fact("sysctl", "ipv4/conf/eth0/rp_filter", value="0")],
        Scope.HOST,
        True,
    ),
    "one of the bridge": (
        [fact("sysctl", "ipv6/conf/cni0/accept_ra", value="0"), BRIDGE],
        Scope.NETWORK,
        False,
    ),
    "another MTU of the host's link": ([fact("link", "eth0", mtu=1400)], Scope.HOST, True),
    "a file of the host's that was written": (
        [fact("file", "/var/lib/db", content="2")],
        Scope.HOST,
        False,
    ),
}


@pytest.mark.parametrize("what", CAME)
def test_a_residue_has_a_scope_and_may_stay_or_not(what: str) -> None:
    came, scope, leaks = CAME[what]
    kept = {one for one in START if one.identity not in {new.identity for new in came}}
    after = frozenset(kept | set(came))

    found = {one.example: one for one in residues(START, after, after, MARKS)}

    assert (found[came[0]].scope, found[came[0]].leak) == (scope, leaks)
    if not leaks:
        assert residues(START, after, after, MARKS, strict=True)[0].leak


@pytest.mark.parametrize(
    ("key", "theirs"),
    [("/run/netns/web", True), ("/run/cobweb", False), ("/run/web-1", True), ("/run/webs", False)],
)
def test_a_short_name_is_a_mark_only_where_it_is_a_word(key: str, *, theirs: bool) -> None:
    assert Marks(names={"web"}).are_on(fact("file", key)) is theirs


def test_what_was_the_hosts_and_is_gone_leaks() -> None:
    route = next(one for one in START if one.kind == "route")
    after = START - {route}

    (found,) = residues(START, after, after, MARKS)

    assert (found.what, found.example, found.leak) == ("removed", route, True)


def test_what_is_replaced_does_not_grow() -> None:
    first = START | {fact("file", "/run/state.1")}
    last = START | {fact("file", "/run/state.2")}

    (found,) = residues(START, first, last, MARKS)

    assert (found.grows, found.leak) == (False, False)


def test_what_grows_leaks_and_the_one_that_may_stay_is_not_counted() -> None:
    first = START | {fact("file", "/run/state.1")}
    last = first | {fact("file", "/run/state.2"), fact("file", "/run/state.3")}

    grown, kept = residues(START, first, last, MARKS)

    assert (grown.grows, grown.leak, len(grown.facts)) == (True, True, 2)
    assert (kept.grows, kept.leak, len(kept.facts)) == (False, False, 1)
