"""JSON Schema of what a conflist may hold, put together from what its plugins say of themselves.

Pure.  One object of a chain for lint, the whole file for editors (draft 7, which they all know).
"""

from collections.abc import Iterable, Mapping

from podnet.cni import RELEASED
from podnet.description import Description

JsonSchema = Mapping[str, object]
_IPAM = "ipam"
_TEXT: JsonSchema = {"type": "string"}
_TEXTS: JsonSchema = {"type": "array", "items": _TEXT}
_FLAG: JsonSchema = {"type": "boolean"}
#: What a plugin's object may hold besides the plugin's own keys (SPEC section 1, CONVENTIONS.md).
_SHARED: JsonSchema = {
    "type": _TEXT,
    "name": _TEXT,
    "cniVersion": _TEXT,
    "capabilities": {"type": "object", "additionalProperties": _FLAG},
    "runtimeConfig": {"type": "object"},
    "prevResult": {"type": "object"},
    "args": {"type": "object"},
    _IPAM: {"type": "object", "properties": {"type": _TEXT}},
    "dns": {
        "type": "object",
        "properties": {
            "nameservers": _TEXTS,
            "domain": _TEXT,
            "search": _TEXTS,
            "options": _TEXTS,
        },
        "additionalProperties": False,
    },
}


def of_plugin(plugin: Description, manager: Description | None = None) -> dict[str, object]:
    """Return the schema of one plugin's object in a chain.

    Args:
        plugin: The plugin; without a schema of its own any key may be one of its.
        manager: The plugin of its ``ipam`` section; ``None`` if it has none.
    """
    own = _closed(_declared(plugin, ""))
    properties = {**_SHARED, **_properties(own)}
    speakers = [plugin, *([manager] if manager else [])]
    if all(one.schema is not None for one in speakers):
        asked = {str(row["name"]): _FLAG for one in speakers for row in one.capabilities}
        properties["capabilities"] = {**_closed({"type": "object", "properties": asked})}
    if manager is not None:
        properties[_IPAM] = _section(manager)
    whole = {**own, "type": "object", "properties": properties}
    return whole | ({"additionalProperties": False} if plugin.schema is not None else {})


def of_conflist(plugins: Iterable[Description]) -> dict[str, object]:
    """Return the schema of a whole conflist, for editors.

    Args:
        plugins: Every plugin that could be named in it.
    """
    known = list(plugins)
    managers = [one for one in known if one.section == _IPAM and one.schema is not None]
    others = [one for one in known if one.section != _IPAM and one.schema is not None]
    shared: dict[str, object] = {**_SHARED, "type": _one_of(others)}
    shared[_IPAM] = {
        "type": "object",
        "properties": {"type": _one_of(managers)},
        **_all_of(_when(one.type, _section(one)) for one in managers),
    }
    flag = {"type": ["boolean", "string"]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "CNI network configuration list",
        "type": "object",
        "properties": {
            "cniVersion": {"enum": list(RELEASED)},
            "cniVersions": {"type": "array", "items": {"enum": list(RELEASED)}},
            "name": {"type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9_.-]*$"},
            **dict.fromkeys(("disableCheck", "disableGC", "loadOnlyInlinedPlugins"), flag),
            "plugins": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": shared,
                    "required": ["type"],
                    **_all_of(_when(one.type, _for_editors(one)) for one in others),
                },
            },
        },
        "required": ["name"],
        "additionalProperties": False,
    }


def _for_editors(plugin: Description) -> JsonSchema:
    """Return a plugin's object; its ``ipam`` is checked where all of them are known."""
    made = of_plugin(plugin)
    properties = {**_properties(made)}
    asked = {str(row["name"]): _FLAG for row in plugin.capabilities}
    properties["capabilities"] = {
        "type": "object",
        "properties": asked,
        "additionalProperties": _FLAG,  # those of its IPAM plugin
    }
    return made | {"properties": properties}


def _one_of(plugins: list[Description]) -> JsonSchema:
    """Offer these types, and forbid no other."""
    return {"type": "string", "examples": [one.type for one in plugins]}


def _all_of(schemas: Iterable[JsonSchema]) -> JsonSchema:
    """Require all of them; of none there must not be a word."""
    listed = list(schemas)
    return {"allOf": listed} if listed else {}


def _when(plugin: str, then: JsonSchema) -> JsonSchema:
    return {"if": {"properties": {"type": {"const": plugin}}, "required": ["type"]}, "then": then}


def _section(manager: Description) -> JsonSchema:
    """Return the schema of an ``ipam`` section."""
    own = _closed(_declared(manager, _IPAM))
    properties = {**_properties(own), "type": _TEXT}
    properties.pop("capabilities", None)  # they are declared beside the section
    whole = {**own, "type": "object", "properties": properties}
    return whole | ({"additionalProperties": False} if own else {})


def _declared(plugin: Description, section: str) -> JsonSchema:
    """Return what a plugin declares for a place; nothing if its keys stand elsewhere."""
    return plugin.schema if plugin.schema is not None and plugin.section == section else {}


def _properties(made: JsonSchema) -> JsonSchema:
    found = made.get("properties")
    return found if isinstance(found, Mapping) else {}


def _closed(made: JsonSchema) -> JsonSchema:
    """Return a schema in which every object that lists its keys has no others."""
    changed: dict[str, object] = dict(made)
    if isinstance(made.get("items"), Mapping):
        changed["items"] = _closed(made["items"])  # type: ignore[arg-type]
    if "properties" in made:
        inner = _properties(made).items()
        changed["properties"] = {
            name: _closed(one) if isinstance(one, Mapping) else one for name, one in inner
        }
        changed.setdefault("additionalProperties", False)
    return changed
