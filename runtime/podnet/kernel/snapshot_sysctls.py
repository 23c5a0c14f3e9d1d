"""The sysctls of a network namespace, as facts.

A link's own come with the link itself (IFLA_AF_SPEC), and only where they differ from what the
namespace gives to new links: they are the ones that somebody set.  All others are read from
/proc/sys/net, where a namespace sees only what is its own.
"""

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache

from podnet.kernel.facts import Fact
from podnet.kernel.netlink import attributes
from podnet.kernel.snapshot_links import Described

_ROOT = "/proc/sys/net"
_LONGEST = 4096
# What nobody sets here: the kernel counts or draws it, or it is the whole machine's and only
# shown in a namespace that is not the first.
_VOLATILE = frozenset(
    [
        "core/netdev_rss_key",
        "core/rmem_default",
        "core/rmem_max",
        "core/wmem_default",
        "core/wmem_max",
        "ipv4/tcp_available_congestion_control",
        "ipv4/tcp_allowed_congestion_control",
        "ipv4/tcp_ehash_entries",
        "ipv4/tcp_fastopen_key",
        "ipv4/udp_hash_entries",
        "ipv4/conf/all/mc_forwarding",
        "ipv4/conf/default/mc_forwarding",
        "ipv6/conf/all/mc_forwarding",
        "ipv6/conf/default/mc_forwarding",
        "ipv6/conf/all/mtu",
        "ipv6/conf/default/mtu",
        "netfilter/nf_conntrack_buckets",
        "netfilter/nf_conntrack_count",
        "netfilter/nf_conntrack_expect_max",
        "netfilter/nf_conntrack_max",
    ]
)
# Of conf and neigh, these are not a link's.
_SHARED = frozenset({"all", "default"})
# Limits of protocols that no network plugin knows; nor does one know connections' timeouts.
_ELSEWHERE = frozenset({"mptcp", "nf_log", "sctp", "vsock", "rds", "rxrpc"})
_AF_INET, _AF_INET6 = 2, 10
_IFLA_INET_CONF, _IFLA_INET6_CONF = 1, 2

# linux/ip.h, IPV4_DEVCONF_*; the kernel counts from 1.
_V4 = (
    "forwarding mc_forwarding proxy_arp accept_redirects secure_redirects send_redirects "
    "shared_media rp_filter accept_source_route bootp_relay log_martians tag arp_filter medium_id "
    "disable_xfrm disable_policy force_igmp_version arp_announce arp_ignore promote_secondaries "
    "arp_accept arp_notify accept_local src_valid_mark proxy_arp_pvlan route_localnet "
    "igmpv2_unsolicited_report_interval igmpv3_unsolicited_report_interval "
    "ignore_routes_with_linkdown drop_unicast_in_l2_multicast drop_gratuitous_arp bc_forwarding "
    "arp_evict_nocarrier"
)
# linux/ipv6.h, DEVCONF_*; "-" is what follows from the link, or has another unit in /proc.
_V6 = (
    "forwarding hop_limit - accept_ra accept_redirects autoconf dad_transmits "
    "router_solicitations - - use_tempaddr temp_valid_lft temp_prefered_lft regen_max_retry "
    "max_desync_factor max_addresses force_mld_version accept_ra_defrtr accept_ra_pinfo "
    "accept_ra_rtr_pref - accept_ra_rt_info_max_plen proxy_ndp optimistic_dad "
    "accept_source_route mc_forwarding disable_ipv6 accept_dad force_tllao ndisc_notify - - "
    "suppress_frag_ndisc accept_ra_from_local use_optimistic accept_ra_mtu - use_oif_addrs_only "
    "accept_ra_min_hop_limit ignore_routes_with_linkdown drop_unicast_in_l2_multicast "
    "drop_unsolicited_na keep_addr_on_down - seg6_enabled seg6_require_hmac enhanced_dad "
    "addr_gen_mode disable_policy accept_ra_rt_info_min_plen"
)
_NAMES = {"ipv4": _V4.split(), "ipv6": _V6.split()}


def every() -> dict[str, str]:
    """Return the namespace's own sysctls, by path below /proc/sys/net."""
    return {
        f"{directory}/{name}": _text(value)
        for directory, names in _keys().items()
        for name, value in _values(directory, names)
    }


def _values(directory: str, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    try:
        # The kernel looks a name up in a directory in half the time of a whole path.
        inside = os.open(f"{_ROOT}/{directory}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # another kernel's, or another namespace's
        return
    try:
        for name in names:
            value = _read(name, inside)
            if value is not None:
                yield name, value
    finally:
        os.close(inside)


def _read(name: str, directory: int) -> bytes | None:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except OSError:  # only root's, or written only
        return None
    try:
        return os.read(descriptor, _LONGEST)
    except OSError:  # a secret that was never set (EIO)
        return None
    finally:
        os.close(descriptor)


@lru_cache(maxsize=1024)
def _text(value: bytes) -> str:
    return value.decode(errors="replace").strip()


@lru_cache(maxsize=1)
def _keys() -> dict[str, tuple[str, ...]]:
    """Walk /proc/sys/net once: which keys there are is the kernel's, values are the namespace's."""
    found = {}
    for directory, inside, files in os.walk(_ROOT):
        below = os.path.relpath(directory, _ROOT)
        if below.endswith(("/conf", "/neigh")):
            inside[:] = _SHARED.intersection(inside)
        inside[:] = [name for name in inside if name not in _ELSEWHERE]
        kept = [name for name in files if "_timeout" not in name]
        found[below] = tuple(name for name in kept if f"{below}/{name}" not in _VOLATILE)
    return found


def facts(links: Sequence[Described], where: str = "") -> Iterator[Fact]:
    """Yield the facts of sysctls; *links* are those of the namespace."""
    shared = every()
    for key, value in shared.items():
        yield _fact(key, value, where)
    for link in links:
        for key, value in of_link(link).items():
            family, _, _, name = key.split("/", 3)
            if value != shared.get(f"{family}/conf/default/{name}", value):
                yield _fact(key, value, where)


@lru_cache(maxsize=8192)
def _fact(key: str, value: str, where: str) -> Fact:
    """Most are the same as the last time, and there are hundreds."""
    return Fact("sysctl", key, (("value", value),), where)


def of_link(link: Described) -> dict[str, str]:
    """Return the sysctls of a link, by path below /proc/sys/net."""
    families = attributes(link.specific)
    v4 = attributes(families.get(_AF_INET, b"")).get(_IFLA_INET_CONF, b"")
    v6 = attributes(families.get(_AF_INET6, b"")).get(_IFLA_INET6_CONF, b"")
    return {
        f"{family}/conf/{link.name}/{name}": str(value)
        for family, packed in (("ipv4", v4), ("ipv6", v6))
        for name, value in zip(_NAMES[family], memoryview(packed).cast("i"), strict=False)
        if name != "-"
    }
