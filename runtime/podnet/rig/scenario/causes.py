"""What was the matter: causes, found in what was seen and not in what was asked for.

Pure.  Each rule looks at the evidence of a run: what plugins were asked and answered, what
was so at the moment of a failure, what is left.  A cause says what happened, what shows it,
and what helps.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from podnet import answer
from podnet.cni.errors import Code
from podnet.cni.result import Interface, IPConfig
from podnet.cni.versions import Verb
from podnet.cni.wire import Fields
from podnet.execute import MissingPluginError, Outcome
from podnet.plan import Attachment
from podnet.rig.scenario.evidence import Cause, Evidence, Moment


def causes(evidence: Evidence) -> list[Cause]:
    """Return what was the matter, what explains most first; each once."""
    found: dict[str, Cause] = {}
    for rule in _RULES:
        for cause in rule(evidence):
            found.setdefault(cause.name, cause)
    if set(found) - {"left-behind"}:
        found.pop("left-behind", None)  # explained by something
    return list(found.values())


def _before(evidence: Evidence, outcome: Outcome) -> list[str]:
    """Return the plugins that stand before one in its chain."""
    step = outcome.invocation
    chain = {
        o.invocation.position: o.invocation.plugin
        for moment in evidence.moments
        for o in moment.outcomes
        if o.invocation.network == step.network
    }
    return [chain.get(position, "another plugin") for position in range(step.position)]


_REMOVING = frozenset({"delete", "detach"})


def _failed(evidence: Evidence) -> Iterator[Moment]:
    return (moment for moment in evidence.moments if moment.error is not None)


def _missing(evidence: Evidence) -> Iterator[Cause]:
    for moment in _failed(evidence):
        missing = list(moment.absent)
        if isinstance(moment.error, MissingPluginError):
            missing = list(dict.fromkeys([moment.error.plugin, *missing]))
        if missing:
            ran = _ran(moment)
            yield Cause(
                "binary-missing",
                f"step {moment.number} ({moment.title}): {_listed(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} in no plugin directory; {ran}",
            )
        for plugin in moment.unexecutable:
            yield Cause(
                "binary-not-executable", f"step {moment.number}: {plugin} may not be executed"
            )


def _ran(moment: Moment) -> str:
    done = [f"{o.invocation.verb} {o.invocation.plugin}" for o in moment.outcomes]
    return f"{_listed(done)} had run" if done else "no plugin had run"


def _chain_stopped(evidence: Evidence) -> Iterator[Cause]:
    """A DEL that stopped: who comes earlier in the chain was never asked."""
    for moment in _failed(evidence):
        deleted = [o for o in moment.outcomes if o.invocation.verb is Verb.DEL]
        failed = next((o for o in deleted if o.exit_status != 0), None)
        if failed is not None and failed.invocation.position > 0:
            step = failed.invocation
            yield Cause(
                "chain-stopped",
                f"step {moment.number}: DEL stopped at {step.plugin} ({step.position + 1} of "
                f"{step.chain}), so that {_listed(_before(evidence, failed))}, which a DEL comes "
                f"to later, had nothing to say{_left(evidence)}",
            )
        elif isinstance(moment.error, MissingPluginError) and moment.action in _REMOVING:
            yield Cause(
                "chain-stopped",
                f"step {moment.number}: the chain cannot be walked without {moment.error.plugin}, "
                f"so that nothing before it was taken back{_left(evidence)}",
            )


def _never_deleted(evidence: Evidence) -> Iterator[Cause]:
    """Containers that were ADDed, of which nobody ever asked DEL, and that nobody knows."""
    if not evidence.leaks:
        return
    last: dict[str, tuple[Verb, int]] = {}
    for moment in evidence.moments:
        for outcome in moment.outcomes:
            container = outcome.invocation.environment.get("CNI_CONTAINERID", "")
            if outcome.invocation.verb in {Verb.ADD, Verb.DEL} and container:
                last[container] = outcome.invocation.verb, moment.number
    for container, (verb, number) in last.items():
        if verb is Verb.ADD and container not in evidence.known:
            yield Cause(
                "never-deleted",
                f"{container} was ADDed in step {number}, the runtime knows it no more, and no "
                f"plugin was asked to DEL it{_left(evidence)}",
            )


def _forgotten_results(evidence: Evidence) -> Iterator[Cause]:
    """A DEL that succeeded without the prevResult that ADD had returned, and left something."""
    outcomes = [(m.number, o) for m in evidence.moments for o in m.outcomes if evidence.leaks]
    for number, outcome in outcomes:
        step = outcome.invocation
        bare = step.verb is Verb.DEL and "prevResult" not in step.stdin
        if bare and outcome.exit_status == 0 and _had_result(evidence, outcome):
            yield Cause(
                "no-previous-result",
                f"step {number}: DEL {step.plugin} had no prevResult, though ADD had returned one"
                f"{_left(evidence)}",
            )


def _left(evidence: Evidence) -> str:
    return f"; left: {_listed(evidence.leaks)}" if evidence.leaks else ""


def _endings(evidence: Evidence) -> Iterator[Cause]:
    """What a single plugin did."""
    for moment in evidence.moments:
        for outcome in moment.outcomes:
            step, at = outcome.invocation, f"step {moment.number}"
            who = f"{step.verb} {step.plugin}"
            if outcome.timed_out:
                yield Cause("timed-out", f"{at}: {who} {outcome.ending}{_left(evidence)}")
            elif outcome.signal is not None:
                yield Cause("killed", f"{at}: {who} {outcome.ending}{_left(evidence)}")
            elif outcome.exit_status == 0 and step.verb is Verb.ADD:
                yield from _unreadable(outcome, at, who)
            elif outcome.exit_status:
                yield from _refusal(outcome, at, who)


def _unreadable(outcome: Outcome, at: str, who: str) -> Iterator[Cause]:
    version = Fields(outcome.invocation.stdin).text("cniVersion")
    try:
        answer.result(outcome, version)
    except answer.PluginError as exc:
        printed = list(answer.documents(outcome.stdout))
        if len(printed) == 1 and _is_error(printed[0]):
            yield Cause("status-against-answer", f"{at}: {who} exited with 0, and {exc.error}")
            return
        many = len(printed) > 1
        yield Cause(
            "two-answers" if many else "not-a-result", f"{at}: {who} exited with 0, but {exc.error}"
        )


def _refusal(outcome: Outcome, at: str, who: str) -> Iterator[Cause]:
    try:
        answer.raise_for_failure(outcome)
    except answer.PluginError as exc:
        if exc.error.code == Code.TRY_AGAIN_LATER:
            yield Cause("try-again-later", f"{at}: {who} says code 11: {exc.error.msg}")
        printed = list(answer.documents(outcome.stdout))
        if len(printed) > 1:
            yield Cause("two-answers", f"{at}: {who} printed a result and an error")
        elif printed and not _is_error(printed[0]):
            yield Cause(
                "status-against-answer",
                f"{at}: {who} exited with {outcome.exit_status}, and printed what is no error",
            )


def _is_error(document: object) -> bool:
    return isinstance(document, dict) and "code" in document


def _namespace(evidence: Evidence) -> Iterator[Cause]:
    for moment in _failed(evidence):
        if moment.pod and not moment.netns:
            refused = _refusing(moment)
            who = (
                f": {refused.invocation.plugin} needs it on {refused.invocation.verb}"
                if refused
                else ""
            )
            yield Cause(
                "namespace-gone",
                f"step {moment.number}: the network namespace of {moment.pod} is gone{who}",
            )


def _not_idempotent(evidence: Evidence) -> Iterator[Cause]:
    """A plugin that refuses a DEL which would have had nothing to do, or not all."""
    for moment in _failed(evidence):
        refused = _refusing(moment)
        if refused is None or refused.invocation.verb is not Verb.DEL or not refused.exit_status:
            continue
        what = f"step {moment.number}: DEL {refused.invocation.plugin} fails"
        if "prevResult" not in refused.invocation.stdin and _had_result(evidence, refused):
            yield Cause("no-previous-result", f"{what} without prevResult, which ADD had returned")
        before = [m for m in evidence.moments if m.number < moment.number]
        if any(_is_same_done(o, refused) for m in before for o in m.outcomes):
            said = _said(refused)
            yield Cause("not-idempotent", f"{what}, though an earlier one had succeeded: {said}")


def _is_same_done(earlier: Outcome, outcome: Outcome) -> bool:
    """Tell whether a call was the same, and succeeded."""
    one, other = earlier.invocation, outcome.invocation
    same = (one.verb, one.plugin, one.position) == (other.verb, other.plugin, other.position)
    container = one.environment["CNI_CONTAINERID"] == other.environment["CNI_CONTAINERID"]
    return same and container and earlier.exit_status == 0


def _refusing(moment: Moment) -> Outcome | None:
    return next((o for o in reversed(moment.outcomes) if o.exit_status != 0), None)


def _said(outcome: Outcome) -> str:
    try:
        answer.raise_for_failure(outcome)
    except answer.PluginError as exc:
        return f"code {exc.error.code}: {exc.error}"
    return outcome.ending


def _had_result(evidence: Evidence, outcome: Outcome) -> bool:
    container = outcome.invocation.environment["CNI_CONTAINERID"]
    return any(attachment.container_id == container for attachment, _ in evidence.added)


def _caches(evidence: Evidence) -> Iterator[Cause]:
    for moment in evidence.moments:
        for path, size in moment.caches.items():
            name = "cache-unreadable" if size else "cache-empty"
            yield Cause(name, f"step {moment.number}: the cached result {path} has {size} bytes")


def _results(evidence: Evidence) -> Iterator[Cause]:
    """A result whose addresses are not those of the container's interface."""
    for attachment, result in evidence.added:
        for ip in result.ips if result.interfaces else ():
            of = "no interface" if ip.interface is None else f"interface {ip.interface}"
            about = f"ADD in {attachment.netns}: {ip.address} is of {of}"
            yield from _misplaced(attachment, result.interfaces, ip, about)


