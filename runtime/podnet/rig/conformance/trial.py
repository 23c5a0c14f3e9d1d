"""What a case works with: a fresh Node, the plugin under test in it, and pods to ask it about.

Calls are made through :class:`podnet.rig.caller.Caller`; the plugins before the one under test
are ADDed when a pod is made, and are never what is judged.  Says what is wrong by raising.
"""

import shlex
from collections.abc import Callable, Collection
from copy import copy
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import ParamSpec, TypeVar

from podnet.answer import PluginError
from podnet.cni import versions
from podnet.cni.errors import CniError
from podnet.cni.result import Result
from podnet.cni.wire import Fields
from podnet.execute import ProcessExecutor
from podnet.plan import Attachment
from podnet.plugin_host import PluginHost
from podnet.rig.caller import AS_A_RUNTIME, Answer, Caller, Twist, without_cni
from podnet.rig.conformance.scene import AddFailed, Inapplicable, Scene, Violation
from podnet.rig.conformance.subject import Kind, Subject, Variant

#: Where stub plugins are put, in the Node's own /run.
STUBS = Path("/run/podnet/rig")
TIMEOUT = 30.0
_POD = "pod:"
#: The IPAM plugin that gives what its configuration says, whoever asks.
_FIXED = "static"
# The kernel takes a moment to clear a link away, and to tell a bridge that it lost its carrier.
_PATIENCE, _PAUSE = 1.0, 0.02
_SHOWN = 4
#: Why a case is not asked of a plugin whose ADD does not work.
NEEDS_ADD = "needs add-succeeds"
P = ParamSpec("P")
T = TypeVar("T")


