"""Port mappings as iptables rules: one transaction per family and table.

Chains, rules and comments are the reference's iptables backend's, so that either can undo
the other's work; the guard of loopback addresses, which route_localnet would let packets
from outside reach (plugins#729), is one rule more.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from podnet.errors import PodnetError
from podnet.kernel import xtables
from podnet.kernel.xtables import Chains, quoted
from podnet_plugins import nft_rules
from podnet_plugins.hashes import sha512
from podnet_plugins.portmap_config import Interface, PortmapConfig, PortMapping
from podnet_plugins.skel import Call

_NAT, _RAW = "nat", "raw"
_ENTRIES, _SETMARK, _MASQ = "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"
_DNAT_PREFIX, _OLD_SNAT_PREFIX = "CNI-DN-", "CNI-SN-"
_LONGEST_CHAIN, _LONGEST_COMMENT = 28, 255
_PORTS_PER_RULE = 15
_TO_HOST = f"-m addrtype --dst-type LOCAL -j {_ENTRIES}"
_TO_MASQ = f'-m comment --comment "CNI portfwd requiring masquerade" -j {_MASQ}'
_GUARD = (
    "-d 127.0.0.0/8 ! -i lo "
    '-m comment --comment "CNI portfwd: loopback addresses stay inside" -j DROP'
)


def add(call: Call, config: PortmapConfig, ips: list[Interface]) -> None:
    """Map the ports to *ips*, in place of whatever this container had; all or nothing.

    Raises:
        PodnetError: iptables is missing or refused.
    """
    try:
        with xtables.alone():
            for ip in ips:
                _add(call, config, ip)
    except PodnetError:
        with suppress(PodnetError):
            delete(call)
        raise


def delete(call: Call) -> None:
    """Remove the rules of one container; where there are none, nothing is done."""
    chains = {_chain(p, call.network, call.container_id) for p in (_DNAT_PREFIX, _OLD_SNAT_PREFIX)}
    _remove(lambda _: chains)


def gc(call: Call) -> None:
    """Remove the rules of every container of the network that is not valid."""
    valid = {_chain(_DNAT_PREFIX, call.network, cid) for cid, _ in call.valid_attachments}
    mine = f'dnat name: "{call.network}" id: '

    def stale(chains: Chains) -> set[str]:
        entries = (xtables.words(rule) for rule in chains.get(_ENTRIES, ()))
        return {words[-1] for words in entries if any(w.startswith(mine) for w in words)} - valid

    _remove(stale)


def missing(call: Call, config: PortmapConfig, ips: list[Interface]) -> list[str]:
    """Return the rules that should be there and are not; the reference makes no guard."""
    absent: list[str] = []
    for ip in ips:
        chains = xtables.saved(ip.version).get(_NAT, {})
        own = _chain(_DNAT_PREFIX, call.network, call.container_id)
        wanted = [("PREROUTING", _TO_HOST), ("OUTPUT", _TO_HOST)]
        if config.snat and not config.external_set_mark_chain:
            wanted += [(chain, rule) for chain, rule, _ in _marking(config)]
        wanted += [(own, rule) for rule in _rules(config, ip)]
        absent += [f"{c} {rule}" for c, rule in wanted if not _is_among(rule, chains.get(c, ()))]
        for rule in _entry_rules(call, config, ip):
            if not any(_says(found, rule) for found in chains.get(_ENTRIES, ())):
                absent.append(f"{_ENTRIES} {rule}")
    return absent


def _add(call: Call, config: PortmapConfig, ip: Interface) -> None:
    tables = xtables.saved(ip.version)
    if config.snat and ip.version == 4:  # noqa: PLR2004
        guard = xtables.once(tables.get(_RAW, {}), "PREROUTING", _GUARD)
        if guard:
            xtables.apply(ip.version, _RAW, guard)
    chains = tables.get(_NAT, {})
    xtables.apply(ip.version, _NAT, _addition(call, config, ip, chains))


def _addition(call: Call, config: PortmapConfig, ip: Interface, chains: Chains) -> Iterator[str]:
    """Yield the transaction that maps the ports to *ip*, given the chains that are there."""
    own = _chain(_DNAT_PREFIX, call.network, call.container_id)
    if _ENTRIES not in chains:
        yield f":{_ENTRIES} - [0:0]"
    yield f":{own} - [0:0]"  # empties one that is there
    if config.snat and not config.external_set_mark_chain:
        yield from _marking_addition(config, chains)
    for chain in ("PREROUTING", "OUTPUT"):
        yield from xtables.once(chains, chain, _TO_HOST)
    old = [rule for rule in chains.get(_ENTRIES, ()) if xtables.target(rule) == own]
    yield from (f"-D {_ENTRIES} {rule}" for rule in old)
    yield from (f"-A {own} {rule}" for rule in _rules(config, ip))
    # First come the entries of the last container: a port that was another's is now its own.
    for number, rule in enumerate(_entry_rules(call, config, ip), 1):
        yield f"-I {_ENTRIES} {number} {rule}"


def _marking_addition(config: PortmapConfig, chains: Chains) -> Iterator[str]:
    """Yield what fills the shared chains; emptied, they have each rule once."""
    yield f":{_SETMARK} - [0:0]"
    yield f":{_MASQ} - [0:0]"
    for chain, rule, first in _marking(config):
        yield from xtables.once(chains if first else {}, chain, rule, first=first)


def _marking(config: PortmapConfig) -> Iterator[tuple[str, str, bool]]:
    """Yield the shared rules that masquerade what is marked: chain, rule, whether it is first."""
    comment = '-m comment --comment "CNI portfwd masquerade mark"'
    yield _SETMARK, f"{comment} -j MARK --set-xmark {config.mark}", False
    yield _MASQ, f"-m mark --mark {config.mark} -j MASQUERADE", False
    yield "POSTROUTING", _TO_MASQ, True


def _entry_rules(call: Call, config: PortmapConfig, ip: Interface) -> Iterator[str]:
    """Yield the rules that lead from the host's ports to the container's chain."""
    own = _chain(_DNAT_PREFIX, call.network, call.container_id)
    comment = f'dnat name: "{call.network}" id: "{call.container_id}"'[:_LONGEST_COMMENT]
    # Conditions are words of a command line.  A protocol comes before -m multiport.
    conditions = "".join(f"{quoted(word)} " for word in config.conditions(ip.version))
    mappings = config.port_mappings
    for protocol in sorted({mapping.transport for mapping in mappings}):
        ports = [str(m.host_port) for m in mappings if m.transport == protocol]
        for start in range(0, len(ports), _PORTS_PER_RULE):
            some = ",".join(ports[start : start + _PORTS_PER_RULE])
            yield (
                f"-p {protocol} -m comment --comment {quoted(comment)} "
                f"-m multiport --dports {some} {conditions}-j {own}"
            )


def _rules(config: PortmapConfig, ip: Interface) -> Iterator[str]:
    """Yield the rules of the container's chain."""
    length = ip.max_prefixlen
    sources = [str(ip.network)]
    if ip.version == 4:  # noqa: PLR2004
        sources.append("127.0.0.1/32")
    marking = config.external_set_mark_chain or _SETMARK
    for mapping in config.mappings(ip.version):
        destination = mapping.destination
        to = f"-d {destination}/{length} " if destination else ""
        port = f"{to}-p {mapping.transport} -m {mapping.transport} --dport {mapping.host_port}"
        if config.snat:
            for source in [""] if config.masq_all else [f"-s {source} " for source in sources]:
                yield f"{source}{port} -j {marking}"
        yield f"{port} -j DNAT --to-destination {_endpoint(ip, mapping)}"


