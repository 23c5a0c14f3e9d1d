"""Causes that a plugin's own call shows: how it ended, what it answered, what it refused.

Pure.
"""

from collections.abc import Iterator, Sequence

from podnet import answer
from podnet.cni.errors import Code
from podnet.cni.result import Interface, IPConfig
from podnet.cni.versions import Verb
from podnet.cni.wire import Fields
from podnet.execute import Outcome
from podnet.plan import Attachment
from podnet.rig.scenario.evidence import Cause, Evidence


def endings(evidence: Evidence) -> Iterator[Cause]:
    """What a single plugin did."""
    for moment in evidence.moments:
        for outcome in moment.outcomes:
            step, at = outcome.invocation, f"step {moment.number}"
            who = f"{step.verb} {step.plugin}"
            if outcome.timed_out:
                yield Cause("timed-out", f"{at}: {who} {outcome.ending}{evidence.left}")
            elif outcome.signal is not None:
                yield Cause("killed", f"{at}: {who} {outcome.ending}{evidence.left}")
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


def not_idempotent(evidence: Evidence) -> Iterator[Cause]:
    """A plugin that refuses a DEL which would have had nothing to do, or not all."""
    for moment in evidence.failed:
        refused = moment.refusing
        if refused is None or refused.invocation.verb is not Verb.DEL or not refused.exit_status:
            continue
        what = f"step {moment.number}: DEL {refused.invocation.plugin} fails"
        if "prevResult" not in refused.invocation.stdin and evidence.had_result(refused):
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


def _said(outcome: Outcome) -> str:
    try:
        answer.raise_for_failure(outcome)
    except answer.PluginError as exc:
        return f"code {exc.error.code}: {exc.error}"
    return outcome.ending


def results(evidence: Evidence) -> Iterator[Cause]:
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
