"""Findings as Markdown, for the summary of a CI job."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from podnet.rig.conformance.case import Level
from podnet.rig.conformance.suite import Finding, Verdict


def text(findings: Sequence[Finding]) -> str:
    """Return findings as Markdown."""
    return "\n".join([*_summary(findings), *_details(findings)]) + "\n"


def _summary(findings: Sequence[Finding]) -> Iterator[str]:
    yield "## CNI conformance"
    yield ""
    yield "| plugin | | passed | MUST failed | SHOULD failed | MAY failed | skipped |"
    yield "| --- | --- | --: | --: | --: | --: | --: |"
    for plugin, group in groupby(findings, key=lambda finding: finding.plan.subject.name):
        listed = list(group)
        failed = Counter(f.plan.case.level for f in listed if f.verdict is Verdict.FAILED)
        verdicts = Counter(finding.verdict for finding in listed)
        word = "not conformant" if failed[Level.MUST] else "conformant"
        levels = " | ".join(str(failed[level]) for level in Level)
        yield (
            f"| {_cell(plugin)} | {word} | {verdicts[Verdict.PASSED]} "
            f"| {levels} | {verdicts[Verdict.SKIPPED]} |"
        )


def _details(findings: Sequence[Finding]) -> Iterator[str]:
    wrong = [f for f in findings if f.verdict in {Verdict.FAILED, Verdict.BROKEN}]
    if not wrong:
        return
    yield ""
    yield "| plugin | case | level | version | what is wrong |"
    yield "| --- | --- | --- | --- | --- |"
    for finding in wrong:
        plan = finding.plan
        words = (plan.subject.name, plan.case.id, plan.case.level, plan.cni_version)
        cells = " | ".join(_cell(str(word)) for word in words)
        yield f"| {cells} | {_cell(finding.message)} |"


def _cell(text: str) -> str:
    """Return *text* as what it is, whatever a plugin has put in it."""
    flat = " ".join(text.split())
    for special in "\\`*_{}[]<>|":
        flat = flat.replace(special, f"\\{special}")
    return flat
