"""A recording, run again: the same calls to other plugins, in a Node, and what is different.

Only the calls of a runtime are made; what a plugin asks of its IPAM, it asks again.  A
container's namespace is a new one at the same path below /run/netns, or at one of its own.
prevResult is what this run's ADD returned, in the version that was asked in; the recorded one
where this run has none.  Other variables are the recorded ones, but for PATH.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from podnet.cni import names, wire
from podnet.cni.convert import convert
from podnet.cni.errors import CniError
from podnet.cni.result import Result
from podnet.cni.versions import Verb
from podnet.cni.wire import Fields
from podnet.errors import UsageError
from podnet.execute import DEFAULT_TIMEOUT, MissingPluginError, Outcome, ProcessExecutor
from podnet.kernel import namespaces
from podnet.node import Node
from podnet.plan import Invocation
from podnet.rig import likeness, picture
from podnet.rig.caller import NAMESPACES
from podnet.rig.likeness import Names
from podnet.rig.recording import Recorded, Recording

_CNI = ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH")
_OWN_VARIABLES = frozenset({"PATH", "PODNET_RECORD"})
_LOOKS, _MOMENT = 20, 0.02
_OF_ITSELF = re.compile(r"\bfe80::|\bff00::")
_LONGEST_NAME = 255
_KNOWN_PLACES = (Path("/run/netns"), Path("/var/run/netns"))

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One call, then and now.

    Attributes:
        number: Which call of the recording, from 1.
        call: What was recorded.
        outcome: What came of it now; ``None`` when there is no such plugin any more.
        differences: What is different, in sentences.
        changes: What the kernel and the disk hold differently since the call before, if asked.
    """

    number: int
    call: Recorded
    outcome: Outcome | None
    differences: tuple[str, ...]
    changes: frozenset[str] = frozenset()

    @property
    def ending(self) -> str:
        """How it ended now, in words."""
        if self.outcome is None:
            return "no such plugin"
        if self.outcome.exit_status is not None and not self.outcome.problem:
            return f"exit {self.outcome.exit_status}"
        if self.outcome.signal is not None and not self.outcome.problem:
            return f"signal {self.outcome.signal}"
        return self.outcome.ending

    @property
    def succeeded(self) -> bool:
        """Whether the plugin exited with 0 now."""
        return self.outcome is not None and self.outcome.exit_status == 0

    @property
    def story(self) -> str:
        """What was asked and what came of it, for whoever reads of a failure."""
        out = self.outcome
        if out is None:  # what is missing was not mended
            return f"{self.call.verb} {self.call.plugin}: {'; '.join(self.differences)}"
        printed = (out.stdout + out.stderr).decode(errors="replace").strip()
        return f"{self.call.verb} {self.call.plugin}: {self.ending}: {printed}"


def replay(
    recording: Recording,
    node: Node,
    path: Sequence[str],
    *,
    timeout: float = DEFAULT_TIMEOUT,
    look: bool = False,
    say: Callable[[Replayed], None] = lambda _: None,
) -> list[Replayed]:
    """Make the recorded calls again, one after the other.

    Args:
        recording: The calls.
        node: Where; a fresh one.
        path: Directories of plugins.
        timeout: Seconds that one may take.
        look: Take pictures of the Node, to say what each call changed.
        say: Is told of each call when it is over.

    Raises:
        UsageError: The recording has no call that could be made again.
    """
    again = set(map(id, recording.repeatable))
    calls = [(n, call) for n, call in enumerate(recording.calls, 1) if id(call) in again]
    if not calls:
        raise UsageError("the recording has no call that could be made again")
    node.show(*map(Path, path))
    run = _Run(node=node, path=tuple(path), timeout=timeout)
    replayed = []
    before = _settled(node) if look else frozenset()
    for number, call in calls:
        made = run.again(number, call)
        if look:
            now = _settled(node)
            made = replace(made, changes=frozenset(_changes(before, now, run.now)))
            before = now
        replayed.append(made)
        say(made)
    return replayed


def _settled(node: Node) -> picture.Picture:
    """Take a picture of a Node when it is the same twice: links get their carrier a moment later.

    Without what the kernel gives links for IPv6 by itself, seconds later.
    """
    seen = picture.take(node)
    for _ in range(_LOOKS):
        time.sleep(_MOMENT)
        before, seen = seen, picture.take(node)
        if seen == before:
            break
    return frozenset(fact for fact in seen if not _OF_ITSELF.search(fact.key))


def _changes(before: picture.Picture, after: picture.Picture, names: Names) -> Iterator[str]:
    found = picture.difference(before, after)
    for sign, facts in (("+", found.added), ("-", found.removed)):
        for fact in facts:
            yield names.plain(f"{sign} {fact}")
    for change in found.changed:
        for key, (old, new) in change.attributes.items():
            what = "" if change.after.kind == "file" else f" {old} -> {new}"  # stamps are times
            yield names.plain(f"~ {change.after}: {key}{what}")


