"""The leak detector finds what plugins leave, names who left it, and is silent where nothing leaks."""

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from podnet import confdir, places
from podnet.cni.config import Network
from podnet.errors import LeakError
from podnet.places import Places
from podnet.plugin_host import PluginHost
from podnet.rig.cycles import Plan
from podnet.rig.leaks import Report, detect
from podnet.testing import stub_plugin
from podnet.wishes import Wish

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="no root: a Node needs CAP_SYS_ADMIN"),
]

# What the Node has before: an uplink with a queue and a route, a bridge with a port.
PREPARE = (
    "ip link add up0 type veth peer name up1",
    "ip link add br9 type bridge",
    "ip link set up1 master br9",
    "ip link set br9 up",
    "ip link set up1 up",
    "ip link set up0 up",
    "ip addr add 203.0.113.1/24 dev up0",
    "ip route add 203.0.114.0/24 via 203.0.113.9",
    "tc qdisc add dev up0 ingress",
    "tc qdisc add dev up1 root handle 1: htb",
    "nft add table inet mine",
    "nft add set inet mine s { type ipv4_addr ; }",
)
IPSET = (
    f"{sys.executable} -c 'from pyroute2 import IPSet; s = IPSet(); "
    's.create("leak-" + "\'$ID\'", stype="hash:ip")\''
)
# A kind of object: what ADD does that DEL does not undo, and how the residue is called.
PLANTED = {
    "link": ("ip link add v$ID type veth peer name w$ID", "link v"),
    "link that is the same each time": ("ip link add leak0 type ifb || :", "link leak0"),
    "attribute of a link": ("ip link set up0 mtu 1400", "link up0"),
    "address": ("ip addr replace 192.0.2.7/32 dev lo", "address 192.0.2.7/32 dev lo"),
    "IPv6 address": ("ip addr replace fd00::7/128 dev br9", "address fd00::7/128 dev br9"),
    "route": ("ip route replace 198.51.100.0/24 via 203.0.113.8", "route 198.51.100.0/24"),
    "route of another table": (
        "ip route replace blackhole 10.66.0.0/16 table 99",
        "route blackhole",
    ),
    "IPv6 route": ("ip -6 route replace fd77::/64 dev up0", "route fd77::/64"),
    "next hop": ("ip nexthop replace id 7 via 203.0.113.9 dev up0", "nexthop 7"),
    "rule": ("ip rule add from 10.1.0.2 lookup 99 priority 500 || :", "rule IPv4 500"),
    "neighbour": (
        "ip neigh replace 203.0.113.7 lladdr 02:00:00:00:00:01 dev up0 nud permanent",
        "neighbour 203.0.113.7",
    ),
    "forwarding entry": ("bridge fdb replace 02:00:00:00:00:07 dev up1 master static", "fdb 02:"),
    "qdisc": (
        "tc qdisc replace dev up0 root handle 7: tbf rate 8mbit burst 9kb latency 9ms",
        "qdisc",
    ),
    "class": ("tc class replace dev up1 parent 1: classid 1:5 htb rate 1mbit", "class htb 1:5"),
    "filter": (
        (
            "tc filter replace dev up0 parent ffff: protocol all prio 3 handle 800::5 u32 match u32 0 0 "
            "action mirred egress redirect dev br9"
        ),
        "filter u32 dev up0",
    ),
    "nftables rule": (
        "nft 'add table ip t; add chain ip t c; add rule ip t c ip saddr 10.66.0.1 accept'",
        "nft rule ip t c",
    ),
    "element of an nftables set": (
        "nft add element inet mine s { 10.1.0.2 }",
        "nft element inet mine",
    ),
    "iptables rule": ("iptables -A FORWARD -s 10.1.0.2 -j ACCEPT", "iptables rule filter FORWARD"),
    "ip6tables chain": ("ip6tables -N CNI-$ID", "ip6tables chain filter CNI-"),
    "rule of the older iptables": (
        "iptables-legacy -A FORWARD -s 10.1.0.2 -j ACCEPT",
        "legacy iptables rule",
    ),
    "IP set": (IPSET, "ipset leak-"),
    "sysctl": ("echo 0 > /proc/sys/net/ipv4/tcp_syncookies", "sysctl ipv4/tcp_syncookies"),
    "sysctl of a link": ("echo 1 > /proc/sys/net/ipv4/conf/up0/arp_notify", "sysctl ipv4/conf/up0"),
    "namespace": ("ip netns add leak-$ID", "namespace /run/netns/leak-"),
    "mount": ("mkdir /run/m$ID; mount -t tmpfs none /run/m$ID", "mount tmpfs /run/m"),
    "process": ("sleep 20 >/dev/null 2>&1 </dev/null &", "process sleep 20"),
    "lock": (
        "exec 9>/run/leak.lock; flock -n 9 || :; sleep 20 >/dev/null 2>&1 </dev/null &",
        "lock flock write /run/leak.lock",
    ),
    "file": (
        "mkdir -p /var/lib/mine; echo x > /var/lib/mine/$CNI_CONTAINERID",
        "file /var/lib/mine/",
    ),
    "content of a file": (
        "mkdir -p /var/lib/mine; echo $CNI_CONTAINERID > /var/lib/mine/last",
        "file /var/lib/mine/last",
    ),
    "route that was the host's": ("ip route del 203.0.114.0/24 || :", "route 203.0.114.0/24"),
}
NEEDED = {"IP set": "ip", "rule of the older iptables": "iptables-legacy", "lock": "flock"}
RESULT = {
    "cniVersion": "1.0.0",
    "ips": [{"address": "10.1.0.2/24"}],
}


