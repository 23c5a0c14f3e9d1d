"""Firewall rules for iptables: one transaction per family, each shared rule exactly once.

Chains and rules are the reference's, so that either can undo the other's work; a chain of
our own, which nothing jumps to, says whose addresses they are.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import pairwise

from podnet.errors import PodnetError
from podnet.kernel import xtables
from podnet.kernel.xtables import Chains
from podnet_plugins import firewall_users
from podnet_plugins.firewall_config import FirewallConfig
from podnet_plugins.firewall_users import ISOLATED, OPEN, Leaving, User

_TABLE = "filter"
_FORWARD, _OWNERS = "CNI-FORWARD", "PODNET-FIREWALL"
_STAGE_1, _STAGE_2 = "CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2"
_SAY = '-m comment --comment "CNI firewall plugin {}"'
_RULES = _SAY.format("rules")
_APART = _SAY.format("rules (ingressPolicy: same-bridge|isolated)")
_TO_FORWARD = f"{_RULES} -j {_FORWARD}"
_TO_STAGE_1 = f"{_APART} -j {_STAGE_1}"
_RETURN = f"{_APART} -j RETURN"
_FAMILIES = (4, 6)


def add(config: FirewallConfig, users: list[User]) -> None:
    """Let the addresses of *users* through, and keep their bridge apart; all or nothing.

    Raises:
        PodnetError: iptables is missing or refused.
    """
    try:
        with xtables.alone():
            for family in sorted({_family(user.ip) for user in users}):
                chains = xtables.saved(family).get(_TABLE, {})
                xtables.apply(family, _TABLE, _addition(config, _of(users, family), chains))
    except PodnetError:
        with suppress(PodnetError):
            remove(lambda user: user.mark == users[0].mark, [user.ip for user in users])
        raise


def remove(gone: Callable[[User], bool], claimed: Iterable[str] = ()) -> None:
    """Remove what users left that are *gone*, and the rules of *claimed* addresses."""
    with xtables.alone():
        for family in filter(xtables.available, _FAMILIES):
            if not xtables.in_use(family, _TABLE):
                continue
            chains = xtables.saved(family).get(_TABLE, {})
            known = _users(chains)
            leaving = firewall_users.leaving(
                known,
                set(filter(gone, known)),
                claimed=[ip for ip in claimed if _family(ip) == family],
                accepted=_accepted(chains, family),
            )
            lines = list(_removal(chains, leaving, gone))
            if lines:
                xtables.apply(family, _TABLE, lines)


def missing(config: FirewallConfig, users: list[User]) -> list[str]:
    """Return the rules that should be there and are not, or are in the wrong order."""
    absent: list[str] = []
    for family in sorted({_family(user.ip) for user in users}):
        some = _of(users, family)
        chains = xtables.saved(family).get(_TABLE, {})
        absent += [
            f"{chain} {rule}"
            for chain, rule, _ in _wanted(config, some)
            if not any(xtables.same(rule, found) for found in chains.get(chain, ()))
        ]
        if some[0].policy != OPEN and not _comes_first(chains):
            absent.append(f"FORWARD {_TO_STAGE_1} before {_FORWARD}")
    return absent


def _wanted(config: FirewallConfig, users: list[User]) -> Iterator[tuple[str, str, bool]]:
    """Yield chain, rule, and whether it goes first, in the order in which they are added."""
    yield "FORWARD", _TO_FORWARD, True
    yield _FORWARD, f"{_SAY.format('admin overrides')} -j {config.admin}", True
    for user in users:
        for rule in _passes(user.ip):
            yield _FORWARD, rule, False
    if users[0].policy != OPEN:
        yield "FORWARD", _TO_STAGE_1, True
        yield _STAGE_1, _RETURN, False
        yield _STAGE_2, _RETURN, False
        yield from _isolation(users[0].bridge, isolated=users[0].policy == ISOLATED)


def _passes(ip: str) -> tuple[str, str]:
    host = _host(ip)
    return (
        f"-d {host} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"-s {host} -j ACCEPT",
    )


def _isolation(bridge: str, *, isolated: bool) -> Iterator[tuple[str, str, bool]]:
    yield _STAGE_1, f"-i {bridge} ! -o {bridge} {_APART} -j {_STAGE_2}", True
    yield _STAGE_2, f"-o {bridge} {_APART} -j DROP", True
    if isolated:
        said = _SAY.format("rules (ingressPolicy: isolated)")
        yield _STAGE_1, f"-i {bridge} -o {bridge} {said} -j DROP", True


def _addition(config: FirewallConfig, users: list[User], chains: Chains) -> Iterator[str]:
    stages = () if users[0].policy == OPEN else (_STAGE_1, _STAGE_2)
    for chain in (_FORWARD, config.admin, _OWNERS, *stages):
        if chain not in chains:
            yield f":{chain} - [0:0]"
    for chain, rule, first in _wanted(config, users):
        yield from xtables.once(chains, chain, rule, first=first)
    if _is_entered(chains, _STAGE_1) and not _comes_first(chains):
        # An address that is let through first would not be kept apart any more.
        yield f"-D FORWARD {_found(chains, 'FORWARD', _TO_STAGE_1)}"
        yield f"-I FORWARD 1 {_TO_STAGE_1}"
    for rule in chains.get(_OWNERS, ()):
        if _user(rule).mark == users[0].mark:
            yield f"-D {_OWNERS} {rule}"
    for user in users:
        behind = f" -i {user.bridge}" if user.bridge else ""
        yield f'-A {_OWNERS} -d {_host(user.ip)}{behind} -m comment --comment "{user.comment}"'


def _removal(chains: Chains, leaving: Leaving, gone: Callable[[User], bool]) -> Iterator[str]:
    passes = [rule for ip in leaving.ips for rule in _passes(ip)]
    for rule in chains.get(_FORWARD, ()):
        if any(xtables.same(rule, one) for one in passes):
            yield f"-D {_FORWARD} {rule}"
    for rule in chains.get(_OWNERS, ()):
        if gone(_user(rule)):
            yield f"-D {_OWNERS} {rule}"
    ended = [one for bridge in leaving.joined for one in [*_isolation(bridge, isolated=True)][2:]]
    ended += [one for bridge in leaving.opened for one in _isolation(bridge, isolated=False)]
    for chain, unwanted, _ in ended:
        for rule in chains.get(chain, ()):
            if xtables.same(rule, unwanted):
                yield f"-D {chain} {rule}"


def _users(chains: Chains) -> list[User]:
    return [_user(rule) for rule in chains.get(_OWNERS, ())]


def _user(rule: str) -> User:
    words = xtables.words(rule)
    said = dict(pairwise(words))
    mark, _, policy = said.get("--comment", "").partition(" ")
    return User(mark, said.get("-d", "").partition("/")[0], said.get("-i", ""), policy)


def _accepted(chains: Chains, family: int) -> set[str]:
    """Return the addresses that are let through."""
    length = "/32" if family == 4 else "/128"  # noqa: PLR2004
    rules = (xtables.words(rule) for rule in chains.get(_FORWARD, ()))
    return {r[1].removesuffix(length) for r in rules if r[0] == "-s" and r[2:] == ["-j", "ACCEPT"]}


def _is_entered(chains: Chains, chain: str) -> bool:
    return any(xtables.target(rule) == chain for rule in chains.get("FORWARD", ()))


def _comes_first(chains: Chains) -> bool:
    """Tell whether isolation is decided before anything is let through."""
    targets = [xtables.target(rule) for rule in chains.get("FORWARD", ())]
    both = _STAGE_1 in targets and _FORWARD in targets
    return both and targets.index(_STAGE_1) < targets.index(_FORWARD)


def _found(chains: Chains, chain: str, rule: str) -> str:
    return next(found for found in chains.get(chain, ()) if xtables.same(found, rule))


def _of(users: list[User], family: int) -> list[User]:
    return [user for user in users if _family(user.ip) == family]


def _family(ip: str) -> int:
    return 6 if ":" in ip else 4


def _host(ip: str) -> str:
    return f"{ip}/128" if ":" in ip else f"{ip}/32"
