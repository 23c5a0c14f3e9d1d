"""Runtimes that know nothing of podnet run chains of its plugins: containerd, and the Go library."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import podnet_plugins
from podnet.kernel import namespaces
from podnet.node import Node

pytestmark = pytest.mark.root

OURS = Path(podnet_plugins.__file__).parent / "bin"
CHAIN = {
    "cniVersion": "1.0.0",
    "name": "chain",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "br0",
            "isGateway": True,
            "ipMasq": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.9.0.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "firewall"},
        {
            "type": "bandwidth",
            "ingressRate": 100_000_000,
            "ingressBurst": 10_000_000,
            "egressRate": 100_000_000,
            "egressBurst": 10_000_000,
        },
        {"type": "tuning", "mtu": 1400, "sysctl": {"net.core.somaxconn": "512"}},
    ],
}
PORTS = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
# ctr's own directories, and a root file system made of the machine's programs.  The Node's /sys
# goes, since it hides the control groups that runc needs.
PREPARE = """
umount --lazy /sys
mount -t tmpfs none /opt
mkdir -p /opt/cni/bin /etc/cni/net.d /run/root/usr /run/root/proc /run/root/sys /run/root/dev
mount --bind {plugins} /opt/cni/bin
mount --bind /usr /run/root/usr
for link in bin sbin lib lib64; do ln -s usr/$link /run/root/$link; done
"""
DAEMON = """\
version = 2
root = "/run/containerd-test/root"
state = "/run/containerd-test/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "/run/containerd-test/socket"
"""
CTR = ["ctr", "--address", "/run/containerd-test/socket"]
# Says what it has, and stays until somebody writes to it.
COMMAND = "ip -j addr show eth0; sysctl -n net.core.somaxconn; read line"


def _sh(node: Node, script: str) -> str:
    done = node.run(
        subprocess.run, ["sh", "-ec", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def _left(node: Node) -> dict[str, list[str]]:
    """Return what an attachment leaves on the host while it is there."""
    links = {link["ifname"] for link in json.loads(_sh(node, "ip -j link"))}
    rules = _sh(node, "nft list ruleset; iptables-save")
    leases = _sh(node, "ls /var/lib/cni/networks/chain 2>/dev/null || true").split()
    return {
        "links": sorted(links - {"lo", "br0"}),
        "rules": sorted(line.strip() for line in rules.splitlines() if "10.9.0.2" in line),
        "leases": [name for name in leases if name.startswith("10.")],
    }


NOTHING: dict[str, list[str]] = {"links": [], "rules": [], "leases": []}


@contextmanager
def _containerd(node: Node) -> Iterator[None]:
    """A containerd inside *node*, of which nothing is on the machine."""
    _sh(node, PREPARE.format(plugins=OURS))
    config = Path("/run/containerd-test.toml")
    node.run(config.write_text, DAEMON)
    daemon = node.run(
        subprocess.Popen,
        ["containerd", "--config", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while node.run(subprocess.run, [*CTR, "version"], capture_output=True).returncode:
            assert time.monotonic() < deadline, "containerd does not answer"
            time.sleep(0.1)
        yield
    finally:
        daemon.terminate()
        daemon.wait(timeout=30)


@pytest.fixture
def runs_containers() -> None:
    """What containerd needs to run one."""
    for program in ("containerd", "ctr", "runc"):
        if shutil.which(program, path="/usr/bin:/usr/sbin") is None:
            pytest.skip(f"there is no {program}: apt-get install containerd runc")
    if Path("/proc/self/uid_map").read_text().split()[2] == "1":
        pytest.skip("runc makes a control group, and who is root in a user namespace alone may not")


@pytest.mark.usefixtures("runs_containers")
def test_containerd_attaches_a_container_to_a_chain_of_ours_and_detaches_it(node):
    with _containerd(node):
        conflist = Path("/etc/cni/net.d/10-chain.conflist")
        node.run(conflist.write_text, json.dumps(CHAIN))
        # Without a control group of its own: the machine's are not the Node's.
        run = [*CTR, "run", "--rm", "--cni", "--cgroup", "", "--rootfs", "/run/root", "c1"]
        container = node.run(
            subprocess.Popen,
            [*run, "/bin/sh", "-c", COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with container:
            said = container.stdout.readline()
            assert said, container.stderr.read()
            somaxconn = container.stdout.readline()
            during = _left(node)
            _, errors = container.communicate("\n", timeout=60)
        after = _left(node)

    [eth0] = json.loads(said)
    assert [a["local"] for a in eth0["addr_info"] if a["family"] == "inet"] == ["10.9.0.2"]
    assert (eth0["mtu"], somaxconn.strip()) == (1400, "512")
    assert during["leases"] == ["10.9.0.2"]
    assert len(during["links"]) == 2  # the host's end, and the ifb
    assert any("masquerade" in rule for rule in during["rules"])
    assert (container.returncode, errors) == (0, "")
    assert after == NOTHING


@pytest.fixture
def library(node, peer, tmp_path):
    """Run a verb of the chain, as the Go library does."""
    conflist = tmp_path / "chain.conflist"
    conflist.write_text(json.dumps(CHAIN))
    node.run(namespaces.create, Path("/run/netns/c1"))

    def call(verb: str) -> Any:
        command = [str(peer), verb, "--conflist", str(conflist), "--path", str(OURS)]
        command += ["--id", "c1", "--netns", "/run/netns/c1", "--cache-dir", str(tmp_path)]
        command += ["--caps", json.dumps({"portMappings": PORTS})]
        done = node.run(subprocess.run, command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "null")

    return call


def test_the_go_library_adds_checks_and_deletes_a_chain_of_ours(node, library):
    result = library("add")
    library("check")
    during = _left(node)
    library("del")
    library("del")

    assert [ip["address"] for ip in result["ips"]] == ["10.9.0.2/24"]
    assert any("dnat to 10.9.0.2:80" in rule for rule in during["rules"])
    assert _left(node) == NOTHING


def test_the_go_library_is_told_what_check_misses(node, library):
    library("add")
    _sh(node, "nft flush chain ip cni_hostport hostports")

    with pytest.raises(AssertionError, match="portmap: a rule is missing: hostports tcp dport"):
        library("check")


PLUGINS = ["bridge", "portmap", "firewall", "bandwidth", "tuning"]


@pytest.mark.usefixtures("runs_containers")
def test_what_containerd_asks_of_its_plugins_is_recorded_without_it_knowing(node, podnet):
    with _containerd(node):
        _sh(node, f"umount /opt/cni/bin; ln -s {OURS}/* /opt/cni/bin")
        conflist = Path("/etc/cni/net.d/10-chain.conflist")
        node.run(conflist.write_text, json.dumps(CHAIN))
        podnet("record", "install", "/opt/cni/bin", "--to", "/run/calls.jsonl")
        run = [*CTR, "run", "--rm", "--cni", "--cgroup", "", "--rootfs", "/run/root", "c1"]
        done = node.run(
            subprocess.run, [*run, "/bin/true"], capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stderr) == (0, "")
        recorded = podnet.json("record", "show", "/run/calls.jsonl")["items"]
        podnet("record", "uninstall", "/opt/cni/bin")
        assert _sh(node, "ls -A /opt/cni/bin").split() == sorted(p.name for p in OURS.iterdir())
        after = _left(node)
    again = podnet("--plugin-dir", OURS, "replay", "/run/calls.jsonl")

    asked = [(call["verb"], call["plugin"]) for call in recorded if not call["delegated"]]
    assert [plugin for verb, plugin in asked if verb == "ADD"] == PLUGINS
    assert [plugin for verb, plugin in asked if verb == "DEL"] == PLUGINS[::-1]
    assert {c["plugin"] for c in recorded if c["delegated"]} == {"host-local"}
    assert {call["exitStatus"] for call in recorded} == {0}
    assert after == NOTHING
    assert f"{len(asked)} of {len(asked)} calls as they were" in again.stderr


def test_what_the_go_library_asks_is_recorded_where_its_path_leads_to_shims(
    node, podnet, peer, tmp_path
):
    conflist = tmp_path / "chain.conflist"
    conflist.write_text(json.dumps(CHAIN))
    node.run(namespaces.create, Path("/run/netns/c1"))
    script = (
        f'for verb in add check del; do {peer} $verb --conflist {conflist} --path "$CNI_PATH" '
        f"--id c1 --netns /run/netns/c1 --cache-dir {tmp_path}; done"
    )
    podnet("--plugin-dir", OURS, "record", "run", tmp_path / "calls", "--", "sh", "-ec", script)
    recorded = podnet.json("record", "show", tmp_path / "calls")["items"]

    asked = [(call["verb"], call["plugin"]) for call in recorded if not call["delegated"]]
    assert asked == [
        *(("ADD", plugin) for plugin in PLUGINS),
        *(("CHECK", plugin) for plugin in PLUGINS),
        *(("DEL", plugin) for plugin in PLUGINS[::-1]),
    ]
    assert [c["verb"] for c in recorded if c["plugin"] == "host-local"] == ["ADD", "CHECK", "DEL"]
