"""Runs a scenario: step by step, on a Node of its own, to the first that is not as expected."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from podnet.cni.errors import CniError
from podnet.cni.wire import Fields
from podnet.errors import PodnetError
from podnet.kernel import namespaces
from podnet.rig.scenario import findings, observed
from podnet.rig.scenario.acts import Actor
from podnet.rig.scenario.causes import causes
from podnet.rig.scenario.evidence import Cause, Moment
from podnet.rig.scenario.expectations import told, unmet
from podnet.rig.scenario.reading import Scenario, Step
from podnet.rig.scenario.world import World

#: What a runtime is asked to do to a pod.
_ASKED = frozenset({"create", "attach", "detach", "delete", "check"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What came of one step.

    Attributes:
        number: Which, from 1.
        step: What was to be done.
        milliseconds: How long it took.
        said: How it failed, or what it printed.
        unmet: What is not as it must be.
        skipped: It was not run, since one before it failed.
    """

    number: int
    step: Step
    milliseconds: float = 0.0
    said: str = ""
    unmet: tuple[str, ...] = ()
    skipped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of a scenario.

    Attributes:
        scenario: Which.
        steps: Its steps.
        causes: What was the matter.
        leaks: What was left of pods at the end.
    """

    scenario: Scenario
    steps: tuple[StepReport, ...]
    causes: tuple[Cause, ...]
    leaks: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything was as expected."""
        return not any(step.unmet for step in self.steps)


def run(
    scenario: Scenario,
    say: Callable[[StepReport], None] = lambda _: None,
    *,
    record: Path | None = None,
) -> Report:
    """Run a scenario.

    Args:
        scenario: What is done.
        record: Where calls of plugins are written down.
        say: Is told of each step when it is over.

    Raises:
        MissingError: A plugin or a privilege is missing.
    """
    with TemporaryDirectory(prefix="podnet-scenario-") as directory:
        world = World.open(scenario, Path(directory), record)
        try:
            return _Run(world, Actor(world)).everything(say)
        finally:
            world.close()


@dataclass(slots=True)
class _Run:
    """A scenario on its way.

    Attributes:
        world: Where it happens.
        actor: Who does the steps.
        moments: What was seen so far.
    """

    world: World
    actor: Actor
    moments: list[Moment] = field(default_factory=list)

    def everything(self, say: Callable[[StepReport], None]) -> Report:
        reports: list[StepReport] = []
        for number, step in enumerate(self.world.scenario.steps, 1):
            stopped = any(report.unmet for report in reports)
            reports.append(
                StepReport(number=number, step=step, skipped=True)
                if stopped
                else self._step(number, step)
            )
            say(reports[-1])
        reports += self._left_running(len(reports), say)
        self.actor.close()
        evidence = observed.evidence(self.world, self.moments)
        return Report(
            scenario=self.world.scenario,
            steps=tuple(reports),
            causes=tuple(causes(evidence)),
            leaks=evidence.leaks,
        )

    def _left_running(self, done: int, say: Callable[[StepReport], None]) -> Iterator[StepReport]:
        """Wait for what nobody waited for: how it ends counts all the same."""
        for number, pod in enumerate(self.actor.unwaited, done + 1):
            step = Step(
                action="wait",
                given=Fields({"pod": pod}),
                expect=Fields({}),
                about="Nobody waited for it.",
                line=self.world.scenario.steps[-1].line,
            )
            report = self._step(number, step)
            say(report)
            yield report

    def _step(self, number: int, step: Step) -> StepReport:
        before, clock = len(self.world.heard), time.monotonic()
        running = self._running(step)
        try:
            self.actor.act(number, step)
            error: Exception | None = None
        except (PodnetError, CniError) as exc:
            error = exc
        took = (time.monotonic() - clock) * 1000
        heard = self.world.heard[before:]
        moment = Moment(
            number=number,
            title=step.title,
            action=step.action,
            pod=step.given.text("pod"),
            error=error,
            outcomes=tuple(h.outcome for h in heard),
            running=running,
            netns=all(h.netns for h in heard if h.outcome.exit_status != 0)
            and (step.action != "check" or self._has_netns(step.given.text("pod"))),
        )
        self.moments.append(observed.at_its_end(self.world, moment))
        return StepReport(
            number=number,
            step=step,
            milliseconds=took,
            said=told(error) or self.actor.printed.strip(),
            unmet=tuple(
                unmet(step.expect, findings.found(step.expect, error, self.actor, self.moments))
            ),
        )

    def _running(self, step: Step) -> tuple[str, ...]:
        """Return what happens to the pod of *step* already, and which plugins are at work for it."""
        pod = step.given.text("pod")
        if step.action not in _ASKED or step.given.flag("background"):
            return ()
        begun = self.actor.runs_for(pod)
        netns = self.world.driver.netns(pod)
        calls = [c for c in tuple(self.world.at_work) if c.environment.get("CNI_NETNS") == netns]
        return (begun, *(f"{call.verb} {call.plugin}" for call in calls)) if begun else ()

    def _has_netns(self, pod: str) -> bool:
        return self.world.node.run(namespaces.is_namespace, self.world.driver.netns(pod))
