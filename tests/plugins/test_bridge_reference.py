"""bridge next to the reference's, and many at once."""

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from tests.plugins.bridges import (
    C1,
    L2,
    SUBNET,
    SUBNET6,
    added,
    gateway,
    masq_lines,
    nft_rules,
    nothing_left,
    routes_of,
    spoof_rules,
)
from tests.plugins.conftest import OURS

from podnet.cni.versions import Verb
from podnet.execute import ProcessExecutor
from podnet.plan import Invocation
from podnet.plugin_host import PluginHost

# With the reference


def _whole(host: Any) -> tuple[object, ...]:
    """What is on the host and in the container, without names and numbers that chance gave."""
    links: dict[tuple[str, str], object] = {}
    for where in ("", C1):
        for link in host.ip("-d link show", netns=where):
            name = "veth" if link["ifname"].startswith("veth") else link["ifname"]
            info = link.get("linkinfo", {})
            data = info.get("info_slave_data", {})
            links[where, name] = (
                link["mtu"],
                sorted(set(link["flags"]) - {"LOWER_UP", "NO-CARRIER"}),  # told a moment later
                info.get("info_kind"),
                link.get("master"),
                data.get("hairpin"),
                data.get("isolated"),
            )
    routes = routes_of(host, C1), routes_of(host, C1, "-6")
    addresses = host.addresses("br0"), host.addresses("eth0", netns=C1)
    conf = "net.ipv6.conf"
    names = ("accept_dad", "enhanced_dad", "accept_ra")
    inside = host.sh(
        f"sysctl -n net.ipv4.conf.eth0.arp_notify {' '.join(f'{conf}.eth0.{n}' for n in names)}",
        netns=C1,
    )
    sysctls = host.sh(f"sysctl -n net.ipv4.ip_forward {conf}.all.forwarding {conf}.br0.accept_ra")
    rules = masq_lines(host), [_without_chance(rule) for rule in spoof_rules(host)]
    return links, routes, addresses, inside, sysctls, host.leases(), rules


def _without_chance(rule: dict[str, Any]) -> str:
    """A rule of macspoofchk; the comment of its last is ours, for GC."""
    if {"drop": None} in rule["expr"]:
        rule = rule | {"comment": ""}
    text = str({key: value for key, value in rule.items() if key != "handle"})
    return re.sub(r"veth[0-9a-f]+|(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", "*", text)


BOTH = (SUBNET, SUBNET6)
REFERENCE: dict[str, dict[str, Any]] = {
    "gateway": gateway(BOTH, isDefaultGateway=True),
    "routes": gateway(routes=["0.0.0.0/0", "10.9.0.0/16"], mtu=1400, hairpinMode=True),
    "plain": gateway(isGateway=False, promiscMode=True, cniVersion="0.4.0"),
    "oldest": gateway(isDefaultGateway=True, cniVersion="0.2.0"),
    "ipv6": gateway((SUBNET6,), isDefaultGateway=True, forceAddress=True),
    "detection": gateway((SUBNET6,), enabledad=True),
    "masquerading": gateway(BOTH, isDefaultGateway=True, ipMasq=True, ipMasqBackend="iptables"),
    "checked": gateway(BOTH, isDefaultGateway=True, macspoofchk=True),
    "layer 2": L2 | {"macspoofchk": True, "mtu": 1300, "hairpinMode": True},
    "asked": gateway(args={"cni": {"mac": "02:00:00:00:00:01"}}),
}
REFERENCE = {name: {"cniVersion": "1.0.0"} | config for name, config in REFERENCE.items()}


# The reference's CHECK always fails on layer 2, and where IPAM gives a route without a gateway.
UNCHECKED = {"layer 2", "routes", "oldest"}


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize("ours_first", [True, False])
def test_what_one_adds_the_other_checks_and_deletes_and_adds_the_same(
    host, debian_plugins, name, ours_first
):
    config = REFERENCE[name]
    ours: dict[str, Any] = {}
    theirs: dict[str, Any] = {"directory": debian_plugins}
    one, other = (ours, theirs) if ours_first else (theirs, ours)
    first = added(host, config, **one)
    made = _whole(host)
    asked = config if name == "oldest" else config | {"prevResult": first}

    assert host.call("ADD", config, **other).status == 1
    for checking in (ours, theirs):
        if name != "oldest" and (checking is ours or name not in UNCHECKED):
            assert host.call("CHECK", asked, **checking).result == {}
    for deleting in (other, one):
        assert host.call("DEL", asked, **deleting).result == {}
        assert nothing_left(host)
    assert host.call("DEL", config, netns="", **other).result == {}

    host.sh("rm -rf /var/lib/cni; ip link del br0; sysctl -q -w net.ipv4.ip_forward=0")
    host.sh("sysctl -q -w net.ipv6.conf.all.forwarding=0")
    second = host.call("ADD", config, **other).result
    assert _whole(host) == made
    for result in (first, second):
        result.pop("dns", None)
        for interface in result.get("interfaces", ()):
            interface["mac"] = "-"
            interface["name"] = interface["name"][:4]
    assert first == second


