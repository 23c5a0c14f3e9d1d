"""What a plugin's answer means: results, errors, and everything that is neither.

Pure: reads an Outcome.  The exit status decides between success and failure, never the
output (SPEC section 5); but nothing that a plugin said is lost on the way.
"""

import json
from collections.abc import Iterator
from typing import ClassVar

from podnet.cni import wire
from podnet.cni.errors import CniError, Code, DecodeError, meaning
from podnet.cni.result import Result
from podnet.cni.versions import PluginVersions, Verb
from podnet.cni.wire import Fields
from podnet.errors import DriftError, PodnetError, TimedOutError
from podnet.execute import Outcome

_EXCERPT = 400
_LOUD = 64 * 1024


class PluginError(PodnetError):
    """A plugin said no, or did something that the protocol does not know.

    Attributes:
        outcome: The invocation and all that came of it.
        error: What it means, as the spec's error object.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, outcome: Outcome, error: CniError) -> None:
        step = outcome.invocation
        where = f"plugin {step.plugin} ({step.position + 1} of {step.chain})"
        network = f" of network {step.network}" if step.network else ""
        super().__init__(f"{where}{network} failed on {step.verb}: {error}")
        self.outcome = outcome
        self.error = error

    @property
    def explanation(self) -> str:
        """The code and its meaning, and how the process ended."""
        return f"CNI code {self.error.code} ({meaning(self.error.code)}); {self.outcome.ending}"


class PluginTimedOutError(PluginError, TimedOutError):
    """A plugin took longer than it was given."""

    exit_code: ClassVar[int] = TimedOutError.exit_code


class PluginDriftError(PluginError, DriftError):
    """A plugin says on CHECK that the container is not as it left it."""

    exit_code: ClassVar[int] = DriftError.exit_code


def raise_for_failure(outcome: Outcome) -> None:
    """Raise what *outcome* says went wrong; return when nothing did.

    Raises:
        PluginError: With the plugin's own error object, or with what it did instead.
    """
    error = _failure(outcome)
    if error is None:
        return
    if outcome.timed_out:
        raise PluginTimedOutError(outcome, error)
    if outcome.invocation.verb is Verb.CHECK and outcome.exit_status is not None:
        raise PluginDriftError(outcome, error)
    raise PluginError(outcome, error)


def result(outcome: Outcome, cni_version: str) -> Result:
    """Return the result of a successful ADD.

    Args:
        outcome: An outcome that is no failure.
        cni_version: The configuration's version, for a result that does not say its own.

    Raises:
        PluginError: Its output is not exactly one result.
    """
    try:
        return Result.from_wire(_one_document(outcome), default_version=cni_version)
    except CniError as exc:
        raise PluginError(outcome, exc) from None


def _one_document(outcome: Outcome) -> object:
    try:
        value = wire.loads(outcome.stdout, "its output")
    except DecodeError:
        many = len(list(documents(outcome.stdout)))
        if many > 1:
            raise DecodeError(f"it printed {many} JSON documents instead of one result") from None
        raise
    if _is_error_object(value):
        said = _error_object(value)
        raise CniError(f"exited with 0, but printed an error: {said}", code=said.code)
    return value


def versions(outcome: Outcome) -> PluginVersions:
    """Return what a plugin answered to VERSION (SPEC section 4).

    Raises:
        PluginError: It failed, other than by not knowing VERSION, which means 0.1.0.
    """
    error = _failure(outcome)
    if error is not None and error.msg == "unknown CNI_COMMAND: VERSION":
        return PluginVersions(("0.1.0",))
    raise_for_failure(outcome)
    try:
        return PluginVersions.from_wire(wire.loads(outcome.stdout, "its output"))
    except CniError as exc:
        raise PluginError(outcome, exc) from None


def notes(outcome: Outcome) -> list[str]:
    """Return what is odd about a successful outcome, in sentences."""
    said = []
    if outcome.left_behind:
        said.append("left a process running in the background")
    if len(outcome.stderr) > _LOUD:
        said.append(f"wrote {len(outcome.stderr)} bytes to stderr")
    if outcome.exit_status == 0 and outcome.invocation.verb is not Verb.ADD:
        printed = list(documents(outcome.stdout))
        if printed and _is_error_object(printed[-1]):
            said.append(f"exited with 0, but printed an error: {_error_object(printed[-1])}")
    return said


def _failure(outcome: Outcome) -> CniError | None:
    if outcome.problem:
        busy = "text file busy" in outcome.problem
        return CniError(outcome.problem, code=Code.TRY_AGAIN_LATER if busy else Code.UNKNOWN)
    if outcome.signal is not None:
        return CniError(outcome.ending, _excerpt(outcome.stderr), code=Code.UNKNOWN)
    if outcome.exit_status == 0:
        return None
    return _spoken_failure(outcome)


def _spoken_failure(outcome: Outcome) -> CniError:
    """Read an error object from stdout; where there is none, tell what there is instead."""
    printed = list(documents(outcome.stdout))
    if len(printed) == 1 and _is_error_object(printed[0]):
        return _error_object(printed[0])
    if len(printed) > 1 and _is_error_object(printed[-1]):
        # The reference's skel does this when it finds its own namespace after the work is done.
        said = _error_object(printed[-1])
        many = f"it printed {len(printed)} JSON documents; the last one is the error"
        return CniError(said.msg, "; ".join(filter(None, [said.details, many])), code=said.code)
    if outcome.stdout.strip():
        what = "which is no error object" if printed else "which is not JSON"
        return CniError(f"it printed {_excerpt(outcome.stdout)}, {what}", code=Code.UNKNOWN)
    if outcome.stderr.strip():
        return CniError(f"no error object; stderr: {_excerpt(outcome.stderr)}", code=Code.UNKNOWN)
    return CniError("it gave no reason: nothing on stdout or stderr", code=Code.UNKNOWN)


def documents(text: bytes) -> Iterator[object]:
    """Yield the JSON documents that stand one after the other in *text*; stop where it breaks."""
    rest = text.decode(errors="replace").strip()
    decoder = json.JSONDecoder()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            return
        yield value
        rest = rest[end:].strip()


def _is_error_object(value: object) -> bool:
    """Tell an error from a result: it has a code, a number, and nothing that only results have."""
    if not isinstance(value, dict):
        return False
    code = value.get("code")
    return isinstance(code, int) and not isinstance(code, bool) and code >= 0


def _error_object(value: object) -> CniError:
    fields = Fields.of(value)
    msg, details = fields.get("msg"), fields.get("details")
    return CniError(
        msg if isinstance(msg, str) and msg else "it gave no message",
        details if isinstance(details, str) else "",
        code=fields.number("code"),
    )


def _excerpt(text: bytes) -> str:
    decoded = text.decode(errors="backslashreplace").strip()
    short = decoded if len(decoded) <= _EXCERPT else f"{decoded[:_EXCERPT]}…"
    return f'"{short}"' if short else ""
