"""What a plugin says of itself: to programs as JSON, to whoever runs it by hand in sentences.

Reads the declaration, a :class:`~podnet_plugins.skel.Plugin`, and nothing else; loaded only
when somebody asks, since every other start of a plugin is a pod that waits.
"""

import os
import shlex
from collections.abc import Iterator, Mapping
from typing import cast

from podnet.cni import wire
from podnet_plugins import schema
from podnet_plugins.schema import JsonSchema
from podnet_plugins.skel import DESCRIBE, Plugin

#: By these a reader knows that an answer is a description, and not one to VERSION.
API_VERSION, KIND = "podnet/v1", "PluginDescription"
_PLACEHOLDERS: Mapping[object, object] = {
    "integer": 0,
    "boolean": False,
    "array": [],
    "object": {},
    "string": "",
}


def description(plugin: Plugin) -> dict[str, object]:
    """Return what ``--describe`` prints.

    ``schema`` is the JSON Schema of the object that the keys stand in: the plugin's own in a
    chain, or its section.  It is ``null`` for a plugin that declares no keys.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "type": plugin.name,
        "about": plugin.about,
        "versions": list(plugin.versions),
        "section": plugin.section,
        "chained": plugin.chained,
        "keys": [_entry(name, made, required=must) for name, made, must in _keys(plugin)],
        "capabilities": [_entry(name, made) for name, made in _capabilities(plugin).items()],
        "schema": _schema(plugin),
    }


def introduction(plugin: Plugin, executable: str) -> str:
    """Return what a person reads who runs the plugin by hand.

    Args:
        plugin: The plugin.
        executable: How it was called; its directory is what CNI_PATH names in the example.
    """
    lines = [
        f"CNI {plugin.name} plugin (podnet)",
        f"CNI protocol versions supported: {', '.join(plugin.versions)}",
        *([plugin.about] if plugin.about else []),
        "",
        *_listed(f"Keys{f' of its section {plugin.section}' if plugin.section else ''}:", plugin),
        "It is run by a container runtime, with CNI_COMMAND set and a configuration on stdin. By hand:",
        *_example(plugin, os.path.abspath(executable)),  # noqa: PTH100  keep links
        f"{DESCRIBE} prints all of this as JSON.",
    ]
    return "\n".join(lines) + "\n"


def _schema(plugin: Plugin) -> JsonSchema | None:
    if plugin.config is None:
        return None
    return {"title": plugin.name, "description": plugin.about, **schema.schema(plugin.config)}


def _keys(plugin: Plugin) -> Iterator[tuple[str, JsonSchema, bool]]:
    made = _schema(plugin) or {}
    required = cast("list[str]", made.get("required", []))
    for name, shape in cast("dict[str, JsonSchema]", made.get("properties", {})).items():
        if name != "capabilities":
            yield name, shape, name in required


def _capabilities(plugin: Plugin) -> dict[str, JsonSchema]:
    found = schema.capabilities(plugin.config) if plugin.config else {}
    return cast("dict[str, JsonSchema]", found)


def _entry(name: str, made: JsonSchema, *, required: bool = False) -> dict[str, object]:
    """Return one key as a flat row: what a table shows."""
    row = {
        "name": name,
        "type": _type(made),
        "doc": made.get("description", ""),
        "default": made.get("default"),
        "least": made.get("minimum"),
        "most": made.get("maximum"),
        "choices": made.get("enum"),
        "format": schema.innermost(made).get("format"),
        "required": required or None,
    }
    return {key: value for key, value in row.items() if value is not None}


def _type(made: object) -> str:
    """Return a type in a word or two: "integer", "list of string"."""
    shape = cast("JsonSchema", made)
    if shape.get("type") == "array":
        return f"list of {_type(shape.get('items', {}))}"
    if "additionalProperties" in shape:
        return f"map of {_type(shape['additionalProperties'])}"
    return str(shape.get("type", "object"))


def _listed(title: str, plugin: Plugin) -> list[str]:
    rows = [_line(_entry(name, made, required=must)) for name, made, must in _keys(plugin)]
    asked_for = [_line(_entry(name, made)) for name, made in _capabilities(plugin).items()]
    return [
        *([title, *rows, ""] if rows else []),
        *(["Capabilities:", *asked_for, ""] if asked_for else []),
    ]


def _line(entry: Mapping[str, object]) -> str:
    bounds = [
        "required" if entry.get("required") else "",
        f"at least {entry['least']}" if "least" in entry else "",
        f"at most {entry['most']}" if "most" in entry else "",
        f"default {wire.dumps(entry['default'])}" if "default" in entry else "",
    ]
    known = ", ".join([str(entry["type"]), *filter(None, bounds)])
    return f"  {entry['name']} ({known})  {entry['doc']}".rstrip()


def _example(plugin: Plugin, executable: str) -> list[str]:
    """Return command lines that can be pasted; the namespace is one of ``ip netns add demo``."""
    keys = {name: _sample(made) for name, made, required in _keys(plugin) if required}
    own = {"type": plugin.name, **keys}
    config: dict[str, object] = {"cniVersion": plugin.versions[-1], "name": "demo"}
    config |= {"type": "the-interface-plugin", plugin.section: own} if plugin.section else own
    if plugin.chained:
        interfaces = [{"name": "eth0", "sandbox": "/run/netns/demo"}]
        config["prevResult"] = {"cniVersion": plugin.versions[-1], "interfaces": interfaces}
    parameters = "CNI_CONTAINERID=demo CNI_IFNAME=eth0 CNI_NETNS=/run/netns/demo"
    where = f"CNI_PATH={os.path.dirname(executable)}"  # noqa: PTH120
    return [
        f"  CNI_COMMAND=VERSION {executable}",
        f"  echo {shlex.quote(wire.dumps(config))} |",
        f"    CNI_COMMAND=ADD {parameters} {where} {executable}",
    ]


def _sample(made: JsonSchema) -> object:
    """Return a value for a required key: its example, or the least there is of its type."""
    examples = cast("list[object]", made.get("examples") or made.get("enum") or [])
    if examples:
        return examples[0]
    return made.get("minimum", _PLACEHOLDERS.get(made.get("type"), ""))
