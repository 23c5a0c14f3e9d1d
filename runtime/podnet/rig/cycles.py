"""Pods that come and go on a Node, with somebody looking: what the leak detector has to judge.

A cycle makes a pod, lets it join a network, and removes it, as ``podnet create`` and ``podnet
delete`` do.  One pod at a time has pictures around each invocation, which tell who made what.
Of several at a time nobody could tell: who makes what is known from one that was alone, on
another Node, since what is shared must not be there yet when several come at once.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from podnet.cni.errors import CniError
from podnet.errors import PodnetError
from podnet.execute import DEFAULT_TIMEOUT, Executor
from podnet.kernel import namespaces
from podnet.node import Node
from podnet.places import Places
from podnet.plugin_host import PluginHost
from podnet.pod import Pod
from podnet.pods import Pods, processes
from podnet.rig import picture, truth
from podnet.rig.ledger import Ledger
from podnet.rig.picture import WHOLE, Frame, Picture
from podnet.rig.watching import Watching
from podnet.wishes import PodWish, Wish, planned

T = TypeVar("T")

_NAMESPACES = Path("/run/netns")
_STATE, _RUN = Path("/var/lib/podnet"), Path("/run/podnet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done.

    Attributes:
        wish: The network, and what is asked of it.
        places: Where plugins are.
        cycles: How often pods come and go.
        at_once: How many come, and go, at the same time.
        check: CHECK each pod.
        lose: Remove each pod's namespace before its DEL, as a reboot does.
        prepare: Commands for the Node before it begins.
        strict: Nothing may stay.
        allowed: What may stay all the same: patterns of what things are called ("file /var/…/*").
        frame: What is looked at.
        timeout: Seconds that one plugin may take.
        host: Starts podnet's own plugins.
        behind: What pods' plugins are run behind: shims, where something is to go wrong.
        go_on: A cycle that fails is not the last one.
    """

    wish: Wish
    places: Places
    cycles: int = 3
    at_once: int = 1
    check: bool = False
    lose: bool = False
    prepare: Sequence[str] = ()
    strict: bool = False
    allowed: Sequence[str] = ()
    frame: Frame = WHOLE
    timeout: float = DEFAULT_TIMEOUT
    host: PluginHost | None = None
    behind: Callable[[Pods], Pods] = lambda pods: pods
    go_on: bool = False


@dataclass(slots=True, kw_only=True)
class Cycles:
    """Lets pods come and go on one Node; call it from outside of the Node.

    Attributes:
        node: Where.
        plan: What is done.
        start: The Node before the first pod.
        ledger: Who made what; it may have been taught elsewhere.
        pods: Those that have come so far.
        untrue: What a result said and the kernel did not.
    """

    node: Node
    plan: Plan
    start: Picture = frozenset()
    ledger: Ledger = field(default_factory=Ledger)
    pods: list[Pod] = field(default_factory=list)
    untrue: dict[str, None] = field(default_factory=dict)

    def begin(self) -> None:
        """Have the Node as it is before anybody comes."""
        # What the runtime itself needs for any namespace is no residue.
        self.node.run(namespaces.create, _NAMESPACES / "podnet-leaks")
        self.node.run(namespaces.delete, _NAMESPACES / "podnet-leaks")
        self.start = self.look()
        self.ledger = Ledger(start=self.start, taught=self.ledger.taught)

    def run(self, cycle: int) -> Picture:
        """Run one cycle, the first being number 1, and return the Node after it.

        Raises:
            PodnetError: A plugin failed; what could be undone is.
            CniError: Likewise.
        """
        self.ledger.begin(cycle)
        if self.plan.at_once == 1:
            self._alone(cycle)
        else:
            self._together(cycle)
        after = self.look()
        self.ledger.settle(after)
        return after

    def look(self) -> Picture:
        """Take a picture."""
        return picture.take(self.node, self.plan.frame)

    def _alone(self, cycle: int) -> None:
        pods = self._runtime(self._watched)
        made = self._enter(self.node.run(pods.create, self._planned(cycle)))
        self._verify(made, self.look())
        try:
            if self.plan.check:
                self.node.run(pods.check, made.name)
        finally:  # a pod that is not as it was made is no leak
            if self.plan.lose:
                self.node.run(namespaces.delete, Path(made.netns))
                self.ledger.begin(cycle)  # the loss was no plugin's
            self.node.run(pods.delete, made.name)

    def _together(self, cycle: int) -> None:
        pods, wanted = self._runtime(processes), self.plan.at_once
        before = self.look()
        coming = [partial(pods.create, self._planned(cycle)) for _ in range(wanted)]
        made, failures = self._at_once(coming)
        there = self.look()
        self.ledger.together("ADD", before, there)
        for pod in map(self._enter, made):
            self._verify(pod, there)
            if self.plan.lose:
                self.node.run(namespaces.delete, Path(pod.netns))
        gone, more = self._at_once([partial(pods.delete, pod.name) for pod in made])
        self.ledger.together("DEL", there, self.look())
        self.ledger.outcomes += len(self.plan.wish.network.plugins) * (len(made) + len(gone))
        for failure in (*failures, *more):
            raise failure

    def _at_once(
        self, acts: Sequence[Callable[[], T]]
    ) -> tuple[list[T], list[PodnetError | CniError]]:
        """Do all of it on the Node at the same time; return what came of it, and what failed."""
        done, failures = list[T](), list[PodnetError | CniError]()
        with ThreadPoolExecutor(max_workers=len(acts) or 1) as pool:
            for waiting in [pool.submit(self.node.run, act) for act in acts]:
                try:
                    done.append(waiting.result())
                except (PodnetError, CniError) as exc:
                    failures.append(exc)
        return done, failures

    def _planned(self, cycle: int) -> Pod:
        name = f"podnet-leaks-{os.urandom(4).hex()}-{cycle}"
        wish = PodWish(name=name, networks=[self.plan.wish])
        return self._enter(planned(wish, self._places()))

    def _enter(self, pod: Pod) -> Pod:
        """Remember a pod; once it is made, with what it was given."""
        self.pods = [one for one in self.pods if one.name != pod.name] + [pod]
        return pod

    def _places(self) -> Places:
        return replace(
            self.plan.places,
            state=_STATE,
            run=_RUN,
            cache=_STATE / "cni",
            namespaces=_NAMESPACES,
        )

    def _runtime(self, make: Callable[[Pods, tuple[int, ...]], Executor]) -> Pods:
        pods = Pods(
            places=self._places(),
            node=self.node.name,
            timeout=self.plan.timeout,
            make_executor=make,
            plugin_host=self.plan.host,
        )
        return self.plan.behind(pods)

    def _watched(self, pods: Pods, keep_open: tuple[int, ...]) -> Executor:
        return Watching(
            executor=processes(pods, keep_open),
            observe=self.ledger.observe,
            look=partial(picture.take_here, self.plan.frame),
        )

    def _verify(self, pod: Pod, seen: Picture) -> None:
        for joined in pod.memberships:
            if joined.result is not None:
                said = truth.untrue(joined.result, seen, netns=pod.netns)
                self.untrue.update(dict.fromkeys(said))
