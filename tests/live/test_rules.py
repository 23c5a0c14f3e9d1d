"""Policy rules, proved against pyroute2: each reads what the other made."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from pyroute2 import IPRoute

from podnet.kernel import rules
from podnet.kernel.netlink import Netlink
from podnet.kernel.rules import Rule
from podnet.node import Node

FAMILIES = {4: 2, 6: 10}
SOURCES = ["10.1.0.2/32", "10.2.0.0/16", "fd00::2/128", "::/0"]


def _inside(node: Node, act: Callable[[Netlink, IPRoute], Any]) -> Any:
    def work():
        with Netlink() as netlink, IPRoute() as ipr:
            return act(netlink, ipr)

    return node.run(work)


def _seen(ipr: IPRoute, family: int) -> set[tuple[str | None, int, int, int | None]]:
    """What pyroute2 says: source, its length, table and priority."""
    return {
        (one.get("FRA_SRC"), one["src_len"], one.get("FRA_TABLE"), one.get("FRA_PRIORITY"))
        for one in ipr.get_rules(family=FAMILIES[family])
    }


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("table", [100, 70000])
def test_a_rule_of_ours_is_what_pyroute2_reads(node, source, table):
    rule = Rule(source=ip_network(source), table=table, priority=500)

    def act(netlink, ipr):
        before = _seen(ipr, rule.source.version)
        rules.add(netlink, rule)
        return _seen(ipr, rule.source.version) - before, rules.every(netlink, rule.source.version)

    seen, listed = _inside(node, act)

    address, _, length = source.partition("/")
    assert seen == {(address if length != "0" else None, int(length), table, 500)}
    assert rule in listed


@pytest.mark.parametrize("family", [4, 6])
def test_a_rule_of_pyroute2_s_is_what_ours_reads(node, family):
    source = "10.1.0.2" if family == 4 else "fd00::2"
    bits = 32 if family == 4 else 128

    def act(netlink, ipr):
        options = {"src": source, "src_len": bits, "table": 300, "priority": 7}
        ipr.rule("add", family=FAMILIES[family], **options)
        return rules.every(netlink, family)

    assert Rule(source=ip_network(source), table=300, priority=7) in _inside(node, act)


def test_the_kernel_chooses_a_priority_before_all_it_has(node):
    sources = [ip_network(source) for source in SOURCES[:2]]

    def act(netlink, ipr):
        for source in sources:
            rules.add(netlink, Rule(source=source, table=100))
        return [rule for rule in rules.every(netlink, 4) if rule.table == 100]

    first, second = reversed(_inside(node, act))

    assert (first.source, second.source) == tuple(sources)
    assert (first.priority, second.priority) == (32765, 32764)


def test_a_rule_is_deleted_once_and_no_other(node):
    one, other = (Rule(source=ip_network(source), table=100) for source in SOURCES[:2])

    def act(netlink, ipr):
        rules.add(netlink, one)
        rules.add(netlink, other)
        deleted = rules.delete(netlink, one), rules.delete(netlink, one)
        return deleted, [rule.source for rule in rules.every(netlink, 4) if rule.table == 100]

    assert _inside(node, act) == ((True, False), [other.source])


def test_the_rules_of_a_new_namespace_are_the_kernel_s_own(node):
    def act(netlink, ipr):
        return [[rule.table for rule in rules.every(netlink, family)] for family in (4, 6)]

    assert _inside(node, act) == [[255, 254, 253], [255, 254]]
