"""What a string may be: by a format's word, and so that the system can be told it at all."""

import pytest

from podnet.cni import formats


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("eth0 \N{GREEK SMALL LETTER OMEGA} \U0001f600", ""),
        ("a\0b", "has a NUL in it"),
        ("\ud83d", "has half a surrogate pair in it"),
        ("\udfff\0", "has half a surrogate pair in it"),
    ],
)
def test_what_neither_a_path_nor_a_name_can_hold_is_unfit(text, reason):
    assert formats.unfit(text) == reason


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ""),
        ("eth0", ""),
        ("a" * 16, "interface name is too long"),
    ],
)
def test_an_ifname_is_what_an_interface_may_be_called(text, problem):
    assert formats.problem(formats.IFNAME, text).startswith(problem)
    assert bool(formats.problem(formats.IFNAME, text)) == bool(problem)


def test_a_format_that_nobody_knows_forbids_nothing():
    assert formats.problem("hostname", "/") == ""


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (formats.IP, "fd00::1"),
        (formats.CIDR, "10.1.0.5/24"),
        (formats.SUBNET, "10.1.0.0/30"),
        (formats.SUBNET, "fd00:0::/64"),
        (formats.MAC, "02-00-00-00-00-0F"),
        (formats.MAC, ""),
    ],
)
def test_what_is_of_a_format_has_no_problem(word, text):
    assert formats.problem(word, text) == ""


@pytest.mark.parametrize(
    ("word", "text", "problem"),
    [
        (formats.IP, "10.1.0", "no IP address"),
        (formats.CIDR, "10.1.0.5", "no address with a prefix length, like 10.1.0.5/24"),
        (formats.SUBNET, "ten", "no subnet, which reads like 10.1.0.0/24"),
        (formats.SUBNET, "10.1.0.0", "the prefix length is missing"),
        (formats.SUBNET, "10.1.0.0/31", "Network 10.1.0.0/31 too small to allocate from"),
        (
            formats.SUBNET,
            "10.1.0.5/24",
            "Network has host bits set. For a subnet mask of length 24 the network address is 10.1.0.0",
        ),
        (formats.MAC, "02:00:00:00:00", "no hardware address"),
    ],
)
def test_what_is_not_is_told_why(word, text, problem):
    assert formats.problem(word, text) == problem
