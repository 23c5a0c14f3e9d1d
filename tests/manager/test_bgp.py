"""The backend bgp: BIRD on every Node, each to each or by one reflector, whoever is killed."""

import os
import shutil
import signal
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.manager.rack import birds

from podnet.cni import wire
from podnet.cni.errors import CniError
from podnet_manager import bgp, netconf
from podnet_manager.backend import Bgp
from podnet_manager.lease import Attributes, Lease, Subnets
from podnet_manager.uplink import Uplink

MESH: dict[str, Any] = {"Network": "10.5.0.0/16", "Backend": {"Type": "bgp"}}
BY_ONE = {"Network": "10.5.0.0/16", "Backend": {"Type": "bgp", "RouteReflector": "10.99.0.1"}}
DUAL = MESH | {"EnableIPv6": True, "IPv6Network": "fd00:5::/48"}


@pytest.fixture(autouse=True)
def _bird(request) -> None:
    if "rack" in request.fixturenames and not shutil.which("bird"):
        pytest.skip("bird is missing: apt-get install bird2")


def learnt(machine: Any, family: int = 4) -> dict[str, str]:
    """Return the routes that BIRD has set: destination to gateway."""
    lines = machine.sh(f"ip -{family} route show proto bird").splitlines()
    return {
        words[0]: words[2] for words in map(str.split, lines) if "metric 109" in " ".join(words)
    }


# -- what BIRD is told


def read(**backend: object) -> netconf.NetConf:
    return netconf.parse(wire.dumps(MESH | {"Backend": {"Type": "bgp"} | backend}).encode())


def lease(number: int, backend: str = "bgp") -> Lease:
    who = Attributes(public_ip=ip_address(f"10.99.0.{number}"), backend_type=backend)  # type: ignore[arg-type]
    return Lease(subnets=Subnets.of((ip_network(f"10.5.{number}.0/24"),)), attributes=who)


UPLINK = Uplink(
    index=2, name="eth0", mtu=1500, ipv4=ip_address("10.99.0.1"),  # type: ignore[arg-type]
    networks=(ip_interface("10.99.0.1/16"),),
)  # fmt: skip


def told(conf: netconf.NetConf, *peers: Lease) -> str:
    own = lease(1)
    return bgp.configuration(
        conf, UPLINK, (own.subnets, own.attributes), peers, scan=10, log=Path("/run/x/bird.log")
    )


def neighbours(text: str) -> list[str]:
    return [line.split()[7] for line in text.splitlines() if line.startswith("protocol bgp")]


def test_defaults_are_a_private_as_and_everybody_speaks_to_everybody() -> None:
    conf = read()

    assert conf.backend == Bgp(asn=64512, port=179, reflectors={})
    assert neighbours(told(conf, lease(3), lease(2))) == ["10.99.0.2", "10.99.0.3"]


def test_all_speak_to_the_reflector_and_it_speaks_to_all() -> None:
    elsewhere, here = read(RouteReflector="10.99.0.9"), read(RouteReflector="10.99.0.1")

    assert neighbours(told(elsewhere, lease(3), lease(2))) == ["10.99.0.9"]
    assert "rr client" not in told(elsewhere, lease(3))
    assert neighbours(told(here, lease(3), lease(2))) == ["10.99.0.2", "10.99.0.3"]
    assert "rr client" in told(here, lease(3))


def test_only_subnets_of_the_network_are_taken_and_only_ours_is_said() -> None:
    text = told(read(AS=65000, Port=1790), lease(2))

    assert "import where net ~ [ 10.5.0.0/16{24,24} ]; export where source = RTS_STATIC" in text
    assert "route 10.5.1.0/24 blackhole" in text
    assert "neighbor 10.99.0.2 port 1790 as 65000" in text


def test_who_is_no_bgp_node_is_not_spoken_to() -> None:
    assert neighbours(told(read(), lease(2, "vxlan"), lease(3))) == ["10.99.0.3"]


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ({"AS": 1 << 32}, "Backend.AS must be between"),
        ({"RouteReflector": "fd99::1"}, "Backend.RouteReflector must be an IPv4 address"),
        ({"RouteReflector": "here"}, 'an IPv4 address, not "here"'),
    ],
)
def test_a_bad_option_names_field_and_reason(backend, said) -> None:
    with pytest.raises(CniError, match=said):
        read(**backend)


def test_of_two_families_both_have_a_reflector_or_none() -> None:
    conf = DUAL | {"Backend": {"Type": "bgp", "RouteReflector": "10.99.0.1"}}

    with pytest.raises(CniError, match="IPv6RouteReflector is missing"):
        netconf.parse(wire.dumps(conf).encode())


# -- Nodes


