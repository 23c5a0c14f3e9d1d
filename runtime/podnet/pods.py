"""Pods: network namespaces with a name, attached to networks by way of the runtime.

The order is always the same: write down what is about to be, do it, write down that it is.
Every operation holds its container's lock; what a crash left half done is reconcile's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from podnet import locks
from podnet.cache import Cache
from podnet.claims import Claims
from podnet.cni.errors import CniError
from podnet.cni.versions import Verb
from podnet.errors import DriftError, PodnetError, UsageError
from podnet.execute import DEFAULT_TIMEOUT, Executor, Outcome, ProcessExecutor
from podnet.kernel import namespaces
from podnet.places import LIBCNI_CACHE, Places
from podnet.plan import Invocation
from podnet.plugin_host import PluginHost
from podnet.pod import Membership, Pod, State
from podnet.records import CorruptRecordError, Records
from podnet.remains import known_result
from podnet.runtime import RollbackError, Runtime
from podnet.transcript import Transcript
from podnet.wishes import Wish, membership


def processes(pods: "Pods", keep_open: tuple[int, ...]) -> Executor:
    """Return what runs the plugins of one operation on *pods*; see :class:`Pods`."""
    return ProcessExecutor(
        path=pods.places.plugin_path,
        timeout=pods.timeout,
        keep_open=keep_open,
        host=pods.plugin_host,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """The pods of one Node.

    Attributes:
        places: Where everything is.
        node: The Node's name, for the transcript.
        timeout: Seconds that one plugin may take.
        say: Is told of what is odd and does not matter.
        make_executor: Makes the executor of one operation; gets the descriptors that plugins
            must inherit.
        strip_capabilities: See :class:`podnet.runtime.Runtime`.
        plugin_host: Starts podnet's own plugins; without one they are plain executables.
    """

    places: Places
    node: str = ""
    timeout: float = DEFAULT_TIMEOUT
    say: Callable[[str], None] = lambda _: None
    make_executor: Callable[["Pods", tuple[int, ...]], Executor] = processes
    strip_capabilities: bool = False
    plugin_host: PluginHost | None = None

    @property
    def records(self) -> Records:
        """The pods' records."""
        return Records(self.places.records)

    @property
    def claims(self) -> Claims:
        """The claims on namespaces."""
        return Claims(self.places.claims)

    @property
    def transcript(self) -> Transcript:
        """The recorded invocations."""
        return Transcript(self.places.transcripts)

    def runtime(self, keep_open: tuple[int, ...] = (), pod: str = "") -> Runtime:
        """Return the runtime of one operation.

        Args:
            keep_open: The locks it is done under.
            pod: Whose transcript it goes to.
        """

        def record(outcome: Outcome) -> None:
            try:
                self.transcript.record(outcome, node=self.node, pod=pod)
            except PodnetError as exc:  # a full disk must not keep DEL from being run
                self.say(f"an invocation is missing in the transcript: {exc.message}")

        own, libcni = Cache(self.places.cache), Cache(LIBCNI_CACHE)
        return Runtime(
            executor=self.make_executor(self, keep_open),
            cache=own,
            record=record,
            strip_capabilities=self.strip_capabilities,
            given=self.places.given_plugins,
            neighbours=() if libcni == own else (libcni,),
        )

    def create(self, pod: Pod) -> Pod:
        """Make a planned pod: its namespace, then its attachments, one after the other.

        When anything fails, everything is undone; what cannot be undone stays on record as a
        FAILED pod, for :meth:`delete` to try again.

        Returns:
            The pod, READY, with its results.

        Raises:
            UsageError: There is a pod of that name, or a plugin is missing.
            PodnetError: Something failed; see :meth:`podnet.runtime.Runtime.add`.
        """
        with locks.container(self.places.locks, pod.container_id) as keep_open:
            self.records.reserve(pod)
            made = pod
            try:
                self._make_namespace(pod)
                runtime = self.runtime(keep_open, pod.name)
                for joining in pod.memberships:
                    made = made.with_membership(_added(runtime, pod, joining))
                return self.records.save(replace(made, state=State.READY))
            except BaseException as failure:
                self._undo(made, failure, keep_open)
                raise

    def attach(self, name: str, wish: Wish) -> Membership:
        """Let a running pod join a network; its other attachments are not disturbed.

        Raises:
            UsageError: No such pod, or an interface of that name.
            PodnetError: ADD failed; the pod is as it was.
        """
        with self._locked(name) as (pod, keep_open):
            _require_ready(pod)
            joining = membership(pod, wish, self.places)
            # On record before it exists: after a crash, reconcile knows what to DEL.
            self.records.save(replace(pod.with_membership(joining), state=State.CHANGING))
            try:
                added = _added(self.runtime(keep_open, name), pod, joining)
            except RollbackError:
                raise  # what is left stays on record
            except BaseException:
                self.records.save(pod)
                raise
            self.records.save(pod.with_membership(added))
            return added

    def detach(self, name: str, *, ifname: str = "", network: str = "") -> Membership:
        """Let a running pod leave a network.

        Args:
            name: The pod.
            ifname: The interface to remove, or
            network: the network to leave, where the pod is on it once.

        Raises:
            UsageError: No such pod or attachment, or more than one.
            PodnetError: DEL failed; the attachment stays on record.
        """
        with self._locked(name) as (pod, keep_open):
            leaving = pod.membership(ifname=ifname, network=network)
            self._del(self.runtime(keep_open, name), pod, leaving)
            left = pod.without_membership(leaving.ifname)
            whole = all(m.result is not None for m in left.memberships)
            self.records.save(replace(left, state=State.READY) if whole else left)
            return leaving

    def check(self, name: str) -> Pod:
        """Run CHECK on every attachment of a pod.

        Raises:
            UsageError: No such pod.
            DriftError: The pod is not as it was made.
        """
        with self._locked(name) as (pod, keep_open):
            if not self.is_alive(pod):
                raise DriftError(
                    f"pod {name}: its network namespace {pod.netns} is gone",
                    "a reboot or somebody else removed it; `podnet gc` cleans up",
                )
            _require_ready(pod)
            runtime = self.runtime(keep_open, name)
            for joined in pod.memberships:
                network, attachment = joined.network, joined.attachment(pod.container_id, pod.netns)
                runtime.check(network.name, attachment, fallback=network)
            return pod

    def delete(self, name: str, *, force: bool = False) -> None:
        """Remove a pod: DEL for its attachments, backwards, then its namespace and its record.

        Args:
            name: The pod.
            force: Go on where something fails, and forget the pod all the same.

        Raises:
            UsageError: No such pod.
            PodnetError: A DEL failed; the pod stays on record as FAILED, to be deleted again.
        """
        try:
            with self._locked(name) as (pod, keep_open):
                self.unmake(pod, keep_open, force=force)
        except CorruptRecordError:
            self._delete_remains(name)

    def unmake(self, pod: Pod, keep_open: tuple[int, ...], *, force: bool = False) -> None:
        """Remove a pod whose lock is held; see :meth:`delete`."""
        pod = self._noted(replace(pod, state=State.DELETING))
        runtime = self.runtime(keep_open, pod.name)
        for leaving in reversed(pod.memberships):
            try:
                self._del(runtime, pod, leaving)
            except (PodnetError, CniError) as exc:
                if not force:
                    self._noted(replace(pod, state=State.FAILED, failure=str(exc)))
                    raise
                self.say(f"pod {pod.name}: forced, in spite of: {exc}")
            pod = pod.without_membership(leaving.ifname)
        if pod.owns_netns:
            self.claims.release(pod.name)
        self.records.forget(pod.name)

    def preview(self, pod: Pod, verb: Verb) -> list[Invocation]:
        """Return the invocations that creating, checking or deleting *pod* would be.

        Args:
            pod: A planned pod for ADD, one on record otherwise.
            verb: ADD, CHECK or DEL.
        """
        runtime, steps = self.runtime(), list[Invocation]()
        for joined in pod.memberships[:: -1 if verb is Verb.DEL else 1]:
            network, attachment = joined.network, joined.attachment(pod.container_id, pod.netns)
            if verb is Verb.ADD:
                steps += runtime.plan_add(network, attachment)
            elif verb is Verb.CHECK:
                steps += runtime.plan_check(network.name, attachment, fallback=network)
            else:
                steps += runtime.plan_delete(
                    network.name, attachment, fallback=network, path=joined.path
                )[0]
        return steps

    def is_alive(self, pod: Pod) -> bool:
        """Tell whether a pod's network namespace is there, and still the pod's."""
        claimed = not pod.owns_netns or self.claims.holds(pod.name)
        return claimed and namespaces.is_namespace(pod.netns)

    def _noted(self, pod: Pod) -> Pod:
        """Write down how far the removal of a pod is; on a full disk it goes on without."""
        try:
            return self.records.save(pod)
        except PodnetError as exc:
            self.say(f"pod {pod.name}: {exc.message}")
            return pod

    def _make_namespace(self, pod: Pod) -> None:
        if pod.owns_netns:
            self.claims.make(pod.name, self.places.namespaces / pod.name)
        else:
            namespaces.check(pod.netns)

    def _del(self, runtime: Runtime, pod: Pod, leaving: Membership) -> None:
        # A namespace that is gone is not named: somebody else's may be there now.
        netns = pod.netns if self.is_alive(pod) else ""
        network, attachment = leaving.network, leaving.attachment(pod.container_id, netns)
        known = known_result(self.transcript, pod, leaving)
        for note in runtime.delete(
            network.name, attachment, fallback=network, path=leaving.path, so_far=known
        ):
            self.say(f"pod {pod.name}, network {network.name}: {note}")

    def _undo(self, made: Pod, failure: BaseException, keep_open: tuple[int, ...]) -> None:
        """Take back a pod that could not be completed.

        The attachment that failed has been taken back by the runtime; where that failed too,
        everything stays on record.
        """
        try:
            if isinstance(failure, RollbackError):
                self.records.save(replace(made, state=State.FAILED, failure=str(failure)))
                return
            finished = tuple(m for m in made.memberships if m.result is not None)
            self.unmake(replace(made, memberships=finished), keep_open)
        except (PodnetError, CniError) as exc:
            self.say(f"pod {made.name} could not be taken back: {exc}")

    def _delete_remains(self, name: str) -> None:
        """Remove what can be found of a pod whose record is corrupt: cache, claim, namespace."""
        with locks.everything(self.places.locks) as keep_open:
            runtime = self.runtime(keep_open, name)
            for entry in list(runtime.cache.entries()):
                if entry.by_podnet and ("K8S_POD_NAME", name) in entry.attachment.args:
                    self.say(f"pod {name}: found {entry.attachment!r} in the cache")
                    runtime.delete(entry.network_name, entry.attachment)
            self.claims.release(name)
            self.records.forget(name)

    @contextmanager
    def _locked(self, name: str) -> Iterator[tuple[Pod, tuple[int, ...]]]:
        """Hold a pod's lock; the record is read again under it."""
        known = self.records.load(name)
        with locks.container(self.places.locks, known.container_id) as keep_open:
            pod = self.records.load(name)
            if pod.container_id != known.container_id:
                raise PodnetError(f"pod {name} was replaced by another in the meantime")
            yield pod, keep_open


def _added(runtime: Runtime, pod: Pod, joining: Membership) -> Membership:
    attachment = joining.attachment(pod.container_id, pod.netns)
    return replace(joining, result=runtime.add(joining.network, attachment))


def _require_ready(pod: Pod) -> None:
    if pod.state is not State.READY:
        why = pod.failure or "a podnet that worked on it was interrupted"
        raise UsageError(f"pod {pod.name} is {pod.state}: {why}", "podnet gc, or delete it")
