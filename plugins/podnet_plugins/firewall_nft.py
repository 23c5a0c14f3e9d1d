"""Firewall rules for nftables: a table of our own, since the reference has no such backend.

What other tables drop stays dropped: in nftables a packet has to pass every one of them.
"""

from collections.abc import Callable, Iterable, Iterator

from podnet.kernel import firewall, nft_tags, xtables
from podnet_plugins import firewall_users, nft_rules
from podnet_plugins.firewall_config import FirewallConfig
from podnet_plugins.firewall_users import ISOLATED, OPEN, Leaving, User
from podnet_plugins.nft_rules import Rule

_FAMILY, _NAME = "inet", "podnet_firewall"
_TABLE = f"{_FAMILY} {_NAME}"
_PODS, _OWNERS, _APART, _TARGETS = "pods", "attachments", "isolation", "isolation_targets"
_CHAINS = f"""\
add table {_TABLE} {{ comment "podnet's firewall plugin"; }}
add chain {_TABLE} {_PODS}
add chain {_TABLE} {_OWNERS}
add chain {_TABLE} {_APART}
add chain {_TABLE} {_TARGETS}
add chain {_TABLE} forward {{ type filter hook forward priority 0; policy accept; }}
flush chain {_TABLE} forward
"""


def add(config: FirewallConfig, users: list[User]) -> None:
    """Let the addresses of *users* through, and keep their bridge apart.

    Raises:
        PodnetError: nft is missing or refused.
    """
    with xtables.alone():
        found = nft_rules.listed(_FAMILY, _NAME) or []
        text = _CHAINS + f"add chain {_TABLE} {config.admin}\n"
        admins = {config.admin, *_admins(found)}
        text += "".join(rule.added(_TABLE) for rule in _shared(admins))
        old = [rule for rule in found if rule.comment.startswith(users[0].mark)]
        text += "".join(rule.deleted(_TABLE) for rule in old)
        text += "".join(rule.added(_TABLE) for user in users for rule in _of_user(user))
        absent = nft_rules.missing(_isolation(users[0]), found)
        firewall.apply(text + "".join(rule.inserted(_TABLE) for rule in absent))


def remove(gone: Callable[[User], bool], _claimed: Iterable[str] = ()) -> None:
    """Remove what users left that are *gone*; here an address is always somebody's."""
    if not nft_tags.of(_FAMILY, _NAME):  # where iptables serves, a run of nft less
        return
    with xtables.alone():
        found = nft_rules.listed(_FAMILY, _NAME) or []
        known = [_user(rule) for rule in found if rule.chain == _OWNERS]
        out = set(filter(gone, known))
        leaving = firewall_users.leaving(known, out, claimed=(), accepted=())
        marks = {user.mark for user in out}
        unwanted = [rule for rule in found if rule.comment.partition(" ")[0] in marks]
        unwanted += _ended(found, leaving)
        if unwanted:
            firewall.apply("".join(rule.deleted(_TABLE) for rule in unwanted))


def missing(config: FirewallConfig, users: list[User]) -> list[str]:
    """Return the rules that should be there and are not."""
    found = nft_rules.listed(_FAMILY, _NAME) or []
    wanted = [*_shared({config.admin}), *_isolation(users[0])]
    wanted += [rule for user in users for rule in _of_user(user)]
    return [str(rule) for rule in nft_rules.missing(wanted, found)]


def _shared(admins: Iterable[str]) -> list[Rule]:
    jumps = [_APART, *sorted(admins), _PODS]
    return [Rule("forward", (f"jump {chain}",)) for chain in jumps]


def _admins(found: list[Rule]) -> set[str]:
    """Return the administrators' chains that other networks have named."""
    jumps = [rule.statements[0] for rule in found if rule.chain == "forward" and rule.statements]
    return {jump.removeprefix("jump ") for jump in jumps} - {_APART, _PODS}


def _of_user(user: User) -> Iterator[Rule]:
    family = "ip6" if ":" in user.ip else "ip"
    to = f"{family} daddr == {user.ip}"
    yield Rule(_PODS, (to, "ct state established,related", "accept"), user.mark)
    yield Rule(_PODS, (f"{family} saddr == {user.ip}", "accept"), user.mark)
    behind = (f'meta iifname == "{user.bridge}"',) if user.bridge else ()
    yield Rule(_OWNERS, (*behind, to), user.comment)


def _isolation(user: User) -> list[Rule]:
    if user.policy == OPEN:
        return []
    inside, out, elsewhere = (
        f'meta iifname == "{user.bridge}"',
        f'meta oifname == "{user.bridge}"',
        f'meta oifname != "{user.bridge}"',
    )
    rules = [Rule(_APART, (inside, elsewhere, f"jump {_TARGETS}")), Rule(_TARGETS, (out, "drop"))]
    return rules + ([Rule(_APART, (inside, out, "drop"))] if user.policy == ISOLATED else [])


def _ended(found: list[Rule], leaving: Leaving) -> list[Rule]:
    """Return the isolation rules that nobody needs any more."""
    ended = []
    for bridge in leaving.joined:
        apart, target, alone = _isolation(User("", "", bridge, ISOLATED))
        ended += [alone, *([apart, target] if bridge in leaving.opened else [])]
    unwanted = {(rule.chain, rule.statements) for rule in ended}
    return [rule for rule in found if (rule.chain, rule.statements) in unwanted]


def _user(rule: Rule) -> User:
    mark, _, policy = rule.comment.partition(" ")
    said = dict(statement.split(" == ") for statement in rule.statements)
    ip = said.get("ip daddr") or said.get("ip6 daddr", "")
    return User(mark, ip, said.get("meta iifname", "").strip('"'), policy)
