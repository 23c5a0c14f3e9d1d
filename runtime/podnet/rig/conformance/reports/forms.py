"""The forms that reports have: JUnit XML, a page of HTML, Markdown, JSON.

Each form is a function from findings to text; who writes it where is the caller's business.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from podnet import files
from podnet.errors import PodnetError, UsageError
from podnet.rig.conformance.reports import as_json, junit, markdown, page
from podnet.rig.conformance.suite import Finding

FORMS: Mapping[str, Callable[[Sequence[Finding]], str]] = {
    "html": page.text,
    "json": as_json.text,
    "junit": junit.text,
    "markdown": markdown.text,
}


def parsed(request: str) -> tuple[str, Path]:
    """Read ``FORM=FILE``.

    Raises:
        UsageError: There is no such form, or no file.
    """
    form, found, file = request.partition("=")
    if form not in FORMS or not (found and file):
        raise UsageError(
            f"no report can be made of {request}", f"FORM=FILE, with FORM one of {', '.join(FORMS)}"
        )
    return form, Path(file)


def require_writable(file: Path) -> None:
    """Make an empty report, so that a run is not in vain: what it finds would be lost.

    Raises:
        PodnetError: It cannot be written.
    """
    with files.naming(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.open("a").close()


def write(wanted: Sequence[tuple[str, Path]], findings: Sequence[Finding]) -> None:
    """Write reports, all that can be written.

    Args:
        wanted: The form and the file of each.
        findings: What they tell.

    Raises:
        PodnetError: One cannot be written; which failure it is, when there are more, is the first's.
    """
    failures = []
    for form, file in wanted:
        try:
            with files.naming(file):
                # A plugin may have said half of a surrogate pair, which UTF-8 has not.
                text = FORMS[form](findings)
                file.write_text(text, encoding="utf-8", errors="backslashreplace")
        except PodnetError as exc:
            failures.append(exc)
        except Exception as exc:  # noqa: BLE001  it is the form's mistake, and the others have none
            failures.append(PodnetError(f"no {form} can be made for {file}: {exc!r}"))
    if failures:
        raise failures[0]
