"""host-local's ranges: read as the reference reads them, and walked (pure)."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podnet.cni.errors import DecodeError, InvalidConfigError
from podnet.cni.wire import Fields
from podnet_plugins.host_local_config import HostLocalConfig
from podnet_plugins.ranges import Range, RangeConfig, RangeSet
from podnet_plugins.schema import read


def _range(**keys: object) -> Range:
    return Range.of(read(RangeConfig, Fields(keys)))


def _sets(
    ipam: dict[str, object], runtime_config: dict[str, object] | None = None
) -> tuple[RangeSet, ...]:
    whole = Fields({"ipam": ipam, "runtimeConfig": runtime_config})
    return read(HostLocalConfig, whole, "ipam").range_sets()


def _walked(ranges: list[Range], last: str | None = None) -> list[str]:
    chosen = RangeSet.of(ranges, 0)
    return [str(address) for address, _ in chosen.walk(ip_address(last) if last else None)]


# One range


def test_a_range_is_the_whole_subnet_without_network_and_broadcast_address():
    found = _range(subnet="10.1.0.0/24")

    assert (str(found), str(found.gateway)) == ("10.1.0.1-10.1.0.254", "10.1.0.1")


def test_an_ipv6_range_ends_with_the_last_address():
    found = _range(subnet="fd00::/120")

    assert (str(found), str(found.gateway)) == ("fd00::1-fd00::ff", "fd00::1")


def test_start_end_and_gateway_may_be_given():
    found = _range(
        subnet="10.1.0.0/24", rangeStart="10.1.0.10", rangeEnd="10.1.0.20", gateway="10.1.0.254"
    )

    assert (str(found), str(found.gateway)) == ("10.1.0.10-10.1.0.20", "10.1.0.254")


def test_the_gateway_is_the_first_address_even_before_the_start():
    assert str(_range(subnet="10.1.0.0/24", rangeStart="10.1.0.50").gateway) == "10.1.0.1"


def test_the_gateway_may_be_in_another_subnet():
    assert str(_range(subnet="10.1.0.0/24", gateway="10.2.0.1").gateway) == "10.2.0.1"


def test_an_end_that_is_given_may_be_the_broadcast_address():
    assert str(_range(subnet="10.1.0.0/29", rangeEnd="10.1.0.7")) == "10.1.0.1-10.1.0.7"


@pytest.mark.parametrize("subnet", ["10.1.0.0/30", "fd00::/126"])
def test_the_smallest_subnets_leave_two_bits(subnet):
    assert _walked([_range(subnet=subnet)]) != []


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"subnet": "10.1.0.0/31"}, "Network 10.1.0.0/31 too small to allocate from"),
        ({"subnet": "10.1.0.0/32"}, "Network 10.1.0.0/32 too small to allocate from"),
        ({"subnet": "fd00::/127"}, "Network fd00::/127 too small to allocate from"),
        (
            {"subnet": "10.1.0.5/24"},
            (
                "Network has host bits set. For a subnet mask of length 24 "
                "the network address is 10.1.0.0"
            ),
        ),
        ({"subnet": ""}, "invalid subnet ''"),
        ({"subnet": "10.1.0.0"}, "invalid subnet '10.1.0.0'"),
        ({"subnet": "ten"}, "invalid subnet 'ten'"),
        ({"subnet": "10.1.0.0/33"}, "invalid subnet '10.1.0.0/33'"),
        (
            {"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1"},
            "RangeStart 10.2.0.1 not in network 10.1.0.0/24",
        ),
        (
            {"subnet": "10.1.0.0/24", "rangeEnd": "10.2.0.1"},
            "RangeEnd 10.2.0.1 not in network 10.1.0.0/24",
        ),
        (
            {"subnet": "10.1.0.0/24", "rangeStart": "fd00::1"},
            "RangeStart fd00::1 not in network 10.1.0.0/24",
        ),
        (
            {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"},
            "RangeStart 10.1.0.9 is after RangeEnd 10.1.0.8",
        ),
        ({"subnet": "10.1.0.0/24", "gateway": "gate"}, "gateway is not an IP address: 'gate'"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(keys, text):
    with pytest.raises(InvalidConfigError) as raised:
        _range(**keys)

    assert raised.value.msg == text


# Sets


def test_ranges_of_one_set_are_of_one_family():
    with pytest.raises(InvalidConfigError, match="invalid range set 0: mixed address families"):
        _sets({"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "fd00::/64"}]]})


def test_ranges_of_one_set_do_not_overlap():
    ranges = [{"subnet": "10.1.0.0/24"}, {"subnet": "10.1.0.0/16", "rangeStart": "10.1.0.200"}]

    with pytest.raises(InvalidConfigError, match=r"^invalid range set 0: .* overlap"):
        _sets({"ranges": [ranges]})


def test_ranges_of_one_subnet_may_stand_side_by_side():
    ranges = [
        {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.2", "rangeEnd": "10.1.0.3"},
        {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.8", "rangeEnd": "10.1.0.9"},
    ]

    [found] = _sets({"ranges": [ranges]})

    assert str(found) == "10.1.0.2-10.1.0.3,10.1.0.8-10.1.0.9"


def test_sets_do_not_overlap():
    with pytest.raises(InvalidConfigError, match=r"^range set 0 overlaps with 1"):
        _sets({"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.1.0.0/25"}]]})


def test_a_set_is_never_empty():
    with pytest.raises(InvalidConfigError, match="invalid range set 0: empty range set"):
        _sets({"ranges": [[]]})


def test_a_configuration_without_ranges_is_refused():
    with pytest.raises(InvalidConfigError, match=r"^no IP ranges specified"):
        _sets({"type": "host-local"})


def test_an_error_says_which_set_it_is_in():
    with pytest.raises(InvalidConfigError) as raised:
        _sets({"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/31"}]]})

    assert raised.value.msg == "invalid range set 1: Network 10.2.0.0/31 too small to allocate from"


@pytest.mark.parametrize("ranges", [[{"subnet": "10.1.0.0/24"}], [["10.1.0.0/24"]]])
def test_ranges_are_a_list_of_lists_of_objects(ranges):
    """The usual mistake: one list too few."""
    with pytest.raises((DecodeError, InvalidConfigError), match=r"ranges\[0\]"):
        _sets({"ranges": ranges})


def test_sets_are_the_capability_s_then_the_old_form_then_the_list():
    found = _sets(
        {"subnet": "10.2.0.0/24", "ranges": [[{"subnet": "10.3.0.0/24"}]]},
        {"ipRanges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]},
    )

    assert [str(members.ranges[0].subnet) for members in found] == [
        "10.1.0.0/24",
        "fd00::/64",
        "10.2.0.0/24",
        "10.3.0.0/24",
    ]
    assert [members.family for members in found] == [4, 6, 4, 4]


# The walk


def test_a_walk_skips_the_gateway():
    assert _walked([_range(subnet="10.1.0.0/29")]) == [f"10.1.0.{n}" for n in (2, 3, 4, 5, 6)]


def test_a_walk_begins_after_the_last_address_and_wraps_around_to_it():
    walked = _walked([_range(subnet="10.1.0.0/29")], last="10.1.0.4")

    assert walked == [f"10.1.0.{n}" for n in (5, 6, 2, 3, 4)]


def test_a_walk_goes_through_all_ranges_in_order():
    ranges = [
        _range(subnet="10.1.0.0/30"),
        _range(subnet="10.2.0.0/30"),
        _range(subnet="10.3.0.0/29", rangeStart="10.3.0.3", rangeEnd="10.3.0.4"),
    ]

    assert _walked(ranges) == ["10.1.0.2", "10.2.0.2", "10.3.0.3", "10.3.0.4"]
    assert _walked(ranges, last="10.3.0.3") == ["10.3.0.4", "10.1.0.2", "10.2.0.2", "10.3.0.3"]
    assert _walked(ranges, last="10.1.0.2") == ["10.2.0.2", "10.3.0.3", "10.3.0.4", "10.1.0.2"]


def test_a_last_address_that_is_in_no_range_any_more_is_forgotten():
    assert _walked([_range(subnet="10.1.0.0/30")], last="10.9.0.9") == ["10.1.0.2"]
    assert _walked([_range(subnet="10.1.0.0/30")], last="fd00::9") == ["10.1.0.2"]


def test_a_walk_of_a_huge_range_costs_nothing_before_it_is_walked():
    walk = RangeSet.of([_range(subnet="fd00::/16")], 0).walk(None)

    assert [str(next(walk)[0]) for _ in range(2)] == ["fd00::2", "fd00::3"]


@st.composite
def _range_sets(draw: st.DrawFn) -> RangeSet:
    """Up to three ranges of a few dozen addresses, each in a subnet of its own."""
    ranges = []
    for subnet in range(draw(st.integers(1, 3))):
        first = draw(st.integers(1, 60))
        last = draw(st.integers(first, 62))
        gateway = draw(st.integers(0, 63))
        ranges.append(
            _range(
                subnet=f"10.0.{subnet}.0/26",
                rangeStart=f"10.0.{subnet}.{first}",
                rangeEnd=f"10.0.{subnet}.{last}",
                gateway=f"10.0.{subnet}.{gateway}",
            )
        )
    return RangeSet.of(ranges, 0)


@given(_range_sets(), st.data())
def test_a_walk_yields_every_address_but_gateways_once_in_order_beginning_after_the_last(
    chosen, data
):
    everything = [
        (ip_address(number), one)
        for one in chosen.ranges
        for number in range(int(one.start), int(one.end) + 1)
    ]
    at = data.draw(st.integers(-1, len(everything) - 1))
    last = everything[at][0] if at >= 0 else None

    rotated = everything[at + 1 :] + everything[: at + 1]
    expected = [(address, one) for address, one in rotated if address != one.gateway]
    assert list(chosen.walk(last)) == expected


@given(_range_sets(), st.integers(0, 2**32 - 1))
def test_an_address_is_held_by_the_range_that_it_lies_in(chosen, number):
    address = ip_address(number)
    expected = [r for r in chosen.ranges if int(r.start) <= number <= int(r.end)]

    assert chosen.holding(address) == (expected[0] if expected else None)
