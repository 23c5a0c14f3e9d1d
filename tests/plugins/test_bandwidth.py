"""bandwidth: buckets, redirection and ifb; real traffic through them.

Every call is a process on a host in memory, in a chain after bridge.
"""

import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import podnet_plugins
from podnet.kernel import namespaces

OURS = str(Path(podnet_plugins.__file__).parent / "bin")
THEIRS = "/usr/lib/cni"
NETNS = "/run/netns/c1"
IFB = "bwp968de35a82bb"  # of container c1 on the network demo
BRIDGE = {
    "type": "bridge",
    "bridge": "br0",
    "isGateway": True,
    "ipam": {"type": "static", "addresses": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1"}]},
}
INGRESS = {"ingressRate": 8_000_000, "ingressBurst": 800_000}
EGRESS = {"egressRate": 16_000_000, "egressBurst": 1_600_000}
BOTH = INGRESS | EGRESS
INGRESS_BUCKET = {"rate": 1_000_000, "burst": "100000b/1", "lat": 25000}
EGRESS_BUCKET = {"rate": 2_000_000, "burst": "200000b/1", "lat": 25000}


def _bridged(host: Any, cid: str = "c1", *, ifname: str = "eth0", **keys: Any) -> Any:
    """A container on a bridge; the result that bandwidth is called with.

    The bridge is the reference's where there is one: it starts five times as fast.
    """
    if f"/run/netns/{cid}\n" not in host.sh("ls -d /run/netns/* 2>/dev/null || true"):
        host.container(cid)
    config = BRIDGE | {"cniVersion": "1.0.0"} | keys
    directory = THEIRS if Path(THEIRS).is_dir() else OURS
    return host.call("ADD", config, cid=cid, directory=directory, ifname=ifname).result


def _limited(previous: Any, **keys: Any) -> dict[str, Any]:
    given = {"prevResult": previous} if previous else {}
    return {"type": "bandwidth"} | given | keys


def _veth(previous: Any) -> str:
    return str(previous["interfaces"][1]["name"])


def _state(host: Any, previous: Any) -> dict[str, Any]:
    """The queues, filters and ifbs on the host, without numbers that the kernel chose."""
    veth = _veth(previous)
    shown = host.sh(
        f"tc -j -d qdisc show; echo @; tc -j filter show dev {veth} parent ffff: 2>/dev/null || true; echo @;"
        "ip -j -d link show type ifb"
    )
    qdiscs, filters, ifbs = [json.loads(part.strip() or "[]") for part in shown.split("@")]
    return {
        "qdiscs": [
            (
                one["dev"].replace(veth, "veth"),
                one["kind"],
                one["handle"],
                {k: v for k, v in one.get("options", {}).items() if k in INGRESS_BUCKET},
            )
            for one in qdiscs
            if one["kind"] != "noqueue"
        ],
        "filters": [_filter(one) for one in filters if one and "match" in one.get("options", {})],
        "ifbs": [
            (one["ifname"], one["mtu"], one.get("txqlen", 0), "UP" in one["flags"])
            for one in ifbs
            if one
        ],
    }


def _filter(shown: Any) -> Any:
    options = shown["options"]
    # The reference's library adds a second action, which is never reached.
    action = options["actions"][0]
    return (
        (shown["protocol"], shown["pref"], shown["kind"], options["fh"], options.get("flowid")),
        (options["match"]["value"], options["match"]["mask"]),
        (action["kind"], action["mirred_action"], action["direction"], action["to_dev"]),
        action["control_action"]["type"],
    )


NOTHING: dict[str, Any] = {"qdiscs": [], "filters": [], "ifbs": []}
INGRESS_STATE = NOTHING | {"qdiscs": [("veth", "tbf", "1:", INGRESS_BUCKET)]}
EGRESS_STATE = {
    "qdiscs": [("veth", "ingress", "ffff:", {}), (IFB, "tbf", "1:", EGRESS_BUCKET)],
    "filters": [
        (
            ("all", 1, "u32", "800::800", "1:1"),
            ("0", "0"),
            ("mirred", "redirect", "egress", IFB),
            "stolen",
        )
    ],
    "ifbs": [(IFB, 1500, 0, True)],
}
BOTH_STATE = EGRESS_STATE | {"qdiscs": INGRESS_STATE["qdiscs"] + EGRESS_STATE["qdiscs"]}


# ADD and DEL


@pytest.mark.parametrize(
    ("keys", "state"),
    [
        (BOTH, BOTH_STATE),
        (INGRESS, INGRESS_STATE),
        (EGRESS, EGRESS_STATE),
        (dict.fromkeys(BOTH, 0), NOTHING),
        ({}, NOTHING),
        ({"runtimeConfig": {"bandwidth": INGRESS}}, INGRESS_STATE),
        (INGRESS | {"runtimeConfig": {"bandwidth": EGRESS}}, INGRESS_STATE),
        ({"egressRate": 0, "runtimeConfig": {"bandwidth": EGRESS}}, NOTHING),
    ],
)
def test_what_is_asked_for_is_there_until_del(host, keys, state):
    previous = _bridged(host)
    config = _limited(previous, **keys)

    result = host.call("ADD", config).result
    added = _state(host, previous)
    checked = host.call("CHECK", config | {"prevResult": result})
    deleted = [host.call("DEL", config | {"prevResult": result}) for _ in range(2)]

    assert added == state
    assert (checked.status, checked.stdout) == (0, "")
    assert [(one.status, one.stdout) for one in deleted] == [(0, "")] * 2
    assert _state(host, previous) == NOTHING


def test_the_result_passes_through_with_the_ifb(host):
    previous = _bridged(host)

    result = host.call("ADD", _limited(previous, **BOTH)).result

    *others, ifb = result["interfaces"]
    [link] = host.ip(f"link show dev {IFB}")
    assert (others, result["ips"]) == (previous["interfaces"], previous["ips"])
    assert ifb == {"name": IFB, "mac": link["address"]}
    assert link["ifalias"].endswith(", net: demo, if: eth0, id: c1")


def test_the_ifb_has_the_mtu_of_the_pair(host):
    previous = _bridged(host, mtu=1400)

    host.call("ADD", _limited(previous, **EGRESS))

    assert _state(host, previous)["ifbs"] == [(IFB, 1400, 0, True)]


def test_two_interfaces_of_one_container_have_an_ifb_each(host):
    """The reference's name has no interface in it, and the second ADD fails."""
    first = _bridged(host)
    second = _bridged(host, ifname="net1", ipam={})
    for previous, ifname in ((first, "eth0"), (second, "net1")):
        config = _limited(previous, **EGRESS)
        result = host.call("ADD", config, ifname=ifname).result
        assert host.call("CHECK", config | {"prevResult": result}, ifname=ifname).status == 0
    names = {name for name, *_ in _state(host, first)["ifbs"]}

    for _ in range(2):
        host.call("DEL", _limited(second, **EGRESS), ifname="net1")
    left = {name for name, *_ in _state(host, first)["ifbs"]}
    host.call("DEL", _limited(first, **EGRESS))

    assert len(names) == 2
    assert left == {IFB}
    assert _state(host, second) == NOTHING


# Refusals


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"ingressRate": 100}, "if rate is set, burst must also be set"),
        ({"egressBurst": 100}, "if burst is set, rate must also be set"),
        ({"egressRate": 0, "egressBurst": 100}, "if burst is set, rate must also be set"),
        (EGRESS | {"egressBurst": 2**35}, "burst cannot be more than 4GB"),
        ({"ingressRate": 7, "ingressBurst": 80}, "ingressRate must be at least a byte, 8, not 7"),
        ({"egressRate": 80, "egressBurst": 7}, "egressBurst must be at least a byte, 8, not 7"),
        ({"ingressRate": -1}, "ingressRate must be at least 0, not -1"),
        ({"ingressRate": "1M"}, 'ingressRate must be a whole number, not "1M"'),
        (
            {"runtimeConfig": {"bandwidth": {"egressRate": -1}}},
            "runtimeConfig.bandwidth.egressRate must be at least 0, not -1",
        ),
        ({"prevResult": None}, "must be called as chained plugin"),
        (BOTH | {"prevResult": {"cniVersion": "1.0.0"}}, "no interfaces provided"),
    ],
)
def test_what_cannot_be_shaped_is_refused_in_a_sentence(host, keys, message):
    previous = _bridged(host)

    assert host.call("ADD", _limited(previous) | keys).error["msg"] == message
    assert _state(host, previous) == NOTHING


