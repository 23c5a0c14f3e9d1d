"""The table: what is configured, what of it lasts, and which differences show.

A line for each way to write a configuration; what is not said of it is the same in both.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tests.plugins.differential import reasons as why
from tests.plugins.differential.configs import (
    BASE,
    BASE_V4,
    CAPABLE,
    DEFAULTS,
    DNS,
    DUAL,
    EGRESS,
    EXTREME,
    FULL,
    INGRESS,
    M0,
    MAC,
    MORE,
    NO_DAD,
    OTHER,
    TUNED,
    V4,
    V6,
    WEB,
    Config,
    bridge,
    ipam,
    local,
    macvlan,
    portmap,
    ptp,
    static,
)
from tests.plugins.differential.differences import Difference
from tests.plugins.differential.lives import Case


def _all(differences: Iterable[Difference], lasting: Iterable[str], *cases: Case) -> list[Case]:
    """Cases that have these in common besides their own."""
    return [
        replace(
            case,
            differences=(*differences, *case.differences),
            lasting=(*lasting, *case.lasting),
        )
        for case in cases
    ]


def _leased(case: Case) -> Case:
    """A case in which host-local is used."""
    [found] = _all(why.LEASES, why.LEASES_LAST, case)
    return found


ROUTED = why.no_check("a route without a gateway is not found (fixed in 1.3)")
V6_BRIDGED = (why.KEPT, why.NO_WAIT, why.GATEWAY_AT_ONCE)
L2_CHECK = why.no_check("without IPAM nothing is delegated to")

BRIDGED = (why.ALIAS, why.QUEUE, why.TAKEN, why.PAIR_GOES)
BRIDGE = _all(
    (*BRIDGED, why.ROUTES_GO),
    why.BRIDGE_LASTS,
    _leased(
        Case(
            "bridge gateway dual",
            (bridge(local(V4, V6), isDefaultGateway=True),),
            prepare=NO_DAD,
            failing=(FULL,),
            differences=(*V6_BRIDGED, why.NOT_LEFT),
        )
    ),
    _leased(
        Case(
            "bridge routes v4",
            (bridge(local(V4, routes=MORE), mtu=1400, hairpinMode=True),),
            failing=({"mtu": 40},),
            differences=(ROUTED, why.OWN_MAC, why.PORTS_MTU, *why.wrong(words=[0])),
        )
    ),
    _leased(
        Case(
            "bridge gateway v6",
            (bridge(local(V6, routes=DEFAULTS[1:]), isGateway=True),),
            prepare=NO_DAD,
            differences=V6_BRIDGED,
        )
    ),
    _leased(
        Case(
            "bridge masquerade dual",
            (bridge(DUAL, isGateway=True, ipMasq=True, ipMasqBackend="iptables"),),
            prepare=NO_DAD,
            failing=(FULL,),
            differences=(
                *V6_BRIDGED,
                why.NOT_LEFT,
                *why.also((why.MASQUERADING_GOES,), *why.FAILED, *why.AFTER_FAILURE),
            ),
        )
    ),
    Case(
        "bridge static dual",
        (bridge(static("10.1.0.2/24", "fd00:1::2/64", routes=DEFAULTS), isGateway=True),),
        prepare=NO_DAD,
        differences=V6_BRIDGED,
    ),
    _leased(
        Case(
            "bridge force address",
            (bridge(local(V4), isGateway=True, forceAddress=True),),
            prepare=(
                "ip link add br0 type bridge; ip link set br0 up; ip addr add 10.1.0.77/24 dev br0"
            ),
            failing=({"forceAddress": False, "ipam": local({"subnet": "10.8.0.0/24"})},),
            differences=(why.NOT_LEFT, why.BRIDGE_LEFT_EMPTY, why.FOREIGN_BRIDGE),
        )
    ),
    _leased(
        Case(
            "bridge macs",
            (
                bridge(
                    local(V4, resolvConf="/etc/resolv.conf"),
                    args={"cni": {"mac": OTHER}},
                    runtimeConfig={"mac": MAC},
                    dns={"nameservers": ["10.1.0.1"], "search": ["a.test"]},
                ),
            ),
            version="0.4.0",
            failing=({"runtimeConfig": {"mac": "zz"}},),
            differences=(why.OWN_MAC, *why.wrong(0, words=[0])),
        )
    ),
    _leased(
        Case(
            "bridge 0.3.1",
            (bridge(local(V4, V6), isGateway=True),),
            version="0.3.1",
            prepare=NO_DAD,
            differences=V6_BRIDGED,
        )
    ),
    _leased(
        Case(
            "bridge 0.2.0",
            (bridge(local(V4), isDefaultGateway=True),),
            version="0.2.0",
            differences=(why.FORWARDS_AT_ONCE,),
        )
    ),
    _leased(
        Case(
            "bridge enabledad",
            (bridge(local(V6), isGateway=True, enabledad=True),),
            prepare=NO_DAD,
            differences=(why.KEPT, why.GATEWAY_AT_ONCE),
        )
    ),
)
BRIDGE += _all(
    BRIDGED,
    why.BRIDGE_LASTS,
    Case(
        "bridge layer 2 promiscuous",
        (bridge(promiscMode=True),),
        args=f"MAC={MAC};IgnoreUnknown=1;K8S_POD_NAME=x",
        failing=({"hairpinMode": True},),
        differences=(L2_CHECK, why.OWN_MAC, *why.wrong(0, words=[0])),
    ),
)

PTP = _all(
    (why.ALIAS, why.QUEUE, why.TAKEN, why.PAIR_GOES, why.ROUTES_GO, why.HOST_ROUTES_GO),
    why.FORWARDING_LASTS,
    _leased(
        Case(
            "ptp dual",
            (ptp(DUAL, mtu=1400),),
            prepare=NO_DAD,
            inside=NO_DAD,
            failing=(FULL,),
            differences=(why.KEPT, why.NO_WAIT),
        )
    ),
    _leased(
        Case(
            "ptp masquerade dual",
            (ptp(DUAL, ipMasq=True, ipMasqBackend="iptables", dns={"nameservers": ["10.1.0.1"]}),),
            prepare=NO_DAD,
            inside=NO_DAD,
            failing=({"mtu": 40},),
            differences=(
                why.KEPT,
                why.NO_WAIT,
                *why.also((why.MASQUERADING_GOES,), *why.FAILED, *why.AFTER_FAILURE),
                why.UNASKED,
                *why.wrong(words=[0]),
            ),
        )
    ),
    _leased(
        Case(
            "ptp masquerade v4 0.4.0",
            (ptp(local(V4), ipMasq=True, ipMasqBackend="iptables"),),
            version="0.4.0",
            differences=(why.HOST_AT_ONCE, why.MASQUERADING_GOES),
        )
    ),
    Case(
        "ptp static v6",
        (ptp(static("fd00:1::2/64")),),
        prepare=NO_DAD,
        inside=NO_DAD,
        differences=(why.KEPT, why.NO_WAIT),
    ),
    _leased(
        Case(
            "ptp 0.2.0",
            (ptp(local(V4, routes=DEFAULTS[:1])),),
            version="0.2.0",
            differences=(why.HOST_AT_ONCE,),
        )
    ),
)

# DEL without a namespace cannot remove what is in it.
STAYS = why.NOWHERE
MACVLAN_V6 = why.also((why.KEPT, why.NO_WAIT), *STAYS)
MACVLAN = _all(
    (*why.also((why.QUEUE,), *STAYS), why.TAKEN),
    (),
    _leased(
        Case(
            "macvlan dual",
            (macvlan(DUAL, mtu=1400),),
            prepare=M0,
            inside=NO_DAD,
            failing=(FULL,),
            differences=(*MACVLAN_V6, *why.also((why.NOTIFIES,), *STAYS), why.NOT_LEFT_IN_POD),
        )
    ),
    _leased(
        Case(
            "macvlan private v4",
            (macvlan(local(V4, routes=[{"dst": "10.9.0.0/16"}]), mode="private", mac=MAC),),
            version="0.4.0",
            prepare=M0,
            failing=({"mode": "x"}, {"mtu": 9000}, {"master": "nope"}),
            differences=(
                ROUTED,
                *why.also((why.NOTIFIES,), *STAYS),
                *why.wrong(0, 1, words=[2]),
            ),
        )
    ),
    Case(
        "macvlan vepa layer 2",
        (macvlan(mode="vepa", mac=OTHER, runtimeConfig={"mac": MAC}),),
        prepare=M0,
    ),
    _leased(
        Case(
            "macvlan passthru v6",
            (macvlan(local(V6), mode="passthru"),),
            prepare=M0,
            inside=NO_DAD,
            differences=(*MACVLAN_V6, *why.also((why.NOTIFIES,), *STAYS)),
        )
    ),
    Case(
        "macvlan default master",
        ({"type": "macvlan", "ipam": static("10.1.0.2/24"), "mac": OTHER},),
        prepare=M0 + "; ip addr add 192.0.2.1/24 dev m0; ip route add default via 192.0.2.2",
        args=f"MAC={MAC};IgnoreUnknown=1",
        differences=why.also((why.NOTIFIES,), *STAYS),
    ),
)

RANGES = [
    {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.11"},
    {"subnet": "10.2.0.0/24", "gateway": "10.2.0.254"},
]
OLDEST = {"type": "host-local", "rangeStart": "10.1.0.4", "rangeEnd": "10.1.0.6"} | V4
OLDEST |= {"gateway": "10.1.0.5", "dataDir": "/var/lib/cni/mine", "resolvConf": "/run/resolv"}
HOST_LOCAL = _all(
    why.LEASES,
    why.LEASES_LAST,
    Case("host-local dual", (ipam(DUAL),), failing=(FULL,)),
    Case(
        "host-local ranges",
        (ipam(local(RANGES, V6, routes=[{"dst": "10.9.0.0/16", "gw": "10.1.0.7"}])),),
        failing=(
            {"ipam": local([V4, V6])},
            {"ipam": local(V4, V4)},
            {"ipam": local({"subnet": "10.1.0.0/31"})},
            {"ipam": local({"subnet": "10.1.0.1/24"})},
            {"ipam": local()},
        ),
        differences=why.wrong(0, 1, 2, 3, 4),
    ),
    Case(
        "host-local oldest keys",
        (ipam(OLDEST),),
        version="0.2.0",
        prepare=(
            "printf 'nameserver 1.1.1.1\\n;x\\ndomain a.test\\nsearch b c\\noptions ndots:2'"
            " > /run/resolv"
        ),
    ),
    Case(
        "host-local capabilities",
        (ipam(local(V6), runtimeConfig={"ipRanges": [[V4]], "ips": ["10.1.0.9", "fd00:1::9/64"]}),),
        failing=(
            {"runtimeConfig": {"ips": ["fd00:1::1"]}},
            {"runtimeConfig": {"ips": ["10.5.0.9"]}},
        ),
        differences=(why.NOT_MOVED,),
    ),
    Case(
        "host-local arguments",
        (ipam(local(V4, V6), args={"cni": {"ips": ["fd00:1::9"]}}),),
        args="IP=10.1.0.9",
    ),
)

STATIC = [
    Case(
        "static dual",
        (
            ipam(
                static(
                    "10.1.0.2/24",
                    "fd00:1::2/64",
                    routes=[*DEFAULTS, {"dst": "10.9.0.0/16", "gw": "10.1.0.7"}],
                    dns={"nameservers": ["10.1.0.1"], "domain": "a.test", "options": ["x"]},
                )
            ),
        ),
        again=True,
        failing=({"ipam": {"type": "static", "addresses": [{"address": "10.1.0.2"}]}},),
        differences=why.wrong(0),
    ),
    Case(
        "static arguments",
        (ipam(static("10.1.0.2/24")),),
        args="IP=10.2.0.5/24,fd00:1::5/64;GATEWAY=10.2.0.1,fd00:1::1",
        again=True,
    ),
    Case(
        "static convention",
        (ipam(static("10.1.0.2/24"), args={"cni": {"ips": ["10.3.0.2/24"]}}),),
        again=True,
    ),
    Case(
        "static capability",
        (ipam(static("fd00:1::7/64"), runtimeConfig={"ips": ["10.3.0.2/24", "fd00:3::2/64"]}),),
        again=True,
        failing=({"runtimeConfig": {"ips": ["10.3.0.2"]}},),
        differences=why.wrong(0),
    ),
    Case("static 0.2.0", (ipam(static("10.1.0.2/24")),), version="0.2.0", again=True),
]

LOOPBACK = _all(
    (),
    why.LOOPBACK_LASTS,
    Case("loopback", ({"type": "loopback"},), inside="ip link set lo down", again=True),
    Case(
        "loopback 0.4.0",
        ({"type": "loopback"},),
        version="0.4.0",
        again=True,
        differences=(why.VERSIONED,),
    ),
)


def _mapped(name: str, *mappings: Any, **more: Any) -> Case:
    keys, base = more.pop("keys", {}), more.pop("base", BASE)
    prepare = NO_DAD + "; iptables -t nat -N KUBE-MARK-MASQ; ip6tables -t nat -N KUBE-MARK-MASQ"
    return Case(
        f"portmap {name}",
        (portmap(*mappings, **keys),),
        base=(base,),
        prepare=prepare,
        again=True,
        **more,
    )


V6_CHECK = why.no_check("CHECK looks for IPv4 rules with ip6tables")
GUARDED = (why.INSIDE, V6_CHECK)
PORTMAP = _all(
    (),
    why.PORTMAP_LASTS,
    _mapped(
        "dual",
        WEB,
        DNS,
        failing=(
            {"runtimeConfig": {"portMappings": [WEB | {"hostPort": 0}]}},
            {"markMasqBit": 32},
            {"markMasqBit": 3, "externalSetMarkChain": "X"},
        ),
        differences=(*GUARDED, *why.wrong(0, 1, 2, words=[0, 1, 2])),
    ),
    _mapped("without source nat", WEB, DNS, keys={"snat": False}, differences=(V6_CHECK,)),
    _mapped("mark", WEB, keys={"markMasqBit": 3}, differences=GUARDED),
    _mapped(
        "foreign mark", WEB, keys={"externalSetMarkChain": "KUBE-MARK-MASQ"}, differences=GUARDED
    ),
    _mapped(
        "conditions",
        WEB,
        keys={"conditionsV4": ["!", "-s", "192.0.2.7"], "conditionsV6": ["!", "-d", "fd01::7"]},
        differences=GUARDED,
    ),
    _mapped(
        "host addresses",
        WEB | {"hostIP": "192.0.2.1"},
        DNS | {"hostIP": "fd01::1"},
        WEB | {"hostIP": "0.0.0.0"},
        differences=GUARDED,
    ),
    _mapped("many", *(WEB | {"hostPort": 8000 + n} for n in range(17)), differences=GUARDED),
    _mapped("nothing"),
    _mapped("v4 0.4.0", WEB, DNS, base=BASE_V4, version="0.4.0", differences=GUARDED),
)

SENT = (why.ONE_ACTION, why.MARKED_IFB, why.INGRESS_GOES)


def _limited(name: str, keys: Config, **more: Any) -> Case:
    return Case(
        f"bandwidth {name}", ({"type": "bandwidth"} | keys,), base=(BASE,), prepare=NO_DAD, **more
    )


BANDWIDTH = _all(
    (),
    why.SHAPED_LASTS,
    _limited(
        "both",
        INGRESS | EGRESS,
        failing=({"ingressBurst": 0}, {"egressRate": 0}, {"egressBurst": 2**35}),
        differences=(*SENT, why.BUCKET_GOES, *why.wrong(0, 1, 2)),
    ),
    _limited("ingress", INGRESS, differences=(why.BUCKET_GOES,)),
    _limited("egress", EGRESS, differences=SENT),
    _limited("capability", CAPABLE, differences=SENT),
    _limited("extremes", EXTREME, differences=(*SENT, why.BUCKET_GOES)),
    _limited(
        "odd",
        {"ingressRate": 12_345_678, "ingressBurst": 2**31 - 1},
        differences=(why.BUCKET_GOES,),
    ),
    _limited("none", {}, again=True, differences=(why.PANIC,)),
)


def _tuned(name: str, keys: Config, **more: Any) -> Case:
    return Case(
        f"tuning {name}",
        ({"type": "tuning"} | keys,),
        base=(BASE,),
        prepare=NO_DAD,
        again=True,
        **more,
    )


KEEPS = (why.BACKED_UP, why.DIRECTORY, why.FIRST_BACKUP, why.BACKUP_GOES)
TUNING = _all(
    (),
    why.SYSCTLS_LAST,
    _tuned(
        "all",
        TUNED,
        failing=({"sysctl": {"kernel.hostname": "x"}}, {"mac": "zz"}, {"mtu": 10}),
        differences=(
            *KEEPS,
            *why.PUT_BACK,
            why.SYSCTLS_BACK,
            why.DIRECTORY_LEFT,
            *why.wrong(0, 1, words=[2]),
        ),
    ),
    _tuned(
        "sysctl",
        {"sysctl": {"net.ipv6.conf.eth0.accept_ra": "0"}},
        differences=(why.BACKED_UP, why.DIRECTORY, why.SYSCTLS_BACK),
    ),
    _tuned("mtu", {"mtu": 1400, "dataDir": "/run/cni/mine"}, differences=KEEPS),
    _tuned("arguments", {"mac": OTHER}, args=f"MAC={MAC}", differences=KEEPS),
    _tuned(
        "capability",
        {"mac": OTHER, "runtimeConfig": {"mac": MAC}},
        args=f"MAC={OTHER}",
        differences=KEEPS,
    ),
    _tuned("convention", {"args": {"cni": TUNED | {"sysctl": {}}}}, differences=KEEPS),
    _tuned("nothing", {}),
)


def _walled(name: str, *differences: Difference, base: Config = BASE, **keys: Any) -> Case:
    return Case(
        f"firewall {name}",
        ({"type": "firewall", "backend": "iptables"} | keys,),
        base=(base,),
        prepare=NO_DAD,
        again=True,
        differences=differences,
    )


FIREWALL = _all(
    (why.USERS, why.UNAWARE_RULES),
    why.FIREWALL_LASTS,
    _walled("open"),
    _walled("same-bridge", why.ISOLATION, ingressPolicy="same-bridge"),
    _walled("admin", iptablesAdminChainName="MINE"),
    _walled("v4", base=BASE_V4),
)

SBR = _all(
    (*why.SAYS_NOTHING, *why.TABLES, why.ROUTES_BACK),
    why.ROUTES_LAST,
    *(
        Case(
            f"sbr {name}",
            ({"type": "sbr"},),
            base=(bridge(static(*addresses, routes=routes)),),
            prepare=NO_DAD,
        )
        for name, addresses, routes in (
            ("dual", ("10.1.0.2/24", "fd00:1::2/64"), [*DEFAULTS, {"dst": "10.99.0.0/16"}]),
            ("v6", ("fd00:1::2/64",), DEFAULTS[1:]),
            ("two of a subnet", ("10.1.0.2/24", "10.1.0.3/24"), DEFAULTS[:1]),
        )
    ),
)

CHAIN = _leased(
    Case(
        "chain of the field",
        (
            bridge(local(V4, routes=DEFAULTS[:1]), isGateway=True),
            portmap(WEB, DNS),
            {"type": "firewall", "backend": "iptables"},
            {"type": "bandwidth"} | INGRESS | EGRESS,
            {"type": "tuning"} | TUNED,
        ),
        again=True,
        lasting=(*why.BRIDGE_LASTS, *why.PORTMAP_LASTS, *why.FIREWALL_LASTS, *why.SYSCTLS_LAST),
        differences=(
            *(one for one in BRIDGED if one is not why.TAKEN),
            why.ROUTES_GO,
            why.FORWARDS_AT_ONCE,
            *GUARDED,
            why.USERS,
            *why.also((why.UNAWARE_RULES,), *why.NOWHERE, *why.LOST),
            why.ONE_ACTION,
            why.MARKED_IFB,
            why.SHAPING_GOES,
            why.BACKED_UP,
            why.SYSCTLS_BACK,
            why.DIRECTORY,
            why.BACKUP_GOES,
        ),
    )
)

CASES = BRIDGE + PTP + MACVLAN + HOST_LOCAL + STATIC + LOOPBACK
CASES += [*PORTMAP, *BANDWIDTH, *TUNING, *FIREWALL, *SBR, CHAIN]
