"""The skeleton of a plugin: read the call, check it, run the verb, print the answer.

A plugin is one function per verb and one line that runs them::

    run(Plugin("example", add=add, check=check, delete=delete))

The skeleton owns the environment, stdin, versions, stdout and exit status.  stdout is the
protocol: whatever else the plugin or its children print goes to stderr.  The order of the
checks and their codes are those of the reference's skel (containernetworking/cni, pkg/skel),
but for one: whether CNI_NETNS is the plugin's own namespace is checked before any work, not
after it.

What a plugin says of itself (``--describe``, or when it is run by hand) is in
:mod:`podnet_plugins.describe`, which no runtime's call loads.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from podnet.cni import names, versions, wire
from podnet.cni.convert import convert
from podnet.cni.errors import (
    CniError,
    Code,
    IncompatibleVersionError,
    InvalidConfigError,
    InvalidEnvironmentError,
)
from podnet.cni.result import Result
from podnet.cni.versions import PluginVersions, Verb
from podnet.cni.wire import Fields

#: The argument that asks a plugin to print what it is, as JSON, and to do nothing else.
DESCRIBE = "--describe"
_TRUE = {"1", "true"}
_OWN_NETNS = "/proc/self/ns/net"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a plugin is asked.

    Attributes:
        verb: CNI_COMMAND.
        container_id: CNI_CONTAINERID.
        netns: CNI_NETNS; may be "" on DEL.
        ifname: CNI_IFNAME.
        args: CNI_ARGS.
        path: CNI_PATH, for delegates.
        stdin: The configuration, as it came.
        config: The same, to read fields from.
        network: The network's name.
        cni_version: The configuration's version: results are printed in it.
        prev_result: prevResult, or ``None``.
    """

    verb: Verb
    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    stdin: bytes = b""
    config: Fields
    network: str = ""
    cni_version: str = versions.UNVERSIONED
    prev_result: Result | None = None

    @property
    def runtime_config(self) -> Fields:
        """The capability arguments."""
        return self.config.child("runtimeConfig") or Fields({})

    @property
    def conventional_args(self) -> Fields:
        """What ``args.cni`` says: arguments as CONVENTIONS.md of the spec has them."""
        args = self.config.child("args")
        return (args.child("cni") if args else None) or Fields({}, "args.cni")

    @property
    def ipam_type(self) -> str:
        """The plugin that manages addresses, or ""."""
        ipam = self.config.child("ipam")
        return ipam.text("type") if ipam else ""

    @property
    def valid_attachments(self) -> set[tuple[str, str]]:
        """On GC: (container ID, ifname) of everything that is still in use.

        Raises:
            CniError: It is not said, or not of which interface of which container: what is
                unknown must not be taken for unused.
        """
        given = [key for key in versions.VALID_ATTACHMENTS if self.config.has(key)]
        if not given:
            raise InvalidConfigError(
                f"{versions.VALID_ATTACHMENTS[0]} is missing",
                "without it everything would be removed; to have that, send an empty list",
            )
        return {_attachment(item) for key in given for item in self.config.children(key)}

    def require_prev_result(self) -> Result:
        """Return prevResult.

        Raises:
            CniError: There is none.
        """
        return self.require_chained("Required prevResult missing")

    def require_chained(self, message: str = "must be called as chained plugin") -> Result:
        """Return the prevResult that a chained plugin works on.

        Raises:
            CniError: There is none, said in the plugin's own words.
        """
        if self.prev_result is None:
            raise InvalidConfigError(message)
        return self.prev_result


def _attachment(said: Fields) -> tuple[str, str]:
    """Read one valid attachment, (container ID, ifname)."""
    for key in ("containerID", "ifname"):
        if not said.text(key):
            raise InvalidConfigError(f"{said.path(key)} is missing")
    return said.text("containerID"), said.text("ifname")


def _nothing(_: Call) -> None:
    """Do nothing: for a verb that a plugin has no work in."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin: its type and what it does on each verb.

    Attributes:
        name: Its type.
        add: Makes an attachment and returns the result.
        check: Raises what is not as ``add`` left it.
        delete: Removes an attachment; what is already gone is no error.
        gc: Removes what attachments left that are not valid any more.
        status: Raises code 50 or 51 when an ADD could not succeed.
        versions: The spec versions it speaks.
        about: What it is, in one sentence.
        config: Its keys, a dataclass of :mod:`podnet_plugins.schema`; ``None``: it declares none.
        section: Where in the configuration they stand: "ipam" for who manages addresses.
        chained: It changes what a plugin before it made: ADD and CHECK without prevResult
            are refused.
    """

    name: str
    add: Callable[[Call], Result]
    check: Callable[[Call], None] = _nothing
    delete: Callable[[Call], None] = _nothing
    gc: Callable[[Call], None] = _nothing
    status: Callable[[Call], None] = _nothing
    versions: tuple[str, ...] = versions.RELEASED
    about: str = ""
    config: type | None = None
    section: str = ""
    chained: bool = False


