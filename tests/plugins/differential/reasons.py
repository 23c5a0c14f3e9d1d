"""What differs on purpose and why, and what stays by design: the words of the table.

The reference here is 1.1.1; ours is 1.9 where that has moved on.
"""

from collections.abc import Iterable
from dataclasses import replace

from tests.plugins.differential.differences import Difference

THERE = ("ADD", "ADD again", "CHECK", "ADD for the other", "CHECK of the other's")
CHECKED = ("CHECK", "CHECK of the other's")
AGAIN = ("ADD again",)
ADDED = (
    "ADD",
    "ADD again",
    "ADD for the other",
    "DEL without prevResult",
    "DEL without CNI_NETNS",
    "DEL of a lost namespace",
)
NOWHERE = ("DEL without CNI_NETNS",)
LOST = ("DEL of a lost namespace",)
FAILED = ("failed ADD",)
AFTER_FAILURE = ("DEL after a failed ADD",)
DELETED = ("DEL", "DEL again", "DEL of the other's", "DEL without prevResult")
EVER = THERE + DELETED + NOWHERE + LOST + FAILED + AFTER_FAILURE

# What stays by design.

LEASES_LAST = (
    "host/file/var/lib/cni/networks/mode",
    "host/file/var/lib/cni/mine/mode",
    "host/file/var/lib/cni/*/demo/mode",
    "host/file/var/lib/cni/*/demo/lock*",
    "host/file/var/lib/cni/*last_reserved_ip.*",
    "host/file/var/lib/cni/*.podnet*",
)
FORWARDING_LASTS = (
    "host/sysctl/net/ipv4/ip_forward",
    "host/sysctl/net/ipv6/conf/*/forwarding",
    "host/route/local/*/anycast*",
)
BRIDGE_LASTS = (
    "host/link/br0/*",
    "host/route/*dev br0 *",
    "host/sysctl/*/br0/*",
    *FORWARDING_LASTS,
)
PORTMAP_LASTS = (
    "host/ip*tables/nat/CNI-HOSTPORT-*",
    "host/ip*tables/nat/PREROUTING",
    "host/ip*tables/nat/OUTPUT",
    "host/ip*tables/nat/POSTROUTING",
    "host/iptables/raw/PREROUTING",
    "host/sysctl/net/ipv4/conf/br0/route_localnet",
)
FIREWALL_LASTS = ("host/ip*tables/filter/*",)
# Whoever shapes a link once leaves it with a queue's usual length.
SHAPED_LASTS = ("host/link/veth/txqlen",)
SYSCTLS_LAST = ("pod/sysctl/net/*", "host/file/run/cni/*/mode")
LOOPBACK_LASTS = ("pod/link/lo/*", "pod/route/local/*dev lo *")

# Routes end with their link.
ROUTES_LAST = ("pod/route/*",)

# What differs.

PAIR = ("host/link/veth/*", "host/sysctl/*/veth/*", "pod/link/eth0/*", "pod/sysctl/*/eth0/*")
INDEX = Difference(
    "an index beside the leases finds one among 60,000",
    ("host/file/var/lib/cni/*.podnet*",),
    EVER,
)
PRIVATE = Difference(
    "leases are nobody else's business (0600, as in 1.4); a lock is no program",
    ("host/file/var/lib/cni/*/demo/*/mode",),
    EVER,
)
LEASES = (INDEX, PRIVATE)
ALIAS = Difference("the mark that DEL and GC find a pair by", ("host/link/veth/ifalias",), THERE)
QUEUE = Difference("as in 1.9", ("pod/link/eth0/txqlen",), THERE)
KEPT = Difference("as in 1.7", ("pod/sysctl/net/ipv6/conf/eth0/keep_addr_on_down",), THERE)
NO_WAIT = Difference(
    "IPAM gave the address to nobody else", ("pod/link/eth0/address/fd00:*",), THERE
)
FORWARDS_AT_ONCE = Difference(
    "a gateway asks for its neighbours at once", ("host/sysctl/net/ipv6/conf/br0/accept_dad",), EVER
)
GATEWAY_AT_ONCE = Difference("a gateway answers at once", ("host/link/br0/address/fd00:*",), EVER)
TAKEN = Difference("names the interface, as in 1.9", ("answer/0/msg",), AGAIN)
PAIR_GOES = Difference(
    "DEL without a namespace removes the pair from the host's end", PAIR, NOWHERE
)
ROUTES_GO = replace(PAIR_GOES, aspects=("pod/route/*dev eth0*",))
HOST_ROUTES_GO = replace(PAIR_GOES, aspects=("host/route/*dev veth *",))
PORTS_MTU = Difference("so the bridge has no port then", ("host/link/br0/mtu",), NOWHERE)
OWN_MAC = Difference(
    "a bridge keeps its MAC when it loses its ports (plugins#620)",
    ("host/link/br0/mac",),
    DELETED + LOST + FAILED + AFTER_FAILURE,
)
BRIDGE_LEFT_EMPTY = Difference(
    "a failed ADD leaves no link",
    ("pod/route/*dev eth0*",),
    FAILED,
)
FOREIGN_BRIDGE = Difference(
    "a bridge that was there keeps what its owner says of router advertisements",
    ("host/sysctl/net/ipv6/conf/br0/accept_ra",),
    EVER,
)
NOT_MOVED = Difference(
    "a failed ADD moves no counter",
    ("host/file/var/lib/cni/*last_reserved_ip.*",),
    FAILED + AFTER_FAILURE,
)
NOT_LEFT = Difference("a failed ADD leaves no link", PAIR, FAILED)
HOST_AT_ONCE = Difference(
    "nothing would be forwarded to the pod over IPv6 for 2 s",
    ("host/sysctl/net/ipv6/conf/veth/accept_dad",),
    THERE,
)
NOTIFIES = Difference("as in 1.4", ("pod/sysctl/net/ipv6/conf/eth0/ndisc_notify",), THERE)


