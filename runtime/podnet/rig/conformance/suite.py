"""Runs cases: each in a fresh Node, several at a time, in every version that is asked for.

What comes of one is a :class:`Finding`; a case that podnet itself fails at is told apart from
one that the plugin fails.  Prints nothing.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum

from podnet import transcript
from podnet.answer import PluginError
from podnet.cni import versions
from podnet.cni.errors import CniError
from podnet.errors import MissingError
from podnet.node import Node
from podnet.plugin_host import PluginHost
from podnet.rig import features
from podnet.rig.conformance.case import Case, Level
from podnet.rig.conformance.scene import AddFailed, Inapplicable, Scene, Violation
from podnet.rig.conformance.subject import Subject
from podnet.rig.conformance.trial import NEEDS_ADD, Trial, prepare

#: What is asked of a plugin that does not say what it speaks.
_PRESUMED = ("1.0.0",)
#: The case that most others stand on.
_FIRST = "add-succeeds"


class Verdict(StrEnum):
    """What came of a case."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    BROKEN = "broken"  # podnet's own fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One case to be run.

    Attributes:
        case: The case.
        subject: The plugin.
        cni_version: The version it is asked in; "" when there is none.
        repetition: Which time, from 1.
        skip: Why it is not run, or "".
        adds: Whether the plugin's ADD works, as far as is known.
    """

    case: Case
    subject: Subject
    cni_version: str
    repetition: int = 1
    skip: str = ""
    adds: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of one case.

    Attributes:
        plan: What was run.
        verdict: What came of it.
        message: What is wrong, or why it was skipped.
        duration: How long it took, in seconds.
        calls: The invocations of the plugin under test, as transcripts write them down.
    """

    plan: Plan
    verdict: Verdict
    message: str = ""
    duration: float = 0.0
    calls: tuple[dict[str, object], ...] = ()

    @property
    def violates(self) -> bool:
        """Whether the plugin fails what it must do."""
        return self.verdict is Verdict.FAILED and self.plan.case.level is Level.MUST

    def to_wire(self, *, calls: bool = True) -> dict[str, object]:
        """Return it for ``-o json``."""
        said: dict[str, object] = {
            "name": self.plan.case.id,
            "plugin": self.plan.subject.name,
            "cniVersion": self.plan.cni_version,
            "repetition": self.plan.repetition,
            "level": str(self.plan.case.level),
            "verdict": str(self.verdict),
            "message": self.message,
            "seconds": round(self.duration, 4),
            "section": self.plan.case.section,
            "sentence": self.plan.case.sentence,
            "reason": self.plan.case.reason,
        }
        return said | ({"calls": list(self.calls)} if calls else {})


def spoken(subject: Subject) -> tuple[str, ...]:
    """Return the versions that a plugin speaks, oldest first.

    Raises:
        UsageError: There is no such plugin.
    """
    with Node.in_memory("versions") as node, Scene(node) as scene:
        trial = Trial(subject, versions.LATEST, scene)
        try:
            said = trial.cni.version().versions.supported
        except PluginError:
            return _PRESUMED
    return tuple(version for version in versions.RELEASED if version in said) or _PRESUMED


def lacking(subject: Subject) -> str:
    """Return what this kernel or system lacks for a plugin to work at all, or "".

    A Node that cannot be prepared lacks something, too: no case could be asked there.
    """
    with Node.in_memory("features") as node, Scene(node) as scene:
        found = (features.lacking(node, name) for name in subject.parameters.requires)
        if lacks := next(filter(None, found), ""):
            return lacks
        try:
            prepare(Trial(subject, versions.LATEST, scene))
        except Inapplicable as exc:
            return str(exc)
    return ""


