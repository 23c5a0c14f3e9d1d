"""What a crash left half done: records, namespaces and cache entries held against each other.

Alone on the Node while it works (SPEC section 3: GC excludes everything).  Removes what
is on record or claimed as podnet's, never what merely looks like it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from podnet import garbage, locks
from podnet.cni.config import Network
from podnet.cni.errors import CniError
from podnet.errors import PodnetError
from podnet.pod import Pod, State
from podnet.pods import Pods
from podnet.records import CorruptRecordError
from podnet.remains import known_result
from podnet.runtime import Runtime


@dataclass(slots=True)
class Report:
    """What reconciling did.

    Attributes:
        removed: What was removed, in sentences.
        failures: What could not be.
    """

    removed: list[str] = field(default_factory=list)
    failures: list[PodnetError | CniError] = field(default_factory=list)

    def attempt(self, what: str, step: Callable[[], object]) -> None:
        """Do one step; note what came of it."""
        try:
            step()
        except (PodnetError, CniError) as exc:
            self.failures.append(exc)
        else:
            self.removed.append(what)


def reconcile(pods: Pods, networks: list[Network], *, foreign: bool = False) -> Report:
    """Remove everything that no living pod needs.

    Records of pods that are half made, half deleted, or whose namespace is gone; claimed
    namespaces without a record; cache entries without a pod; then GC on every network.

    Args:
        pods: The Node's pods.
        networks: The networks to run GC on, besides those that pods are on.
        foreign: Also DEL attachments that another runtime cached in our cache directory.

    Returns:
        What was done; nothing is raised before everything was tried.
    """
    report = Report()
    with locks.everything(pods.places.locks) as keep_open:
        living = _settle_records(pods, keep_open, report)
        _release_claims(pods, report)
        runtime = pods.runtime(keep_open)
        joined = _joined(pods, runtime, living)
        for network, path, valid in joined.values():
            try:
                report.removed += garbage.collect(
                    runtime, network, valid, path=path, foreign=foreign
                )
            except (PodnetError, CniError) as exc:
                report.failures.append(exc)
        for network in networks:
            if network.name not in joined:
                _collect_unused(pods, runtime, network, report)
        _sweep(pods)
    return report


def _settle_records(pods: Pods, keep_open: tuple[int, ...], report: Report) -> list[Pod]:
    """Remove the pods that are not alive, and return those that are."""
    living = []
    for pod in pods.records.all():
        if isinstance(pod, CorruptRecordError):
            report.failures.append(pod)
            continue
        there = pods.is_alive(pod)
        if pod.state is State.READY and there:
            living.append(pod)
        elif pod.state is State.CHANGING and there:
            living.append(_settle_change(pods, pod, keep_open, report))
        else:
            why = f"it was {pod.state}" if pod.state is not State.READY else "its namespace is gone"
            report.attempt(f"pod {pod.name} ({why})", partial(pods.unmake, pod, keep_open))
    return living


def _settle_change(pods: Pods, pod: Pod, keep_open: tuple[int, ...], report: Report) -> Pod:
    """Take back the attachments that an interrupted ``attach`` did not finish."""
    settled = pod
    runtime = pods.runtime(keep_open, pod.name)
    for membership in pod.memberships:
        if membership.result is None:
            network = membership.network
            attachment = membership.attachment(pod.container_id, pod.netns)
            try:
                runtime.delete(
                    network.name,
                    attachment,
                    fallback=network,
                    path=membership.path,
                    so_far=known_result(pods.transcript, pod, membership),
                )
            except (PodnetError, CniError) as exc:
                report.failures.append(exc)
                return pod
            report.removed.append(f"attachment {membership.ifname} of pod {pod.name}")
            settled = settled.without_membership(membership.ifname)
    return pods.records.save(replace(settled, state=State.READY, failure=""))


def _release_claims(pods: Pods, report: Report) -> None:
    """Remove the namespaces that are claimed for a pod that is not on record."""
    names = pods.records.names()
    for name in list(pods.claims.names()):
        if name not in names:
            report.attempt(f"the network namespace of {name}", partial(pods.claims.release, name))


_Joined = dict[str, tuple[Network, tuple[str, ...], list[tuple[str, str]]]]


def _joined(pods: Pods, runtime: Runtime, living: list[Pod]) -> _Joined:
    """Return every network that somebody is or was on: where its plugins are, and who is valid.

    What is cached for a pod whose record cannot be read stays: the pod may well be alive.
    """
    joined: _Joined = {}
    for pod in living:
        for m in pod.memberships:
            _, _, valid = joined.setdefault(m.network.name, (m.network, m.path, []))
            valid.append((pod.container_id, m.ifname))
    living_names = {pod.name for pod in living}
    unreadable = {("K8S_POD_NAME", n) for n in pods.records.names() if n not in living_names}
    for entry in runtime.cache.entries():
        if entry.by_podnet:
            _, _, valid = joined.setdefault(entry.network_name, (entry.network, entry.path, []))
            if unreadable.intersection(entry.attachment.args):
                valid.append((entry.attachment.container_id, entry.attachment.ifname))
    return joined


def _collect_unused(pods: Pods, runtime: Runtime, network: Network, report: Report) -> None:
    """Run GC on a network that nobody is on; that its plugins are missing is no failure then."""
    try:
        report.removed += garbage.collect(runtime, network, [])
    except (PodnetError, CniError) as exc:
        pods.say(f"network {network.name}, which no pod is on, was left alone: {exc}")


def _sweep(pods: Pods) -> None:
    """Remove drafts and lock files that a killed podnet left; nobody else is at work now."""
    places = pods.places
    for directory, pattern in (
        (places.records, ".*.draft"),
        (places.claims, ".*.draft"),
        (places.cache / "drafts", ".*"),
        (places.locks, "*.lock"),
    ):
        for path in directory.glob(pattern) if directory.is_dir() else ():
            if path.name != "gc.lock":
                path.unlink(missing_ok=True)
