"""Configuration, declared once: a typed dataclass is parsed, described, and made a JSON Schema.

::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class ExampleConfig:
        mtu: int = key(0, least=0, most=65535, doc="For both ends; 0 is the kernel's choice.")
        is_gateway: bool = key(False, doc="The host's end gets the gateway's address.")
        mac: str = capability("mac", "", doc="The hardware address that is asked for.")

A field's JSON name is its own in lower camel case, unless ``name`` says otherwise.  It may
be a string, a number, a flag, a string map, another such dataclass, a value of the spec that
reads itself (``from_wire``: routes, dns), an object that is somebody else's to read (``Fields``,
or as it came: ``Mapping[str, object]``), or a list of any of these, or of lists.  Errors name
the field and the value.  Knows shapes and bounds; what excludes what is for the plugin to refuse, and may be declared too.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin

from podnet.cni import formats, wire
from podnet.cni.errors import InvalidConfigError
from podnet.cni.wire import Fields

T = TypeVar("T")
JsonSchema = dict[str, object]
_SCALARS = {str: "string", int: "integer", bool: "boolean"}


def key(  # noqa: PLR0913  the words of a declaration, all but one by name
    default: Any = MISSING,
    *,
    name: str = "",
    doc: str = "",
    least: int | None = None,
    most: int | None = None,
    choices: tuple[str, ...] = (),
    format: str = "",  # noqa: A002  JSON Schema's word
    own_words: bool = False,
    needs: str = "",
    excludes: str = "",
    example: object = None,
) -> Any:
    """Declare a key of the configuration.

    Args:
        default: What a missing key or ``null`` means; without one the key is required.
        name: Its JSON name, where that is not the field's in camel case.
        doc: What it is for, one sentence.
        least: The smallest number allowed.
        most: The largest.
        choices: The strings allowed.
        format: What the string, or each of a list, is: a word of :mod:`podnet.cni.formats`.
            "" is allowed; a plugin that needs more says so.
        own_words: The plugin refuses what is no choice, or not of the format, in words of its own.
        needs: The key that must be given with it; the plugin refuses it, the schema says so.
        excludes: The flag that may not be true with this one; likewise.
        example: A value to show who meets the plugin for the first time.
    """
    bounds = {"name": name, "doc": doc, "least": least, "most": most, "choices": choices}
    bounds |= {"format": format, "own_words": own_words, "needs": needs, "excludes": excludes}
    return field(default=default, metadata=bounds | {"example": example})


def capability(name: str, default: Any, *, doc: str = "") -> Any:
    """Declare a capability argument: it comes in ``runtimeConfig``, where a chain declares it."""
    return field(default=default, metadata={"name": name, "doc": doc, "capability": True})


def read(kind: type[T], config: Fields, section: str = "") -> T:
    """Read a configuration.

    Args:
        kind: A dataclass of declared fields.
        config: The object with its keys; capability arguments are in its ``runtimeConfig``.
        section: Where in it the keys are, other than capability arguments: "ipam".

    Raises:
        DecodeError: A value of the wrong type.
        InvalidConfigError: A value out of bounds, or a required key or the section is missing.
    """
    runtime_config = config.child("runtimeConfig") or Fields({}, "runtimeConfig")
    own = config.child(section) if section else config
    if own is None:
        raise InvalidConfigError(f"{section.upper()} config missing '{section}' key")
    values = {
        one.name: _value(one, name, runtime_config if is_capability else own)
        for one, name, is_capability in _declared(cast("type", kind))
    }
    return kind(**values)


@cache
def _declared(kind: type) -> "list[tuple[Field[Any], str, bool]]":
    """Return a declaration's fields, their JSON names, and which are capability arguments."""
    return [(one, _json_name(one), _is_capability(one)) for one in fields(kind)]


def schema(kind: type) -> JsonSchema:
    """Return the JSON Schema of a configuration's own keys; others are allowed beside them."""
    declared = fields(kind)
    keys = [one for one in declared if not _is_capability(one)]
    asked_for = {name: {"type": "boolean"} for name in capabilities(kind)}
    properties: JsonSchema = {_json_name(one): _field_schema(one) for one in keys}
    if asked_for:
        properties["capabilities"] = {"type": "object", "properties": asked_for}
    made: JsonSchema = {"type": "object", "properties": properties}
    required = [_json_name(one) for one in keys if one.default is MISSING]
    needs = {_json_name(one): [one.metadata["needs"]] for one in keys if one.metadata.get("needs")}
    excluded = [
        _not_both(_json_name(one), one.metadata["excludes"])
        for one in keys
        if one.metadata.get("excludes")
    ]
    beside = {"required": required, "dependencies": needs, "allOf": excluded}
    return made | {word: said for word, said in beside.items() if said}


def _not_both(*flags: str) -> JsonSchema:
    """Return that not all of *flags* may be true."""
    properties = {flag: {"const": True} for flag in flags}
    return {"not": {"properties": properties, "required": list(flags)}}


def capabilities(kind: type) -> JsonSchema:
    """Return the JSON Schema of each capability argument, by its name."""
    return {_json_name(one): _field_schema(one) for one in fields(kind) if _is_capability(one)}