def _misplaced(
    attachment: Attachment, interfaces: Sequence[Interface], ip: IPConfig, about: str
) -> Iterator[Cause]:
    if ip.interface is None or not 0 <= ip.interface < len(interfaces):
        yield Cause("wrong-interface", f"{about}, of {len(interfaces)}, counted from 0")
        return
    named = interfaces[ip.interface]
    if not named.sandbox:
        yield Cause("wrong-interface", f"{about}, {named.name}, which is the host's")
    elif named.sandbox != attachment.netns:
        yield Cause("wrong-sandbox", f"{about}, in {named.sandbox}, not {attachment.netns}")


def _environment(evidence: Evidence) -> Iterator[Cause]:
    """What was so around a failure."""
    for moment in _failed(evidence):
        for directory, state in moment.disks.items():
            yield Cause(f"disk-{state}", f"step {moment.number}: {directory} is {state}")
        for lock in moment.locks:
            yield Cause("lock-held", f"step {moment.number}: somebody holds {lock}")
        refused = _refusing(moment)
        adding = refused is not None and Verb.ADD in {o.invocation.verb for o in moment.outcomes}
        for network, (leased, stale) in moment.pools.items() if adding else ():
            yield Cause(
                "addresses-exhausted",
                f"step {moment.number}: all {leased} addresses of {network} are leased, "
                f"{stale} of them to containers that are not there",
            )


