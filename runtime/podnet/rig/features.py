"""What a test may need of the kernel and of the system, by name; and whether it is here.

Asked of a Node, by trying: what a kernel says of itself (/boot/config, /proc/modules) is about
another kernel as often as not.
"""

import shutil
from collections.abc import Iterable

from podnet.errors import MissingError, UsageError
from podnet.kernel import traffic, tuntap, virtual_links
from podnet.kernel.netlink import Netlink
from podnet.node import Node

#: Kinds of links.
LINKS = frozenset(
    {
        *("bareudp", "batadv", "bond", "bridge", "dummy", "geneve", "gre", "gretap", "hsr", "ifb"),
        *("ip6gre", "ip6tnl", "ipip", "ipvlan", "ipvtap", "macsec", "macvlan", "macvtap", "netkit"),
        *("nlmon", "sit", "team", "tun", "veth", "vlan", "vrf", "vxlan", "wireguard", "xfrm"),
    }
)
#: Queues.
QUEUES = frozenset({"cake", "codel", "fq", "fq_codel", "htb", "ingress", "netem", "sfq", "tbf"})
#: Programs.
PROGRAMS = frozenset(
    {
        *("arping", "bird", "conntrack", "dnsmasq", "etcd", "ethtool", "go", "ip", "ip6tables"),
        *("ipset", "iptables", "nft", "ovs-vsctl", "ping", "sysctl", "tc", "tcpdump", "wg"),
    }
)


def check(names: Iterable[str]) -> None:
    """Check that all are names of features.

    Raises:
        UsageError: One is not.
    """
    for name in names:
        if name not in LINKS | QUEUES | PROGRAMS:
            known = ", ".join(sorted(LINKS | QUEUES | PROGRAMS))
            raise UsageError(f"there is no feature {name!r} that podnet could look for", known)


def lacking(node: Node, name: str) -> str:
    """Return what is missing where feature *name* is not there; "" where it is."""
    check([name])
    if name in PROGRAMS:
        return "" if shutil.which(name) else f"there is no program {name}"
    if name == "tun":  # made through its device, not by netlink
        return node.run(_lacks_tun)
    return "" if node.run(_has, name) else f"this kernel has no {name}"


def _lacks_tun() -> str:
    try:
        tuntap.require()
    except MissingError as exc:
        return exc.message
    return ""


def _has(name: str) -> bool:
    with Netlink() as netlink:
        if name in LINKS:
            return virtual_links.is_supported(netlink, name)
        return traffic.is_supported(netlink, name)
