"""A CNI caller for tests: plugins called as a runtime calls them, or as none should.

Works on one Network, or one plugin, inside one Node.  It keeps what ADD answered, so that
CHECK and DEL get it as prevResult, and every invocation, so that a test can show it.  Undoes
nothing by itself, retries nothing, and judges nothing: that is the test's.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from podnet import answer, plan, transcript
from podnet.answer import PluginError
from podnet.cni import names, wire
from podnet.cni.config import Network, PluginConfig
from podnet.cni.convert import convert
from podnet.cni.errors import CniError, IncompatibleVersionError
from podnet.cni.result import Result
from podnet.cni.versions import LATEST, PluginVersions, Verb, supports
from podnet.errors import UsageError
from podnet.execute import Outcome, ProcessExecutor
from podnet.kernel import namespaces
from podnet.node import Node
from podnet.plan import Attachment, Invocation

NAMESPACES = Path("/run/netns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Twist:
    """What of a call is unlike what a runtime does; of a chain, every invocation has it.

    Attributes:
        stdin: These bytes are sent, whatever the request would be.
        config: Keys of the request that are set.
        without_config: Keys of the request that are left out.
        environment: Variables that are set, CNI_* or not.
        without: Variables that are left out.
        inherited: The environment that the plugin inherits, instead of the caller's.
        cwd: Where the plugin is started.
        timeout: Seconds after which it gets a SIGKILL, with its process group.
    """

    stdin: bytes | None = None
    config: Mapping[str, object] = field(default_factory=dict)
    without_config: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    inherited: Mapping[str, str] | None = None
    cwd: Path | None = None
    timeout: float | None = None

    def applied(self, step: Invocation) -> Invocation:
        """Return *step* as it is sent."""
        environment = {**step.environment, **self.environment}
        stdin = {**step.stdin, **self.config}
        return replace(
            step,
            environment={k: v for k, v in environment.items() if k not in self.without},
            stdin={k: v for k, v in stdin.items() if k not in self.without_config},
            verbatim=self.stdin,
        )


AS_A_RUNTIME = Twist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one verb: of one plugin, or of a chain up to where it failed.

    Attributes:
        outcomes: The invocations, in the order they ran.
        cni_version: The version that they were asked in.
    """

    outcomes: tuple[Outcome, ...]
    cni_version: str

    @property
    def last(self) -> Outcome:
        """The invocation that decided.

        Raises:
            UsageError: Nobody was asked.
        """
        if not self.outcomes:
            raise UsageError(
                "no plugin was asked", "disableCheck or disableGC of the network is set"
            )
        return self.outcomes[-1]

    @property
    def ok(self) -> bool:
        """Whether plugins were asked, and every one exited with 0."""
        return bool(self.outcomes) and all(one.exit_status == 0 for one in self.outcomes)

    @property
    def exit_status(self) -> int | None:
        """The exit status of the last; ``None`` when a signal ended it."""
        return self.last.exit_status

    @property
    def stdout(self) -> bytes:
        """What the last printed."""
        return self.last.stdout

    @property
    def stderr(self) -> bytes:
        """What all of them logged."""
        return b"".join(outcome.stderr for outcome in self.outcomes)

    @property
    def duration(self) -> float:
        """How long they took, in seconds."""
        return sum(outcome.duration for outcome in self.outcomes)

    @property
    def document(self) -> object:
        """The one JSON document that the last printed.

        Raises:
            DecodeError: It is none, or more than one.
        """
        return wire.loads(self.stdout, "its output")

    @property
    def result(self) -> Result:
        """What ADD returned.

        Raises:
            PluginError: ADD failed, or its output is no result.
        """
        self.require()
        return answer.result(self.last, self.cni_version)

    @property
    def versions(self) -> PluginVersions:
        """What VERSION returned.

        Raises:
            PluginError: It failed, or its output is no answer.
        """
        return answer.versions(self.last)

    @property
    def error(self) -> CniError | None:
        """What went wrong, as the spec's error object; ``None`` when nothing did."""
        try:
            self.require()
        except PluginError as exc:
            return exc.error
        return None

    @property
    def transcript(self) -> list[dict[str, object]]:
        """The invocations, as podnet's transcripts write them down."""
        return [transcript.entry(outcome) for outcome in self.outcomes]

    def require(self) -> None:
        """Go on only if it succeeded.

        Raises:
            PluginError: It did not.
        """
        answer.raise_for_failure(self.last)


