"""Forwarding on the host: switched on for the families that containers have addresses of."""

from collections.abc import Iterable

from podnet.kernel import sysctl

_KEYS = {4: ("ipv4", "ip_forward"), 6: ("ipv6", "conf", "all", "forwarding")}


def enable(families: Iterable[int]) -> None:
    """Let the host forward packets of *families*, 4 and 6."""
    for family in sorted(set(families)):
        sysctl.write(*_KEYS[family], value="1")


def missing(families: Iterable[int]) -> list[str]:
    """Return the sysctls that keep the host from forwarding packets of *families*."""
    keys = (_KEYS[family] for family in sorted(set(families)))
    return [f"net.{'.'.join(key)}" for key in keys if sysctl.read(*key) == "0"]
