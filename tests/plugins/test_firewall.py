"""firewall: by traffic and by rules, through both firewalls, after bridges in real chains."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from tests.plugins import in_process

import podnet_plugins
from podnet_plugins import bridge, firewall, firewall_users, skel
from podnet_plugins.firewall_users import ISOLATED, OPEN, SAME_BRIDGE, User

OURS = str(Path(podnet_plugins.__file__).parent / "bin")
BACKENDS = ("iptables", "nftables")
OUTSIDE = ("192.0.2.2", "fd09::2")


def _bridge(network: int) -> dict[str, Any]:
    """A bridge of its own for each network."""
    subnets = (f"10.{network}.0.0/24", f"fd0{network}::/64")
    return {
        "type": "bridge",
        "name": f"net{network}",
        "bridge": f"br{network}",
        "isGateway": True,
        "cniVersion": "1.0.0",
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": subnet}] for subnet in subnets],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        },
    }


class World:
    """A host with an outside, two bridges, and firewall run on what is on them."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self.outside = host.container("outside")
        # The host asks for neighbours with its link-local address, which would be tentative for 1 s.
        host.sh(
            "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0;"
            "ip link add wan type veth peer name eth0 netns outside; ip link set wan up;"
            "ip addr add 192.0.2.1/24 dev wan; ip addr add fd09::1/64 dev wan nodad"
        )
        host.sh(
            "ip link set eth0 up; ip addr add 192.0.2.2/24 dev eth0;"
            "ip addr add fd09::2/64 dev eth0 nodad;"
            "ip route add default via 192.0.2.1; ip route add default via fd09::1",
            netns=self.outside,
        )
        self.results: dict[str, Any] = {}

    def pod(self, cid: str, network: int = 1) -> list[str]:
        """Plug a container into a network's bridge; its addresses."""
        netns: str = self.host.container(cid)
        # Not as a process of its own: it is not what is tested here.
        environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": cid, "CNI_IFNAME": "eth0"}
        environment |= {"CNI_NETNS": netns, "CNI_PATH": OURS}
        stdin = json.dumps(_bridge(network)).encode()
        with patch.dict(os.environ, environment):
            made = self.host.node.run(skel.respond, bridge.PLUGIN, environment, lambda: stdin)
        self.results[cid] = made
        return [ip["address"].partition("/")[0] for ip in made["ips"]]

    def config(self, cid: str, network: int = 1, **keys: Any) -> dict[str, Any]:
        """A firewall configuration, as it comes after the bridge's ADD."""
        config = {"type": "firewall", "cniVersion": "1.0.0", "name": f"net{network}"}
        return config | {"prevResult": self.results[cid]} | keys

    def call(self, verb: str, config: Any, cid: str = "c1", **more: Any) -> Any:
        """Run firewall."""
        return self.host.call(verb, config, cid=cid, **more)

    def let(self, cid: str, network: int = 1, **keys: Any) -> dict[str, Any]:
        """Plug a container in and let it through; the configuration that did it."""
        self.pod(cid, network)
        config = self.config(cid, network, **keys)
        assert self.call("ADD", config, cid).result == self.results[cid]
        return config

    def reaches(self, address: str, origin: str, *, wait: float = 2) -> bool:
        """Tell whether an address answers inside a container."""
        found: bool = self.host.reaches(address, netns=f"/run/netns/{origin}", timeout=wait)
        return found

    def iptables(self) -> list[str]:
        """The rules of both families."""
        save = "{0}-save -t filter | sed -n 's/^-A/{0} -A/p'"
        printed = self.host.sh(f"{save.format('iptables')}; {save.format('ip6tables')}")
        return list(printed.splitlines())

    def nft(self) -> list[str]:
        """The rules of our own table, with the handle last."""
        printed = self.host.sh("nft -a list table inet podnet_firewall 2>/dev/null || true")
        found, chain = [], ""
        for words in map(str.split, printed.splitlines()):
            if words[:1] == ["chain"]:
                chain = words[1]
            elif words[-2:-1] == ["handle"] and words[0] not in {"table", "type"}:
                found.append(" ".join([chain, *words]))
        return found

    def rules(self) -> list[str]:
        """All rules, without handles."""
        return self.iptables() + [rule.partition(" # handle")[0] for rule in self.nft()]