@dataclass(slots=True, kw_only=True)
class Caller:
    """Calls the plugins of one Network in one Node.

    Attributes:
        node: Where.
        network: What.
        executor: Finds and runs plugins.
        outcomes: Every invocation so far, in order.
    """

    node: Node
    network: Network
    executor: ProcessExecutor
    outcomes: list[Outcome] = field(default_factory=list)
    _results: dict[tuple[str, str], Result] = field(default_factory=dict)

    def at_version(self, cni_version: str) -> Self:
        """Return a caller of the same plugins that asks in *cni_version*; it remembers nothing."""
        return replace(self, network=self.network.at_version(cni_version), _results={})

    def pod(self, name: str = "pod1", *, ifname: str = "eth0") -> Attachment:
        """Make a network namespace of that name, lo up, and return an attachment for it."""
        path = make_namespace(self.node, name)
        return Attachment(container_id=name, ifname=ifname, netns=str(path))

    def remove(self, pod: Attachment) -> None:
        """Remove a pod's network namespace, and all that is in it; it may be gone."""
        self.node.run(namespaces.delete, Path(pod.netns))

    def add(
        self, pod: Attachment, twist: Twist = AS_A_RUNTIME, *, previous: Result | None = None
    ) -> Answer:
        """ADD along the chain, until one fails; the last one's result is remembered.

        Args:
            pod: What is attached.
            twist: What is unlike a runtime.
            previous: The result of plugins that ran before.
        """
        outcomes: list[Outcome] = []
        result = previous
        for step in plan.add(self.network, pod, self.executor.path):
            given = replace(step, awaits_result=False) if result is None else step.after(result)
            outcomes.append(self.call(given, twist))
            try:
                answer.raise_for_failure(outcomes[-1])
                answered = answer.result(outcomes[-1], self.network.cni_version)
                result = convert(answered, self.network.cni_version)
            except (PluginError, CniError):
                return self._answer(outcomes)
        if result is not None:
            self.remember(pod, result)
        return self._answer(outcomes)

    def check(self, pod: Attachment, twist: Twist = AS_A_RUNTIME) -> Answer:
        """CHECK along the chain, with what ADD returned, until one fails.

        Raises:
            IncompatibleVersionError: There is no CHECK in this version.
            KeyError: The pod was never ADDed: :meth:`remember` a result.
        """
        return self._run_all(
            plan.check(self.network, pod, self.executor.path, self.result_of(pod)), twist
        )

    def delete(self, pod: Attachment, twist: Twist = AS_A_RUNTIME, *, known: bool = True) -> Answer:
        """DEL along the chain, backwards, until one fails.

        Args:
            pod: What is detached.
            twist: What is unlike a runtime.
            known: With what ADD returned as prevResult, if there is anything.
        """
        result = self._results.get(_key(pod)) if known else None
        return self._run_all(plan.delete(self.network, pod, self.executor.path, result), twist)

    def gc(self, valid: Iterable[Attachment] = (), twist: Twist = AS_A_RUNTIME) -> Answer:
        """GC along the chain, with the attachments that shall stay.

        Raises:
            IncompatibleVersionError: There is no GC in this version.
        """
        self._require(Verb.GC)
        keys = [_key(pod) for pod in valid]
        return self._run_all(plan.gc(self.network, keys, self.executor.path), twist)

    def status(self, twist: Twist = AS_A_RUNTIME) -> Answer:
        """STATUS along the chain, until one fails.

        Raises:
            IncompatibleVersionError: There is no STATUS in this version.
        """
        self._require(Verb.STATUS)
        return self._run_all(plan.status(self.network, self.executor.path), twist)

    def version(self, plugin: str = "", twist: Twist = AS_A_RUNTIME) -> Answer:
        """Ask *plugin* for its versions; by default the first of the chain."""
        asked = plugin or self.network.plugins[0].type
        step = replace(plan.version(asked), path=self.executor.path)
        return self._answer([self.call(step, twist)])

    def call(self, step: Invocation, twist: Twist = AS_A_RUNTIME) -> Outcome:
        """Run one invocation, as it is."""
        executor = self.executor
        if twist.timeout is not None:
            executor = replace(executor, timeout=twist.timeout)
        if twist.inherited is not None:
            executor = replace(executor, environment=dict(twist.inherited))
        if set(twist.without) & set(executor.environment):
            kept = {k: v for k, v in executor.environment.items() if k not in twist.without}
            executor = replace(executor, environment=kept)
        outcome = self.node.run(_run_in, twist.cwd, executor, twist.applied(step))
        self.outcomes.append(outcome)
        return outcome

    def remember(self, pod: Attachment, result: Result) -> None:
        """Take *result* for what ADD returned."""
        self._results[_key(pod)] = result

    def result_of(self, pod: Attachment) -> Result:
        """Return what ADD returned."""
        return self._results[_key(pod)]

    def _require(self, verb: Verb) -> None:
        """Refuse a verb that a runtime would not ask for, as if it had been answered."""
        if not supports(self.network.cni_version, verb):
            raise IncompatibleVersionError(f"there is no {verb} in {self.network.cni_version}")

    def _run_all(self, steps: Iterable[Invocation], twist: Twist) -> Answer:
        outcomes: list[Outcome] = []
        for step in steps:
            outcomes.append(self.call(step, twist))
            if outcomes[-1].exit_status != 0:
                break
        return self._answer(outcomes)

    def _answer(self, outcomes: Iterable[Outcome]) -> Answer:
        return Answer(outcomes=tuple(outcomes), cni_version=self.network.cni_version)


def make_namespace(node: Node, name: str) -> Path:
    """Make the network namespace of a pod, lo up; return its path on the Node.

    Raises:
        CniError: The name is none of a container's, and would lead elsewhere.
    """
    names.check_container_id(name)
    path = NAMESPACES / name
    node.run(namespaces.create, path)
    return path


def of_plugin(
    plugin: str, config: Mapping[str, object], *, name: str = "demo", cni_version: str = LATEST
) -> Network:
    """Return a Network of one plugin."""
    listed = PluginConfig.from_wire({"type": plugin, **config})
    return Network(
        name=name, cni_version=cni_version, allowed_versions=(cni_version,), plugins=(listed,)
    )


def without_cni(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return *environment* without CNI's variables, so that a test can leave one out."""
    return {key: value for key, value in environment.items() if not key.startswith("CNI_")}


def _key(pod: Attachment) -> tuple[str, str]:
    return pod.container_id, pod.ifname


def _run_in(cwd: Path | None, executor: ProcessExecutor, step: Invocation) -> Outcome:
    """Run *step* on the calling thread, which has a working directory of its own."""
    if cwd is None:
        return executor.run(step)
    before = Path.cwd()
    os.chdir(cwd)
    try:
        return executor.run(step)
    finally:
        os.chdir(before)
