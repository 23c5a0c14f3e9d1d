"""ipMasq: source NAT for what leaves a pod's subnet, as nftables rules.

The table, chains and comments are the reference's nftables backend's, so that either can
undo the other's work.  One transaction per verb; a rule of the same attachment is replaced.
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Interface, IPv6Interface

from podnet.kernel import firewall
from podnet_plugins import marks

_FAMILY, _NAME = "inet", "cni_plugins_masquerade"
_TABLE = f"{_FAMILY} {_NAME}"
_CHECKS = "masq_checks"
_BASE = f"""\
add table {_TABLE} {{ comment "Masquerading for plugins from github.com/containernetworking/plugins"; }}
add chain {_TABLE} {_CHECKS} {{ comment "Masquerade traffic from certain IPs to any (non-multicast) \
IP outside their subnet"; }}
add chain {_TABLE} postrouting {{ type nat hook postrouting priority srcnat; policy accept; }}
flush chain {_TABLE} postrouting
add rule {_TABLE} postrouting ip daddr 224.0.0.0/4 return
add rule {_TABLE} postrouting ip6 daddr ff00::/8 return
add rule {_TABLE} postrouting goto {_CHECKS}
"""


def add(
    network: str, container_id: str, ifname: str, ips: Iterable[IPv4Interface | IPv6Interface]
) -> None:
    """Masquerade everything from *ips* to outside their subnets, except multicast.

    Raises:
        PodnetError: nft is missing or refused.
    """
    comment = marks.mark(network, container_id, ifname)
    rules = [_rule(ip, comment) for ip in ips]
    stale = _deletions(_with_prefix(marks.prefix(network, container_id, ifname)))
    firewall.apply(_BASE + stale + "".join(rules))


def delete(network: str, container_id: str, ifname: str) -> None:
    """Remove the rules of one attachment; where there are none, nothing is done."""
    _remove(_with_prefix(marks.prefix(network, container_id, ifname)))


def gc(network: str, valid: set[tuple[str, str]]) -> None:
    """Remove the rules of every attachment of *network* that is not *valid*."""
    _remove(lambda comment: marks.is_stale(comment, network, valid))


def missing(
    network: str, container_id: str, ifname: str, ips: Iterable[IPv4Interface | IPv6Interface]
) -> list[str]:
    """Return the addresses of *ips* that no rule masquerades, and "postrouting" without its jump."""
    wanted = _with_prefix(marks.prefix(network, container_id, ifname))
    rules = firewall.rules(_FAMILY, _NAME, _CHECKS) or []
    masqueraded = {_source(rule.get("expr")) for rule in rules if wanted(rule.text("comment"))}
    absent = [str(ip.ip) for ip in ips if str(ip.ip) not in masqueraded]
    jumps = firewall.rules(_FAMILY, _NAME, "postrouting") or []
    reached = any(_CHECKS in str(rule.get("expr")) for rule in jumps)
    return absent if reached else [*absent, "postrouting"]


def _rule(ip: IPv4Interface | IPv6Interface, comment: str) -> str:
    family = "ip" if ip.version == 4 else "ip6"  # noqa: PLR2004
    match = f"{family} saddr {ip.ip} {family} daddr != {ip.network}"
    return f'add rule {_TABLE} {_CHECKS} {match} masquerade comment "{comment}"\n'


def _with_prefix(prefix: str) -> Callable[[str], bool]:
    return lambda comment: comment.startswith(prefix)


def _deletions(wanted: Callable[[str], bool]) -> str:
    rules = firewall.rules(_FAMILY, _NAME, _CHECKS) or []
    handles = [rule.number("handle") for rule in rules if wanted(rule.text("comment"))]
    return "".join(f"delete rule {_TABLE} {_CHECKS} handle {handle}\n" for handle in handles)


def _remove(wanted: Callable[[str], bool]) -> None:
    deletions = _deletions(wanted)
    if deletions:
        firewall.apply(deletions)


def _source(expression: object) -> str:
    """Return the source address that a rule matches."""
    for statement in expression if isinstance(expression, list) else ():
        match statement:
            case {"match": {"left": {"payload": {"field": "saddr"}}, "right": str(address)}}:
                return address
            case _:
                continue
    return ""
