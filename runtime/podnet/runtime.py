"""ADD, CHECK, DEL, STATUS and VERSION over one Network (SPEC section 3); GC is garbage's.

The choreography: plan says what, execute does it, answer reads it, cache keeps it,
transcript has every step.  Differs from libcni on purpose: a failed ADD is undone, DEL
and CHECK use what ADD used, identifiers are checked on every verb, a second ADD of one
attachment is refused.  Knows nothing of pods, and takes no locks: its caller does.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from podnet import answer, plan
from podnet.cache import Cache, CacheError, Entry
from podnet.cni import names
from podnet.cni.config import Network
from podnet.cni.convert import convert
from podnet.cni.errors import CniError, IncompatibleVersionError
from podnet.cni.result import Result
from podnet.cni.versions import PluginVersions, newest_common
from podnet.errors import PodnetError, UsageError
from podnet.execute import Executor, Outcome, search_path
from podnet.kernel import namespaces
from podnet.plan import Attachment, Invocation

_TRUE = {"1", "true"}


class RollbackError(PodnetError):
    """ADD failed, and so did the DEL that was to undo it: something may be left behind.

    Attributes:
        failure: Why ADD failed.
        rollback: Why DEL failed.
    """

    def __init__(self, failure: BaseException, rollback: BaseException) -> None:
        super().__init__(
            f"{failure}\nand DEL, which was to undo it, failed too: {rollback}",
            "what is left is on record: delete the pod again when the cause is gone",
        )
        self.failure = failure
        self.rollback = rollback


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A runtime over one search path and one cache.

    Attributes:
        executor: Finds and runs plugins.
        cache: Keeps results.
        record: Is told of every outcome.
        check_netns: Refuses a CNI_NETNS that is no namespace, or our own.
        strip_capabilities: Leave the key ``capabilities`` out of requests, as the spec's
            text says and no runtime does.
        given: Directories of plugins that were asked for: they come before those of the ADD.
        neighbours: Caches of other runtimes on this machine.
    """

    executor: Executor
    cache: Cache
    record: Callable[[Outcome], None] = lambda _: None
    check_netns: Callable[[str], None] = namespaces.check
    strip_capabilities: bool = False
    given: tuple[str, ...] = ()
    neighbours: tuple[Cache, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def add(self, network: Network, attachment: Attachment) -> Result:
        """Run ADD along the chain, and cache what it returns.

        Everything that can be checked is checked before the first plugin runs.  When
        anything fails afterwards, an interrupt too, the whole chain is DELed again.

        Returns:
            The last plugin's result, in the network's version.

        Raises:
            CniError: An identifier, the namespace, or a version is wrong; nothing was run.
            UsageError: A plugin is missing; nothing was run.
            CacheError: The attachment exists already, or could not be cached; nothing was run.
            PluginError: A plugin failed; everything was undone.
            RollbackError: A plugin failed, and undoing it did too.
        """
        network = self.prepare(network, attachment)
        so_far: Result | None = None
        try:
            for answered in self._answers(network, attachment):
                so_far = answered
            result = _whole(network, so_far)
            self.cache.save(network, attachment, result, path=self.executor.path)
        except BaseException as failure:
            self._undo(network, attachment, failure, so_far)
            raise
        return result

    def prepare(self, network: Network, attachment: Attachment) -> Network:
        """Check all that ADD needs, and settle the version; see :meth:`add`."""
        names.check_network_name(network.name)
        attachment.check()
        for plugin in network.plugins:
            for name in filter(None, (plugin.type, plugin.ipam_type)):
                self.executor.find(name)
        self.cache.reserve(network, attachment)
        if self.environment.get("CNI_NETNS_OVERRIDE", "").lower() not in _TRUE:
            self.check_netns(attachment.netns)
        return self.settle_version(network)

    def _answers(self, network: Network, attachment: Attachment) -> Iterator[Result]:
        """Run ADD along the chain, and yield each plugin's result, in the network's version."""
        result: Result | None = None
        for step in plan.add(self._sent(network), attachment, self.executor.path):
            outcome = self.run(step if result is None else step.after(result))
            answered = answer.result(outcome, network.cni_version)
            try:
                result = convert(answered, network.cni_version)
            except CniError as exc:
                raise answer.PluginError(outcome, exc) from None
            yield result

    def _undo(
        self,
        network: Network,
        attachment: Attachment,
        failure: BaseException,
        so_far: Result | None,
    ) -> None:
        """DEL the whole list, as the spec wants it after any failed ADD.

        With the last answer there was as prevResult: a plugin may know by it alone what
        it made (the reference's firewall, its rules).
        """
        try:
            self._run_all(plan.delete(self._sent(network), attachment, self.executor.path, so_far))
            self.cache.forget(network.name, attachment)
        except (PodnetError, CniError) as rollback:
            raise RollbackError(failure, rollback) from failure

    def check(
        self, network_name: str, attachment: Attachment, *, fallback: Network | None = None
    ) -> None:
        """Run CHECK along the chain, with the configuration and arguments of the ADD.

        Args:
            network_name: The network.
            attachment: Whose.
            fallback: The network, for a bare cached result (libcni before 0.8) that has none.

        Raises:
            CacheError: The attachment was never ADDed, or its entry cannot be read.
            IncompatibleVersionError: The network's version has no CHECK.
            DriftError: A plugin found a difference (a PluginError too).
            PluginError: A plugin misbehaved.
        """
        self._run_all(self.plan_check(network_name, attachment, fallback=fallback))

    def plan_check(
        self, network_name: str, attachment: Attachment, *, fallback: Network | None = None
    ) -> list[Invocation]:
        """Return what :meth:`check` would run; it raises what it would raise before."""
        entry = self._cached(network_name, attachment)
        if entry is None or entry.result is None:
            raise CacheError(
                f"container {attachment.container_id} has no cached result for "
                f"{attachment.ifname} on network {network_name}",
                "only what was ADDed can be CHECKed",
            )
        given = replace(entry.attachment, netns=attachment.netns or entry.attachment.netns)
        network = entry.network if entry.config or fallback is None else fallback
        path = self._path_of_add(entry.path)
        return plan.check(self._sent(network), given, path, entry.result)

    def delete(
        self,
        network_name: str,
        attachment: Attachment,
        *,
        fallback: Network | None = None,
        path: Sequence[str] = (),
        so_far: Result | None = None,
    ) -> list[str]:
        """Run DEL along the chain, backwards, with the configuration and arguments of the ADD.

        Args:
            network_name: The network.
            attachment: Whose; its netns is used as it is: "" once the namespace is gone.
            fallback: The network, for an attachment that is not in the cache, and
            path: where its plugins were found, and
            so_far: what is known of its result.

        Returns:
            Notes: what was odd and did not matter.

        Raises:
            UsageError: Not in the cache, and no fallback.
            PluginError: A plugin failed; those before it in the chain were not called, and
                the entry is kept, so that DEL can be tried again.
        """
        steps, notes = self.plan_delete(
            network_name, attachment, fallback=fallback, path=path, so_far=so_far
        )
        for outcome in self._run_all(steps):
            plugin = outcome.invocation.plugin
            notes += [f"plugin {plugin} {note}" for note in answer.notes(outcome)]
        self.cache.forget(network_name, attachment)
        return notes

    def plan_delete(
        self,
        network_name: str,
        attachment: Attachment,
        *,
        fallback: Network | None = None,
        path: Sequence[str] = (),
        so_far: Result | None = None,
    ) -> tuple[list[Invocation], list[str]]:
        """Return what :meth:`delete` would run, and its notes so far."""
        notes = list[str]()
        try:
            entry = self._cached(network_name, attachment)
        except CacheError as exc:
            notes.append(f"{exc.message}: DEL goes on without it")
            entry = None
        network, given, result = fallback, attachment, so_far
        if entry is not None:
            network, result = self._network_of(entry, fallback, notes), entry.result
            given = replace(entry.attachment, netns=attachment.netns)
            path = entry.path or path
        if network is None:
            hint = "its cache entry is gone"
            raise UsageError(f"nothing is known of network {network_name}", hint)
        path = self._path_of_add(path)
        return plan.delete(self._sent(network), given, path, result), notes

    def plan_add(self, network: Network, attachment: Attachment) -> list[Invocation]:
        """Return what :meth:`add` would run; only versions are asked for, where there is a choice."""
        return plan.add(self._sent(self.settle_version(network)), attachment, self.executor.path)

    def status(self, network: Network) -> Network:
        """Ask every plugin whether it could serve an ADD; nobody is asked before 1.1.0.

        Returns:
            The network, at the version it was asked with.

        Raises:
            PluginError: One could not: code 50, or 51 when running containers suffer too.
        """
        network = self.settle_version(network)
        self._run_all(plan.status(self._sent(network), self.executor.path))
        return network

    def plan_gc(
        self, network: Network, valid: Iterable[tuple[str, str]], path: Sequence[str] = ()
    ) -> list[Invocation]:
        """Return what tells each plugin which attachments are in use; see :mod:`podnet.garbage`."""
        settled = self._sent(self.settle_version(network))
        return plan.gc(settled, sorted(valid), self._path_of_add(path))

    def versions(self, plugin: str) -> PluginVersions:
        """Ask one plugin for the versions it speaks.

        Raises:
            UsageError: It is not there.
            PluginError: It failed.
        """
        outcome = self.executor.run(plan.version(plugin))
        self.record(outcome)
        return answer.versions(outcome)

    def settle_version(self, network: Network) -> Network:
        """Choose the newest allowed version that all plugins speak (SPEC section 1, "cniVersions").

        Plugins are asked only where there is a choice.

        Raises:
            IncompatibleVersionError: There is no such version.
        """
        if len(network.allowed_versions) <= 1:
            return network
        answers = {plugin.type: self.versions(plugin.type) for plugin in network.plugins}
        chosen = newest_common(network.allowed_versions, answers.values())
        if chosen is None:
            spoken = "; ".join(f"{t}: {', '.join(v.supported)}" for t, v in answers.items())
            raise IncompatibleVersionError(
                f"no version of network {network.name} is spoken by all its plugins",
                f"allowed: {', '.join(network.allowed_versions)}; {spoken}",
            )
        return network.at_version(chosen)

    def run(self, step: Invocation) -> Outcome:
        """Run one step of a plan, and have it recorded.

        Raises:
            PluginError: It failed.
        """
        outcome = self.executor.run(step)
        self.record(outcome)
        answer.raise_for_failure(outcome)
        return outcome

    def _run_all(self, steps: Iterable[Invocation]) -> list[Outcome]:
        return [self.run(step) for step in steps]

    def _cached(self, network_name: str, attachment: Attachment) -> Entry | None:
        names.check_network_name(network_name)
        attachment.check()
        return self.cache.load(network_name, attachment)

    @staticmethod
    def _network_of(entry: Entry, fallback: Network | None, notes: list[str]) -> Network | None:
        """The network as ADD used it; *fallback* where the entry has none that can be read."""
        if not entry.config and entry.effective is None:
            return fallback
        try:
            return entry.network
        except CniError as exc:
            if fallback is None:
                raise
            notes.append(f"the cached configuration cannot be used: {exc}")
            return fallback

    def _path_of_add(self, remembered: Sequence[str]) -> tuple[str, ...]:
        """What was asked for now, then what ADD used, then what there is."""
        return search_path(self.given, remembered, self.executor.path)

    def _sent(self, network: Network) -> Network:
        return network.without_declarations() if self.strip_capabilities else network


def _whole(network: Network, result: Result | None) -> Result:
    """Return the chain's result.

    Raises:
        UsageError: There is no chain.
    """
    if result is None:
        raise UsageError(f"network {network.name} has no plugins")
    return result
