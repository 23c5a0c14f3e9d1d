"""portmap: by traffic and by rules, through both firewalls, after a bridge in a real chain."""

import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from tests.plugins import in_process

import podnet_plugins
from podnet.kernel import namespaces
from podnet_plugins import bridge, portmap, skel

OURS = str(Path(podnet_plugins.__file__).parent / "bin")
BACKENDS = ("nftables", "iptables")
HOST = {4: "192.0.2.1", 6: "fd01::1"}
OUTSIDE = {4: "192.0.2.2", 6: "fd01::2"}
GATEWAY = {4: "10.1.0.1", 6: "fd00::1"}
POD = {4: "10.1.0.2", 6: "fd00::2"}
ANY = {4: "0.0.0.0", 6: "::"}
BRIDGE: dict[str, Any] = {
    "type": "bridge",
    "bridge": "br0",
    "isGateway": True,
    # Where the bridge hands packets to iptables, NAT makes them leave by the port they came from.
    "hairpinMode": True,
    "cniVersion": "1.0.0",
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    },
}
WEB = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
DNS = {"hostPort": 8053, "containerPort": 53, "protocol": "udp"}


class World:
    """A host with an outside, and containers on a bridge."""

    def __init__(self, host: Any) -> None:
        self.host = host
        self.outside = host.container("outside")
        # The host asks for neighbours with its link-local address, which would be tentative for 1 s.
        host.sh(
            "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0;"
            "ip link add wan type veth peer name eth0 netns outside; ip link set wan up;"
            "ip addr add 192.0.2.1/24 dev wan; ip addr add fd01::1/64 dev wan nodad"
        )
        host.sh(
            "ip link set eth0 up; ip addr add 192.0.2.2/24 dev eth0;"
            "ip addr add fd01::2/64 dev eth0 nodad;"
            "ip route add default via 192.0.2.1; ip route add default via fd01::1",
            netns=self.outside,
        )
        self.results: dict[str, Any] = {}

    def pod(self, cid: str = "c1") -> str:
        """Plug a container into the bridge."""
        netns: str = self.host.container(cid)
        # Not as a process of its own: it is not what is tested here.
        environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": cid, "CNI_IFNAME": "eth0"}
        environment |= {"CNI_NETNS": netns, "CNI_PATH": OURS}
        stdin = json.dumps({"name": "demo"} | BRIDGE).encode()
        with patch.dict(os.environ, environment):
            made = self.host.node.run(skel.respond, bridge.PLUGIN, environment, lambda: stdin)
        self.results[cid] = made
        return netns

    def config(self, cid: str = "c1", *mappings: Any, **keys: Any) -> dict[str, Any]:
        """A portmap configuration, as it comes after the bridge's ADD."""
        runtime = {"runtimeConfig": {"portMappings": list(mappings or (WEB, DNS))}}
        chained = {"prevResult": self.results[cid]}
        return {"type": "portmap", "cniVersion": "1.0.0"} | runtime | chained | keys

    def call(self, verb: str, config: Any, cid: str = "c1", **more: Any) -> Any:
        """Run portmap."""
        return self.host.call(verb, config, cid=cid, **more)

    def mapped(self, *mappings: Any, cid: str = "c1", **keys: Any) -> dict[str, Any]:
        """Plug a container in and map its ports; the configuration that did it."""
        self.pod(cid)
        config = self.config(cid, *mappings, **keys)
        assert self.call("ADD", config, cid).result == self.results[cid]
        return config

    def client(self, address: str, kind: str = "tcp", *, netns: str = "") -> socket.socket:
        """Make a socket for *address*'s family on the host, or inside a container."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        type_ = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM

        def make() -> socket.socket:
            with namespaces.entered(netns or namespaces.OWN):
                made = socket.socket(family, type_)
            made.settimeout(2)
            return made

        made: socket.socket = self.host.node.run(make)
        return made

    def server(
        self, address: str, port: int, kind: str = "tcp", *, netns: str = ""
    ) -> socket.socket:
        """Listen on the host, or inside a container."""
        server = self.client(address, kind, netns=netns)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        if kind == "tcp":
            server.listen()
        return server

    def seen(
        self, address: str, mapping: Any, *, origin: str = "", pod: str = "c1", wait: float = 2
    ) -> str:
        """Where the container sees a client of namespace *origin* come from; "" for not at all."""
        family = 6 if ":" in address else 4
        protocol, port = mapping["protocol"], mapping["containerPort"]
        with (
            self.server(ANY[family], port, protocol, netns=f"/run/netns/{pod}") as server,
            self.client(address, protocol, netns=origin) as client,
        ):
            server.settimeout(wait)
            client.settimeout(wait)
            return exchange(client, server, address, mapping["hostPort"])

    def nat(self) -> list[str]:
        """All rules of both firewalls, without counters and handles."""
        return [*self.nft(), *self.iptables()]

    def iptables(self, table: str = "nat") -> list[str]:
        """The rules of both families."""
        save = "{0}-save -t {1} | sed -n 's/^-A/{0} -A/p'"
        programs = ("iptables", "ip6tables")
        printed = self.host.sh("; ".join(save.format(one, table) for one in programs))
        return list(printed.splitlines())

    def nft(self, chains: str = "", *, handles: bool = False) -> list[str]:
        """The rules of the nftables backend, each with its chain."""
        list_ = "nft -a list table {0} cni_hostport 2>/dev/null | sed 's/^/{0} /'"
        printed = self.host.sh("; ".join(list_.format(family) for family in ("ip", "ip6")))
        found, chain = [], ""
        for family, *words in map(str.split, printed.splitlines()):
            if words[:1] == ["chain"]:
                chain = words[1]
            elif words[-2:-1] == ["handle"] and words[0] != "table" and chains in {"", chain}:
                rule = words[-1:] if handles else words[:-3]
                found.append(" ".join([family, chain, *rule]))
        return found

    def of(self, cid: str = "c1") -> list[str]:
        """The rules that name a container, by comment or by its chain."""
        named = (f'comment "{cid}"', f' {cid}"', f'id: \\"{cid}\\"', "CNI-DN-", ":CNI-SN-")
        return [rule for rule in self.nat() if any(name in rule for name in named)]


def exchange(client: socket.socket, server: socket.socket, address: str, port: int) -> str:
    """Send something there and back; where the server sees it come from, or ""."""
    try:
        client.connect((address, port))
        if client.type == socket.SOCK_STREAM:
            connection, peer = server.accept()
            connection.sendall(b"hello")
            connection.close()
        else:
            client.send(b"hello")
            _, peer = server.recvfrom(16)
            server.sendto(b"hello", peer)
        return str(peer[0]) if client.recv(16) == b"hello" else ""
    except OSError:
        return ""


@pytest.fixture
def world(host: Any) -> World:
    """A host with an outside."""
    return World(host)


# Traffic


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_port_is_reached_from_outside_which_is_seen_as_itself(world, backend):
    world.mapped(backend=backend)

    for family, mapping in product((4, 6), (WEB, DNS)):
        assert world.seen(HOST[family], mapping, origin=world.outside) == OUTSIDE[family]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_port_is_reached_from_the_host(world, backend):
    world.mapped(backend=backend)

    for mapping in (WEB, DNS):
        assert world.seen("127.0.0.1", mapping) == GATEWAY[4]
        for address in (HOST[4], HOST[6], GATEWAY[6]):
            assert world.seen(address, mapping) == address


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bridged", [0, 1], ids=["routed", "bridged"])
def test_a_port_is_reached_from_another_container_and_its_own(world, backend, bridged):
    switch = "if [ -e /proc/sys/net/bridge ]; then sysctl -qw net.bridge.bridge-nf-call-{0}={1}; fi"
    world.host.sh("; ".join(switch.format(n, bridged) for n in ("iptables", "ip6tables")))
    world.mapped(backend=backend)
    world.pod("c2")

    for family, cid, mapping in product((4, 6), ("c1", "c2"), (WEB, DNS)):
        for address in (HOST[family], GATEWAY[family]):
            seen = world.seen(address, mapping, origin=f"/run/netns/{cid}")
            assert seen == GATEWAY[family]


@pytest.mark.parametrize("backend", BACKENDS)
def test_containers_see_each_other_as_they_are(world, backend):
    world.mapped(backend=backend)
    world.pod("c2")
    direct = WEB | {"hostPort": 80}

    assert world.seen(POD[4], direct, origin="/run/netns/c2") == "10.1.0.3"


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_snat_nobody_is_masqueraded(world, backend):
    world.mapped(backend=backend, snat=False)

    for family, mapping in product((4, 6), (WEB, DNS)):
        assert world.seen(HOST[family], mapping, origin=world.outside) == OUTSIDE[family]
        assert world.seen(HOST[family], mapping) == HOST[family]
    assert world.seen("127.0.0.1", WEB, wait=0.3) == ""
    assert not [rule for rule in world.nat() if "masquerade" in rule.lower()]
    assert world.host.sh("sysctl -n net.ipv4.conf.br0.route_localnet") == "0\n"


@pytest.mark.parametrize("backend", BACKENDS)
def test_masq_all_masquerades_the_outside_too(world, backend):
    config = world.mapped(backend=backend, masqAll=True)

    for family in (4, 6):
        assert world.seen(HOST[family], WEB, origin=world.outside) == GATEWAY[family]
    assert world.call("CHECK", config).status == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_host_ip_is_the_only_address_that_is_mapped(world, backend):
    mappings = [
        WEB | {"hostIP": HOST[4]},
        WEB | {"hostIP": HOST[6]},
        WEB | {"hostPort": 8081, "hostIP": "0.0.0.0"},
    ]
    config = world.mapped(*mappings, backend=backend)

    for family in (4, 6):
        assert world.seen(HOST[family], WEB, origin=world.outside) == OUTSIDE[family]
        assert world.seen(GATEWAY[family], WEB, origin=world.outside, wait=0.3) == ""
    every = WEB | {"hostPort": 8081}
    assert world.seen(GATEWAY[4], every, origin=world.outside) == OUTSIDE[4]
    assert world.seen(GATEWAY[6], every, origin=world.outside, wait=0.3) == ""
    assert world.call("CHECK", config).status == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_sent_elsewhere_is_not_hijacked(world, backend):
    world.mapped(backend=backend)
    world.pod("c2")
    elsewhere = WEB | {"containerPort": 8080}

    seen = world.seen(OUTSIDE[4], elsewhere, origin="/run/netns/c2", pod="outside")

    assert seen == "10.1.0.3"


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_host_s_loopback_services_are_not_opened_to_containers(world, backend):
    world.mapped(backend=backend)
    world.host.sh(
        "sysctl -qw net.ipv4.conf.all.route_localnet=1; ip addr del 127.0.0.1/8 dev lo;"
        "ip route add 127.0.0.0/8 via 10.1.0.1",
        netns="/run/netns/c1",
    )
    with (
        world.server("127.0.0.1", 7000, "udp") as server,
        world.client("10.1.0.2", "udp", netns="/run/netns/c1") as client,
    ):
        server.settimeout(0.3)
        client.sendto(b"hello", ("127.0.0.1", 7000))
        with pytest.raises(TimeoutError):
            server.recv(16)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_udp_flow_finds_the_next_container(world, backend):
    first = world.mapped(DNS, backend=backend)
    world.pod("c2")
    with (
        world.server(ANY[4], 53, "udp", netns="/run/netns/c1") as old,
        world.server(ANY[4], 53, "udp", netns="/run/netns/c2") as new,
        world.client(HOST[4], "udp", netns=world.outside) as client,
    ):
        assert exchange(client, old, HOST[4], 8053) == OUTSIDE[4]
        world.call("DEL", first)
        world.call("ADD", world.config("c2", DNS, backend=backend), "c2")

        assert exchange(client, new, HOST[4], 8053) == OUTSIDE[4]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_udp_flow_ends_with_its_container(world, backend):
    config = world.mapped(DNS, backend=backend)
    with (
        world.server(ANY[4], 53, "udp", netns="/run/netns/c1") as server,
        world.client(HOST[4], "udp", netns=world.outside) as client,
    ):
        assert exchange(client, server, HOST[4], 8053) == OUTSIDE[4]
        world.call("DEL", config)
        server.settimeout(0.3)

        assert exchange(client, server, HOST[4], 8053) == ""


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_last_container_to_ask_for_a_port_has_it(world, backend):
    world.mapped(WEB, backend=backend)
    second = world.mapped(WEB, cid="c2", backend=backend)

    assert world.seen(HOST[4], WEB, origin=world.outside, pod="c2") == OUTSIDE[4]
    world.call("DEL", second, "c2")
    assert world.seen(HOST[4], WEB, origin=world.outside) == OUTSIDE[4]


@pytest.mark.parametrize(
    ("backend", "conditions"),
    [("nftables", ["ip", "saddr", "192.0.2.2"]), ("iptables", ["-s", "192.0.2.2"])],
)
def test_conditions_hold_and_survive_the_next_network_s_add(world, backend, conditions):
    config = world.mapped(WEB, conditionsV4=conditions)
    world.mapped(DNS, cid="c2", backend=backend, name="other")

    assert world.seen(HOST[4], WEB, origin=world.outside) == OUTSIDE[4]
    assert world.seen(GATEWAY[4], WEB, origin="/run/netns/c2", wait=0.3) == ""
    assert world.call("CHECK", config).status == 0
    rules = world.nft("hostports") if backend == "nftables" else world.iptables()
    assert sum("192.0.2.2" in rule for rule in rules) == 1


def test_sctp_and_any_case_are_protocols(world):
    for backend in BACKENDS:
        mappings = [WEB | {"protocol": "SCTP"}, WEB | {"protocol": "Tcp"}]
        config = world.mapped(*mappings, cid=backend, backend=backend)
        assert world.call("CHECK", config, backend).status == 0

    assert any("sctp dport 8080" in rule for rule in world.nft("hostports"))
    assert any("-p sctp -m sctp --dport 8080" in rule for rule in world.iptables())


# Rules


def test_without_mappings_nothing_is_touched(world):
    world.pod()
    config = world.config() | {"runtimeConfig": {}}

    for verb in ("ADD", "CHECK", "DEL"):
        answer = world.call(verb, config)
        assert answer.result == (world.results["c1"] if verb == "ADD" else {})
    assert world.nat() == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_second_add_leaves_each_rule_once(world, backend):
    config = world.mapped(backend=backend)
    before = world.nat()

    world.call("ADD", config)

    assert world.nat() == before
    assert len(set(before)) == len(before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_twenty_at_once_leave_each_shared_rule_once(world, backend):
    world.mapped(backend=backend)
    alone = world.nat()
    world.call("DEL", world.config(backend=backend))
    world.host.sh("nft flush ruleset")

    def run(number: int) -> int:
        mapping = WEB | {"hostPort": 9000 + number}
        config = world.config("c1", mapping, backend=backend)
        status: int = world.call("ADD", config, f"x{number}", netns="/run/netns/c1").status
        return status

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(run, range(20))) == {0}

    shared = [rule for rule in alone if "c1" not in rule and "CNI-DN-" not in rule]
    found = world.nat()
    assert len(shared) >= 8
    assert [found.count(rule) for rule in shared] == [1] * len(shared)
    assert len({rule for rule in found if ":90" in rule or "90" in rule}) >= 40


@pytest.mark.parametrize("backend", BACKENDS)
def test_del_removes_a_container_s_rules_and_nothing_else(world, backend):
    config = world.mapped(backend=backend)
    before = world.nat()
    second = world.mapped(cid="c2", backend=backend)

    for _ in range(2):
        assert world.call("DEL", second, "c2").result == {}
        assert world.nat() == before
    assert world.call("CHECK", config).status == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_del_needs_no_netns_no_previous_result_and_no_backend(world, backend):
    config = world.mapped(backend=backend)
    world.host.sh("umount /run/netns/c1")
    bare = {key: value for key, value in config.items() if key not in {"prevResult", "backend"}}

    assert world.of() != []
    assert world.call("DEL", bare, netns="").result == {}
    assert world.of() == []


def test_del_leaves_the_same_container_s_other_attachment(world):
    config = world.mapped(WEB)
    other = BRIDGE | {"name": "other", "bridge": "br1"}
    other["ipam"] = {"type": "host-local", "subnet": "10.2.0.0/24"}
    result = world.host.call("ADD", other, ifname="net1").result
    before = world.nat()
    second = {"type": "portmap", "name": "other", "prevResult": result}
    second["runtimeConfig"] = {"portMappings": [WEB | {"hostPort": 8081}]}

    world.call("ADD", second, ifname="net1")
    assert any("10.2.0.2" in rule for rule in world.nat())
    world.call("DEL", second, ifname="net1")

    assert world.nat() == before
    assert world.call("CHECK", config).status == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_gc_removes_what_is_not_valid_and_nothing_else(world, backend):
    keep = world.mapped(backend=backend)
    other = world.mapped(cid="c3", backend=backend, name="other")
    before = world.nat()
    world.mapped(WEB | {"hostPort": 81}, cid="c2", backend=backend)
    assert world.nat() != before
    config = {"type": "portmap", "cniVersion": "1.1.0", "backend": backend}
    valid = [{"containerID": "c1", "ifname": "eth0"}]

    answer = world.call("GC", config | {"cni.dev/valid-attachments": valid})

    assert answer.result == {}
    assert world.nat() == before
    assert world.call("CHECK", keep).status == 0
    assert world.call("CHECK", other, "c3").status == 0


def test_a_host_without_a_route_to_the_container_maps_its_ports_all_the_same(host):
    """A macvlan's container is no neighbour of its host."""
    previous = {"cniVersion": "1.0.0", "ips": [{"address": "10.4.0.2/24"}]}
    config = {"type": "portmap", "cniVersion": "1.0.0", "prevResult": previous}
    config["runtimeConfig"] = {"portMappings": [WEB]}
    host.container("c1")

    assert host.call("ADD", config).result == previous
    assert host.call("CHECK", config).status == 0
    host.sh("nft flush ruleset")
    assert host.call("CHECK", config).status == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_add_that_fails_after_its_rules_takes_them_along(world, backend):
    world.pod()
    world.host.sh("mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys")

    assert world.call("ADD", world.config(backend=backend)).status == 1
    assert world.of() == []


