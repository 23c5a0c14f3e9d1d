"""Failures for people: what, where, why, what to do; and which exit status they are."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from podnet.answer import PluginError
from podnet.cni.errors import CniError
from podnet.errors import PodnetError, UsageError
from podnet.runtime import RollbackError
from podnet.visible import visible

_LONGEST_STDERR = 4000
_KEPT = "\n\t"


def explain(error: PodnetError | CniError, subject: str = "") -> str:
    """Return the whole story of a failure.

    Args:
        error: What happened.
        subject: What it happened to, "pod web".
    """
    about = f"{subject}: " if subject else ""
    if isinstance(error, RollbackError):
        return "\n".join(_rollback(error, subject))
    if isinstance(error, PluginError):
        return "\n".join([f"error: {about}{error.message}", *_plugin(error), *_trace(subject)])
    if isinstance(error, PodnetError):
        hint = [f"  {line}" for line in error.hint.splitlines()]
        return "\n".join([f"error: {about}{error.message}", *hint])
    details = [f"  {error.details}"] if error.details else []
    return "\n".join([f"error: {about}{error.msg}", *details])


def exit_code(error: PodnetError | CniError) -> int:
    """Return the exit status that *error* is; what the user got wrong is a usage error."""
    if isinstance(error, RollbackError):
        inner = error.failure
        return exit_code(inner) if isinstance(inner, PodnetError | CniError) else error.exit_code
    return error.exit_code if isinstance(error, PodnetError) else UsageError.exit_code


def report(error: PodnetError | CniError, subject: str = "") -> int:
    """Print a failure to stderr, and return its exit status."""
    sys.stderr.write(visible(explain(error, subject), keep=_KEPT) + "\n")
    return exit_code(error)


def note(text: str) -> None:
    """Say something on stderr; stdout is for data."""
    sys.stderr.write(f"podnet: {visible(text, keep=_KEPT)}\n")


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Let failures say what they happened to."""
    try:
        yield
    except (PodnetError, CniError) as exc:
        raise SystemExit(report(exc, subject)) from exc


def _plugin(error: PluginError) -> Iterator[str]:
    yield f"  {error.explanation}"
    stderr = error.outcome.stderr.decode(errors="backslashreplace").strip()
    if stderr:
        yield "  its stderr:"
        yield from (f"    {line}" for line in stderr[:_LONGEST_STDERR].splitlines())


def _trace(subject: str) -> Iterator[str]:
    if subject.startswith("pod "):
        yield f"  the whole exchange: podnet trace {subject.removeprefix('pod ')} -v"


def _rollback(error: RollbackError, subject: str) -> Iterator[str]:
    for failure in (error.failure, error.rollback):
        if isinstance(failure, PodnetError | CniError):
            yield explain(failure, subject)
        else:
            yield f"error: {type(failure).__name__} {failure}".rstrip()
    yield "  ADD failed, and so did the DEL that was to undo it."
    yield f"  {error.hint}"
