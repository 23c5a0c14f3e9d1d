"""Commands about Nodes: machines in miniature, each with a network and directories of its own."""

import os
import sys
from typing import Annotated

import typer

from podnet.cli.output import Form, FormOption, show
from podnet.cli.session import Session, nodes

app = typer.Typer(help="Nodes: network, /run, /var/lib and /etc/cni of their own.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The Node.")]


@app.command()
def create(context: typer.Context, name: Name) -> None:
    """Make a Node; `podnet --node NAME …` works inside it."""
    session: Session = context.obj
    nodes().create(name).close()
    session.note(f"made Node {name}; podnet --node {name} create web")


@app.command("list")
def list_nodes(*, output: FormOption = Form.TABLE) -> None:
    """List the Nodes of this machine."""
    items = [{"name": name} for name in nodes().names()]
    show(items, kind="Node", form=output, columns={"NAME": lambda item: item["name"]})


@app.command("exec", context_settings={"ignore_unknown_options": True})
def execute(
    name: Name,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="What to run.")],
) -> None:
    """Run a command inside a Node; its exit status is ours."""
    nodes().open(name).enter()
    try:
        os.execvp(command[0], command)  # noqa: S606  that is what it is for
    except FileNotFoundError:
        sys.stderr.write(f"error: there is no command {command[0]}\n")
        sys.exit(127)


@app.command()
def delete(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Nodes.")],
) -> None:
    """Remove Nodes with all they hold: processes, pods, networks, files."""
    session: Session = context.obj
    for name in names:
        nodes().delete(name)
        session.note(f"deleted Node {name}")
