"""ipMasq: what masquerades the containers of a network: nftables where there is nft, else iptables.

Removing looks for both, since the reference, or an earlier configuration, may have used
the other one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv4Interface, IPv6Interface

from podnet.cni.errors import CniError, Code, InvalidConfigError
from podnet.errors import MissingError
from podnet.kernel import firewall, xtables
from podnet_plugins import failures, masquerade, masquerade_iptables
from podnet_plugins.skel import Call

NFTABLES, IPTABLES = "nftables", "iptables"
BACKENDS = (NFTABLES, IPTABLES)
Addresses = Sequence[IPv4Interface | IPv6Interface]


def check_backend(call: Call) -> None:
    """Check ``ipMasqBackend``.

    Raises:
        InvalidConfigError: There is no such backend.
    """
    backend = call.config.text("ipMasqBackend")
    if backend not in {"", *BACKENDS}:
        raise InvalidConfigError(f'unknown ipmasq backend "{backend}"')


def add(call: Call, backend: str, ips: Addresses) -> None:
    """Masquerade everything from *ips* to outside their subnets, except multicast.

    Raises:
        CniError: The backend is missing or refused.
    """
    with _named():
        if _candidates(backend)[0] == IPTABLES:
            masquerade_iptables.add(call.network, call.container_id, ips)
        else:
            masquerade.add(call.network, call.container_id, call.ifname, ips)


def check(call: Call, backend: str, ips: Addresses) -> None:
    """Check that *ips* are masqueraded; where no backend is asked for, either will do.

    Raises:
        CniError: They are not.
    """
    container = call.network, call.container_id
    absent: list[str] = []
    for number, candidate in enumerate(_candidates(backend)):
        found = [str(ip.ip) for ip in ips]
        with _named(forgiving=number > 0):
            if candidate == IPTABLES:
                found = masquerade_iptables.missing(*container, ips)
            else:
                found = masquerade.missing(*container, call.ifname, ips)
        if not found:
            return
        absent = absent or found
    raise CniError(f"masquerading is gone: {', '.join(absent)}")


def delete(call: Call) -> None:
    """Remove the rules of the attachment, whichever backend made them.

    The reference's chains are a container's, not an interface's: with prevResult the rest
    of such a chain stays for the others.
    """
    known = call.prev_result.ips if call.prev_result else ()
    ips = [ip.address for ip in known]
    container = call.network, call.container_id
    _with_both(
        call,
        lambda: masquerade.delete(*container, call.ifname),
        lambda: masquerade_iptables.delete(*container, ips),
    )


def gc(call: Call) -> None:
    """Remove the rules of every attachment that is not valid, whichever backend made them."""
    valid = call.valid_attachments
    _with_both(
        call,
        lambda: masquerade.gc(call.network, valid),
        lambda: masquerade_iptables.gc(call.network, {cid for cid, _ in valid}),
    )


def status(backend: str) -> None:
    """Say whether the backend is there.

    Raises:
        CniError: Code 50, it is not.
    """
    program, available = "nft", firewall.available
    if _candidates(backend)[0] == IPTABLES:
        program, available = "iptables", lambda: xtables.available(4)
    if not available():
        raise CniError(f"ipMasq needs {program}, and it cannot be run", code=Code.NOT_AVAILABLE)


def _candidates(asked: str) -> list[str]:
    """Return the backend that is asked for, or all that are there, the default first."""
    if asked:
        return [asked]
    there = {NFTABLES: firewall.installed(), IPTABLES: xtables.available(4)}
    return [backend for backend in BACKENDS if there[backend]] or [NFTABLES]


def _with_both(call: Call, nftables: Callable[[], None], by_iptables: Callable[[], None]) -> None:
    asked = _candidates(call.config.text("ipMasqBackend"))[0]
    with ExitStack() as both:  # each of them, whatever the other raises
        both.callback(_named(forgiving=asked != IPTABLES)(by_iptables))
        both.callback(_named(forgiving=asked != NFTABLES)(nftables))


@contextmanager
def _named(*, forgiving: bool = False) -> Iterator[None]:
    """Say what a program was wanted for; one that is not asked for may be missing."""
    with failures.named("ipMasq"), suppress(*([MissingError] if forgiving else [])):
        yield
