"""Differences as JSON, for transcripts and ``-o json``, and as lines, for people.  Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from podnet import answer
from podnet.answer import PluginError
from podnet.cni.versions import Verb
from podnet.execute import Outcome
from podnet.kernel.facts import Fact
from podnet.rig import truth
from podnet.rig.picture import NODE, Change, Difference, Picture, difference
from podnet.visible import visible

Entry = Mapping[str, object]
_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def observed(outcome: Outcome, before: Picture, after: Picture) -> Outcome:
    """Write on an outcome what the invocation changed, and of ADD where its result is not true."""
    seen: dict[str, object] = {"changes": list(entries(difference(before, after)))}
    step = outcome.invocation
    if step.verb is Verb.ADD and outcome.exit_status == 0:
        try:
            said = answer.result(outcome, str(step.stdin.get("cniVersion", "")))
        except PluginError:  # the runtime will say so
            pass
        else:
            seen["untrue"] = truth.untrue(said, after, netns=step.environment["CNI_NETNS"])
    return replace(outcome, observed=seen)


def entries(found: Difference) -> Iterator[dict[str, object]]:
    """Yield a difference, thing by thing."""
    for fact in found.added:
        yield _entry("added", fact) | {"attributes": dict(fact.attributes)}
    for fact in found.removed:
        yield _entry("removed", fact) | {"attributes": dict(fact.attributes)}
    for change in found.changed:
        yield _entry("changed", change.after) | {"attributes": _both(change)}


def _entry(what: str, fact: Fact) -> dict[str, object]:
    return {"what": what, "kind": fact.kind, "key": fact.key, "where": fact.where}


def _both(change: Change) -> dict[str, object]:
    return {key: list(pair) for key, pair in change.attributes.items()}


def lines(told: Iterable[Entry]) -> Iterator[str]:
    """Yield each entry as a line: ``+ link eth0 kind=veth mtu=1500``; where it is not the Node's, too."""
    for entry in told:
        attributes = entry.get("attributes")
        said = attributes.items() if isinstance(attributes, dict) else ()
        words = [_SIGNS.get(str(entry["what"]), "?"), str(entry["kind"]), str(entry["key"])]
        words += [_said(key, value, entry["what"]) for key, value in said]
        place = "" if entry["where"] == NODE else f"  [{entry['where']}]"
        yield visible(" ".join(words) + place)


def _said(key: str, value: object, what: object) -> str:
    if what == "changed" and isinstance(value, list | tuple):
        old, new = value
        return f"{key}: {_word(old)} -> {_word(new)}"
    return key if value is True else f"{key}={_word(value)}"


def _word(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)
