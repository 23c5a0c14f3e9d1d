"""Sensible parameters for well-known plugins: data, and no more.

Chained plugins stand on podnet's own bridge.  The networks are from the ranges for benchmarks
and documentation (RFC 2544, RFC 3849), so that nothing real is ever meant.
"""

from collections.abc import Mapping

from podnet.rig.conformance.subject import Config, Kind, Parameters, Variant

_SUBNET, _SUBNET6 = "198.18.0.0/24", "2001:db8:18::/64"
_NO_WAIT = ("sysctl -qw net.ipv6.conf.default.accept_dad=0",)


def _ipam(**more: object) -> Config:
    whole: dict[str, object] = {
        "type": "host-local",
        "subnet": _SUBNET,
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return whole | more


_DUAL = {
    "type": "host-local",
    "ranges": [[{"subnet": _SUBNET}], [{"subnet": _SUBNET6}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
}
_FULL = {
    "ipam": {
        "type": "host-local",
        "ranges": [
            [{"subnet": "198.18.1.0/29", "rangeStart": "198.18.1.2", "rangeEnd": "198.18.1.2"}]
        ],
    }
}
_NEAR = Variant(config={"ipam": _ipam(routes=[{"dst": "198.19.0.0/16"}])})
_BRIDGE: Config = {"type": "bridge", "bridge": "rig0", "isGateway": True, "ipam": _ipam()}
_BEFORE = (_BRIDGE,)
_DUAL_BEFORE = ({**_BRIDGE, "ipam": _DUAL},)
_UPLINK = (
    "ip link add up0 type veth peer name up1",
    "ip link set up0 up",
    "ip link set up1 up",
    *_NO_WAIT,
)
_WEB = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}

#: Well-known types that need more than a Node, and what.
NOT_ALONE = {
    "dhcp": "it needs a DHCP server, and its own daemon, on the Node",
    "flannel": "it needs the subnet.env of a network manager on the Node",
}
_WELL_KNOWN: Mapping[str, Parameters] = {
    "bridge": Parameters(
        requires=("bridge",),
        config={"bridge": "rig0", "isGateway": True, "ipMasq": True, "ipam": _ipam()},
        prepare=_NO_WAIT,
        inside=_NO_WAIT,
        bad=({"mtu": "large"}, {"hairpinMode": True, "promiscMode": True}),
        full=_FULL,
        variants={
            # First, while nobody has given the bridge an address of its own.
            "layer 2": Variant(config={"ipam": None, "isGateway": None, "ipMasq": None}),
            "both families": Variant(config={"ipam": _DUAL}),
            "a default gateway": Variant(config={"isDefaultGateway": True}),
            "a route without a gateway": _NEAR,
        },
    ),
    "ptp": Parameters(
        requires=("veth",),
        config={"ipMasq": True, "ipam": _ipam()},
        prepare=_NO_WAIT,
        inside=_NO_WAIT,
        bad=({"mtu": "large"},),
        full=_FULL,
        variants={
            "both families": Variant(config={"ipam": _DUAL}),
            "a route without a gateway": _NEAR,
        },
    ),
    "macvlan": Parameters(
        requires=("macvlan",),
        config={"master": "up0", "ipam": _ipam()},
        prepare=_UPLINK,
        bad=({"mode": "sideways"}, {"mtu": 9000}),
        full=_FULL,
        missing=("ip link delete up0",),
        variants={
            "a route without a gateway": _NEAR,
            "layer 2": Variant(config={"ipam": None}),
        },
    ),
    "ipvlan": Parameters(
        requires=("ipvlan",),
        config={"master": "up0", "ipam": _ipam()},
        prepare=_UPLINK,
        bad=({"mode": "sideways"},),
        full=_FULL,
        missing=("ip link delete up0",),
    ),
    "vlan": Parameters(
        requires=("vlan",),
        config={"master": "up0", "vlanId": 7, "ipam": _ipam()},
        prepare=_UPLINK,
        bad=({"vlanId": 5000},),
        full=_FULL,
        missing=("ip link delete up0",),
    ),
    "dummy": Parameters(requires=("dummy",), config={"ipam": _ipam()}, full=_FULL),
    "tap": Parameters(requires=("tun",), config={"ipam": _ipam()}, full=_FULL),
    "loopback": Parameters(
        kind=Kind.ADJUSTS, ifname="lo", distinct=False, inside=("ip link set lo down",)
    ),
    "host-local": Parameters(
        kind=Kind.IPAM,
        config={"ipam": _ipam()},
        bad=({"ipam": {"type": "host-local", "subnet": "198.18.0.0/31"}},),
        full=_FULL,
    ),
    "static": Parameters(
        kind=Kind.IPAM,
        distinct=False,
        config={"ipam": {"type": "static", "addresses": [{"address": "198.18.0.2/24"}]}},
        bad=({"ipam": {"type": "static", "addresses": [{"address": "198.18.0.2"}]}},),
    ),
    "portmap": Parameters(
        config={"capabilities": {"portMappings": True}},
        before=_BEFORE,
        capabilities={"portMappings": [_WEB]},
        prepare=_NO_WAIT,
        inside=_NO_WAIT,
        bad=({"markMasqBit": 77},),
        variants={
            "both families": Variant(before=_DUAL_BEFORE),
            "no ports": Variant(config={"capabilities": {}}),
        },
    ),
    "firewall": Parameters(
        before=_BEFORE,
        prepare=_NO_WAIT,
        inside=_NO_WAIT,
        config={"ingressPolicy": "same-bridge"},
        bad=({"ingressPolicy": "sideways"},),
        variants={"both families": Variant(before=_DUAL_BEFORE)},
    ),
    "bandwidth": Parameters(
        config={
            "ingressRate": 8_000_000,
            "ingressBurst": 800_000,
            "egressRate": 16_000_000,
            "egressBurst": 1_600_000,
        },
        before=_BEFORE,
        bad=({"ingressBurst": None},),
        variants={
            "no limits": Variant(
                config=dict.fromkeys(
                    ("ingressRate", "ingressBurst", "egressRate", "egressBurst"), None
                )
            )
        },
    ),
    "tuning": Parameters(
        config={"mtu": 1300, "sysctl": {"net.ipv4.conf.eth0.arp_filter": "1"}},
        before=_BEFORE,
        bad=({"mtu": "large"}, {"sysctl": {"kernel.hostname": "evil"}}),
        drift={
            "its sysctl": ("pod: sysctl -qw net.ipv4.conf.{ifname}.arp_filter=0",),
            "the MTU": ("pod: ip link set dev {ifname} mtu 1280",),
        },
        variants={
            "a sysctl of IFNAME": Variant(
                config={"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}
            ),
            "sysctls from args": Variant(
                config={
                    "sysctl": None,
                    "args": {"cni": {"sysctl": {"net.ipv4.conf.eth0.arp_filter": "1"}}},
                }
            ),
        },
    ),
    "sbr": Parameters(before=_BEFORE),
    "vrf": Parameters(requires=("vrf",), config={"vrfname": "blue"}, before=_BEFORE),
    "host-device": Parameters(
        config={"device": "nic0", "ipam": _ipam()},
        single=True,
        prepare=("ip link add nic0 type veth peer name nic1", "ip link set nic1 up"),
        bad=({"device": "no-such-link"},),
    ),
}


def of(plugin: str) -> Parameters | None:
    """Return the parameters of a well-known type, or ``None``."""
    return _WELL_KNOWN.get(plugin)
