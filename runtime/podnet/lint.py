"""A conflist's mistakes, each with its place in the file and what to do about it.

Knows what people get wrong; the spec's own rules are :mod:`podnet.cni`'s, and their
violations are found by reading the file as the runtime does.  Which keys a plugin has, the
plugin says itself (:mod:`podnet.description`).
"""

import difflib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml

from podnet import confdir, conflist_schema, positions, shapes
from podnet.cni.config import LIST_KEYS, Network, PluginConfig
from podnet.cni.wire import Fields
from podnet.confdir import BadFileError
from podnet.description import Catalogue, Description
from podnet.errors import PodnetError, UsageError
from podnet.positions import Place, Where
from podnet.shapes import Shape

#: Plugins that do nothing for a pod unless a capability argument reaches them.
NEEDED_CAPABILITIES = {"portmap": "portMappings", "bandwidth": "bandwidth"}
#: Plugins that only change what a plugin before them made.
CHAINED = frozenset({"portmap", "bandwidth", "tuning", "firewall", "sbr", "vrf"})
_OLD = ("0.1.0", "0.2.0", "0.3.0", "0.3.1")


class Severity(StrEnum):
    """ERROR: the network cannot be used.  WARNING: it will not do what the file says."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One mistake.

    Attributes:
        path: The file.
        line: From 1, 0 when it has no place.
        column: Likewise.
        severity: How bad it is.
        message: What is wrong.
        hint: What to do.
    """

    path: Path
    line: int = 0
    column: int = 0
    severity: Severity = Severity.WARNING
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        hint = f"\n  {self.hint}" if self.hint else ""
        return f"{self.path}{place}: {self.severity}: {self.message}{hint}"


def lint(path: Path, catalogue: Catalogue) -> list[Finding]:
    """Return the mistakes of one configuration file, the first line first.

    Args:
        path: The file.
        catalogue: Finds plugins, and knows what they are.
    """
    try:
        network = confdir.load(path)
    except BadFileError as exc:
        reason = exc.reason.removeprefix("it is ")
        broken = Finding(
            path=exc.path,
            line=exc.line,
            column=exc.column,
            severity=Severity.ERROR,
            message=reason,
        )
        unread = exc.line or exc.path != path or not path.is_file()
        return [broken, *([] if unread else _keys(_File.read(path)))]
    file = _File.read(path)
    findings = [
        *_keys(file),
        *_version(file, network),
        *_plugins(file, network),
        *_chain(file, network, catalogue),
        *_shadowed(file, network),
    ]
    return sorted(findings, key=lambda finding: (finding.line, finding.column))


@dataclass(frozen=True, slots=True)
class _File:
    """A file, and the place of everything in it.

    Attributes:
        path: The file.
        places: Line and column of every value by its path, and of every key that stands
            twice by "twice" and its path.
    """

    path: Path
    places: Mapping[Where, Place]

    @classmethod
    def read(cls, path: Path) -> "_File":
        """Find the places."""
        try:
            return cls(path, positions.of(path.read_text()))
        except (yaml.YAMLError, UnicodeDecodeError):  # findings go without a place
            return cls(path, {})

    def finding(
        self, where: Where, message: str, hint: str = "", severity: Severity = Severity.WARNING
    ) -> Finding:
        """Return a finding at the value *where*."""
        line, column = self.places.get(where, (0, 0))
        return Finding(
            path=self.path, line=line, column=column, severity=severity, message=message, hint=hint
        )

    def plugin(self, index: int) -> Where:
        """Return where a plugin's object is; in no place if it is a sibling's file."""
        of_list = ("plugins", index) in self.places or self.path.suffix == ".conflist"
        return ("plugins", index) if of_list else ()

    def spelled(self, at: Where, key: str) -> str:
        """Return how the file spells *key* of the object *at*: its case is no matter."""
        folded, depth = key.casefold(), len(at)
        below = (str(w[depth]) for w in self.places if len(w) == depth + 1 and w[:depth] == at)
        return next((name for name in below if name.casefold() == folded), key)