def chain(*types: str) -> Network:
    listed = [{"type": name} for name in types]
    return Network.from_wire({"cniVersion": "1.0.0", "name": "demo", "plugins": listed})


def plan(directory: Path, network: Network, **settings: object) -> Plan:
    found = places.resolve({"CNI_PATH": str(directory)}, conf_dir=directory)
    return Plan(wish=Wish(network=network), places=found, **settings)  # type: ignore[arg-type]


def stub(directory: Path, name: str, *, add: str = ":", delete: str = ":") -> None:
    script = (
        "exec 3>&1 1>&2; ID=$(echo $CNI_CONTAINERID | cut -c1-8)\n"
        f"case $CNI_COMMAND in ADD) {add}\n;; DEL) {delete}\n;; esac\nexec 9>&- 1>&3 3>&-"
    )
    stub_plugin(directory, name, stdout=RESULT, script=script)


@pytest.fixture
def ended() -> Iterator[list[Report]]:
    """Ends the processes that reports tell of."""
    reports: list[Report] = []
    yield reports
    for fact in (f for r in reports for found in r.found for f in found.residue.facts):
        if fact.kind == "process" and (pid := re.search(r"\(pid (\d+)\)", fact.key)):
            with suppress(ProcessLookupError):
                os.kill(int(pid[1]), signal.SIGKILL)


@pytest.mark.parametrize("what", PLANTED)
def test_a_leak_is_found_and_its_maker_named(
    what: str, tmp_path: Path, ended: list[Report]
) -> None:
    if shutil.which(NEEDED.get(what, "sh")) is None:
        pytest.skip(f"there is no {NEEDED[what]} program")
    act, called = PLANTED[what]
    stub(tmp_path, "first")
    stub(tmp_path, "leaky", add=act)
    stub(tmp_path, "last")

    report = detect(plan(tmp_path, chain("first", "leaky", "last"), cycles=2, prepare=PREPARE))
    ended.append(report)

    assert report.failure is None
    leaks = [found for found in report.leaks if str(found.residue.example).startswith(called)]
    assert leaks, report.found
    makers = {(m.verb, m.plugin, m.position) for found in report.leaks for m in found.makers}
    assert makers == {("ADD", "leaky", 1)}, leaks_of(report)
    with pytest.raises(LeakError, match="by ADD leaky 2/3"):
        report.require()


def test_a_leak_of_del_is_dels(tmp_path: Path) -> None:
    stub(tmp_path, "first", delete="echo x > /run/$CNI_CONTAINERID")
    stub(tmp_path, "last")

    report = detect(plan(tmp_path, chain("first", "last"), cycles=2))

    (leak,) = report.leaks
    assert {(m.verb, m.plugin, m.cycle) for m in leak.makers} == {
        ("DEL", "first", 1),
        ("DEL", "first", 2),
    }
    assert len(leak.residue.facts) == 2


