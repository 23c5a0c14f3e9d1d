"""Configurations, as short to write as they are to read: what the tables of cases are made of."""

from typing import Any

from tests.plugins.differential.snapshot import ASKED

MAC = f"{ASKED}:00:00:01"
OTHER = f"{ASKED}:00:00:02"
Config = dict[str, Any]

V4, V6 = {"subnet": "10.1.0.0/24"}, {"subnet": "fd00:1::/64"}
DEFAULTS = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]


def local(*sets: Any, routes: Any = (), **keys: Any) -> Config:
    ranges = [one if isinstance(one, list) else [one] for one in sets]
    found: Config = {"type": "host-local", "ranges": ranges}
    return found | ({"routes": list(routes)} if routes else {}) | keys


def static(*addresses: Any, routes: Any = (), **keys: Any) -> Config:
    listed = [
        {"address": one, "gateway": "10.1.0.1" if "." in one else "fd00:1::1"} for one in addresses
    ]
    return {"type": "static", "addresses": listed, "routes": list(routes)} | keys


def bridge(ipam: Config | None = None, **keys: Any) -> Config:
    return {"type": "bridge", "bridge": "br0"} | ({"ipam": ipam} if ipam else {}) | keys


def ptp(ipam: Config, **keys: Any) -> Config:
    return {"type": "ptp", "ipam": ipam} | keys


def macvlan(ipam: Config | None = None, **keys: Any) -> Config:
    return {"type": "macvlan", "master": "m0"} | ({"ipam": ipam} if ipam else {}) | keys


def ipam(ipam: Config, **keys: Any) -> Config:
    return {"type": ipam["type"], "ipam": ipam} | keys


FULL = {"ipam": local({"subnet": "10.7.0.0/30", "rangeStart": "10.7.0.1", "rangeEnd": "10.7.0.1"})}
DUAL = local(V4, V6, routes=DEFAULTS)
MORE = [DEFAULTS[0], {"dst": "10.9.0.0/16"}]
NO_DAD = "sysctl -qw net.ipv6.conf.default.accept_dad=0"
M0 = "ip link add m0 type veth peer name m1; ip link set m0 up; ip link set m1 up;" + NO_DAD


# What chained plugins are chained to.
BASE = bridge(static("10.1.0.2/24", "fd00:1::2/64", routes=DEFAULTS), isGateway=True)
BASE_V4 = bridge(static("10.1.0.2/24", routes=DEFAULTS[:1]), isGateway=True)
WEB = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
DNS = {"hostPort": 8053, "containerPort": 53, "protocol": "udp"}


def portmap(*mappings: Any, **keys: Any) -> Config:
    runtime = {"portMappings": list(mappings)} if mappings else {}
    return {"type": "portmap", "backend": "iptables", "runtimeConfig": runtime} | keys


INGRESS = {"ingressRate": 8_000_000, "ingressBurst": 800_000}
EGRESS = {"egressRate": 16_000_000, "egressBurst": 1_600_000}
CAPABLE = {"runtimeConfig": {"bandwidth": {"egressRate": 3_333_333, "egressBurst": 777_777}}}
EXTREME = {"ingressRate": 10**11, "ingressBurst": 10**9, "egressRate": 8, "egressBurst": 8}

TUNED = {
    "mac": MAC,
    "mtu": 1300,
    "promisc": True,
    "allmulti": True,
    "sysctl": {"net.ipv4.conf.eth0.arp_filter": "1", "net/core/somaxconn": "500"},
}