def _keys(file: _File) -> Iterator[Finding]:
    """Keys that stand twice, and keys that a list does not have."""
    for where in file.places:
        if where[:1] == (positions.TWICE,):
            yield file.finding(where, f"the key {where[-1]} stands twice: the last counts")
        elif len(where) == 1 and file.path.suffix == ".conflist" and where[0] not in LIST_KEYS:
            near = difflib.get_close_matches(str(where[0]), LIST_KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(LIST_KEYS))}"
            yield file.finding(where, f"the list has no key {where[0]}", hint)


def _version(file: _File, network: Network) -> Iterator[Finding]:
    if ("cniVersion",) not in file.places and ("cniVersions",) not in file.places:
        yield file.finding((), "no cniVersion, which means 0.1.0", 'add "cniVersion": "1.0.0"')
    elif network.cni_version in _OLD:
        yield file.finding(
            ("cniVersion",),
            f"with cniVersion {network.cni_version} there is no CHECK, and DEL gets no prevResult",
            "1.0.0 is what most plugins speak",
        )


def _plugins(file: _File, network: Network) -> Iterator[Finding]:
    for index, plugin in enumerate(network.plugins):
        at = file.plugin(index)
        for key in plugin.reserved_keys:
            message = f"{key} is the runtime's to set: what the file says is not passed on"
            yield file.finding((*at, key), message, "remove it")
        for key in ("name", "cniVersion"):
            if at and key in plugin.config:
                message = f"{key} of a plugin in a list is overwritten with the list's"
                yield file.finding((*at, key), message, "remove it")
        yield from _role(file, (*at, "type"), plugin)


def _role(file: _File, where: Where, plugin: PluginConfig) -> Iterator[Finding]:
    needed = NEEDED_CAPABILITIES.get(plugin.type)
    static = "runtimeConfig" in plugin.config or "ingressRate" in plugin.config
    if needed and needed not in plugin.capabilities and not static:
        hint = f'add "capabilities": {{"{needed}": true}}'
        yield file.finding(where, f"{plugin.type} without its capability does nothing", hint)


def _chain(file: _File, network: Network, catalogue: Catalogue) -> Iterator[Finding]:
    """What only the plugins themselves know: whether they are there, and what they want."""
    for index, plugin in enumerate(network.plugins):
        at = file.plugin(index)
        described = yield from _described(file, (*at, "type"), plugin.type, catalogue)
        manager = None
        if plugin.ipam_type:
            place = (*at, file.spelled(at, "ipam"), "type")
            manager = yield from _described(file, place, plugin.ipam_type, catalogue)
        if index == 0 and (plugin.type in CHAINED or (described and described.chained)):
            message = f"{plugin.type} must be called as a chained plugin, and is the first one"
            hint = "put the plugin that makes the interface first"
            yield file.finding((*at, "type"), message, hint, Severity.ERROR)
        if described is not None and (manager is not None or not plugin.ipam_type):
            yield from _keys_of(file, at, plugin, conflist_schema.of_plugin(described, manager))


def _described(
    file: _File, where: Where, plugin: str, catalogue: Catalogue
) -> Generator[Finding, None, Description | None]:
    try:
        return catalogue.get(plugin)
    except UsageError as exc:
        yield file.finding(where, exc.message, exc.hint, Severity.ERROR)
    except PodnetError as exc:
        yield file.finding(where, f"{plugin} cannot be asked for its keys: {exc.message}")
    return None


def _keys_of(
    file: _File, at: Where, plugin: PluginConfig, made: Mapping[str, object]
) -> Iterator[Finding]:
    """What a plugin's own schema says of its object; the runtime's keys are somebody else's."""
    own = {k: v for k, v in plugin.config.items() if k not in plugin.reserved_keys}
    for problem in shapes.check(own, Shape.of(Fields(made)), at):
        severity = Severity.WARNING if problem.harmless else Severity.ERROR
        message = f"{plugin.type}: {problem.message}"
        yield file.finding(problem.where, message, problem.hint, severity)


def _shadowed(file: _File, network: Network) -> Iterator[Finding]:
    """What stands in the way of this file in its directory."""
    for found in confdir.scan(file.path.absolute().parent).found:
        if found.network.name == network.name and found.path.name != file.path.name:
            message = f"network {network.name} is taken from {found.path.name}, which comes first"
            yield file.finding((), message, "rename the network or remove one of the files")
