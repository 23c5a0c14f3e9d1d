"""No term of ours is quadratic: counted in messages and requests, which no busy machine changes."""

import sys
import time

from podnet.cluster.record import Store

_PER_PEER = 3  # a route, a neighbour and a forwarding entry
_ALONE = 2 * _PER_PEER  # acknowledged one by one, where no others came together with them
_BESIDES = 40  # what a look at the kernel takes, of which the clock may ask for one


def _fill(lab, count: int) -> None:
    command = f"{sys.executable} -m podnet_manager.tamper fill {count}"
    lab.sh("n1", f"{command} --store /run/podnet-cluster/leases.db")


def _at_rest(lab) -> dict[str, float]:
    """Return what a manager counts, if it is done with all that the start of links told it."""
    first = lab.metrics("n1")
    tentative = lab.sh("n1", "ip -6 addr show tentative")
    time.sleep(0.3)
    return first if lab.metrics("n1") == first and not tentative else {}


def test_the_news_of_a_lease_take_messages_for_that_lease_alone(lab) -> None:
    lab.up(pods=(), resync=3600)
    before = lab.eventually(lambda: _at_rest(lab), bool)

    _fill(lab, 60)

    after = lab.eventually(lambda: lab.metrics("n1"), lambda found: found["peers"] == 61)
    assert after["reconciliations_total"] == before["reconciliations_total"]
    messages = after["netlink_messages_total"] - before["netlink_messages_total"]
    assert 60 * _PER_PEER < messages <= 60 * _ALONE
    assert len(lab.routes("n1")) == 61


def test_a_manager_that_comes_to_many_peers_asks_the_store_and_the_kernel_as_if_they_were_few(
    lab,
) -> None:
    lab.up(12, pods=(), store=Store.ETCD, resync=3600)

    requests = lab.etcd_requests()
    messages = {name: lab.metrics(name)["netlink_messages_total"] for name in lab.inspect()}

    # Of each Node: the configuration, all leases before and after it takes one (once more if
    # somebody was faster), the lease and who has it, and a watch.  None for each peer.
    assert requests <= 12 * 12, requests
    assert max(messages.values()) <= 11 * _ALONE + 4 * _BESIDES, messages


def test_neighbours_on_a_large_switch_are_set_and_not_learnt(lab) -> None:
    lab.up(17, backend={"Type": "host-gw"}, pods=())

    shown = lab.sh("n1", "ip -4 neigh show dev eth0")

    assert shown.count("PERMANENT") == len(shown.splitlines()) == 16