def no_check(reason: str) -> Difference:
    """The reference's CHECK fails for nothing."""
    return Difference(reason, ("answer/*/status", "answer/*/code", "answer/*/msg"), CHECKED)


def wrong(*codes: int, words: Iterable[int] = ()) -> tuple[Difference, ...]:
    """Which errors of a failed ADD have code 7, not 999, and which say it in other words."""
    found = [Difference("a wrong configuration is code 7", _answers(codes, "code"), FAILED)]
    found += [Difference("says which key has which value", _answers(words, "msg"), FAILED)]
    return tuple(one for one in found if one.aspects)


def _answers(numbers: Iterable[int], key: str) -> tuple[str, ...]:
    return tuple(f"answer/{number}/{key}" for number in numbers)


def also(differences: Iterable[Difference], *steps: str) -> tuple[Difference, ...]:
    """The same differences, which show in more steps."""
    return tuple(replace(one, steps=(*one.steps, *steps)) for one in differences)


UNASKED = Difference(
    "a link that cannot be is refused before IPAM is asked",
    ("host/file/var/lib/cni/*last_reserved_ip.*",),
    FAILED + AFTER_FAILURE,
)
NOT_LEFT_IN_POD = Difference("a failed ADD leaves no link", PAIR[2:], FAILED)
VERSIONED = Difference("version 0.4.0 says of which family an address is", ("answer/0/ips",), ADDED)
INGRESS_GOES = Difference(
    "queues and filters end with DEL",
    ("host/filter/veth/*", "host/qdisc/veth/ffff:fff1"),
    DELETED,
)
BUCKET_GOES = Difference("queues end with DEL", ("host/qdisc/veth/root",), DELETED)
SHAPING_GOES = Difference(
    "queues and filters go with the pair", ("host/filter/veth/*", "host/qdisc/veth/*"), NOWHERE
)
PANIC = Difference(
    "the reference panics (fixed in 1.9.1)", ("answer/0/status", "answer/0/stderr"), CHECKED
)
PUT_BACK = (
    Difference(
        "a failed ADD puts everything back",
        ("pod/link/eth0/*", "host/file/run/cni/*.json"),
        FAILED,
    ),
    Difference("a failed ADD puts everything back", ("pod/sysctl/*",), FAILED + AFTER_FAILURE),
)
SYSCTLS_BACK = Difference(
    "DEL puts sysctls back, too", ("pod/sysctl/*",), ("DEL", "DEL again", "DEL without prevResult")
)
ROUTES_BACK = Difference("DEL moves the routes back", ("pod/route/*",), DELETED)
USERS = Difference(
    "who uses a bridge is noted, so that isolation ends with the last",
    ("host/ip*tables/filter/PODNET-FIREWALL",),
    THERE + DELETED + NOWHERE + LOST,
)
UNAWARE_RULES = Difference(
    "DEL needs no prevResult",
    ("host/ip*tables/filter/CNI-FORWARD",),
    ("DEL without prevResult",),
)
ISOLATION = Difference(
    "the comments of 1.9; isolation ends with its last user",
    ("host/ip*tables/filter/CNI-ISOLATION-STAGE-*", "host/ip*tables/filter/FORWARD"),
    THERE + DELETED + NOWHERE + LOST,
)
MASQUERADING_GOES = Difference(
    "masquerading ends also without a namespace",
    ("host/ip*tables/nat/CNI-*", "host/ip*tables/nat/POSTROUTING"),
    NOWHERE + LOST,
)
BACKED_UP = Difference(
    "who may GC a backup says the network in it; its directory can be entered",
    ("host/file/run/cni/*.json", "host/file/run/cni/*/mode"),
    THERE,
)
DIRECTORY_LEFT = Difference(
    "a directory that can be entered", ("host/file/run/cni/*/mode",), FAILED + AFTER_FAILURE
)
DIRECTORY = Difference(
    "a directory that can be entered", ("host/file/run/cni/*/mode",), DELETED + NOWHERE + LOST
)
FIRST_BACKUP = Difference(
    "a second ADD keeps the first backup", ("pod/link/eth0/*",), ("DEL", "DEL again")
)
BACKUP_GOES = Difference(
    "a backup goes also without a namespace", ("host/file/run/cni/*.json",), NOWHERE + LOST
)
INSIDE = Difference(
    "packets for 127.0.0.0/8 from outside are dropped (plugins#729)",
    ("host/iptables/raw/PREROUTING",),
    EVER,
)
ONE_ACTION = Difference(
    "the reference's library adds a second action that is never reached",
    ("host/filter/veth/2",),
    THERE + NOWHERE,
)
MARKED_IFB = Difference(
    "the mark that GC finds an ifb by", ("host/link/bwp968de35a82bb/ifalias",), THERE
)

SAYS_NOTHING = (
    Difference("stderr is for errors", ("answer/0/stderr",), ADDED + DELETED[:2] + DELETED[2:3]),
    Difference("stderr is for errors", ("answer/1/stderr",), DELETED[3:] + NOWHERE + LOST),
)
TABLES = (
    Difference("says which route could not be added", ("answer/0/msg",), AGAIN),
    Difference("a failed second ADD leaves no rule", ("pod/rule*",), ("ADD again", "CHECK")),
    Difference(
        "DEL without a namespace succeeds and makes no file",
        ("answer/1/status", "answer/1/code", "answer/1/msg"),
        NOWHERE + LOST,
    ),
    Difference(
        "DEL without a namespace succeeds and makes no file",
        ("host/file/run/netns/c1/mode",),
        LOST,
    ),
)
