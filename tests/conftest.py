"""What every test may ask for: a Node of its own, and places below a temporary directory."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from podnet import places
from podnet.node import Node
from podnet.places import Places

DEBIAN_PLUGINS = Path("/usr/lib/cni")


@pytest.fixture
def node() -> Iterator[Node]:
    """A Node in memory, gone after the test; everything that touches a kernel happens inside."""
    if os.geteuid() != 0:
        pytest.skip("no root: a Node needs CAP_SYS_ADMIN")
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