def run(plugin: Plugin) -> NoReturn:
    """Be *plugin* for one call, and exit."""
    if DESCRIBE in sys.argv[1:] or not os.environ.get("CNI_COMMAND"):
        _introduce(plugin)
    protocol = _taken_from_everybody_else()
    heard: list[bytes] = []
    try:
        answer = respond(plugin, os.environ, lambda: _heard(heard))
    except CniError as exc:
        _refuse(protocol, exc, _version_of(heard))
    except OSError as exc:
        _refuse(protocol, CniError(sentence(exc)), _version_of(heard))
    except (Exception, SystemExit) as exc:  # noqa: BLE001  a defect must reach the runtime, too
        import traceback  # noqa: PLC0415  only for a defect

        traceback.print_exc()
        _refuse(protocol, CniError(f"{type(exc).__name__}: {exc}"), _version_of(heard))
    if answer is not None:
        _print(protocol, answer)
    sys.exit(0)


def _heard(heard: list[bytes]) -> bytes:
    """Read stdin, and remember it for the error object."""
    heard.append(sys.stdin.buffer.read())
    return heard[0]


def _version_of(heard: list[bytes]) -> str:
    """Return the version that an error is told in: the configuration's, where it says one."""
    try:
        said = Fields.of(wire.loads(heard[0])).text("cniVersion")
    except (CniError, IndexError):
        return versions.LATEST
    return said if said in versions.RELEASED else versions.LATEST


def _introduce(plugin: Plugin) -> NoReturn:
    """Say what *plugin* is: to a program on stdout, to a person on stderr."""
    from podnet_plugins import describe  # noqa: PLC0415  no runtime's call needs it

    if DESCRIBE in sys.argv[1:]:
        sys.stdout.write(wire.dumps(describe.description(plugin)) + "\n")
    else:
        sys.stderr.write(describe.introduction(plugin, sys.argv[0]))
    sys.exit(0)


def _taken_from_everybody_else() -> int:
    """Return stdout's descriptor, and let whatever else is printed from here on go to stderr."""
    sys.stdout.flush()
    protocol = os.dup(1)
    os.dup2(2, 1)
    return protocol


def respond(
    plugin: Plugin, environment: Mapping[str, str], read: Callable[[], bytes]
) -> dict[str, object] | None:
    """Answer one call: return what goes to stdout, ``None`` for nothing.

    Args:
        plugin: The plugin.
        environment: CNI_* among it.
        read: Returns stdin; not called for VERSION.

    Raises:
        CniError: The call is wrong, or the plugin's own error.
    """
    command = environment.get("CNI_COMMAND", "")
    if command == Verb.VERSION:
        return PluginVersions(plugin.versions).to_wire()
    if command not in Verb.__members__:
        raise InvalidEnvironmentError(f"unknown CNI_COMMAND: {command}")
    verb = Verb(command)
    _require(verb, environment)
    try:
        stdin = read()
    except OSError as exc:
        raise CniError(f"error reading from stdin: {exc}", code=Code.IO_FAILURE) from exc
    call = _call(plugin, verb, environment, stdin)
    if verb in {Verb.ADD, Verb.DEL}:
        _refuse_own_netns(environment)
    if plugin.chained and verb in {Verb.ADD, Verb.CHECK}:
        call.require_chained()
    functions: dict[Verb, Callable[[Call], Result | None]] = {
        Verb.ADD: plugin.add,
        Verb.CHECK: plugin.check,
        Verb.DEL: plugin.delete,
        Verb.GC: plugin.gc,
        Verb.STATUS: plugin.status,
    }
    result = functions[verb](call)
    if verb is not Verb.ADD:
        return None
    if not isinstance(result, Result):
        raise CniError(f"{plugin.name}: ADD made no result", f"it returned {result!r}")
    return convert(result, call.cni_version).to_wire()