@pytest.fixture
def world(host: Any) -> World:
    """A host with an outside."""
    return World(host)


# Traffic


def test_what_the_host_would_drop_is_let_through_from_the_container_and_back(world):
    world.host.sh("iptables -P FORWARD DROP; ip6tables -P FORWARD DROP")
    inside = world.pod("c1")
    for address in OUTSIDE:
        assert not world.reaches(address, "c1", wait=0.2)

    config = world.config("c1")
    world.call("ADD", config)

    for address, own in zip(OUTSIDE, inside, strict=True):
        assert world.reaches(address, "c1")
        assert not world.reaches(own, "outside", wait=0.2)
    world.call("DEL", config)
    for address in OUTSIDE:
        assert not world.reaches(address, "c1", wait=0.2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("policy", ["open", "same-bridge", "isolated"])
def test_the_ingress_policy_says_who_reaches_whom(world, backend, policy):
    frames = "if [ -e /proc/sys/net/bridge ]; then sysctl -qw net.bridge.bridge-nf-call-{0}=1; fi"
    world.host.sh("; ".join(frames.format(name) for name in ("iptables", "ip6tables")))
    filtered = world.host.sh("cat /proc/sys/net/bridge/bridge-nf-call-iptables || true") == "1\n"
    keys = {"backend": backend, "ingressPolicy": policy}
    for cid, network in (("c1", 1), ("c2", 1), ("c3", 2)):
        config = world.let(cid, network, **keys)
        assert world.call("CHECK", config, cid).status == 0

    for family in (0, 1):
        neighbour, far = (world.results[cid]["ips"][family]["address"] for cid in ("c2", "c3"))
        near = policy != "isolated" or not filtered
        wait = 2 if near else 0.2
        assert world.reaches(neighbour.partition("/")[0], "c1", wait=wait) == near
        wait = 2 if policy == "open" else 0.2
        assert world.reaches(far.partition("/")[0], "c1", wait=wait) == (policy == "open")
        assert world.reaches(OUTSIDE[family], "c1")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_container_s_own_rules_do_not_open_what_isolation_closed(world, backend):
    world.let("c3", 2, backend=backend)
    world.let("c1", backend=backend, ingressPolicy="same-bridge")
    world.let("c2", 2, backend=backend, ingressPolicy="same-bridge")

    for far, near in (("10.2.0.2", "10.1.0.2"), ("fd02::2", "fd01::2")):
        assert not world.reaches(far, "c1", wait=0.2)
        assert not world.reaches(near, "c3", wait=0.2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_administrator_s_chain_is_asked_first(world, backend):
    world.let("c1", backend=backend, iptablesAdminChainName="MINE")
    world.let("c3", 2, backend=backend)
    assert world.reaches(OUTSIDE[0], "c1")

    if backend == "iptables":
        world.host.sh("iptables -A MINE -d 192.0.2.2 -j DROP")
    else:
        world.host.sh("nft add rule inet podnet_firewall MINE ip daddr 192.0.2.2 drop")

    assert not world.reaches(OUTSIDE[0], "c1", wait=0.2)
    assert world.reaches(OUTSIDE[1], "c1")


# Rules


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_second_add_leaves_each_rule_once(world, backend):
    config = world.let("c1", backend=backend, ingressPolicy="isolated")
    before = world.rules()

    world.call("ADD", config)

    assert sorted(world.rules()) == sorted(before)
    assert len(set(before)) == len(before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_twenty_at_once_leave_each_shared_rule_once(world, backend):
    keys = {"backend": backend, "ingressPolicy": "isolated"}
    world.pod("c1")
    result = world.results["c1"]

    def run(number: int) -> int:
        ips = [{"address": f"10.1.0.{number + 10}/24"}, {"address": f"fd01::{number + 10}/64"}]
        config = world.config("c1", **keys) | {"prevResult": result | {"ips": ips}}
        status: int = world.call("ADD", config, f"x{number}", netns="/run/netns/c1").status
        return status

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(run, range(20))) == {0}

    found = world.rules()
    shared = [r for r in found if "10.1.0." not in r and "fd01::" not in r]
    assert len(shared) == len(set(shared)) == (16 if backend == "iptables" else 6)
    assert len(found) == len(shared) + 20 * 2 * 3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bare", [False, True], ids=["whole", "bare"])
def test_del_removes_a_container_s_rules_and_nothing_else(world, backend, bare):
    keep = world.let("c1", backend=backend, ingressPolicy="same-bridge")
    before = sorted(world.rules())
    config = world.let("c2", backend=backend, ingressPolicy="same-bridge")
    assert sorted(world.rules()) != before
    if bare:
        config = {k: v for k, v in config.items() if k not in {"prevResult", "backend"}}

    for _ in range(2):
        assert world.call("DEL", config, "c2", netns="" if bare else None).result == {}
        assert sorted(world.rules()) == before
    assert world.call("CHECK", keep).status == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_isolation_ends_with_its_last_user(world, backend):
    config = world.let("c1", backend=backend)
    world.call("DEL", config)
    nothing = sorted(world.rules())
    isolated = world.let("c2", backend=backend, ingressPolicy="isolated")
    other = world.let("c3", 2, backend=backend, ingressPolicy="isolated")
    bridged = world.let("c4", backend=backend, ingressPolicy="same-bridge")

    def inside() -> int:
        return sum("DROP" in r.upper() and r.count("br1") == 2 for r in world.rules())

    def drops() -> int:
        return sum("DROP" in r.upper() and "br1" in r for r in world.rules())

    families = 2 if backend == "iptables" else 1
    assert (inside(), drops()) == (families, 2 * families)
    world.call("DEL", isolated, "c2")
    assert (inside(), drops()) == (0, families)
    world.call("DEL", bridged, "c4")
    assert drops() == 0
    assert world.call("CHECK", other, "c3").status == 0
    world.call("DEL", other, "c3")
    assert sorted(r for r in world.rules() if "ISOLATION" not in r) == nothing


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_late_del_leaves_an_address_that_is_another_s_by_now(world, backend):
    first = world.let("c1", backend=backend)
    world.call("ADD", first, "c2")
    before = [rule for rule in world.rules() if "ACCEPT" in rule.upper()]

    world.call("DEL", first)

    assert [r for r in world.rules() if "ACCEPT" in r.upper()] in (
        before,
        before[len(before) // 2 :],
    )
    assert world.call("CHECK", first, "c2").status == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_gc_removes_what_is_not_valid_and_nothing_else(world, backend):
    world.let("c1", backend=backend)
    world.let("c3", 2, backend=backend, ingressPolicy="isolated")
    before = sorted(world.rules())
    world.let("c2", backend=backend, ingressPolicy="isolated")
    config = {"type": "firewall", "cniVersion": "1.1.0", "name": "net1"}
    valid = [{"containerID": "c1", "ifname": "eth0"}]

    assert world.call("GC", config | {"cni.dev/valid-attachments": valid}).result == {}

    assert sorted(world.rules()) == before


# CHECK


def test_check_misses_each_nftables_rule(world):
    respond = partial(in_process.respond, world.host.node, firewall.PLUGIN)
    config = world.let("c1", backend="nftables", ingressPolicy="isolated")
    assert respond("CHECK", config) == ""
    assert len(world.nft()) == 12

    for number in range(12):
        chain, *_, handle = world.nft()[number].split()
        world.host.sh(f"nft delete rule inet podnet_firewall {chain} handle {handle}")
        assert f"a rule is missing: {chain} " in respond("CHECK", config)
        assert respond("ADD", config) == ""


def test_check_misses_isolation_that_comes_too_late(world):
    respond = partial(in_process.respond, world.host.node, firewall.PLUGIN)
    config = world.let("c1", backend="iptables", ingressPolicy="same-bridge")
    jump = '-m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD'
    world.host.sh(f"iptables -D FORWARD {jump}; iptables -I FORWARD {jump}")

    assert "CNI-ISOLATION-STAGE-1 before CNI-FORWARD" in respond("CHECK", config)
    assert respond("ADD", config) == ""
    assert respond("CHECK", config) == ""


# The reference


def test_isolation_that_the_reference_s_pods_need_stays(world, debian_plugins):
    keys = {"ingressPolicy": "same-bridge"}
    world.pod("c1")
    world.call("ADD", world.config("c1", **keys), directory=debian_plugins)
    config = world.let("c2", **keys)
    rules = [rule for rule in world.iptables() if "STAGE" in rule]

    world.call("DEL", config, "c2")

    assert len(rules) == len(set(rules)) == 10
    assert [rule for rule in world.iptables() if "STAGE" in rule] == rules


# Errors, STATUS, and what there is


@pytest.mark.parametrize(
    ("keys", "refusal"),
    [
        ({"backend": "ipvs"}, (7, 'unrecognized backend "ipvs"')),
        ({"ingressPolicy": "shut"}, (7, 'unrecognized ingressPolicy "shut"')),
        ({"backend": "firewalld"}, (2, "podnet's firewall does not talk to firewalld")),
    ],
)
def test_a_wrong_configuration_is_refused_before_anything_is_done(world, keys, refusal):
    world.pod("c1")
    for verb in ("ADD", "CHECK", "DEL"):
        assert world.call(verb, world.config("c1", **keys)).refusal == refusal
    assert world.rules() == []


def test_firewall_is_chained_and_of_version_0_4_0(host):
    host.container("c1")

    assert host.call("ADD", {"type": "firewall"}).refusal == (
        7,
        "missing prevResult from earlier plugin",
    )
    assert host.call("ADD", {"type": "firewall", "cniVersion": "0.3.1"}).refusal[0] == 1


def test_a_policy_about_a_bridge_needs_one(world):
    world.pod("c1")
    config = world.config("c1", ingressPolicy="isolated")
    config["prevResult"] = config["prevResult"] | {"interfaces": []}

    assert world.call("ADD", config).refusal == (
        7,
        "ingressPolicy isolated needs a bridge, and the result begins with none",
    )


def test_an_add_that_fails_for_the_second_family_leaves_no_rule_of_the_container(world, tmp_path):
    world.host.sh(
        f"for p in sh python3 iptables-save iptables-restore ip6tables-save; do"
        f" ln -s $(command -v $p) {tmp_path}/$p; done; ln -s /bin/false {tmp_path}/ip6tables-restore"
    )
    world.pod("c1")

    refusal = world.call("ADD", world.config("c1"), PATH=str(tmp_path)).refusal
    assert refusal == (999, "firewall: ip6tables-restore: ")
    assert not [rule for rule in world.rules() if "10.1.0.2" in rule]


def test_nftables_is_used_where_only_that_exists(world, tmp_path):
    world.host.sh(f"for p in sh python3 nft; do ln -s $(command -v $p) {tmp_path}/$p; done")
    world.pod("c1")
    config = world.config("c1")

    assert world.call("STATUS", {"type": "firewall"}, PATH=str(tmp_path)).status == 0
    assert world.call("ADD", config, PATH=str(tmp_path)).status == 0
    assert world.iptables() == []
    assert world.call("CHECK", config).status == 0
    assert world.call("DEL", config).status == 0
    assert not [rule for rule in world.nft() if "10.1.0.2" in rule]
    asked = {"type": "firewall", "backend": "iptables"}
    assert world.call("STATUS", asked, PATH=str(tmp_path)).refusal == (
        50,
        "firewall: backend iptables is asked for and missing",
    )


# What goes with a user (pure)


def test_an_address_that_somebody_else_uses_stays():
    gone, other = User("a", "10.0.0.2"), User("b", "10.0.0.2")

    left = firewall_users.leaving([gone, other], {gone}, claimed=["10.0.0.2"], accepted=[])
    assert left.ips == frozenset()
    left = firewall_users.leaving([gone], {gone}, claimed=["10.0.0.9"], accepted=[])
    assert left.ips == {"10.0.0.2", "10.0.0.9"}


def test_isolation_stays_while_a_bridge_has_a_user_or_a_stranger():
    gone = User("a", "10.0.0.2", "br0", ISOLATED)
    apart = User("b", "10.0.0.3", "br0", SAME_BRIDGE)
    unconcerned = User("c", "10.0.0.4", "br0", OPEN)

    def leave(*users: User, accepted: tuple[str, ...] = ()) -> tuple[set[str], set[str]]:
        found = firewall_users.leaving([gone, *users], {gone}, claimed=(), accepted=accepted)
        return set(found.opened), set(found.joined)

    assert leave(unconcerned, accepted=("10.0.0.2", "10.0.0.4")) == ({"br0"}, {"br0"})
    assert leave(apart) == (set(), {"br0"})
    assert leave(apart, User("d", "10.0.0.5", "br0", ISOLATED)) == (set(), set())
    assert leave(unconcerned, accepted=("10.0.0.9",)) == (set(), set())
