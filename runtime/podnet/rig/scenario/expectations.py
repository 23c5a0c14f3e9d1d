"""What must be so after a step, held against what is: every difference in a sentence.

Pure: the facts are collected by the runner, for the keys that are asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from podnet.answer import PluginError
from podnet.cni.errors import CniError
from podnet.cni.wire import Fields, dumps
from podnet.errors import PodnetError
from podnet.runtime import RollbackError

_STEPS = frozenset({"fails", "code", "message", "plugin"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of a step.

    Attributes:
        error: How it failed, or ``None``.
        stdout: What a command printed.
        reached: Whether an answer to a probe came back.
        result: The last result of an ADD, as JSON.
        leaks: What is left of pods that are gone.
        states: Of files, links, facts and pods: what each is.
        causes: What was the matter.
    """

    error: Exception | None = None
    stdout: str = ""
    reached: bool = False
    result: object = None
    leaks: Sequence[str] = ()
    states: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    causes: Sequence[str] = ()


def innermost(error: Exception) -> Exception:
    """Return the failure that matters: of one that could not be undone, the first."""
    if isinstance(error, RollbackError) and isinstance(error.failure, Exception):
        return innermost(error.failure)
    return error


def unmet(expect: Fields, found: Found) -> Iterator[str]:
    """Yield what is not as it must be."""
    wants_failure = expect.get("fails") is not False and bool(_STEPS & expect.values.keys())
    if found.error is not None and not wants_failure:
        yield "it must succeed"
    elif found.error is None and wants_failure:
        yield "it must fail, and succeeded"
    elif found.error is not None:
        yield from _failure(expect, found.error)
    for key, check in _CHECKS.items():
        if expect.get(key) is not None:
            yield from check(expect, found)


def _failure(expect: Fields, error: Exception) -> Iterator[str]:
    inner = innermost(error)
    said = inner.error if isinstance(inner, PluginError) else inner
    code = said.code if isinstance(said, CniError) else None
    if expect.number("code") not in {None, code}:
        yield f"it must fail with code {expect.number('code')}, it was {code}"
    if expect.text("message") not in str(error):
        yield f"it must fail with {expect.text('message')!r}"
    plugin = inner.outcome.invocation.plugin if isinstance(inner, PluginError) else ""
    if expect.text("plugin") not in {"", plugin}:
        yield f"it must fail in {expect.text('plugin')}, it was {plugin or 'no plugin'}"


def _stdout(expect: Fields, found: Found) -> Iterator[str]:
    if expect.text("stdout") not in found.stdout:
        yield f"it must print {expect.text('stdout')!r}, it printed {found.stdout!r}"


def _reached(expect: Fields, found: Found) -> Iterator[str]:
    if expect.flag("reached") != found.reached:
        yield f"an answer must {'' if expect.flag('reached') else 'not '}come back"


def _result(expect: Fields, found: Found) -> Iterator[str]:
    if not _is_within(expect.get("result"), found.result):
        yield f"the result must have {dumps(expect.get('result'))}, it is {dumps(found.result)}"


def _is_within(wanted: object, value: object) -> bool:
    """Tell whether *value* has all of *wanted*, among others."""
    if isinstance(wanted, dict) and isinstance(value, dict):
        return all(key in value and _is_within(item, value[key]) for key, item in wanted.items())
    if isinstance(wanted, list) and isinstance(value, list):
        return len(wanted) == len(value) and all(map(_is_within, wanted, value))
    return wanted == value


def _leaks(expect: Fields, found: Found) -> Iterator[str]:
    wanted = expect.texts("leaks")
    if not wanted and found.leaks:
        yield f"nothing must be left, there is: {', '.join(found.leaks)}"
    for part in wanted:
        if not any(part in leak for leak in found.leaks):
            yield f"{part} must be left, there is: {', '.join(found.leaks) or 'nothing'}"


def _states(kind: str) -> Callable[[Fields, Found], Iterator[str]]:
    def check(expect: Fields, found: Found) -> Iterator[str]:
        wanted = expect.child(kind)
        for name, state in wanted.values.items() if wanted else ():
            now = found.states[kind].get(name, "absent")
            if state != now and not (state == "present" and now == "empty"):
                yield f"{name} must be {state}, it is {now}"

    return check


def _cause(expect: Fields, found: Found) -> Iterator[str]:
    if expect.text("cause") not in found.causes:
        named = ", ".join(found.causes) or "none"
        yield f"the cause {expect.text('cause')} must be named, there is: {named}"


_CHECKS: Mapping[str, Callable[[Fields, Found], Iterator[str]]] = {
    "stdout": _stdout,
    "reached": _reached,
    "result": _result,
    "leaks": _leaks,
    "files": _states("files"),
    "links": _states("links"),
    "kernel": _states("kernel"),
    "pods": _states("pods"),
    "cause": _cause,
}


def told(error: Exception | None) -> str:
    """Return a failure in one line."""
    if error is None:
        return ""
    if isinstance(error, PluginError):
        return f"{error.message}; {error.explanation}"
    if isinstance(error, PodnetError):
        return error.message
    return str(error)
