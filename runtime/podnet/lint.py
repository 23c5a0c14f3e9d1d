"""A conflist's mistakes, each with its place in the file and what to do about it.

Knows what people get wrong; the spec's own rules are :mod:`podnet.cni`'s, and their
violations are found by reading the file as the runtime does.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml

from podnet import confdir
from podnet.cni.config import LIST_KEYS, Network, PluginConfig
from podnet.confdir import BadFileError
from podnet.errors import UsageError
from podnet.execute import ProcessExecutor

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


def lint(path: Path, plugin_path: Sequence[str]) -> list[Finding]:
    """Return the mistakes of one configuration file, the first line first.

    Args:
        path: The file.
        plugin_path: Where plugins are looked for.
    """
    try:
        network = confdir.load(path)
    except BadFileError as exc:
        message = exc.reason.removeprefix("it ") if exc.line else exc.reason
        return [_finding(path, {}, (), message, line=exc.line, column=exc.column)]
    places = _places(path)
    findings = [
        *_list_findings(path, places, network),
        *_plugin_findings(path, places, network),
        *_missing_plugins(path, places, network, plugin_path),
        *_directory_findings(path, network),
    ]
    return sorted(findings, key=lambda f: (f.line, f.column))


_Place = tuple[int, int]
_Path = tuple[str | int, ...]


def _places(path: Path) -> dict[_Path, _Place]:
    """Return line and column of every value, by its path; and of every key that stands twice.

    JSON is a dialect of YAML's flow style, whose reader keeps places; but for tabs.
    """
    found: dict[_Path, _Place] = {}
    try:
        top = yaml.compose(path.read_text().replace("\t", " "), Loader=yaml.SafeLoader)
    except yaml.YAMLError:  # an escape that YAML does not know: findings go without a place
        return found
    if top is not None:
        _walk(top, (), found)
    return found


def _walk(node: yaml.Node, where: _Path, found: dict[_Path, _Place]) -> None:
    found.setdefault(where, (node.start_mark.line + 1, node.start_mark.column + 1))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*where, str(key.value))
            place = (key.start_mark.line + 1, key.start_mark.column + 1)
            if inner in found:
                found[("twice", *inner)] = place
            found[inner] = place
            _walk(value, inner, found)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*where, index), found)


def _finding(  # noqa: PLR0913  a finding is a place and two sentences
    path: Path,
    places: dict[_Path, _Place],
    where: _Path,
    message: str,
    hint: str = "",
    *,
    severity: Severity = Severity.ERROR,
    line: int = 0,
    column: int = 0,
) -> Finding:
    line, column = places.get(where, (line, column))
    return Finding(
        path=path, line=line, column=column, severity=severity, message=message, hint=hint
    )


def _list_findings(path: Path, places: dict[_Path, _Place], network: Network) -> Iterator[Finding]:
    for where in places:
        if where[:1] == ("twice",):
            yield _warning(
                path, places, where, f"the key {where[-1]} stands twice: the last counts"
            )
        elif len(where) == 1 and path.suffix == ".conflist" and where[0] not in LIST_KEYS:
            near = difflib.get_close_matches(str(where[0]), LIST_KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(LIST_KEYS))}"
            yield _warning(path, places, where, f"the list has no key {where[0]}", hint)
    if ("cniVersion",) not in places and ("cniVersions",) not in places:
        yield _warning(
            path, places, (), "no cniVersion, which means 0.1.0", 'add "cniVersion": "1.0.0"'
        )
    elif network.cni_version in _OLD:
        message = (
            f"with cniVersion {network.cni_version} there is no CHECK, and DEL gets no prevResult"
        )
        yield _warning(path, places, ("cniVersion",), message, "1.0.0 is what most plugins speak")


def _plugin_findings(
    path: Path, places: dict[_Path, _Place], network: Network
) -> Iterator[Finding]:
    for index, plugin in enumerate(network.plugins):
        at: _Path = ("plugins", index) if ("plugins", index) in places else ()
        for key in plugin.reserved_keys:
            message = f"{key} is the runtime's to set: what the file says is not passed on"
            yield _warning(path, places, (*at, key), message, "remove it")
        for key in ("name", "cniVersion"):
            if at and key in plugin.config:
                message = f"{key} of a plugin in a list is overwritten with the list's"
                yield _warning(path, places, (*at, key), message, "remove it")
        yield from _role_findings(path, places, (*at, "type"), plugin, first=index == 0)


def _role_findings(
    path: Path, places: dict[_Path, _Place], where: _Path, plugin: PluginConfig, *, first: bool
) -> Iterator[Finding]:
    needed = NEEDED_CAPABILITIES.get(plugin.type)
    static = "runtimeConfig" in plugin.config or "ingressRate" in plugin.config
    if needed and needed not in plugin.capabilities and not static:
        message = f"{plugin.type} without its capability does nothing"
        hint = f'add "capabilities": {{"{needed}": true}}'
        yield _warning(path, places, where, message, hint)
    if first and plugin.type in CHAINED:
        message = f"{plugin.type} must be called as a chained plugin, and is the first one"
        yield _finding(
            path, places, where, message, "put the plugin that makes the interface first"
        )


def _missing_plugins(
    path: Path, places: dict[_Path, _Place], network: Network, plugin_path: Sequence[str]
) -> Iterator[Finding]:
    executor = ProcessExecutor(path=tuple(plugin_path))
    for index, plugin in enumerate(network.plugins):
        wanted: list[tuple[str, _Path]] = [(plugin.type, ("plugins", index, "type"))]
        if plugin.ipam_type:
            wanted.append((plugin.ipam_type, ("plugins", index, "ipam", "type")))
        for name, where in wanted:
            try:
                executor.find(name)
            except UsageError as exc:
                yield _finding(path, places, where, exc.message, exc.hint)


def _directory_findings(path: Path, network: Network) -> Iterator[Finding]:
    """What stands in the way of this file in its directory."""
    for found in confdir.scan(path.absolute().parent).found:
        if found.network.name == network.name and found.path.name != path.name:
            yield _finding(
                path,
                {},
                (),
                f"network {network.name} is taken from {found.path.name}, which comes first",
                "rename the network or remove one of the files",
                severity=Severity.WARNING,
            )


def _warning(
    path: Path, places: dict[_Path, _Place], where: _Path, message: str, hint: str = ""
) -> Finding:
    return _finding(path, places, where, message, hint, severity=Severity.WARNING)
