"""Real chains, most of them of Debian's plugins: made, checked, probed, deleted, and nothing left.

"Nothing left" compares all that a plugin could have changed on the Node with a baseline that was
taken when every network had had its first pod: bridges and the plugins' shared rules stay.

Debian's 1.1.1 has bugs that these chains go around: portmap's CHECK fails where there are
mappings, bandwidth's panics where there is no limit.
"""

import ipaddress
import json
import socket
import time
from collections.abc import Mapping
from typing import Any

import pytest

from podnet.kernel import namespaces

pytestmark = pytest.mark.root

LIMITS = ("--bandwidth", "ingress=100M,egress=100M")


def _host_local(subnet: str) -> dict[str, object]:
    return {"type": "host-local", "ranges": [[{"subnet": subnet}]]}


BRIDGE = {
    "type": "bridge",
    "bridge": "br-e2e",
    "isDefaultGateway": True,
    "ipMasq": True,
    "hairpinMode": True,
    "ipam": _host_local("10.70.0.0/16"),
}
PTP = {"type": "ptp", "ipMasq": True, "ipam": _host_local("10.71.0.0/16")}
MACVLAN = {
    "type": "macvlan",
    "master": "up0",
    "mode": "bridge",
    "ipam": _host_local("10.72.0.0/16"),
}
CHAINS: dict[str, list[Any]] = {
    "bridge": [BRIDGE],
    "bridge, both families": [
        BRIDGE
        | {
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.70.0.0/16"}], [{"subnet": "fd00:70::/64"}]],
            }
        }
    ],
    "bridge, portmap": [BRIDGE, {"type": "portmap", "capabilities": {"portMappings": True}}],
    "bridge, firewall": [BRIDGE, {"type": "firewall"}],
    "bridge, firewall in one bridge": [
        BRIDGE,
        {"type": "firewall", "ingressPolicy": "same-bridge"},
    ],
    "bridge, bandwidth": [
        BRIDGE,
        {
            "type": "bandwidth",
            "ingressRate": 10**8,
            "ingressBurst": 10**8,
            "egressRate": 10**8,
            "egressBurst": 10**8,
        },
    ],
    "bridge, tuning": [
        BRIDGE,
        {"type": "tuning", "sysctl": {"net.core.somaxconn": "512"}, "mtu": 1400},
    ],
    "ptp": [PTP],
    "ptp, portmap": [PTP, {"type": "portmap", "capabilities": {"portMappings": True}}],
    "macvlan": [MACVLAN],
    "macvlan, tuning": [MACVLAN, {"type": "tuning", "promisc": True}],
    "loopback": [{"type": "loopback"}],
}


@pytest.fixture
def debian(podnet, debian_plugins):
    """The command line with Debian's plugins."""
    podnet.environment["CNI_PATH"] = debian_plugins
    return podnet


@pytest.fixture
def uplink(sh):
    """A link for macvlan to sit on, with a carrier."""
    sh("ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up")


def _address(podnet: Any, name: str) -> str:
    record = podnet.json("inspect", name)
    address: str = record["attachments"][0]["result"]["ips"][0]["address"]
    return address.partition("/")[0]


def _reachable_from_node(chain: list[Any]) -> bool:
    """A macvlan link and its master do not talk to each other."""
    return chain[0]["type"] not in {"macvlan", "loopback"}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_made_checked_probed_and_deleted_and_leaves_nothing(
    debian, conflist, uplink, snapshot, settled, name
):
    chain = CHAINS[name]
    conflist("n", *chain)
    # One after the other: Debian's plugins race for the chains that all pods share.
    debian("create", "web", "db", "--jobs", "1")
    debian("delete", "--all", "--jobs", "1")
    before = snapshot()

    debian("create", "web", "db")
    debian("check")
    if chain[0]["type"] != "loopback":
        debian("probe", "web", "db", "--tcp", "80")
        debian("probe", "db", "web", "--udp", "53")
        debian("ping", "web", "db", "-c", "1")
    if _reachable_from_node(chain):
        debian("probe", "@node", "web", "--tcp", "80")
    if name == "bridge, both families":
        debian("probe", "web", "db", "--tcp", "80", "-6")
    debian("delete", "web", "db")

    assert settled(before) == before


def test_the_reference_network_uses_each_of_its_plugins(debian, sh, node):
    debian("create", "web", "--network", "reference", *LIMITS, "-p", "8080:80")

    address = _address(debian, "web")
    [shown] = json.loads(sh("ip netns exec web ip -j addr show dev eth0"))
    assert address in [a["local"] for a in shown["addr_info"]]
    filters = sh("iptables-save -t filter")
    assert f"-A CNI-FORWARD -s {address}/32 -j ACCEPT" in filters
    assert f"--dport 8080 -j DNAT --to-destination {address}:80" in sh("iptables-save -t nat")
    assert "tbf" in sh("tc qdisc show")
    assert debian("exec", "web", "--", "cat", "/proc/sys/net/core/somaxconn").stdout == "512\n"


