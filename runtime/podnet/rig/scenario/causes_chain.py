"""Causes that only the whole story shows: who was never asked, and what is left of whom.

Pure.
"""

from collections.abc import Iterator, Sequence

from podnet.cni.versions import Verb
from podnet.execute import MissingPluginError, Outcome
from podnet.rig.scenario.evidence import Cause, Evidence, Moment, listed

_REMOVING = frozenset({"delete", "detach"})


def chain_stopped(evidence: Evidence) -> Iterator[Cause]:
    """A DEL that stopped: who comes earlier in the chain was never asked."""
    for moment in evidence.failed:
        deleted = [o for o in moment.outcomes if o.invocation.verb is Verb.DEL]
        failed = next((o for o in deleted if o.exit_status != 0), None)
        if failed is not None and failed.invocation.position > 0:
            step = failed.invocation
            yield Cause(
                "chain-stopped",
                f"step {moment.number}: DEL stopped at {step.plugin} ({step.position + 1} of "
                f"{step.chain}), so that {listed(_before(evidence, failed))}, which a DEL comes "
                f"to later, had nothing to say{evidence.left}",
            )
        elif isinstance(moment.error, MissingPluginError) and moment.action in _REMOVING:
            yield Cause(
                "chain-stopped",
                f"step {moment.number}: the chain cannot be walked without {moment.error.plugin}, "
                f"so that nothing before it was taken back{evidence.left}",
            )


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


def still_running(evidence: Evidence) -> Iterator[Cause]:
    """A try that failed, while the one before it had not ended."""
    for moment in evidence.failed:
        if moment.running:
            yield Cause(
                "still-running",
                f"step {moment.number} ({moment.title}) fails while {', in '.join(moment.running)}, "
                f"goes on: {moment.error}",
            )


def never_deleted(evidence: Evidence) -> Iterator[Cause]:
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
                f"plugin was asked to DEL it{evidence.left}",
            )


def forgotten_results(evidence: Evidence) -> Iterator[Cause]:
    """A DEL that succeeded without the prevResult that ADD had returned, and left something."""
    outcomes = [(m.number, o) for m in evidence.moments for o in m.outcomes if evidence.leaks]
    for number, outcome in outcomes:
        step = outcome.invocation
        bare = step.verb is Verb.DEL and "prevResult" not in step.stdin
        if bare and outcome.exit_status == 0 and evidence.had_result(outcome):
            yield Cause(
                "no-previous-result",
                f"step {number}: DEL {step.plugin} had no prevResult, though ADD had returned one"
                f"{evidence.left}",
            )


def others(evidence: Evidence) -> Iterator[Cause]:
    """A pod that is not as it was made, though only others were touched since."""
    for moment in evidence.failed:
        if moment.action != "check" or not moment.netns:
            continue
        since = _since_made(evidence.moments[: moment.number - 1], moment.pod)
        touched = [m for m in since if m.pod not in {"", moment.pod} and _touches(m)]
        if touched and not any(m.action in {"exec", "reboot"} for m in since):
            yield Cause(
                "damaged-others",
                f"step {moment.number}: {moment.pod} is not as it was made: {moment.error}; since "
                f"then only {listed(f'step {m.number} ({m.title})' for m in touched)}",
            )


def _since_made(moments: Sequence[Moment], pod: str) -> Sequence[Moment]:
    last = max((i for i, m in enumerate(moments) if m.pod == pod), default=-1)
    return moments[last + 1 :]


def _touches(moment: Moment) -> bool:
    return moment.action in {"delete", "detach"} or moment.error is not None


def remains(evidence: Evidence) -> Iterator[Cause]:
    """Something is left, and nothing else explains it."""
    if evidence.leaks:
        yield Cause("left-behind", f"no pod is there any more, and left: {listed(evidence.leaks)}")
