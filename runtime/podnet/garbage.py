"""GC over one Network: what attachments left behind that are not in use any more.

DEL for what the cache has and nobody uses, then the verb GC along the chain (SPEC section 3).
Knows of attachments only what it is told and what caches say; which of podnet's are in use is
reconcile's question.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from podnet.cni.config import Network
from podnet.cni.errors import CniError
from podnet.errors import PodnetError
from podnet.kernel import namespaces
from podnet.plan import Attachment
from podnet.runtime import Runtime

Failure = PodnetError | CniError


class GcError(PodnetError):
    """Some of GC failed; everything else was done.

    Attributes:
        failures: What failed.
    """

    def __init__(self, network: str, failures: list[Failure]) -> None:
        super().__init__("\n".join([f"GC of network {network}:", *map(str, failures)]))
        self.failures = failures


def collect(
    runtime: Runtime,
    network: Network,
    valid: Iterable[tuple[str, str]],
    *,
    path: Sequence[str] = (),
    foreign: bool = False,
) -> list[str]:
    """Remove what attachments left behind that are not in use any more.

    First DEL for every cached attachment that is not valid, then GC along the chain.
    Attachments that another runtime cached are spared, and told to plugins as valid.

    Args:
        runtime: Runs the plugins; its cache and its neighbours' caches are looked at.
        network: The network.
        valid: (container ID, ifname) of every attachment in use.
        path: Where its plugins were found.
        foreign: DEL other runtimes' entries in our cache directory too.

    Returns:
        What was removed, in sentences.

    Raises:
        GcError: Some of it failed; the rest was done.
    """
    if network.disable_gc:
        return []
    in_use, removed, failures = set(valid), list[str](), list[Failure]()
    for entry in [e for e in runtime.cache.entries() if e.network_name == network.name]:
        key = (entry.attachment.container_id, entry.attachment.ifname)
        if key in in_use:
            continue
        if not entry.by_podnet and not foreign:
            in_use.add(key)
            continue
        try:
            runtime.delete(network.name, _reachable(entry.attachment), fallback=network)
            removed.append(f"stale attachment {key[0]} {key[1]} of network {network.name}")
        except (PodnetError, CniError) as exc:
            failures.append(exc)
    in_use |= _in_use_elsewhere(runtime, network.name)
    failures += _along_the_chain(runtime, network, in_use, path)
    if failures:
        raise GcError(network.name, failures)
    return removed


def _along_the_chain(
    runtime: Runtime, network: Network, in_use: set[tuple[str, str]], path: Sequence[str]
) -> Iterator[Failure]:
    """Run GC along the chain; one that fails does not stop the others."""
    try:
        steps = runtime.plan_gc(network, in_use, path)
    except (PodnetError, CniError) as exc:
        yield exc
        return
    for step in steps:
        try:
            runtime.run(step)
        except (PodnetError, CniError) as exc:
            yield exc


def _reachable(attachment: Attachment) -> Attachment:
    """A namespace that is gone is not named to plugins: somebody else's may be there now."""
    there = namespaces.is_namespace(attachment.netns)
    return attachment if there else replace(attachment, netns="")


def _in_use_elsewhere(runtime: Runtime, network: str) -> set[tuple[str, str]]:
    return {
        (entry.attachment.container_id, entry.attachment.ifname)
        for cache in runtime.neighbours
        for entry in cache.entries()
        if entry.network_name == network and not entry.by_podnet
    }