def _endpoint(ip: Interface, mapping: PortMapping) -> str:
    return nft_rules.endpoint(str(ip.ip), mapping.container_port)


def _chain(prefix: str, network: str, container_id: str) -> str:
    """Return a container's chain; its name is the longest that iptables has."""
    hashed = sha512(f"{network}{container_id}".encode()).hexdigest()
    return f"{prefix}{hashed}"[:_LONGEST_CHAIN]


def _is_among(rule: str, rules: Iterable[str]) -> bool:
    return any(xtables.same(found, rule) for found in rules)


def _says(found: str, wanted: str) -> bool:
    """Tell whether *found* has every word of *wanted*; addresses may have got a prefix."""
    there = set(xtables.words(found))
    return all(
        word in there or f"{word}/32" in there or f"{word}/128" in there
        for word in xtables.words(wanted)
    )


def _remove(choose: Callable[[Chains], set[str]]) -> None:
    """Remove the chains that are chosen from those of each family, and what leads to them."""
    with xtables.alone():
        for family in (4, 6):
            if not xtables.available(family) or not xtables.in_use(family, _NAT):
                continue
            chains = xtables.saved(family).get(_NAT, {})
            gone = sorted(choose(chains).intersection(chains))
            if gone:
                xtables.apply(family, _NAT, _removal(chains, gone))


def _removal(chains: Chains, gone: list[str]) -> Iterator[str]:
    for chain, rules in chains.items():
        for rule in rules:
            if chain not in gone and xtables.target(rule) in gone:
                yield f"-D {chain} {rule}"
    yield from (f"-F {chain}" for chain in gone)
    yield from (f"-X {chain}" for chain in gone)
