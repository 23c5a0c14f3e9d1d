"""Data on stdout, in the form that was asked for; sentences go to stderr.

Tables are aligned with spaces and never cut, so that a pipe reads what a person sees.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from podnet.visible import visible

API_VERSION = "podnet/v1"
Item = Mapping[str, object]
Columns = Mapping[str, Callable[[Item], object]]


class Form(StrEnum):
    """What ``-o`` takes."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


FormOption = Annotated[
    Form, typer.Option("--output", "-o", help="How to print it.", show_default=True)
]


def show(
    items: Sequence[Item], *, kind: str, form: Form, columns: Columns, wide: Columns | None = None
) -> None:
    """Print a list of things.

    Args:
        items: The things; each has a ``name``.
        kind: What they are, "Pod".
        form: How to print them.
        columns: Title and content of a table's columns.
        wide: More columns, for ``-o wide``.
    """
    if form is Form.NAME:
        write("".join(f"{item['name']}\n" for item in items))
    elif form in {Form.JSON, Form.YAML}:
        document(
            {"apiVersion": API_VERSION, "kind": f"{kind}List", "items": list(items)}, form=form
        )
    else:
        chosen = {**columns, **(wide or {})} if form is Form.WIDE else columns
        rows = [[_cell(content(item)) for content in chosen.values()] for item in items]
        write(table([list(chosen), *rows]) if items else "")


def document(value: object, *, form: Form) -> None:
    """Print one thing whole; as YAML where a table was asked for."""
    if form is Form.JSON:
        write(json.dumps(value, indent=2) + "\n")
    else:
        import yaml  # noqa: PLC0415  35 ms that only this needs

        # YAML has escapes of its own for what cannot be seen, and reads them back.
        plain = _plain(value)
        text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
        if text != visible(text, keep="\n"):
            text = yaml.safe_dump(plain, sort_keys=False)
        write(text)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Align *rows* in columns, three spaces apart."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("   ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def write(text: str) -> None:
    """Print data; what the terminal cannot show, or would obey, is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    text = visible(text, keep="\n\t")
    sys.stdout.write(text.encode(encoding, errors="backslashreplace").decode(encoding))


def _plain(value: object) -> object:
    """What YAML knows: lists and dicts, not their immutable relatives."""
    return json.loads(json.dumps(value))


def _cell(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "-"
    return "-" if value in {None, ""} else str(value)
