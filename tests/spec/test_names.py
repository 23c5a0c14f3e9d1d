"""Identifiers (SPEC sections 1 and 2): what a container, network, interface or plugin may be called."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podnet.cni import names
from podnet.cni.errors import CniError, InvalidConfigError, InvalidEnvironmentError

IDENTIFIERS = ["a", "0", "web", "a.b_c-d", "0.._--", "A" * 300, "cnitool-77383ca0a0715733ca6f"]
NOT_IDENTIFIERS = [
    "a\n",
    "\na",
    "a b",
    ".hidden",
    "-flag",
    "_private",
    "..",
    "../../etc",
    "a/b",
    "a:b",
    "a\0",
    "é",
    "\uff11",
    "a\u0301",
]


@pytest.mark.parametrize("text", IDENTIFIERS)
def test_letters_digits_dots_dashes_and_underscores_may_name_containers_and_networks(text):
    """SPEC sections 1 and 2; no limit of length is given."""
    assert names.is_identifier(text)
    names.check_container_id(text)
    names.check_network_name(text)


@pytest.mark.parametrize("text", ["", *NOT_IDENTIFIERS])
def test_anything_else_is_no_identifier(text):
    assert not names.is_identifier(text)


def test_a_trailing_newline_in_a_container_id_is_refused():
    """Trap: Python's $ accepts a trailing newline."""
    with pytest.raises(InvalidEnvironmentError) as raised:
        names.check_container_id("web\n")

    assert raised.value.code == 4
    assert raised.value.msg == "invalid characters in containerID"
    assert raised.value.details == r"'web\n'"


def test_a_trailing_newline_in_a_network_name_is_refused():
    """Trap: Python's $ accepts a trailing newline."""
    with pytest.raises(InvalidConfigError) as raised:
        names.check_network_name("demo\n")

    assert raised.value.code == 7
    assert raised.value.msg == "invalid characters found in network name"
    assert raised.value.details == r"'demo\n'"


@pytest.mark.parametrize("container_id", NOT_IDENTIFIERS)
def test_a_container_id_with_other_characters_is_an_invalid_environment(container_id):
    """From libcni api_test: invalid containerID is code 4.  Trap: it ends up in paths."""
    with pytest.raises(InvalidEnvironmentError) as raised:
        names.check_container_id(container_id)

    assert (raised.value.code, raised.value.details) == (4, repr(container_id))


def test_an_empty_container_id_is_an_unknown_container():
    """From libcni utils: code 3."""
    with pytest.raises(CniError) as raised:
        names.check_container_id("")

    assert (raised.value.code, raised.value.msg) == (3, "missing containerID")


@pytest.mark.parametrize("name", NOT_IDENTIFIERS)
def test_a_network_name_with_other_characters_is_an_invalid_configuration(name):
    """From libcni api_test: invalid networkName is code 7.  Trap: it ends up in paths."""
    with pytest.raises(InvalidConfigError) as raised:
        names.check_network_name(name)

    assert (raised.value.code, raised.value.details) == (7, repr(name))


def test_an_empty_network_name_is_missing():
    with pytest.raises(InvalidConfigError) as raised:
        names.check_network_name("")

    assert (raised.value.code, raised.value.msg) == (7, "missing network name")


@pytest.mark.parametrize(
    "ifname",
    [
        "eth0",
        "a",
        "exactly15bytes.",
        "...",
        'a"b',
        "a\\b",
        "-",
        "é" * 7,
        "a\x1cb",
        "a\x1fb",
        "a\u200bb",
        "\udcff" * 15,
    ],
)
def test_the_kernel_takes_nearly_anything_as_an_interface_name(ifname):
    """From libcni utils; Trap: str.isspace takes x1c to x1f, which Go's IsSpace does not."""
    names.check_ifname(ifname)


