"""Fixtures: callers of plugins, what goes wrong when they call, and what is recorded of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from podnet import confdir, places
from podnet.cni.config import Network
from podnet.execute import ProcessExecutor
from podnet.node import Node
from podnet.pytest_plugin import trial
from podnet.pytest_plugin.settings import bin_dirs, lacking, marked
from podnet.pytest_plugin.watched import WatchedCaller
from podnet.rig import caller, recording, shims
from podnet.rig.caller import Caller
from podnet.rig.faults import Fault
from podnet.rig.recording import Recorded


@pytest.fixture
def cni_version() -> str:
    """The version of the spec that callers ask in, "" for the network's own; see podnet_versions."""
    return ""


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


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    """Record every call of a plugin, those that plugins make of each other, too."""
    return Recorder(tmp_path / "recording.jsonl")


@dataclass(slots=True)
class Faults:
    """Lets things go wrong; `podnet faults` and docs/faults.md name them.

    Attributes:
        wanted: What goes wrong when plugins are called.
        record: The file that calls are written to, if any.
        directory: Where the shims are, that do it.
        path: Where the plugins are.
    """

    directory: Path
    path: tuple[str, ...]
    record: Path | None = None
    wanted: tuple[Fault, ...] = ()

    def __call__(self, *faults: str) -> None:
        """Let these go wrong from now on, and nothing else: none at all is "nothing".

        Raises:
            UsageError: There is no such fault, or no such plugin.
        """
        self.wanted = tuple(map(Fault.parse, faults))
        self.arm()

    def arm(self) -> tuple[str, ...]:
        """Put shims in front of all plugins that are there now; return the path to search."""
        task = shims.Task(record=self.record, faults=self.wanted, redact=())
        shims.require_plugins(self.path, task)
        shims.mirror(self.directory, self.path, task)
        return (str(self.directory),)


@pytest.fixture
def podnet_faults(request: pytest.FixtureRequest, tmp_path: Path) -> Faults:
    """Let things go wrong, like `podnet_faults("bridge:ADD:kill-after")`; see the marker podnet_fault."""
    record = (
        request.getfixturevalue("recorder").path if "recorder" in request.fixturenames else None
    )
    wanted = tuple(Fault.parse(text) for text in marked(request.node, "podnet_fault"))
    return Faults(tmp_path / "shims", _plugin_path(request), record, wanted)


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
            network: A plugin's type, with *config*; a network's name in --cni-conf-dir; the path
                of a conflist; a conflist as a mapping; or a Network.
            config: The plugin's keys.
            node: Where; default: the test's Node.

        Raises:
            UsageError: There is no such network.
        """
        found = self._network(network, config)
        make = WatchedCaller if self._request.config.getoption("podnet_explain") else Caller
        executor = ProcessExecutor(path=self._path(), environment=caller.without_cni())
        made = make(node=node or self.node, network=found, executor=executor)
        trial.of(self._request.node).callers.append(made)
        return self._at_version(made) if self.version else made

    def _path(self) -> tuple[str, ...]:
        """Return where plugins are: behind shims, where something is to go wrong or be recorded."""
        names = self._request.fixturenames
        shimmed = {"podnet_faults", "recorder"} & set(names)
        if shimmed or marked(self._request.node, "podnet_fault"):
            armed: Faults = self._request.getfixturevalue("podnet_faults")
            return armed.arm()
        return _plugin_path(self._request)

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
            return confdir.scan(Path(directory)).named(network).network
        return caller.of_plugin(network, config or {})

    def _at_version(self, made: Caller) -> Caller:
        for plugin in made.network.plugins:
            spoken = made.version(plugin.type).versions.supported
            if self.version not in spoken:
                lacking(self._request.config, f"{plugin.type} does not speak {self.version}")
        made.outcomes.clear()
        return made.at_version(self.version)


@pytest.fixture
def cni(request: pytest.FixtureRequest, podnet_node: Node, cni_version: str) -> Callers:
    """Make callers, like `cni("bridge", {"ipam": …})`, `cni(Path("my.conflist"))`."""
    return Callers(podnet_node, cni_version, request)


def _plugin_path(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return where plugins are: a test's stubs, then what options say, then podnet's own."""
    first = []
    if "stub_plugin" in request.fixturenames:
        first = [str(request.getfixturevalue("stub_plugin").directory)]
    return tuple(dict.fromkeys((*first, *bin_dirs(request.config), *places.embedded_plugins())))
