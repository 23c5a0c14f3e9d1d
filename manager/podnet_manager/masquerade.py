"""Masquerading and forwarding for a whole network: flannel's nftables tables, as one transaction.

Own tables under flannel's names, so that a real daemon finds and replaces them.  Where its
rules are wrong ours are right: the mark of kube-proxy is a bit among others, and traffic of
a Node to pods of another is masqueraded.

What one table accepts another may still drop, and iptables' does where Docker is: so the
forward rules stand at the end of its FORWARD chain, too.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from podnet.kernel import firewall, nft_tags
from podnet.kernel.nft_tags import Tag
from podnet_manager.lease import Subnets
from podnet_manager.netconf import NetConf
from podnet_manager.pool import Subnet

_MARK = "podnet-manager"
_IPTABLES = "filter", "FORWARD"
_KUBE_PROXY_MARK = "0x4000"
_MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}
_FAMILIES = {4: "ip", 6: "ip6"}
_CHAINS = {
    "postrtg": "type nat hook postrouting priority srcnat; policy accept;",
    "forward": "type filter hook forward priority filter; policy accept;",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it should be: its family and the rules of each chain, in order."""

    family: int
    rules: dict[str, tuple[str, ...]]

    @property
    def name(self) -> str:
        """Family and name, as nft wants them."""
        return f"{_FAMILIES[self.family]} flannel-ipv{self.family}"

    @property
    def comments(self) -> list[tuple[str, str]]:
        """Chain and comment of each rule, in order."""
        return [(chain, _comment(rule)) for chain, rules in self.rules.items() for rule in rules]


def tables(conf: NetConf, subnets: Subnets, *, ip_masq: bool, forward: bool) -> list[Table]:
    """Return the tables that a Node with *subnets* has; none where they would say nothing."""
    if not (ip_masq or forward):
        return []
    made = []
    for subnet, pool in zip(subnets.each, conf.pools, strict=True):
        masq = _masquerading(pool.network, subnet) if ip_masq else ()
        through = _forwarding(pool.network) if forward else ()
        made.append(Table(subnet.version, {"postrtg": masq, "forward": through}))
    return made


def _masquerading(network: Subnet, own: Subnet) -> tuple[str, ...]:
    ip = _FAMILIES[network.version]
    return (
        f"meta mark & {_KUBE_PROXY_MARK} == {_KUBE_PROXY_MARK} return",  # masqueraded there
        f"{ip} saddr {own} {ip} daddr {network} return",
        f"{ip} saddr {network} {ip} daddr {own} return",
        f"{ip} saddr != {network} {ip} daddr {own} return",  # pods see who calls (flannel#734)
        f"{ip} saddr {network} {ip} daddr != {_MULTICAST[network.version]} masquerade fully-random",
        f"{ip} saddr != {network} {ip} daddr {network} masquerade fully-random",  # flannel#318
    )


def _forwarding(network: Subnet) -> tuple[str, ...]:
    ip = _FAMILIES[network.version]
    return f"{ip} saddr {network} accept", f"{ip} daddr {network} accept"


def script(wanted: Sequence[Table]) -> str:
    """Return nft's commands that make *wanted* and nothing else of ours, whatever is there."""
    lines = removal().splitlines()
    for table in wanted:
        lines.append(f"table {table.name} {{")
        for chain, rules in table.rules.items():
            lines.append(f"chain {chain} {{ {_CHAINS[chain]}")
            lines += [_commented(rule) for rule in rules]
            lines.append("}")
        lines.append("}")
    return "".join(f"{line}\n" for line in lines)


def removal() -> str:
    """Return nft's commands that remove the tables, if they are there."""
    names = [Table(family, {}).name for family in _FAMILIES]
    # "add" first: deleting what is not there would be an error.
    return "".join(f"add table {name}\ndelete table {name}\n" for name in names)


def is_in_place(wanted: Sequence[Table]) -> bool:
    """Tell whether the kernel has every rule, in order, and no other in our chains or tables."""
    unwanted = _FAMILIES.keys() - {table.family for table in wanted}
    return all(map(_is_in_place, wanted)) and not any(map(_is_left, unwanted))


def _is_left(version: int) -> bool:
    """Tell whether something of an earlier run is there."""
    family, name = Table(version, {}).name.split()
    return any(nft_tags.has_chain(family, name, chain) for chain in _CHAINS) or bool(
        _guests(family)
    )


def _is_in_place(table: Table) -> bool:
    family, name = table.name.split()
    if [(tag.chain, tag.comment) for tag in nft_tags.of(family, name)] != table.comments:
        return False
    forward = [comment for chain, comment in table.comments if chain == "forward"]
    guests = [tag.comment for tag in _guests(family)]
    return guests == forward or not nft_tags.has_chain(family, *_IPTABLES)


def _guests(family: str) -> list[Tag]:
    """Return our rules in iptables' chain."""
    table, chain = _IPTABLES
    found = nft_tags.of(family, table)
    return [tag for tag in found if tag.chain == chain and tag.comment.startswith(_MARK)]


def _comment(rule: str) -> str:
    """Return what a rule is known by: another one, of another subnet, is not the same."""
    return f"{_MARK} {zlib.crc32(rule.encode()):08x}"


def _commented(rule: str) -> str:
    return f'{rule} comment "{_comment(rule)}"'


def put(wanted: Sequence[Table]) -> None:
    """Make the tables.

    Raises:
        NftError: nft refused.
        MissingError: There is no nft.
    """
    where = " ".join(_IPTABLES)
    lines = [
        f"add rule {family} {where} {_commented(rule)}\n"
        for table in wanted
        if nft_tags.has_chain(family := _FAMILIES[table.family], *_IPTABLES)
        for rule in table.rules["forward"]
    ]
    firewall.apply(script(wanted) + _eviction() + "".join(lines))


def remove() -> None:
    """Remove the tables.

    Raises:
        NftError: nft refused.
        MissingError: There is no nft.
    """
    firewall.apply(removal() + _eviction())


def _eviction() -> str:
    """Return nft's commands that remove our rules from iptables' chains."""
    where = " ".join(_IPTABLES)
    return "".join(
        f"delete rule {family} {where} handle {tag.handle}\n"
        for family in _FAMILIES.values()
        for tag in _guests(family)
    )
