"""kill -9 of podnet at any moment, then gc (or delete): nothing is left.

Only podnet is killed: its plugins may go on for a while, and gc waits for them.  The moments are
spread evenly over what the operation takes; the seed of the dice is said when a test fails, and
``PODNET_KILL_SEED`` repeats it.
"""

import os
import random
import secrets
import time
from collections.abc import Mapping
from typing import Any

import pytest

from podnet.kernel import namespaces, worlds
from podnet.testing import calls

pytestmark = [pytest.mark.root, pytest.mark.slow]

BATCHES = 5
KILLS = 10  # in each batch, of four: 200
LIMITS = ("--bandwidth", "ingress=100M,egress=100M", "-p", "8080:80")
NETWORKS = {
    "embedded": (("--network", "podnet"), ()),
    "reference": (("--network", "reference", *LIMITS), ("--plugin-dir", "/usr/lib/cni")),
}
SEED = int(os.environ.get("PODNET_KILL_SEED") or secrets.randbelow(2**32))


def _left(seen: Mapping[str, Any]) -> dict[str, Any]:
    """What is there of pods, or might be: everything but bridges, and what all pods share."""
    return {
        "links": sorted(set(seen["links"]) - {"lo", "podnet0", "refbr0"}),
        "files": sorted(path for path in seen["files"] if not path.startswith("/etc")),
        "iptables": [line for line in seen["iptables"] if "id: " in line or "10.89." in line],
        "chains": [line for line in seen["iptables"] if line.startswith(":CNI-DN-")],
        "nftables": [rule for rule in seen["nftables"] if "id: " in rule],
        "namespaces": seen["namespaces"],
    }


NOTHING = {
    "links": [],
    "files": [],
    "iptables": [],
    "chains": [],
    "nftables": [],
    "namespaces": 0,
}


class Killer:
    """Kills podnet at moments that the dice choose."""

    def __init__(self, forked: Any, options: tuple[str, ...], batch: int, what: str) -> None:
        self._forked = forked
        self._options = options
        self._dice = random.Random(f"{SEED} {batch} {what}")
        self._context = f"PODNET_KILL_SEED={SEED}, batch {batch}, {what}"
        self._duration = 0.0

    def measure(self, *arguments: str) -> None:
        """Run podnet to its end, and learn how long that takes."""
        status, took = self._forked.run(*self._options, *arguments)
        assert status == 0, self._forked.output.read_text()
        self._duration = max(self._duration, took)

    def kill(self, number: int, *arguments: str) -> str:
        """Kill podnet at a moment of its operation; return where we are, for messages."""
        delay = self._duration * (number + self._dice.random()) / KILLS
        status, took = self._forked.run(*self._options, *arguments, kill_after=delay)
        assert status in {0, -9}, (status, self._forked.output.read_text())
        ending = "killed" if status else f"was through after {took * 1000:.1f} ms"
        return f"{self._context}, kill {number} after {delay * 1000:.1f} ms: {ending}"


@pytest.fixture
def strangers(node, forked):
    """The processes that stay on the Node and are none of the test's."""

    def look():
        uts = namespaces.identity("/proc/thread-self/ns/uts")
        deadline = time.monotonic() + 10
        # Who was killed takes a moment, and so does a plugin whose runtime was.
        while found := [pid for pid in worlds.processes(uts) if pid != forked.server.pid]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return found

    return lambda: node.run(look)


@pytest.fixture
def settle(forked, snapshot, strangers):
    """Clean up as somebody would who finds a killed podnet; return what is left then."""

    def clean(how, *, chain, where):
        if how == "delete" and RECORD in snapshot()["files"]:
            forked("delete", "web")
            seen = _left(snapshot())
            # Drafts and locks of a killed process are nobody's but gc's.
            seen["files"] = [path for path in seen["files"] if not _is_litter(path)]
            assert seen == NOTHING, where
        forked("gc")
        if RECORD in snapshot()["files"]:  # it was killed before it began, or when all was done
            if chain == "embedded":  # portmap's CHECK fails where there are mappings
                forked("check", "web")
            forked("delete", "web")
        assert strangers() == [], where
        return _left(snapshot())

    return clean


RECORD = "/var/lib/podnet/pods/web.json"