def test_gc_collects_for_both_backends(world):
    for backend in BACKENDS:
        world.mapped(cid=backend, backend=backend)

    config = {"type": "portmap", "cniVersion": "1.1.0", "cni.dev/valid-attachments": []}
    assert world.call("GC", config).result == {}

    assert [world.of(backend) for backend in BACKENDS] == [[], []]


# CHECK


def test_check_misses_each_nftables_rule(world):
    respond = partial(in_process.respond, world.host.node, portmap.PLUGIN)
    config = world.mapped(DNS)
    checked = {"hostports", "hostports_all", "prerouting", "output", "masquerading"}
    checked.add("podnet_localnet")

    def rules() -> list[list[str]]:
        found = (rule.split() for rule in world.nft(handles=True))
        return [rule for rule in found if rule[1] in checked]

    assert respond("CHECK", config) == ""
    assert len(rules()) == 14

    for number in range(14):
        family, chain, handle = rules()[number]
        world.host.sh(f"nft delete rule {family} cni_hostport {chain} handle {handle}")
        assert f"a rule is missing: {chain} " in respond("CHECK", config)
        assert respond("ADD", config) == ""


def test_check_misses_the_switch_for_loopback_sources(world):
    config = world.mapped()
    world.host.sh("sysctl -qw net.ipv4.conf.br0.route_localnet=0")

    assert world.call("CHECK", config).refusal == (
        999,
        "net.ipv4.conf.br0.route_localnet is not 1 any more",
    )


