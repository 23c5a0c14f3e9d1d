"""Runs a scenario: step by step, on a Node of its own, to the first that is not as expected."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FuturesTimeoutError
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

from podnet.cni.errors import CniError
from podnet.cni.wire import Fields
from podnet.errors import PodnetError, TimedOutError, UsageError
from podnet.kernel import namespaces, probes
from podnet.pipes import Child, converse
from podnet.rig import picture
from podnet.rig.scenario.causes import causes
from podnet.rig.scenario.evidence import Cause, Moment
from podnet.rig.scenario.expectations import Found, told, unmet
from podnet.rig.scenario.reading import Scenario, Step
from podnet.rig.scenario.world import World
from podnet.wishes import Wish

_PATIENCE = 60.0


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
            return _Run(world).everything(say)
        finally:
            world.close()


@dataclass(slots=True)
class _Run:
    """A scenario on its way.

    Attributes:
        world: Where it happens.
        moments: What was seen so far.
    """

    world: World
    moments: list[Moment] = field(default_factory=list)
    _stdout: str = ""
    _reached: bool = False
    _running: dict[str, Future[None]] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))

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
        self._pool.shutdown()
        evidence = self.world.evidence(self.moments)
        return Report(
            scenario=self.world.scenario,
            steps=tuple(reports),
            causes=tuple(causes(evidence)),
            leaks=evidence.leaks,
        )

    def _left_running(self, done: int, say: Callable[[StepReport], None]) -> Iterator[StepReport]:
        """Wait for what nobody waited for: how it ends counts all the same."""
        for number, pod in enumerate(list(self._running), done + 1):
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
        self._stdout = ""
        try:
            self._act(number, step)
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
            netns=all(h.netns for h in heard if h.outcome.exit_status != 0)
            and (step.action != "check" or self._has_netns(step.given.text("pod"))),
        )
        self.moments.append(self.world.moment(moment))
        return StepReport(
            number=number,
            step=step,
            milliseconds=took,
            said=told(error) or self._stdout.strip(),
            unmet=tuple(unmet(step.expect, self._found(step.expect, error))),
        )

    def _has_netns(self, pod: str) -> bool:
        return self.world.node.run(namespaces.is_namespace, self.world.driver.netns(pod))

    def _act(self, number: int, step: Step) -> None:
        given, world = step.given, self.world
        match step.action:
            case "fault" if step.fault and step.fault.kind == "reboot":
                world.reboot(number)
            case "fault" if step.fault:
                world.let_fail(step.fault)
            case "heal":
                world.heal(step.fault)
            case "reboot":
                world.reboot(number)
            case "wait":
                self._wait(given)
            case "exec":
                self._execute(given)
            case "probe":
                self._probe(given, asked=step.expect.get("reached") is not None)
            case _:
                self._drive(step.action, given)

    def _drive(self, action: str, given: Fields) -> None:
        """Ask something of the runtime."""
        driver, pod = self.world.driver, given.text("pod")
        if action in {"create", "attach"}:
            join, wish = (
                {"create": driver.create, "attach": driver.attach}[action],
                self._wish(given),
            )
            self._perhaps_later(given, lambda: join(pod, wish))
        elif action == "delete":
            force = given.flag("force")
            self._perhaps_later(given, lambda: driver.delete(pod, force=force))
        elif action == "detach":
            driver.detach(pod, network=given.text("network"), ifname=given.text("ifname"))
        elif action == "check":
            driver.check(pod)
        elif action in {"gc", "crash"}:
            {"gc": driver.gc, "crash": driver.crash}[action]()
        elif action == "status":
            driver.status(self.world.network(given.text("network")))

    def _wish(self, given: Fields) -> Wish:
        args, capabilities = given.child("args"), given.child("capabilities")
        return Wish(
            network=self.world.network(given.text("network")),
            ifname=given.text("ifname"),
            args=tuple((k, str(v)) for k, v in args.values.items()) if args else (),
            capability_args=capabilities.values if capabilities else {},
        )

    def _perhaps_later(self, given: Fields, act: Callable[[], None]) -> None:
        pod = given.text("pod")
        if given.flag("background"):
            if pod in self._running:
                raise UsageError(
                    f"something happens to pod {pod} in the background already", "`wait` for it"
                )
            self._running[pod] = self._pool.submit(act)
        else:
            act()

    def _wait(self, given: Fields) -> None:
        seconds = given.get("seconds")
        pod = given.text("pod")
        if pod:
            if pod not in self._running:
                raise UsageError(f"nothing happens to pod {pod} in the background")
            try:
                self._running.pop(pod).result(timeout=_PATIENCE)
            except FuturesTimeoutError:
                raise TimedOutError(
                    f"what happens to pod {pod} in the background did not end in {_PATIENCE:g} s"
                ) from None
        elif isinstance(seconds, int | float):
            time.sleep(seconds)

    def _execute(self, given: Fields) -> None:
        command, pod = given.texts("command"), given.text("pod")
        netns = self.world.driver.netns(pod) if pod else namespaces.OWN
        with self.world.not_a_plugins():
            status, self._stdout, logged = self.world.node.run(_run_in, netns, command)
        if status:
            said = logged.strip() or self._stdout.strip()
            raise PodnetError(f"{' '.join(command)}: exit {status}: {said}")

    def _probe(self, given: Fields, *, asked: bool) -> None:
        """Try to reach somebody; unless it is *asked* whether that worked, it must."""
        source = given.text("from")
        netns = namespaces.OWN if source == "@node" else self.world.driver.netns(source)
        sink, target = self._target(given.text("to"))
        port = given.number("tcp")
        probe = (
            self.world.node.run(probes.tcp, netns, sink, target, port)
            if port
            else self.world.node.run(probes.icmp, netns, target)
        )
        self._reached = probe.reached
        if not probe.reached and not asked:
            raise PodnetError(f"no answer: {probe.reason}")
        self._stdout = f"{probe.milliseconds:.3f} ms" if probe.reached else probe.reason

    def _target(self, name: str) -> tuple[str, probes.Address]:
        try:
            return namespaces.OWN, ip_address(name)
        except ValueError:
            netns = self.world.driver.netns(name)
        for attachment, result in reversed(self.world.driver.added):
            if attachment.netns == netns and result.ips:
                return netns, result.ips[0].address.ip
        raise UsageError(f"pod {name} has no address")

    def _found(self, expect: Fields, error: Exception | None) -> Found:
        """Collect what is expected something of."""
        asked = expect.values.keys()
        world, added = self.world, self.world.driver.added
        return Found(
            error=error,
            stdout=self._stdout,
            reached=self._reached,
            result=added[-1][1].to_wire() if added else None,
            leaks=world.leaks() if "leaks" in asked else (),
            states={
                "files": world.node.run(_files, _names(expect, "files")),
                "links": world.node.run(_links, _names(expect, "links")),
                "kernel": _facts(world, _names(expect, "kernel")),
                "pods": world.driver.states() if "pods" in asked else {},
            },
            causes=[c.name for c in causes(world.evidence(self.moments))]
            if "cause" in asked
            else (),
        )


def _names(expect: Fields, key: str) -> list[str]:
    child = expect.child(key)
    return list(child.values) if child else []


def _files(paths: Sequence[str]) -> dict[str, str]:
    return {path: _file(Path(path)) for path in paths}


def _file(path: Path) -> str:
    if not os.path.lexists(path):
        return "absent"
    return "present" if path.is_dir() or path.stat().st_size else "empty"


def _facts(world: World, parts: Sequence[str]) -> dict[str, str]:
    told = [f"{f.where} {f}" for f in picture.take(world.node)] if parts else []
    return {p: "present" if any(p in fact for fact in told) else "absent" for p in parts}


def _links(names: Sequence[str]) -> dict[str, str]:
    return {n: "present" if Path("/sys/class/net", n).exists() else "absent" for n in names}


def _run_in(netns: str, command: Sequence[str]) -> tuple[int, str, str]:
    """Run a command in a network namespace; return exit status, stdout and stderr."""
    binary = shutil.which(command[0])
    if binary is None:
        raise UsageError(f"there is no command {command[0]}")
    with namespaces.entered(netns):
        child = Child(Path(binary), os.environ, arguments=command[1:])
    spoken = converse(child, b"", time.monotonic() + _PATIENCE)
    if spoken.timed_out:
        os.killpg(child.pid, signal.SIGKILL)
    status = child.wait()
    if spoken.timed_out:
        raise TimedOutError(f"{' '.join(command)} did not end in {_PATIENCE:g} s")
    return status, spoken.stdout.decode(errors="replace"), spoken.stderr.decode(errors="replace")
