"""Findings as JUnit XML, which every CI system reads: a suite for each plugin."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from xml.etree import ElementTree as ET

from podnet.rig.conformance.suite import Finding, Verdict

_TAGS = {Verdict.FAILED: "failure", Verdict.BROKEN: "error", Verdict.SKIPPED: "skipped"}


def text(findings: Sequence[Finding]) -> str:
    """Return findings as JUnit XML."""
    root = ET.Element("testsuites", name="podnet conformance")
    for plugin, group in groupby(findings, key=lambda finding: finding.plan.subject.name):
        root.append(_suite(plugin, list(group)))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(plugin: str, findings: list[Finding]) -> ET.Element:
    counts = {
        "tests": len(findings),
        "failures": _count(findings, Verdict.FAILED),
        "errors": _count(findings, Verdict.BROKEN),
        "skipped": _count(findings, Verdict.SKIPPED),
    }
    numbers = {key: str(value) for key, value in counts.items()}
    suite = ET.Element("testsuite", {"name": plugin, "time": _seconds(findings), **numbers})
    suite.extend(_test(plugin, finding) for finding in findings)
    return suite


def _test(plugin: str, finding: Finding) -> ET.Element:
    plan = finding.plan
    name = f"{plan.case.id} [{plan.cni_version}]" if plan.cni_version else plan.case.id
    if plan.repetition > 1:
        name += f" #{plan.repetition}"
    test = ET.Element("testcase", classname=plugin, name=name, time=_seconds([finding]))
    tag = _TAGS.get(finding.verdict)
    if tag is None:
        return test
    told = ET.SubElement(test, tag, message=_legible(finding.message))
    if finding.verdict is not Verdict.SKIPPED:
        told.set("type", str(plan.case.level))
        told.text = _legible("\n".join(_story(finding)))
    return test


def _story(finding: Finding) -> Iterator[str]:
    case = finding.plan.case
    yield f"{case.level}, SPEC {case.section}: {case.sentence}"
    yield f"Why it matters: {case.reason}"
    for call in finding.calls:
        yield f"{call['verb']}: exit {call['exit_status']} {call['problem']}"
        for stream in ("stdout", "stderr"):
            if call[stream]:
                yield f"  {stream}: {call[stream]}"


def _count(findings: list[Finding], verdict: Verdict) -> int:
    return sum(finding.verdict is verdict for finding in findings)


def _seconds(findings: list[Finding]) -> str:
    return f"{sum(finding.duration for finding in findings):.3f}"


def _legible(text: str) -> str:
    """Return *text* without what XML cannot hold: a plugin may have printed anything."""
    return "".join(c if c in "\t\n" or (c.isprintable() and c <= "\ufffd") else "�" for c in text)
