"""Commands about plugins: which there are, what each is, their schema, and a new one."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from podnet import description, places
from podnet.cli.output import Form, FormOption, Item, document, show, table, write
from podnet.cli.session import Session
from podnet.cni.errors import CniError
from podnet.description import Description
from podnet.errors import PodnetError, UsageError

app = typer.Typer(help="List the plugins there are; say what one is; write a new one.")


class Telling(StrEnum):
    """What ``describe -o`` takes."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    SCHEMA = "schema"


@app.callback(invoke_without_command=True)
def plugins(context: typer.Context, *, output: FormOption = Form.TABLE) -> None:
    """List every plugin in the search path, and ask each for its versions."""
    if context.invoked_subcommand:
        return
    session: Session = context.obj
    runtime = session.pods.runtime()
    declared: dict[str, set[str]] = {}
    for network in session.networks():
        for plugin in network.plugins:
            declared.setdefault(plugin.type, set()).update(plugin.capabilities)
    items = []
    for name, path in description.installed(session.places.plugin_path).items():
        try:
            versions, problem = list(runtime.versions(name).supported), ""
        except (PodnetError, CniError) as exc:
            versions, problem = [], str(exc)
        items.append(
            {
                "name": name,
                "versions": versions,
                "capabilities": sorted(declared.get(name, ())),
                "path": str(path),
                **({"problem": problem} if problem else {}),
            }
        )
    show(
        items,
        kind="Plugin",
        form=output,
        columns={
            "NAME": lambda item: item["name"],
            "VERSIONS": lambda item: item["versions"] or str(item["problem"]).splitlines()[0],
            "CAPABILITIES IN USE": lambda item: item["capabilities"],
        },
        wide={"PATH": lambda item: item["path"]},
    )


@app.command()
def describe(
    context: typer.Context,
    plugin: Annotated[str, typer.Argument(metavar="TYPE", help="The plugin.")],
    *,
    output: Annotated[
        Telling, typer.Option("--output", "-o", help="How to print it; schema is JSON Schema.")
    ] = Telling.TABLE,
) -> None:
    """Say what a plugin is: its keys with types, defaults and bounds, capabilities, versions."""
    session: Session = context.obj
    found = session.catalogue.said(plugin)
    if not found.is_described:
        session.note(f"{found.path} is none of podnet's SDK: it tells its versions, and no more")
        if session.catalogue.get(plugin).is_described:
            session.note(f"without --plugin-dir and CNI_PATH, podnet's own {plugin} tells its keys")
    if output is Telling.SCHEMA:
        if found.schema is None:
            raise UsageError(f"{found.path} declares no keys, so there is no schema of them")
        head = {"$schema": "http://json-schema.org/draft-07/schema#"}
        document(head | dict(found.schema), form=Form.JSON)
    elif output is Telling.TABLE:
        write("".join(f"{line}\n" for line in _told(found)))
    else:
        document(found.to_wire(), form=Form(output.value))


def _told(found: Description) -> Iterator[str]:
    """Yield what a person reads: a head, a table of the keys, a table of the capabilities."""
    head = [
        [found.type, found.about],
        ["path", str(found.path)],
        ["versions", ", ".join(found.versions)],
    ]
    if found.section:
        head.append(["section", found.section])
    if found.chained:
        head.append(["place", "after the plugin that makes the interface"])
    yield from table(head).splitlines()
    for title, rows in (("KEY", found.keys), ("CAPABILITY", found.capabilities)):
        if rows:
            titles = [title, "TYPE", "DEFAULT", "VALUES", "MEANING"]
            yield ""
            yield from table([titles, *(_row(row) for row in rows)]).splitlines()


def _row(row: Item) -> list[str]:
    default = "required" if row.get("required") else _shown(row.get("default"))
    return [str(row["name"]), str(row["type"]), default, _values(row), str(row["doc"])]


def _values(row: Item) -> str:
    choices = row.get("choices")
    if isinstance(choices, list):
        return " ".join(map(_shown, choices))
    least, most = row.get("least"), row.get("most")
    if least is None and most is None:
        return _shown(row.get("format"))
    return f"{'' if least is None else least}..{'' if most is None else most}"


def _shown(value: object) -> str:
    if value is None:
        return "-"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if text.isprintable() and text else repr(text)


@app.command()
def schema(context: typer.Context) -> None:
    """Print the JSON Schema of conflists, with the keys of every plugin that declares its own.

    Editors check and complete with it: podnet plugins schema > conflist.schema.json
    """
    from podnet import conflist_schema  # noqa: PLC0415

    session: Session = context.obj
    found = []
    for name in description.installed(session.places.plugin_path):
        try:
            found.append(session.catalogue.get(name))
        except (PodnetError, CniError) as exc:
            session.note(f"without {name}: {str(exc).splitlines()[0]}")
    document(conflist_schema.of_conflist(found), form=Form.JSON)


@app.command()
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin's type.")],
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where it goes; made if missing.")
    ] = Path(),
    *,
    interpreter: Annotated[
        str | None,
        typer.Option(
            help="What the plugin's first line names; default: the Python that podnet runs on, "
            "so that any runtime can start it, whatever its PATH."
        ),
    ] = None,
) -> None:
    """Write a plugin that works, with a test that passes and a conflist to try it."""
    from podnet import scaffold  # noqa: PLC0415

    session: Session = context.obj
    scaffold.check_name(name, description.installed(places.embedded_plugins()))
    made = scaffold.files(name, interpreter or scaffold.interpreter())
    for path in scaffold.write(directory, made):
        write(f"{path}\n")
    where = directory.absolute()
    session.note(f"podnet --plugin-dir {where} create web --network {where}/{name}.conflist")
