"""Spec versions and verbs: which exist, what came when, what each verb needs.

Tables of the spec, and questions asked of them.  Pure.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from podnet.cni.errors import IncompatibleVersionError, InvalidConfigError
from podnet.cni.wire import Fields

#: Every released version of the spec, oldest first.
RELEASED = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
LATEST = RELEASED[-1]
#: What a configuration or result without a version means (libcni).
UNVERSIONED = "0.1.0"

# Nine digits are plenty, and int() refuses thousands of them with a ValueError.
_NUMBERS = re.compile(r"\d{1,9}\.\d{1,9}\.\d{1,9}", re.ASCII)


class Verb(StrEnum):
    """CNI_COMMAND (SPEC section 2)."""

    ADD = "ADD"
    CHECK = "CHECK"
    DEL = "DEL"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


#: Since which version a verb exists; the others always did.
SINCE: Mapping[Verb, str] = {Verb.CHECK: "0.4.0", Verb.GC: "1.1.0", Verb.STATUS: "1.1.0"}
#: Since which version DEL is given the cached result as prevResult (SPEC 0.4.0).
PREV_RESULT_ON_DEL_SINCE = "0.4.0"

#: The parameters a plugin must be given (SPEC section 2, "Parameters").
REQUIRED: Mapping[Verb, tuple[str, ...]] = {
    Verb.ADD: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    Verb.CHECK: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    Verb.DEL: ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    Verb.GC: ("CNI_PATH",),
    Verb.STATUS: ("CNI_PATH",),
    Verb.VERSION: (),
}

#: Where a GC says which attachments are valid: SPEC 1.1.0's key, and the one that its text had
#: until cni#1103. libcni sends both.
VALID_ATTACHMENTS = ("cni.dev/valid-attachments", "cni.dev/attachments")


@lru_cache
def key(version: str) -> tuple[int, ...]:
    """Return what versions are ordered by; "" is 0.1.0.

    Raises:
        InvalidConfigError: *version* is not three numbers.
    """
    text = version or UNVERSIONED
    if not _NUMBERS.fullmatch(text):
        raise InvalidConfigError(f"invalid cniVersion {version!r}", 'it reads like "1.0.0"')
    return tuple(int(part) for part in text.split("."))


def at_least(version: str, other: str) -> bool:
    """Tell whether *version* is *other* or newer."""
    return key(version) >= key(other)


def supports(version: str, verb: Verb) -> bool:
    """Tell whether *verb* exists in *version* of the spec."""
    return at_least(version, SINCE.get(verb, UNVERSIONED))


def candidates(cni_version: str, cni_versions: Sequence[str]) -> tuple[str, ...]:
    """Return the versions a configuration allows, of those that exist, newest first.

    Unlike libcni, which takes the largest number that is not above its own, versions that
    were never released are passed over (SPEC section 1, "cniVersions").

    Raises:
        InvalidConfigError: An entry is not a version.
        IncompatibleVersionError: None of them is one we know.
    """
    spelled = cni_versions if cni_versions and not cni_version else (cni_version, *cni_versions)
    asked = {version or UNVERSIONED for version in spelled}
    for version in asked:
        key(version)
    known = asked & set(RELEASED)
    if not known:
        raise IncompatibleVersionError(
            f"unknown cniVersion {', '.join(sorted(asked))}", f"known: {', '.join(RELEASED)}"
        )
    return tuple(sorted(known, key=key, reverse=True))


@dataclass(frozen=True, slots=True)
class PluginVersions:
    """A plugin's answer to VERSION (SPEC section 4).

    Attributes:
        supported: The versions it speaks, as it spells them.
        cni_version: The version of the answer itself.
    """

    supported: tuple[str, ...]
    cni_version: str = LATEST

    @classmethod
    def from_wire(cls, value: object) -> "PluginVersions":
        """Read the answer.

        An answer of version 0.2.0 may leave the list out, which means 0.1.0 and 0.2.0.

        Raises:
            DecodeError: It is of the wrong shape.
            InvalidConfigError: ``cniVersion`` or ``supportedVersions`` is missing.
        """
        fields = Fields.of(value, "the answer to VERSION")
        cni_version = fields.text("cniVersion")
        if not cni_version:
            raise InvalidConfigError("decoding version info: missing field cniVersion")
        supported = fields.texts("supportedVersions")
        if not supported and cni_version == "0.2.0":
            supported = ("0.1.0", "0.2.0")
        if not supported:
            raise InvalidConfigError("decoding version info: missing field supportedVersions")
        return cls(supported, cni_version)

    def to_wire(self) -> dict[str, object]:
        """Return the object a plugin prints."""
        return {"cniVersion": self.cni_version, "supportedVersions": list(self.supported)}

    def speaks(self, cni_version: str) -> bool:
        """Tell whether the plugin accepts a configuration of *cni_version*."""
        return (cni_version or UNVERSIONED) in self.supported


def newest_common(allowed: Iterable[str], plugins: Iterable[PluginVersions]) -> str | None:
    """Return the newest of the *allowed* versions that every plugin speaks, if there is one."""
    everyone = list(plugins)
    common = [v for v in allowed if all(plugin.speaks(v) for plugin in everyone)]
    return max(common, key=key, default=None)
