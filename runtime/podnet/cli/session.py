"""What every command shares: the global options, and what follows from them."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

from podnet import confdir, places
from podnet.cli import failures
from podnet.cni.config import Network
from podnet.confdir import Directory
from podnet.description import Catalogue
from podnet.errors import UsageError
from podnet.execute import Executor, ProcessExecutor
from podnet.node import current
from podnet.nodes import Nodes
from podnet.places import Places
from podnet.plugin_host import PluginHost
from podnet.pods import Pods, processes
from podnet.rig import disasters, shim_executor, shims
from podnet.rig.faults import Fault, Place, at
from podnet.rig.shims import Task


@dataclass(kw_only=True)
class Session:
    """One run of the command line.

    Attributes:
        places: Where everything is.
        timeout: Seconds that one plugin may take.
        quiet: Say nothing that is not asked for.
        strip_capabilities: See :class:`podnet.runtime.Runtime`.
        plugin_host: Start podnet's own plugins from a preloaded process.
        record: Where calls of plugins are written down.
        faults: What goes wrong.
        in_node: We are in a named Node, not on the machine itself.
        diff: Write down what each invocation changes, and show it.
    """

    places: Places
    timeout: float
    quiet: bool = False
    strip_capabilities: bool = False
    plugin_host: bool = True
    record: Path | None = None
    faults: tuple[Fault, ...] = ()
    _undo: ExitStack = field(default_factory=ExitStack)
    in_node: bool = False
    diff: bool = False

    @cached_property
    def pods(self) -> Pods:
        """The pods of the Node that we are in."""
        pods = Pods(
            places=self.places,
            node=current(),
            timeout=self.timeout,
            say=self.note,
            strip_capabilities=self.strip_capabilities,
            plugin_host=self.plugin_host_to_use(),
            make_executor=self._watched if self.diff else processes,
        )
        self._let_node_fail()
        return self.behind_shims(pods)

    def at_a_time(self, jobs: int) -> int:
        """Return how many pods are worked on at a time: one, where changes are to be told apart."""
        return 1 if self.diff else jobs

    def _watched(self, pods: Pods, keep_open: tuple[int, ...]) -> Executor:
        from podnet.rig import picture, telling, watching  # noqa: PLC0415  only this needs them

        own = (str(self.places.state), str(self.places.run))
        frame = picture.WHOLE if self.in_node else picture.SHARED
        pins = (*frame.pins, str(self.places.namespaces))
        seen = replace(frame, ignored=(*frame.ignored, *own), pins=pins)
        return watching.Watching(
            executor=processes(pods, keep_open),
            observe=telling.observed,
            look=partial(picture.take_here, seen),
        )

    def _let_node_fail(self) -> None:
        """Do the faults of the Node, until the command is over."""
        for fault in at(self.faults, Place.NODE):
            if not self.in_node:
                raise UsageError(
                    f"the fault {fault} would be one of this machine", "--node NAME, or a scenario"
                )
            self._undo.callback(disasters.befall(fault, self.places, self.networks()))

    def behind_shims(self, pods: Pods) -> Pods:
        """Let plugins be recorded, and things go wrong, where that is asked for.

        Until the command is over.
        """
        if not self.record and not self.faults:
            return pods
        record = shims.require_record(self.record) if self.record else None
        directory = self._undo.enter_context(TemporaryDirectory(prefix="podnet-shims-"))
        task = Task(record=record, faults=tuple(f for f in self.faults if f.plugin))
        return shim_executor.behind(pods, Path(directory), task)

    def takes_no(self, *options: str) -> None:
        """Refuse options of podnet's that a command would pass over: what is asked for must be.

        Args:
            options: Of --record, --fault and --diff.

        Raises:
            UsageError: One of them is given.
        """
        given = {"--record": self.record, "--fault": self.faults, "--diff": self.diff}
        for option in options:
            if given[option]:
                raise UsageError(f"this command does nothing with {option}", "leave it out")

    def close(self) -> None:
        """Undo what was for this command only."""
        self._undo.close()

    @cached_property
    def catalogue(self) -> Catalogue:
        """What the plugins of the search path say of themselves."""
        executor = ProcessExecutor(path=self.places.plugin_path, timeout=self.timeout)
        return Catalogue(executor, places.embedded_plugins())

    def plugin_host_to_use(self) -> PluginHost | None:
        """Return who starts podnet's own plugins, unless they are to be plain executables."""
        embedded = places.embedded_plugins()
        return PluginHost(Path(embedded[0])) if self.plugin_host and embedded else None

    @cached_property
    def configurations(self) -> Directory:
        """The configuration directory, read."""
        found = confdir.scan(self.places.conf_dir)
        for bad in found.bad:
            self.note(f"ignored {bad.path}: {bad.reason}")
        return found

    def network(self, name: str | None) -> Network:
        """Return a network by name, by the path of its file, or the first one."""
        if name is None:
            found = self.configurations.default()
            self.note(f"network {found.network.name}: {found.path} ({self.places.conf_reason})")
            return found.network
        if "/" in name:
            return confdir.load(Path(name))
        return self.configurations.named(name).network

    def networks(self) -> list[Network]:
        """Return all usable networks."""
        return [found.network for found in self.configurations.found]

    def note(self, text: str) -> None:
        """Say something on stderr; stdout is for data."""
        if not self.quiet:
            failures.note(text)


def nodes() -> Nodes:
    """Return the named Nodes of this machine."""
    found = places.resolve(os.environ)
    return Nodes(found.run / "nodes", found.state / "nodes")


def cnitool_args(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of CNI_ARGS, as cnitool takes them from its environment.

    Raises:
        UsageError: A pair that is none.
    """
    text = environment.get("CNI_ARGS", "")
    for pair in filter(None, text.split(";")):
        key, found, value = pair.partition("=")
        if not (key and found and value) or "=" in value:
            raise UsageError(f'invalid CNI_ARGS pair "{pair}"', "CNI_ARGS reads like K=V;K2=V2")
        yield key, value


def cnitool_capabilities(environment: Mapping[str, str]) -> dict[str, object]:
    """Return CAP_ARGS, cnitool's capability arguments.

    Raises:
        UsageError: It is no JSON object.
    """
    text = environment.get("CAP_ARGS")
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise UsageError(f"CAP_ARGS is not JSON: {exc}") from None
    if not isinstance(value, dict):
        raise UsageError(f"CAP_ARGS must be a JSON object, not {text}")
    return value
