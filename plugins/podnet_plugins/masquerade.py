"""ipMasq: source NAT for what leaves a pod's subnet, as nftables rules.

The table, chains and comments are the reference's nftables backend's, so that either can
undo the other's work.  One transaction per verb; a rule of the same attachment is replaced.
The kernel takes 6 ms to be told of a hook that it has already, so what is shared is left out
where it stands.
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Interface, IPv6Interface

from podnet.kernel import firewall, nft_tags
from podnet.kernel.nft_tags import Tag
from podnet_plugins import marks, nft_rules

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
_SHARED = {"postrouting": 3}


def add(
    network: str, container_id: str, ifname: str, ips: Iterable[IPv4Interface | IPv6Interface]
) -> None:
    """Masquerade everything from *ips* to outside their subnets, except multicast.

    Raises:
        PodnetError: nft is missing or refused.
    """
    comment = marks.mark(network, container_id, ifname)
    rules = "".join(_rule(ip, comment) for ip in ips)
    found = nft_tags.of(_FAMILY, _NAME)
    stale = _chosen(found, _with_prefix(marks.prefix(network, container_id, ifname)))
    deletions = "".join(f"delete rule {_TABLE} {_CHECKS} handle {tag.handle}\n" for tag in stale)
    nft_rules.apply(deletions + rules, shared=_BASE, stands=nft_rules.stand(found, _SHARED))


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
    rules = firewall.table_rules(_FAMILY, _NAME) or []
    ours = [rule for rule in rules if rule.text("chain") == _CHECKS]
    masqueraded = {_source(rule.get("expr")) for rule in ours if wanted(rule.text("comment"))}
    absent = [str(ip.ip) for ip in ips if str(ip.ip) not in masqueraded]
    jumps = [rule.get("expr") for rule in rules if rule.text("chain") == "postrouting"]
    reached = any(_CHECKS in str(expression) for expression in jumps)
    return absent if reached else [*absent, "postrouting"]


def _rule(ip: IPv4Interface | IPv6Interface, comment: str) -> str:
    family = "ip" if ip.version == 4 else "ip6"  # noqa: PLR2004
    match = f"{family} saddr {ip.ip} {family} daddr != {ip.network}"
    return f'add rule {_TABLE} {_CHECKS} {match} masquerade comment "{comment}"\n'


def _with_prefix(prefix: str) -> Callable[[str], bool]:
    return lambda comment: comment.startswith(prefix)


def _chosen(found: Iterable[Tag], wanted: Callable[[str], bool]) -> list[Tag]:
    return [tag for tag in found if tag.chain == _CHECKS and wanted(tag.comment)]


def _remove(wanted: Callable[[str], bool]) -> None:
    nft_tags.delete(_FAMILY, _NAME, _chosen(nft_tags.of(_FAMILY, _NAME), wanted))


def _source(expression: object) -> str:
    """Return the source address that a rule matches."""
    for statement in expression if isinstance(expression, list) else ():
        match statement:
            case {"match": {"left": {"payload": {"field": "saddr"}}, "right": str(address)}}:
                return address
            case _:
                continue
    return ""
