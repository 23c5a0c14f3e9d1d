"""The leak detector: attachments come and go in a Node of their own, and what is left is told.

:mod:`podnet.rig.cycles` lets them come and go, and has somebody look; :mod:`podnet.rig.residue`
judges what may be left; here the two meet, and a report comes of it.
"""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from podnet.cni.errors import CniError
from podnet.errors import LeakError, PodnetError, UsageError
from podnet.kernel import programs
from podnet.node import Node
from podnet.pod import Pod
from podnet.rig.cycles import Cycles, Plan
from podnet.rig.ledger import Ledger, Maker
from podnet.rig.picture import Picture
from podnet.rig.residue import Marks, Residue, residues

# A process may be about to end, and the kernel about to clear up, when DEL has returned.
_PATIENCE, _PAUSE = 0.5, 0.1
# What plugins shorten a container ID to, where they do.
_SHORT_ID = 11


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
        cycles: How many were completed without a failure.
        invocations: How many were watched.
        untrue: What a result said and the kernel did not.
        failure: What failed first.
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
    if plan.at_once == 1:
        with _prepared(plan) as node:
            return _judged(Cycles(node=node, plan=plan), advance)[0]
    with _prepared(plan) as node:
        alone = Cycles(node=node, plan=replace(plan, cycles=1, at_once=1))
        report, first = _judged(alone, lambda: None)
    if report.leaks or report.failure:
        return report
    with _prepared(plan) as node:
        together = Cycles(node=node, plan=plan, ledger=alone.ledger)
        return _judged(together, advance, first)[0]


@contextmanager
def _prepared(plan: Plan) -> Iterator[Node]:
    with Node.in_memory("leaks") as node:
        node.show(*map(Path, plan.places.plugin_path))
        for command in plan.prepare:
            node.run(_prepare, command)
        yield node


def _prepare(command: str) -> None:
    try:
        words = shlex.split(command)
        done = programs.run(*words) if words else None
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise UsageError(f"the Node cannot be prepared: {command}: {reason}") from None
    if done is None:
        raise UsageError("the Node cannot be prepared by an empty command")
    if done.status != 0:
        raise UsageError(f"the Node cannot be prepared: {command}: {done.stderr.strip()}")


def _judged(
    cycles: Cycles, advance: Callable[[], None], alone: Picture | None = None
) -> tuple[Report, Picture]:
    """Run all cycles; return what came of it, and the Node after the first one.

    Args:
        cycles: What is run.
        advance: Called after each.
        alone: A Node after one pod, where the first cycle has more of them.
    """
    cycles.begin()
    began, plan = time.monotonic(), cycles.plan
    first, done = alone or cycles.start, 0
    failure: PodnetError | CniError | None = None
    for cycle in range(1, plan.cycles + 1):
        try:
            after = cycles.run(cycle)
        except (PodnetError, CniError) as exc:
            failure = failure or exc
            if not plan.go_on:
                break
            after = cycles.look()
        else:
            done += 1
        first = after if cycle == 1 and alone is None else first
        advance()
    report = Report(
        found=tuple(_attributed(one, cycles.ledger) for one in _settled(cycles, first)),
        cycles=done,
        invocations=cycles.ledger.outcomes,
        untrue=tuple(cycles.untrue),
        failure=failure,
        seconds=time.monotonic() - began,
    )
    return report, first


def _settled(cycles: Cycles, first: Picture) -> list[Residue]:
    """Return what is left, once nothing leaks any more, or after half a second."""
    deadline = time.monotonic() + _PATIENCE
    plan, start, once = cycles.plan, cycles.start, len(cycles.pods) == 1
    # Of a pod that could not be removed the namespace stays, on record.
    allowed = (*plan.allowed, *(f"namespace {pod.netns}" for pod in cycles.pods))
    borne = marks(cycles.pods)
    while True:
        last = cycles.look()
        cycles.ledger.settle(last)
        if plan.lose:  # what was in a namespace that is lost is lost with it
            still = {fact.identity for fact in last}
            start = frozenset(fact for fact in start if fact.identity in still)
        then = last if once else first
        found = residues(start, then, last, borne, strict=plan.strict, allowed=allowed)
        if not any(one.leak for one in found) or time.monotonic() > deadline:
            return found
        time.sleep(_PAUSE)


def _attributed(residue: Residue, ledger: Ledger) -> Found:
    found = {ledger.maker(fact.identity) for fact in residue.facts}
    makers = sorted(maker for maker in found if maker is not None)
    return Found(residue=residue, makers=tuple(makers))


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
