"""Findings as one page of HTML that needs nothing else: no script, no font, no network."""

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from podnet.cni import wire
from podnet.rig.conformance.suite import Finding, Verdict

_SIGNS = {
    Verdict.PASSED: "✓ passed",
    Verdict.FAILED: "✗ failed",
    Verdict.SKIPPED: "· skipped",
    Verdict.BROKEN: "! podnet failed",
}
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #c62828; --good: #2e7d32; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --good: #81c784; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
details { border-bottom: 1px solid var(--line); padding: .2rem 0; }
details details { border: 0; margin-left: 1rem; }
summary { cursor: pointer; }
pre { overflow-x: auto; background: #8881; padding: .5rem; white-space: pre-wrap; word-break: break-word; }
.failed, .broken { color: var(--bad); font-weight: 600; } .passed { color: var(--good); }
.skipped { opacity: .7; } .level { display: inline-block; width: 5rem; }
"""


def text(findings: Sequence[Finding]) -> str:
    """Return findings as a page."""
    groups = [
        (plugin, list(group))
        for plugin, group in groupby(findings, key=lambda finding: finding.plan.subject.name)
    ]
    body = "\n".join([*_summary(groups), *(part for group in groups for part in _plugin(*group))])
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>CNI conformance</title><style>{_STYLE}</style></head>\n"
        f"<body>\n<h1>CNI conformance</h1>\n{body}\n</body>\n</html>\n"
    )


def _summary(groups: list[tuple[str, list[Finding]]]) -> Iterator[str]:
    yield "<table><tr><th>plugin</th><th></th>"
    yield "".join(f"<th>{sign}</th>" for sign in _SIGNS.values()) + "</tr>"
    for plugin, findings in groups:
        counts = Counter(finding.verdict for finding in findings)
        bad = any(finding.violates for finding in findings)
        word = '<td class="failed">not conformant' if bad else '<td class="passed">conformant'
        cells = "".join(f"<td>{counts[verdict]}</td>" for verdict in _SIGNS)
        yield f'<tr><td><a href="#{escape(plugin)}">{escape(plugin)}</a></td>{word}</td>{cells}</tr>'
    yield "</table>"


def _plugin(plugin: str, findings: list[Finding]) -> Iterator[str]:
    yield f'<h2 id="{escape(plugin)}">{escape(plugin)}</h2>'
    order = [Verdict.FAILED, Verdict.BROKEN, Verdict.PASSED, Verdict.SKIPPED]
    for finding in sorted(findings, key=lambda finding: order.index(finding.verdict)):
        yield from _finding(finding)


def _finding(finding: Finding) -> Iterator[str]:
    case, verdict = finding.plan.case, finding.verdict
    is_open = " open" if verdict in {Verdict.FAILED, Verdict.BROKEN} else ""
    yield f"<details{is_open}><summary>"
    yield f'<span class="level">{case.level}</span> <span class="{verdict}">{_SIGNS[verdict]}</span>'
    yield f"<code>{escape(case.id)}</code> {escape(finding.plan.cni_version)}</summary>"
    if finding.message:
        yield f"<p><strong>{escape(finding.message)}</strong></p>"
    yield f"<p>SPEC {escape(case.section)}: {escape(case.sentence)}<br>{escape(case.reason)}</p>"
    if verdict in {Verdict.FAILED, Verdict.BROKEN}:
        for call in finding.calls:
            yield from _call(call)
    yield "</details>"


def _call(call: dict[str, object]) -> Iterator[str]:
    ending = call["problem"] or f"exit {call['exit_status']}"
    yield f"<details><summary>{escape(str(call['verb']))}: {escape(str(ending))}, "
    yield f"{call['duration_ms']} ms</summary><pre>"
    environment = call["environment"]
    if isinstance(environment, dict):
        yield "".join(f"{escape(k)}={escape(str(v))}\n" for k, v in environment.items())
    sent = call["stdin"]
    yield f"stdin:  {escape(sent if isinstance(sent, str) else wire.dumps(sent))[:4000]}"
    for stream in ("stdout", "stderr"):
        yield f"{stream}: {escape(str(call[stream]))[:4000]}"
    yield "</pre></details>"
