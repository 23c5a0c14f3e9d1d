"""Commands that write down what a runtime asks of plugins, whatever runtime it is."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from podnet.cli.output import Form, FormOption, show
from podnet.cli.session import Session
from podnet.rig import recording, shims
from podnet.rig.recording import Recorded
from podnet.rig.shims import SECRETS, Task

app = typer.Typer(help="Write down every call of plugins, by whatever runtime makes it.")
File = Annotated[Path, typer.Argument(metavar="FILE", help="The recording: a line for each call.")]
Directory = Annotated[
    Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="A plugin directory.")
]
Redact = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WORD",
        help=f"Hide values whose key has this in it, besides {', '.join(SECRETS)}. Repeatable.",
    ),
]
Plain = Annotated[bool, typer.Option("--no-redact", help="Hide nothing.")]


@app.command("run", context_settings={"ignore_unknown_options": True})
def run(
    context: typer.Context,
    file: File,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="What to run.")],
    *,
    redact: Redact = None,
    no_redact: Plain = False,
) -> None:
    """Run a command whose CNI_PATH leads to shims; its exit status is ours.

    For runtimes that look for plugins elsewhere: `record install`.
    """
    session: Session = context.obj
    task = _task(file, redact, hide=not no_redact)
    with tempfile.TemporaryDirectory(prefix="podnet-shims-") as directory:
        shims.mirror(Path(directory), session.places.plugin_path, task)
        # Of podnet's own, the option is better: it keeps the search path out of pods' records.
        environment = os.environ | {"CNI_PATH": directory, "PODNET_RECORD": str(task.record)}
        try:
            status = subprocess.run(command, env=environment, check=False).returncode
        except FileNotFoundError:
            sys.stderr.write(f"error: there is no command {command[0]}\n")
            sys.exit(127)
    sys.exit(status if status >= 0 else 128 - status)


@app.command("install")
def install(
    context: typer.Context,
    directory: Directory,
    *,
    to: Annotated[Path, typer.Option(metavar="FILE", help="The recording.")],
    redact: Redact = None,
    no_redact: Plain = False,
) -> None:
    """Put a shim in front of every plugin of a directory, such as containerd's /opt/cni/bin.

    Runtimes need no other configuration and no restart; `record uninstall` undoes it.
    """
    session: Session = context.obj
    put = shims.install(directory, _task(to, redact, hide=not no_redact))
    session.note(f"{directory}: {', '.join(put)} are recorded to {to.absolute()}")


@app.command("uninstall")
def uninstall(context: typer.Context, directory: Directory) -> None:
    """Put the plugins of a directory back where they were."""
    session: Session = context.obj
    back, newer = shims.uninstall(directory)
    session.note(f"{directory}: {', '.join(back) or 'nothing'} put back")
    if newer:
        session.note(f"{directory}: {', '.join(newer)} left: somebody installed newer ones")


@app.command("show")
def show_calls(context: typer.Context, file: File, *, output: FormOption = Form.TABLE) -> None:
    """List the calls of a recording."""
    session: Session = context.obj
    read = recording.read(file)
    for odd in read.odd:
        session.note(odd)
    asked = set(map(id, read.asked))
    items = [
        _item(number, call, is_asked=id(call) in asked) for number, call in enumerate(read.calls, 1)
    ]
    show(
        items,
        kind="Call",
        form=output,
        columns={
            "CALL": lambda item: item["name"],
            "VERB": lambda item: item["verb"],
            "PLUGIN": lambda item: f"└ {item['plugin']}" if item["delegated"] else item["plugin"],
            "CONTAINER": lambda item: item["container"],
            "MS": lambda item: item["ms"],
            "ENDED": lambda item: item["ended"],
        },
        wide={"STDIN": lambda item: item["stdin"], "STDOUT": lambda item: item["stdout"]},
    )


def _item(number: int, call: Recorded, *, is_asked: bool) -> dict[str, object]:
    container, ifname = call.container
    return {
        "name": str(number),
        "verb": call.verb,
        "plugin": call.plugin,
        "delegated": not is_asked,
        "container": f"{container[:12]} {ifname}".strip(),
        "ms": round(call.milliseconds, 1),
        "ended": call.ending + (f" (fault: {call.fault})" if call.fault else ""),
        "stdin": call.stdin.decode(errors="backslashreplace"),
        "stdout": call.stdout.decode(errors="backslashreplace"),
        "stderr": call.stderr.decode(errors="backslashreplace"),
        "exitStatus": call.exit_status,
        "signal": call.signal,
    }


def _task(file: Path, redact: list[str] | None, *, hide: bool) -> Task:
    words = (*SECRETS, *(redact or ())) if hide else ()
    return Task(record=shims.require_record(file), redact=words)
