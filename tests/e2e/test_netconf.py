"""The example configurations: each lints clean, loads, and carries pods."""

import json
from pathlib import Path

import pytest

from podnet import confdir, places
from podnet.cni.config import Network

pytestmark = pytest.mark.root

EXAMPLES = Path(__file__).parent.parent.parent / "netconf.d"
FILES = sorted(EXAMPLES.glob("*.conflist"))
#: What an example needs before it can work: links for its pods to sit on.
UPLINKS = (
    "ip link add eth0 type veth peer name eth0-peer; ip link set eth0 up; ip link set eth0-peer up"
)


def _name(path: Path) -> str:
    return path.stem


@pytest.fixture
def equipped(podnet, debian_plugins):
    """The command line with Debian's plugins where podnet has none of its own."""
    podnet.environment["CNI_PATH"] = ""
    # After the embedded ones: an example of version 1.1.0 is not for Debian's.
    for directory in (*places.embedded_plugins(), debian_plugins):
        podnet.environment["CNI_PATH"] += f"{directory}:"
    return podnet


def _limits(network: Network) -> tuple[str, ...]:
    """Debian's bandwidth panics on CHECK where there is no limit."""
    declared = {name for plugin in network.plugins for name in plugin.capabilities}
    return ("--bandwidth", "ingress=100M,egress=100M") if "bandwidth" in declared else ()


def test_there_are_examples_and_all_are_lists():
    assert FILES
    assert {path.suffix for path in EXAMPLES.iterdir() if path.is_file()} == {".conflist"}


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_an_example_lints_clean(equipped, path):
    done = equipped("lint", path)

    assert done.stdout == ""


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_an_example_loads_and_its_network_is_its_files_name(path):
    network = confdir.load(path)

    assert network.plugins
    assert json.loads(path.read_text())["name"] == network.name
    assert path.stem.partition("-")[2] == network.name


def test_no_two_examples_share_a_network_a_bridge_or_a_subnet():
    texts = [path.read_text() for path in FILES]
    networks = [confdir.load(path) for path in FILES]
    bridges = [p.config["bridge"] for n in networks for p in n.plugins if "bridge" in p.config]
    subnets = [
        line.partition('"subnet": "')[2].partition('"')[0]
        for text in texts
        for line in text.splitlines()
        if '"subnet"' in line
    ]

    for names in ([n.name for n in networks], bridges, subnets):
        assert len(set(names)) == len(names)


def test_the_default_example_needs_nothing_installed(podnet, snapshot, settled):
    podnet("create", "web", "db")
    podnet("delete", "--all")
    before = snapshot()

    podnet("create", "web", "db")
    podnet("check")
    podnet("probe", "web", "db", "--tcp", "80")
    podnet("probe", "web", "db", "--tcp", "80", "-6")
    podnet("probe", "@node", "web", "--icmp")
    podnet("delete", "--all")

    assert settled(before) == before


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_an_example_carries_pods_that_reach_each_other_and_leaves_nothing(
    equipped, sh, snapshot, settled, path
):
    sh(UPLINKS)
    network = confdir.load(path)
    create = ("--network", network.name, *_limits(network))
    equipped("create", "web", "db", *create, "--jobs", "1")
    equipped("delete", "--all", "--jobs", "1")
    before = snapshot()

    equipped("create", "web", "db", *create)
    equipped("check")
    if any(item["addresses"] for item in equipped.json("list")["items"]):
        equipped("ping", "web", "db", "-c", "1")
    equipped("delete", "--all")
    equipped("gc")

    assert settled(before) == before


def test_status_of_the_examples_is_ready(equipped):
    items = equipped.json("status")["items"]

    assert [item["name"] for item in items] == [confdir.load(path).name for path in FILES]
    assert all(item["ready"] for item in items), items
