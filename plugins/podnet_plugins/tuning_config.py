"""The configuration of tuning: its keys, where else they may come from, and what is allowed.

Knows names and files of configuration; touches no interface and no sysctl.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from podnet.cni.errors import CniError, InvalidConfigError
from podnet.cni.formats import MAC
from podnet.kernel import links
from podnet_plugins.schema import capability, key, read
from podnet_plugins.skel import Call, known_args
from podnet_plugins.tuning_settings import Settings

ALLOWLIST = Path("/etc/cni/tuning/allowlist.conf")
DATA_DIR = "/run/cni/tuning"
_IFNAME = "IFNAME"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What ``args.cni`` may say, too; it wins over the configuration."""

    sysctl: Mapping[str, str] | None = key(
        None, doc="Network sysctls of the container; IFNAME in a key is the interface."
    )
    mac: str = key("", format=MAC, own_words=True, doc="The hardware address.")
    promisc: bool | None = key(None, doc="Promiscuous mode.")
    mtu: int | None = key(None, least=0, doc="In bytes; 0 leaves it.")
    allmulti: bool | None = key(None, doc="All-multicast mode.")
    txqlen: int | None = key(None, name="txQLen", least=0, doc="The length of the transmit queue.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningConfig(Asked):
    """The keys of the configuration."""

    data_dir: str = key(DATA_DIR, doc="Where what was before is kept for DEL.")
    requested_mac: str = capability("mac", "", doc="The hardware address that is asked for.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What one call asks for, wherever it was said.

    Attributes:
        sysctls: Path below /proc/sys/net to value, in the order of the configuration.
        settings: Of the interface.
    """

    sysctls: Mapping[tuple[str, ...], str]
    settings: Settings

    @classmethod
    def of(cls, call: Call) -> "Tuning":
        """Read and check what *call* asks for.

        Raises:
            CniError: A value is wrong, or a sysctl is none of the network's, or not allowed.
        """
        config = read(TuningConfig, call.config)
        asked = read(Asked, call.conventional_args)
        _refuse_repeated(call.stdin)
        from_args = known_args(call, "MAC").get("MAC", "")
        mac = asked.mac or config.requested_mac or from_args or config.mac
        said = dict(config.sysctl or {}) | dict(asked.sysctl or {})
        _check_allowed(list(said))
        settings = Settings(
            mac=_mac(mac) if mac else None,
            # The reference's flag has no "off": false is "leave it".
            promisc=_first(asked.promisc, config.promisc) or None,
            mtu=_first(asked.mtu, config.mtu) or None,
            allmulti=_first(asked.allmulti, config.allmulti),
            txqlen=_first(asked.txqlen, config.txqlen),
        )
        return cls(sysctls=_paths(said, call.ifname), settings=settings)


def _first(*values: T | None) -> T | None:
    return next((value for value in values if value is not None), None)


def _mac(text: str) -> str:
    try:
        return links.mac_bytes(text).hex(":")
    except ValueError as exc:
        raise InvalidConfigError(f"invalid args {text} for MAC addr: {exc}") from None


def _paths(said: Mapping[str, str], ifname: str) -> dict[tuple[str, ...], str]:
    paths = {}
    for name, value in said.items():
        path = _path(name, ifname)
        if path in paths:
            raise InvalidConfigError("duplicated sysctl keys are not allowed", name)
        paths[path] = value
    return paths


def _path(name: str, ifname: str) -> tuple[str, ...]:
    """Return where below /proc/sys/net a sysctl is; the interface's name may have dots."""
    net, *parts = name.replace(".", "/").split("/")
    if net != "net" or not parts or not all(parts):
        raise InvalidConfigError(f'invalid net sysctl key: "{name}"')
    inside = next((i for i, part in enumerate(parts) if _IFNAME in part), None)
    if inside is not None:
        parts[inside] = parts[inside].replace(_IFNAME, ifname, 1)
    return tuple(parts)


def _check_allowed(names: list[str]) -> None:
    """Check the administrator's list of regular expressions, if there is one."""
    try:
        allowed = [line.strip() for line in ALLOWLIST.read_text().splitlines() if line.strip()]
    except FileNotFoundError:
        return
    try:
        patterns = [re.compile(line) for line in allowed]
    except re.error as exc:
        raise CniError(f"{ALLOWLIST}: {exc}", f"in the line {exc.pattern!r}") from None
    for name in names:
        if not any(pattern.search(name) for pattern in patterns):
            shown = f"[{' '.join(allowed)}]"
            raise InvalidConfigError(
                f"Sysctl {name} is not allowed. Only the following sysctls are allowed: {shown}"
            )


class _Object(dict[str, object]):
    """A JSON object that knows whether a key was said twice."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.repeats = len(self) < len(pairs)


def _refuse_repeated(stdin: bytes) -> None:
    """A sysctl that is said twice is no typing error to guess about: the last would win."""
    config = json.loads(stdin, object_pairs_hook=_Object)
    sysctl = config.get("sysctl")
    if isinstance(sysctl, _Object) and sysctl.repeats:
        raise InvalidConfigError("duplicated sysctl keys are not allowed")