@pytest.mark.parametrize("conf", [MESH, BY_ONE], ids=["mesh", "reflector"])
def test_every_node_has_a_route_to_every_other(rack, until, conf) -> None:
    machines = rack.up(3, conf)
    subnets = {machine.number: machine.subnet() for machine in machines}

    for machine in machines:
        assert learnt(machine) == {
            subnet: f"10.99.0.{number}"
            for number, subnet in subnets.items()
            if number != machine.number
        }
        assert "FLANNEL_MTU=1500\n" in machine.subnet_file.read_text()
    pod = machines[1].subnet().replace(".0/24", ".2")
    machines[1].sh(
        f"ip link add pods type bridge; ip link set pods up; ip addr add {pod}/24 dev pods"
    )
    assert machines[2].answers(pod)


def test_both_families_have_their_routes(rack) -> None:
    one, two = rack.up(2, DUAL)

    [(_, via)] = learnt(one, 6).items()
    assert via == f"fd99::{two.number}"
    assert learnt(two).keys() == {one.subnet()}


def test_a_manager_that_ends_leaves_bird_and_the_next_one_finds_it(rack, until) -> None:
    one, two = rack.up(2, MESH)
    pids, before = birds(one), learnt(two)

    assert one.stop() == 0
    assert learnt(two) == before
    assert birds(one) == pids
    one.start()
    until(one.is_ready, "ready again")

    assert birds(one) == pids
    assert learnt(two) == before


def test_a_bird_that_is_killed_comes_back_and_no_route_is_missing_meanwhile(rack, until) -> None:
    one, two = rack.up(2, MESH, "--resync", "100")
    [pid] = birds(one)
    watch = "ip monitor route >/run/seen 2>&1 & echo $!"
    watching = [int(machine.sh(watch)) for machine in (one, two)]

    os.kill(pid, signal.SIGKILL)

    until(lambda: birds(one) not in ([], [pid]), "another one runs")
    until(
        lambda: "Established" in two.sh("birdc -s /run/podnet-manager/bird.ctl show protocols"),
        "the session",
    )
    for machine, monitor in zip((one, two), watching, strict=True):
        assert "Deleted 10.5." not in machine.sh("cat /run/seen")
        os.kill(monitor, signal.SIGTERM)
    assert learnt(one) == {two.subnet(): "10.99.0.2"}


def test_a_route_that_somebody_deletes_comes_back(rack, until) -> None:
    one, _ = rack.up(2, MESH)
    before = learnt(one)

    one.sh("ip route flush proto bird")

    until(lambda: learnt(one) == before, "it is back")


def test_a_node_that_leaves_is_routed_to_no_more(rack, until) -> None:
    one, two, three = rack.up(3, MESH)
    gone, stays = three.subnet(), two.subnet()
    three.stop()

    three.start("--release")
    assert three.process.wait(20) == 0
    three.process = None

    until(lambda: learnt(one).keys() == {stays}, "the route is gone")
    assert gone not in learnt(two)
    assert birds(three) == []
    assert learnt(three) == {}


def test_another_backend_ends_bird_and_takes_its_routes_away(rack, until) -> None:
    one, two = rack.up(2, MESH)
    one.stop()
    two.stop()
    rack.configure({"Network": "10.5.0.0/16", "Backend": {"Type": "host-gw"}})

    one.start()
    two.start()

    until(lambda: one.routes() == {two.subnet(): "10.99.0.2 eth0"}, "plain routes")
    assert birds(one) == []
    assert learnt(one) == {}


def test_a_node_that_does_not_answer_keeps_nobody_from_being_ready(rack, until) -> None:
    one, two = rack.up(2, MESH)
    two.stop()
    for pid in birds(two):
        os.kill(pid, signal.SIGSTOP)
    one.stop()
    one.start("--cleanup")
    assert one.process.wait(20) == 0

    one.start("--net-config", str(rack.directory / "net-conf.json"))

    until(lambda: "BGP knows no route" in one.ask("/readyz")[1], "it is waited for")
    until(one.is_ready, "but not for ever")
    assert "podnet_manager_skipped_peers 1\n" in one.ask("/metrics")[1]
    assert one.subnet_file.exists()


def test_without_bird_the_manager_says_what_to_install(rack) -> None:
    machine = rack.machine()
    rack.configure(MESH)

    machine.start(PATH="/usr/bin:/bin")

    assert machine.process.wait(20) == 7
    machine.process = None
    assert "there is no bird program" in machine.log
    assert "apt-get install bird2" in machine.log


def test_a_public_address_that_is_not_the_interface_s_is_refused(rack, until) -> None:
    machine = rack.machine()
    rack.configure(MESH)

    machine.start("--public-ip", "192.0.2.1")

    until(lambda: "not that of interface eth0" in machine.ask("/readyz")[1], "the reason is said")
