"""macspoofchk: what a container sends with another hardware address than its own is dropped.

Table, chains and comments are the reference's (pkg/link/spoofcheck), so that either can undo
the other's work; but the last rule's comment is the attachment's mark, by which GC knows
whose network it is.  nft gets JSON: an interface's name may have any character.
"""

from collections.abc import Iterable

from podnet.cni.errors import CniError, Code
from podnet.cni.wire import Fields
from podnet.kernel import firewall
from podnet_plugins import failures, marks, nft_rules
from podnet_plugins.nft_rules import Rule
from podnet_plugins.skel import Call

_TABLE = {"family": "bridge", "table": "nat"}
_ENTRY = "PREROUTING"
_HOOK = {"type": "filter", "hook": "prerouting", "prio": -300, "policy": "accept"}
_PREFIX, _SUFFIX = "cni-br-iface-", "-mac"
_LONGEST_COMMENT = 128
_WHAT = "macspoofchk"

Object = dict[str, object]


def _chain_of(call: Call) -> str:
    return f"{_PREFIX}{call.container_id}-{call.ifname}"


def _rules(call: Call, veth: str, mac: str) -> list[Object]:
    own = _chain_of(call)
    comment = f"{_WHAT}-{call.container_id}-{call.ifname}"[:_LONGEST_COMMENT]
    mark = marks.mark(call.network, call.container_id, call.ifname)
    to_own, to_mac = ({"jump": {"target": chain}} for chain in (own, own + _SUFFIX))
    source = {"payload": {"protocol": "ether", "field": "saddr"}}
    return [
        _rule(_ENTRY, comment, _equal({"meta": {"key": "iifname"}}, veth), to_own),
        _rule(own, comment, to_mac),
        _rule(own + _SUFFIX, comment, _equal(source, mac), {"return": None}),
        _rule(own + _SUFFIX, mark, {"drop": None}),
    ]


def _rule(chain: str, comment: str, *statements: object) -> Object:
    return {**_TABLE, "chain": chain, "expr": list(statements), "comment": comment}


def _equal(left: object, right: str) -> Object:
    return {"match": {"op": "==", "left": left, "right": right}}


def add(call: Call, veth: str, mac: str) -> None:
    """Drop what comes from *veth* and not from *mac*; rules that an ADD before left are replaced.

    Raises:
        CniError: nft is missing or refused.
    """
    own = _chain_of(call)
    commands: list[Object] = [
        {"add": {"table": {"family": _TABLE["family"], "name": _TABLE["table"]}}},
        _chain("add", _ENTRY, **_HOOK),
        *_emptied([own]),
    ]
    with failures.named(_WHAT):
        commands += _deletions(_found(), {own})
        rules = _rules(call, veth, mac)
        firewall.apply_json([*commands, *({"add": {"rule": rule}} for rule in rules)])


def check(call: Call, veth: str, mac: str) -> None:
    """Check that each rule is there.

    Raises:
        CniError: One is not.
    """
    wanted = [nft_rules.parsed(Fields(rule)) for rule in _rules(call, veth, mac)]
    with failures.named(_WHAT):
        found = [(rule.chain, rule.statements) for rule in _found()]
    for rule in wanted:
        if (rule.chain, rule.statements) not in found:
            raise CniError(f"{_WHAT}: a rule is gone: {rule}")


def delete(call: Call) -> None:
    """Remove the rules of the attachment; where there are none, nothing is done.

    Raises:
        CniError: nft is missing or refused.
    """
    with failures.named(_WHAT):
        _remove(_found(), {_chain_of(call)})


def gc(call: Call) -> None:
    """Remove the rules of every attachment of the network that is not valid.

    Raises:
        CniError: nft is missing or refused.
    """
    valid = call.valid_attachments
    with failures.named(_WHAT):
        found = _found()
        stale = (rule for rule in found if marks.is_stale(rule.comment, call.network, valid))
        _remove(found, {rule.chain.removesuffix(_SUFFIX) for rule in stale})


def status() -> None:
    """Say whether an ADD could succeed.

    Raises:
        CniError: Code 50, there is no nft.
    """
    if not firewall.available():
        raise CniError(f"{_WHAT} needs nft, and it cannot be run", code=Code.NOT_AVAILABLE)


def _found() -> list[Rule]:
    return nft_rules.listed(_TABLE["family"], _TABLE["table"]) or []


def _remove(found: list[Rule], chains: set[str]) -> None:
    known = sorted(chains & {rule.chain.removesuffix(_SUFFIX) for rule in found})
    commands = _deletions(found, chains)
    # Made first, where one of the two is gone: what is not there cannot be deleted.
    commands += _emptied(known)
    for chain in known:
        commands += [_chain("delete", chain), _chain("delete", chain + _SUFFIX)]
    if commands:
        firewall.apply_json(commands)


def _emptied(chains: Iterable[str]) -> list[Object]:
    both = [name for chain in chains for name in (chain, chain + _SUFFIX)]
    return [_chain(verb, name) for verb in ("add", "flush") for name in both]


def _deletions(found: list[Rule], chains: set[str]) -> list[Object]:
    jumps = {f"jump {chain}" for chain in chains}
    return [
        {"delete": {"rule": {**_TABLE, "chain": rule.chain, "handle": rule.handle}}}
        for rule in found
        if rule.chain == _ENTRY and not jumps.isdisjoint(rule.statements)
    ]


def _chain(verb: str, name: str, **more: object) -> Object:
    return {verb: {"chain": {**_TABLE, "name": name, **more}}}
