"""What a string of a configuration may be: plugins and lint have it from one place."""

import pytest

from podnet.cni import formats
from podnet.cni.formats import CIDR, IFNAME, IP, MAC, SUBNET


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (IFNAME, "eth0.100"),
        (IP, "fd00::1"),
        (CIDR, "10.1.0.5/24"),
        (SUBNET, "10.1.0.0/30"),
        (SUBNET, "fd00:0::/64"),
        (MAC, "02-00-00-00-00-0F"),
        (MAC, ""),
        ("date-time", "never"),
    ],
)
def test_what_is_of_a_format_has_no_problem(word, text):
    assert formats.problem(word, text) == ""


@pytest.mark.parametrize(
    ("word", "text", "problem"),
    [
        (IFNAME, "a/b", "interface name contains / or : or whitespace characters"),
        (IP, "10.1.0", "no IP address"),
        (CIDR, "10.1.0.5", "no address with a prefix length, like 10.1.0.5/24"),
        (SUBNET, "ten", "no subnet, which reads like 10.1.0.0/24"),
        (SUBNET, "10.1.0.0", "the prefix length is missing"),
        (SUBNET, "10.1.0.0/31", "Network 10.1.0.0/31 too small to allocate from"),
        (
            SUBNET,
            "10.1.0.5/24",
            "Network has host bits set. For a subnet mask of length 24 the network address is 10.1.0.0",
        ),
        (MAC, "02:00:00:00:00", "no hardware address"),
    ],
)
def test_what_is_not_is_told_why(word, text, problem):
    assert formats.problem(word, text) == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\0b", "has a NUL in it"),
        ("a\ud800", "has half a surrogate pair in it"),
        ("\udc80", "has half a surrogate pair in it"),
        ("a\n\N{PILE OF POO}", ""),
    ],
)
def test_some_strings_of_json_cannot_be_told_to_the_system(text, problem):
    assert formats.unfit(text) == problem
