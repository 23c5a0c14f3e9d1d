"""A runtime, as a scenario asks things of it; and an executor that keeps what plugins did.

:mod:`podnet.rig.scenario.driver_podnet` is podnet's own, which refuses what cannot work, undoes
what failed and remembers what it could not undo; :mod:`podnet.rig.scenario.driver_libcni` does
what libcni does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from podnet.cni.config import Network
from podnet.cni.result import Result
from podnet.execute import Outcome, ProcessExecutor
from podnet.kernel import namespaces
from podnet.node import Node
from podnet.plan import Attachment, Invocation
from podnet.wishes import Wish

Added = list[tuple[Attachment, Result]]


class Driver(Protocol):
    """A runtime, as a scenario asks things of it.

    Attributes:
        node: Where.
        added: Every ADD that succeeded, and its result.
    """

    node: Node
    added: Added

    def create(self, pod: str, wish: Wish) -> None:
        """Make a pod, and ADD it to a network."""
        ...

    def attach(self, pod: str, wish: Wish) -> None:
        """ADD a pod to one more network."""
        ...

    def detach(self, pod: str, *, network: str, ifname: str) -> None:
        """DEL one attachment."""
        ...

    def delete(self, pod: str, *, force: bool) -> None:
        """DEL all attachments, and remove the pod."""
        ...

    def check(self, pod: str) -> None:
        """CHECK all attachments."""
        ...

    def gc(self) -> None:
        """Remove what is left of pods that are gone."""
        ...

    def status(self, network: Network) -> None:
        """Ask the plugins of a network whether they could serve a pod."""
        ...

    def crash(self) -> None:
        """Lose what is not on disk, and take nothing back."""
        ...

    def states(self) -> Mapping[str, str]:
        """Return the pods that the runtime knows, and their states."""
        ...

    def netns(self, pod: str) -> str:
        """Return the path of a pod's network namespace."""
        ...

    def containers(self) -> Sequence[str]:
        """Return the container IDs that the runtime knows."""
        ...


@dataclass(frozen=True, slots=True)
class Heard:
    """One invocation, and whether the container's namespace was there when it was over."""

    outcome: Outcome
    netns: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener(ProcessExecutor):
    """Runs plugins, and keeps what came of each.

    Attributes:
        heard: Every invocation, in order.
        at_work: Those that have not ended.
    """

    heard: list[Heard]
    at_work: list[Invocation]

    def run(self, invocation: Invocation) -> Outcome:
        """Run one invocation to its end."""
        self.at_work.append(invocation)
        try:
            outcome = ProcessExecutor.run(self, invocation)
        finally:
            self.at_work.remove(invocation)
        netns = invocation.environment.get("CNI_NETNS", "")
        self.heard.append(Heard(outcome, namespaces.is_namespace(netns)))
        return outcome