def test_what_is_undone_does_not_leak(tmp_path: Path) -> None:
    add = "ip link add leak0 type ifb; iptables -A FORWARD -s 10.1.0.2 -j ACCEPT"
    delete = "ip link del leak0; iptables -D FORWARD -s 10.1.0.2 -j ACCEPT"
    stub(tmp_path, "first", add=add, delete=delete)

    report = detect(plan(tmp_path, chain("first"), cycles=2, prepare=PREPARE, strict=True))

    assert report.found == ()
    assert report.invocations == 4
    report.require()


def test_what_the_network_keeps_may_stay_but_not_grow(tmp_path: Path) -> None:
    keeps = "ip link add net0 type bridge || :; ip addr replace 10.1.0.1/24 dev net0"
    grows = "; nft 'add table ip t; add chain ip t c; add rule ip t c accept'"
    stub(tmp_path, "first", add=keeps + grows)

    report = detect(plan(tmp_path, chain("first"), cycles=3))

    assert {str(found.residue.example) for found in report.found if not found.residue.leak} == {
        "link net0",
        "address 10.1.0.1/24 dev net0",
        "route local 10.1.0.1/32 dev net0 table local",
        "nft table ip t",
        "nft chain ip t c",
        "nft rule ip t c: accept",
    }
    (leak,) = report.leaks
    assert leak.residue.grows
    assert [fact.key for fact in leak.residue.facts] == [
        "ip t c: accept #2",
        "ip t c: accept #3",
    ]


def test_strictly_nothing_may_stay_but_what_is_allowed(tmp_path: Path) -> None:
    stub(tmp_path, "first", add="ip link add net0 type bridge || :; echo > /run/mine")

    strict = plan(tmp_path, chain("first"), cycles=1, strict=True)
    allowed = plan(
        tmp_path, chain("first"), cycles=1, strict=True, allowed=("link *", "file /run/*")
    )

    assert {str(found.residue.example) for found in detect(strict).leaks} == {
        "link net0",
        "file /run/mine",
    }
    assert detect(allowed).leaks == ()


def test_a_namespace_that_is_lost_before_del_is_told_to_nobody(tmp_path: Path) -> None:
    gone = '[ -n "$CNI_NETNS" ] && rm /run/$CNI_CONTAINERID || :'
    stub(tmp_path, "first", add="echo x > /run/$CNI_CONTAINERID", delete=gone)

    kept = detect(plan(tmp_path, chain("first"), cycles=2))
    lost = detect(plan(tmp_path, chain("first"), cycles=2, lose=True))

    assert kept.leaks == ()
    assert [len(found.residue.facts) for found in lost.leaks] == [2]


def test_what_an_add_that_failed_left_is_told_with_the_failure(tmp_path: Path) -> None:
    stub(tmp_path, "first", add="echo x > /run/$CNI_CONTAINERID")
    stub_plugin(tmp_path, "last", status=1, stdout={"code": 11, "msg": "come back later"})

    report = detect(plan(tmp_path, chain("first", "last"), cycles=2))

    assert "come back later" in str(report.failure)
    assert report.cycles == 0
    assert [str(m) for found in report.leaks for m in found.makers] == ["ADD first 1/2"]


def test_a_pod_that_check_complains_of_goes_like_any_other(tmp_path: Path) -> None:
    stub(tmp_path, "first", add="echo x > /run/$CNI_CONTAINERID", delete="rm /run/$CNI_CONTAINERID")
    stub_plugin(tmp_path, "last", stdout=RESULT, script="[ $CNI_COMMAND != CHECK ] || exit 1")

    report = detect(plan(tmp_path, chain("first", "last"), cycles=2, check=True))

    assert "failed on CHECK" in str(report.failure)
    assert report.leaks == ()


def test_a_result_that_is_not_true_is_told(tmp_path: Path) -> None:
    stub_plugin(
        tmp_path,
        "liar",
        stdout={
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "eth0", "sandbox": "/run/netns/x"}],
            "ips": [{"address": "10.1.0.2/24", "interface": 0}],
        },
    )

    report = detect(plan(tmp_path, chain("liar"), cycles=1))

    assert report.untrue == (
        "interface eth0 is not in the container",
        "address 10.1.0.2/24 is not on interface eth0",
    )