@pytest.mark.parametrize(
    ("ifname", "message"),
    [
        ("", "interface name is empty"),
        ("exactly16bytes..", "interface name is too long"),
        ("é" * 8, "interface name is too long"),
        ("\udcff" * 16, "interface name is too long"),
        (".", "interface name is . or .."),
        ("..", "interface name is . or .."),
        ("a/b", "interface name contains / or : or whitespace characters"),
        ("a:b", "interface name contains / or : or whitespace characters"),
        ("a b", "interface name contains / or : or whitespace characters"),
        ("eth0\n", "interface name contains / or : or whitespace characters"),
        ("a\0b", "interface name contains / or : or whitespace characters"),
        ("eth%d", "interface name contains %"),
        ("\ud800", "interface name is not Unicode text"),
    ],
)
def test_an_interface_name_that_the_kernel_refuses_is_an_invalid_environment(ifname, message):
    """From libcni api_test: ifname empty, too long, ., .., slash, colon, whitespace are code 4."""
    with pytest.raises(InvalidEnvironmentError) as raised:
        names.check_ifname(ifname)

    assert (raised.value.code, raised.value.msg) == (4, message)


# Unicode's White_Space property (PropList.txt).
WHITE_SPACE = [
    *[0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x20, 0x85, 0xA0, 0x1680],
    *[0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200A],
    *[0x2028, 0x2029, 0x202F, 0x205F, 0x3000],
]


@pytest.mark.parametrize("space", WHITE_SPACE, ids=hex)
def test_all_of_unicodes_white_space_is_refused_in_an_interface_name(space):
    """Trap: Go's unicode.IsSpace is Unicode's White_Space property."""
    with pytest.raises(InvalidEnvironmentError, match="whitespace"):
        names.check_ifname(f"a{chr(space)}b")


def test_the_other_printable_characters_of_ascii_may_be_in_an_interface_name():
    for code in range(0x21, 0x7F):
        if chr(code) not in "/:%":
            names.check_ifname(f"a{chr(code)}b")


def test_an_interface_name_is_counted_in_bytes():
    """Trap: the limit is 15 bytes, not 15 characters."""
    names.check_ifname("ü" * 7 + "x")

    with pytest.raises(InvalidEnvironmentError, match="at most 15 bytes"):
        names.check_ifname("ü" * 8)


@pytest.mark.parametrize("plugin_type", ["bridge", "host-local", "a b", "...", "ä", "x.py"])
def test_a_plugin_type_is_the_name_of_a_file(plugin_type):
    names.check_plugin_type(plugin_type)


@pytest.mark.parametrize(
    "plugin_type", ["/bin/sh", "../bridge", "a/b", "bridge/", ".", "..", "a\0b"]
)
def test_a_plugin_type_is_never_a_path(plugin_type):
    """Trap: the search path must not be escaped."""
    with pytest.raises(InvalidConfigError, match="invalid plugin name") as raised:
        names.check_plugin_type(plugin_type)

    assert raised.value.code == 7
    assert raised.value.msg == f"invalid plugin name: {plugin_type!r}"
    assert raised.value.details == "a type is a file name, never a path"


def test_a_plugin_type_is_text_that_a_file_can_be_called():
    r"""Trap: JSON may say "\ud800", which no file name can hold."""
    names.check_plugin_type("\udcff")

    with pytest.raises(InvalidConfigError) as raised:
        names.check_plugin_type("\ud800")

    assert raised.value.msg == r"invalid plugin name: '\ud800'"
    assert raised.value.details == "it is not Unicode text"


def test_a_plugin_needs_a_type():
    """From libcni invoke find_test: no plugin name provided."""
    with pytest.raises(InvalidConfigError) as raised:
        names.check_plugin_type("")

    assert (raised.value.code, raised.value.msg) == (7, "no plugin name provided")


@settings(deadline=None, max_examples=100)
@given(st.text(st.characters(), max_size=20))
def test_a_check_passes_no_path_and_raises_nothing_but_cni_errors(text):
    for check in (
        names.check_container_id,
        names.check_network_name,
        names.check_ifname,
        names.check_plugin_type,
    ):
        with suppress(CniError):
            check(text)
            assert text
            assert "/" not in text
            assert text not in {".", ".."}