def test_only_a_veth_whose_other_end_the_result_names_is_shaped(host):
    previous = _bridged(host)
    config = _limited(previous, **INGRESS)
    nameless = {"interfaces": [one for one in previous["interfaces"] if "sandbox" in one]}

    said = [
        host.call("ADD", config, ifname="eth9").error["msg"],
        host.call("ADD", config, ifname="lo").error["msg"],
        host.call("ADD", config | {"prevResult": previous | nameless}).error["msg"],
        host.call("ADD", config, netns="/run/netns/none").error["code"],
    ]

    assert said == [
        'container interface eth9 has no veth peer: could not look up "eth9": Link not found',
        'container interface lo has no veth peer: interface "lo" was not a veth interface',
        "no veth peer of container interface found in host ns",
        8,
    ]


@pytest.mark.parametrize(
    ("keys", "before", "message"),
    [
        (BOTH, "tc qdisc add dev {veth} ingress", "create ingress qdisc: file exists"),
        (
            BOTH,
            "tc qdisc add dev {veth} root handle 7: tbf rate 1mbit burst 9k latency 1ms",
            "create qdisc: file exists",
        ),
    ],
)
def test_a_failed_add_leaves_nothing(host, keys, before, message):
    previous = _bridged(host)
    host.sh(before.format(veth=_veth(previous)))
    found = _state(host, previous)

    assert host.call("ADD", _limited(previous, **keys)).error["msg"] == message

    assert _state(host, previous) == found


