"""What is set for a lease when it is news: no more than that, and what others need stays."""

from ipaddress import ip_address, ip_network

from podnet.kernel.neighbours import Forwarding, Neighbour
from podnet.kernel.routes import Route
from podnet_manager.lease import Subnets
from podnet_manager.placed import Placed
from podnet_manager.reconcile import Difference

A = Subnets.of((ip_network("10.5.1.0/24"),))
B = Subnets.of((ip_network("10.5.2.0/24"),))
ROUTE = Route(dst=ip_network("10.5.1.0/24"), oif=3)
OTHER = Route(dst=ip_network("10.5.2.0/24"), oif=3)
NEIGHBOUR = Neighbour(3, ip_address("10.5.1.0"), "02:00:00:00:00:01")
SHARED = Forwarding(3, "02:00:00:00:00:01", ip_address("192.0.2.1"))


def _change(remove=(), put=()) -> Difference:
    return Difference(frozenset(remove), frozenset(put))


def test_a_new_lease_is_set_and_no_other() -> None:
    placed = Placed({A: {ROUTE}})

    assert placed.replace({B: {OTHER, SHARED}}) == _change(put={OTHER, SHARED})
    assert placed.every() == {ROUTE, OTHER, SHARED}


def test_a_lease_that_is_gone_is_removed() -> None:
    placed = Placed({A: {ROUTE, NEIGHBOUR}, B: {OTHER}})

    assert placed.replace({A: ()}) == _change(remove={ROUTE, NEIGHBOUR})
    assert placed.replace({A: ()}) == _change()
    assert placed.every() == {OTHER}


def test_what_only_changes_is_set_and_not_removed_before() -> None:
    placed = Placed({A: {ROUTE, NEIGHBOUR}})
    moved = Neighbour(3, NEIGHBOUR.address, "02:00:00:00:00:02")

    assert placed.replace({A: {ROUTE, moved}}) == _change(put={moved})


def test_what_another_lease_needs_too_stays() -> None:
    placed = Placed({A: {ROUTE, SHARED}, B: {OTHER, SHARED}})

    assert placed.replace({A: ()}) == _change(remove={ROUTE})
    assert placed.replace({B: ()}) == _change(remove={OTHER, SHARED})


def test_what_moves_from_one_lease_to_another_is_left_alone() -> None:
    placed = Placed({A: {ROUTE, SHARED}})

    assert placed.replace({A: {ROUTE}, B: {SHARED, OTHER}}) == _change(put={OTHER})
