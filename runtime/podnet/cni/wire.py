"""JSON in and out, strictly: bytes to values, values to bytes, and objects read field by field.

Knows what Go's encoding/json writes and refuses, since most plugins are written in Go;
knows nothing of what the fields mean.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from podnet.cni.errors import DecodeError

# Go prints integral numbers below this one without an exponent, and decodes no other
# spelling into an int; from here on a float is left as it is.
_LARGEST_PLAIN = 1e21
_BOM = b"\xef\xbb\xbf"
_EXCERPT = 80


def loads(text: bytes, what: str = "JSON") -> object:
    """Parse one JSON document.

    Args:
        text: UTF-8, exactly one document, no byte order mark.
        what: What the text is, for the message ("the conflist x.conflist").

    Raises:
        DecodeError: With line and column where the text breaks.
    """
    if text.startswith(_BOM):
        raise DecodeError(
            f"{what} starts with a byte order mark (BOM): save it as plain UTF-8", line=1, column=1
        )
    try:
        return _DECODER.decode(text.decode())
    except json.JSONDecodeError as exc:
        raise _broken(what, exc, text) from None
    except UnicodeDecodeError as exc:
        before = text[: exc.start]
        line, column = before.count(b"\n") + 1, exc.start - before.rfind(b"\n")
        raise DecodeError(
            f"{what} is not UTF-8: byte 0x{text[exc.start]:02x} at line {line} column {column}",
            line=line,
            column=column,
        ) from None
    except RecursionError:
        raise DecodeError(f"{what} is nested too deeply") from None
    except ValueError as exc:  # NaN, Infinity, 1e999, or a number of thousands of digits
        raise DecodeError(f"{what} is not valid JSON: {exc}") from None


def _broken(what: str, exc: json.JSONDecodeError, text: bytes) -> DecodeError:
    if not text.strip():
        return DecodeError(f"{what} is empty", line=1, column=1)
    lines = exc.doc.rstrip().split("\n")
    start = max(0, exc.colno - _EXCERPT // 2)
    excerpt = lines[min(exc.lineno, len(lines)) - 1][start : start + _EXCERPT].strip()
    return DecodeError(
        f"{what} is not valid JSON: {exc.msg} at line {exc.lineno} column {exc.colno}",
        f"near: {excerpt}" if excerpt else "",
        line=exc.lineno,
        column=exc.colno,
    )


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:_EXCERPT]} is too large")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant)


def dumps(value: object, *, indent: int | None = None) -> str:
    """Write *value* so that a Go plugin reads what was meant.

    Integral floats become integers (Go refuses ``1500.0`` for an int), keys keep their
    order, and what JSON cannot say is an error.

    Raises:
        DecodeError: For NaN, Infinity, values that are not JSON's, and too deep nesting.
    """
    encoder = _COMPACT if indent is None else json.JSONEncoder(allow_nan=False, indent=indent)
    try:
        return encoder.encode(_plain(value))
    except (TypeError, ValueError) as exc:
        raise DecodeError(f"cannot be written as JSON: {exc}") from None
    except RecursionError:
        raise DecodeError("cannot be written as JSON: nested too deeply") from None


_COMPACT = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
# Most values are of these, and every invocation's request and result pass here.
_ALREADY_PLAIN = frozenset({str, int, bool, type(None)})


def _plain(value: object) -> object:
    if isinstance(value, dict | Mapping):  # of a dict Mapping need not be asked
        return {
            key: item if type(item) in _ALREADY_PLAIN else _plain(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [item if type(item) in _ALREADY_PLAIN else _plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_PLAIN:
        return int(value)
    return value


def type_name(value: object) -> str:
    """Return JSON's own word for the type of *value*."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"


def shown(value: object) -> str:
    """Return *value* for a message: lists and objects by their type, the rest as JSON, short."""
    return type_name(value) if isinstance(value, dict | list) else dumps(value)[:_EXCERPT]


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object, read field by field; a value of the wrong type is an error with its path.

    Field names match in any case, as in Go, the exact spelling first. An absent field and
    ``null`` are the same: the default.

    Attributes:
        values: The object.
        where: Its path from the top, for messages; empty at the top.
    """

    values: Mapping[str, object]
    where: str = ""

    @classmethod
    def of(cls, value: object, where: str = "") -> "Fields":
        """Take *value* for an object.

        Raises:
            DecodeError: It is something else.
        """
        if not isinstance(value, dict):
            raise DecodeError(
                f"{where or 'the document'} must be an object, not {type_name(value)}"
            )
        return cls(value, where)

    def path(self, key: str) -> str:
        """Return the full path of field *key*."""
        return f"{self.where}.{key}" if self.where else key

    def get(self, key: str) -> object:
        """Return the value of *key*, whatever it is; ``None`` when there is none."""
        if key in self.values:
            return self.values[key]
        folded, length = key.casefold(), len(key)
        for other, value in self.values.items():
            if len(other) == length and other.casefold() == folded:
                return value
        return None

    def has(self, key: str) -> bool:
        """Tell whether the field is there; ``null`` is."""
        folded = key.casefold()
        return key in self.values or any(other.casefold() == folded for other in self.values)

    def text(self, key: str, default: str = "") -> str:
        """Return a string field."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            self._wrong(key, "a string", value)
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return a boolean field."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self._wrong(key, "true or false", value)
        return value

    def number(self, key: str) -> int | None:
        """Return a whole number, or ``None`` when the field is absent."""
        value = self.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self._wrong(key, "a whole number", value)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings; empty when the field is absent."""
        items = self.items(key)
        for index, item in enumerate(items):
            if not isinstance(item, str):
                self._wrong(f"{key}[{index}]", "a string", item)
        return tuple(str(item) for item in items)

    def child(self, key: str) -> "Fields | None":
        """Return an object field, or ``None`` when it is absent."""
        value = self.get(key)
        return None if value is None else Fields.of(value, self.path(key))

    def children(self, key: str) -> Iterator["Fields"]:
        """Yield the objects of a list field."""
        for index, item in enumerate(self.items(key)):
            yield Fields.of(item, self.path(f"{key}[{index}]"))

    def items(self, key: str) -> list[object]:
        """Return a list field, whatever is in it; empty when it is absent."""
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self._wrong(key, "a list", value)
        return value

    def _wrong(self, key: str, wanted: str, value: object) -> NoReturn:
        raise DecodeError(f"{self.path(key)} must be {wanted}, not {shown(value)}")
