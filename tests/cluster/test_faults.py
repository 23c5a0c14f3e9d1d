"""What breaks a cluster, and what becomes of it: real managers, a real etcd, real packets."""

import os
import shutil
import signal

import pytest

from podnet.cluster import faults, managers
from podnet.cluster.record import Cluster, Member, Store, numbered
from podnet.errors import MissingError, PodnetError, UsageError

THIEF = "192.0.2.66"


def test_a_node_that_is_rebooted_comes_back_with_its_subnet_its_mac_and_its_pods(lab) -> None:
    lab.up(pods=("web", "db"))
    subnets, mac = (
        lab.inspect()["n2"]["subnets"],
        lab.sh("n2", "cat /sys/class/net/flannel.1/address"),
    )
    old = lab.sh("n2", "touch /run/mark /var/lib/mark; readlink /proc/self/ns/net")

    lab.do(faults.reboot, "n2")

    assert lab.sh("n2", "ls /run/mark /var/lib/mark 2>/dev/null || true") == "/var/lib/mark\n"
    assert lab.sh("n2", "readlink /proc/self/ns/net") != old
    assert lab.inspect()["n2"]["subnets"] == subnets
    assert lab.sh("n2", "cat /sys/class/net/flannel.1/address") == mac
    assert lab.sh("n2", "ls /run/netns").split() == ["db", "web"]
    # host-local has given back what the dead pods had.
    assert len(lab.sh("n2", "ls /var/lib/cni/networks/cluster | grep '^10'").split()) == 2
    lab.eventually(lab.missing, lambda missing: not missing)


def test_a_lease_that_ends_is_taken_again_and_the_same_if_it_is_free(lab) -> None:
    lab.up()
    before = lab.inspect()["n1"]["subnets"]

    lab.do(faults.expire, "n1")

    lab.eventually(
        lambda: lab.sh("n1", "cat /var/lib/podnet-manager/log"), lambda log: log.count("lost") == 1
    )
    lab.eventually(lab.inspect, lambda found: found["n1"]["manager"] == "ready")
    assert lab.inspect()["n1"]["subnets"] == before
    lab.eventually(lab.missing, lambda missing: not missing)


@pytest.mark.parametrize("store", list(Store))
def test_a_node_whose_lease_is_stolen_takes_another_and_is_reached_there(lab, store) -> None:
    lab.up(store=store, pods=())
    (before,) = lab.inspect()["n1"]["subnets"]

    lab.do(faults.steal, "n1")

    def moved(found):
        return found["n1"]["manager"] == "ready" and found["n1"]["subnets"] != [before]

    after = lab.eventually(lab.inspect, moved)["n1"]["subnets"]
    network = after[0].replace(".1/24", ".0/24")
    lab.eventually(lambda: lab.routes("n2"), lambda routes: network in routes)
    with pytest.raises(UsageError, match="is in no cluster"):
        lab.do(faults.steal, "n3")


def test_a_node_whose_clock_runs_ahead_renews_and_ends_the_leases_of_others(lab) -> None:
    lab.up(3, pods=())
    before = {name: item["subnets"] for name, item in lab.inspect().items()}

    lab.do(faults.advance, "n1", 8 * 3600)
    lab.eventually(lambda: lab.metrics("n1")["renewals_total"], lambda count: count == 1)
    assert lab.metrics("n1")["leases_lost_total"] == lab.metrics("n2")["leases_lost_total"] == 0

    lab.do(faults.advance, "n1", 17 * 3600)

    for name in ("n2", "n3"):
        lab.eventually(lambda n=name: lab.metrics(n)["leases_lost_total"], lambda count: count >= 1)
    lab.do(faults.reboot, "n1")
    lab.eventually(
        lambda: {name: (i["manager"], i["subnets"]) for name, i in lab.inspect().items()},
        lambda found: found == {name: ("ready", subnets) for name, subnets in before.items()},
    )


def test_a_clock_is_set_ahead_by_a_number_and_by_nothing_else(lab) -> None:
    lab.up(1, pods=())

    for seconds in (float("nan"), float("inf")):
        with pytest.raises(UsageError, match=r"cannot be (nan|inf) seconds ahead"):
            lab.do(faults.advance, "n1", seconds)

    lab.do(faults.advance, "n1", 17 * 3600)
    lab.eventually(lambda: lab.metrics("n1")["renewals_total"], lambda count: count == 1)


def test_what_is_deleted_behind_a_managers_back_comes_again(lab) -> None:
    lab.up()
    there = lab.routes("n1")

    lab.do(faults.unroute, "n1", "n2")
    lab.do(faults.unlink, "n2", "flannel.1")

    lab.eventually(lambda: lab.routes("n1"), lambda routes: routes == there)
    lab.eventually(lab.missing, lambda missing: not missing)
    with pytest.raises(UsageError, match="no link nothing"):
        lab.do(faults.unlink, "n2", "nothing")


