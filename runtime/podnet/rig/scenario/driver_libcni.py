"""A runtime that does what libcni does, driven by a scenario.

It finds out on the way, undoes nothing, and stops a DEL at the first failure: what its users meet
is what most public issues are about.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from podnet.cache import Cache, CacheError
from podnet.cni.config import Network
from podnet.cni.errors import CniError
from podnet.cni.versions import Verb, supports
from podnet.errors import PodnetError, UsageError
from podnet.execute import ProcessExecutor
from podnet.kernel import namespaces
from podnet.node import Node
from podnet.places import LIBCNI_CACHE
from podnet.plan import Attachment
from podnet.rig.caller import NAMESPACES, Caller, make_namespace
from podnet.rig.scenario.driver import Added
from podnet.wishes import Wish


@dataclass(slots=True, kw_only=True)
class LibcniDriver:
    """A runtime over libcni: no check beforehand, nothing is undone, DEL stops where it fails.

    Attributes:
        node: Where.
        executor: Finds and runs plugins.
        networks: All networks, for GC.
        added: Every ADD that succeeded, and its result.
    """

    node: Node
    executor: ProcessExecutor
    networks: Sequence[Network]
    added: Added = field(default_factory=list)
    _pods: dict[str, list[tuple[Network, Attachment]]] = field(default_factory=dict)
    _cache: Cache = field(default_factory=lambda: Cache(LIBCNI_CACHE))

    def create(self, pod: str, wish: Wish) -> None:
        """Make a namespace, and ADD it to a network."""
        if pod in self._pods:
            raise UsageError(f"there is a pod {pod} already")
        make_namespace(self.node, pod)
        self._pods[pod] = []
        self.attach(pod, wish)

    def attach(self, pod: str, wish: Wish) -> None:
        """ADD along the chain; whatever comes of it, the attachment is to be DELed."""
        joined = self._of(pod)
        attachment = Attachment(
            container_id=_container(pod),
            ifname=wish.ifname or f"eth{len(joined)}",
            netns=self.netns(pod),
            args=(("IgnoreUnknown", "1"), *wish.args),
            capability_args=wish.capability_args,
        )
        joined.append((wish.network, attachment))
        result = self._caller(wish.network).add(attachment).result
        self.added.append((attachment, result))
        self.node.run(self._cache.save, wish.network, attachment, result)

    def detach(self, pod: str, *, network: str, ifname: str) -> None:
        """DEL one attachment."""
        for joined in list(self._of(pod)):
            if (not network or joined[0].name == network) and (
                not ifname or joined[1].ifname == ifname
            ):
                self._delete(pod, *joined)

    def delete(self, pod: str, *, force: bool) -> None:
        """DEL all attachments; forced, the namespace goes and the pod is forgotten all the same.

        Raises:
            PodnetError: A DEL failed, also when it was forced.
        """
        failures: list[PodnetError | CniError] = []
        for network, attachment in reversed(list(self._of(pod))):
            try:
                self._delete(pod, network, attachment)
            except (PodnetError, CniError) as exc:
                if not force:
                    raise
                failures.append(exc)
        self.node.run(namespaces.delete, NAMESPACES / pod)
        del self._pods[pod]
        if failures:
            raise failures[0]

    def _delete(self, pod: str, network: Network, attachment: Attachment) -> None:
        there = self.node.run(namespaces.is_namespace, attachment.netns)
        given = Attachment(
            container_id=attachment.container_id,
            ifname=attachment.ifname,
            netns=attachment.netns if there else "",  # as containerd does
            args=attachment.args,
            capability_args=attachment.capability_args,
        )
        caller = self._caller(network)
        try:
            entry = self.node.run(self._cache.load, network.name, attachment)
            if entry and entry.result:
                caller.remember(given, entry.result)
        except CacheError:  # libcni goes on without, since 1.2.0
            pass
        caller.delete(given).require()
        self.node.run(self._cache.forget, network.name, attachment)
        self._pods[pod].remove((network, attachment))

    def check(self, pod: str) -> None:
        """CHECK all attachments, with the cached results."""
        asked = [one for one in self._of(pod) if not one[0].disable_check]
        for network, attachment in asked:
            entry = self.node.run(self._cache.load, network.name, attachment)
            if entry is None or entry.result is None:
                raise CacheError(f"{attachment!r} has no cached result")
            caller = self._caller(network)
            caller.remember(attachment, entry.result)
            caller.check(attachment).require()

    def gc(self) -> None:
        """Tell the plugins of every network that has GC what is in use."""
        told = (n for n in self.networks if supports(n.cni_version, Verb.GC) and not n.disable_gc)
        for network in told:
            valid = [a for joined in self._pods.values() for n, a in joined if n is network]
            self._caller(network).gc(valid).require()

    def status(self, network: Network) -> None:
        """Ask the plugins of a network, if it has STATUS, whether they could serve a pod."""
        if supports(network.cni_version, Verb.STATUS):
            self._caller(network).status().require()

    def crash(self) -> None:
        """Forget every pod."""
        self._pods.clear()

    def states(self) -> Mapping[str, str]:
        """Return the pods that were made, and not removed."""
        return dict.fromkeys(self._pods, "ready")

    def netns(self, pod: str) -> str:
        """Return the path of a pod's network namespace."""
        return str(NAMESPACES / pod)

    def containers(self) -> Sequence[str]:
        """Return the container IDs of the pods that were made, and not removed."""
        return [_container(pod) for pod in self._pods]

    def _caller(self, network: Network) -> Caller:
        return Caller(node=self.node, network=network, executor=self.executor)

    def _of(self, pod: str) -> list[tuple[Network, Attachment]]:
        if pod not in self._pods:
            raise UsageError(f"there is no pod {pod}")
        return self._pods[pod]


def _container(pod: str) -> str:
    # Longer than a name, so that it is found in nothing else.
    return f"{pod}-container"
