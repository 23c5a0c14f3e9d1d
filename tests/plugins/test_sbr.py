"""sbr: a rule and a table for each address; beside the reference, and across it.

Every call is a process on a host in memory, in a chain after bridge.
"""

import json
from pathlib import Path
from typing import Any

import pytest

import podnet_plugins

OURS = str(Path(podnet_plugins.__file__).parent / "bin")
THEIRS = "/usr/lib/cni"
NETNS = "/run/netns/c1"
V4 = {"address": "10.1.0.2/24", "gateway": "10.1.0.1"}
V6 = {"address": "fd00:1::2/64", "gateway": "fd00:1::1"}
ROUTES = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}, {"dst": "10.99.0.0/16"}]
MAIN = [
    "10.1.0.0/24 dev eth0 proto kernel scope link src 10.1.0.2",
    "10.99.0.0/16 via 10.1.0.1 dev eth0",
    "default via 10.1.0.1 dev eth0",
    "default via fd00:1::1 dev eth0 metric 1024 pref medium",
    "fd00:1::/64 dev eth0 proto kernel metric 256 pref medium",
    "fe80::/64 dev eth0 proto kernel metric 256 pref medium",
]
MOVED = {
    "rules": ["from 10.1.0.2 lookup 100", "from fd00:1::2 lookup 101"],
    "routes": [
        "10.1.0.0/24 dev eth0 table 100 proto kernel scope link src 10.1.0.2",
        "10.99.0.0/16 via 10.1.0.1 dev eth0 table 100",
        "default via 10.1.0.1 dev eth0 table 100",
        "default via fd00:1::1 dev eth0 table 101 metric 1024 pref medium",
        "fd00:1::/64 dev eth0 table 100 proto kernel metric 256 pref medium",
        "fd00:1::/64 dev eth0 table 101 proto kernel metric 256 pref medium",
        "fe80::/64 dev eth0 table 100 proto kernel metric 256 pref medium",
        "fe80::/64 dev eth0 table 101 proto kernel metric 256 pref medium",
    ],
}
BEFORE = {"rules": [], "routes": MAIN}


def _bridged(host: Any, *addresses: Any, ifname: str = "eth0", subnet: int = 1) -> Any:
    """A container on a bridge, dual stack; the result that sbr is called with.

    The bridge is the reference's where there is one: it starts five times as fast.
    """
    if NETNS not in host.sh("ls -d /run/netns/* 2>/dev/null || true").split():
        host.container("c1")
    asked = json.loads(json.dumps(addresses or (V4, V6)).replace("10.1.", f"10.{subnet}."))
    families = {":" in one["address"] for one in asked}
    routed = [route for route in ROUTES if (":" in route["dst"]) in families]
    config = {
        "cniVersion": "1.0.0",
        "type": "bridge",
        "bridge": f"br{subnet}",
        "ipam": {"type": "static", "addresses": asked, "routes": routed if subnet == 1 else []},
    }
    directory = THEIRS if Path(THEIRS).is_dir() else OURS
    return host.call("ADD", config, directory=directory, ifname=ifname).result


def _sbr(previous: Any, **keys: Any) -> dict[str, Any]:
    given = {"prevResult": previous} if previous else {}
    return {"type": "sbr"} | given | keys


def _state(host: Any) -> dict[str, list[str]]:
    """The rules that are not the kernel's, in order, and the routes of all tables but local."""
    shown = host.sh(
        "ip rule; ip -6 rule; echo @; ip route show table all; ip -6 route show table all",
        netns=NETNS,
    )
    rules, found = (part.strip().splitlines() for part in shown.split("@"))
    return {
        "rules": [
            line.split("\t")[1].strip()
            for line in rules
            if line.split(":")[0] not in {"0", "32766", "32767"}
        ],
        "routes": sorted({line.strip() for line in found if "table local" not in line}),
    }


# ADD and DEL


def test_each_address_has_a_rule_and_the_interface_s_routes_in_its_table(host):
    previous = _bridged(host)
    assert _state(host) == BEFORE

    answer = host.call("ADD", _sbr(previous))

    assert answer.result["interfaces"] == previous["interfaces"]
    assert (answer.result["ips"], answer.stderr) == (previous["ips"], "")
    assert _state(host) == MOVED
    assert host.call("CHECK", _sbr(previous)).status == 0


@pytest.mark.parametrize("hinted", [False, True])
def test_del_moves_the_routes_back_once_and_again(host, hinted):
    previous = _bridged(host)
    before = _state(host)
    host.call("ADD", _sbr(previous, addSourceHints=hinted))

    config = _sbr(previous, addSourceHints=hinted)
    answers = [host.call("DEL", config) for _ in range(2)]

    assert [(one.status, one.stdout) for one in answers] == [(0, "")] * 2
    assert _state(host) == before