def planned(
    subject: Subject,
    cases: Iterable[Case],
    speaks: Sequence[str],
    *,
    asked: Sequence[str] = (),
    repeat: int = 1,
    lacks: str = "",
) -> Iterator[Plan]:
    """Yield what is to be run: each case in the versions that are asked for.

    By default in the newest that the plugin speaks and that has it; a case about every version,
    in all of them.  Where something is lacking, none is run.
    """
    for case in cases:
        skip = lacks or case.not_for(subject)
        fitting = [v for v in (asked or speaks) if case.is_in(v)]
        if not skip and not fitting:
            skip = f"no version that it is asked in has it: {', '.join(asked or speaks)}"
        if skip:
            yield Plan(case=case, subject=subject, cni_version="", skip=skip)
            continue
        chosen = fitting if asked or case.every_version else fitting[-1:]
        for version in chosen:
            for repetition in range(1, repeat + 1):
                yield Plan(case=case, subject=subject, cni_version=version, repetition=repetition)


def run(
    plans: Sequence[Plan],
    *,
    parallel: int = 0,
    host: PluginHost | None = None,
    told: Callable[[Finding], None] = lambda _: None,
) -> list[Finding]:
    """Run what is planned; findings are in the order of the plans.

    Whether ADD works is asked first: where it does not, what needs it is not asked, since all that
    could be found is the same again.

    Args:
        plans: What to run.
        parallel: How many at a time; one for each CPU by default.
        host: Starts podnet's own plugins.
        told: Is told of each finding as it comes.
    """

    def one(plan: Plan) -> Finding:
        found = run_one(plan, host)
        told(found)
        return found

    with ThreadPoolExecutor(parallel or len(os.sched_getaffinity(0))) as pool:
        try:
            known = list(pool.map(one, [plan for plan in plans if plan.case.id == _FIRST]))
            failing = _failing(known)
            rest = [
                replace(plan, adds=(plan.subject.name, plan.cni_version) not in failing)
                for plan in plans
                if plan.case.id != _FIRST
            ]
            first, others = iter(known), pool.map(one, rest)
            return [next(first if plan.case.id == _FIRST else others) for plan in plans]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _failing(findings: Iterable[Finding]) -> set[tuple[str, str]]:
    """Return who fails in which version, each time that it was asked."""
    said: dict[tuple[str, str], set[Verdict]] = {}
    for finding in findings:
        asked = (finding.plan.subject.name, finding.plan.cni_version)
        said.setdefault(asked, set()).add(finding.verdict)
    return {asked for asked, verdicts in said.items() if verdicts == {Verdict.FAILED}}


def run_one(plan: Plan, host: PluginHost | None = None) -> Finding:
    """Run one case in a Node of its own."""
    if plan.skip:
        return Finding(plan=plan, verdict=Verdict.SKIPPED, message=plan.skip)
    started = time.monotonic()
    calls: list[dict[str, object]] = []
    with Node.in_memory("conformance") as node, Scene(node) as scene:
        verdict, message = _judged(plan, scene, host, calls)
    return Finding(
        plan=plan,
        verdict=verdict,
        message=message,
        duration=time.monotonic() - started,
        calls=tuple(calls),
    )


def _judged(
    plan: Plan, scene: Scene, host: PluginHost | None, calls: list[dict[str, object]]
) -> tuple[Verdict, str]:
    trial: Trial | None = None
    try:
        trial = Trial(plan.subject, plan.cni_version, scene, host, adds=plan.adds)
        prepare(trial)
        plan.case.body(trial)
    except (Inapplicable, MissingError) as exc:
        return Verdict.SKIPPED, str(exc)
    except (Violation, PluginError, CniError) as exc:
        if not plan.adds and _is_of_add(exc):
            return Verdict.SKIPPED, NEEDS_ADD
        return Verdict.FAILED, str(exc)
    except Exception as exc:  # noqa: BLE001  a plugin's answer that breaks a case ends that case only
        return Verdict.BROKEN, f"{type(exc).__name__}: {exc}"
    finally:
        if trial is not None:
            calls += [transcript.entry(outcome) for outcome in trial.cni.outcomes]
    return Verdict.PASSED, ""


def _is_of_add(exc: Exception) -> bool:
    """Tell whether it is an ADD that fails, and not what the case is about."""
    if isinstance(exc, PluginError):
        return exc.outcome.invocation.verb is versions.Verb.ADD
    return isinstance(exc, AddFailed)
