"""A scenario file, read and checked: every mistake by line and column.

Knows YAML, the schema, and what no schema can say.  Runs nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from podnet import positions, shapes
from podnet.cni import names, wire
from podnet.cni.config import Network
from podnet.cni.errors import CniError
from podnet.cni.wire import Fields
from podnet.errors import UsageError
from podnet.execute import DEFAULT_TIMEOUT
from podnet.rig.faults import Fault
from podnet.rig.scenario.evidence import CAUSES
from podnet.rig.scenario.schema import ACTIONS, SCHEMA
from podnet.shapes import Shape

_Where = tuple[str | int, ...]
_SHAPE = Shape.of(Fields(SCHEMA))
_LONGEST_WAIT = 3600.0
_LONGEST = 50  # of a title


class ScenarioError(UsageError):
    """A scenario file that cannot be run; every line of the message has its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step.

    Attributes:
        action: One of ACTIONS, or "" for an expectation alone.
        given: Its keys.
        expect: What must come of it.
        about: Why.
        line: Where it is in the file.
        fault: Of ``fault``, and of ``heal`` but for "all": which.
    """

    action: str
    given: Fields
    expect: Fields
    about: str
    line: int
    fault: Fault | None = None

    @property
    def title(self) -> str:
        """The step in a few words."""
        words = [self.action]
        if self.action in {"fault", "heal"}:
            words.append(str(self.fault or "all"))
        for key in ("pod", "network", "from", "to", "seconds", "command"):
            value = self.given.get(key)
            if value is not None:
                words.append(" ".join(map(str, value)) if isinstance(value, list) else str(value))
        title = " ".join(" ".join(words).split())
        return (f"{title[:_LONGEST]}…" if len(title) > _LONGEST else title) or "expect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A scenario, before it is run.

    Attributes:
        path: The file.
        name: What it is about, in a sentence.
        about: More of it.
        issues: Public issues that it reproduces.
        runtime: "podnet" or "libcni".
        plugin_dirs: Directories of plugins; "podnet" for its own.
        stubs: Plugins that answer every call alike, by their type.
        timeout: Seconds that a plugin may take.
        networks: The networks.
        steps: What is done.
    """

    path: Path
    name: str
    about: str = ""
    issues: tuple[str, ...] = ()
    runtime: str = "podnet"
    plugin_dirs: tuple[str, ...] = ("podnet",)
    stubs: Mapping[str, Fields] = field(default_factory=dict)
    timeout: float = DEFAULT_TIMEOUT
    networks: tuple[Network, ...] = ()
    steps: tuple[Step, ...] = field(default=(), repr=False)


def load(path: Path) -> Scenario:
    """Read a scenario file.

    Raises:
        ScenarioError: It cannot be read, or has mistakes.
    """
    try:
        text = path.read_text()
        value, places = positions.load(text), positions.of(text)
    except (OSError, UnicodeDecodeError) as exc:
        raise ScenarioError(f"cannot read the scenario {path}: {exc}") from exc
    except yaml.YAMLError as exc:
        raise ScenarioError(f"{path}{_place_of(exc)}: no YAML: {_problem(exc)}") from None
    reader = _Reader(path, places)
    mistakes = [f"{reader.at(p.where)}: {p.message}{_hint(p)}" for p in _mistakes(value)]
    if mistakes:
        raise ScenarioError("\n".join(mistakes))
    return reader.scenario(Fields.of(value))


def _mistakes(value: object) -> Iterator[shapes.Problem]:
    if not isinstance(value, dict):
        yield shapes.Problem((), "a scenario is an object, with steps")
        return
    yield from shapes.check(value, _SHAPE, name="")


def _hint(problem: shapes.Problem) -> str:
    return f" ({problem.hint})" if problem.hint else ""


def _place_of(error: yaml.YAMLError) -> str:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    return f":{mark.line + 1}:{mark.column + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    return str(error.problem) if isinstance(error, yaml.MarkedYAMLError) else str(error)


