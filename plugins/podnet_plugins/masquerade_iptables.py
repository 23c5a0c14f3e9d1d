"""ipMasq with iptables: for configurations that ask for it, and for what the reference made.

Chains, rules and comments are the reference's iptables backend's.  One transaction per verb
and family.
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Interface, IPv6Interface
from itertools import groupby

from podnet.kernel import xtables
from podnet.kernel.xtables import Chains
from podnet_plugins.hashes import sha512

_NAT = "nat"
_FAMILIES = (4, 6)
_MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}
_ENTRY = "POSTROUTING"
_PREFIX = "CNI-"
_HASH = 24

Address = IPv4Interface | IPv6Interface


def chain_of(network: str, container_id: str) -> str:
    """Return the chain of a container, which all its interfaces on *network* share."""
    return _PREFIX + sha512((network + container_id).encode()).hexdigest()[:_HASH]


def add(network: str, container_id: str, ips: Iterable[Address]) -> None:
    """Masquerade everything from *ips* to outside their subnets, except multicast.

    Raises:
        PodnetError: iptables is missing or refused.
    """
    own = chain_of(network, container_id)
    with xtables.alone():
        for family, group in groupby(sorted(ips, key=_version), _version):
            chains = xtables.saved(family).get(_NAT, {})
            lines = [] if own in chains else [f":{own} - [0:0]"]
            wanted = [pair for ip in group for pair in _rules(ip, network, container_id)]
            for chain, rule in dict.fromkeys(wanted):
                lines += xtables.once(chains, chain, rule)
            xtables.apply(family, _NAT, lines)


def missing(network: str, container_id: str, ips: Iterable[Address]) -> list[str]:
    """Return the addresses of *ips* that are not masqueraded.

    Raises:
        PodnetError: iptables is missing.
    """
    absent = []
    for family, group in groupby(sorted(ips, key=_version), _version):
        chains = xtables.saved(family).get(_NAT, {})
        for ip in group:
            wanted = _rules(ip, network, container_id)
            if not all(_is_among(rule, chains.get(chain, ())) for chain, rule in wanted):
                absent.append(str(ip.ip))
    return absent


def delete(network: str, container_id: str, ips: Iterable[Address]) -> None:
    """Remove what masquerades *ips*, and the chain with its last one; of no *ips*, everything.

    Raises:
        PodnetError: iptables refused.
    """
    own, sources = chain_of(network, container_id), {_single(ip) for ip in ips}
    _remove(lambda _: {own}, sources)


def gc(network: str, valid: Iterable[str]) -> None:
    """Remove the chains of every container on *network* that is not *valid*.

    Raises:
        PodnetError: iptables refused.
    """
    kept = {chain_of(network, container_id) for container_id in valid}
    mark = f'--comment "{_comment(network, "")[:-2]}'

    def stale(chains: Chains) -> set[str]:
        marked = (rule for rule in chains.get(_ENTRY, ()) if mark in rule)
        return {to for rule in marked if (to := xtables.target(rule)).startswith(_PREFIX)} - kept

    _remove(stale)


def _version(ip: Address) -> int:
    return ip.version


def _single(ip: Address) -> str:
    return f"{ip.ip}/{ip.max_prefixlen}"


def _comment(network: str, container_id: str) -> str:
    """Return the comment, its quotes as iptables-save writes them."""
    return f'name: \\"{network}\\" id: \\"{container_id}\\"'


def _rules(ip: Address, network: str, container_id: str) -> list[tuple[str, str]]:
    """Return the rules of an address, each with its chain, spelled as iptables-save does."""
    own = chain_of(network, container_id)
    comment = f'-m comment --comment "{_comment(network, container_id)}"'
    return [
        (own, f"-d {ip.network} {comment} -j ACCEPT"),
        (own, f"! -d {_MULTICAST[ip.version]} {comment} -j MASQUERADE"),
        (_ENTRY, f"-s {_single(ip)} {comment} -j {own}"),
    ]


def _is_among(rule: str, found: Iterable[str]) -> bool:
    return any(xtables.same(rule, other) for other in found)


def _remove(choose: Callable[[Chains], set[str]], sources: Iterable[str] = ()) -> None:
    with xtables.alone():
        for family in filter(xtables.available, _FAMILIES):
            if not xtables.in_use(family, _NAT):
                continue
            chains = xtables.saved(family).get(_NAT, {})
            unwanted = sorted(choose(chains).intersection(chains))
            lines = [line for gone in unwanted for line in _removal(chains, gone, sources)]
            if lines:
                xtables.apply(family, _NAT, lines)


def _removal(chains: Chains, gone: str, sources: Iterable[str]) -> list[str]:
    jumps = [rule for rule in chains.get(_ENTRY, ()) if xtables.target(rule) == gone]
    ours = [rule for rule in jumps if not sources or _says(rule, sources)]
    flushed = [f"-F {gone}", f"-X {gone}"] if ours == jumps else []
    return [f"-D {_ENTRY} {rule}" for rule in ours] + flushed


def _says(rule: str, sources: Iterable[str]) -> bool:
    return not set(sources).isdisjoint(xtables.words(rule))
