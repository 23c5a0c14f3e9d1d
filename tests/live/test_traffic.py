"""Token buckets, ingress queues and redirections, proved against pyroute2; ifbs, too."""

import errno
from collections.abc import Callable
from typing import Any

import pytest
from pyroute2 import IPRoute

from podnet.kernel import links, traffic
from podnet.kernel.netlink import Netlink, NetlinkError
from podnet.kernel.traffic import Redirection, TokenBucket
from podnet.node import Node

ROOT, INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
BUCKET = TokenBucket(rate=1_000_000, buffer=1_562_500, limit=125_000)


def _inside(node: Node, act: Callable[[Netlink, IPRoute, int], Any]) -> Any:
    """Run *act* in the Node with a socket of ours, one of pyroute2's, and an ifb to work on."""

    def work():
        with Netlink() as netlink, IPRoute() as ipr:
            links.add_ifb(netlink, "ifb9", mtu=1400)
            return act(netlink, ipr, _found(netlink, "ifb9").index)

    return node.run(work)


def _found(netlink: Netlink, name: str) -> links.Link:
    link = links.find(netlink, name)
    assert link is not None
    return link


def _qdiscs(ipr: IPRoute, index: int) -> dict[str, Any]:
    return {one.get("TCA_KIND"): one for one in ipr.get_qdiscs(index=index)}


def test_an_ifb_of_ours_is_up_and_has_no_queue(node):
    def act(netlink, ipr, index):
        [link] = ipr.link("get", index=index)
        return link, links.at(netlink, index), links.find(netlink, "ifb9"), links.at(netlink, 999)

    link, by_index, by_name, none = _inside(node, act)

    assert link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == "ifb"
    assert (link.get("IFLA_MTU"), link.get("IFLA_TXQLEN"), link["flags"] & 1) == (1400, 0, 1)
    assert (by_index, none) == (by_name, None)
    assert (by_name.kind, by_name.up, by_name.mac) == ("ifb", True, link.get("IFLA_ADDRESS"))


def test_modes_and_queue_length_are_what_pyroute2_sees(node):
    def act(netlink, ipr, index):
        links.set_txqlen(netlink, index, 55)
        links.set_all_multicast(netlink, index)
        [on] = ipr.link("get", index=index)
        seen = links.at(netlink, index)
        links.set_all_multicast(netlink, index, on=False)
        [off] = ipr.link("get", index=index)
        return on, off, seen, links.at(netlink, index)

    on, off, seen_on, seen_off = _inside(node, act)

    assert (on.get("IFLA_TXQLEN"), on["flags"] & 0x200, off["flags"] & 0x200) == (55, 0x200, 0)
    assert (seen_on.txqlen, seen_on.all_multicast, seen_off.all_multicast) == (55, True, False)


def test_a_bucket_of_ours_is_what_pyroute2_reads(node):
    def act(netlink, ipr, index):
        traffic.add_token_bucket(netlink, index, BUCKET)
        return _qdiscs(ipr, index)["tbf"], traffic.token_bucket(netlink, index)

    seen, ours = _inside(node, act)

    parms = seen.get("TCA_OPTIONS").get("TCA_TBF_PARMS")
    assert (seen["handle"], seen["parent"]) == (0x10000, ROOT)
    assert (parms["rate"], parms["buffer"], parms["limit"]) == (1_000_000, 1_562_500, 125_000)
    assert ours == BUCKET


def test_a_bucket_of_pyroute2_s_is_what_ours_reads(node):
    def act(netlink, ipr, index):
        ipr.tc("add", "tbf", index, 0x10000, rate="8mbit", burst=100_000, latency="25ms")
        parms = _qdiscs(ipr, index)["tbf"].get("TCA_OPTIONS").get("TCA_TBF_PARMS")
        return parms, traffic.token_bucket(netlink, index)

    parms, ours = _inside(node, act)

    assert (ours.rate, ours.buffer, ours.limit) == (
        parms["rate"],
        parms["buffer"],
        parms["limit"],
    )


@pytest.mark.parametrize("rate", [1, 0xFFFFFFFF, 0x100000000, 12_500_000_000])
def test_a_rate_of_any_size_is_kept(node, rate):
    def act(netlink, ipr, index):
        bucket = TokenBucket(rate=rate, buffer=20_000_000, limit=100)
        traffic.add_token_bucket(netlink, index, bucket)
        return bucket, traffic.token_bucket(netlink, index)

    asked, found = _inside(node, act)

    assert asked == found


@pytest.mark.parametrize(
    ("rate", "burst", "numbers"),
    [
        (8_000_000, 800_000, (1_000_000, 1_562_500, 125_000)),
        (8, 8, (1, 15_625_000, 1)),
        (3_000_000, 12_345, (375_000, 64_281, 10_918)),
        # Kubernetes' default burst at 1 Mbit: more time than the kernel counts.
        (1_000_000, 2**31 - 1, (125_000, 2**32 - 1, 268_438_580)),
        (8_000_000_000_000, 2**35 - 9, (10**12, 67_093, 2**32 - 1)),
    ],
)
def test_a_bucket_s_numbers(rate, burst, numbers):
    bucket = TokenBucket.of(rate=rate, burst=burst)

    assert (bucket.rate, bucket.buffer, bucket.limit) == numbers


