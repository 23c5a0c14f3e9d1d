"""Commands that write down what a runtime asks of plugins, whatever runtime it is."""

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from podnet.cli.output import Form, FormOption, show, write
from podnet.cli.session import Session
from podnet.errors import UsageError
from podnet.kernel import programs
from podnet.node import Node
from podnet.rig import as_test as tests
from podnet.rig import recording, shims
from podnet.rig import replay as replays
from podnet.rig.recording import Recorded
from podnet.rig.replay import Replayed
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
        except OSError as exc:  # as a shell says it
            missing = isinstance(exc, FileNotFoundError) or programs.is_nowhere(command[0])
            reason = os.strerror(errno.ENOENT) if missing else exc.strerror
            sys.stderr.write(f"error: {command[0]} cannot be run: {reason}\n")
            sys.exit(127 if missing else 126)
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


def replay(
    context: typer.Context,
    file: File,
    *,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR",
            help="Also replay with these plugins, and tell what the kernel holds differently.",
        ),
    ] = None,
    as_test: Annotated[
        Path | None,
        typer.Option(
            metavar="test_X.py", help="Run nothing: make a failed call a test for pytest."
        ),
    ] = None,
    call: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Of --as-test: which; the last by default."),
    ] = None,
    output: FormOption = Form.TABLE,
) -> None:
    """Make recorded calls again, in a Node of their own; show what is different.

    With the plugins of --plugin-dir, CNI_PATH, or podnet's own; --as-test wants them named. Exit
    status 1 when there is a difference.
    """
    session: Session = context.obj
    session.takes_no("--record", "--fault", "--diff")
    read = recording.read(file)
    for odd in read.odd:
        session.note(odd)
    if as_test is not None:
        about = tests.failure(read, call)
        plugins = session.places.given_plugins
        if not plugins:  # podnet's own never failed; the recorded ones are who wrote it to choose
            raise UsageError(
                f"whose {about.plugin} is the test to run? {about.binary} was recorded",
                "--plugin-dir DIR says where the plugin is",
            )
        calls = tests.write(as_test, read, about, plugins)
        session.note(
            f"wrote {as_test} and {calls}: the test passes when {about.verb} of {about.plugin} in "
            f"{' '.join(plugins)} succeeds, which was recorded as {about.ending}"
        )
        return
    path = session.places.given_plugins or session.places.plugin_path
    with Node.in_memory("replay") as node:
        made = replays.replay(read, node, path, timeout=session.timeout, look=bool(against))
    if against:
        with Node.in_memory("replay") as node:
            other = replays.replay(read, node, against, timeout=session.timeout, look=True)
        made = replays.compared(made, other)
    _show_replayed(session, made, output)
    sys.exit(int(any(one.differences for one in made)))


def _show_replayed(session: Session, made: Sequence[Replayed], form: Form) -> None:
    items = [
        {
            "name": str(one.number),
            "verb": one.call.verb,
            "plugin": one.call.plugin,
            "then": one.call.ending,
            "now": one.ending,
            "differences": list(one.differences),
        }
        for one in made
    ]
    show(
        items,
        kind="Replay",
        form=form,
        columns={
            "CALL": lambda item: item["name"],
            "VERB": lambda item: item["verb"],
            "PLUGIN": lambda item: item["plugin"],
            "THEN": lambda item: item["then"],
            "NOW": lambda item: item["now"],
            "": lambda item: "different" if item["differences"] else "same",
        },
    )
    if form in {Form.TABLE, Form.WIDE}:
        for one in made:
            write("".join(f"  call {one.number}: {what}\n" for what in one.differences))
    different = sum(bool(one.differences) for one in made)
    session.note(f"{len(made) - different} of {len(made)} calls as they were")


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command()(replay)


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
