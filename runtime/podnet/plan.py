"""Which plugin runs when, with exactly which environment and stdin (SPEC sections 2 and 3).

Pure: a Network, an Attachment and a cached Result go in, Invocations come out; nothing is
looked up, run or written.  What ``--dry-run`` prints is what the runtime runs.

==========  =========  ==========================  ==========================================
verb        order      prevResult                  not called at all when
==========  =========  ==========================  ==========================================
ADD         forward    the plugin before's answer
CHECK       forward    the cached result           ``disableCheck``; an error before 0.4.0
DEL         reverse    the cached result, ≥ 0.4.0
STATUS      forward    none                        before 1.1.0
GC          forward    none                        before 1.1.0, ``disableGC``
==========  =========  ==========================  ==========================================
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from podnet.cni import names, versions
from podnet.cni.config import RESERVED, RESERVED_PREFIX, Network, PluginConfig
from podnet.cni.convert import convert
from podnet.cni.errors import IncompatibleVersionError, InvalidEnvironmentError
from podnet.cni.result import Result
from podnet.cni.versions import Verb

# Go plugins match field names in any case, so no other spelling of these may stand next to ours.
_INJECTED = frozenset(key.casefold() for key in ("cniVersion", "name", *RESERVED))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One interface of one container on one network (SPEC section 3, "Attachment Parameters").

    Attributes:
        container_id: CNI_CONTAINERID.
        ifname: CNI_IFNAME, the name inside the container.
        netns: CNI_NETNS, the path of the container's network namespace; "" once it is gone.
        args: CNI_ARGS as ordered pairs.
        capability_args: Values for the capabilities that a chain may declare, unfiltered.
    """

    container_id: str
    ifname: str
    netns: str = ""
    args: tuple[tuple[str, str], ...] = ()
    capability_args: Mapping[str, object] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Attachment {self.container_id} {self.ifname}>"

    def check(self) -> None:
        """Check every identifier, before a path is built or a plugin sees it.

        Raises:
            CniError: An identifier or an argument that cannot be passed on.
        """
        names.check_container_id(self.container_id)
        names.check_ifname(self.ifname)
        for key, value in self.args:
            # CNI_ARGS has no escaping, and plugins insist on one "=" per pair.
            if not key or any(char in f"{key}{value}" for char in ";\0") or "=" in f"{key}{value}":
                raise InvalidEnvironmentError(
                    f"CNI_ARGS cannot carry {key}={value}", "';' and '=' have no escape in it"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One run of one plugin, before it happens.

    Attributes:
        verb: CNI_COMMAND.
        plugin: The type, to be looked up in CNI_PATH.
        network: The network's name; "" for VERSION.
        position: The plugin's place in the chain, from 0.
        chain: How many plugins the chain has.
        environment: The six CNI_* parameters, always all of them.
        stdin: The request.
        awaits_result: The plugin before must answer first: its result becomes prevResult.
        path: Where the plugin is looked for: CNI_PATH, but for VERSION.
        arguments: What it is given besides; the protocol knows none.
        verbatim: What is sent instead of the request: a test may send anything.
    """

    verb: Verb
    plugin: str
    network: str = ""
    position: int = 0
    chain: int = 1
    environment: Mapping[str, str]
    stdin: Mapping[str, object]
    awaits_result: bool = False
    path: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    verbatim: bytes | None = None

    def __repr__(self) -> str:
        return f"<{self.verb} {self.plugin} ({self.position + 1}/{self.chain} of {self.network})>"

    def after(self, result: Result) -> "Invocation":
        """Return this invocation with the previous plugin's *result* in it."""
        stdin = {**self.stdin, "prevResult": result.to_wire()}
        return replace(self, stdin=stdin, awaits_result=False)


def add(network: Network, attachment: Attachment, path: Sequence[str]) -> list[Invocation]:
    """Plan ADD: forward, each plugin after the first waiting for the one before."""
    return [
        replace(step, awaits_result=step.position > 0)
        for step in _steps(Verb.ADD, network, attachment, path)
    ]


def check(
    network: Network, attachment: Attachment, path: Sequence[str], result: Result
) -> list[Invocation]:
    """Plan CHECK: forward, everyone with the cached result.

    Raises:
        IncompatibleVersionError: The version has no CHECK (before 0.4.0), also where
            ``disableCheck`` is set; or *result* cannot be converted.
    """
    if not versions.supports(network.cni_version, Verb.CHECK):
        raise IncompatibleVersionError(
            f'configuration version "{network.cni_version}" does not support the CHECK command'
        )
    if network.disable_check:
        return []
    cached = convert(result, network.cni_version)
    return [step.after(cached) for step in _steps(Verb.CHECK, network, attachment, path)]


def delete(
    network: Network, attachment: Attachment, path: Sequence[str], result: Result | None
) -> list[Invocation]:
    """Plan DEL: backwards, everyone with the cached result from 0.4.0 on, if there is one.

    Raises:
        IncompatibleVersionError: *result* cannot be converted.
    """
    steps = list(_steps(Verb.DEL, network, attachment, path))[::-1]
    given = versions.at_least(network.cni_version, versions.PREV_RESULT_ON_DEL_SINCE)
    if result is None or not given:
        return steps
    cached = convert(result, network.cni_version)
    return [step.after(cached) for step in steps]


def status(network: Network, path: Sequence[str]) -> list[Invocation]:
    """Plan STATUS: forward; nobody before 1.1.0."""
    if not versions.supports(network.cni_version, Verb.STATUS):
        return []
    return list(_steps(Verb.STATUS, network, None, path))


def gc(network: Network, valid: Iterable[tuple[str, str]], path: Sequence[str]) -> list[Invocation]:
    """Plan GC: forward, with the attachments that shall stay; nobody before 1.1.0.

    Args:
        network: The network to clean.
        valid: (container ID, ifname) of every attachment that is still in use.
        path: The search path.
    """
    if network.disable_gc or not versions.supports(network.cni_version, Verb.GC):
        return []
    attachments = [{"containerID": cid, "ifname": ifname} for cid, ifname in valid]
    keys = dict.fromkeys(versions.VALID_ATTACHMENTS, attachments)
    return [
        replace(step, stdin={**step.stdin, **keys}) for step in _steps(Verb.GC, network, None, path)
    ]


def version(plugin: str) -> Invocation:
    """Plan VERSION for one plugin; its environment is filled with ``dummy``, as libcni's is."""
    environment = _environment(Verb.VERSION, netns="dummy", ifname="dummy", path=["dummy"])
    stdin = {"cniVersion": versions.LATEST}
    return Invocation(verb=Verb.VERSION, plugin=plugin, environment=environment, stdin=stdin)


def describe(plugin: str, path: Sequence[str] = ()) -> Invocation:
    """Plan the question what a plugin is.

    Those written with podnet's SDK know the argument; every other plugin meets a VERSION.
    """
    return replace(version(plugin), arguments=("--describe",), path=tuple(path))


def _steps(
    verb: Verb, network: Network, attachment: Attachment | None, path: Sequence[str]
) -> Iterator[Invocation]:
    """Yield the chain's invocations in the order of the file."""
    environment = _environment(verb, path=path)
    capability_args: Mapping[str, object] = {}
    if attachment is not None:
        capability_args = attachment.capability_args
        environment |= {
            "CNI_CONTAINERID": attachment.container_id,
            "CNI_NETNS": attachment.netns,
            "CNI_IFNAME": attachment.ifname,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in attachment.args),
        }
    for position, plugin in enumerate(network.plugins):
        yield Invocation(
            verb=verb,
            plugin=plugin.type,
            network=network.name,
            position=position,
            chain=len(network.plugins),
            environment=environment,
            stdin=_stdin(network, plugin, capability_args),
            path=tuple(path),
        )