# Errors


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"backend": "ipvs"}, 'unrecognized backend "ipvs"'),
        ({"markMasqBit": 32}, "markMasqBit must be between 0 and 31, not 32"),
    ],
)
def test_a_wrong_configuration_is_refused_by_every_verb(world, keys, message):
    world.pod()
    for verb in ("ADD", "CHECK", "DEL"):
        assert world.call(verb, world.config(**keys)).refusal == (7, message)


def test_portmap_is_chained(host):
    host.container("c1")
    config = {"type": "portmap", "runtimeConfig": {"portMappings": [WEB]}}

    assert host.call("ADD", config).refusal == (7, "must be called as chained plugin")


def test_a_refused_transaction_leaves_nothing(world):
    world.pod()
    config = world.config(conditionsV4=["no", "such", "match"])

    code, message = world.call("ADD", config).refusal
    assert code == 999
    assert str(message).startswith("portmap: nft: ")
    assert world.nat() == []


def test_an_add_that_fails_for_the_second_family_leaves_nothing(world):
    world.pod()
    config = world.config(conditionsV6=["--no-such-match"])

    code, message = world.call("ADD", config).refusal
    assert code == 999
    assert str(message).startswith("portmap: ip6tables-restore: ")
    assert world.of() == []


# STATUS, and what there is


