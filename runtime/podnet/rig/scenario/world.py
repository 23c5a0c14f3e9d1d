"""The Node that a scenario happens on: its plugins, and what goes wrong on it.

A Node of its own whose disk is a temporary directory, so that it can start again.  All
plugins are searched in one directory, of shims where faults are.  What is seen of it is
:mod:`podnet.rig.scenario.observed`'s.
"""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from podnet import places
from podnet.cni.config import Network
from podnet.errors import MissingError, UsageError
from podnet.kernel import namespaces
from podnet.node import Node
from podnet.places import Places
from podnet.plan import Invocation
from podnet.pods import Pods
from podnet.rig import disasters, picture, shims
from podnet.rig.caller import NAMESPACES, without_cni
from podnet.rig.disasters import Undo
from podnet.rig.faults import Fault, Place
from podnet.rig.picture import Picture
from podnet.rig.scenario.driver import Driver, Heard, Listener
from podnet.rig.scenario.driver_libcni import LibcniDriver
from podnet.rig.scenario.driver_podnet import PodnetDriver
from podnet.rig.scenario.reading import Scenario
from podnet.rig.shims import Task
from podnet.testing import stub_plugin

_NODE = "scenario"


@dataclass(slots=True, kw_only=True)
class World:
    """A Node, and whoever drives its plugins.

    Attributes:
        scenario: What happens.
        directory: Where its disk and its plugins are.
        node: The Node.
        places: Where everything is on it.
        driver: The runtime.
        heard: Every invocation, in order.
        at_work: Those that have not ended.
        start: What the Node held at first.
        rebooted: The step of the last reboot, 0 for none.
        record: Where calls of plugins are written down.
    """

    scenario: Scenario
    directory: Path
    node: Node
    places: Places
    driver: Driver
    heard: list[Heard]
    at_work: list[Invocation]
    start: Picture
    rebooted: int = 0
    record: Path | None = None
    _faults: dict[str, tuple[Fault, Undo]] = field(default_factory=dict)

    @classmethod
    def open(cls, scenario: Scenario, directory: Path, record: Path | None = None) -> "World":
        """Make the world of a scenario below *directory*.

        Args:
            scenario: What will happen.
            directory: Where its disk and its plugins go.
            record: Where calls of plugins are written down.

        Raises:
            MissingError: A plugin is not there, or there is no privilege.
        """
        mirror = directory / "plugins"
        _write_stubs(scenario, directory)
        shims.mirror(mirror, _search(scenario, directory), Task(record=record))
        absent = sorted(
            {t for n in scenario.networks for t in types_of(n)} - {p.name for p in mirror.iterdir()}
        )
        if absent:
            raise MissingError(
                f"{scenario.path}: there is no plugin {', '.join(absent)} in "
                f"{' '.join(scenario.plugin_dirs)}",
                "plugin-dirs names other directories",
            )
        node = Node.with_disk(_NODE, directory / "disk")
        found = replace(places.resolve({}, plugin_dirs=[str(mirror)]), plugin_path=(str(mirror),))
        listener = Listener(
            path=found.plugin_path,
            timeout=scenario.timeout,
            environment=without_cni(),
            heard=[],
            at_work=[],
        )
        with ExitStack() as undo:
            undo.callback(node.halt)
            node.run(_make_directory_of_namespaces)
            world = cls(
                scenario=scenario,
                directory=directory,
                node=node,
                places=found,
                driver=_driver(scenario, node, found, listener),
                heard=listener.heard,
                at_work=listener.at_work,
                start=picture.take(node),
                record=record,
            )
            undo.pop_all()
        return world

    def close(self) -> None:
        """End everything that runs on the Node, and the Node."""
        for name in list(self._faults):
            with suppress(OSError):
                self._undo(name)
        self.node.halt()

    @property
    def faults(self) -> list[Fault]:
        """What goes wrong now."""
        return [fault for fault, _ in self._faults.values()]

    def let_fail(self, fault: Fault) -> None:
        """Let something go wrong, from now on.

        Raises:
            UsageError: It goes wrong already, or there is no such plugin.
        """
        if str(fault) in self._faults:
            raise UsageError(f"the fault {fault} is there already")
        undo: Undo = lambda: None  # noqa: E731
        if fault.place is Place.NODE:
            undo = self.node.run(disasters.befall, fault, self.places, self.scenario.networks)
        else:
            shims.require_plugins(_search(self.scenario, self.directory), Task(faults=(fault,)))
        self._faults[str(fault)] = fault, undo
        self._shim()

    def heal(self, fault: Fault | None) -> None:
        """Undo a fault, or all of them.

        Raises:
            UsageError: There is no such fault.
        """
        if fault is not None and str(fault) not in self._faults:
            there = ", ".join(self._faults) or "none"
            raise UsageError(f"there is no fault {fault} to heal", f"there are: {there}")
        for name in [str(fault)] if fault else list(self._faults):
            self._undo(name)
        self._shim()

    def _undo(self, name: str) -> None:
        _, undo = self._faults.pop(name)
        self.node.run(undo)

    def _shim(self) -> None:
        faults = tuple(fault for fault, _ in self._faults.values() if fault.plugin)
        search = _search(self.scenario, self.directory)
        task = Task(record=self.record, faults=faults)
        shims.mirror(self.directory / "plugins", search, task)

    def reboot(self, step: int) -> None:
        """Start the Node again: its kernel state and /run are gone, its disk is as it was."""
        for name, (fault, _) in list(self._faults.items()):
            if fault.place is Place.NODE:  # nothing holds over a reboot
                self._undo(name)
        self.node.halt()
        self.node = Node.with_disk(_NODE, self.directory / "disk")
        self.driver.node = self.node
        self.rebooted = step

    def network(self, name: str) -> Network:
        """Return a network by name; the first one for "".

        Raises:
            UsageError: There is none.
        """
        for network in self.scenario.networks:
            if name in {"", network.name}:
                return network
        raise UsageError(f"{self.scenario.path}: there are no networks")


def _search(scenario: Scenario, directory: Path) -> tuple[str, ...]:
    own = {"podnet": places.embedded_plugins()}
    listed = (found for one in scenario.plugin_dirs for found in own.get(one, (one,)))
    return (str(directory / "stubs"), *listed)


def _write_stubs(scenario: Scenario, directory: Path) -> None:
    for name, stub in scenario.stubs.items():
        stub_plugin(
            directory / "stubs",
            name,
            stdout=stub.text("stdout"),
            stderr=stub.text("stderr"),
            status=stub.number("status") or 0,
            script=stub.text("script"),
        )


def _driver(scenario: Scenario, node: Node, found: Places, listener: Listener) -> Driver:
    if scenario.runtime == "libcni":
        return LibcniDriver(node=node, executor=listener, networks=scenario.networks)
    pods = Pods(
        places=found,
        node=_NODE,
        timeout=scenario.timeout,
        make_executor=lambda _, keep_open: replace(listener, keep_open=keep_open),
    )
    return PodnetDriver(node=node, pods=pods, networks=scenario.networks)


def types_of(network: Network) -> Iterator[str]:
    """Yield the plugins of a network, those for addresses included."""
    for plugin in network.plugins:
        yield plugin.type
        if plugin.ipam_type:
            yield plugin.ipam_type


def _make_directory_of_namespaces() -> None:
    """The first namespace makes its directory a mount; it is nobody's leak."""
    namespaces.create(NAMESPACES / "first")
    namespaces.delete(NAMESPACES / "first")