def test_what_arrives_is_redirected_as_pyroute2_reads_it(node):
    def act(netlink, ipr, index):
        links.add_ifb(netlink, "ifb8", mtu=1500)
        target = _found(netlink, "ifb8").index
        traffic.add_ingress(netlink, index)
        traffic.redirect(netlink, index, to=target)
        filters = list(ipr.get_filters(index=index, parent=0xFFFF0000))
        before = traffic.redirections(netlink, index)
        links.delete(netlink, "ifb8")
        gone = traffic.redirections(netlink, index)
        return _qdiscs(ipr, index)["ingress"], filters, target, before, gone

    qdisc, filters, target, before, gone = _inside(node, act)

    assert (qdisc["handle"], qdisc["parent"]) == (0xFFFF0000, INGRESS)
    assert [one.get("TCA_KIND") for one in filters] == ["u32"] * 3
    assert {one["info"] for one in filters} == {1 << 16 | 0x0300}
    options = filters[2].get("TCA_OPTIONS")
    assert options.get("TCA_U32_CLASSID") == 0x10001
    [key] = options.get("TCA_U32_SEL")["keys"]
    assert (key["key_mask"], key["key_val"]) == (0, 0)
    action = options.get("TCA_U32_ACT").get("TCA_ACT_PRIO_1")
    assert action.get("TCA_ACT_KIND") == "mirred"
    parms = action.get("TCA_ACT_OPTIONS").get("TCA_MIRRED_PARMS")
    assert (parms["eaction"], parms["action"], parms["ifindex"]) == (1, 4, target)
    assert before == {Redirection(to=target, whole=True)}
    assert gone == {Redirection(to=0, whole=True)}


def test_a_redirection_of_pyroute2_s_is_what_ours_reads(node):
    def act(netlink, ipr, index):
        ipr.tc("add", "ingress", index)
        action = {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": 1}
        ipr.tc(
            "add-filter",
            "u32",
            index,
            parent=0xFFFF0000,
            prio=10,
            protocol=3,
            target=0x10010,
            keys=["0x0/0x0+0"],
            action=action,
        )
        return traffic.redirections(netlink, index)

    assert _inside(node, act) == {Redirection(to=1, whole=True)}


def test_a_second_one_is_refused(node):
    def act(netlink, ipr, index):
        traffic.add_token_bucket(netlink, index, BUCKET)
        traffic.add_ingress(netlink, index)
        with pytest.raises(FileExistsError, match="add token bucket"):
            traffic.add_token_bucket(netlink, index, BUCKET)
        with pytest.raises(FileExistsError, match="add ingress qdisc"):
            traffic.add_ingress(netlink, index)

    _inside(node, act)


def test_what_is_deleted_was_there_once(node):
    def act(netlink, ipr, index):
        absent = traffic.token_bucket(netlink, index), traffic.redirections(netlink, index)
        traffic.add_token_bucket(netlink, index, BUCKET)
        traffic.add_ingress(netlink, index)
        deleted = [
            (delete(netlink, index), delete(netlink, index))
            for delete in (traffic.delete_token_bucket, traffic.delete_ingress)
        ]
        return absent, deleted, sorted(_qdiscs(ipr, index)), traffic.token_bucket(netlink, 999)

    absent, deleted, left, nowhere = _inside(node, act)

    assert absent == (None, set())
    assert deleted == [(True, False)] * 2
    assert "tbf" not in left
    assert "ingress" not in left
    assert nowhere is None


def test_somebody_else_s_root_queue_is_not_deleted(node):
    def act(netlink, ipr, index):
        ipr.tc("add", "tbf", index, 0x20000, rate="8mbit", burst=100_000, latency="25ms")
        return traffic.delete_token_bucket(netlink, index), sorted(_qdiscs(ipr, index))

    deleted, left = _inside(node, act)

    assert (deleted, left) == (False, ["tbf"])


def test_redirecting_needs_an_ingress_queue_and_a_link(node):
    def act(netlink, ipr, index):
        with pytest.raises(NetlinkError, match="add redirection"):
            traffic.redirect(netlink, index, to=index)
        traffic.add_ingress(netlink, index)
        with pytest.raises(NetlinkError) as refused:
            traffic.redirect(netlink, index, to=999)
        return refused.value.errno

    assert _inside(node, act) == errno.ENODEV


def test_trying_out_leaves_nothing(node):
    def act(netlink, ipr, index):
        traffic.try_out()
        return [link.name for link in links.every(netlink)]

    assert _inside(node, act) == ["lo", "ifb9"]
