"""podnet conformance: hold plugins against the spec."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from podnet import places
from podnet.cli.output import Form, FormOption, show
from podnet.cli.progress import progress
from podnet.cli.session import Session
from podnet.cni import versions
from podnet.errors import MissingError, UsageError
from podnet.execute import ProcessExecutor, search_path
from podnet.rig.conformance import suite, wellknown
from podnet.rig.conformance.case import Level, selected
from podnet.rig.conformance.cases import all_cases
from podnet.rig.conformance.reports import forms
from podnet.rig.conformance.subject import (
    Parameters,
    Subject,
    is_conflist,
    of_conflist,
    parameters_file,
)
from podnet.rig.conformance.suite import Finding
from podnet.rig.conformance.trial import NEEDS_ADD

_NOT_CONFORMANT = 6


def conformance(  # noqa: PLR0913  the options are the interface
    context: typer.Context,
    plugins: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PLUGIN|CONFLIST]...",
            help="A plugin's type, the path of its executable, or a file with a chain: "
            "each plugin of a chain is tested behind those before it.",
        ),
    ] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Parameters, YAML or JSON: what the plugin needs."),
    ] = None,
    list_cases: Annotated[bool, typer.Option("--list", help="List the cases.")] = False,
    case: Annotated[
        list[str] | None,
        typer.Option(help="Only the case of this id; del-* is many. Repeatable."),
    ] = None,
    level: Annotated[
        list[str] | None, typer.Option(help="Only MUST, SHOULD or MAY. Repeatable.")
    ] = None,
    cni_versions: Annotated[
        str, typer.Option(help="Ask in these versions, 1.0.0,1.1.0; default: what fits the case.")
    ] = "",
    repeat: Annotated[int, typer.Option(min=1, help="Run each case so often.")] = 1,
    parallel: Annotated[
        int, typer.Option(min=0, help="Run so many cases at a time; default: one for each CPU.")
    ] = 0,
    report: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORM=FILE", help="Write a report: junit, html, markdown or json. Repeatable."
        ),
    ] = None,
    output: FormOption = Form.TABLE,
) -> None:
    """Hold plugins against the CNI spec: more than a hundred cases, each in a Node of its own.

    The table shows what failed; -o wide, everything. Exit status 6: a MUST failed.
    """
    session: Session = context.obj
    session.takes_no("--record", "--fault", "--diff")
    chosen = selected(all_cases(), _split(case), _levels(level))
    wanted = [forms.parsed(one) for one in report or ()]
    asked = _versions(cni_versions)
    if list_cases:
        _list(output, [one.to_wire() for one in chosen])
        return
    if not plugins:
        raise UsageError("no plugin to test", "podnet conformance bridge; --list tells the cases")
    subjects = _subjects(session, plugins, config)
    lacks = {subject.name: suite.lacking(subject) for subject in subjects}
    plans = [
        plan
        for subject in subjects
        for plan in suite.planned(
            subject,
            chosen,
            suite.spoken(subject),
            asked=asked,
            repeat=repeat,
            lacks=lacks[subject.name],
        )
    ]
    for _, file in wanted:
        forms.require_writable(file)
    with progress(f"asking {len(plans)} questions", len(plans)) as advance:
        findings = suite.run(
            plans, parallel=parallel, host=session.plugin_host_to_use(), told=lambda _: advance()
        )
    _show(output, findings)
    binaries = {one.name: ProcessExecutor(path=one.path).find(one.plugin) for one in subjects}
    _tell(session, findings, lacks, binaries)
    forms.write(wanted, findings)
    sys.exit(_status(findings) or (MissingError.exit_code if any(lacks.values()) else 0))


def _split(patterns: Sequence[str] | None) -> list[str]:
    return [pattern for given in patterns or () for pattern in given.split(",") if pattern]


def _levels(given: Sequence[str] | None) -> list[Level]:
    try:
        return [Level(word.upper()) for word in _split(given)]
    except ValueError as exc:
        raise UsageError(str(exc), f"there are: {', '.join(Level)}") from None


def _versions(given: str) -> tuple[str, ...]:
    listed = tuple(version for version in given.split(",") if version)
    for version in listed:
        if version not in versions.RELEASED:
            raise UsageError(
                f"{version} is no version of the spec", f"there are: {', '.join(versions.RELEASED)}"
            )
    return tuple(sorted(listed, key=versions.key))


def _subjects(session: Session, plugins: Sequence[str], config: Path | None) -> list[Subject]:
    given = parameters_file(config) if config else {}
    path = session.places.plugin_path
    found: list[Subject] = []
    for argument in plugins:
        if is_conflist(argument):
            found += of_conflist(Path(argument), path, given)
        else:
            found.append(_plugin(session, argument, path, given))
    return found


def _plugin(
    session: Session, argument: str, path: tuple[str, ...], given: Mapping[str, Parameters]
) -> Subject:
    """Return what is to be tested of one plugin, given by its type or as a path."""
    file = Path(argument)
    if "/" in argument:
        path = search_path([str(file.absolute().parent)], path)
    parameters = given.get(file.name) or given.get("") or wellknown.of(file.name)
    if parameters is None:
        session.note(
            f"nothing is known of {file.name}: it is called with an empty configuration; "
            "--config FILE says what it needs"
        )
    ProcessExecutor(path=path).find(file.name)
    return Subject(
        name=file.name,
        plugin=file.name,
        parameters=parameters or Parameters(),
        path=path,
        base_path=search_path(places.embedded_plugins(), path),
    )


def _list(form: Form, items: list[dict[str, object]]) -> None:
    show(
        items,
        kind="Case",
        form=form,
        columns={
            "CASE": lambda item: item["name"],
            "LEVEL": lambda item: item["level"],
            "SECTION": lambda item: item["section"],
            "SENTENCE": lambda item: item["sentence"],
        },
        wide={"REASON": lambda item: item["reason"], "SINCE": lambda item: item["since"]},
    )


def _show(form: Form, findings: Sequence[Finding]) -> None:
    items = [finding.to_wire(calls=form in {Form.JSON, Form.YAML}) for finding in findings]
    if form in {Form.TABLE, Form.NAME}:
        items = [item for item in items if item["verdict"] in {"failed", "broken"}]
    show(
        items,
        kind="Finding",
        form=form,
        columns={
            "PLUGIN": lambda item: item["plugin"],
            "CASE": lambda item: item["name"],
            "LEVEL": lambda item: item["level"],
            "VERSION": lambda item: item["cniVersion"],
            "VERDICT": lambda item: item["verdict"],
            "WHAT": lambda item: " ".join(str(item["message"]).split()),
        },
        wide={"SECONDS": lambda item: item["seconds"]},
    )


def _tell(
    session: Session,
    findings: Sequence[Finding],
    lacks: Mapping[str, str],
    binaries: Mapping[str, Path],
) -> None:
    by_plugin: dict[str, list[Finding]] = {}
    for finding in findings:
        by_plugin.setdefault(finding.plan.subject.name, []).append(finding)
    for plugin, listed in by_plugin.items():
        if lacks[plugin]:
            session.note(f"{plugin} was not tested: {lacks[plugin]}")
            continue
        counts = Counter(str(finding.verdict) for finding in listed)
        told = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))
        if unasked := sum(finding.message == NEEDS_ADD for finding in listed):
            told += f", {unasked} of them because ADD does not work"
        must = sum(finding.violates for finding in listed)
        word = f"not conformant, {must} times a MUST" if must else "conformant"
        session.note(f"{plugin} ({binaries[plugin]}): {word}: {told}")


def _status(findings: Sequence[Finding]) -> int:
    if any(finding.violates for finding in findings):
        return _NOT_CONFORMANT
    return int(any(finding.verdict == "broken" for finding in findings))


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command()(conformance)