def test_with_a_table_there_are_rules_only(host):
    previous = _bridged(host)
    config = _sbr(previous, table=500)

    host.call("ADD", config)
    added, checked = _state(host), host.call("CHECK", config).status
    host.call("DEL", config)

    rules = ["from 10.1.0.2 lookup 500", "from fd00:1::2 lookup 500"]
    assert (added, checked) == ({"rules": rules, "routes": MAIN}, 0)
    assert _state(host) == BEFORE


def test_a_second_interface_has_tables_of_its_own_and_keeps_the_first_s(host):
    first, second = _bridged(host, V4), _bridged(host, V4, ifname="net1", subnet=2)
    host.call("ADD", _sbr(first))

    assert host.call("ADD", _sbr(second), ifname="net1").status == 0
    assert _state(host)["rules"] == ["from 10.2.0.2 lookup 101", "from 10.1.0.2 lookup 100"]
    assert host.call("CHECK", _sbr(first)).status == 0
    assert host.call("CHECK", _sbr(second), ifname="net1").status == 0
    host.call("DEL", _sbr(second), ifname="net1")

    assert _state(host)["rules"] == ["from 10.1.0.2 lookup 100"]


def test_a_table_with_routes_is_not_taken(host):
    """The reference sees the main table's routes only, and fails."""
    previous = _bridged(host, V4)
    host.sh("ip route add 10.50.0.0/16 via 10.1.0.1 table 100", netns=NETNS)

    assert host.call("ADD", _sbr(previous)).status == 0

    assert _state(host)["rules"] == ["from 10.1.0.2 lookup 101"]


def test_a_route_that_suits_no_address_stays(host):
    """The reference takes it out of the main table, and puts it nowhere."""
    previous = _bridged(host, V4)
    odd = "10.77.0.0/16 via 192.168.7.7 dev eth0 onlink"
    host.sh(f"ip route add {odd}", netns=NETNS)

    assert host.call("ADD", _sbr(previous)).status == 0

    assert odd in [line.strip() for line in _state(host)["routes"]]


def test_an_address_without_a_gateway_has_a_table_without_a_default_route(host):
    previous = _bridged(host, V4)
    host.sh("ip route del default; ip route del 10.99.0.0/16", netns=NETNS)
    del previous["ips"][0]["gateway"]

    assert host.call("ADD", _sbr(previous)).status == 0

    assert [line for line in _state(host)["routes"] if "fe80" not in line] == [MOVED["routes"][0]]
    assert host.call("CHECK", _sbr(previous)).status == 0


def test_gateways_may_be_others(host):
    previous = _bridged(host)
    config = _sbr(previous, gateways=["10.1.0.9", "fd00:1::9"])

    host.call("ADD", config)

    found = [line for line in _state(host)["routes"] if line.startswith("default")]
    assert found == [
        "default via 10.1.0.9 dev eth0 table 100",
        "default via fd00:1::9 dev eth0 table 101 metric 1024 pref medium",
    ]
    assert host.call("CHECK", config).status == 0


def test_source_hints_keep_the_subnets_in_the_main_table(host):
    previous = _bridged(host)
    config = _sbr(previous, addSourceHints=True)

    host.call("ADD", config)

    assert [line for line in _state(host)["routes"] if "table" not in line] == [
        "10.1.0.0/24 dev eth0 scope link src 10.1.0.2",
        "fd00:1::/64 dev eth0 src fd00:1::2 metric 1024 pref medium",
    ]
    assert host.call("CHECK", config).status == 0
    host.sh("ip route del 10.1.0.0/24", netns=NETNS)
    message = "the route to 10.1.0.0/24 from 10.1.0.2 is gone"
    assert host.call("CHECK", config).error["msg"] == message


# Refusals


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"prevResult": None}, "This plugin must be called as chained plugin"),
        ({"table": 0}, "table must be between 1 and 4294967295, not 0"),
        ({"table": "main"}, 'table must be a whole number, not "main"'),
        ({"gateways": ["10.1.0.1", "10.1.0.2"]}, "gateways: at most one of each family"),
        ({"gateways": ["here"]}, "gateways is not an IP address: 'here'"),
        # Not on the link: the routes that were moved already come back.
        ({"gateways": ["192.168.7.7"]}, "add route 0.0.0.0/0 via 192.168.7.7: "),
        ({"gateways": ["fd99::1", "10.1.0.1"]}, "add route ::/0 via fd99::1: "),
    ],
)
def test_a_failed_add_leaves_everything_as_it_was(host, keys, message):
    previous = _bridged(host)

    error = host.call("ADD", _sbr(previous) | keys).error

    assert str(error["msg"]).startswith(message)
    assert _state(host) == BEFORE


