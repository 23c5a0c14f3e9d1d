"""The pods of a cluster: made on many Nodes at once, and made again where a Node was rebooted."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from podnet import confdir, places
from podnet.node import Node, current
from podnet.plugin_host import PluginHost
from podnet.pod import Pod, State
from podnet.pods import Pods
from podnet.reconcile import reconcile
from podnet.wishes import PodWish, Wish, planned

_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PodOn:
    """A pod that a Node is to have.

    Attributes:
        node: Which.
        name: The pod's name.
        network: Its network, "" for the Node's first one.
        labels: For whoever looks.
    """

    node: str
    name: str
    network: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def create(nodes: Sequence[Node], wanted: Sequence[PodOn]) -> None:
    """Make pods on Nodes.

    Raises:
        PodnetError: One of them could not be made.
    """
    with _hosted() as host, ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        by_name = {node.name: node for node in nodes}
        made = [pool.submit(by_name[one.node].run, _create, one, host) for one in wanted]
        for one in made:
            one.result()


def delete(node: Node, name: str) -> None:
    """Remove a pod of a Node.

    Raises:
        PodnetError: There is none of that name, or it could not be removed.
    """
    with _hosted() as host:
        node.run(_delete, name, host)


def living(node: Node) -> list[Pod]:
    """Return the pods of a Node that are as they were made."""
    return node.run(_living)


def revive(node: Node, were: Sequence[Pod], say: Callable[[str], None]) -> None:
    """Clean up after pods that a reboot has ended, and make them anew, as a kubelet does.

    Raises:
        PodnetError: One of them could not be made.
    """
    with _hosted() as host:
        node.run(_revive, were, host, say)


@contextmanager
def _hosted() -> Iterator[PluginHost | None]:
    embedded = places.embedded_plugins()
    host = PluginHost(Path(embedded[0])) if embedded else None
    try:
        yield host
    finally:
        if host:
            host.close()


def _pods(host: PluginHost | None = None, say: Callable[[str], None] = lambda _: None) -> Pods:
    """Return the pods of the calling thread's Node."""
    return Pods(places=places.resolve(os.environ), node=current(), plugin_host=host, say=say)


def _create(wanted: PodOn, host: PluginHost | None) -> None:
    pods = _pods(host)
    known = confdir.scan(pods.places.conf_dir)
    found = known.named(wanted.network) if wanted.network else known.default()
    wish = PodWish(name=wanted.name, networks=[Wish(network=found.network)], labels=wanted.labels)
    pods.create(planned(wish, pods.places))


def _delete(name: str, host: PluginHost | None) -> None:
    _pods(host).delete(name)


def _living() -> list[Pod]:
    pods = _pods()
    every = [pod for pod in pods.records.all() if isinstance(pod, Pod)]
    return [pod for pod in every if pod.state is State.READY and pods.is_alive(pod)]


def _revive(were: Sequence[Pod], host: PluginHost | None, say: Callable[[str], None]) -> None:
    pods = _pods(host, say)
    for failure in reconcile(pods, []).failures:
        say(str(failure))
    for pod in were:
        wishes = [
            Wish(network=m.network, ifname=m.ifname, capability_args=m.capability_args)
            for m in pod.memberships
        ]
        again = PodWish(name=pod.name, networks=wishes, labels=pod.labels)
        pods.create(planned(again, pods.places))
