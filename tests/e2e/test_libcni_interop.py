"""The cache is shared with the Go library libcni: each reads, checks and deletes what the other made.

The library stands behind a small program of our own, tests/peers/libcni.
"""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from podnet import confdir, garbage
from podnet.cache import Cache
from podnet.cni.config import Network
from podnet.cni.result import Result
from podnet.errors import DriftError, PodnetError
from podnet.execute import ProcessExecutor
from podnet.kernel import namespaces
from podnet.node import Node
from podnet.plan import Attachment
from podnet.runtime import Runtime

pytestmark = pytest.mark.root

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0")
ARGS = (("IgnoreUnknown", "1"), ("K8S_POD_NAME", "web"))
CAPABILITIES = {"mac": "02:00:00:00:00:77", "unused": {"a": [1, 2]}}


class World:
    """One container, two runtimes, one cache directory."""

    def __init__(self, node: Node, peer: Path, directory: Path) -> None:
        self.node = node
        self.cache = directory / "cache"
        self.peer = peer
        self.conflist = directory / "n.conflist"
        self.netns = "/run/netns/c1"
        node.run(namespaces.create, Path(self.netns))
        self.runtime = Runtime(
            executor=ProcessExecutor(path=("/usr/lib/cni",)), cache=Cache(self.cache)
        )

    def write(self, version: str, **more: object) -> None:
        """Write the configuration, with spaces that a faithful copy must keep."""
        bridge = {
            "type": "bridge",
            "bridge": "br-go",
            "isGateway": True,
            "capabilities": {"mac": True},
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.80.0.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0", "gw": "10.80.0.1"}],
            },
        }
        whole = {"cniVersion": version, "name": "n", "plugins": [bridge], **more}
        self.conflist.write_text(json.dumps(whole, indent=3) + "\n\n")

    @property
    def network(self) -> Network:
        """The configuration, as podnet reads it."""
        return confdir.load(self.conflist)

    def attachment(self, netns: str | None = None) -> Attachment:
        """The container's attachment."""
        return Attachment(
            container_id="c1",
            ifname="eth0",
            netns=self.netns if netns is None else netns,
            args=ARGS,
            capability_args=CAPABILITIES,
        )

    def go(self, verb: str, *, status: int = 0) -> Any:
        """Let the Go library do it; return what it says, an error as its text."""
        done = self.node.run(
            subprocess.run,
            [
                *(str(self.peer), verb, "--conflist", str(self.conflist)),
                *("--path", "/usr/lib/cni", "--id", "c1", "--netns", self.netns),
                *("--ifname", "eth0", "--cache-dir", str(self.cache)),
                *("--args", ";".join(f"{k}={v}" for k, v in ARGS)),
                *("--caps", json.dumps(CAPABILITIES)),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == status, done
        if status:
            return json.loads(done.stderr.splitlines()[-1])["error"]
        return json.loads(done.stdout) if done.stdout else None

    def add(self) -> Result:
        """Let podnet ADD."""
        return self.node.run(self.runtime.add, self.network, self.attachment())

    def leases(self) -> list[str]:
        """The addresses that are leased."""
        directory = Path("/var/lib/cni/networks/n")
        return self.node.run(lambda: sorted(p.name for p in directory.glob("10.*")))

    def has_eth0(self) -> bool:
        """Whether the container has its interface."""
        done = self.node.run(
            subprocess.run,
            ["nsenter", f"--net={self.netns}", "ip", "-j", "link", "show", "eth0"],
            capture_output=True,
            check=False,
        )
        return bool(done.returncode == 0)

    @property
    def entry(self) -> Path:
        """The file in the cache."""
        return self.cache / "results" / "n-c1-eth0"


@pytest.fixture
def world(node, peer, tmp_path, debian_plugins):
    """One container, two runtimes, one cache directory."""
    return World(node, peer, tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
def test_libcni_reads_every_field_of_what_podnet_cached(world, version):
    world.write(version)
    result = world.add()

    cached = world.go("cached")

    assert base64.b64decode(cached["config"]) == world.conflist.read_bytes()
    assert cached["cniArgs"] == [list(pair) for pair in ARGS]
    assert cached["capabilityArgs"] == CAPABILITIES
    assert Result.from_wire(cached["result"]) == result
    assert cached["result"]["cniVersion"] == version


@pytest.mark.parametrize("version", VERSIONS)
def test_podnet_reads_every_field_of_what_libcni_cached(world, version):
    world.write(version)
    result = world.go("add")

    entry = world.runtime.cache.load("n", world.attachment())

    assert entry.network_name == "n"
    # Debian's libcni is older than 1.2.0, which began to cache the namespace.
    assert entry.attachment in (world.attachment(), world.attachment(netns=""))
    assert entry.config == world.conflist.read_bytes()
    assert entry.result == Result.from_wire(result)
    assert entry.network == world.network
    assert not entry.by_podnet


def test_both_write_the_same_file_but_for_podnets_own_key_and_what_is_random(world):
    world.write("1.0.0")
    world.add()
    ours = json.loads(world.entry.read_text())
    mode = world.entry.stat().st_mode
    world.node.run(world.runtime.delete, "n", world.attachment())
    world.go("add")
    theirs = json.loads(world.entry.read_text())

    assert world.entry.stat().st_mode == mode
    assert set(ours) - set(theirs) <= {"podnet", "netns"}
    assert set(theirs) <= set(ours)
    for key in set(theirs) - {"result"}:
        assert ours[key] == theirs[key], key
    for seen in (ours, theirs):
        for interface in seen["result"]["interfaces"]:
            interface["mac"] = interface["name"] = "random"
        seen["result"]["ips"][0].pop("address")
        seen["result"].setdefault("dns", {})  # Go writes an empty one only before 1.0.0
    assert ours["result"] == theirs["result"]


@pytest.mark.parametrize("version", VERSIONS)
def test_libcni_deletes_what_podnet_added(world, version):
    world.write(version)
    world.add()
    assert world.has_eth0()

    world.go("del")

    assert not world.entry.exists()
    assert world.leases() == []
    assert not world.has_eth0()


@pytest.mark.parametrize("version", VERSIONS)
def test_podnet_deletes_what_libcni_added(world, version):
    world.write(version)
    world.go("add")
    assert world.has_eth0()

    notes = world.node.run(world.runtime.delete, "n", world.attachment())

    assert notes == []
    assert not world.entry.exists()
    assert world.leases() == []
    assert not world.has_eth0()


def test_podnet_deletes_with_the_cached_configuration_what_libcni_added(world):
    world.write("1.0.0")
    world.go("add")
    world.conflist.unlink()

    world.node.run(world.runtime.delete, "n", world.attachment())

    assert world.leases() == []
    assert not world.has_eth0()


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
def test_each_checks_what_the_other_added(world, version):
    world.write(version)
    world.add()
    world.go("check")
    world.node.run(world.runtime.delete, "n", world.attachment())
    world.go("add")

    world.node.run(world.runtime.check, "n", world.attachment())


def test_each_finds_a_difference_in_what_the_other_added(world):
    world.write("1.0.0")
    flush = ["nsenter", f"--net={world.netns}", "ip", "addr", "flush", "dev", "eth0"]
    world.add()
    world.node.run(subprocess.run, flush, check=True)
    assert "eth0" in world.go("check", status=1)
    world.go("del")
    world.go("add")
    world.node.run(subprocess.run, flush, check=True)

    with pytest.raises(DriftError, match="eth0"):
        world.node.run(world.runtime.check, "n", world.attachment())


@pytest.mark.parametrize("first", ["podnet", "libcni"])
def test_a_second_add_of_one_attachment_is_refused_whoever_made_the_first(world, first):
    world.write("1.0.0")
    if first == "podnet":
        world.add()
    else:
        world.go("add")
    before = world.entry.read_bytes()

    with pytest.raises(PodnetError, match="already has eth0 on network n"):
        world.add()

    assert world.entry.read_bytes() == before
    assert len(world.leases()) == 1


def test_a_check_that_a_file_forbids_is_passed_by_both(world):
    world.write("1.0.0", disableCheck=True)
    world.add()
    world.node.run(
        subprocess.run,
        ["nsenter", f"--net={world.netns}", "ip", "addr", "flush", "dev", "eth0"],
        check=True,
    )

    world.go("check")
    world.node.run(world.runtime.check, "n", world.attachment())


def test_gc_spares_what_libcni_added_unless_it_is_asked(world):
    world.write("1.0.0")
    world.go("add")

    assert world.node.run(garbage.collect, world.runtime, world.network, []) == []
    assert world.has_eth0()
    world.node.run(lambda: garbage.collect(world.runtime, world.network, [], foreign=True))

    assert world.leases() == []
    assert not world.entry.exists()


def test_the_cli_shares_a_cache_with_libcni(world, podnet, tmp_path):
    world.write("1.0.0")
    options = ("--plugin-dir", "/usr/lib/cni", "--cache-dir", world.cache)
    container = ("--container-id", "c1", "--netns", world.netns)
    podnet(*options, "create", "web", "--network", world.conflist, *container)

    cached = world.go("cached")
    world.go("check")

    assert ["K8S_POD_NAME", "web"] in cached["cniArgs"]
    podnet(*options, "delete", "web")
    assert world.go("cached")["result"] is None
    assert world.leases() == []


@pytest.mark.parametrize("content", ["", "{", '{"kind": "nonsense"}', "[]"])
def test_an_entry_that_is_none_does_not_keep_podnet_from_deleting(world, content):
    world.write("1.0.0")
    world.go("add")
    world.entry.write_text(content)

    [note] = world.node.run(
        lambda: world.runtime.delete("n", world.attachment(), fallback=world.network)
    )

    assert str(world.entry) in note
    assert world.leases() == []
    assert not world.has_eth0()
    assert not world.entry.exists()
