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

# It stays who it is: without root there is nobody else.
_SERVER = (
    "background: dnsmasq --no-daemon --conf-file=/dev/null --port=0 --no-ping --log-facility=- "
    "--dhcp-leasefile=/run/lan/leases --interface=up1 --dhcp-range=198.18.0.10,198.18.0.200,2m"
)
# What a network manager leases for a Node; a second lease, and one with a single address.
_LEASE = (
    r"FLANNEL_NETWORK=198.18.0.0/16\nFLANNEL_SUBNET=%s\n%sFLANNEL_MTU=1450\nFLANNEL_IPMASQ=%s\n"
)
_LEASE6 = r"FLANNEL_IPV6_NETWORK=2001:db8::/32\nFLANNEL_IPV6_SUBNET=2001:db8:18::1/64\n"


def _leased(name: str, subnet: str = "198.18.0.1/24", more: str = "", masq: str = "true") -> str:
    """Return the command that writes what a network manager would."""
    return f"sh -c \"printf '{_LEASE % (subnet, more, masq)}' > /run/flannel/{name}.env\""


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
    "flannel": Parameters(
        requires=("bridge",),
        config={
            "delegate": {"bridge": "rig0", "isDefaultGateway": True},
            "ipam": {"type": "host-local"},
        },
        prepare=(
            *_NO_WAIT,
            "mkdir -p /run/flannel",
            _leased("subnet"),
            _leased("dual", more=_LEASE6),
            _leased("unmasked", masq="false"),
            _leased("full", subnet="198.18.1.1/30"),
        ),
        inside=_NO_WAIT,
        bad=({"delegate": {"name": "other"}}, {"delegate": {"type": 7}}, {"subnetFile": 7}),
        full={"subnetFile": "/run/flannel/full.env"},
        missing=("rm -r /run/flannel",),
        drift={"another lease": ("sed -i s/198.18.0.1/198.18.9.1/ /run/flannel/subnet.env",)},
        variants={
            "both families": Variant(config={"subnetFile": "/run/flannel/dual.env"}),
            "the plugin masquerades": Variant(config={"subnetFile": "/run/flannel/unmasked.env"}),
            "another delegate": Variant(config={"delegate": {"type": "ptp"}}),
            "routes of IPAM": Variant(config={"ipam": {"routes": [{"dst": "198.19.0.0/16"}]}}),
        },
    ),
    "dhcp": Parameters(
        kind=Kind.IPAM,
        requires=("macvlan", "veth", "dnsmasq"),
        config={"ipam": {"type": "dhcp"}},
        # A bridge's port takes a moment before it passes anything on, and clients are patient.
        before=({"type": "macvlan", "master": "up0"},),
        prepare=(
            *_UPLINK,
            "ip address add 198.18.0.1/24 dev up1",
            "mkdir -p /run/cni /run/lan",
            _SERVER,
            "background: {plugin} daemon -timeout 2s -resendmax 1s",
            "wait: /run/cni/dhcp.sock",
            "wait: /run/lan/leases",
        ),
        bad=({"ipam": {"type": "dhcp", "provide": [{"option": "no-such-option", "value": "x"}]}},),
        missing=("ip link delete up0",),
        drift={"its interface": ("pod: ip link delete {ifname}",)},
        variants={
            "more options": Variant(
                config={
                    "ipam": {
                        "type": "dhcp",
                        "provide": [{"option": "host-name", "value": "rig"}],
                        "request": [{"option": "121"}],
                    }
                }
            ),
        },
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
