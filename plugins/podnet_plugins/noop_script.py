"""What a noop is told to do: steps per verb, one for each call.

::

    {"type": "noop", "record": "/run/calls", "noop": {
        "ADD": [{}, {"error": {"code": 11, "msg": "try again"}}, {}],
        "DEL": [{"sleepMs": 500, "signal": "SIGKILL"}]}}

The first call of a verb is answered by its first step, the next by the next, and all that
come after the last step by the last: ``[{…}]`` is every call, ``[{}, {…}, {}]`` the second
alone.  An empty step is the default answer: ADD passes prevResult on, or an empty result where
it is the first of a chain; the others print nothing.

A step goes through its keys in this order: sleep; noise on stderr, then on stdout; the answer
(``result``, ``error`` or ``stdout``); a child that holds the streams; the end (``signal`` or
``exit``).  One that ends badly answers nothing but what it says.  Knows nothing of processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from podnet.cni import wire
from podnet.cni.convert import convert
from podnet.cni.errors import CniError, Code, InvalidConfigError
from podnet.cni.versions import Verb
from podnet.cni.wire import Fields
from podnet_plugins import schema
from podnet_plugins.schema import key, read
from podnet_plugins.skel import Call

TYPE = "noop"
SIGNALS = ("SIGKILL", "SIGSEGV", "SIGABRT", "SIGTERM", "SIGSTOP")
_LONGEST_MS, _MOST_BYTES, _LARGEST_STATUS = 600_000, 1 << 30, 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error object."""

    code: int = key(int(Code.INTERNAL), least=0, doc="Its code; 999 by default.")
    msg: str = key("noop was told to fail", doc="Its message.")
    details: str = key("", doc="Its details.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one call does."""

    result: Mapping[str, object] | None = key(
        None, doc="Printed as it is; without cniVersion, with the configuration's."
    )
    error: Failure | None = key(None, doc="Printed as an error object; exit status 1.")
    stdout: str | None = key(None, doc="Printed in the place of an answer, byte by byte.")
    stderr: str = key("", doc="Logged.")
    stdout_bytes: int = key(0, least=0, most=_MOST_BYTES, doc="So much noise before the answer.")
    stderr_bytes: int = key(0, least=0, most=_MOST_BYTES, doc="So much noise on stderr.")
    sleep_ms: int = key(0, least=0, most=_LONGEST_MS, doc="Milliseconds to wait at first.")
    hold_ms: int = key(
        0, least=0, most=_LONGEST_MS, doc="Milliseconds that a child keeps the streams open."
    )
    hold_detached: bool = key(False, doc="That child leaves the process group, as a daemon does.")
    exit: int | None = key(None, least=0, most=_LARGEST_STATUS, doc="The exit status.")
    signal: str = key("", choices=("", *SIGNALS), doc="The signal that it dies of.")

    @property
    def status(self) -> int:
        """The exit status."""
        return self.exit if self.exit is not None else int(self.error is not None)

    @property
    def ends_badly(self) -> bool:
        """Whether the call is to fail."""
        return bool(self.signal or self.status)

    def answer(self, call: Call) -> str:
        """Return what is printed on stdout, after the noise."""
        if self.stdout is not None:
            return self.stdout
        if self.error is not None:
            said = CniError(self.error.msg, self.error.details, code=self.error.code)
            return wire.dumps(said.to_wire(), indent=4) + "\n"
        if self.result is not None:
            return wire.dumps({"cniVersion": call.cni_version} | dict(self.result)) + "\n"
        if self.ends_badly or call.verb is not Verb.ADD:
            return ""
        if call.prev_result is None:  # not a Result: the oldest versions cannot say an empty one
            return wire.dumps({"cniVersion": call.cni_version}) + "\n"
        return wire.dumps(convert(call.prev_result, call.cni_version).to_wire()) + "\n"


_DEFAULT = Step()


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The steps of each verb; VERSION brings no configuration, and so is always answered truly."""

    add: tuple[Step, ...] = key((), name="ADD", doc="One step for each ADD.")
    check: tuple[Step, ...] = key((), name="CHECK", doc="One step for each CHECK.")
    delete: tuple[Step, ...] = key((), name="DEL", doc="One step for each DEL.")
    gc: tuple[Step, ...] = key((), name="GC", doc="One step for each GC.")
    status: tuple[Step, ...] = key((), name="STATUS", doc="One step for each STATUS.")

    def of(self, verb: Verb) -> tuple[Step, ...]:
        """Return the steps of *verb*."""
        steps = {
            Verb.ADD: self.add,
            Verb.CHECK: self.check,
            Verb.DEL: self.delete,
            Verb.GC: self.gc,
            Verb.STATUS: self.status,
        }
        return steps[verb]

    def step(self, verb: Verb, nth: int) -> Step:
        """Return what the *nth* call of *verb* does; the first is 1."""
        steps = self.of(verb)
        return steps[min(nth, len(steps)) - 1] if steps else _DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class NoopConfig:
    """The keys of the noop plugin."""

    noop: Script | None = key(None, doc="What to do on each call of each verb.")
    record: str = key("", doc="A directory for a file per call: what it was given.")
    count: str = key(
        "all",
        choices=("all", "attachment"),
        doc="Which calls are counted: all of a verb, or each attachment's by themselves.",
    )

    @classmethod
    def of(cls, call: Call) -> "NoopConfig":
        """Read the configuration, from the section "ipam" when it was called to manage addresses.

        Raises:
            CniError: A key that does not exist, a value that is wrong, or steps without a count.
        """
        fields = call.config
        if fields.text("type") != TYPE and call.ipam_type == TYPE:
            fields = fields.child("ipam") or fields
        config = read(cls, fields)
        _check_script(fields.child("noop"))
        if config.record and not config.record.startswith("/"):
            raise InvalidConfigError(f"record must be an absolute path, not {config.record}")
        if len(config.script.of(call.verb)) > 1 and not config.record:
            raise InvalidConfigError(
                f"noop.{call.verb} has several steps, and nothing to count calls with",
                "calls are counted in the directory that record names",
            )
        return config

    @property
    def script(self) -> Script:
        """The steps."""
        return self.noop or Script()


def _check_script(script: Fields | None) -> None:
    """Refuse what a misspelling would silently turn into the default answer."""
    if script is None:
        return
    _refuse_unknown(script, Script)
    for verb in script.values:
        for step in script.children(verb):
            _refuse_unknown(step, Step)
            answers = [name for name in ("result", "error", "stdout") if step.get(name) is not None]
            if len(answers) > 1:
                raise InvalidConfigError(f"{step.where} has more than one of {', '.join(answers)}")


def _refuse_unknown(fields: Fields, kind: type) -> None:
    known = schema.schema(kind)["properties"]
    assert isinstance(known, dict)  # noqa: S101
    folded = {name.casefold() for name in known}
    for name in fields.values:
        if name.casefold() not in folded:
            raise InvalidConfigError(
                f"{fields.path(name)} is no key", f"there are {', '.join(known)}"
            )