# Looks whether it is there, and makes it when it was not.  Those that come together wait until
# both have looked; the one before them was alone, and its ADD the first call of all.
MAKES_TWICE = """nft list table ip t 2>/dev/null && there=1
echo > /run/looked-$ID; tries=0
until [ $n = 0 ] || [ $(ls /run/looked-* | wc -l) -gt 1 ] || [ $tries = 1000 ]; do
    sleep 0.02; tries=$((tries+1))
done
[ $there ] || nft 'add table ip t; add chain ip t c; add rule ip t c accept'"""


def test_what_several_make_twice_is_found_and_its_maker_known_from_one_alone(
    tmp_path: Path,
) -> None:
    stub(tmp_path, "first")
    stub(tmp_path, "racy", add=MAKES_TWICE, delete="rm /run/looked-$ID")

    report = detect(plan(tmp_path, chain("first", "racy"), cycles=1, at_once=2))

    assert report.failure is None
    (leak,) = report.leaks
    assert str(leak.residue.example) == "nft rule ip t c: accept #2"
    assert set(map(str, leak.makers)) == {"ADD racy 2/2"}
    assert report.invocations == 8


def clean(network: Network, found: Places, cycles: int, host: PluginHost | None = None) -> Report:
    asked: dict[str, object] = {
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
        "bandwidth": {"ingressRate": 10**6, "ingressBurst": 10**6},
    }
    taken = {name for plugin in network.plugins for name in plugin.capabilities}
    wish = Wish(network=network, capability_args={k: v for k, v in asked.items() if k in taken})
    return detect(Plan(wish=wish, places=found, cycles=cycles, host=host))


def leaks_of(report: Report) -> Sequence[str]:
    assert report.failure is None
    return [str(found) for found in report.leaks]


@pytest.mark.parametrize(("file", "cycles"), [("10-podnet", 20), ("50-reference", 5)])
def test_podnets_own_plugins_leak_nothing(file: str, cycles: int) -> None:
    found = places.resolve({})
    host = PluginHost(Path(places.embedded_plugins()[0]))
    network = confdir.load(places.packaged_networks() / f"{file}.conflist")
    try:
        report = clean(network, found, cycles=cycles, host=host)
    finally:
        host.close()

    assert leaks_of(report) == []
    assert report.untrue == ()


def test_the_reference_plugins_leak_nothing_where_all_goes_well(debian_plugins: str) -> None:
    found = places.resolve({"CNI_PATH": debian_plugins})
    network = confdir.load(places.packaged_networks() / "50-reference.conflist")

    report = clean(network, found, cycles=5)

    assert leaks_of(report) == []
    assert report.untrue == ()


IPAM = {"type": "host-local", "ranges": [[{"subnet": "10.5.0.0/24"}]]}
# Chains whose pods leave something when their namespaces are lost, as by the reference; what it is.
LOST = {
    "masquerading": (
        [{"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "ipam": IPAM}],
        {("iptables chain", "ADD bridge 1/1"), ("iptables rule", "ADD bridge 1/1")},
    ),
    "anti-spoofing": (
        [{"type": "bridge", "bridge": "cni0", "macspoofchk": True, "ipam": IPAM}],
        {("nft chain", "ADD bridge 1/1"), ("nft rule", "ADD bridge 1/1")},
    ),
    "tuning": (
        [{"type": "bridge", "bridge": "cni0", "ipam": IPAM}, {"type": "tuning", "mtu": 1400}],
        {("file", "ADD tuning 2/2")},
    ),
}


@pytest.mark.parametrize("what", LOST)
def test_the_reference_leaves_what_podnets_own_removes_when_a_namespace_is_lost(
    what: str, debian_plugins: str
) -> None:
    listed, left = LOST[what]
    network = Network.from_wire({"cniVersion": "1.0.0", "name": "demo", "plugins": listed})
    theirs, ours = places.resolve({"CNI_PATH": debian_plugins}), places.resolve({})
    host = PluginHost(Path(places.embedded_plugins()[0]))
    wish = Wish(network=network)
    try:
        own = detect(Plan(wish=wish, places=ours, cycles=2, lose=True, host=host))
    finally:
        host.close()

    report = detect(Plan(wish=wish, places=theirs, cycles=2, lose=True))

    assert leaks_of(own) == []
    assert {
        (leak.residue.example.kind, str(m)) for leak in report.leaks for m in leak.makers
    } == left