@pytest.mark.parametrize("keys", [BOTH, INGRESS, EGRESS])
def test_a_second_add_fails_and_leaves_the_first(host, keys):
    previous = _bridged(host)
    config = _limited(previous, **keys)
    host.call("ADD", config)
    found = _state(host, previous)

    assert "file exists" in str(host.call("ADD", config).error["msg"])

    assert _state(host, previous) == found


# CHECK

DRIFTS = {
    "tc qdisc del dev {veth} root": "the traffic of {veth} is not shaped as it was: not at all",
    "tc qdisc change dev {veth} root handle 1: tbf rate 9mbit burst 99k latency 1ms": (
        "the traffic of {veth} is not shaped as it was: TokenBucket(rate=1125000,"
    ),
    f"tc qdisc del dev {IFB} root": f"the traffic of {IFB} is not shaped as it was: not at all",
    f"ip link set {IFB} down": f"ifb device {IFB} is down",
    f"ip link delete {IFB}": "get ifb device: Link not found",
    "tc qdisc del dev {veth} ingress": f"what arrives on {{veth}} is not redirected to {IFB}",
    "tc filter del dev {veth} parent ffff:": f"what arrives on {{veth}} is not redirected to {IFB}",
    "tc filter del dev {veth} parent ffff:; tc filter add dev {veth} parent ffff: protocol ip u32"
    f" match ip dst 1.2.3.4 flowid 1:1 action mirred egress redirect dev {IFB}": (
        f"what arrives on {{veth}} is not redirected to {IFB}"
    ),
    "tc filter del dev {veth} parent ffff:; tc filter add dev {veth} parent ffff: protocol all u32"
    f" match u32 0 0 flowid 1:1 action mirred egress mirror dev {IFB}": (
        f"what arrives on {{veth}} is not redirected to {IFB}"
    ),
    "ip -n c1 link delete eth0": "container interface eth0 has no veth peer: ",
}


@pytest.mark.parametrize("script", DRIFTS)
def test_check_notices_what_is_not_as_add_left_it(host, script):
    previous = _bridged(host)
    config = _limited(previous, **BOTH)
    result = host.call("ADD", config).result

    host.sh(script.format(veth=_veth(previous)))

    error = host.call("CHECK", config | {"prevResult": result}).error
    assert DRIFTS[script].format(veth=_veth(previous)) in str(error["msg"])


def test_check_of_nothing_is_fine_and_needs_a_result(host):
    """The reference crashes on the first."""
    previous = _bridged(host)

    assert host.call("CHECK", _limited(previous)).status == 0
    assert host.call("CHECK", _limited(None)).error["msg"] == "must be called as chained plugin"


# DEL


@pytest.mark.parametrize("netns", ["", "/run/netns/gone", "/etc/hostname"])
def test_del_without_a_namespace_removes_the_ifb(host, netns):
    previous = _bridged(host)
    config = _limited(previous, **BOTH)
    host.call("ADD", config)

    assert [host.call("DEL", config, netns=netns).status for _ in range(2)] == [0, 0]

    assert _state(host, previous)["ifbs"] == []


def test_del_without_a_result_limits_or_a_link_is_fine(host):
    previous = _bridged(host)
    host.call("ADD", _limited(previous, **BOTH))

    assert host.call("DEL", _limited(None)).status == 0
    assert _state(host, previous) == NOTHING
    host.call("ADD", _limited(previous, **BOTH))
    host.sh("ip -n c1 link delete eth0")
    assert host.call("DEL", _limited(previous, **BOTH)).status == 0

    assert _state(host, previous) == NOTHING


def test_del_removes_a_queue_whose_filter_is_gone(host):
    """It would be in the way of every later ADD."""
    previous = _bridged(host)
    config = _limited(previous, **EGRESS)
    host.call("ADD", config)
    host.sh(f"tc filter del dev {_veth(previous)} parent ffff:")

    assert host.call("DEL", config).status == 0

    assert _state(host, previous) == NOTHING


