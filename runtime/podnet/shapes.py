"""What a configuration may hold: the part of JSON Schema that plugins describe themselves with.

Pure.  Checks a value against a shape, key by key, and says where each mistake is.  Names
match in any case and ``null`` is an absent value, as for the plugins themselves: which is
why no validator of JSON Schema would do.  A shape comes from a plugin, and is not trusted.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from podnet.cni import formats, wire
from podnet.cni.errors import DecodeError
from podnet.cni.wire import Fields

Where = tuple[str | int, ...]
_DEEPEST = 16
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}
_WORDS = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one value may be.

    Attributes:
        kind: JSON Schema's word for its type; "" for any.
        least: The smallest number allowed.
        most: The largest.
        choices: The values allowed; empty for all.
        format: Of a string: a word of :mod:`podnet.cni.formats`, or of somebody else's.
        members: Of a list: what each may be.
        keys: Of an object: the keys it is known to have.
        values: Of an object: what the value of any other key may be; ``None`` for anything.
        is_closed: Of an object: other keys mean nothing.
        required: The keys that must be there.
        needs: The keys that another one must not be without; one that is off needs nothing.
        excluded: Flags that must not all be true.
    """

    kind: str = ""
    least: int | None = None
    most: int | None = None
    choices: tuple[object, ...] = ()
    format: str = ""
    members: "Shape | None" = None
    keys: "Mapping[str, Shape]" = field(default_factory=dict)
    values: "Shape | None" = None
    is_closed: bool = False
    required: tuple[str, ...] = ()
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    excluded: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, made: Fields, depth: int = 0) -> "Shape":
        """Read a JSON Schema; what it says beyond this class is left aside.

        Raises:
            DecodeError: A word of it has the wrong type, or it is nested too deeply.
        """
        if depth > _DEEPEST:
            raise DecodeError("the schema is nested too deeply")

        def inner(name: str) -> "Shape | None":
            child = made.child(name) if isinstance(made.get(name), dict) else None
            return None if child is None else cls.of(child, depth + 1)

        properties = made.child("properties") or Fields({})
        listed = made.get("enum")
        return cls(
            kind=made.text("type"),
            least=made.number("minimum"),
            most=made.number("maximum"),
            choices=tuple(listed) if isinstance(listed, list) else (),
            format=made.text("format"),
            members=inner("items"),
            keys={
                name: cls.of(Fields.of(value, properties.path(name)), depth + 1)
                for name, value in properties.values.items()
            },
            values=inner("additionalProperties"),
            is_closed=made.get("additionalProperties") is False,
            required=made.texts("required"),
            needs=_needs(made.child("dependencies") or Fields({})),
            excluded=tuple(filter(None, map(_excluded, made.children("allOf")))),
        )


def _needs(made: Fields) -> dict[str, tuple[str, ...]]:
    return {name: made.texts(name) for name in made.values if isinstance(made.get(name), list)}


def _excluded(made: Fields) -> tuple[str, ...]:
    """Return the flags of which a schema says that they may not all be true; none if it says more."""
    refused = made.child("not") or Fields({})
    flags, properties = refused.texts("required"), refused.child("properties") or Fields({})
    true = {name: {"const": True} for name in flags}
    return (
        flags
        if properties.values == true and {*refused.values} == {"properties", "required"}
        else ()
    )


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a value.

    Attributes:
        where: The path to it, keys as they are spelled there.
        message: What is wrong.
        hint: What to do; may be empty.
        harmless: It is only ignored.
    """

    where: Where
    message: str
    hint: str = ""
    harmless: bool = False


def check(
    value: object, shape: Shape, where: Where = (), name: str = "", *, whole: str = "the plugin"
) -> Iterator[Problem]:
    """Yield what is wrong with *value*.

    Args:
        value: A value of parsed JSON.
        shape: What it may be.
        where: Its path, for the problems.
        name: What it is called in messages, before its keys.
        whole: And what, where that is nothing.
    """
    if value is None:
        return
    if not _is_a(value, shape.kind):
        wanted = _WORDS.get(shape.kind, shape.kind)
        yield Problem(where, f"{name or whole} must be {wanted}, not {wire.shown(value)}")
    elif isinstance(value, dict):
        yield from _check_object(value, shape, where, name, whole)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if shape.members:
                yield from check(item, shape.members, (*where, index), f"{name}[{index}]")
    else:
        yield from _check_scalar(value, shape, where, name)


def _is_a(value: object, kind: str) -> bool:
    if kind not in _TYPES:  # a word that we do not know forbids nothing
        return True
    return isinstance(value, _TYPES[kind]) and isinstance(value, bool) == (kind == "boolean")


def _check_object(
    value: Mapping[str, object], shape: Shape, where: Where, name: str, whole: str
) -> Iterator[Problem]:
    fields = Fields(value, name)
    for key in shape.required:
        if fields.get(key) is None:
            yield Problem(where, f"{fields.path(key)} is missing")
    yield from _check_together(fields, shape, where)
    for key, item in value.items():
        known = Fields(shape.keys).get(key) or shape.values
        if isinstance(known, Shape):
            yield from check(item, known, (*where, key), fields.path(key))
        elif shape.is_closed:
            yield _unknown(key, list(shape.keys), (*where, key), name or whole)


def _check_together(fields: Fields, shape: Shape, where: Where) -> Iterator[Problem]:
    for key, needed in shape.needs.items():
        for other in needed:
            if fields.get(key) and not fields.get(other):
                yield Problem((*where, _spelled(fields, key)), f"{fields.path(key)} needs {other}")
    for flags in shape.excluded:
        if all(fields.get(flag) is True for flag in flags):
            named = " and ".join(map(fields.path, flags))
            yield Problem((*where, _spelled(fields, flags[0])), f"{named} exclude each other")


def _spelled(fields: Fields, key: str) -> str:
    """Return how a key that is there is spelled: its case is no matter."""
    folded = key.casefold()
    return next(name for name in fields.values if name.casefold() == folded)


def _unknown(key: str, known: list[str], where: Where, name: str) -> Problem:
    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(key.casefold(), folded, n=1)
    hint = f"did you mean {folded[near[0]]}?" if near else f"known: {', '.join(sorted(known))}"
    return Problem(where, f"{name} has no key {key}", hint, harmless=True)


def _check_scalar(value: object, shape: Shape, where: Where, name: str) -> Iterator[Problem]:
    if shape.choices and value not in shape.choices:
        wanted = " or ".join(wire.dumps(choice) for choice in shape.choices)
        yield Problem(where, f"{name} must be {wanted}, not {wire.shown(value)}")
    if isinstance(value, str):
        if trouble := formats.unfit(value):
            yield Problem(where, f"{name} {trouble}")
        elif trouble := formats.problem(shape.format, value):
            yield Problem(where, f"{name} {wire.shown(value)}: {trouble}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if shape.least is not None and value < shape.least:
            yield Problem(where, f"{name} must be at least {shape.least}, not {value}")
        if shape.most is not None and value > shape.most:
            yield Problem(where, f"{name} must be at most {shape.most}, not {value}")
