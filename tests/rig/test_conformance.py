"""The suite is tested itself: each case is failed by a plugin with one flaw, and passed without."""

import shutil
from collections.abc import Iterator
from ipaddress import ip_interface
from pathlib import Path

import pytest
from tests.rig.flawed import host
from tests.rig.flawed.table import FLAWS

from podnet import places
from podnet.cni.versions import RELEASED
from podnet.kernel import namespaces
from podnet.node import Node
from podnet.plugin_host import PluginHost
from podnet.rig.conformance import kernel_view, suite, wellknown
from podnet.rig.conformance.case import Case
from podnet.rig.conformance.cases import all_cases
from podnet.rig.conformance.scene import Inapplicable, Scene, Violation
from podnet.rig.conformance.subject import Subject
from podnet.rig.conformance.suite import Finding, Verdict

CASES = {case.id: case for case in all_cases()}
EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginHost]:
    """Correct plugins and flawed ones, forked."""
    directory = tmp_path_factory.mktemp("flawed")
    host.files(directory)
    started = PluginHost(directory / "bin")
    yield started
    started.close()


@pytest.fixture(scope="session")
def embedded() -> Iterator[PluginHost]:
    """What they stand on, likewise."""
    started = PluginHost(Path(places.embedded_plugins()[0]))
    yield started
    started.close()


class Both(PluginHost):
    """Who forks the plugins under test, and who those that they stand on."""

    def __init__(self, first: PluginHost, second: PluginHost) -> None:
        super().__init__(first.directory)
        self._hosts = {first.directory: first, second.directory: second}

    def has(self, binary: Path) -> bool:
        """Tell whether one of them has it."""
        return binary.parent in self._hosts

    def start(self, plugin, environment, keep_open, deadline):
        """Ask the one that has it."""
        for one in self._hosts.values():
            if (one.directory / plugin).exists():
                return one.start(plugin, environment, keep_open, deadline)
        raise FileNotFoundError(plugin)


@pytest.fixture(scope="session")
def forked(plugins: PluginHost, embedded: PluginHost) -> PluginHost:
    return Both(plugins, embedded)


def tried(case: Case, plugin: str, kind: str, forked: PluginHost) -> Finding:
    """Run one case over one plugin, in the newest version that has it."""
    parameters = wellknown.of(kind)
    assert parameters is not None
    own = places.embedded_plugins()
    subject = Subject(
        name=plugin,
        plugin=plugin,
        parameters=parameters,
        path=(str(forked.directory), *own),
        base_path=own,
    )
    planned = list(suite.planned(subject, [case], RELEASED))
    return suite.run_one(planned[-1], forked)


def test_no_case_is_without_a_plugin_that_fails_it() -> None:
    assert FLAWS.keys() == CASES.keys()


@pytest.mark.root
@EVERY
def test_a_plugin_with_one_flaw_fails_it(case: Case, forked: PluginHost) -> None:
    kind, _ = FLAWS[case.id]
    found = tried(case, case.id, kind, forked)
    assert found.verdict is Verdict.FAILED, found.message
    assert found.message


@pytest.mark.root
@EVERY
def test_the_same_plugin_without_it_passes(case: Case, forked: PluginHost) -> None:
    kind, _ = FLAWS[case.id]
    found = tried(case, f"{host.CORRECT}{kind}", kind, forked)
    assert found.verdict is Verdict.PASSED, found.message


@pytest.mark.root
def test_what_happens_in_somebody_else_s_namespace_is_no_finding(
    node: Node, tmp_path: Path
) -> None:
    """A Node's mounts are a copy of the machine's, pinned namespaces among them."""
    foreign = tmp_path / "foreign"
    node.run(namespaces.create, foreign)
    scene = Scene(node)
    before = scene.picture()
    node.run(kernel_view.add_address, str(foreign), "lo", ip_interface("192.0.2.1/32"))
    scene.nothing_since(before, "somebody else")
    node.run(kernel_view.add_address, "", "lo", ip_interface("192.0.2.1/32"))
    with pytest.raises(Violation, match=r"an address leaves address 192\.0\.2\.1/32 dev lo"):
        scene.nothing_since(before, "an address")


@pytest.mark.root
@pytest.mark.parametrize("plugin", ["flannel", "dhcp"])
def test_a_plugin_that_needs_others_on_the_node_has_them(plugin: str, embedded: PluginHost) -> None:
    if plugin == "dhcp" and not shutil.which("dnsmasq"):
        pytest.skip("there is no dnsmasq: apt-get install dnsmasq-base")
    found = tried(CASES["add-twice-in-one-container"], plugin, plugin, embedded)
    assert found.verdict is Verdict.PASSED, found.message


@pytest.mark.root
def test_what_runs_in_the_background_ends_with_the_scene(node: Node) -> None:
    with Scene(node) as scene:
        scene.command("background: sh -c 'echo $$ >/run/it; exec sleep 60'")
        scene.command("wait: /run/it")
        pid = int(node.run(Path("/run/it").read_text))
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.root
def test_what_ends_in_the_background_is_not_waited_for(node: Node) -> None:
    with Scene(node) as scene:
        scene.command("background: sh -c 'echo no room >&2; exit 1'")
        with pytest.raises(Inapplicable, match="ended: no room"):
            scene.command("wait: /run/never")
