"""Masquerading and forwarding for a whole network: flannel's nftables tables, as one transaction.

Own tables under flannel's names, so that a real daemon finds and replaces them.  Where its
rules are wrong ours are right: the mark of kube-proxy is a bit among others, and traffic of
a Node to pods of another is masqueraded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from podnet.kernel import firewall
from podnet_manager.lease import Subnets
from podnet_manager.netconf import NetConf, Subnet

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


def tables(conf: NetConf, subnets: Subnets, *, ip_masq: bool, forward: bool) -> list[Table]:
    """Return the tables that a Node with *subnets* has."""
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
            lines += [f'{rule} comment "{_comment(n)}"' for n, rule in enumerate(rules)]
            lines.append("}")
        lines.append("}")
    return "".join(f"{line}\n" for line in lines)


def removal() -> str:
    """Return nft's commands that remove the tables, if they are there."""
    names = [Table(family, {}).name for family in _FAMILIES]
    # "add" first: deleting what is not there would be an error.
    return "".join(f"add table {name}\ndelete table {name}\n" for name in names)


def is_in_place(wanted: Sequence[Table]) -> bool:
    """Tell whether the kernel has every rule, in order, and no other in our chains."""
    for table in wanted:
        listed = firewall.table_rules(*table.name.split())
        if listed is None:
            return False
        found = [(rule.text("chain"), rule.text("comment")) for rule in listed]
        expected = [
            (chain, _comment(number))
            for chain, rules in table.rules.items()
            for number in range(len(rules))
        ]
        if found != expected:
            return False
    return True


def _comment(number: int) -> str:
    return f"podnet-manager {number}"


def put(wanted: Sequence[Table]) -> None:
    """Make the tables.

    Raises:
        NftError: nft refused.
        MissingError: There is no nft.
    """
    firewall.apply(script(wanted))


def remove() -> None:
    """Remove the tables.

    Raises:
        NftError: nft refused.
        MissingError: There is no nft.
    """
    firewall.apply(removal())
