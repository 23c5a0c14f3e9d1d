"""Port mappings as nftables rules: one transaction per verb, for both families.

Tables, chains and comments are the reference's nftables backend's, so that either can undo
the other's work.  What it cannot say there is in chains of our own in the same tables: who
an address belongs to (a rule's comment is the container's ID alone), and that packets from
outside never reach loopback addresses, which route_localnet would let them (plugins#729).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from podnet.kernel import nft_tags
from podnet.kernel.nft_tags import Tag
from podnet_plugins import marks, nft_rules
from podnet_plugins.nft_rules import Rule
from podnet_plugins.portmap_config import Interface, PortmapConfig, PortMapping
from podnet_plugins.skel import Call

_NAME = "cni_hostport"
_FAMILIES = {4: "ip", 6: "ip6"}
_MASQUERADING, _OWNERS, _GUARD = "masquerading", "podnet_attachments", "podnet_localnet"
_DNAT, _TO = "dnat to ", " daddr == "
_LONGEST_COMMENT = 128
_CHAINS = """\
add table {table} {{ comment "CNI portmap plugin"; }}
add chain {table} hostports
add chain {table} hostip_hostports
add chain {table} hostports_all
flush chain {table} hostports_all
add chain {table} prerouting {{ type nat hook prerouting priority -100; }}
flush chain {table} prerouting
add chain {table} output {{ type nat hook output priority -100; }}
flush chain {table} output
add chain {table} podnet_attachments
"""
_SNAT_CHAIN = "add chain {table} masquerading {{ type nat hook postrouting priority 100; }}\n"
# Before connection tracking: an address that is loopback on the wire is nobody's answer.
_GUARD_CHAIN = """\
add chain {table} podnet_localnet {{ type filter hook prerouting priority -300; }}
flush chain {table} podnet_localnet
"""
_SHARED = (
    Rule("hostports_all", ("jump hostip_hostports",)),
    Rule("hostports_all", ("jump hostports",)),
    # Only what is sent to the host itself: not what it forwards (CVE-2025-67499).
    Rule("prerouting", ("fib daddr type == local", "jump hostports_all")),
    Rule("output", ("fib daddr type == local", "jump hostports_all")),
)
_GUARD_RULES = (Rule(_GUARD, ("meta iif != lo", "ip daddr == 127.0.0.0/8", "drop")),)


def add(call: Call, config: PortmapConfig, ips: list[Interface]) -> None:
    """Map the ports to *ips*, in place of whatever this attachment had.

    Raises:
        PodnetError: nft is missing or refused.
    """
    additions = [_addition(call, config, ip) for ip in ips]
    nft_rules.apply(
        "".join(addition.own for addition in additions),
        shared="".join(addition.shared for addition in additions),
        stands=all(addition.stands for addition in additions),
    )


def delete(call: Call) -> None:
    """Remove the rules of one attachment; where there are none, nothing is done."""
    for family in _FAMILIES.values():
        _remove(family, _own(call, family, nft_tags.of(family, _NAME)))


def gc(call: Call) -> None:
    """Remove the rules of every attachment to the network that is not valid."""
    valid = call.valid_attachments

    for family in _FAMILIES.values():
        found = nft_rules.listed(family, _NAME) or []
        owners = [rule for rule in found if rule.chain == _OWNERS]
        gone = [rule for rule in owners if marks.is_stale(rule.comment, call.network, valid)]
        _remove(family, [rule for owner in gone for rule in _owned(found, owner)])


def missing(call: Call, config: PortmapConfig, ips: list[Interface]) -> list[str]:
    """Return the rules that should be there and are not."""
    absent: list[str] = []
    for ip in ips:
        found = nft_rules.listed(_FAMILIES[ip.version], _NAME) or []
        ours = any(rule.comment == _owner(call) for rule in found)
        wanted = [*_shared(config, ip), *_of_container(call, config, ip, precise=ours)]
        absent += map(str, nft_rules.missing(wanted, found))
    return absent


@dataclass(frozen=True, slots=True)
class _Addition:
    """What an ADD does to one family's table.

    Attributes:
        shared: Commands that make what all attachments share.
        stands: That is there already.
        own: Commands for the attachment's rules.
    """

    shared: str
    stands: bool
    own: str


def _addition(call: Call, config: PortmapConfig, ip: Interface) -> _Addition:
    family = _FAMILIES[ip.version]
    table = f"{family} {_NAME}"
    chains = _CHAINS + (_SNAT_CHAIN if config.snat else "")
    if _opens_loopback(config, ip):
        chains += _GUARD_CHAIN
    shared = _shared(config, ip)
    found = nft_tags.of(family, _NAME)
    own = "".join(rule.deleted(table) for rule in _own(call, family, found))
    # First come the rules of the last container: a port that was another's is now its own.
    rules = [_on(config.conditions(ip.version), r) for r in _of_container(call, config, ip)]
    own += "".join(rule.inserted(table) for rule in reversed(rules))
    own += Rule(_OWNERS, (f"{family}{_TO}{ip.ip}",), _owner(call)).added(table)
    return _Addition(
        shared=chains.format(table=table) + "".join(rule.added(table) for rule in shared),
        stands=nft_rules.stand(found, Counter(rule.chain for rule in shared)),
        own=own,
    )


def _shared(config: PortmapConfig, ip: Interface) -> tuple[Rule, ...]:
    return _SHARED + (_GUARD_RULES if _opens_loopback(config, ip) else ())


def _opens_loopback(config: PortmapConfig, ip: Interface) -> bool:
    return config.snat and ip.version == 4  # noqa: PLR2004


def _of_container(
    call: Call, config: PortmapConfig, ip: Interface, *, precise: bool = True
) -> Iterator[Rule]:
    """Yield the container's rules; the reference's masquerading is less *precise*."""
    for mapping in config.mappings(ip.version):
        yield _dnat(call, ip, mapping)
    if not config.snat:
        return
    family = _FAMILIES[ip.version]
    to_pod = f"{family}{_TO}{ip.ip}"
    # A pod's neighbours answer each other past the host, so they need it as the pod itself does.
    sources = [str(ip.network if precise else ip.ip)]
    if ip.version == 4:  # noqa: PLR2004
        sources.append("127.0.0.1")
    for source in [""] if config.masq_all else sources:
        matches = [f"{family} saddr == {source}"] if source else []
        # Only what was mapped: pods talk to each other under their own addresses.
        matches += [to_pod, "ct status dnat"] if precise else [to_pod]
        yield Rule(_MASQUERADING, (*matches, "masquerade"), _comment(call))


def _dnat(call: Call, ip: Interface, mapping: PortMapping) -> Rule:
    statements = []
    if destination := mapping.destination:
        statements.append(f"{_FAMILIES[ip.version]}{_TO}{destination}")
    statements.append(f"{mapping.transport} dport == {mapping.host_port}")
    statements.append(_DNAT + nft_rules.endpoint(str(ip.ip), mapping.container_port))
    return Rule("hostports", tuple(statements), _comment(call))


def _on(conditions: tuple[str, ...], rule: Rule) -> Rule:
    """Return *rule* on further conditions: in a shared chain the next ADD would lift them."""
    if not conditions or rule.chain != "hostports":
        return rule
    return replace(rule, statements=(*conditions, *rule.statements))


def _comment(call: Call) -> str:
    return call.container_id[:_LONGEST_COMMENT]


def _mark_of(call: Call) -> str:
    return marks.prefix(call.network, call.container_id, call.ifname)


def _owner(call: Call) -> str:
    """The comment that says whose an address is; its end is the container's ID."""
    return f"{_mark_of(call)} {call.container_id}"[:_LONGEST_COMMENT]


