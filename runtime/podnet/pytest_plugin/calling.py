"""Callers of plugins, what goes wrong when they call, and what is recorded of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from podnet import confdir, places
from podnet.cni.config import Network
from podnet.execute import ProcessExecutor
from podnet.node import Node
from podnet.pytest_plugin import trial
from podnet.pytest_plugin.settings import bin_dirs, lacking, marked
from podnet.pytest_plugin.watched import WatchedCaller
from podnet.rig import caller, disasters, recording, shims
from podnet.rig.caller import Caller
from podnet.rig.disasters import Undo
from podnet.rig.faults import Fault, Place, at
from podnet.rig.recording import Recorded


@dataclass(slots=True)
class Recorder:
    """What plugins were called with, delegates included; docs/recording.md says what is in it.

    Attributes:
        path: The recording, for `podnet replay`.
    """

    path: Path

    def calls(self) -> tuple[Recorded, ...]:
        """Return the calls so far, in the order they began."""
        return recording.read(self.path).calls if self.path.exists() else ()


@dataclass(slots=True)
class Faults:
    """Lets things go wrong; docs/recording.md and docs/scenarios.md name them.

    Attributes:
        node: Where.
        directory: Where the shims go, that do what happens to plugins.
        path: Where the plugins are.
        record: The file that calls are written to, if any.
        wanted: What goes wrong.
        networks: Those of the callers so far.
    """

    node: Node
    directory: Path
    path: tuple[str, ...]
    record: Path | None = None
    wanted: tuple[Fault, ...] = ()
    networks: list[Network] = field(default_factory=list)
    _undone: bool = True
    _undo: list[Undo] = field(default_factory=list)

    def __call__(self, *faults: str) -> None:
        """Let these go wrong from now on, and nothing else: none at all is "nothing".

        Raises:
            UsageError: There is no such fault, or no such plugin.
        """
        chosen = tuple(map(Fault.parse, faults))
        self.mend()
        self.wanted = chosen
        self.arm()

    def arm(self) -> tuple[str, ...]:
        """Let happen what is wanted, if it did not yet; return the path to search for plugins."""
        task = shims.Task(record=self.record, faults=self.wanted)
        shims.require_plugins(self.path, task)
        shims.mirror(self.directory, self.path, task)
        if self._undone:
            self._undone = False
            for fault in at(self.wanted, Place.NODE):
                self._befall(fault)
        return (str(self.directory),)

    def _befall(self, fault: Fault) -> None:
        if fault.kind == "reboot":
            self._undo_all()  # nothing holds over a reboot
            self.node.restart()
        else:
            where = places.resolve({})
            self._undo.append(self.node.run(disasters.befall, fault, where, self.networks))

    def mend(self) -> None:
        """Undo what happened to the Node."""
        self._undo_all()
        self._undone = True

    def _undo_all(self) -> None:
        while self._undo:
            self.node.run(self._undo.pop())


@dataclass(slots=True)
class Callers:
    """Makes callers: of a plugin, of a conflist, of a network.

    Attributes:
        node: Where they call, unless told otherwise.
        version: The version they ask in, "" for the network's own.
    """

    node: Node
    version: str
    _request: pytest.FixtureRequest

    def __call__(
        self,
        network: str | Path | Mapping[str, object] | Network,
        config: Mapping[str, object] | None = None,
        *,
        node: Node | None = None,
    ) -> Caller:
        """Return a caller.

        Args:
            network: A network's name in --cni-conf-dir, without *config*; a plugin's type; the path
                of a conflist; a conflist as a mapping; or a Network.
            config: The plugin's keys.
            node: Where; default: the test's Node.

        Raises:
            UsageError: There is no such network.
        """
        found = self._network(network, config)
        where = node or self.node
        make = WatchedCaller if self._request.config.getoption("podnet_explain") else Caller
        executor = ProcessExecutor(path=self._path(found), environment=caller.without_cni())
        made = make(node=where, network=found, executor=executor)
        trial.of(self._request.node).callers.append(made)
        return self._at_version(made) if self.version else made

    def _path(self, network: Network) -> tuple[str, ...]:
        """Return where plugins are: behind shims, where something is to go wrong or be recorded."""
        names = self._request.fixturenames
        shimmed = {"podnet_faults", "recorder"} & set(names)
        if shimmed or marked(self._request.node, "podnet_fault"):
            faults: Faults = self._request.getfixturevalue("podnet_faults")
            faults.networks.append(network)
            return faults.arm()
        return plugin_path(self._request)

    def _network(
        self,
        network: str | Path | Mapping[str, object] | Network,
        config: Mapping[str, object] | None,
    ) -> Network:
        if isinstance(network, Network):
            return network
        if isinstance(network, Mapping):
            return Network.from_wire(network)
        if isinstance(network, Path) or "/" in network:
            return confdir.load(Path(network))
        directory = self._request.config.getoption("cni_conf_dir")
        if directory and config is None:
            known = {one.network.name: one.network for one in confdir.scan(Path(directory)).found}
            if network in known:
                return known[network]
        return caller.of_plugin(network, config or {})

    def _at_version(self, made: Caller) -> Caller:
        for plugin in made.network.plugins:
            spoken = made.version(plugin.type).versions.supported
            if self.version not in spoken:
                lacking(self._request.config, f"{plugin.type} does not speak {self.version}")
        made.outcomes.clear()
        return made.at_version(self.version)


def plugin_path(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return where plugins are: a test's stubs, then what options say, then podnet's own."""
    first = []
    if "stub_plugin" in request.fixturenames:
        first = [str(request.getfixturevalue("stub_plugin").directory)]
    return tuple(dict.fromkeys((*first, *bin_dirs(request.config), *places.embedded_plugins())))
