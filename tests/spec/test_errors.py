"""Errors (SPEC section 5, "Error"): codes, what they mean, and the object that is printed."""

import pytest

from podnet.cni import wire
from podnet.cni.errors import (
    FIRST_PLUGIN_CODE,
    MEANINGS,
    CniError,
    Code,
    DecodeError,
    IncompatibleVersionError,
    InvalidConfigError,
    InvalidEnvironmentError,
    meaning,
)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "no code given"),
        (1, "incompatible CNI version"),
        (2, "unsupported field"),
        (3, "container unknown"),
        (4, "environment variables"),
        (5, "I/O failure"),
        (6, "decode"),
        (7, "invalid network configuration"),
        (8, "network namespace"),
        (11, "try again later"),
        (50, "cannot service ADD"),
        (51, "limited connectivity"),
        (999, "uncoded error"),
    ],
)
def test_every_reserved_code_has_its_meaning_in_words(code, words):
    """SPEC section 5, "Error"; 0, 8 and 999 are libcni's."""
    assert words in meaning(code)


def test_the_table_of_meanings_covers_exactly_the_codes_there_are():
    assert set(MEANINGS) == set(Code)


@pytest.mark.parametrize("code", [-1, 9, 10, 12, 49, 52, 99])
def test_a_code_below_100_without_a_meaning_is_reserved(code):
    assert meaning(code) == "reserved, not assigned"


@pytest.mark.parametrize("code", [100, 101, 998, 1000])
def test_codes_from_100_on_belong_to_the_plugin(code):
    assert code >= FIRST_PLUGIN_CODE
    assert meaning(code) == "specific to the plugin"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CniError, 999),
        (IncompatibleVersionError, 1),
        (InvalidEnvironmentError, 4),
        (DecodeError, 6),
        (InvalidConfigError, 7),
    ],
)
def test_the_class_of_an_error_decides_its_code(error, code):
    raised = error("what happened")

    assert isinstance(raised, CniError)
    assert raised.code == code


def test_a_code_given_to_an_error_wins_over_the_class():
    assert CniError("missing containerID", code=Code.UNKNOWN_CONTAINER).code == 3


def test_code_zero_is_a_code_and_not_the_absence_of_one():
    """From libcni: a plugin that dies without a word gives code 0."""
    assert CniError("netplugin failed with no error message", code=0).code == 0


def test_an_error_reads_as_its_message():
    """From libcni types_test: Error strings."""
    assert str(CniError("some message")) == "some message"


def test_an_error_introduces_itself_in_one_line():
    error = InvalidConfigError("no name", details="give one")

    assert repr(error) == "InvalidConfigError('no name', 'give one')"


def test_the_details_of_an_error_follow_its_message_after_a_semicolon():
    """From libcni types_test: Error strings."""
    assert str(CniError("some message", "some details")) == "some message; some details"


def test_an_error_is_printed_with_version_code_message_and_details():
    error = InvalidConfigError("no plugins in list", "add one")

    assert error.to_wire("1.1.0") == {
        "cniVersion": "1.1.0",
        "code": 7,
        "msg": "no plugins in list",
        "details": "add one",
    }


def test_version_and_details_are_left_out_of_the_printed_error_when_empty():
    assert CniError("oops").to_wire() == {"code": 999, "msg": "oops"}


def test_a_printed_code_is_a_bare_number():
    assert wire.dumps(IncompatibleVersionError("no").to_wire()) == '{"code":1,"msg":"no"}'


def test_a_decode_error_knows_where_the_text_breaks():
    error = DecodeError("not JSON", "near: {", line=3, column=14)

    assert (error.line, error.column, error.details) == (3, 14, "near: {")


def test_a_decode_error_about_a_shape_has_no_place():
    error = DecodeError("name must be a string")

    assert (error.line, error.column) == (0, 0)
