"""Who uses the firewall: which address on which bridge, and what goes when it leaves (pure).

The rules themselves do not say whose they are; the reference's must not, or it would not
find them again.  So each backend keeps, beside them, one rule per address that does nothing
but carry what a :class:`User` says.
"""

from collections.abc import Iterable
from dataclasses import dataclass

OPEN, SAME_BRIDGE, ISOLATED = "open", "same-bridge", "isolated"


@dataclass(frozen=True, slots=True)
class User:
    """One address of one attachment.

    Attributes:
        mark: Whose it is (:mod:`podnet_plugins.marks`).
        ip: The address.
        bridge: The bridge it is behind, where its policy has to do with one.
        policy: Its ingressPolicy.
    """

    mark: str
    ip: str
    bridge: str = ""
    policy: str = OPEN

    @property
    def comment(self) -> str:
        """Mark and policy, as a comment."""
        return f"{self.mark} {self.policy}"


@dataclass(frozen=True, slots=True)
class Leaving:
    """What goes.

    Attributes:
        ips: The addresses that are no longer let through.
        opened: The bridges that are no longer kept apart from others.
        joined: The bridges that no longer keep their own ports apart.
    """

    ips: frozenset[str]
    opened: frozenset[str]
    joined: frozenset[str]


def leaving(
    users: Iterable[User], gone: set[User], *, claimed: Iterable[str], accepted: Iterable[str]
) -> Leaving:
    """Return what goes with the users *gone*.

    Args:
        users: All that there are.
        gone: Those that leave.
        claimed: Addresses that leave, too, unless somebody else uses them by now.
        accepted: All addresses that are let through.  While one is nobody's, the
            reference's pods may need a bridge's isolation, and it stays.
    """
    known = list(users)
    staying = [user for user in known if user not in gone]
    used = {user.ip for user in staying}
    ips = frozenset({user.ip for user in gone} | set(claimed)) - used
    strangers = set(accepted) - used - ips
    bridges = frozenset(user.bridge for user in gone if user.policy != OPEN and not strangers)
    apart = {user.bridge for user in staying if user.policy != OPEN}
    isolated = {user.bridge for user in staying if user.policy == ISOLATED}
    return Leaving(ips=ips, opened=bridges - apart, joined=bridges - isolated)