class Trial:
    """One case's Node, and all that it may do there, once it is prepared.

    Attributes:
        subject: The plugin under test.
        cni_version: The version that it is asked in.
        node: The Node.
        scene: What is there.
        cni: Calls it.
        adds: Whether its ADD works, as far as is known.
    """

    def __init__(
        self,
        subject: Subject,
        cni_version: str,
        scene: Scene,
        host: PluginHost | None = None,
        *,
        adds: bool = True,
    ) -> None:
        self.adds = adds
        self.subject = subject
        self.cni_version = cni_version
        self.node = scene.node
        self.scene = scene
        self._host = host
        self.cni = Caller(
            node=scene.node,
            network=subject.of(cni_version),
            executor=self._executor((*subject.path, str(STUBS))),
        )
        self._base = self._base_of(subject)

    def _executor(self, path: tuple[str, ...]) -> ProcessExecutor:
        return ProcessExecutor(
            path=path, timeout=TIMEOUT, environment=without_cni(), host=self._host
        )

    def configured(self, **config: object) -> "Trial":
        """Return this trial with some keys set (``None`` takes one away), in the same Node."""
        return self._of(self.subject.configured(**config), self._base)

    def varied(self, variant: Variant) -> "Trial":
        """Return this trial with the plugin configured in another way, in the same Node."""
        subject = self.subject.varied(variant)
        base = self._base if variant.before is None else self._base_of(subject)
        return self._of(subject, base)

    def _of(self, subject: Subject, base: Caller | None) -> "Trial":
        other = copy(self)
        other.subject = subject
        other.cni = replace(self.cni, network=subject.of(self.cni_version))
        vars(other)["_base"] = base
        return other

    def _base_of(self, subject: Subject) -> Caller | None:
        newest = subject.kind is Kind.IPAM  # nobody passes it what was made before
        network = subject.base(versions.LATEST if newest else self.cni_version)
        if network is None:
            return None
        return Caller(node=self.node, network=network, executor=self._executor(subject.base_path))

    def on_node(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *function* on the Node."""
        return self.node.run(function, *args, **kwargs)

    def pod(
        self, name: str = "pod1", ifname: str = "", *, beside: Attachment | None = None
    ) -> Attachment:
        """Make a pod, as far as the plugins before this one; return what is to be attached.

        Args:
            name: What it is called.
            ifname: Its interface.
            beside: No new pod, but a second interface of this one.

        Raises:
            Inapplicable: A plugin before this one fails, or there can be no such attachment.
        """
        parameters = self.subject.parameters
        if parameters.single and (beside or name not in {"pod0", "pod1"}):
            raise Inapplicable("there can be one attachment at a time")
        pod = (
            replace(beside, ifname=ifname)
            if beside
            else self._made(name, ifname or parameters.ifname)
        )
        answer = self._base.add(pod) if self._base else None
        if answer is not None and answer.error is not None:
            raise Inapplicable(f"the plugins before it fail: {answer.error}")
        return pod

    def _made(self, name: str, ifname: str) -> Attachment:
        parameters = self.subject.parameters
        pod = replace(
            self.cni.pod(name, ifname=ifname),
            args=tuple(parameters.args.items()),
            capability_args=parameters.capabilities,
        )
        for line in parameters.inside:
            self.scene.command(f"pod:{line}", pod)
        return pod

    def previous(self, pod: Attachment) -> Result | None:
        """Return what the plugins before this one made of *pod*, where it would be told."""
        told = self._base and self.subject.kind is not Kind.IPAM
        return self._base.result_of(pod) if self._base and told else None

    def add(self, pod: Attachment, twist: Twist = AS_A_RUNTIME) -> Answer:
        """ADD, after the plugins before this one."""
        return self.cni.add(pod, twist, previous=self.previous(pod))

    def added(self, pod: Attachment, twist: Twist = AS_A_RUNTIME) -> Result:
        """ADD, which must succeed.

        Raises:
            Violation: It does not.
            Inapplicable: It is known not to work.
        """
        if not self.adds:
            raise Inapplicable(NEEDS_ADD)
        answer = self.add(pod, twist)
        succeeded(answer, "ADD")
        try:
            return answer.result
        except PluginError as exc:
            raise AddFailed(f"ADD's answer is no result: {exc.error}") from None

    def check(self, pod: Attachment, twist: Twist = AS_A_RUNTIME) -> Answer:
        """CHECK, with what ADD returned."""
        return self.cni.check(pod, twist)

    def delete(self, pod: Attachment, twist: Twist = AS_A_RUNTIME, *, known: bool = True) -> Answer:
        """DEL, with what ADD returned unless *known* is false."""
        return self.cni.delete(pod, twist, known=known)

    def deleted(self, pod: Attachment, twist: Twist = AS_A_RUNTIME, *, known: bool = True) -> None:
        """DEL, which must succeed.

        Raises:
            Violation: It does not.
        """
        succeeded(self.delete(pod, twist, known=known), "DEL")

    def vanish(self, pod: Attachment) -> None:
        """Have a pod vanish: DEL for the plugins before this one, and no namespace any more."""
        if self._base is not None:
            self._base.delete(pod)
        self.cni.remove(pod)


def prepare(trial: Trial) -> None:
    """Make what the plugin stands on, beside the plugins before it.

    Commands are told where it is itself, since its daemon may be the same program.

    Raises:
        Inapplicable: A command fails.
    """
    binary = trial.cni.executor.find(trial.subject.plugin)
    for line in trial.subject.parameters.prepare:
        trial.scene.command(line.replace("{plugin}", shlex.quote(str(binary))))


def succeeded(answer: Answer, what: str) -> None:
    """Hold that a plugin succeeded.

    Raises:
        Violation: It did not.
    """
    if answer.error is not None:
        is_add = answer.last.invocation.verb is versions.Verb.ADD
        raise (AddFailed if is_add else Violation)(f"{what} failed: {_told(answer)}")


def gives_each_its_own(trial: Trial) -> bool:
    """Tell whether every attachment is to have addresses of its own.

    As its parameters say; else where IPAM chooses them, or where two ADDs, one after the other, get
    different ones.  A plugin whose address is in its configuration gives it to whoever asks.

    Raises:
        Violation: ADD fails.
    """
    parameters = trial.subject.parameters
    if parameters.distinct is not None:
        return parameters.distinct
    if parameters.ipam_type:
        return parameters.ipam_type != _FIXED
    one, other = (own_addresses(trial.added(trial.pod(name))) for name in ("alone1", "alone2"))
    return not one & other and bool(one | other)


def own_addresses(result: Result) -> set[IPv4Address | IPv6Address]:
    """Return the addresses of a result that can be one container's alone: on lo are everybody's."""
    return {ip.address.ip for ip in result.ips if not ip.address.ip.is_loopback}


def refused(answer: Answer, what: str, *, codes: Collection[int] = ()) -> Fields:
    """Hold that a plugin refused as the spec has it: an exit status, and one error object.

    Args:
        answer: What it answered.
        what: What it was asked, to go on with "is accepted".
        codes: The codes that would be right; any by default.

    Returns:
        The error object.

    Raises:
        Violation: It did not.
    """
    if answer.exit_status == 0:
        raise Violation(f"{what} is accepted")
    if answer.exit_status is None:
        raise Violation(f"{what}: it ended by {answer.last.ending}")
    try:
        said = Fields.of(answer.document, "the error object")
        code, message = said.number("code"), said.text("msg")
    except CniError as exc:
        raise Violation(f"{what}: no error object on stdout: {exc}; {_told(answer)}") from None
    if code is None or not message:
        raise Violation(f"{what}: the error object says no code, or no msg")
    if codes and code not in codes:
        wanted = " or ".join(map(str, codes))
        raise Violation(f"{what}: the code is {code}, not {wanted} ({message})")
    return said


def holds(condition: object, otherwise: str) -> None:
    """Hold that something is so.

    Raises:
        Violation: It is not.
    """
    if not condition:
        raise Violation(otherwise)


def _told(answer: Answer) -> str:
    error = answer.error
    said = f"code {error.code}, {error}" if error else answer.stdout.decode(errors="replace")
    return f"{answer.last.ending}; {said}"
