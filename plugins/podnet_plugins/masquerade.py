"""ipMasq: source NAT for what leaves a pod's subnet, as nftables rules.

The table, chains and comments are the reference's nftables backend's, so that either can
undo the other's work.  One transaction per verb; a rule of the same attachment is replaced.
The kernel takes 6 ms to be told of a hook that it has already, so what is shared is left out
where it stands.
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Interface, IPv6Interface
from itertools import takewhile

from podnet.kernel import firewall, nft_tags
from podnet.kernel.nft_tags import Tag
from podnet_plugins import marks, nft_rules
from podnet_plugins.nft_rules import Rule

_FAMILY, _NAME = "inet", "cni_plugins_masquerade"
_TABLE = f"{_FAMILY} {_NAME}"
_CHECKS, _POSTROUTING = "masq_checks", "postrouting"
_LEADING = [
    ("ip daddr == 224.0.0.0/4", "return"),
    ("ip6 daddr == ff00::/8", "return"),
    (f"goto {_CHECKS}",),
]
# srcnat is 100: at another one, other tables have decided before, or decide after all.
_HOOKED = {"name": _POSTROUTING, "type": "nat", "hook": "postrouting", "prio": 100}
_BASE = f"""\
add table {_TABLE} {{ comment "Masquerading for plugins from github.com/containernetworking/plugins"; }}
add chain {_TABLE} {_CHECKS} {{ comment "Masquerade traffic from certain IPs to any (non-multicast) \
IP outside their subnet"; }}
add chain {_TABLE} {_POSTROUTING} {{ type nat hook postrouting priority srcnat; policy accept; }}
flush chain {_TABLE} {_POSTROUTING}
""" + "".join(Rule(_POSTROUTING, statements).added(_TABLE) for statements in _LEADING)
_SHARED = {_POSTROUTING: len(_LEADING)}


def add(
    network: str, container_id: str, ifname: str, ips: Iterable[IPv4Interface | IPv6Interface]
) -> None:
    """Masquerade everything from *ips* to outside their subnets, except multicast.

    Raises:
        PodnetError: nft is missing or refused.
    """
    comment = marks.mark(network, container_id, ifname)
    rules = "".join(_rule(ip, comment).added(_TABLE) for ip in ips)
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
    """Return the addresses of *ips* that no rule masquerades, and the chains that keep them from it."""
    wanted = _with_prefix(marks.prefix(network, container_id, ifname))
    listed = firewall.table_objects(_FAMILY, _NAME) or []
    rules = [nft_rules.parsed(rule) for entry in listed if (rule := entry.child("rule"))]
    checks = [rule for rule in rules if rule.chain == _CHECKS]
    ours = {rule.statements for rule in checks if wanted(rule.comment)}
    absent = [str(ip.ip) for ip in ips if _rule(ip).statements not in ours]
    chains = [chain.values for entry in listed if (chain := entry.child("chain"))]
    hooked = any(_HOOKED.items() <= chain.items() for chain in chains)
    first = [rule.statements for rule in rules if rule.chain == _POSTROUTING][: len(_LEADING)]
    if not hooked or first != _LEADING:
        absent.append(_POSTROUTING)
    before = takewhile(lambda rule: not wanted(rule.comment), checks)
    if any(len(rule.statements) == 1 for rule in before):  # a verdict on everything
        absent.append(_CHECKS)
    return absent


def _rule(ip: IPv4Interface | IPv6Interface, comment: str = "") -> Rule:
    family = "ip" if ip.version == 4 else "ip6"  # noqa: PLR2004
    # nft reads back a network of one address as the address.
    inside = ip.ip if ip.network.prefixlen == ip.max_prefixlen else ip.network
    matches = f"{family} saddr == {ip.ip}", f"{family} daddr != {inside}"
    return Rule(_CHECKS, (*matches, "masquerade"), comment)


def _with_prefix(prefix: str) -> Callable[[str], bool]:
    return lambda comment: comment.startswith(prefix)


def _chosen(found: Iterable[Tag], wanted: Callable[[str], bool]) -> list[Tag]:
    return [tag for tag in found if tag.chain == _CHECKS and wanted(tag.comment)]


def _remove(wanted: Callable[[str], bool]) -> None:
    nft_tags.delete(_FAMILY, _NAME, _chosen(nft_tags.of(_FAMILY, _NAME), wanted))