def test_status_misses_a_firewall(host, tmp_path):
    python = host.sh("command -v python3").strip()
    host.sh(
        f"ln -s {python} {tmp_path}/python3; for p in sh dirname; do ln -s $(command -v $p) {tmp_path}/$p; done"
    )
    config = {"type": "portmap"}

    assert host.call("STATUS", config).status == 0
    neither = host.call("STATUS", config, PATH=str(tmp_path))
    assert neither.refusal == (50, "portmap needs nft or iptables, and there is neither")
    host.sh(f"ln -s /bin/true {tmp_path}/iptables-restore")
    assert host.call("STATUS", config, PATH=str(tmp_path)).status == 0
    asked = host.call("STATUS", config | {"backend": "nftables"}, PATH=str(tmp_path))
    assert asked.refusal == (50, "portmap: backend nftables is asked for and missing")


def test_iptables_is_used_where_only_that_exists(world, tmp_path):
    world.host.sh(
        f"for p in sh python3 {' '.join(f'ip{v}tables-{w}' for v in ('', '6') for w in ('save', 'restore'))};"
        f" do ln -s $(command -v $p) {tmp_path}/$p; done"
    )
    world.pod()

    assert world.call("ADD", world.config(), PATH=str(tmp_path)).status == 0
    assert world.nft() == []
    assert world.seen(HOST[4], WEB, origin=world.outside) == OUTSIDE[4]
    assert world.call("DEL", world.config(), PATH=str(tmp_path)).status == 0
    assert world.of() == []


def test_the_table_is_the_reference_s(world):
    world.mapped(WEB)

    listed = json.loads(world.host.sh("nft -j list table ip cni_hostport"))["nftables"]
    chains = {entry["chain"]["name"] for entry in listed if "chain" in entry}
    reference = {"hostports", "hostip_hostports", "hostports_all", "prerouting", "output"}
    assert chains == reference | {"masquerading", "podnet_attachments", "podnet_localnet"}
    assert world.nft("hostports")[0] == (
        'ip hostports tcp dport 8080 dnat to 10.1.0.2:80 comment "c1"'
    )