def _require(verb: Verb, environment: Mapping[str, str]) -> None:
    missing = [key for key in versions.REQUIRED[verb] if not environment.get(key)]
    if missing:
        raise InvalidEnvironmentError(f"required env variables [{','.join(missing)}] missing")


def _call(plugin: Plugin, verb: Verb, environment: Mapping[str, str], stdin: bytes) -> Call:
    """Read and check a call, in the order and with the codes of the reference's skel."""
    config = Fields.of(wire.loads(stdin, "the configuration on stdin"))
    names.check_network_name(config.text("name"))
    required = versions.REQUIRED[verb]
    if "CNI_CONTAINERID" in required:
        names.check_container_id(environment["CNI_CONTAINERID"])
    if "CNI_IFNAME" in required:
        names.check_ifname(environment["CNI_IFNAME"])
    cni_version = config.text("cniVersion") or versions.UNVERSIONED
    _check_version(plugin, verb, cni_version)
    previous = config.child("prevResult")
    return Call(
        verb=verb,
        container_id=environment.get("CNI_CONTAINERID", ""),
        netns=environment.get("CNI_NETNS", ""),
        ifname=environment.get("CNI_IFNAME", ""),
        args=parse_args(environment.get("CNI_ARGS", "")),
        path=environment.get("CNI_PATH", ""),
        stdin=stdin,
        config=config,
        network=config.text("name"),
        cni_version=cni_version,
        prev_result=Result.from_wire(previous.values, default_version=cni_version)
        if previous
        else None,
    )


def _check_version(plugin: Plugin, verb: Verb, cni_version: str) -> None:
    if cni_version not in plugin.versions:
        raise IncompatibleVersionError(
            "incompatible CNI versions",
            f'config is "{cni_version}", plugin supports {list(plugin.versions)}',
        )
    if not versions.supports(cni_version, verb):
        raise IncompatibleVersionError(
            f"config version does not allow {verb}",
            f"{verb} exists since {versions.SINCE[verb]}, the configuration is {cni_version}",
        )


def _refuse_own_netns(environment: Mapping[str, str]) -> None:
    """Refuse to work on the namespace we are in: the host's would be reconfigured (plugins#714)."""
    netns = environment.get("CNI_NETNS", "")
    if not netns or environment.get("CNI_NETNS_OVERRIDE", "").lower() in _TRUE:
        return
    try:
        same = os.path.samestat(os.stat(netns), os.stat(_OWN_NETNS))  # noqa: PTH116
    except OSError:  # a namespace that is gone is not ours; the verb decides what that means
        return
    if same:
        message = "plugin's netns and netns from CNI_NETNS should not be the same"
        raise CniError(message, netns, code=Code.INVALID_NETNS)


def parse_args(text: str) -> dict[str, str]:
    """Read CNI_ARGS: ``K=V;K=V``, exactly one "=" in each pair.

    Raises:
        InvalidEnvironmentError: A pair without, or with more.
    """
    pairs = {}
    for pair in filter(None, text.split(";")):
        key, _, value = pair.partition("=")
        if pair.count("=") != 1:
            raise InvalidEnvironmentError(f'ARGS: invalid pair "{pair}"')
        pairs[key] = value
    return pairs


def known_args(call: Call, *known: str) -> dict[str, str]:
    """Return the arguments in CNI_ARGS that a plugin knows.

    Raises:
        InvalidEnvironmentError: There are others, and no IgnoreUnknown=1.
    """
    ignore = call.args.get("IgnoreUnknown", "").lower() in _TRUE
    unknown = [f"{k}={v}" for k, v in call.args.items() if k not in {*known, "IgnoreUnknown"}]
    if unknown and not ignore:
        raise InvalidEnvironmentError(f"ARGS: unknown args {wire.dumps(unknown)}")
    return {k: v for k, v in call.args.items() if k in known}


def log(text: str) -> None:
    """Say something on stderr, which runtimes keep; stdout belongs to the protocol."""
    sys.stderr.write(f"{text}\n")


def sentence(exc: OSError) -> str:
    """Say what the system refused, and of what."""
    text = exc.strerror or str(exc)
    return f"{exc.filename}: {text}" if exc.filename else text


def _refuse(protocol: int, error: CniError, cni_version: str) -> NoReturn:
    _print(protocol, error.to_wire(cni_version), indent=4)
    sys.exit(1)


def _print(protocol: int, value: Mapping[str, object], *, indent: int | None = None) -> None:
    with open(protocol, "wb") as stdout:
        stdout.write(wire.dumps(value, indent=indent).encode() + b"\n")