def _is_litter(path: str) -> bool:
    return path.endswith((".draft", ".probe")) or path.startswith(
        ("/run/podnet/locks/", "/run/podnet/iptables.lock")
    )


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("chain", NETWORKS)
def test_a_create_killed_at_any_moment_leaves_nothing_after_gc_or_delete(
    forked, debian_plugins, settle, chain, batch
):
    create, options = NETWORKS[chain]
    killer = Killer(forked, options, batch, f"create on {chain}")
    for _ in range(2):
        killer.measure("create", "web", *create)
        forked("delete", "web")

    for number in range(KILLS):
        where = killer.kill(number, "create", "web", *create)

        left = settle(("gc", "delete")[number % 2], chain=chain, where=where)

        assert left == NOTHING, where


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("chain", NETWORKS)
def test_a_delete_killed_at_any_moment_leaves_nothing_after_gc_or_delete(
    forked, debian_plugins, settle, chain, batch
):
    create, options = NETWORKS[chain]
    killer = Killer(forked, (), batch, f"delete on {chain}")
    for _ in range(2):
        forked(*options, "create", "web", *create)
        killer.measure("delete", "web")

    for number in range(KILLS):
        forked(*options, "create", "web", *create)
        where = killer.kill(number, "delete", "web")

        left = settle(("gc", "delete")[number % 2], chain=chain, where=where)

        assert left == NOTHING, where


@pytest.mark.parametrize("how", ["gc", "delete"])
def test_a_plugin_that_outlives_a_killed_podnet_is_waited_for(
    podnet, conflist, stub, snapshot, tmp_path, how
):
    begun, made = tmp_path / "begun", tmp_path / "made"
    stub(
        "slow",
        script=f"[ $CNI_COMMAND = ADD ] && {{ echo > {begun}; sleep 1; echo > {made}; }};"
        f"[ $CNI_COMMAND = DEL ] && rm -f {made}",
    )
    conflist("n", {"type": "slow"})
    process = podnet.start("create", "web")
    while not begun.exists():
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not made.exists()

    podnet(how, *["web"] * (how == "delete"))

    assert not made.exists()
    time.sleep(1)
    assert not made.exists()
    assert _left(snapshot()) == NOTHING


def test_a_killed_attach_leaves_the_pod_as_it_was_after_gc(
    podnet, conflist, stub, snapshot, tmp_path
):
    begun = tmp_path / "begun"
    stub("slow", script=f"[ $CNI_COMMAND = ADD ] && {{ echo > {begun}; sleep 1; }}")
    stub("quick")
    conflist("n", {"type": "quick"})
    conflist("other", {"type": "slow"})
    podnet("create", "web", "--network", "n")
    before = snapshot()
    process = podnet.start("attach", "web", "--network", "other")
    while not begun.exists():
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert podnet.json("list")["items"][0]["state"] == "changing"

    assert "attachment eth1 of pod web" in podnet("gc").stdout

    assert snapshot() == before
    assert podnet.json("list")["items"][0]["interfaces"] == ["eth0"]
    verbs = [env["CNI_COMMAND"] for env, _ in calls(tmp_path / "stubs", "slow")]
    assert verbs == ["ADD", "DEL"]


def test_after_a_reboot_gc_forgets_pods_whose_namespaces_went_with_it(podnet, sh, snapshot):
    podnet("create", "warm")
    podnet("delete", "warm")
    before = snapshot()
    podnet("create", "web", "db")

    # What a reboot takes away: namespaces, their links, and everything in /run.
    sh("ip netns delete web; ip netns delete db; rm -rf /run/podnet")
    removed = podnet("gc").stdout

    assert "pod web (its namespace is gone)" in removed
    assert "pod db (its namespace is gone)" in removed
    assert podnet("list", "-o", "name").stdout == ""
    assert snapshot()["files"] == before["files"]


def test_gc_leaves_living_pods_and_what_is_not_podnets_alone(podnet, sh, snapshot):
    sh("ip netns add somebody; mkdir -p /var/lib/podnet/pods; touch /run/netns/plain")
    podnet("create", "web")
    before = snapshot()

    done = podnet("gc")

    assert done.stdout == ""
    assert snapshot() == before
    podnet("check", "web")


def test_gc_gives_back_leases_of_containers_that_nobody_knows(podnet, sh, snapshot):
    podnet("create", "web")
    before = snapshot()
    sh("printf 'ghost\\r\\neth0' > /var/lib/cni/networks/podnet/10.88.77.77")

    podnet("gc")

    assert snapshot() == before
