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