# Many at once

CHAINS: dict[str, tuple[dict[str, Any], ...]] = {
    "nftables": ({"ipMasq": True}, {"backend": "nftables"}, {"backend": "nftables"}),
    "iptables": (
        {"ipMasq": True, "ipMasqBackend": "iptables"},
        {"backend": "iptables"},
        {"backend": "iptables"},
    ),
}


class Chain:
    """bridge, portmap and firewall, forked as podnet runs them."""

    def __init__(self, host: Any, forks: PluginHost, backend: str) -> None:
        self._host = host
        self._executor = ProcessExecutor(path=(str(OURS),), host=forks)
        self._results: dict[int, dict[str, Any]] = {}
        masq, portmap, firewall = CHAINS[backend]
        self._configs: list[dict[str, Any]] = [
            gateway(isDefaultGateway=True, **masq),
            {"type": "portmap"} | portmap,
            {"type": "firewall", "ingressPolicy": "same-bridge"} | firewall,
        ]

    def add(self, number: int) -> None:
        """ADD a pod to all of them."""
        self._host.container(f"p{number}")
        self._run(Verb.ADD, number, self._configs)

    def check(self, number: int) -> None:
        """CHECK a pod with all of them: each finds its rules, the shared ones too."""
        self._run(Verb.CHECK, number, self._configs)

    def delete(self, number: int) -> None:
        """DEL a pod, in reverse."""
        self._run(Verb.DEL, number, self._configs[::-1])

    def _run(self, verb: Verb, number: int, configs: list[dict[str, Any]]) -> None:
        more = self._results.get(number, {})
        for config in configs:
            environment = {
                "CNI_COMMAND": str(verb),
                "CNI_CONTAINERID": f"p{number}",
                "CNI_NETNS": f"/run/netns/p{number}",
                "CNI_IFNAME": "eth0",
                "CNI_PATH": str(OURS),
            }
            mapped = {"hostPort": 20000 + number, "containerPort": 80}
            stdin: dict[str, Any] = {"cniVersion": "1.0.0", "name": "demo"} | config | more
            stdin["runtimeConfig"] = {"portMappings": [mapped]}
            asked = Invocation(
                verb=verb, plugin=config["type"], environment=environment, stdin=stdin
            )
            outcome = self._host.node.run(self._executor.run, asked)
            assert outcome.exit_status == 0, outcome.stdout
            if verb is Verb.ADD:
                more = self._results[number] = {"prevResult": json.loads(outcome.stdout)}


def _rules(host: Any) -> list[str]:
    """Every rule of every table, without handles, in order."""
    saved = host.sh('for p in iptables ip6tables; do $p-save | sed -n "s/^-A/$p &/p"; done')
    found = list(saved.splitlines())
    for family, table in (
        ("inet", "cni_plugins_masquerade"),
        ("inet", "cni_hostport"),
        ("inet", "podnet_firewall"),
        ("bridge", "nat"),
    ):
        rules = nft_rules(host, family, table)
        found += [str({k: v for k, v in rule.items() if k != "handle"}) for rule in rules]
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "many"), [("nftables", 100), ("iptables", 50)])
def test_many_containers_at_once_leave_exactly_one_of_each_shared_rule(host, backend, many):
    """The reference looks, and then adds: in parallel every shared rule is there several times."""
    forks = PluginHost(OURS)
    chain = Chain(host, forks, backend)
    with closing(forks), ThreadPoolExecutor(8) as pool:
        # From the first one on: later ones find the shared rules.
        list(pool.map(chain.add, range(many)))
        crowded, leases = _rules(host), host.leases()
        for number in (0, many - 1):
            chain.check(number)
        list(pool.map(chain.delete, range(10)))
        chain.check(many - 1)
        fewer = _rules(host)

    assert len(leases) == many
    for rules in (crowded, fewer):
        assert [rule for rule, number in Counter(rules).items() if number > 1] == []
    assert set(fewer) < set(crowded)
    assert (len(crowded) - len(fewer)) % 10 == 0
    assert len(host.leases()) == many - 10
