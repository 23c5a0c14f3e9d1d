"""`podnet run`: scenarios, told step by step."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from podnet import places
from podnet.cli import failures
from podnet.cli.output import API_VERSION, Form, FormOption, document, show, write
from podnet.cli.session import Session
from podnet.errors import PodnetError, UsageError
from podnet.rig import shims
from podnet.rig.scenario import reading
from podnet.rig.scenario import run as scenarios
from podnet.rig.scenario.reading import Scenario
from podnet.rig.scenario.run import Report, StepReport
from podnet.rig.scenario.schema import SCHEMA

_WIDEST = 100


def run(
    context: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE...", help="Scenario files, or names of podnet's own."),
    ] = None,
    *,
    listed: Annotated[bool, typer.Option("--list", help="List podnet's own.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of scenario files, for editors.")
    ] = False,
    output: FormOption = Form.TABLE,
) -> None:
    """Run scenarios: what is done, what goes wrong, what must come of it; each on its own Node.

    The plugins of --plugin-dir and CNI_PATH come before the scenario's. Exit status 1 when
    something is not as expected; the cause is named either way.
    """
    session: Session = context.obj
    if schema:
        write(json.dumps(SCHEMA, indent=2) + "\n")
        return
    if listed:
        _list(output)
        return
    if not files:
        raise UsageError("which scenarios?", "FILE..., or the names that --list prints")
    if session.faults:
        raise UsageError("the faults of a scenario are in its file", "a step `fault`")
    session.takes_no("--diff")
    known = [_with_plugins(reading.load(_path(file)), session) for file in files]
    record = shims.require_record(session.record) if session.record else None
    reports, status = _run_all(known, output, record)
    if output in {Form.JSON, Form.YAML}:
        items = [_item(report) for report in reports]
        document({"apiVersion": API_VERSION, "kind": "ScenarioList", "items": items}, form=output)
    elif output is Form.NAME:
        write("".join(f"{report.scenario.name}\n" for report in reports))
    good = sum(report.ok for report in reports)
    session.note(f"{good} of {len(known)} as expected")
    sys.exit(status or int(good < len(reports)))


def _path(name: str) -> Path:
    """Return a scenario's file: a path, or the name of one of podnet's own."""
    own = places.packaged_scenarios() / f"{name}.yaml"
    return own if "/" not in name and not Path(name).exists() and own.is_file() else Path(name)


def _with_plugins(scenario: Scenario, session: Session) -> Scenario:
    given = session.places.given_plugins
    return replace(scenario, plugin_dirs=(*given, *scenario.plugin_dirs))


def _list(form: Form) -> None:
    own = [reading.load(path) for path in sorted(places.packaged_scenarios().glob("*.yaml"))]
    show(
        [{"name": one.path.stem, "about": one.name, "issues": list(one.issues)} for one in own],
        kind="Scenario",
        form=form,
        columns={"NAME": lambda item: item["name"], "ABOUT": lambda item: item["about"]},
        wide={"ISSUES": lambda item: item["issues"]},
    )


def _run_all(
    known: Sequence[Scenario], form: Form, record: Path | None
) -> tuple[list[Report], int]:
    """Run scenarios; return what came of them, and the exit status of those that could not run."""
    reports, status = list[Report](), 0
    told, wide = form in {Form.TABLE, Form.WIDE}, form is Form.WIDE
    say = partial(_say, wide=wide) if told else lambda _: None
    for scenario in known:
        if told:
            issues = f" ({', '.join(scenario.issues)})" if scenario.issues else ""
            write(f"{scenario.name}{issues}\n")
        try:
            reports.append(scenarios.run(scenario, say, record=record))
        except PodnetError as exc:
            status = status or failures.report(exc, str(scenario.path))
            continue
        if told:
            write("".join(f"{line}\n" for line in _verdict(reports[-1])))
    return reports, status


def _say(step: StepReport, *, wide: bool) -> None:
    """Print a step when it is over: some take their time."""
    state = "skipped" if step.skipped else "NOT OK" if step.unmet else "ok"
    said = step.said if wide else step.said.partition("\n")[0][:_WIDEST]
    took = f"{step.milliseconds:.0f} ms"
    write(f"{step.number:>4}  {state:<7} {took:>8}  {step.step.title:<36} {said}".rstrip() + "\n")
    sys.stdout.flush()


def _verdict(report: Report) -> Iterator[str]:
    for step in report.steps:
        for sentence in step.unmet:
            yield f"  {report.scenario.path}:{step.step.line}: step {step.number}: {sentence}"
    for cause in report.causes:
        yield f"  cause: {cause.name}: {cause.story}"
        yield f"    {cause.remedy}"
    for leak in report.leaks:
        yield f"  left at the end: {leak}"
    yield "  as expected" if report.ok else "  NOT as expected"


def _item(report: Report) -> dict[str, object]:
    scenario = report.scenario
    return {
        "name": scenario.name,
        "path": str(scenario.path),
        "issues": list(scenario.issues),
        "ok": report.ok,
        "steps": [
            {
                "number": step.number,
                "line": step.step.line,
                "title": step.step.title,
                "state": "skipped" if step.skipped else "failed" if step.unmet else "ok",
                "ms": round(step.milliseconds, 1),
                "said": step.said,
                "unmet": list(step.unmet),
            }
            for step in report.steps
        ],
        "causes": [
            {"name": cause.name, "story": cause.story, "remedy": cause.remedy}
            for cause in report.causes
        ],
        "leaks": list(report.leaks),
    }


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command()(run)
