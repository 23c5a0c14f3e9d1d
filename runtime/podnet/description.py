"""What a plugin says of itself.

A plugin that is written with podnet's SDK prints a description when it is asked; every other
one takes the question for VERSION, and has nothing to say beyond that.  Asks one plugin at a
time, through an executor, and trusts no answer.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from podnet import answer, plan
from podnet.cni import CniError, wire
from podnet.cni.wire import Fields
from podnet.execute import Executor
from podnet.shapes import Shape

_API_VERSION, _KIND = "podnet/v1", "PluginDescription"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a plugin is.

    Attributes:
        type: Its type.
        path: Its executable.
        versions: The spec versions that it speaks.
        about: One sentence.
        section: Where its keys stand: "" in its own object, or "ipam".
        chained: It needs a plugin before it.
        keys: Its keys, as rows of a table.
        capabilities: The capability arguments that it knows, likewise.
        schema: The JSON Schema of the object that its keys stand in; ``None`` if it has none.
        is_described: It says all this itself; only type, path and versions otherwise.
    """

    type: str
    path: Path
    versions: tuple[str, ...]
    about: str = ""
    section: str = ""
    chained: bool = False
    keys: tuple[Mapping[str, object], ...] = ()
    capabilities: tuple[Mapping[str, object], ...] = ()
    schema: Mapping[str, object] | None = None
    is_described: bool = False

    @classmethod
    def from_wire(cls, fields: Fields, plugin: str, path: Path) -> "Description":
        """Read a plugin's answer.

        Raises:
            DecodeError: A field has the wrong type, or the schema makes no sense.
        """
        schema = fields.child("schema")
        if schema is not None:
            Shape.of(schema)
        return cls(
            type=plugin,
            path=path,
            versions=fields.texts("versions"),
            about=_printable(fields.text("about")),
            section=_printable(fields.text("section")),
            chained=fields.flag("chained"),
            keys=tuple(_row(row) for row in fields.children("keys")),
            capabilities=tuple(_row(row) for row in fields.children("capabilities")),
            schema=None if schema is None else schema.values,
            is_described=True,
        )

    def to_wire(self) -> dict[str, object]:
        """Return it for ``-o json``."""
        return {
            "type": self.type,
            "path": str(self.path),
            "about": self.about,
            "versions": list(self.versions),
            "section": self.section,
            "chained": self.chained,
            "described": self.is_described,
            "keys": [dict(row) for row in self.keys],
            "capabilities": [dict(row) for row in self.capabilities],
            "schema": self.schema,
        }


def _row(fields: Fields) -> dict[str, object]:
    texts = {name: _printable(fields.text(name)) for name in ("name", "type", "doc")}
    others = ("default", "least", "most", "choices", "format", "required")
    return texts | {name: value for name in others if (value := fields.get(name)) is not None}


def _printable(text: str) -> str:
    """Return *text* without what could move a terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in text)


def ask(executor: Executor, plugin: str, path: Sequence[str] = ()) -> Description:
    """Ask *plugin* what it is.

    Raises:
        UsageError: It is not there.
        PluginError: It failed, or its answer makes no sense.
    """
    outcome = executor.run(plan.describe(plugin, path))
    answer.raise_for_failure(outcome)
    try:
        fields = Fields.of(wire.loads(outcome.stdout, "its output"))
        if fields.get("apiVersion") == _API_VERSION and fields.get("kind") == _KIND:
            return Description.from_wire(fields, plugin, outcome.binary)
    except CniError as exc:
        raise answer.PluginError(outcome, exc) from None
    spoken = answer.versions(outcome).supported
    return Description(type=plugin, path=outcome.binary, versions=spoken)


def installed(path: Sequence[str]) -> dict[str, Path]:
    """Return every plugin of a search path by its type, the first of a type only."""
    found: dict[str, Path] = {}
    for directory in map(Path, path):
        for file in sorted(directory.glob("*")) if directory.is_dir() else ():
            if file.is_file() and not file.name.startswith("."):
                found.setdefault(file.name, file)
    return {name: file for name, file in found.items() if os.access(file, os.X_OK)}


@dataclass(slots=True)
class Catalogue:
    """What is known of plugins: each is asked once, and one that says nothing has a stand-in.

    Attributes:
        executor: Asks them.
        own: podnet's own directory: its plugins speak for others of the same type.
    """

    executor: Executor
    own: Sequence[str]
    _said: dict[str, Description] = field(default_factory=dict)
    _known: dict[str, Description] = field(default_factory=dict)

    def said(self, plugin: str) -> Description:
        """Return what *plugin* itself says.

        Raises:
            UsageError: It is not there.
            PluginError: It failed, or its answer makes no sense.
        """
        if plugin not in self._said:
            self._said[plugin] = ask(self.executor, plugin)
        return self._said[plugin]

    def get(self, plugin: str) -> Description:
        """Return what *plugin* says of itself, else what podnet's own of that type says.

        Raises:
            UsageError: It is not there.
            PluginError: It failed, or its answer makes no sense.
        """
        if plugin not in self._known:
            found = self.said(plugin)
            if not found.is_described and any(Path(d, plugin).is_file() for d in self.own):
                found = ask(self.executor, plugin, self.own)
            self._known[plugin] = found
        return self._known[plugin]