def test_del_leaves_what_is_somebody_else_s(host):
    previous = _bridged(host)
    veth = _veth(previous)
    host.sh(
        f"tc qdisc add dev {veth} root handle 7: tbf rate 1mbit burst 9k latency 1ms;"
        f"tc qdisc add dev {veth} ingress; ip link add ifb9 type ifb;"
        f"tc filter add dev {veth} parent ffff: u32 match u32 0 0 action mirred egress"
        " redirect dev ifb9"
    )
    found = _state(host, previous)

    assert host.call("DEL", _limited(previous, **BOTH)).status == 0

    assert _state(host, previous) == found


# GC and STATUS


def test_gc_removes_the_ifbs_of_this_network_s_stale_attachments(host):
    for cid, name in (("c1", "demo"), ("c2", "demo"), ("c3", "other")):
        previous = _bridged(host, cid, name=name, ipam={})
        host.call("ADD", _limited(previous, **EGRESS, name=name), cid=cid)
    host.sh("ip link add ifb9 type ifb")
    valid = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "eth1"}]
    before = host.names()

    config = {"type": "bandwidth", "cni.dev/valid-attachments": valid}
    assert host.call("GC", config).status == 0

    assert len(before - host.names()) == 1
    assert {IFB, "ifb9"} <= host.names()


def test_status_tries_what_an_add_needs_and_says_50(host):
    good = host.call("STATUS", {"type": "bandwidth", **BOTH})
    bad = host.call("STATUS", {"type": "bandwidth", "ingressRate": 5})

    assert (good.status, good.stdout) == (0, "")
    assert bad.refusal == (50, "if rate is set, burst must also be set")
    assert host.names() == set()


# Traffic

RATE = 20_000_000
SHAPED = {
    "ingressRate": RATE,
    "ingressBurst": 800_000,
    "egressRate": 2 * RATE,
    "egressBurst": 800_000,
}
# What fits in a segment of what fits in a frame: 1448 of 1514.
PAYLOAD = 1448 / 1514


def _measured(
    host: Any, *, listener: str, sender: str, address: str, seconds: float = 1.5
) -> float:
    """Send over TCP for a while, and return the bits of payload that arrived in a second."""

    def work():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with _entered(listener):
            server = socket.create_server((address, 0), family=family)
        with server, _entered(sender):
            client = socket.create_connection(server.getsockname()[:2])
            connection, _ = server.accept()
        # The burst passes at once, and does not count.
        with client, connection:
            sending = threading.Thread(target=_send, args=(client, seconds + 0.5))
            sending.start()
            _received(connection, 0.4)
            bits = _received(connection, seconds) / seconds
            connection.shutdown(socket.SHUT_RDWR)
            sending.join()
        return bits

    return float(host.node.run(work))


def _entered(netns: str) -> Any:
    return namespaces.entered(netns or namespaces.OWN)


def _send(client: socket.socket, seconds: float) -> None:
    client.settimeout(seconds)
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            client.send(bytes(65536))
    except OSError:
        return


def _received(connection: socket.socket, seconds: float) -> int:
    end, total = time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            total += len(connection.recv(1 << 18))
        except TimeoutError:
            break
    return total * 8


def _settled(host: Any, rate: float, **where: Any) -> float:
    """Measure until it is the rate, or a few times: the machine has other work, too."""
    measured = 0.0
    for _ in range(5):
        measured = _measured(host, **where) / PAYLOAD
        if measured == pytest.approx(rate, rel=0.1):
            break
    return measured


@pytest.mark.parametrize(
    ("inside", "outside", "mask"),
    [("10.1.0.2", "10.1.0.1", 24), ("fd00:1::2", "fd00:1::1", 64)],
    ids=["IPv4", "IPv6"],
)
def test_traffic_is_as_fast_as_asked_for_and_no_faster(host, inside, outside, mask):
    previous = _bridged(host)
    for address, where in ((inside, NETNS), (outside, "")):
        device = "eth0" if where else "br0"
        nodad = "nodad" if ":" in address else ""
        host.sh(f"ip addr replace {address}/{mask} dev {device} {nodad}", netns=where)
    host.call("ADD", _limited(previous, **SHAPED))

    received = _settled(host, RATE, listener=NETNS, sender="", address=inside)
    sent = _settled(host, 2 * RATE, listener="", sender=NETNS, address=outside)
    host.call("DEL", _limited(previous, **SHAPED))
    free = _measured(host, listener="", sender=NETNS, address=outside, seconds=0.2)

    assert received == pytest.approx(RATE, rel=0.1)
    assert sent == pytest.approx(2 * RATE, rel=0.1)
    assert free > 4 * RATE
