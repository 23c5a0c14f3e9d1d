"""What is set for a lease when it is news: no more than that, and what others need stays."""

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from podnet.kernel.neighbours import Forwarding, Neighbour
from podnet.kernel.routes import PROTOCOL_KERNEL, Route
from podnet_manager.desired import PROTOCOL, Entry
from podnet_manager.lease import Subnets
from podnet_manager.placed import Placed
from podnet_manager.reconcile import Difference, key

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


def test_what_somebody_removed_is_set_again_if_it_is_needed() -> None:
    placed = Placed({A: {ROUTE, NEIGHBOUR}})

    assert placed.mend((), {ROUTE, OTHER}, {3}) == _change(put={ROUTE})
    nameless = Neighbour(3, NEIGHBOUR.address, "")
    assert placed.mend((), {nameless}, {3}) == _change(put={NEIGHBOUR})


def test_what_somebody_set_in_the_place_of_ours_is_replaced() -> None:
    six = Route(dst=ip_network("fd00:5::/64"), oif=3, priority=1024)
    placed = Placed({A: {six, NEIGHBOUR}})
    theirs = Route(dst=six.dst, oif=9, priority=1024)
    wrong = Neighbour(3, NEIGHBOUR.address, "02:00:00:00:00:99")

    assert placed.mend([theirs, wrong], (), {3}) == _change(put={six, NEIGHBOUR})


def test_a_route_of_ipv4_that_may_be_before_ours_is_removed_and_ours_is_set() -> None:
    placed = Placed({A: {ROUTE}})
    theirs = Route(dst=ROUTE.dst, oif=9)

    assert placed.mend([theirs], (), {3}) == _change(remove={theirs}, put={ROUTE})


def test_what_looks_like_ours_and_is_not_needed_is_removed_and_other_things_stay() -> None:
    placed = Placed({A: {ROUTE}})
    marked = Route(dst=OTHER.dst, oif=9, protocol=PROTOCOL)
    on_device = Forwarding(3, "02:00:00:00:00:99", ip_address("192.0.2.9"))
    by_kernel = Route(dst=ip_network("10.5.9.0/24"), oif=3, protocol=PROTOCOL_KERNEL)
    foreign = Route(dst=ip_network("192.0.2.0/24"), oif=9)

    change = placed.mend([marked, on_device, by_kernel, foreign, ROUTE], (), {3})

    assert change == _change(remove={marked, on_device})


def test_a_route_that_packets_would_rather_take_is_removed_and_a_worse_one_stays() -> None:
    ours = Route(dst=ip_network("fd00:5::/64"), oif=3, priority=1024)
    placed = Placed({A: {ours}})
    better, worse = (Route(dst=ours.dst, oif=9, priority=metric) for metric in (5, 2000))

    assert placed.mend([better, worse], (), {3}) == _change(remove={better})


ENTRIES = st.sets(
    st.one_of(
        st.builds(lambda n: Route(dst=ip_network(f"10.5.{n}.0/24"), oif=3), st.integers(0, 3)),
        st.builds(
            lambda n, m: Forwarding(3, f"02:00:00:00:00:0{n}", ip_address(f"192.0.2.{m}")),
            st.integers(0, 2),
            st.integers(1, 2),
        ),
    ),
    max_size=3,
)


@given(st.lists(st.dictionaries(st.sampled_from([A, B]), ENTRIES, max_size=2), max_size=6))
def test_whatever_the_news_every_entry_that_is_needed_is_there_and_no_other_key(news) -> None:
    """A kernel that holds one entry of each key, and is told of the differences only."""
    placed, kernel = Placed({}), dict[object, Entry]()
    for entries in news:
        change = placed.replace(entries)
        for entry in change.remove:
            if kernel.get(key(entry)) == entry:
                del kernel[key(entry)]
        kernel |= {key(entry): entry for entry in change.put}

    assert kernel.keys() == {key(entry) for entry in placed.every()}