@dataclass(frozen=True, slots=True)
class _Reader:
    """A file, and the place of everything in it."""

    path: Path
    places: Mapping[_Where, tuple[int, int]]

    def at(self, where: _Where) -> str:
        """Return a place, for a message; of what has none, of what it is in."""
        while where and where not in self.places:
            where = where[:-1]
        line, column = self.places.get(where, (1, 1))
        return f"{self.path}:{line}:{column}"

    def scenario(self, top: Fields) -> Scenario:
        timeout = top.get("timeout")
        twice = [w for w in self.places if w[:1] == ("twice",)]
        if twice:
            raise ScenarioError(f"{self.at(twice[0])}: the key {twice[0][-1]} stands twice")
        networks = tuple(self._networks(top.items("networks")))
        return Scenario(
            path=self.path,
            name=top.text("name") or self.path.stem,
            about=top.text("about").strip(),
            issues=top.texts("issues"),
            runtime=top.text("runtime") or "podnet",
            plugin_dirs=top.texts("plugin-dirs") or ("podnet",),
            stubs=dict(self._stubs(top)),
            timeout=self._seconds(timeout, ("timeout",)) if timeout else DEFAULT_TIMEOUT,
            networks=networks,
            steps=tuple(self._steps(top, {network.name for network in networks})),
        )

    def _networks(self, listed: Iterable[object]) -> Iterator[Network]:
        for number, value in enumerate(listed):
            try:
                yield Network.from_conflist(wire.dumps(value).encode(), "the network")
            except CniError as exc:
                raise ScenarioError(f"{self.at(('networks', number))}: {exc}") from None

    def _stubs(self, top: Fields) -> Iterator[tuple[str, Fields]]:
        stubs = top.child("stubs")
        for name in stubs.values if stubs else ():
            try:
                names.check_plugin_type(name)
            except CniError as exc:
                raise ScenarioError(f"{self.at(('stubs', name))}: {exc}") from None
            yield name, Fields.of(stubs.values[name] if stubs else None, name)

    def _steps(self, top: Fields, networks: set[str]) -> Iterator[Step]:
        for number, fields in enumerate(top.children("steps")):
            where: _Where = ("steps", number)
            actions = [name for name in ACTIONS if name in fields.values]
            if len(actions) > 1 or not (actions or fields.values.get("expect")):
                found = " and ".join(actions) or "nothing to do"
                raise ScenarioError(
                    f"{self.at(where)}: a step has one action, or expects something; "
                    f"this one has {found}",
                    f"there are: {', '.join(ACTIONS)}, expect",
                )
            action = actions[0] if actions else ""
            given = fields.get(action) if action else {}
            step = Step(
                action=action,
                given=Fields(given if isinstance(given, dict) else {}),
                expect=fields.child("expect") or Fields({}),
                about=fields.text("about"),
                line=self.places.get(where, (1, 1))[0],
                fault=self._fault(given, (*where, action)) if isinstance(given, str) else None,
            )
            self._check(step, (*where, action), networks)
            yield step

    def _fault(self, text: str, where: _Where) -> Fault | None:
        if (text, where[-1]) == ("all", "heal"):
            return None
        try:
            return Fault.parse(text)
        except UsageError as exc:
            raise ScenarioError(f"{self.at(where)}: {exc.message}", exc.hint) from None

    def _check(self, step: Step, where: _Where, networks: set[str]) -> None:
        """Check what no schema can say."""
        network = step.given.text("network")
        if network and network not in networks:
            there = ", ".join(sorted(networks)) or "none"
            raise ScenarioError(
                f"{self.at((*where, 'network'))}: there is no network {network}",
                f"there are: {there}",
            )
        if step.given.get("seconds") is not None:
            self._seconds(step.given.get("seconds"), (*where, "seconds"))
        cause = step.expect.text("cause")
        if cause and cause not in CAUSES:
            at = self.at((*where[:2], "expect", "cause"))
            raise ScenarioError(
                f"{at}: there is no cause {cause}", f"there are: {', '.join(CAUSES)}"
            )

    def _seconds(self, value: object, where: _Where) -> float:
        if not isinstance(value, int | float) or not 0 <= value <= _LONGEST_WAIT:
            raise ScenarioError(f"{self.at(where)}: {wire.shown(value)} is no number of seconds")
        return float(value)
