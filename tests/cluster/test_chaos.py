"""Managers and etcd killed at random while pods come and go: nobody who is connected notices.

The seed is printed, and ``--chaos-seed`` plays it again; ``--chaos 50`` kills fifty times.
"""

import json
import random
import sys
import threading
import time
from base64 import b64decode, b64encode
from contextlib import ExitStack
from typing import Self

import pytest
from tests.cluster.conftest import Lab
from tests.cluster.stream import Streams

from podnet.cluster import faults, making, managers, matrix, workload
from podnet.cluster.clusters import Clusters
from podnet.cluster.making import await_ready
from podnet.cluster.record import STORE, Store
from podnet.cluster.workload import PodOn

_NODES = 3
_LONGEST_PAUSE = 0.4
#: What of a kernel, and of the files of plugins and managers, must be as if nothing had happened.
_LOOK = """
ip -j link | tr ',' '\\n' | grep -E '"(ifname|address|mtu)"' | grep -v veth
ip -4 route; ip -6 route show proto 109
ip neigh show nud permanent; bridge fdb show dev flannel.1 | grep -v 'permanent$' || true
nft list ruleset
cat /run/flannel/subnet.env
ls /run/netns /var/lib/cni/flannel
ls /var/lib/cni/networks/cluster | grep '^10[.]'
"""


def test_random_kills_under_pod_churn_stop_no_traffic_and_leave_the_same_state(
    lab, pytestconfig
) -> None:
    kills, seed = pytestconfig.getoption("chaos"), pytestconfig.getoption("chaos_seed")
    seed = random.randrange(1 << 32) if seed is None else seed
    sys.stdout.write(f"chaos: {kills} kills, --chaos-seed {seed}\n")
    lab.up(_NODES, store=Store.ETCD, lease_ttl=9, resync=1)
    names = [f"n{number}" for number in range(1, _NODES + 1)]
    lab.eventually(lab.missing, lambda missing: not missing)
    before = {name: lab.sh(name, _LOOK) for name in names}
    leases = _leases(lab)

    with ExitStack() as stack:
        ends = lab.node.run(_pods, lab.clusters, stack)
        with Streams(ends) as streams, _Churn(lab, names, random.Random(seed)) as churn:
            lab.do(_kill, kills, random.Random(seed + 1))
            lab.do(_settle)

    assert streams.lost() == []
    assert min(len(one.sent) for one in streams.all) > 10 * kills
    assert churn.failures == []
    assert churn.made > 0
    for name in names:
        lab.eventually(lambda n=name: lab.sh(n, _LOOK), lambda found, n=name: found == before[n])
    assert _leases(lab) == leases
    assert lab.missing() == []
    packets = sum(len(one.sent) for one in streams.all)
    sys.stdout.write(f"chaos: {churn.made} pods came and went, {packets} packets\n")


@pytest.mark.parametrize("who", [STORE, "n3"])
def test_who_is_cut_off_for_longer_than_leases_last_stops_nobody_who_is_connected(lab, who) -> None:
    lab.up(_NODES, store=Store.ETCD, lease_ttl=2, resync=1)
    lab.eventually(lab.missing, lambda missing: not missing)
    before, revisions = _leases(lab), _revisions(lab)

    with ExitStack() as stack:
        ends = lab.node.run(_pods, lab.clusters, stack)
        connected = [end for end in ends if not end.name.startswith(f"{who}/")]
        with Streams(connected) as streams:
            lab.do(faults.cut, who)
            time.sleep(4)  # twice as long
            lab.do(faults.restore, who)
            lab.eventually(lambda: set(_revisions(lab)) - set(revisions), bool)
            lab.do(_settle)

    assert streams.lost() == []
    lab.eventually(lab.missing, lambda missing: not missing)
    assert _leases(lab) == before


def _pods(clusters: Clusters, stack: ExitStack) -> list[matrix.End]:
    nodes = stack.enter_context(clusters.opened(clusters.load("cluster")))
    return [end for end in matrix.ends(stack, nodes) if not end.is_node]


def _kill(clusters: Clusters, kills: int, draw: random.Random) -> None:
    """Kill, and start again at once or a little later; wait for nobody to be ready."""
    cluster = clusters.load("cluster")
    store_is_out = False
    for _ in range(kills):
        time.sleep(draw.uniform(0, _LONGEST_PAUSE))
        if store_is_out and draw.random() < 0.5:
            making.start_store(clusters.nodes, cluster, time.monotonic() + 30)
            store_is_out = False
        victims = [member.name for member in cluster.members]
        victim = draw.choice(victims if store_is_out else [STORE, *victims])
        faults.kill(clusters, victim)
        if victim == STORE:
            store_is_out = True
        else:
            with clusters.nodes.open(victim) as node:
                managers.start([node], cluster.options)
    if store_is_out:
        making.start_store(clusters.nodes, cluster, time.monotonic() + 30)


def _settle(clusters: Clusters) -> None:
    cluster = clusters.load("cluster")
    with clusters.opened(cluster) as nodes:
        await_ready(cluster, nodes, peers=len(nodes) - 1, deadline=time.monotonic() + 30)


def _leases(lab: Lab) -> dict[str, bytes]:
    """Return what etcd has of the leases: flannel's keys and values."""
    return {b64decode(kv["key"]).decode(): b64decode(kv["value"]) for kv in _listed(lab)}


def _revisions(lab: Lab) -> list[str]:
    """Return when they were made: one that ended and was taken again is made anew."""
    return [kv["create_revision"] for kv in _listed(lab)]


def _listed(lab: Lab) -> list[dict[str, str]]:
    prefix = "/coreos.com/network/subnets/"
    edges = [b64encode(text.encode()).decode() for text in (prefix, prefix[:-1] + "0")]
    answer = lab.etcd("POST", "/v3/kv/range", {"key": edges[0], "range_end": edges[1]})
    found: list[dict[str, str]] = json.loads(answer).get("kvs", [])
    return found


class _Churn:
    """Pods that come and go on a thread of their own."""

    def __init__(self, lab: Lab, names: list[str], draw: random.Random) -> None:
        self._lab, self._names, self._draw = lab, names, draw
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="churn")
        self.made = 0
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                pod = PodOn(node=self._draw.choice(self._names), name=f"churn-{self.made}")
                self._lab.create(pod)
                self.made += 1
                self._lab.do(_delete, pod)
        except Exception as exc:  # noqa: BLE001  it is the test that fails by it
            self.failures.append(repr(exc))


def _delete(clusters: Clusters, pod: PodOn) -> None:
    with clusters.nodes.open(pod.node) as node:
        workload.delete(node, pod.name)