def _environment(
    verb: Verb, *, path: Sequence[str], netns: str = "", ifname: str = ""
) -> dict[str, str]:
    """All six parameters, always: an inherited one must never reach a plugin."""
    return {
        "CNI_COMMAND": str(verb),
        "CNI_CONTAINERID": "",
        "CNI_NETNS": netns,
        "CNI_IFNAME": ifname,
        "CNI_ARGS": "",
        "CNI_PATH": ":".join(path),
    }


def _stdin(
    network: Network, plugin: PluginConfig, capability_args: Mapping[str, object]
) -> dict[str, object]:
    """Derive the request from a plugin object (SPEC section 3, "Deriving request configuration").

    ``capabilities`` stays in, as libcni leaves it; what a file says under the runtime's own
    keys is dropped.
    """
    stdin: dict[str, object] = {"cniVersion": network.cni_version, "name": network.name}
    stdin |= {key: value for key, value in plugin.config.items() if not _is_ours(key)}
    wanted = {k: v for k, v in capability_args.items() if k in plugin.capabilities}
    if wanted:
        stdin["runtimeConfig"] = wanted
    return stdin


def _is_ours(key: str) -> bool:
    folded = key.casefold()
    return folded in _INJECTED or folded.startswith(RESERVED_PREFIX)
