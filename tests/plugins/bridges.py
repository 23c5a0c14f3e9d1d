"""Configurations of the bridge plugin for tests, and what the kernel says about its work."""

import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from podnet.kernel import namespaces

SUBNET, SUBNET6 = "10.1.0.0/24", "fd00::/64"
C1 = "/run/netns/c1"
L2 = {"type": "bridge", "bridge": "br0"}


def gateway(
    subnets: Sequence[str] = (SUBNET,), routes: Sequence[str] = (), **keys: Any
) -> dict[str, Any]:
    """A gateway with addresses from *subnets*."""
    ipam: dict[str, Any] = {
        "type": "host-local",
        "ranges": [[{"subnet": subnet}] for subnet in subnets],
    }
    if routes:
        ipam["routes"] = [{"dst": dst} for dst in routes]
    return L2 | {"isGateway": True, "ipam": ipam} | keys


def full(**keys: Any) -> dict[str, Any]:
    """A default gateway of both families that masquerades and checks hardware addresses."""
    both = (SUBNET, SUBNET6)
    return gateway(both, isDefaultGateway=True, ipMasq=True, macspoofchk=True, **keys)


def delegating(directory: Path, script: str) -> dict[str, Any]:
    """A configuration whose IPAM plugin is a shell script."""
    path = directory / "probe"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return L2 | {"ipam": {"type": "probe"}}


def added(host: Any, config: Mapping[str, Any], cid: str = "c1", **more: Any) -> Any:
    """Make a container and ADD it; its result."""
    host.container(cid)
    return host.call("ADD", config, cid=cid, **more).result


def veths(host: Any) -> set[str]:
    """The pairs' ends on the host."""
    return {name for name in host.names() if name.startswith("veth")}


def link_of(host: Any, name: str, *, netns: str = "") -> Any:
    """What ``ip`` says about a link."""
    [link] = host.ip(f"-d link show dev {name}", netns=netns)
    return link


def routes_of(host: Any, netns: str, family: str = "") -> set[tuple[str, str | None]]:
    """Destination and gateway of each route in the main table."""
    return {
        (route["dst"], route.get("gateway"))
        for route in host.ip(f"{family} route show table main", netns=netns)
        if not route["dst"].startswith("fe80") and not route["dst"].startswith("ff00")
    }


def outside_of(host: Any) -> str:
    """Make a namespace at the other end of 192.0.2.0/24 and fd05::/64, without a way back."""
    outside = str(host.container("outside"))
    host.sh(f"ip link add up0 type veth peer name up1 netns {outside}")
    host.sh("ip addr add 192.0.2.1/24 dev up0; ip addr add fd05::1/64 dev up0 nodad")
    host.sh("ip addr add 192.0.2.9/24 dev up1; ip addr add fd05::9/64 dev up1 nodad", netns=outside)
    for end, netns in (("up0", ""), ("up1", outside)):
        # Or its link-local address is tentative, and it asks for no neighbour, for 2 s.
        host.sh(f"sysctl -q -w net.ipv6.conf.{end}.accept_dad=0", netns=netns)
        host.sh(f"ip link set {end} up", netns=netns)
    return outside


def sender(host: Any, server: str, address: str, *, netns: str) -> str:
    """Connect from a container to a server at *address*, and return whom the server sees."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def opened(where: str) -> socket.socket:
        with namespaces.entered(where):
            return socket.socket(family)

    def connect() -> str:
        with opened(server) as listening, opened(netns) as client:
            listening.bind((address, 7777))
            listening.listen()
            client.settimeout(2)
            client.connect((address, 7777))
            connection, peer = listening.accept()
            connection.close()
            return str(peer[0])

    return str(host.node.run(connect))


def nft_rules(host: Any, family: str, table: str) -> list[dict[str, Any]]:
    """The rules of a table of nftables; none without the table."""
    tables = json.loads(host.sh("nft -j list tables"))["nftables"]
    found = [entry["table"] for entry in tables if "table" in entry]
    if not any((one["family"], one["name"]) == (family, table) for one in found):
        return []
    listed = json.loads(host.sh(f"nft -j list table {family} {table}"))["nftables"]
    return [entry["rule"] for entry in listed if "rule" in entry]


def masq_rules(host: Any, chain: str = "masq_checks") -> list[str]:
    """The comments of the masquerading rules of nftables, "" where there is none."""
    rules = nft_rules(host, "inet", "cni_plugins_masquerade")
    return [rule.get("comment", "") for rule in rules if rule["chain"] == chain]


def masq_lines(host: Any) -> list[str]:
    """The masquerading rules and chains of iptables, both families."""
    saved = host.sh("for p in iptables ip6tables; do $p-save -t nat; done")
    return [line for line in saved.splitlines() if "CNI-" in line]


def spoof_rules(host: Any) -> list[dict[str, Any]]:
    """The rules of macspoofchk."""
    return nft_rules(host, "bridge", "nat")


def spoof_chains(host: Any) -> list[str]:
    """The chains of macspoofchk but for the first."""
    listed = host.sh("nft list chains bridge").splitlines()
    chains = [line.split()[1] for line in listed if line.strip().startswith("chain ")]
    return sorted(chain for chain in chains if chain != "PREROUTING")


def nothing_left(host: Any) -> bool:
    """Whether no pair, lease, rule or chain is there."""
    rules = [masq_rules(host), masq_lines(host), spoof_rules(host), spoof_chains(host)]
    return veths(host) == set() and host.leases() == {} and rules == [[]] * 4
