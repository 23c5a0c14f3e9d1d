"""Commands about podnet itself: gc, version."""

import os
import platform
import sys
from functools import partial
from typing import Annotated

import typer

from podnet.cli import failures
from podnet.cli.output import Form, FormOption, document, write
from podnet.cli.session import Session
from podnet.cni.versions import RELEASED
from podnet.reconcile import reconcile


def gc(
    context: typer.Context,
    *,
    foreign: Annotated[
        bool,
        typer.Option(help="In a shared --cache-dir, remove other runtimes' attachments too."),
    ] = False,
) -> None:
    """Remove what a crash left behind, and what plugins keep for attachments that are gone."""
    from podnet.cluster.clusters import Clusters  # noqa: PLC0415  30 ms that only this needs

    session: Session = context.obj
    report = reconcile(session.pods, session.networks(), foreign=foreign)
    known = Clusters.here(os.environ)
    known.sweep()
    for name in known.abandoned():
        report.attempt(f"cluster {name} (it was not made to its end)", partial(known.down, name))
    for removed in report.removed:
        write(f"removed {removed}\n")
    status = 0
    for failure in report.failures:
        status = failures.report(failure) or status
    if not report.removed and not report.failures:
        session.note("nothing to remove")
    sys.exit(status)


def version(*, output: FormOption = Form.TABLE) -> None:
    """Show podnet's version, and the CNI versions it speaks."""
    from importlib import metadata  # noqa: PLC0415  27 ms that only this needs

    ours = metadata.version("podnet")
    if output in {Form.JSON, Form.YAML}:
        spoken = list(RELEASED)
        document({"podnet": ours, "cni": spoken, "python": platform.python_version()}, form=output)
        return
    write(f"podnet {ours}\n")
    if output is not Form.NAME:
        write(f"CNI {', '.join(RELEASED)}\n")


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command()(gc)
    app.command()(version)
