"""What users of flannel complain of, made to happen here: docs/manager.md says which test is for what."""

import errno
import json
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from podnet.errors import UsageError
from podnet.kernel.netlink import Netlink
from podnet.node import Node
from podnet_manager import uplink
from podnet_manager.daemon import Manager
from podnet_manager.lease import Attributes, Lease, Subnets
from podnet_manager.log import Log
from podnet_manager.preparation import Choices
from podnet_manager.store import Changes
from podnet_manager.store_sqlite import SqliteStore
from podnet_manager.tenure import Settings

pytestmark = pytest.mark.root

IPV6_DONTFRAG = 62  # linux/in6.h
VXLAN = {"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}
HOST_GW = {"Network": "10.5.0.0/16", "Backend": {"Type": "host-gw"}}
DUAL = {
    "EnableIPv6": True,
    "Network": "10.5.0.0/16",
    "IPv6Network": "fd00:5::/48",
    "Backend": {"Type": "vxlan"},
}
IPV6_ONLY = {"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "fd00:5::/48"}
ANOTHER = Attributes(public_ip=IPv4Address("10.99.0.50"), backend_type="host-gw")


def of(rack: Any, subnet: str) -> Lease:
    """Return the lease on a subnet."""
    with closing(SqliteStore(rack.store, holder="admin")) as store:
        [found] = [lease for lease in store.snapshot().leases if str(lease.subnets) == subnet]
    return found


def ends(rack: Any, subnet: str) -> float:
    """Return when the lease on a subnet ends."""
    return of(rack, subnet).expires or 0.0


def give_away(rack: Any, subnet: str) -> None:
    """Give a Node's subnet to somebody else."""
    with closing(SqliteStore(rack.store, holder="another")) as store:
        store.delete(of(rack, subnet))
        assert store.create(Subnets.of((ip_network(subnet),)), ANOTHER, ttl=1000)


def with_a_pod(machine: Any) -> str:
    """Give a machine an address in its subnet, and return it."""
    address = machine.subnet().replace(".0/24", ".2")
    machine.sh(
        f"ip link add pods type bridge; ip link set pods up; ip addr add {address}/24 dev pods"
    )
    return str(address)


# -- hardware addresses: 7, devices: 8, MTU: 10


def test_a_hardware_address_outlives_a_reboot(rack, until) -> None:
    one, two = rack.up(2, VXLAN)
    mac, subnet, seen = one.mac("flannel.1"), one.subnet(), two.overlay()

    one.stop(signal.SIGKILL)
    one.sh("ip link del flannel.1")
    one.subnet_file.unlink()
    one.start()
    until(one.is_ready, "ready again")

    assert (one.mac("flannel.1"), one.subnet()) == (mac, subnet)
    assert two.overlay() == seen


def test_a_new_hardware_address_is_published_and_the_others_follow(rack, until) -> None:
    one, two = rack.up(2, VXLAN)
    old = one.mac("flannel.1")

    one.stop()
    one.sh(f"ip link del flannel.1; rm {one.directory}/state/flannel.1.mac")
    one.start()
    until(one.is_ready, "ready again")

    new = one.mac("flannel.1")
    assert new != old
    until(lambda: new in str(two.overlay()) and old not in str(two.overlay()), "the other follows")


def test_a_device_that_went_down_and_up_has_all_its_routes(rack, until) -> None:
    one = rack.up(3, DUAL)[0]
    before = one.routes(), one.routes(6)

    one.sh("for d in flannel.1 flannel-v6.1; do ip link set $d down; ip link set $d up; done")

    until(lambda: (one.routes(), one.routes(6)) == before, "the routes are back")


def test_the_mtu_follows_the_uplink(rack, until) -> None:
    one, _ = rack.up(2, VXLAN)
    assert "FLANNEL_MTU=1450\n" in one.subnet_file.read_text()

    one.sh("ip link set eth0 mtu 1400")

    until(lambda: "FLANNEL_MTU=1350\n" in one.subnet_file.read_text(), "subnet.env says so")
    assert "mtu 1350" in one.sh("ip link show flannel.1")


def test_an_uplink_too_small_for_a_tunnel_is_no_end_of_the_manager(rack, until) -> None:
    rack.configure(VXLAN)
    one = rack.machine()
    one.sh("ip link set eth0 mtu 100")

    one.start()

    until(lambda: "eth0 has an MTU of 100" in one.ask("/readyz")[1], "it is refused")
    one.sh("ip link set eth0 mtu 626")
    until(one.is_ready, "it is large enough now")
    assert "FLANNEL_MTU=576\n" in one.subnet_file.read_text()


def reaches(here: str, there: str, size: int) -> bool:
    """Tell whether one UDP packet of that size arrives whole: the port that is closed says so."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)
        client.bind((here, 0))
        client.connect((there, 9))
        try:
            client.send(bytes(size - 48))
            client.recv(1)
        except OSError as exc:
            return exc.errno == errno.ECONNREFUSED
    return False


def test_a_packet_as_large_as_subnet_env_says_fits_over_an_ipv6_underlay(rack) -> None:
    one, two = rack.up(2, DUAL)
    [mtu] = [
        int(line.partition("=")[2])
        for line in one.subnet_file.read_text().split()
        if line.startswith("FLANNEL_MTU")
    ]
    here, there = (
        m.sh("ip -6 -br addr show flannel-v6.1 scope global").split()[2].partition("/")[0]
        for m in (one, two)
    )

    assert one.node.run(reaches, here, there, mtu)
    assert not one.node.run(reaches, here, there, mtu + 1)


def test_ipv6_alone_is_a_network(rack) -> None:
    one, two = rack.up(2, IPV6_ONLY | {"Backend": {"Type": "host-gw"}})

    [(_, via)] = one.routes(6).items()
    assert via == f"fd99::{two.number} eth0"
    assert "FLANNEL_SUBNET" not in one.subnet_file.read_text()


# -- stale and foreign state: 3


def test_what_others_set_on_the_device_stays_and_an_old_lease_s_address_goes(rack, until) -> None:
    one, _ = rack.up(2, VXLAN)
    own = one.subnet().replace("/24", "/32")

    one.sh("ip addr add 192.0.2.9/32 dev flannel.1; ip addr add 10.5.251.0/32 dev flannel.1")

    def addresses() -> set[str]:
        shown = json.loads(one.sh("ip -4 -j addr show flannel.1"))[0]["addr_info"]
        return {f"{a['local']}/{a['prefixlen']}" for a in shown}

    until(lambda: addresses() == {own, "192.0.2.9/32"}, "only the old lease's is gone")


def test_a_subnet_that_was_a_peer_s_is_no_route_once_it_is_ours(rack, until) -> None:
    """The stale route would win against the bridge's, or stand in its way (flannel#1546)."""
    one, two = rack.up(2, VXLAN)
    theirs, ours = two.subnet(), one.subnet()
    two.stop(signal.SIGKILL)
    one.stop(signal.SIGKILL)
    with closing(SqliteStore(rack.store, holder="admin")) as store:
        for subnet in (theirs, ours):
            store.delete(of(rack, subnet))
    one.subnet_file.write_text(f"FLANNEL_SUBNET={theirs.replace('.0/24', '.1/24')}\n")

    one.start()
    until(lambda: one.is_ready() and one.subnet() == theirs, "the peer's subnet is ours")

    assert one.routes() == {}
    assert one.overlay() == []


def test_a_second_lease_on_our_own_address_is_no_peer(rack, until) -> None:
    """The kernel takes no route via itself, and the Node was not ready for good."""
    one, two = rack.up(2, DUAL | {"Backend": {"Type": "host-gw"}})
    before = one.routes(), one.routes(6)
    ours = of(rack, f"{one.subnet()} and {next(iter(two.routes(6)))}").attributes
    second = Subnets.of((ip_network("10.5.77.0/24"), ip_network("fd00:5:0:77::/64")))

    with closing(SqliteStore(rack.store, holder="admin")) as store:
        store.reserve(second, ours)

    until(lambda: "10.99.0.1, is this Node's own" in one.log, "it is said")
    until(lambda: "10.5.77.0/24" in two.routes(), "to others it is a lease as any")
    assert one.is_ready()
    assert (one.routes(), one.routes(6)) == before


# -- which interface: 12


@pytest.fixture
def two_uplinks():
    with Node.in_memory("two") as node:
        node.run(_two_uplinks)
        yield node


def _two_uplinks() -> None:
    script = """
        ip link add nat0 type veth peer name nat1; ip link add lan0 type veth peer name lan1
        for d in lo nat0 nat1 lan0 lan1; do ip link set $d up; done
        ip addr add 10.0.2.15/24 dev nat0; ip addr add 192.168.56.11/24 dev lan0
    """
    subprocess.run(["sh", "-ec", script], check=True)


@pytest.mark.parametrize(
    ("wanted", "towards", "found"),
    [
        ("", None, "nat0"),
        ("lan0", None, "lan0"),
        ("192.168.56.11", None, "lan0"),
        ("", "192.168.56.12", "lan0"),
        ("", "8.8.8.8", "nat0"),
    ],
)
def test_the_interface_is_the_one_that_was_meant(two_uplinks, wanted, towards, found) -> None:
    """Vagrant's first interface has the same address everywhere."""

    def find() -> str:
        with Netlink() as netlink:
            return uplink.find(netlink, wanted, ip_address(towards) if towards else None).name

    two_uplinks.run(_route, "ip route add default via 10.0.2.2")
    assert two_uplinks.run(find) == found


def _route(script: str) -> None:
    subprocess.run(script.split(), check=True)


@pytest.mark.parametrize(
    ("wanted", "towards", "said"),
    [
        ("", None, "--iface"),
        ("eth7", None, "no interface eth7"),
        ("10.0.2.16", None, "no interface has the address"),
        ("", "8.8.8.8", "no interface leads there: route to 8.8.8.8: Network is unreachable"),
        ("nat1", None, "no address that other Nodes could use"),
    ],
)
def test_an_interface_that_cannot_be_is_refused_in_words(
    two_uplinks, wanted, towards, said
) -> None:
    def find() -> None:
        with Netlink() as netlink:
            uplink.find(netlink, wanted, ip_address(towards) if towards else None)

    with pytest.raises(UsageError, match=said):
        two_uplinks.run(find)


def test_a_node_without_an_address_of_the_networks_family_touches_nobodys_lease(
    rack, until
) -> None:
    rack.configure(HOST_GW)
    taken = Subnets.of((ip_network("10.5.9.0/24"),))
    with closing(SqliteStore(rack.store, holder="")) as store:
        before = store.create(taken, ANOTHER, ttl=1000)
    one = rack.machine()
    one.sh("ip -4 addr flush dev eth0")

    one.start()

    until(lambda: "eth0 has no IPv4 address" in one.ask("/readyz")[1], "it is refused")
    assert of(rack, "10.5.9.0/24") == before
    one.sh("ip addr add 10.99.0.1/16 dev eth0")
    until(one.is_ready, "it has one now")


def test_an_uplink_that_loses_its_address_leaves_lease_and_routes_as_they_were(rack, until) -> None:
    one, two = rack.up(2, HOST_GW, "--lease-ttl", "3")
    before, subnet = one.routes(), two.subnet()

    two.sh("ip -4 addr flush dev eth0")

    until(lambda: "eth0 has no IPv4 address" in two.ask("/readyz")[1], "it is said")
    held = of(rack, subnet)
    until(lambda: ends(rack, subnet) > (held.expires or 0) + 3, "the lease is kept for longer")
    assert of(rack, subnet).attributes == held.attributes
    assert held.attributes.public_ip == IPv4Address("10.99.0.2")
    assert one.routes() == before
    two.sh("ip addr add 10.99.0.2/16 dev eth0")
    until(lambda: two.is_ready() and two.routes(), "its routes are back")


# -- masquerading: 13, forwarding: 14


def seen_from(caller: Any, source: str, callee: Any, address: str) -> str:
    """Return which source address arrives, with a connection from *source* to *address*."""
    with callee.node.run(socket.create_server, (address, 0)) as server:
        server.settimeout(10)
        where = server.getsockname()
        with (
            ThreadPoolExecutor(1) as pool,
            caller.node.run(socket.create_connection, where, 10, (source, 0)),
            pool.submit(server.accept).result()[0] as accepted,
        ):
            return str(accepted.getpeername()[0])


def test_masquerading_hides_pods_from_the_world_and_from_nobody_else(rack) -> None:
    one, two = rack.up(2, VXLAN, "--ip-masq")
    world = rack.machine()
    pod, other = with_a_pod(one), with_a_pod(two)
    world.sh(f"ip route add {one.subnet()} via 10.99.0.1")

    assert seen_from(one, pod, two, other) == pod
    assert seen_from(one, pod, world, "10.99.0.3") == "10.99.0.1"
    assert seen_from(world, "10.99.0.3", one, pod) == "10.99.0.3"  # flannel#734
    # A Node's own calls come from its subnet, so that the answer finds the tunnel (flannel#318).
    assert seen_from(one, "10.99.0.1", two, other) == one.subnet().replace("/24", "")


def test_rules_follow_the_lease_to_another_subnet(rack, until) -> None:
    one, _ = rack.up(2, VXLAN, "--ip-masq")
    old = one.subnet()

    give_away(rack, old)
    until(lambda: one.is_ready() and one.subnet() != old, "another subnet")

    def rules() -> str:
        return str(one.sh("nft list table ip flannel-ipv4"))

    until(lambda: one.subnet() in rules() and old not in rules(), "the rules are the new one's")


def test_forwarding_works_where_docker_drops(rack, until) -> None:
    if not Path("/usr/sbin/iptables").exists():
        pytest.skip("iptables is missing: apt-get install iptables")
    one, two = rack.up(2, VXLAN)
    world = rack.machine()
    pod = with_a_pod(two)
    one.sh("sysctl -qw net.ipv4.ip_forward=1")
    world.sh(f"ip route add {two.subnet()} via 10.99.0.1")
    one.sh("iptables -P FORWARD DROP")

    until(lambda: one.sh("iptables -S FORWARD").count("10.5.0.0/16") == 2, "the rules are there")
    assert world.answers(pod)

    one.sh("iptables -F FORWARD")
    until(lambda: one.sh("iptables -S FORWARD").count("10.5.0.0/16") == 2, "they are back")
    one.stop()
    one.start("--cleanup")
    assert one.process.wait(20) == 0
    one.process = None
    assert one.sh("iptables -S FORWARD") == "-P FORWARD DROP\n"


# -- starting too early: 1; two of a kind


def test_a_manager_waits_for_a_configuration_and_says_what_is_wrong_with_one(rack, until) -> None:
    machine = rack.machine()
    machine.start()
    until(lambda: "no network configuration" in machine.ask("/readyz")[1], "it is missed")
    with closing(SqliteStore(rack.store, holder="admin")) as store:
        store.set_config(b'{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}')
        until(lambda: '"udp" is no backend' in machine.ask("/readyz")[1], "it is refused")

        store.set_config(json.dumps(VXLAN).encode())

    until(machine.is_ready, "it is taken")


def test_a_subnet_env_that_cannot_be_written_is_no_readiness(rack, until) -> None:
    (rack.directory / "net-conf.json").write_text(json.dumps(HOST_GW))
    machine = rack.machine()
    run = machine.directory / "run"
    run.write_text("a file, no directory")
    machine.subnet_at = run / "subnet.env"

    machine.start("--net-config", str(rack.directory / "net-conf.json"))

    until(lambda: "cannot write" in machine.ask("/readyz")[1], "the reason is said")
    run.unlink()
    until(machine.is_ready, "it is written")
    assert machine.subnet_at.exists()


def test_one_manager_a_node(rack) -> None:
    (one,) = rack.up(1, VXLAN)
    first, one.process = one.process, None

    one.start("--cleanup")
    assert one.process.wait(20) == 1

    one.process = first
    assert "another podnet-manager runs on this Node" in one.log
    assert one.is_ready()


def test_a_node_that_leaves_for_good_gives_its_lease_back(rack, until) -> None:
    one, two = rack.up(2, VXLAN)
    subnet = one.subnet()
    one.stop()

    one.start("--release")
    assert one.process.wait(20) == 0
    one.process = None

    assert not one.subnet_file.exists()
    assert subnet in one.log.splitlines()[-1]
    until(lambda: two.routes() == {}, "the other lets go of it")


def test_a_listener_that_dies_is_missed(rack, until) -> None:
    moods = [ZeroDivisionError("moody")]

    class Moody(SqliteStore):
        """A store that fails once in a way that nobody expects."""

        def changes(self, *args: Any, **named: Any) -> Changes:
            """Fail, or do as ever."""
            if moods:
                raise moods.pop()
            return super().changes(*args, **named)

    machine = rack.machine()
    with closing(SqliteStore(rack.store, holder="admin")) as store:
        store.set_config(json.dumps(HOST_GW).encode())
    settings = Settings(
        choices=Choices(iface="eth0", forward=False, state=machine.directory / "state", resync=1),
        holder="m",
        subnet_file=machine.subnet_file,
    )
    said: list[str] = []

    class Heard(Log):
        """A log that is read."""

        def _write(self, level: str, event: str, facts: dict[str, object]) -> None:
            """Say something to the test."""
            said.append(f"{level} {event} {facts}")

    manager = Manager(settings, lambda: Moody(rack.store, holder="m"), Heard())
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(machine.node.run, manager.run)
        try:
            until(lambda: any("cannot be listened to" in line for line in said), "it is said")
            until(lambda: manager.status.ready, "it is listened to again")
        finally:
            manager.stop()
            running.result()


def test_a_client_that_asks_nothing_keeps_nobody_waiting(rack, until) -> None:
    (one,) = rack.up(1, HOST_GW)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(f"{one.directory}/health.sock")

        assert one.ask("/healthz") == (200, "alive\n")


@pytest.mark.parametrize(
    "command",
    [
        "ip route prepend {v4} via 10.99.0.77 dev eth0",
        "ip route append {v4} via 10.99.0.77 dev eth0",
        "ip route add {v4} via 10.99.0.77 dev eth0 proto 109 metric 50",
        "ip -6 route add {v6} via fd99::77 dev eth0 proto 109 metric 2000",
        "ip -6 route append {v6} via fd99::77 dev eth0 metric 1024",
        "ip -6 route add {v6} via fd99::77 dev eth0 metric 10",
    ],
    ids=["prepended", "appended", "ours", "ours-6", "multipath", "better-6"],
)
def test_no_other_way_to_a_peer_takes_a_part_of_the_traffic(rack, until, command) -> None:
    """Neither one that is set while the manager looks, nor one that it finds."""
    one, _ = rack.up(2, DUAL | {"Backend": {"Type": "host-gw"}})
    [(v4, _)], [(v6, _)] = one.routes().items(), one.routes(6).items()

    def ways() -> str:
        return str(one.sh(f"ip route show {v4}; ip -6 route show {v6}"))

    before = ways()

    one.sh(command.format(v4=v4, v6=v6))

    until(lambda: ways() == before, "it is removed at once")
    one.stop()
    one.sh(command.format(v4=v4, v6=v6))
    one.start()
    until(one.is_ready, "ready again")
    assert ways() == before


# -- what a change costs


def counted(machine: Any, metric: str) -> int:
    """Return a metric."""
    lines = dict(line.rsplit(" ", 1) for line in machine.ask("/metrics")[1].splitlines())
    return int(lines[f"podnet_manager_{metric}"])


def test_a_change_costs_a_message_an_entry_and_no_look_at_the_others(rack, until) -> None:
    """Flannel's host-gw lists all routes three times for each peer."""
    one, two = rack.up(2, VXLAN, "--resync", "100")
    [(subnet, via)] = one.routes().items()
    before = one.overlay()
    one.sh("ip route add 198.51.100.0/24 via 10.99.0.5 dev eth0")  # somebody's, and it stays
    looks, messages = counted(one, "reconciliations_total"), counted(one, "netlink_messages_total")

    def costs(entries: int) -> bool:
        """Tell whether that many entries were asked for, and the last one acknowledged."""
        nonlocal messages
        now = counted(one, "netlink_messages_total")
        if now != messages + entries + 1:
            return False
        messages = now
        return True

    for harm, cost in (
        (f"ip route del {subnet}", 1),
        (f"ip route replace {subnet} via 10.99.0.77 dev eth0", 2),
        (
            f"ip neigh replace {subnet.split('/')[0]} lladdr 02:00:00:00:00:07 nud permanent dev flannel.1",
            1,
        ),
        (f"ip neigh del {subnet.split('/')[0]} dev flannel.1", 1),
        (f"bridge fdb del {two.mac('flannel.1')} dev flannel.1", 1),
        ("ip route add 10.5.250.0/24 via 10.99.0.77 dev eth0 proto 109", 1),
    ):
        one.sh(harm)
        until(lambda: one.routes() == {subnet: via} and one.overlay() == before, harm)
        until(lambda: costs(cost), "it cost no more messages")  # noqa: B023  called here

    peer = Subnets.of((ip_network("10.5.77.0/24"),))
    data = {"VNI": 1, "VtepMAC": "02:00:00:00:00:77"}
    attributes = Attributes(public_ip=IPv4Address("10.99.0.77"), backend_type="vxlan", data=data)
    with closing(SqliteStore(rack.store, holder="another")) as store:
        lease = store.create(peer, attributes, ttl=1000)
        assert lease is not None
        until(lambda: "10.5.77.0/24" in one.routes() and costs(3), "a peer costs three")
        store.delete(lease)
    until(lambda: one.overlay() == before and costs(3), "its leaving costs three")
    assert counted(one, "reconciliations_total") == looks
    assert "198.51.100.0/24" in one.sh("ip route")
    assert two.is_ready()
