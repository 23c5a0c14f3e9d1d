"""The leak detector: attachments come and go in a Node of their own, and what is left is told.

Each cycle makes a pod, lets it join a network, and removes it, as ``podnet create`` and
``podnet delete`` do; pictures around each invocation tell who made what.  What may be left is
:mod:`podnet.rig.residue`'s to judge.
"""

import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from podnet.cni.errors import CniError
from podnet.errors import LeakError, PodnetError, UsageError
from podnet.execute import DEFAULT_TIMEOUT, Executor
from podnet.kernel import namespaces, programs, worlds
from podnet.node import Node
from podnet.places import Places
from podnet.plugin_host import PluginHost
from podnet.pods import Pods, processes
from podnet.records import Pod
from podnet.rig import picture, truth
from podnet.rig.ledger import Ledger, Maker
from podnet.rig.picture import WHOLE, Frame, Picture
from podnet.rig.residue import Marks, Residue, residues
from podnet.rig.watching import Watching
from podnet.wishes import PodWish, Wish, planned

# A process may be about to end, and the kernel about to clear up, when DEL has returned.
_PATIENCE, _PAUSE = 0.5, 0.1
# What plugins shorten a container ID to, where they do.
_SHORT_ID = 11
_NAMESPACES = Path("/run/netns")
_COVERED = ("/run", "/var/lib", "/etc/cni")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done.

    Attributes:
        wish: The network, and what is asked of it.
        places: Where plugins are.
        cycles: How many pods come and go, one after the other.
        check: CHECK each pod.
        lose: Remove each pod's namespace before its DEL, as a reboot does.
        prepare: Commands for the Node before it begins.
        strict: Nothing may stay.
        allowed: What may stay all the same: patterns of what things are called ("file /var/…/*").
        frame: What is looked at.
        timeout: Seconds that one plugin may take.
        host: Starts podnet's own plugins.
    """

    wish: Wish
    places: Places
    cycles: int = 3
    check: bool = False
    lose: bool = False
    prepare: Sequence[str] = ()
    strict: bool = False
    allowed: Sequence[str] = ()
    frame: Frame = WHOLE
    timeout: float = DEFAULT_TIMEOUT
    host: PluginHost | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A residue, and who made it."""

    residue: Residue
    makers: tuple[Maker, ...]

    def __str__(self) -> str:
        one = self.residue
        more = f" and {len(one.facts) - 1} like it" if len(one.facts) > 1 else ""
        by = ", ".join(dict.fromkeys(map(str, self.makers))) or "nobody's invocation"
        return f"{one.what} {one.example}{more} ({one.scope}), by {by}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of it.

    Attributes:
        found: What is left, leaks first.
        cycles: How many were completed.
        invocations: How many were watched.
        untrue: What a result said and the kernel did not.
        failure: What ended it before its time.
        seconds: How long it took.
    """

    found: tuple[Found, ...]
    cycles: int
    invocations: int
    untrue: tuple[str, ...] = ()
    failure: PodnetError | CniError | None = None
    seconds: float = 0.0

    @property
    def leaks(self) -> tuple[Found, ...]:
        """What must not be there."""
        return tuple(found for found in self.found if found.residue.leak)

    def require(self) -> None:
        """Go on only if nothing leaks.

        Raises:
            LeakError: Something does; it says what, and who made it.
            PodnetError: It ended before its time.
            CniError: Likewise.
        """
        if self.leaks:
            raise LeakError("\n".join(["these must not be there any more:", *map(str, self.leaks)]))
        if self.failure is not None:
            raise self.failure


def detect(plan: Plan, *, advance: Callable[[], None] = lambda: None) -> Report:
    """Let pods come and go in a Node of their own, and return what they leave.

    Args:
        plan: What is done.
        advance: Called after each cycle.

    Raises:
        UsageError: A command that prepares the Node fails, or a plugin is missing.
        MissingError: No privilege.
    """
    with Node.in_memory("leaks") as node:
        _show(node, plan.places.plugin_path)
        for command in plan.prepare:
            node.run(_prepare, command)
        return node.run(_Detection(plan, advance).run)


def _prepare(command: str) -> None:
    words = shlex.split(command)
    try:
        done = programs.run(*words)
    except FileNotFoundError:
        raise UsageError(f"there is no program {words[0]}, to prepare the Node") from None
    if done.status != 0:
        raise UsageError(f"the Node cannot be prepared: {command}: {done.stderr.strip()}")


def _show(node: Node, directories: Sequence[str]) -> None:
    """Let the Node see plugins that are where it has directories of its own."""
    for directory in directories:
        if directory.startswith(tuple(f"{top}/" for top in _COVERED)) and Path(directory).is_dir():
            seen = worlds.shown(Path(directory))
            try:
                node.run(worlds.show, seen, Path(directory))
            finally:
                os.close(seen)


@dataclass(slots=True)
class _Detection:
    """One run, on a Node's thread."""

    plan: Plan
    advance: Callable[[], None]
    ledger: Ledger = field(default_factory=Ledger)
    untrue: dict[str, None] = field(default_factory=dict)
    pods: list[Pod] = field(default_factory=list)

    def run(self) -> Report:
        """Run all cycles."""
        began = time.monotonic()
        # What the runtime itself needs for any namespace is no residue.
        namespaces.create(_NAMESPACES / "podnet-leaks")
        namespaces.delete(_NAMESPACES / "podnet-leaks")
        start = first = self._look()
        self.ledger = Ledger(start=start)
        failure: PodnetError | CniError | None = None
        done = 0
        for cycle in range(1, self.plan.cycles + 1):
            self.ledger.begin(cycle)
            try:
                self._cycle(cycle)
            except (PodnetError, CniError) as exc:
                failure = exc
                break
            done = cycle
            now = self._look()
            self.ledger.settle(now)
            first = now if cycle == 1 else first
            self.advance()
        found = self._settled(start, first)
        return Report(
            found=tuple(Found(residue=one, makers=self._makers(one)) for one in found),
            cycles=done,
            invocations=self.ledger.outcomes,
            untrue=tuple(self.untrue),
            failure=failure,
            seconds=time.monotonic() - began,
        )

    def _cycle(self, cycle: int) -> None:
        pods = self._pods()
        wish = PodWish(
            name=f"podnet-leaks-{os.urandom(4).hex()}-{cycle}", networks=[self.plan.wish]
        )
        pod = planned(wish, pods.places)
        self.pods.append(pod)
        made = self.pods[-1] = pods.create(pod)
        self._verify(made)
        if self.plan.check:
            pods.check(made.name)
        if self.plan.lose:
            namespaces.delete(Path(made.netns))
            self.ledger.begin(cycle)  # the loss was no plugin's
        pods.delete(made.name)

    def _pods(self) -> Pods:
        plan = self.plan
        state, run = Path("/var/lib/podnet"), Path("/run/podnet")
        places = replace(
            plan.places,
            state=state,
            run=run,
            namespaces=_NAMESPACES,
            cache=state / "cni",
        )
        return Pods(
            places=places,
            node="leaks",
            timeout=plan.timeout,
            make_executor=self._watched,
            plugin_host=plan.host,
        )

    def _watched(self, pods: Pods, keep_open: tuple[int, ...]) -> Executor:
        return Watching(
            executor=processes(pods, keep_open), observe=self.ledger.observe, look=self._look
        )

    def _look(self) -> Picture:
        return picture.take_here(self.plan.frame)

    def _verify(self, pod: Pod) -> None:
        seen = self._look()
        for joined in pod.memberships:
            if joined.result is not None:
                said = truth.untrue(joined.result, seen, netns=pod.netns)
                self.untrue.update(dict.fromkeys(said))

    def _settled(self, start: Picture, first: Picture) -> list[Residue]:
        """Return what is left, once nothing leaks any more, or after half a second."""
        deadline = time.monotonic() + _PATIENCE
        once = len(self.pods) == 1
        while True:
            last = self._look()
            self.ledger.settle(last)
            then = last if once else first
            if self.plan.lose:  # what was in a namespace that is lost is lost with it
                still = {fact.identity for fact in last}
                start = frozenset(fact for fact in start if fact.identity in still)
            found = residues(
                start,
                then,
                last,
                marks(self.pods),
                strict=self.plan.strict,
                # Of a pod that could not be removed the namespace stays, on record.
                allowed=(*self.plan.allowed, *(f"namespace {pod.netns}" for pod in self.pods)),
            )
            if not any(one.leak for one in found) or time.monotonic() > deadline:
                return found
            time.sleep(_PAUSE)

    def _makers(self, residue: Residue) -> tuple[Maker, ...]:
        found = {self.ledger.maker(fact.identity) for fact in residue.facts}
        return tuple(sorted(maker for maker in found if maker is not None))


def marks(pods: Sequence[Pod]) -> Marks:
    """Return what pods, and what is theirs, are known by."""
    names, addresses = set[str](), set[str]()
    for pod in pods:
        names |= {pod.name, pod.container_id[:_SHORT_ID]}
        for joined in pod.memberships:
            names |= {value for key, value in joined.args if key == "K8S_POD_UID"}
            if joined.result is not None:
                addresses |= {str(ip.address.ip) for ip in joined.result.ips}
                addresses |= {i.mac for i in joined.result.interfaces if i.sandbox and i.mac}
    return Marks(names=frozenset(names), addresses=frozenset(addresses))
