"""What CHECK is asked about when something is gone, and what it may overlook."""

from tests.plugins.differential.configs import (
    BASE,
    DNS,
    DUAL,
    EGRESS,
    INGRESS,
    M0,
    MAC,
    NO_DAD,
    TUNED,
    WEB,
    bridge,
    ipam,
    macvlan,
    portmap,
    ptp,
)
from tests.plugins.differential.lives import Case

HINTS = {
    "host/file*/last_reserved_ip.*": "where the next search begins, no more",
    "host/file*/lock": "made when it is needed",
    "host/file*/stamp": "tells whether the index is made anew",
}
MARK = {"host/link/veth/ifalias": "a pair of the reference's has none"}
LENGTH = {"pod/link/eth0/txqlen": "the kernel's own default"}
FOLLOWS = {
    "host/sysctl/net/ipv6/conf/default/forwarding": "follows from all",
    "host/sysctl/net/ipv6/conf/lo/forwarding": "follows from all",
}
BRIDGE_BLIND = {
    "host/route/main/*dev br0*": "the bridge's addresses are looked at, not the kernel's routes",
}
DRIFTING = [
    (
        Case(
            "bridge",
            (bridge(DUAL, isGateway=True, hairpinMode=True),),
            version="1.1.0",
            prepare=NO_DAD,
        ),
        HINTS | MARK | LENGTH | FOLLOWS | BRIDGE_BLIND,
    ),
    (
        Case(
            "ptp",
            (ptp(DUAL, ipMasq=True, ipMasqBackend="iptables"),),
            version="1.1.0",
            prepare=NO_DAD,
        ),
        HINTS
        | MARK
        | LENGTH
        | FOLLOWS
        | {"host/route/main/fd00:1::1 dev veth*": "the kernel's, for the host's own address"},
    ),
    (
        Case("macvlan", (macvlan(DUAL, mtu=1400, mac=MAC),), version="1.1.0", prepare=M0),
        HINTS | LENGTH,
    ),
    (Case("host-local", (ipam(DUAL),)), HINTS),
    (Case("loopback", ({"type": "loopback"},), inside="ip link set lo down"), {}),
    (
        Case("portmap", (portmap(WEB, DNS),), base=(BASE,), prepare=NO_DAD),
        {"host/iptables/raw/PREROUTING": "the reference makes none"},
    ),
    (
        Case(
            "bandwidth", ({"type": "bandwidth"} | INGRESS | EGRESS,), base=(BASE,), prepare=NO_DAD
        ),
        {},
    ),
    (
        Case("tuning", ({"type": "tuning", "txQLen": 55} | TUNED,), base=(BASE,), prepare=NO_DAD),
        {},
    ),
    (
        Case(
            "firewall",
            ({"type": "firewall", "backend": "iptables", "ingressPolicy": "isolated"},),
            base=(BASE,),
            prepare=NO_DAD,
        ),
        {"host/ip*tables/filter/PODNET-FIREWALL": "the reference notes no users"},
    ),
    (
        Case("sbr", ({"type": "sbr"},), base=(BASE,), prepare=NO_DAD),
        {"pod/route/100/fd00:1::/64 *": "a copy that no IPv4 packet needs"},
    ),
]