def text(config: Fields, name: str) -> str:
    """Read a string that the system can be told: as part of a path, or as a name.

    Raises:
        DecodeError: It is none.
        InvalidConfigError: It has a NUL or half a character in it.
    """
    value = config.text(name)
    _check_fit(value, config.path(name))
    return value


def _check_fit(value: str, path: str) -> None:
    if trouble := formats.unfit(value):
        raise InvalidConfigError(f"{path} {trouble}", wire.shown(value))


_READERS: Mapping[object, Callable[[Fields, str], object]] = {
    str: text,
    bool: Fields.flag,
    int: Fields.number,
}


def _value(one: "Field[Any]", name: str, config: Fields) -> object:
    if config.get(name) is None:
        if one.default is MISSING:
            raise InvalidConfigError(f"{config.path(name)} is missing", _doc(one))
        return one.default
    value = _read_as(_given(one.type), config, name)
    _check_bounds(one, value, config.path(name))
    return value


def _read_as(kind: object, config: Fields, name: str) -> object:
    if kind in _READERS:
        return _READERS[kind](config, name)
    if get_origin(kind) is tuple:
        (member, _) = get_args(kind)
        items = {f"{name}[{i}]": item for i, item in enumerate(config.items(name))}
        members = Fields(items, config.where)
        return tuple(_read_as(member, members, item) for item in items)
    return _read_object(kind, config.child(name) or Fields({}, config.path(name)))


def _read_object(kind: object, child: Fields) -> object:
    if kind is Fields:
        return child
    if hasattr(kind, "from_wire"):
        return kind.from_wire(child)
    if is_dataclass(kind):
        return read(cast("type[object]", kind), child)
    if _is_any_object(kind):
        return child.values
    for name in child.values:
        _check_fit(name, f"a key of {child.where}")
    return {name: text(child, name) for name in child.values}


def _check_bounds(one: "Field[Any]", value: object, path: str) -> None:
    least, most = one.metadata.get("least"), one.metadata.get("most")
    choices = one.metadata.get("choices")
    if isinstance(value, int) and not isinstance(value, bool):
        too_small = least is not None and value < least
        if too_small or (most is not None and value > most):
            raise InvalidConfigError(f"{path} must be {_bounds(least, most)}, not {value}")
    if one.metadata.get("own_words"):
        return
    _check_format(str(one.metadata.get("format", "")), value, path)
    if choices and value not in choices:
        raise InvalidConfigError(f"{path} must be {' or '.join(choices)}, not {wire.dumps(value)}")


def _check_format(word: str, value: object, path: str) -> None:
    if word and isinstance(value, tuple):
        for index, item in enumerate(value):
            _check_format(word, item, f"{path}[{index}]")
    elif isinstance(value, str) and (trouble := formats.problem(word, value)):
        raise InvalidConfigError(f"{path} {wire.shown(value)}: {trouble}")


def _bounds(least: int | None, most: int | None) -> str:
    if least is None or most is None:
        return f"at most {most}" if least is None else f"at least {least}"
    return f"between {least} and {most}"


def _field_schema(one: "Field[Any]") -> JsonSchema:
    made = _type_schema(_given(one.type))
    innermost(made).update({"format": one.metadata["format"]} if one.metadata.get("format") else {})
    bounds: Mapping[str, object] = {
        "description": _doc(one),
        "minimum": one.metadata.get("least"),
        "maximum": one.metadata.get("most"),
        "enum": list(one.metadata.get("choices") or ()),
        "default": one.default if isinstance(one.default, str | int | bool) else None,
        "examples": [one.metadata["example"]] if one.metadata.get("example") is not None else [],
    }
    return made | {name: value for name, value in bounds.items() if value not in (None, "", [])}


def innermost(made: JsonSchema) -> JsonSchema:
    """Return what a schema says of a list's members, or of a value that is no list."""
    items = made.get("items")
    return innermost(items) if isinstance(items, dict) else made


def _type_schema(kind: object) -> JsonSchema:
    if isinstance(kind, type) and kind in _SCALARS:
        return {"type": _SCALARS[kind]}
    if get_origin(kind) is tuple:
        return {"type": "array", "items": _type_schema(get_args(kind)[0])}
    if kind is Fields or hasattr(kind, "from_wire"):
        return {"type": "object"}
    if isinstance(kind, type) and is_dataclass(kind):
        return schema(kind)
    if _is_any_object(kind):
        return {"type": "object"}
    return {"type": "object", "additionalProperties": {"type": "string"}}


def _is_any_object(kind: object) -> bool:
    return get_args(kind)[1:] == (object,)


def _given(kind: object) -> object:
    """Return what ``X | None`` is when it is given."""
    members = [member for member in get_args(kind) if member is not type(None)]
    return members[0] if isinstance(kind, UnionType) else kind


def _is_capability(one: "Field[Any]") -> bool:
    return bool(one.metadata.get("capability"))


def _doc(one: "Field[Any]") -> str:
    return str(one.metadata.get("doc", ""))


def _json_name(one: "Field[Any]") -> str:
    if one.metadata.get("name"):
        return str(one.metadata["name"])
    first, *rest = one.name.split("_")
    return first + "".join(word.capitalize() for word in rest)