def test_debian_and_embedded_plugins_delete_what_the_other_made(
    podnet, conflist, debian_plugins, snapshot, settled
):
    conflist("n", BRIDGE | {"ipMasq": False})
    podnet("create", "web", "db")
    podnet("delete", "--all")
    before = snapshot()

    podnet("create", "web")
    podnet("--plugin-dir", debian_plugins, "create", "db")
    podnet("probe", "web", "db", "--tcp", "80")
    podnet("--plugin-dir", debian_plugins, "check", "web")
    podnet("--plugin-dir", debian_plugins, "delete", "web")
    podnet("delete", "db")
    # host-local's index learns from its next own call what Debian's host-local did.
    podnet("create", "web")
    podnet("delete", "web")

    assert settled(before) == before


def _listener(netns: str, address: str, port: int) -> socket.socket:
    with namespaces.entered(netns):
        listening = socket.create_server((address, port))
    listening.settimeout(5)
    return listening


def _connection(netns: str, address: str, port: int) -> socket.socket:
    with namespaces.entered(netns):
        return socket.create_connection((address, port), timeout=5)


def test_a_published_port_leads_from_another_machine_into_the_pod(debian, node, sh):
    sh(
        "ip netns add outside; ip link add in0 type veth peer name out0 netns outside;"
        "ip addr add 192.0.2.1/24 dev in0; ip link set in0 up;"
        "ip netns exec outside ip addr add 192.0.2.2/24 dev out0;"
        "ip netns exec outside ip link set out0 up"
    )
    debian("create", "web", "--network", "reference", *LIMITS, "-p", "8080:80")

    with (
        node.run(_listener, "/run/netns/web", "0.0.0.0", 80) as listening,
        node.run(_connection, "/run/netns/outside", "192.0.2.1", 8080) as client,
        listening.accept()[0] as served,
    ):
        client.sendall(b"hello")
        assert served.recv(5) == b"hello"
    debian("delete", "web")
    with pytest.raises(OSError, match=r"refused|timed out"):
        node.run(_connection, "/run/netns/outside", "192.0.2.1", 8080)


def _on_three_networks(conflist: Any) -> tuple[str, ...]:
    conflist("one", BRIDGE)
    conflist("two", PTP)
    conflist("three", MACVLAN)
    return ("--network", "one", "--network", "two", "--network", "three")


def test_a_pod_on_three_networks_has_three_interfaces_that_work(
    debian, conflist, uplink, snapshot, settled
):
    networks = _on_three_networks(conflist)
    debian("create", "web", "db", *networks)
    debian("delete", "--all")
    before = snapshot()

    debian("create", "web", "db", *networks)

    [web] = [pod for pod in debian.json("list")["items"] if pod["name"] == "web"]
    assert web["interfaces"] == ["eth0", "eth1", "eth2"]
    subnets = [ipaddress.ip_network(f"10.7{n}.0.0/16") for n in range(3)]
    for address, subnet in zip(web["addresses"], subnets, strict=True):
        assert ipaddress.ip_address(address) in subnet
        debian("probe", "db", address, "--icmp")
    debian("check")
    debian("delete", "web", "db")
    assert settled(before) == before


def test_attaching_and_detaching_leave_the_other_attachments_undisturbed(
    debian, conflist, uplink, node, sh
):
    _on_three_networks(conflist)
    debian("create", "web", "--network", "one", "--network", "three")
    look = (
        "for dev in eth0 eth1; do ip -n web -j -d addr show dev $dev; "
        "ip -n web -j route show table all dev $dev; done"
    )
    time.sleep(2)  # until IPv6 has settled by itself
    before = [json.loads(line) for line in sh(look).splitlines()]
    address = _address(debian, "web")
    with (
        node.run(_listener, "/run/netns/web", address, 80) as listening,
        node.run(_connection, "/proc/thread-self/ns/net", address, 80) as client,
        listening.accept()[0] as served,
    ):
        debian("attach", "web", "--network", "two")
        debian("check", "web")
        client.sendall(b"attached")
        assert served.recv(8) == b"attached"
        debian("detach", "web", "--network", "two")
        debian("check", "web")
        client.sendall(b"detached")
        assert served.recv(8) == b"detached"

    assert [json.loads(line) for line in sh(look).splitlines()] == before
    [web] = debian.json("list")["items"]
    assert web["interfaces"] == ["eth0", "eth1"]
    assert "eth2" not in sh("ip -n web link")


def test_an_interface_in_the_middle_can_go_and_come_again(
    debian, conflist, uplink, snapshot, settled
):
    networks = _on_three_networks(conflist)
    debian("create", "web", *networks)
    debian("delete", "web")
    before = snapshot()
    debian("create", "web", *networks)

    debian("detach", "web", "--ifname", "eth1")
    [web] = debian.json("list")["items"]
    assert web["interfaces"] == ["eth0", "eth2"]
    debian("attach", "web", "--network", "two")
    [web] = debian.json("list")["items"]
    assert web["interfaces"] == ["eth0", "eth2", "eth1"]
    debian("check", "web")
    debian("delete", "web")

    assert settled(before) == before