@dataclass(slots=True, kw_only=True)
class _Run:
    """A replay on its way.

    Attributes:
        node: Where.
        path: Directories of plugins.
        timeout: Seconds that one may take.
        results: What ADD returned now, by network, container and interface.
        then: The names that the recorded run gave.
        now: Those that this one gives.
    """

    node: Node
    path: tuple[str, ...]
    timeout: float
    results: dict[_Key, Result] = field(default_factory=dict)
    then: Names = field(default_factory=Names)
    now: Names = field(default_factory=Names)
    _namespaces: dict[str, str] = field(default_factory=dict)
    _made: set[str] = field(default_factory=set)

    def again(self, number: int, call: Recorded) -> Replayed:
        """Make one call again."""
        netns = self._netns(call.environment.get("CNI_NETNS", ""))
        environment = {name: call.environment.get(name, "") for name in _CNI}
        environment |= {"CNI_NETNS": netns}
        self.then.search(call.environment.get("CNI_PATH", "").split(":"))
        self.then.search([os.path.dirname(call.binary)])  # noqa: PTH120  a shim searches elsewhere
        self.now.search(self.path)
        if call.verb != Verb.VERSION:
            environment["CNI_PATH"] = ":".join(self.path)
        stdin, key = self._request(call)
        invocation = Invocation(
            verb=Verb(call.verb),
            plugin=call.plugin,
            network=key[0],
            environment=environment,
            stdin={},
            verbatim=stdin,
            path=self.path,
        )
        try:
            outcome = self.node.run(self._executor(call).run, invocation)
        except MissingPluginError as exc:
            return Replayed(number=number, call=call, outcome=None, differences=(exc.message,))
        made = Replayed(number=number, call=call, outcome=outcome, differences=())
        self._remember(call, key, outcome)
        then = likeness.said(call.ending, call.stdout, self.then)
        now = likeness.said(made.ending, outcome.stdout, self.now)
        return replace(made, differences=tuple(likeness.differences(then, now)))

    def _executor(self, call: Recorded) -> ProcessExecutor:
        kept = {k: v for k, v in call.environment.items() if k not in {*_CNI, *_OWN_VARIABLES}}
        kept["PATH"] = os.environ.get("PATH", "")
        return ProcessExecutor(path=self.path, timeout=self.timeout, environment=kept)

    def _netns(self, recorded: str) -> str:
        """Return the namespace that stands for a recorded one; made when it is first named."""
        if recorded in {"", "dummy"}:
            return recorded
        if recorded not in self._namespaces:
            number = len(self._namespaces) + 1
            path = _as_recorded(Path(recorded)) or NAMESPACES / f"replayed-{number}"
            if str(path) not in self._made:  # it may have been called by another path before
                self.node.run(namespaces.create, path)
                self._made.add(str(path))
            self._namespaces[recorded] = str(path)
            self.then.stand_in(recorded, f"netns {number}")
            self.now.stand_in(str(path), f"netns {number}")
        return self._namespaces[recorded]

    def _request(self, call: Recorded) -> tuple[bytes, _Key]:
        """Return what a call reads now, and which attachment it is of."""
        stdin = call.stdin
        for old, new in self._namespaces.items():
            stdin = stdin.replace(old.encode(), new.encode())
        try:
            asked = Fields.of(wire.loads(stdin))
            key = (asked.text("name"), *call.container)
            previous = asked.child("prevResult")
            ours = self.results.get(key)
            if previous is None or ours is None:
                return stdin, key
            fitting = convert(ours, previous.text("cniVersion") or asked.text("cniVersion"))
            return wire.dumps({**asked.values, "prevResult": fitting.to_wire()}).encode(), key
        except CniError:  # not JSON, or no result: as it was
            return stdin, ("", *call.container)

    def _remember(self, call: Recorded, key: _Key, outcome: Outcome) -> None:
        if call.verb != Verb.ADD:
            return
        self.then.learn(call.stdout)
        self.now.learn(outcome.stdout)
        if outcome.exit_status == 0:
            try:
                self.results[key] = Result.from_wire(wire.loads(outcome.stdout))
            except CniError:  # what it printed is no result: the differences tell
                return


def _as_recorded(recorded: Path) -> Path | None:
    """Return a path that can be had again: one that other runtimes use, of an ordinary name."""
    name = recorded.name
    usual = recorded.parent in _KNOWN_PLACES and len(name) <= _LONGEST_NAME
    return NAMESPACES / name if usual and names.is_identifier(name) else None


def compared(replayed: Sequence[Replayed], other: Sequence[Replayed]) -> list[Replayed]:
    """Return *replayed*, each with what it changed in the kernel unlike its call of *other*."""
    found = []
    for one, two in zip(replayed, other, strict=True):
        only = [f"only now: {change}" for change in sorted(one.changes - two.changes)]
        gone = [f"not now: {change}" for change in sorted(two.changes - one.changes)]
        found.append(replace(one, differences=(*one.differences, *only, *gone)))
    return found
