"""The entrance: global options, the Node to be in, and the way out."""

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from podnet import places, rootless
from podnet.cli import failures
from podnet.cli.session import Session, nodes
from podnet.cni.errors import CniError
from podnet.errors import PodnetError
from podnet.execute import DEFAULT_TIMEOUT
from podnet.rig.faults import Fault

_EPILOG = (
    "Exit status: 0 done, 1 failed, 2 usage or configuration, 3 a plugin returned an error, "
    "4 CHECK found a difference, 5 a leak, 6 a plugin is not conformant, 7 the system lacks "
    "something, 124 timeout, "
    "130 interrupted. Data goes to stdout, everything else to stderr."
)
app = typer.Typer(
    name="podnet",
    help="Pods without Kubernetes: network namespaces, driven through CNI plugin chains.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
#: The room of each command, in the order of the help.  Only the one that is asked for is loaded:
#: `podnet list` needs no cluster, no YAML and no test rig, and all of them take 100 ms.
GROUPS = {
    "node": "node_commands",
    "cluster": "cluster_commands",
    "plugins": "plugin_commands",
    "record": "recording_commands",
}
COMMANDS = {
    "pod_commands": ("create", "delete", "check", "attach", "detach"),
    "inspection": ("list", "exec", "inspect", "networks", "status", "lint", "trace"),
    "probing": ("ping", "probe"),
    "maintenance": ("gc", "version"),
    "conformance": ("conformance",),
    "leak_commands": ("leaks",),
    "recording_commands": ("replay",),
    "scenario_commands": ("run",),
}

#: Commands that need no root and no namespace of the user's own instead.
_FOR_EVERYBODY = ("lint", "networks", "plugins", "record", "version")
#: Options of podnet itself; they may stand anywhere before ``--``.
_VALUED = (
    "--node",
    "--conf-dir",
    "--plugin-dir",
    "--cache-dir",
    "--timeout",
    "--record",
    "--fault",
)
_FLAGS = ("--quiet", "-q", "--strip-capabilities", "--no-plugin-host", "--diff")


def _show_version(asked: bool) -> None:  # noqa: FBT001  as typer calls it
    if asked:
        import_module("podnet.cli.maintenance").version()
        raise typer.Exit


@app.callback()
def podnet(  # noqa: PLR0913  the global options
    context: typer.Context,
    *,
    node: Annotated[
        str | None,
        typer.Option(envvar="PODNET_NODE", help="The Node to be in; default: this machine."),
    ] = None,
    conf_dir: Annotated[
        Path | None,
        typer.Option(
            help="Network configurations; default: $NETCONFPATH, /etc/cni/net.d if it "
            "holds any, else podnet's own examples."
        ),
    ] = None,
    plugin_dir: Annotated[
        list[str] | None,
        typer.Option(help="A directory of plugins, before $CNI_PATH and podnet's own. Repeatable."),
    ] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option(help="libcni's cache; /var/lib/cni shares it with other runtimes."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds that one plugin may take.")
    ] = DEFAULT_TIMEOUT,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only data and errors.")] = False,
    no_plugin_host: Annotated[
        bool,
        typer.Option(
            "--no-plugin-host",
            help="Run podnet's own plugins as plain executables; also PODNET_PLUGIN_HOST=0.",
        ),
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(
            envvar="PODNET_RECORD", metavar="FILE", help="Write down every call of a plugin there."
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PLUGIN[:VERB]:]KIND[=VALUE]",
            help="Let something go wrong, portmap:ADD:kill-after: docs/scenarios.md. Repeatable.",
        ),
    ] = None,
    diff: Annotated[
        bool,
        typer.Option(
            "--diff",
            envvar="PODNET_DIFF",
            help="Write down what each plugin changes on the Node; with trace, show it.",
        ),
    ] = False,
    strip_capabilities: Annotated[
        bool,
        typer.Option(
            "--strip-capabilities",
            help="Do not send plugins their key 'capabilities', as the spec's text says.",
        ),
    ] = False,
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="As the command version."
        ),
    ] = False,
) -> None:
    """Pods without Kubernetes: network namespaces, driven through CNI plugin chains."""
    if _needs_root(context.invoked_subcommand):
        rootless.enter(os.environ, lambda text: None if quiet else failures.note(text))
    if node and context.invoked_subcommand not in {"node", "cluster"}:
        nodes().open(node).enter()
    context.obj = Session(
        places=places.resolve(
            os.environ, conf_dir=conf_dir, plugin_dirs=plugin_dir or (), cache_dir=cache_dir
        ),
        timeout=timeout,
        quiet=quiet,
        strip_capabilities=strip_capabilities,
        in_node=bool(node),
        diff=diff,
        plugin_host=not no_plugin_host and os.environ.get("PODNET_PLUGIN_HOST") != "0",
        record=record,
        faults=tuple(map(Fault.parse, fault or ())),
    )
    context.call_on_close(context.obj.close)


def _needs_root(command: str | None) -> bool:
    """Tell whether a command works on Nodes, pods or networks, or only reads files."""
    asks_for_help = {"-h", "--help"} & set(takewhile(lambda word: word != "--", sys.argv[1:]))
    return command not in _FOR_EVERYBODY and not asks_for_help


def hoisted(arguments: Sequence[str]) -> list[str]:
    """Return *arguments* with podnet's own options in front, where the parser wants them."""
    front, rest, waiting = list[str](), list[str](), iter(arguments)
    for argument in waiting:
        name, assigned, _ = argument.partition("=")
        if argument == "--":
            return [*front, *rest, argument, *waiting]
        if argument in _FLAGS or (assigned and name in _VALUED):
            front.append(argument)
        elif argument in _VALUED:
            front += [argument, *([value] if (value := next(waiting, None)) is not None else [])]
        else:
            rest.append(argument)
    return [*front, *rest]


def command_of(arguments: Sequence[str]) -> str:
    """Return the word that says which command is meant; "" when none does."""
    waiting = iter(arguments)
    for argument in waiting:
        if argument in _VALUED:
            next(waiting, None)
        elif not argument.startswith("-"):
            return argument
    return ""


def furnish(command: str) -> None:
    """Load the room of *command*, or all of them where it has none: for help, and for mistakes."""
    rooms = [room for room, commands in COMMANDS.items() if command in commands]
    groups = [command] if command in GROUPS else []
    if not rooms + groups:
        rooms, groups = [*COMMANDS], [*GROUPS]
    for name in groups:
        app.add_typer(import_module(f"podnet.cli.{GROUPS[name]}").app, name=name)
    for room in rooms:
        import_module(f"podnet.cli.{room}").register(app)


def main() -> NoReturn:
    """Run podnet, and exit with the status of what happened."""
    signal.signal(signal.SIGTERM, _terminate)
    # Ignored, as some parents leave it, it lets nobody wait for a plugin.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    arguments = hoisted(sys.argv[1:])
    furnish(command_of(arguments))
    try:
        app(arguments)
    except (PodnetError, CniError) as exc:
        sys.exit(failures.report(exc))
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0)


def _terminate(number: int, _: object) -> NoReturn:
    """Unwind, so that what was begun is undone."""
    sys.exit(128 + number)