def _owned(found: list[Rule], owner: Rule) -> list[Rule]:
    """Return *owner* and the rules of its container and address."""
    mark, _, container_id = owner.comment.partition(" ")
    room = _LONGEST_COMMENT - len(mark) - 1
    return [owner] + [
        rule
        for rule in found
        if rule.chain != _OWNERS
        and rule.comment[:room] == container_id
        and _pod(rule) == _pod(owner)
    ]


def _own(call: Call, family: str, found: list[Tag]) -> list[Rule]:
    """Return the rules of one attachment; what they say is read only where it matters."""
    mark, suffix = _mark_of(call), _owner(call).partition(" ")[2]
    owners = (tag.comment for tag in found if tag.chain == _OWNERS)
    shared = any(o.partition(" ")[2] == suffix and not o.startswith(mark) for o in owners)
    rules = [Rule(tag.chain, (), tag.comment, tag.handle) for tag in found]
    if shared:  # by another interface of the same container
        rules = nft_rules.listed(family, _NAME) or []
    return _belonging(rules, mark, call.container_id)


def _belonging(found: list[Rule], mark: str, container_id: str) -> list[Rule]:
    """Return the rules of one attachment, and of its container those that are no other's."""
    owners = [rule for rule in found if rule.chain == _OWNERS]
    others = [
        r for owner in owners if not owner.comment.startswith(mark) for r in _owned(found, owner)
    ]
    kept = {rule.handle for rule in others}
    return [
        rule
        for rule in found
        if rule.comment.startswith(mark)
        or (rule.comment == container_id[:_LONGEST_COMMENT] and rule.handle not in kept)
    ]


def _pod(rule: Rule) -> str:
    """Return the container's address that a rule is about."""
    for statement in rule.statements:
        if statement.startswith(_DNAT):
            return statement.removeprefix(_DNAT).rpartition(":")[0].strip("[]")
        if _TO in statement and rule.chain in {_OWNERS, _MASQUERADING}:
            return statement.partition(_TO)[2]
    return ""


def _remove(family: str, rules: list[Rule]) -> None:
    unique = {rule.handle: Tag(rule.chain, rule.handle, rule.comment) for rule in rules}
    nft_tags.delete(family, _NAME, list(unique.values()))
