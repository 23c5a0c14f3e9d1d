"""A result is held against the kernel: interfaces, addresses, routes; what is true is not told."""

import pytest

from podnet.cni.result import Result
from podnet.kernel.facts import Fact, stated
from podnet.rig.picture import NODE
from podnet.rig.truth import untrue

NETNS = "/run/netns/web"
MAC = "02:00:00:00:00:01"
SEEN = frozenset(
    {
        Fact("link", "eth0", stated(kind="veth", mac=MAC, mtu=1500), NETNS),
        Fact("link", "cni0", stated(kind="bridge", mtu=1500), NODE),
        Fact("address", "10.1.0.2/24 dev eth0", (), NETNS),
        Fact("route", "0.0.0.0/0 via 10.1.0.1 dev eth0 table main", (), NETNS),
        Fact("route", "10.9.0.0/16 dev eth0 metric 7 table 100", (), NETNS),
        Fact("route", "10.8.0.0/16 via 10.1.0.1 dev eth0 table main", (), NODE),
    }
)
TRUE: dict[str, object] = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "cni0", "mac": "02:00:00:00:00:09"},
        {"name": "eth0", "mac": MAC.upper(), "mtu": 1500, "sandbox": "/var/run/netns/web"},
    ],
    "ips": [{"address": "10.1.0.2/24", "interface": 1}, {"address": "10.7.0.1/24"}],
    "routes": [
        {"dst": "0.0.0.0/0", "gw": "10.1.0.1"},
        {"dst": "0.0.0.0/0"},
        {"dst": "10.9.0.0/16"},
        {"dst": "10.9.0.0/16", "table": 100},
    ],
}
ETH0 = {"name": "eth0", "sandbox": NETNS}
LIES: dict[str, tuple[dict[str, object], str]] = {
    "an interface that is not there": (
        {"interfaces": [{"name": "eth1", "sandbox": NETNS}]},
        "interface eth1 is not in the container",
    ),
    "an interface in the wrong place": (
        {"interfaces": [{"name": "eth0"}]},
        "interface eth0 is not in the host, but in the container",
    ),
    "another MAC": (
        {"interfaces": [ETH0 | {"mac": "02:00:00:00:00:02"}]},
        f"interface eth0 has the MAC {MAC}, not 02:00:00:00:00:02",
    ),
    "another MTU": (
        {"interfaces": [ETH0 | {"mtu": 9000}]},
        "interface eth0 has an MTU of 1500, not 9000",
    ),
    "an address that is not there": (
        {"interfaces": [ETH0], "ips": [{"address": "10.1.0.3/24", "interface": 0}]},
        "address 10.1.0.3/24 is not on interface eth0",
    ),
    "another prefix": (
        {"interfaces": [ETH0], "ips": [{"address": "10.1.0.2/16", "interface": 0}]},
        "address 10.1.0.2/16 is not on interface eth0",
    ),
    "an interface that is not in the list": (
        {"interfaces": [ETH0], "ips": [{"address": "10.1.0.2/24", "interface": 1}]},
        "address 10.1.0.2/24 is on interface number 1, and there are 1",
    ),
    "a route that only the host has": (
        {"routes": [{"dst": "10.8.0.0/16"}]},
        "there is no route to 10.8.0.0/16",
    ),
    "another gateway": (
        {"routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.9"}]},
        "there is no route to 0.0.0.0/0 via 10.1.0.9",
    ),
    "another table": (
        {"routes": [{"dst": "10.9.0.0/16", "table": 10}]},
        "there is no route to 10.9.0.0/16 in table 10",
    ),
}


def told(result: dict[str, object]) -> list[str]:
    return untrue(Result.from_wire({"cniVersion": "1.1.0"} | result), SEEN, netns=NETNS)


def test_of_what_is_true_nothing_is_told() -> None:
    assert told(TRUE) == []


@pytest.mark.parametrize("lie", LIES)
def test_what_is_not_true_is_told_in_a_sentence(lie: str) -> None:
    result, sentence = LIES[lie]

    assert told(result) == [sentence]
