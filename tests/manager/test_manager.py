"""Managers at work: every Node reaches every other's subnet, whatever anybody breaks."""

import json
import signal
from contextlib import closing
from ipaddress import IPv4Address, ip_network

import pytest

from podnet_manager.lease import Attributes, Subnets
from podnet_manager.store_sqlite import SqliteStore

VXLAN = {"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}
DIRECT = {"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "DirectRouting": True}}
HOST_GW = {"Network": "10.5.0.0/16", "Backend": {"Type": "host-gw"}}


@pytest.mark.parametrize("conf", [VXLAN, HOST_GW], ids=["vxlan", "host-gw"])
def test_pods_of_all_nodes_reach_each_other(rack, conf) -> None:
    machines = rack.up(3, conf)
    for machine in machines:
        first = machine.subnet().replace(".0/24", ".2/24")
        machine.sh(
            f"ip link add pods type bridge; ip link set pods up; ip addr add {first} dev pods"
        )

    for one in machines:
        for other in machines:
            address = other.subnet().replace(".0/24", ".2")
            assert other is one or one.answers(address)


def test_ready_means_that_peers_are_programmed(rack, until) -> None:
    first, second = rack.up(2, VXLAN)

    third = rack.machine()
    third.start()
    until(third.subnet_file.exists, "subnet.env")

    assert third.routes().keys() == {first.subnet(), second.subnet()}
    until(third.is_ready, "readiness")


@pytest.mark.parametrize("conf", [VXLAN, DIRECT, HOST_GW], ids=["vxlan", "direct", "host-gw"])
def test_what_somebody_breaks_is_repaired(rack, until, conf) -> None:
    one, _ = rack.up(2, conf)
    before = one.routes()

    one.sh("ip route flush proto 109")
    until(lambda: one.routes() == before, "the routes are back")
    [(destination, _)] = before.items()
    one.sh(f"ip route replace {destination} via 10.99.0.77 dev eth0")
    until(lambda: one.routes() == before, "the conflicting route is replaced")
    one.sh("ip route add 10.5.250.0/24 via 10.99.0.77 dev eth0 proto 109")
    until(lambda: one.routes() == before, "the stale route is gone")
    one.sh("ip link set eth0 down; ip link set eth0 up; ip route replace default via 10.99.255.254")
    until(lambda: one.routes() == before, "the routes are back after a flap")


def test_a_device_that_vanishes_comes_back_with_its_address_and_all_peers(rack, until) -> None:
    machines = rack.up(3, VXLAN)
    one = machines[0]
    mac, before = one.mac("flannel.1"), one.overlay()

    one.sh("ip link del flannel.1")

    until(lambda: one.overlay() == before, "every entry is back")
    assert one.mac("flannel.1") == mac
    one.sh("ip link set flannel.1 address 02:11:22:33:44:55 mtu 1400")
    until(lambda: one.mac("flannel.1") == mac and "mtu 1450" in one.sh("ip link"), "is as it was")


def test_a_peer_that_went_while_the_manager_was_down_leaves_nothing(rack, until) -> None:
    one, other = rack.up(2, VXLAN)
    assert one.stop(signal.SIGKILL) == -signal.SIGKILL
    other.stop()
    store = SqliteStore(rack.store, holder="admin")
    [gone] = [lease for lease in store.snapshot().leases if str(lease.subnets) == other.subnet()]
    store.delete(gone)
    store.close()

    one.start()

    until(lambda: one.is_ready() and not one.routes(), "no routes are left")
    assert one.overlay() == []


def test_termination_leaves_the_data_path_and_a_restart_does_not_touch_it(rack, until) -> None:
    one, _ = rack.up(2, VXLAN)
    before, subnet, mac = one.overlay(), one.subnet(), one.mac("flannel.1")

    assert one.stop() == 0
    assert one.overlay() == before
    one.start()
    until(one.is_ready, "ready again")

    assert (one.overlay(), one.subnet(), one.mac("flannel.1")) == (before, subnet, mac)
    assert "entries" not in one.log.split("stopped")[1]


def test_cleanup_removes_everything(rack) -> None:
    one, _ = rack.up(2, VXLAN)
    one.stop()

    one.start("--cleanup")
    assert one.process.wait(20) == 0
    one.process = None

    assert one.routes() == {}
    assert "flannel" not in one.sh("ip link; nft list ruleset")


def test_ten_simultaneous_starts_all_get_a_subnet_of_their_own(rack) -> None:
    machines = rack.up(
        10, {"Network": "10.5.0.0/20", "SubnetLen": 24, "Backend": {"Type": "host-gw"}}
    )

    assert len({machine.subnet() for machine in machines}) == 10


def test_a_full_network_is_said_and_waited_out(rack, until) -> None:
    conf = {"Network": "10.5.0.0/24", "SubnetLen": 26, "Backend": {"Type": "alloc"}}
    machines = [rack.machine() for _ in range(4)]
    path = rack.directory / "net-conf.json"
    path.write_text(json.dumps(conf))
    for machine in machines:
        machine.start("--net-config", str(path), "--lease-ttl", "3")
    until(lambda: sum(m.is_ready() for m in machines) == 3, "three of four are ready")

    (last,) = [machine for machine in machines if not machine.is_ready()]
    until(lambda: "out of subnets" in last.ask("/readyz")[1], "the reason is said")
    assert last.ask("/healthz")[0] == 200
    next(machine for machine in machines if machine is not last).stop(signal.SIGKILL)

    until(last.is_ready, "the fourth gets what is free when that lease has ended")


def test_a_revoked_lease_is_taken_again(rack, until) -> None:
    one, _ = rack.up(2, VXLAN)
    subnet = one.subnet()
    store = SqliteStore(rack.store, holder="admin")
    [lease] = [lease for lease in store.snapshot().leases if str(lease.subnets) == subnet]

    store.delete(lease)
    store.close()

    until(lambda: "lost the lease" in one.log, "the loss is said")
    until(lambda: one.is_ready() and one.subnet() == subnet, "the same subnet is held again")


def test_a_node_that_slept_through_the_end_of_its_lease_steals_nothing(rack, until) -> None:
    one, two = rack.up(2, VXLAN, "--lease-ttl", "2")
    subnet = one.subnet()
    one.process.send_signal(signal.SIGSTOP)
    until(lambda: subnet not in two.routes(), "the lease has ended")
    store = SqliteStore(rack.store, holder="another")
    another = Attributes(public_ip=IPv4Address("10.99.0.50"), backend_type="host-gw")
    assert store.create(Subnets.of((ip_network(subnet),)), another, ttl=1000)

    one.process.send_signal(signal.SIGCONT)

    until(lambda: one.is_ready() and one.subnet() != subnet, "it has another subnet")
    [kept] = [lease for lease in store.snapshot().leases if str(lease.subnets) == subnet]
    store.close()
    assert kept.attributes == another


def test_a_reservation_stays_one(rack, until) -> None:
    wanted = Subnets.of((ip_network("10.5.77.0/24"),))
    store = SqliteStore(rack.store, holder="admin")
    store.reserve(wanted, Attributes(public_ip=IPv4Address("10.99.0.1")))

    one, _ = rack.up(2, VXLAN, "--lease-ttl", "2")
    one.stop()
    one.start()
    until(one.is_ready, "ready again")

    assert one.subnet() == "10.5.77.0/24"
    [lease] = [lease for lease in store.snapshot().leases if lease.subnets == wanted]
    store.close()
    assert lease.is_reservation


def test_a_reservation_of_another_network_stays_and_is_said(rack, until) -> None:
    wrong = Subnets.of((ip_network("10.6.77.0/24"),))
    with closing(SqliteStore(rack.store, holder="admin")) as store:
        before = store.reserve(wrong, Attributes(public_ip=IPv4Address("10.99.0.1")))

        (one,) = rack.up(1, VXLAN)

        assert one.subnet().startswith("10.5.")
        until(lambda: "skipped a peer lease=10.6.77.0/24" in one.log.replace('"', ""), "it is said")
        assert before in store.snapshot().leases


@pytest.mark.parametrize("store", ["sqlite", "etcd"])
def test_two_nodes_with_one_public_address_are_told_apart(rack, request, until, store) -> None:
    options = request.getfixturevalue("etcd_server")[1] if store == "etcd" else []
    (one,) = rack.up(1, VXLAN, *options)
    two = rack.machine()

    two.start("--public-ip", f"10.99.0.{one.number}", *options)

    until(lambda: "public address" in two.ask("/readyz")[1], "the second is refused, with a reason")
    assert one.is_ready()
    assert "lost" not in one.log
    one.stop()
    one.start()
    until(one.is_ready, "the first is known again")


def test_dual_stack_has_two_devices_and_the_mtu_that_both_carry(rack) -> None:
    conf = {
        "EnableIPv6": True,
        "Network": "10.5.0.0/16",
        "IPv6Network": "fd00:5::/48",
        "Backend": {"Type": "vxlan", "VNI": 7},
    }

    one, _ = rack.up(2, conf)

    assert len(one.routes(6)) == 1
    assert {"flannel.7", "flannel-v6.7"} <= set(one.sh("ls /sys/class/net").split())
    said = one.subnet_file.read_text()
    assert "FLANNEL_MTU=1430\n" in said
    assert "FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=" in said


def test_direct_routing_needs_no_tunnel_on_one_link(rack) -> None:
    one, two = rack.up(2, DIRECT)

    assert one.routes() == {two.subnet(): "10.99.0.2 eth0"}
    assert one.overlay() == []


def test_another_vni_takes_the_old_one_s_device_away(rack, until) -> None:
    one, two = rack.up(2, VXLAN)
    one.stop()
    two.stop()
    with closing(SqliteStore(rack.store, holder="admin")) as store:
        store.set_config(json.dumps(VXLAN | {"Backend": {"Type": "vxlan", "VNI": 9}}).encode())

    one.start()
    two.start()

    def via() -> str:
        return str(one.routes().get(two.subnet()))

    until(lambda: "flannel.9" in via(), "a route by the new device")
    assert "flannel.1" not in one.sh("ls /sys/class/net").split()


def test_another_backend_takes_the_old_ones_state_away(rack, until) -> None:
    machines = rack.up(2, VXLAN)
    for machine in machines:
        machine.stop()
    store = SqliteStore(rack.store, holder="admin")
    store.set_config(json.dumps(HOST_GW).encode())
    store.close()

    for machine in machines:
        machine.start()

    one, two = machines
    until(lambda: one.routes() == {two.subnet(): "10.99.0.2 eth0"}, "plain routes")
    assert "flannel" not in one.sh("ls /sys/class/net")


def test_a_node_whose_address_changes_tells_the_others(rack, until) -> None:
    one, two = rack.up(2, HOST_GW)

    two.sh("ip -4 addr flush dev eth0; ip addr add 10.99.7.7/16 dev eth0")
    two.sh("ip route replace default via 10.99.255.254")

    until(lambda: one.routes() == {two.subnet(): "10.99.7.7 eth0"}, "the route follows")


@pytest.mark.parametrize(
    ("conf", "reason"),
    [("{", "not valid JSON"), ('{"Network": "10.5.0.0/30"}', "too small")],
)
def test_a_bad_configuration_is_refused_with_its_reason(rack, conf, reason) -> None:
    path = rack.directory / "net-conf.json"
    path.write_text(conf)
    machine = rack.machine()

    machine.start("--net-config", str(path))

    assert machine.process.wait(20) == 2
    machine.process = None
    assert reason in machine.log


def test_rules_are_repaired_and_masquerade_what_leaves_the_network(rack, until) -> None:
    one, _ = rack.up(2, VXLAN, "--ip-masq")
    assert "FLANNEL_IPMASQ=true" in one.subnet_file.read_text()
    before = one.sh("nft list table ip flannel-ipv4")

    one.sh("nft flush chain ip flannel-ipv4 postrtg")

    until(lambda: one.sh("nft list table ip flannel-ipv4") == before, "the rules are back")
    one.sh("nft insert rule ip flannel-ipv4 postrtg ip saddr 10.5.0.0/16 masquerade")
    until(lambda: one.sh("nft list table ip flannel-ipv4") == before, "the odd one is gone")


def test_rules_that_are_not_wanted_any_more_are_removed(rack, until) -> None:
    """subnet.env says whether somebody masquerades, and plugins believe it."""
    families = {"EnableIPv6": True, "IPv6Network": "fd00:5::/48"}
    (one,) = rack.up(1, HOST_GW | families, "--ip-masq")
    assert one.sh("nft list tables").split().count("table") == 2

    one.stop()
    rack.configure(HOST_GW)
    one.start("--ip-masq")
    until(one.is_ready, "IPv4 alone")
    assert one.sh("nft list tables") == "table ip flannel-ipv4\n"
    one.stop()
    one.start("--no-forward-rules")
    until(one.is_ready, "no rules")

    assert one.sh("nft list ruleset") == ""
    assert "FLANNEL_IPMASQ=false" in one.subnet_file.read_text()


def test_managers_on_etcd_share_its_leases_and_outlive_an_outage(rack, etcd_server, until) -> None:
    """The data path stays while etcd is away for longer than a lease lasts; who starts then waits."""
    server, options = etcd_server
    one, two = rack.up(2, VXLAN, *options, "--lease-ttl", "2")
    before = one.routes()
    [value] = [
        lease.attributes.to_wire()
        for lease in server.store().snapshot().leases
        if str(lease.subnets) == one.subnet()
    ]
    said = f'"VtepMAC":"{one.mac("flannel.1")}"'
    public = f'"PublicIP":"10.99.0.{one.number}"'
    assert value.startswith(b"{" + public.encode() + b',"PublicIPv6":null,"BackendType":"vxlan"')
    assert said.encode() in value

    server.kill()
    three = rack.machine()
    three.start(*options)
    until(lambda: "has ended" in one.ask("/readyz")[1], "the outage is longer than a lease")
    assert "etcd does not answer" in one.ask("/readyz")[1]
    until(lambda: "etcd does not answer" in three.ask("/readyz")[1], "the third waits")
    for machine in (one, two, three):
        until(lambda m=machine: "store_up 0\n" in m.ask("/metrics")[1], "all know of the outage")
    assert one.routes() == before
    server.start()

    until(lambda: all(m.is_ready() for m in (one, two, three)), "all are ready")
    until(lambda: one.routes().keys() == {two.subnet(), three.subnet()}, "and know each other")
    assert before.items() <= one.routes().items()
    for machine in (one, two, three):
        until(lambda m=machine: "store_up 1\n" in m.ask("/metrics")[1], "it answers again")
        # Not at every attempt; an etcd that has just started may fall silent again.
        outages = machine.log.count("the lease store does not answer")
        assert 1 <= outages <= 3
        assert machine.log.count("the lease store answers again") == outages


def test_who_starts_while_the_store_is_out_goes_on_with_what_was_known_last(rack, until) -> None:
    """Also after a reboot; flannel waits for the store, without subnet.env and without routes."""
    mounted = rack.directory / "mounted"
    mounted.symlink_to(rack.directory)
    rack.store = mounted / "leases.db"
    one, _ = rack.up(2, VXLAN)
    before = one.routes(), one.overlay(), one.subnet_file.read_text()
    one.stop()
    mounted.unlink()
    mounted.touch()
    one.sh("ip link delete flannel.1")
    one.subnet_file.unlink()

    one.start()
    until(one.is_ready, "it goes on")
    assert "the lease store does not answer" in one.ask("/readyz")[1]
    assert (one.routes(), one.overlay(), one.subnet_file.read_text()) == before
    one.sh("ip route flush proto 109")
    until(lambda: one.routes() == before[0], "and repairs what somebody breaks")
    mounted.unlink()
    mounted.symlink_to(rack.directory)

    until(lambda: "store_up 1\n" in one.ask("/metrics")[1], "the store is back")
    until(lambda: one.log.count("revision=") == 2, "the lease is the store's again")
    assert one.is_ready()
    assert (one.routes(), one.overlay(), one.subnet_file.read_text()) == before


def test_a_lease_of_etcd_that_was_made_for_a_short_time_is_renewed_in_time(
    rack, etcd_server, until
) -> None:
    """A lease in etcd keeps the TTL that it was made with, whatever its Node is told later."""
    _, options = etcd_server
    (one,) = rack.up(1, HOST_GW, *options, "--lease-ttl", "10")
    subnet = one.subnet()
    one.stop()

    one.start("--lease-ttl", "1000", *options)

    until(lambda: "renewals_total 1\n" in one.ask("/metrics")[1], "it is renewed")
    assert "lost" not in one.log
    assert one.subnet() == subnet