def test_a_link_is_impaired_and_mended_again(lab) -> None:
    lab.up()

    lab.do(faults.impair, "n2", loss=60, rate=1_000_000)

    assert "n1/web n2/web icmp" in lab.eventually(
        lambda: lab.missing(timeout=0.3), lambda missing: "n1/web n2/web icmp" in missing
    )
    assert "tbf" in lab.sh("n2", "tc qdisc show dev eth0")
    lab.do(faults.mend, "n2")
    assert "tbf" not in lab.sh("n2", "tc qdisc show dev eth0")
    assert lab.sh("cluster-underlay", "nft list tables") == ""
    lab.eventually(lab.missing, lambda missing: not missing)


def test_a_cluster_outlives_its_etcd_and_what_happens_meanwhile(lab) -> None:
    lab.up(3, store=Store.ETCD, backend={"Type": "host-gw"}, ipv6_network="fd00:9::/48")

    lab.do(faults.kill, "@store")
    assert lab.missing() == []
    lab.do(faults.cut, "n3")
    assert {line.split()[0] for line in lab.missing(timeout=0.3)} >= {"n1/web", "n3/web"}
    lab.do(faults.restore, "n3")
    lab.do(faults.kill, "n1")
    lab.do(faults.start, "@store")
    lab.do(faults.start, "n1")

    lab.eventually(lab.missing, lambda missing: not missing)
    with pytest.raises(UsageError, match="the etcd of cluster cluster runs already"):
        lab.do(faults.start, "@store")


def test_a_frozen_manager_goes_on_where_it_was(lab) -> None:
    lab.up()

    lab.do(faults.freeze, "n1")
    lab.do(faults.unroute, "n1")
    assert lab.routes("n1") == {}
    lab.do(faults.thaw, "n1")

    lab.eventually(lambda: lab.routes("n1"), len)
    lab.eventually(lab.missing, lambda missing: not missing)


def test_a_link_that_was_deleted_cannot_be_cut_and_a_reboot_brings_it_back(lab) -> None:
    lab.up(1, pods=())
    lab.do(faults.unlink, "n1", "eth0")

    with pytest.raises(UsageError, match="there is no link"):
        lab.do(faults.cut, "n1")
    lab.do(faults.reboot, "n1")
    lab.do(faults.cut, "n1")


@pytest.mark.parametrize("name", ["cluster-underlay", "cluster-store"])
def test_no_node_is_called_as_the_cluster_calls_its_own(lab, name) -> None:
    members = (Member(name=name, number=1),)
    cluster = Cluster(members=members, store=Store.ETCD)

    with pytest.raises(UsageError, match=f"two Nodes would be called {name}"):
        lab.node.run(lab.clusters.up, cluster, patience=1)

    assert lab.clusters.names() == []


def test_a_record_that_cannot_be_read_is_in_the_way_of_no_other_cluster(lab) -> None:
    lab.up(1, pods=())

    def spoil() -> None:
        path = lab.clusters.directory / "broken" / "cluster.json"
        path.parent.mkdir()
        path.write_text("{")

    lab.node.run(spoil)

    lab.do(faults.cut, "n1")
    with pytest.raises(UsageError, match="in no cluster; what is in broken cannot be read"):
        lab.do(faults.cut, "n9")
    lab.node.run(shutil.rmtree, lab.clusters.directory / "broken")


@pytest.mark.parametrize(
    ("backend", "kind", "said"),
    [
        ({"Type": "vxlan", "VNI": -4}, UsageError, "manager of Node n1 has ended: .*VNI"),
        ({"Type": "bgp"}, MissingError, "manager of Node n1 has ended: there is no bird program"),
    ],
    ids=["wrong", "lacking"],
)
def test_a_manager_that_ends_is_not_waited_for(
    lab, tmp_path, monkeypatch, backend, kind, said
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    cluster = Cluster(members=numbered("cluster", 2), backend=backend)

    with pytest.raises(kind, match=said):
        lab.node.run(lab.clusters.up, cluster, patience=1000)

    assert lab.node.run(lab.clusters.names) == []


def test_a_manager_that_is_killed_while_it_starts_is_not_waited_for(lab, monkeypatch) -> None:
    lab.up(1, pods=())
    lab.do(faults.kill, "n1")

    def killed(nodes, options):
        (pid,) = starts(nodes, options)
        os.kill(pid, signal.SIGKILL)
        return [pid]

    starts = managers.start
    monkeypatch.setattr(managers, "start", killed)
    with pytest.raises(PodnetError, match="manager of Node n1 has ended: it was killed"):
        lab.do(faults.start, "n1", patience=1000)