def test_one_network_can_be_joined_twice(debian, conflist, snapshot, settled):
    conflist("n", BRIDGE | {"isDefaultGateway": False, "isGateway": True, "ipMasq": False})
    debian("create", "web", "--network", "n", "--network", "n")
    debian("delete", "web")
    before = snapshot()

    debian("create", "web", "--network", "n", "--network", "n")
    [web] = debian.json("list")["items"]
    assert web["interfaces"] == ["eth0", "eth1"]
    assert len(set(web["addresses"])) == 2
    assert debian("detach", "web", "--network", "n", status=2).stderr.startswith("error: pod web")
    debian("detach", "web", "--ifname", "eth0")
    debian("check", "web")
    debian("delete", "web")

    assert settled(before) == before


# --- a hundred times

THREE = ("--network", "one", "--network", "two", "--network", "three")
MANY: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "podnet": ((), ("--network", "podnet")),
    "reference": (("--plugin-dir", "/usr/lib/cni"), ("--network", "reference", *LIMITS)),
    "three networks": (("--plugin-dir", "/usr/lib/cni"), THREE),
}


@pytest.fixture
def world(request, forked, debian_plugins, tmp_path, uplink):
    """A way to call podnet, and to create pods, for one of MANY."""
    options, create = MANY[request.param]
    if request.param == "three networks":
        for name, plugin in (("one", BRIDGE), ("two", PTP), ("three", MACVLAN)):
            whole = {"cniVersion": "1.0.0", "name": name, "plugins": [plugin]}
            (tmp_path / f"{name}.conflist").write_text(json.dumps(whole))
        options = (*options, "--conf-dir", str(tmp_path))
    return forked, options, create


@pytest.mark.slow
@pytest.mark.parametrize("world", MANY, indirect=True)
@pytest.mark.parametrize("part", range(2))
def test_a_hundred_pods_one_after_the_other_leave_the_kernel_as_it_was(
    world, snapshot, settled, part
):
    podnet, options, create = world
    podnet(*options, "create", "peer", *create)
    podnet(*options, "create", "web", *create)
    podnet(*options, "delete", "web")
    before = snapshot()

    for number in range(50):
        name = f"web{number}"
        podnet(*options, "create", name, *create)
        podnet(*options, "check", name)
        podnet("probe", "peer", name, "--tcp", "80")
        podnet("probe", "@node", name, "--udp", "53")
        podnet(*options, "delete", name)
        if number % 10 == 0:
            assert settled(before) == before

    assert settled(before) == before
    podnet(*options, "check", "peer")


@pytest.mark.slow
@pytest.mark.parametrize("world", MANY, indirect=True)
def test_a_hundred_pods_eight_at_a_time_leave_the_kernel_as_it_was(world, snapshot, settled):
    podnet, options, create = world
    podnet(*options, "create", "peer", *create)
    podnet(*options, "create", *(f"warm{n}" for n in range(8)), *create)
    podnet(*options, "delete", *(f"warm{n}" for n in range(8)))
    before = _without_duplicates(snapshot())

    for _ in range(4):
        names = [f"pod{n}" for n in range(25)]
        podnet(*options, "create", *names, *create, "--jobs", "8")
        podnet(*options, "check", *names, "--jobs", "8")
        for source, target in zip(names, [*names[1:], "peer"], strict=True):
            podnet("probe", source, target, "--tcp", "80")
        for target in names[::5]:
            podnet("probe", "@node", target, "--icmp")
        podnet(*options, "delete", *names, "--jobs", "8")

        assert _without_duplicates(settled(snapshot())) == before


def _without_duplicates(seen: Mapping[str, Any]) -> dict[str, object]:
    """Debian's plugins look for their shared rules before they append them: two at once, two rules."""
    return {**seen, "iptables": sorted(set(seen["iptables"]))}


@pytest.mark.parametrize("interrupted", [False, True], ids=["failed", "killed"])
def test_of_a_chain_that_did_not_get_to_its_end_the_firewalls_rules_go_too(  # noqa: PLR0913, PLR0917
    podnet, conflist, stub, debian_plugins, snapshot, settled, tmp_path, interrupted
):
    """Debian's firewall knows its rules by prevResult only: what the plugin before it said."""
    begun = tmp_path / "begun"
    last = "{ echo > %s; sleep 5; }" % begun if interrupted else "exit 1"  # noqa: UP031
    stub("last", script=f"[ $CNI_COMMAND = ADD ] && {last}; exit 0")
    podnet.environment["CNI_PATH"] += f":{debian_plugins}"
    conflist("good", BRIDGE, {"type": "firewall"})
    conflist("n", BRIDGE, {"type": "firewall"}, {"type": "last"})
    podnet("create", "web", "--network", "good")
    podnet("delete", "web")
    before = snapshot()

    if interrupted:
        process = podnet.start("create", "web", "--network", "n")
        while not begun.exists():
            time.sleep(0.01)
        process.kill()
        process.communicate()
        podnet("gc")
    else:
        podnet("create", "web", "--network", "n", status=3)

    assert settled(before) == before
