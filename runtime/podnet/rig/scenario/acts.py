"""What a step of a scenario says, done: to the runtime, to the Node, or in a pod.

Judges nothing: what must come of it is :mod:`podnet.rig.scenario.expectations`'.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FuturesTimeoutError
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from podnet.cni.wire import Fields
from podnet.errors import PodnetError, TimedOutError, UsageError
from podnet.kernel import namespaces, probes
from podnet.pipes import Child, converse
from podnet.rig.scenario import observed
from podnet.rig.scenario.reading import Step
from podnet.rig.scenario.world import World
from podnet.wishes import Wish

_PATIENCE = 60.0


@dataclass(slots=True)
class Actor:
    """Does what steps say, and keeps what happens in the background.

    Attributes:
        world: Where it happens.
        printed: What the last step printed.
        reached: Whether an answer to the last probe came back.
    """

    world: World
    printed: str = ""
    reached: bool = False
    _step: str = ""
    _begun: dict[str, str] = field(default_factory=dict)
    _running: dict[str, Future[None]] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))

    @property
    def unwaited(self) -> list[str]:
        """The pods that something happens to in the background, and nobody waited for."""
        return list(self._running)

    def runs_for(self, pod: str) -> str:
        """Return the step that happens to a pod in the background and has not ended, or ""."""
        begun = self._running.get(pod)
        return "" if begun is None or begun.done() else self._begun[pod]

    def close(self) -> None:
        """Wait for all that happens in the background."""
        self._pool.shutdown()

    def act(self, number: int, step: Step) -> None:
        """Do a step.

        Raises:
            PodnetError: It did not work.
            CniError: Likewise.
        """
        self.printed = ""
        self._step = f"step {number} ({step.title})"
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
            self._begun[pod] = self._step
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
        with observed.not_a_plugins(self.world):
            status, self.printed, logged = self.world.node.run(_run_in, netns, command)
        if status:
            said = logged.strip() or self.printed.strip()
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
        self.reached = probe.reached
        if not probe.reached and not asked:
            raise PodnetError(f"no answer: {probe.reason}")
        self.printed = f"{probe.milliseconds:.3f} ms" if probe.reached else probe.reason

    def _target(self, name: str) -> tuple[str, probes.Address]:
        try:
            return namespaces.OWN, ip_address(name)
        except ValueError:
            netns = self.world.driver.netns(name)
        for attachment, result in reversed(self.world.driver.added):
            if attachment.netns == netns and result.ips:
                return netns, result.ips[0].address.ip
        raise UsageError(f"pod {name} has no address")


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
