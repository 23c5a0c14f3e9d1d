"""Commands that only look: pods, networks, plugins, transcripts, mistakes."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from podnet.cli import failures, views
from podnet.cli.output import API_VERSION, Form, FormOption, Item, document, show, write
from podnet.cli.pod_commands import Name
from podnet.cli.session import Session
from podnet.cni.errors import CniError
from podnet.cni.versions import Verb, supports
from podnet.errors import PodnetError, UsageError
from podnet.records import CorruptRecordError


def list_pods(
    context: typer.Context,
    *,
    label: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Only pods with this label.")
    ] = None,
    output: FormOption = Form.TABLE,
) -> None:
    """List the pods of this Node."""
    session: Session = context.obj
    wanted = {text.partition("=")[::2] for text in label or ()}
    found = list(session.pods.records.all())
    pods = [p for p in found if not isinstance(p, CorruptRecordError)]
    views.show_pods([p for p in pods if wanted <= set(p.labels.items())], output)
    corrupt = [p for p in found if isinstance(p, CorruptRecordError)]
    for error in corrupt:
        failures.report(error)
    if corrupt:
        sys.exit(1)


def inspect(context: typer.Context, name: Name, *, output: FormOption = Form.YAML) -> None:
    """Show everything on record of a pod: attachments, arguments, configuration, results."""
    session: Session = context.obj
    pod = session.pods.records.load(name)
    if output is Form.NAME:
        write(f"{pod.name}\n")
        return
    record = pod.to_wire() | {"alive": session.pods.is_alive(pod)}
    document(record, form=Form.JSON if output is Form.JSON else Form.YAML)


def exec_in(
    context: typer.Context,
    name: Name,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="What to run.")],
) -> None:
    """Run a command inside a pod's network namespace; its exit status is ours."""
    from podnet.kernel import namespaces, programs  # noqa: PLC0415

    session: Session = context.obj
    pod = session.pods.records.load(name)
    if not session.pods.is_alive(pod):
        raise UsageError(f"pod {name} has no network namespace any more", "podnet gc")
    try:
        namespaces.execute_in(Path(pod.netns), command)
    except (FileNotFoundError, PermissionError) as exc:
        if isinstance(exc, FileNotFoundError) or programs.is_nowhere(command[0]):
            sys.stderr.write(f"error: there is no command {command[0]}\n")
            sys.exit(127)
        sys.stderr.write(f"error: {command[0]} cannot be executed\n")
        sys.exit(126)


def networks(context: typer.Context, *, output: FormOption = Form.TABLE) -> None:
    """List the networks of the configuration directory, the default first."""
    session: Session = context.obj
    directory = session.configurations
    session.note(f"networks of {directory.path} ({session.places.conf_reason})")
    executor = session.pods.runtime().executor

    def missing(names: list[str]) -> list[str]:
        found = []
        for name in names:
            try:
                executor.find(name)
            except UsageError:
                found.append(name)
        return found

    items = []
    for found in directory.found:
        chain = found.network.plugins
        needed = [n for plugin in chain for n in (plugin.type, plugin.ipam_type) if n]
        items.append(
            {
                "name": found.network.name,
                "cniVersion": found.network.cni_version,
                "plugins": [plugin.type for plugin in chain],
                "missing": missing(list(dict.fromkeys(needed))),
                "capabilities": sorted({c for plugin in chain for c in plugin.capabilities}),
                "file": str(found.path),
            }
        )
    show(
        items,
        kind="Network",
        form=output,
        columns={
            "NAME": lambda item: item["name"],
            "VERSION": lambda item: item["cniVersion"],
            "PLUGINS": lambda item: item["plugins"],
            "MISSING": lambda item: item["missing"],
        },
        wide={
            "CAPABILITIES": lambda item: item["capabilities"],
            "FILE": lambda item: item["file"],
        },
    )


def status(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NETWORK]", help="Default: all.")] = None,
    *,
    output: FormOption = Form.TABLE,
) -> None:
    """Ask the plugins of networks whether they could serve a pod now (STATUS, CNI 1.1.0)."""
    session: Session = context.obj
    chosen = [session.network(name)] if name else session.networks()
    runtime, items, code = session.pods.runtime(), [], 0
    for network in chosen:
        item: dict[str, object] = {"name": network.name, "cniVersion": network.cni_version}
        try:
            for plugin in network.plugins:
                runtime.executor.find(plugin.type)
            settled = runtime.status(network)
            item |= {"ready": True, "cniVersion": settled.cni_version}
        except (PodnetError, CniError) as exc:
            item |= {"ready": False, "message": str(exc).splitlines()[0]}
            code = code or failures.exit_code(exc)
        items.append(item)
    show(
        items,
        kind="NetworkStatus",
        form=output,
        columns={
            "NAME": lambda item: item["name"],
            "VERSION": lambda item: item["cniVersion"],
            "READY": _readiness,
            "MESSAGE": lambda item: item.get("message"),
        },
    )
    sys.exit(code)


def _readiness(item: Item) -> str:
    if not item["ready"]:
        return "no"
    return "yes" if supports(str(item["cniVersion"]), Verb.STATUS) else "not asked"


def lint(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Configuration files.")],
    *,
    output: FormOption = Form.TABLE,
) -> None:
    """Say what is wrong with conflists, where, and what to do about it."""
    from podnet.lint import Severity  # noqa: PLC0415  loads YAML, 20 ms that only this needs
    from podnet.lint import lint as mistakes_of  # noqa: PLC0415

    session: Session = context.obj
    findings = [f for path in files for f in mistakes_of(path, session.catalogue)]
    if output in {Form.JSON, Form.YAML}:
        items = [
            {
                "path": str(f.path),
                "line": f.line,
                "column": f.column,
                "severity": str(f.severity),
                "message": f.message,
                "hint": f.hint,
            }
            for f in findings
        ]
        document({"apiVersion": API_VERSION, "kind": "FindingList", "items": items}, form=output)
    else:
        write("".join(f"{finding}\n" for finding in findings))
        session.note(f"{len(files)} file(s), {len(findings)} finding(s)")
    if any(finding.severity is Severity.ERROR for finding in findings):
        sys.exit(UsageError.exit_code)


def trace(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A pod, also one that is gone.")
    ] = None,
    *,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="With environment, stdin, stdout and stderr.")
    ] = False,
    last: Annotated[int, typer.Option(min=0, help="Only the last so many; 0 for all.")] = 0,
    output: FormOption = Form.TABLE,
) -> None:
    """Show every plugin invocation: what was asked, what came back, how long it took.

    With --diff also what it changed, where podnet was told to write that down: give --diff
    (or set PODNET_DIFF=1) to create, delete and the like, too.
    """
    session: Session = context.obj
    steps = list(session.pods.transcript.read(name))[-last:]
    if not steps:
        session.note(f"no invocation of {name or 'any pod'} is on record")
    if output in {Form.JSON, Form.YAML}:
        document({"apiVersion": API_VERSION, "kind": "Transcript", "items": steps}, form=output)
    else:
        views.show_trace(steps, verbose=verbose or output is Form.WIDE, diff=session.diff)
        if session.diff and not any("changes" in step for step in steps):
            session.note("nobody watched them: podnet --diff create NAME writes changes down")


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("list")(list_pods)
    app.command("exec", context_settings={"ignore_unknown_options": True})(exec_in)
    for command in (inspect, networks, status, lint, trace):
        app.command()(command)