def test_a_failed_add_puts_routes_back_that_it_had_taken_out(host):
    """The hint is the route that is there already: its interface has no address any more."""
    previous = _bridged(host, V4)
    before = _state(host)
    other = json.loads(json.dumps(previous).replace("10.1.0.2", "10.1.0.3"))

    assert host.call("ADD", _sbr(other, addSourceHints=True)).status == 1

    assert _state(host) == before


def test_no_interface_and_no_namespace_are_errors(host):
    config = _sbr(_bridged(host))

    missing = host.call("ADD", config, ifname="eth9").error["msg"]

    assert missing == "Cannot find network interface eth9: Link not found"
    assert host.call("ADD", config, netns="/run/netns/none").refusal[0] == 8
    assert host.sh("ls /run/netns") == "c1\n"


# CHECK

DRIFTS = {
    "ip rule del table 100": "there is no rule for 10.1.0.2/32 any more",
    "ip -6 rule del table 101": "there is no rule for fd00:1::2/128 any more",
    "ip route del default table 100": "the default route of 10.1.0.2/24 via 10.1.0.1 is gone",
    "ip route change default via 10.1.0.9 dev eth0 table 100": (
        "the default route of 10.1.0.2/24 via 10.1.0.1 is gone"
    ),
    "ip -6 route del fd00:1::/64 table 101": "the route of fd00:1::2/64 to its subnet is gone",
    "ip route add 10.1.0.0/24 dev eth0": "the route to 10.1.0.0/24 is in the main table again",
    "ip route add default via 10.1.0.1 dev eth0 onlink": (
        "the default route via 10.1.0.1 is in the main table again"
    ),
    "ip link del eth0": "Cannot find network interface eth0: Link not found",
}


@pytest.mark.parametrize("script", DRIFTS)
def test_check_notices_what_is_not_as_add_left_it(host, script):
    previous = _bridged(host)
    host.call("ADD", _sbr(previous))

    host.sh(script, netns=NETNS)

    assert host.call("CHECK", _sbr(previous)).error["msg"] == DRIFTS[script]


def test_check_knows_the_table_that_was_asked_for(host):
    previous = _bridged(host)
    host.call("ADD", _sbr(previous, table=500))

    error = host.call("CHECK", _sbr(previous, table=501)).error

    assert error["msg"] == "there is no rule for 10.1.0.2/32 any more"


def test_the_bridge_s_check_finds_its_routes_where_sbr_has_put_them(host):
    """The reference's does not: CHECK of the two in one chain fails for ever."""
    host.container("c1")
    ipam = {"type": "static", "addresses": [V4, V6], "routes": ROUTES}
    bridge = {"type": "bridge", "bridge": "br1", "cniVersion": "1.0.0", "ipam": ipam}
    previous = host.call("ADD", bridge).result
    host.call("ADD", _sbr(previous))

    assert host.call("CHECK", bridge | {"prevResult": previous}).result == {}

    host.sh("ip route del 10.99.0.0/16 table 100", netns=NETNS)
    said = host.call("CHECK", bridge | {"prevResult": previous}).refusal[1]
    assert said == "Expected Route 10.99.0.0/16 via 10.1.0.1 not found in routing table"


# DEL


@pytest.mark.parametrize("netns", ["", "/run/netns/gone", "/etc/hostname"])
def test_del_without_a_namespace_is_fine_and_makes_no_file(host, netns):
    """The reference makes one, and nobody can DEL there any more."""
    previous = _bridged(host)

    assert host.call("DEL", _sbr(previous), netns=netns).status == 0

    assert host.sh("ls /run/netns") == "c1\n"


def test_del_without_a_result_or_a_link_removes_the_rules(host):
    previous = _bridged(host)
    host.call("ADD", _sbr(previous))
    host.call("DEL", _sbr(None))
    without_result = _state(host)["rules"]
    host.call("ADD", _sbr(previous, table=500))
    host.sh("ip link del eth0", netns=NETNS)

    assert host.call("DEL", _sbr(previous)).status == 0

    assert without_result == []
    assert _state(host) == {"rules": [], "routes": []}


def test_gc_and_status_are_real(host):
    _bridged(host)
    valid: dict[str, Any] = {"cni.dev/valid-attachments": []}

    assert host.call("GC", _sbr(None) | valid).status == 0
    assert host.call("STATUS", _sbr(None)).status == 0
    assert host.call("STATUS", _sbr(None, table=0)).refusal[0] == 50
