"""podnet's own pods, driven by a scenario."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from podnet import reconcile
from podnet.cni.config import Network
from podnet.node import Node
from podnet.pods import Pods
from podnet.records import CorruptRecordError
from podnet.rig.scenario.driver import Added
from podnet.wishes import PodWish, Wish, planned


@dataclass(slots=True, kw_only=True)
class PodnetDriver:
    """podnet's own pods.

    Attributes:
        node: Where.
        pods: They.
        networks: All networks, for GC.
        added: Every ADD that succeeded, and its result.
    """

    node: Node
    pods: Pods
    networks: Sequence[Network]
    added: Added = field(default_factory=list)

    def create(self, pod: str, wish: Wish) -> None:
        """Make a pod, and ADD it to a network."""
        wanted = planned(PodWish(name=pod, networks=[wish]), self.pods.places)
        made = self.node.run(self.pods.create, wanted)
        self._remember(pod, made.memberships[0].ifname)

    def attach(self, pod: str, wish: Wish) -> None:
        """ADD a pod to one more network."""
        joined = self.node.run(self.pods.attach, pod, wish)
        self._remember(pod, joined.ifname)

    def _remember(self, name: str, ifname: str) -> None:
        pod = self.node.run(self.pods.records.load, name)
        joined = pod.membership(ifname=ifname)
        if joined.result is not None:
            self.added.append((joined.attachment(pod.container_id, pod.netns), joined.result))

    def detach(self, pod: str, *, network: str, ifname: str) -> None:
        """DEL one attachment."""
        self.node.run(self.pods.detach, pod, ifname=ifname, network=network)

    def delete(self, pod: str, *, force: bool) -> None:
        """DEL all attachments, and remove the pod."""
        self.node.run(self.pods.delete, pod, force=force)

    def check(self, pod: str) -> None:
        """CHECK all attachments."""
        self.node.run(self.pods.check, pod)

    def gc(self) -> None:
        """Remove what is left of pods that are gone."""
        report = self.node.run(reconcile.reconcile, self.pods, list(self.networks))
        if report.failures:
            raise report.failures[0]

    def status(self, network: Network) -> None:
        """Ask the plugins of a network whether they could serve a pod."""
        self.node.run(self.pods.runtime().status, network)

    def crash(self) -> None:
        """Lose nothing: everything is on record."""

    def states(self) -> Mapping[str, str]:
        """Return the pods on record, and their states."""
        listed = self.node.run(lambda: list(self.pods.records.all()))
        return {
            pod.name: "corrupt" if isinstance(pod, CorruptRecordError) else str(pod.state)
            for pod in listed
        }

    def netns(self, pod: str) -> str:
        """Return the path of a pod's network namespace."""
        return str(self.pods.places.namespaces / pod)

    def containers(self) -> Sequence[str]:
        """Return the container IDs on record."""
        listed = self.node.run(lambda: list(self.pods.records.all()))
        return [p.container_id for p in listed if not isinstance(p, CorruptRecordError)]
