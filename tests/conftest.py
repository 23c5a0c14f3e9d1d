"""What every test may ask for: a Node of its own, and places below a temporary directory."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from podnet import places, rootless
from podnet.errors import MissingError
from podnet.node import Node
from podnet.places import Places

DEBIAN_PLUGINS = Path("/usr/lib/cni")
pytest_plugins = ["pytester"]  # for tests of the pytest plugin; pytest wants it here


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the chaos lasts, and which one it is."""
    parser.addoption("--chaos", type=int, default=8, metavar="KILLS", help="how often to kill")
    parser.addoption("--chaos-seed", type=int, metavar="SEED", help="the same kills once more")


def pytest_configure() -> None:
    """Without root the tests run in a user namespace, as long as there is one thread to enter it.

    The workers of xdist are born there.
    """
    with suppress(MissingError):  # then what needs a Node is skipped
        rootless.become_root()


@pytest.fixture(scope="session", autouse=True)
def _interrupts_interrupt() -> None:
    """Who runs the suite in the background ignores SIGINT, and every child would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _the_machine_stays_as_it_was() -> Iterator[None]:
    """No test touches the machine's own network: what it does, it does in a Node."""
    before = _machine()
    yield
    assert _machine() == before


def _machine() -> dict[str, list[str]]:
    """Return the machine's links, named network namespaces and mounts of podnet's."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return {
        "links": sorted(path.name for path in Path("/sys/class/net").glob("*")),
        "namespaces": sorted(path.name for path in Path("/run/netns").glob("*")),
        "mounts": sorted(line.split()[4] for line in mounts if " podnet " in line),
    }


@pytest.fixture
def node() -> Iterator[Node]:
    """A Node in memory, gone after the test; everything that touches a kernel happens inside."""
    if os.geteuid() != 0:
        pytest.skip("neither root nor a user namespace: a Node is made of namespaces")
    with Node.in_memory("test") as made:
        yield made


@pytest.fixture
def elsewhere(tmp_path: Path) -> Places:
    """Places below the test's own directory."""
    environment = {"PODNET_STATE": str(tmp_path / "state"), "PODNET_RUN": str(tmp_path / "run")}
    return places.resolve(environment, conf_dir=tmp_path / "net.d")


@pytest.fixture
def debian_plugins() -> str:
    """The directory of the reference plugins."""
    if not (DEBIAN_PLUGINS / "bridge").exists():
        pytest.skip(
            "the reference plugins are missing: apt-get install containernetworking-plugins"
        )
    return str(DEBIAN_PLUGINS)