def _leases(evidence: Evidence) -> Iterator[Cause]:
    for path in evidence.empty_leases:
        yield Cause("empty-lease", f"{path} has no bytes: it names no container to be freed for")
    if evidence.rebooted and evidence.stale_leases:
        yield Cause(
            "reboot",
            f"since the reboot in step {evidence.rebooted} nobody has given back "
            f"{_listed(evidence.stale_leases)}",
        )


def _others(evidence: Evidence) -> Iterator[Cause]:
    """A pod that is not as it was made, though only others were touched since."""
    for moment in _failed(evidence):
        if moment.action != "check" or not moment.netns:
            continue
        since = _since_made(evidence.moments[: moment.number - 1], moment.pod)
        others = [m for m in since if m.pod not in {"", moment.pod} and _touches(m)]
        if others and not any(m.action in {"exec", "reboot"} for m in since):
            yield Cause(
                "damaged-others",
                f"step {moment.number}: {moment.pod} is not as it was made: {moment.error}; since "
                f"then only {_listed(f'step {m.number} ({m.title})' for m in others)}",
            )


def _since_made(moments: Sequence[Moment], pod: str) -> Sequence[Moment]:
    last = max((i for i, m in enumerate(moments) if m.pod == pod), default=-1)
    return moments[last + 1 :]


def _touches(moment: Moment) -> bool:
    return moment.action in {"delete", "detach"} or moment.error is not None


def _remains(evidence: Evidence) -> Iterator[Cause]:
    if evidence.leaks:
        yield Cause("left-behind", f"no pod is there any more, and left: {_listed(evidence.leaks)}")


def _listed(things: Iterable[str]) -> str:
    *front, last = things
    return f"{', '.join(front)} and {last}" if front else last


_RULES: tuple[Callable[[Evidence], Iterator[Cause]], ...] = (
    _missing,
    _environment,
    _caches,
    _namespace,
    _endings,
    _not_idempotent,
    _chain_stopped,
    _never_deleted,
    _forgotten_results,
    _results,
    _leases,
    _others,
    _remains,
)
