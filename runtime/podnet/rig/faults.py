"""What can go wrong at each point of the protocol, as values.

Pure: a fault is described here, and done by the shim in front of a plugin
(:mod:`podnet.rig.shims`) or to the Node (:mod:`podnet.rig.disasters`).  Written as
``[PLUGIN[:VERB]:]KIND[=VALUE]``: ``portmap:ADD:kill-after``, ``disk-full=/var/lib/cni``.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from podnet.cni import names
from podnet.cni.errors import CniError
from podnet.cni.versions import Verb
from podnet.errors import UsageError


class Place(StrEnum):
    """Where a fault is: a plugin's FILE, one CALL of a plugin, or the NODE."""

    FILE = "file"
    CALL = "call"
    NODE = "node"


class Unit(StrEnum):
    """What a kind's value is."""

    NONE = ""
    SECONDS = "seconds"
    NUMBER = "number"
    PATH = "path"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault.

    Attributes:
        place: Where it is.
        about: What happens.
        unit: What its value is.
        default: Its value where none is given; "" where one must be.
    """

    place: Place
    about: str
    unit: Unit = Unit.NONE
    default: str = ""


KINDS: dict[str, Kind] = {
    "missing": Kind(Place.FILE, "the plugin's file is not there"),
    "not-executable": Kind(Place.FILE, "the plugin's file may not be executed"),
    "slow": Kind(Place.CALL, "it takes longer, and then works", Unit.SECONDS, "1"),
    "hang": Kind(Place.CALL, "it does nothing, and never answers"),
    "hang-after": Kind(Place.CALL, "it does its work, and never answers"),
    "kill": Kind(Place.CALL, "SIGKILL before its work"),
    "kill-after": Kind(Place.CALL, "SIGKILL after its work, before its answer"),
    "error": Kind(Place.CALL, "an error object instead of its work", Unit.NUMBER, "999"),
    "error-after": Kind(Place.CALL, "an error object after its work", Unit.NUMBER, "999"),
    "exit": Kind(Place.CALL, "its work and answer, another exit status", Unit.NUMBER, "1"),
    "garbage": Kind(Place.CALL, "its work, and an answer that is not JSON"),
    "doubled": Kind(Place.CALL, "its work, and its answer twice"),
    "truncated": Kind(Place.CALL, "its work, and the first half of its answer"),
    "silent": Kind(Place.CALL, "its work, and no answer"),
    "flood": Kind(Place.CALL, "its work, and 16 MiB of blanks before its answer"),
    "lingers": Kind(Place.CALL, "a process left behind holds its streams", Unit.SECONDS, "5"),
    "interface": Kind(Place.CALL, "addresses that are of another interface", Unit.NUMBER, "99"),
    "netns-gone": Kind(Place.CALL, "after its work the container's namespace is gone"),
    "netns-gone-before": Kind(Place.CALL, "before its work the container's namespace is gone"),
    "disk-full": Kind(Place.NODE, "nothing more can be written", Unit.PATH, "/var/lib/cni"),
    "disk-read-only": Kind(Place.NODE, "nothing can be changed", Unit.PATH, "/var/lib/cni"),
    "cache-empty": Kind(Place.NODE, "cached results are files of no bytes, as after a power loss"),
    "cache-gone": Kind(Place.NODE, "cached results are gone"),
    "lock-held": Kind(Place.NODE, "somebody holds the lock of that file", Unit.PATH),
    "ipam-exhausted": Kind(Place.NODE, "host-local's ranges have no free address", Unit.NETWORK),
    "reboot": Kind(Place.NODE, "the Node starts again: what is on disk stays, the rest is gone"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        kind: One of KINDS.
        plugin: The plugin's type; "" for a fault of the Node.
        verb: On which verb; ``None`` for all of them.
        value: How much, how long, where.
    """

    kind: str
    plugin: str = ""
    verb: Verb | None = None
    value: str = ""

    def __str__(self) -> str:
        where = [self.plugin, str(self.verb or ""), self.kind]
        return ":".join(filter(None, where)) + (f"={self.value}" if self.value else "")

    @property
    def place(self) -> Place:
        """Where it is."""
        return KINDS[self.kind].place

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Read ``[PLUGIN[:VERB]:]KIND[=VALUE]``.

        Raises:
            UsageError: It does not read like that, or makes no sense.
        """
        where, _, value = text.partition("=")
        *target, kind = where.split(":")
        known = KINDS.get(kind)
        if known is None:
            near = difflib.get_close_matches(kind, KINDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(KINDS)}"
            raise UsageError(f"there is no fault {kind!r}: {text}", hint)
        verb = _target(text, target, known)
        return cls(
            kind=kind,
            plugin=target[0] if target else "",
            verb=verb,
            value=_value(text, known, value or known.default),
        )


def _target(text: str, target: list[str], kind: Kind) -> Verb | None:
    """Check what a fault is to happen to; return its verb."""
    wants, most = ("no plugin", 0) if kind.place is Place.NODE else ("PLUGIN or PLUGIN:VERB", 2)
    if not min(most, 1) <= len(target) <= most:
        raise UsageError(
            f"the fault {text} needs {wants}", "like portmap:ADD:kill-after, or reboot"
        )
    if target:
        try:
            names.check_plugin_type(target[0])
        except CniError as exc:
            raise UsageError(f"the fault {text}: {exc}") from None
    if len(target) < 2:  # noqa: PLR2004
        return None
    if kind.place is Place.FILE:
        raise UsageError(f"the fault {text} has no verb: the file is the same for all of them")
    try:
        return Verb(target[1])
    except ValueError:
        raise UsageError(
            f"the fault {text}: there is no verb {target[1]}", f"there are: {', '.join(Verb)}"
        ) from None


def _value(text: str, kind: Kind, value: str) -> str:
    if kind.unit is Unit.NONE and value:
        raise UsageError(f"the fault {text} takes no value")
    if kind.unit is not Unit.NONE and not value:
        raise UsageError(f"the fault {text} needs a value", f"={kind.unit.upper()}")
    if value and not (value.isascii() and _fits(value, kind.unit)):
        raise UsageError(f"the fault {text}: {value!r} is no {kind.unit}")
    return value


def _fits(value: str, unit: Unit) -> bool:
    match unit:
        case Unit.SECONDS:
            return value.replace(".", "", 1).isdecimal()
        case Unit.NUMBER:
            return value.removeprefix("-").isdecimal()
        case Unit.PATH:
            return value.startswith("/")
        case _:
            return names.is_identifier(value)


def at(faults: Iterable[Fault], place: Place) -> list[Fault]:
    """Return those of *faults* that are at *place*."""
    return [fault for fault in faults if fault.place is place]
