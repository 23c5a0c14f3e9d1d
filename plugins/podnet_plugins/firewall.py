"""firewall: let a container's traffic through the host, and keep bridges apart.

Keys, results and, with iptables, chains and rules are the reference's (containernetworking/
plugins, meta/firewall), but each shared rule is there once however many ADDs run at a time,
isolation ends with its last user, DEL and GC need no prevResult, CHECK changes nothing and
looks at isolation too, an unknown backend is an error, and there is an nftables backend.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from podnet.cni import versions
from podnet.cni.errors import CniError, Code, InvalidConfigError
from podnet.cni.result import Result
from podnet.kernel import firewall as nft
from podnet.kernel import xtables
from podnet_plugins import failures, firewall_iptables, firewall_nft, marks
from podnet_plugins.firewall_config import (
    IPTABLES,
    NFTABLES,
    FirewallConfig,
    addresses,
    mark_of,
    users,
)
from podnet_plugins.firewall_users import User
from podnet_plugins.skel import Call, Plugin, run

_OLDEST = "0.4.0"


@dataclass(frozen=True, slots=True)
class Backend:
    """What both firewalls can do."""

    name: str
    usable: Callable[[], bool]
    add: Callable[[FirewallConfig, list[User]], None]
    missing: Callable[[FirewallConfig, list[User]], list[str]]
    remove: Callable[[Callable[[User], bool], Iterable[str]], None]


# The first that is usable is the default.
_BACKENDS = (
    Backend(
        IPTABLES,
        lambda: xtables.available(4) or xtables.available(6),
        firewall_iptables.add,
        firewall_iptables.missing,
        firewall_iptables.remove,
    ),
    Backend(NFTABLES, nft.installed, firewall_nft.add, firewall_nft.missing, firewall_nft.remove),
)


def add(call: Call) -> Result:
    """Let the container's addresses through."""
    config, result = FirewallConfig.of(call), _previous(call)
    if wanted := users(call, config, result):
        with failures.named("firewall"):
            _backend(config).add(config, wanted)
    return result


def check(call: Call) -> None:
    """Check each rule, isolation included; without demand, ADD may have used either backend."""
    config, result = FirewallConfig.of(call), _previous(call)
    wanted = users(call, config, result)
    if not wanted:
        return
    candidates = [_backend(config)] if config.backend else _usable()
    first: list[str] = []
    with failures.named("firewall"):
        for backend in candidates:
            absent = backend.missing(config, wanted)
            if not absent:
                return
            first = first or absent
    more = f"; {len(first) - 1} more are missing" if first[1:] else ""
    raise CniError(f"firewall: a rule is missing: {first[0]}{more}")


def delete(call: Call) -> None:
    """Remove the rules, whichever backend made them; what is gone already is no error."""
    FirewallConfig.of(call)
    mark = mark_of(call)
    claimed = [str(ip) for ip in addresses(call.prev_result)]
    with failures.named("firewall"):
        for backend in _usable():
            backend.remove(lambda user: user.mark == mark, claimed)


def gc(call: Call) -> None:
    """Remove the rules of every attachment to the network that is not valid."""
    FirewallConfig.of(call)
    valid = call.valid_attachments
    with failures.named("firewall"):
        for backend in _usable():
            backend.remove(lambda user: marks.is_stale(user.mark, call.network, valid), ())


def status(call: Call) -> None:
    """Say whether an ADD could succeed: the backend has to be there."""
    backend = _backend(FirewallConfig.of(call))
    if backend.name == NFTABLES and not nft.available():
        raise CniError("firewall needs nft, and it cannot be run", code=Code.NOT_AVAILABLE)


def _previous(call: Call) -> Result:
    if call.prev_result is None:
        raise InvalidConfigError("missing prevResult from earlier plugin")
    return call.prev_result


def _usable() -> list[Backend]:
    found = [backend for backend in _BACKENDS if backend.usable()]
    if not found:
        message = "firewall needs iptables or nft, and there is neither"
        raise CniError(message, code=Code.NOT_AVAILABLE)
    return found


def _backend(config: FirewallConfig) -> Backend:
    """Return the backend that is asked for, or the first that is usable."""
    for backend in _usable():
        if config.backend in {"", backend.name}:
            return backend
    message = f"firewall: backend {config.backend} is asked for and missing"
    raise CniError(message, code=Code.NOT_AVAILABLE)


PLUGIN = Plugin(
    "firewall",
    add=add,
    check=check,
    delete=delete,
    gc=gc,
    status=status,
    versions=versions.RELEASED[versions.RELEASED.index(_OLDEST) :],
    about="Lets a container's traffic through the host's firewall, and may keep bridges apart.",
    config=FirewallConfig,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
