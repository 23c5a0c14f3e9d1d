"""JSON as the other side reads and writes it: strictly, and the way Go does."""

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podnet.cni import wire
from podnet.cni.errors import DecodeError
from podnet.cni.wire import Fields

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None, max_examples=60)
@given(JSON, st.sampled_from([None, 2, 4]))
def test_what_is_written_is_read_again(value, indent):
    assert wire.loads(wire.dumps(value, indent=indent).encode()) == value


@settings(deadline=None, max_examples=100)
@given(st.floats(min_value=-9e20, max_value=9e20).map(math.trunc).map(float))
def test_a_whole_float_is_written_as_an_integer(number):
    """Trap: Go refuses 1500.0 for an int."""
    assert wire.dumps({"mtu": number}) == f'{{"mtu":{int(number)}}}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1500.0, "1500"),
        ({"a": [1.5e3, (2.0, {"b": 3.0})]}, '{"a":[1500,[2,{"b":3}]]}'),
        (1.5, "1.5"),
        (9007199254740993, "9007199254740993"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (-1e21, "-1e+21"),
        (True, "true"),
        ("1500.0", '"1500.0"'),
        ({"b": 1, "a": None}, '{"b":1,"a":null}'),
    ],
)
def test_values_are_written_the_way_go_reads_them(value, text):
    """Trap: integral floats become integers, integers keep every digit, keys keep their order."""
    assert wire.dumps(value) == text


def test_an_indented_document_has_its_lines():
    assert wire.dumps({"a": [1.0, 2]}, indent=2) == '{\n  "a": [\n    1,\n    2\n  ]\n}'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, {"a": [math.inf]}])
def test_what_is_not_a_number_is_never_written(value):
    """Trap: Python writes NaN and Infinity, which are not JSON."""
    with pytest.raises(DecodeError, match="cannot be written as JSON"):
        wire.dumps(value)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", {("a", "b"): 1}])
def test_what_json_cannot_say_is_an_error(value):
    with pytest.raises(DecodeError, match="cannot be written as JSON"):
        wire.dumps(value)


def test_a_value_nested_too_deeply_to_write_is_an_error():
    nest: list[object] = []
    nest.append(nest)

    with pytest.raises(DecodeError, match=r"^cannot be written as JSON: nested too deeply$"):
        wire.dumps(nest)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b' {"a": [1, 2.5, "x", true, null]}\n', {"a": [1, 2.5, "x", True, None]}),
        (b"null", None),
        (b'"\xc3\xa9"', "é"),
        (b"9007199254740993", 9007199254740993),
        (b'{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_a_document_is_read(text, value):
    """Trap: duplicate keys, where the last one wins, and integers, which keep every digit."""
    assert wire.loads(text) == value


def test_whole_numbers_are_read_as_integers_and_fractions_as_floats():
    assert [type(number) for number in (wire.loads(b"1500"), wire.loads(b"1500.0"))] == [int, float]


@pytest.mark.parametrize(
    "text", [b"NaN", b"[Infinity]", b'{"a": -Infinity}', b"[1e999]", b"-1e999"]
)
def test_numbers_that_json_or_go_does_not_have_are_refused(text):
    """Trap: Python reads NaN and Infinity, and 1e999 as infinity."""
    with pytest.raises(DecodeError, match="the conflist is not valid JSON") as raised:
        wire.loads(text, "the conflist")

    assert raised.value.code == 6


def test_a_number_of_thousands_of_digits_is_refused():
    with pytest.raises(DecodeError, match="JSON is not valid JSON: Exceeds the limit"):
        wire.loads(b"1" * 5000)


def test_a_byte_order_mark_is_refused_by_its_name():
    """Trap: editors on Windows write one."""
    with pytest.raises(DecodeError, match="byte order mark") as raised:
        wire.loads(b"\xef\xbb\xbf{}")

    assert (raised.value.line, raised.value.column) == (1, 1)


@pytest.mark.parametrize("text", [b"", b" ", b"\n\t\r\n"])
def test_an_empty_document_is_called_empty(text):
    with pytest.raises(DecodeError) as raised:
        wire.loads(text, "the result")

    assert raised.value.msg == "the result is empty"
    assert (raised.value.line, raised.value.column) == (1, 1)


@pytest.mark.parametrize(
    ("text", "line", "column", "near"),
    [
        (b'{"a": 1,}', 1, 9, 'near: {"a": 1,}'),
        (b'{\n  "a": 1,\n  // comment\n}', 3, 3, "near: // comment"),
        (b"{} {}", 1, 4, "near: {} {}"),
        (b'{"a": 1}\n{"b": 2}\n', 2, 1, 'near: {"b": 2}'),
        (b'{"a": 1,\n', 2, 1, 'near: {"a": 1,'),
        (b'{"a": "x\ty"}', 1, 9, 'near: {"a": "x\ty"}'),
        (b"1\n\x0c\n2", 2, 1, ""),
    ],
)
def test_a_broken_document_is_an_error_with_its_place(text, line, column, near):
    """Trap: comments, trailing commas and trailing documents are not JSON."""
    with pytest.raises(DecodeError) as raised:
        wire.loads(text, "x.conflist")

    error = raised.value
    assert error.msg.startswith("x.conflist is not valid JSON: ")
    assert error.msg.endswith(f" at line {line} column {column}")
    assert (error.line, error.column, error.details) == (line, column, near)


def test_only_newlines_count_as_lines():
    """Trap: Python's splitlines also splits at U+2028 and form feeds."""
    with pytest.raises(DecodeError) as raised:
        wire.loads('{"a": "x\u2028y",\n"b": 1,\n"c" 2}'.encode())

    assert (raised.value.line, raised.value.details) == (3, 'near: "c" 2}')


def test_the_excerpt_of_a_long_line_is_taken_where_it_breaks():
    text = (
        json.dumps({"padding": "x" * 500})[:-1] + ', "type" "bridge", "more": "' + "y" * 500 + '"}'
    )

    with pytest.raises(DecodeError) as raised:
        wire.loads(text.encode())

    assert '"type" "bridge"' in raised.value.details
    assert len(raised.value.details) <= len("near: ") + 80


@pytest.mark.parametrize(
    ("text", "line", "column", "byte"),
    [(b'{"a": "\xff"}', 1, 8, "ff"), (b'{\n"a":\n "\xe4"}', 3, 3, "e4")],
)
def test_bytes_that_are_not_utf_8_are_an_error_with_their_place(text, line, column, byte):
    with pytest.raises(DecodeError) as raised:
        wire.loads(text, "x.conflist")

    assert (
        raised.value.msg == f"x.conflist is not UTF-8: byte 0x{byte} at line {line} column {column}"
    )
    assert (raised.value.line, raised.value.column) == (line, column)


def test_a_document_nested_too_deeply_is_an_error():
    with pytest.raises(DecodeError, match="JSON is nested too deeply"):
        wire.loads(b"[" * 100_000)


@settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=60)
    | st.text(alphabet='{}[]",:0e1.-NaI \n\\ud8', max_size=40).map(str.encode)
)
def test_any_bytes_are_a_document_or_a_decode_error(text):
    with suppress(DecodeError):
        assert wire.loads(text) == json.loads(text)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "a boolean"),
        (1, "a number"),
        (1.5, "a number"),
        ("x", "a string"),
        ([], "a list"),
        ({}, "an object"),
    ],
)
def test_types_are_called_what_json_calls_them(value, name):
    assert wire.type_name(value) == name


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), ("x", '"x"'), (1.0, "1"), ([1], "a list"), ({"a": 1}, "an object")],
)
def test_values_are_shown_in_messages(value, text):
    assert wire.shown(value) == text


def test_a_long_value_is_shown_by_its_beginning():
    assert wire.shown("x" * 500) == '"' + "x" * 79


def test_fields_know_their_path():
    assert Fields({}).path("ipam") == "ipam"
    assert Fields({}, "plugins[0].ipam").path("type") == "plugins[0].ipam.type"


@pytest.mark.parametrize("key", ["prevResult", "PREVRESULT", "Null"])
def test_a_field_is_there_in_any_case_and_when_it_is_null(key):
    assert Fields({"prevResult": {}, "null": None}).has(key)
    assert not Fields({"prevResults": {}}).has(key)


def test_fields_match_in_any_case():
    """Trap: Go's encoding/json matches field names in any case."""
    fields = Fields({"Type": "bridge", "MTU": 1500, "isGATEWAY": True})

    assert fields.text("type") == "bridge"
    assert fields.number("mtu") == 1500
    assert fields.flag("isGateway") is True


def test_the_exact_spelling_of_a_field_comes_first():
    assert Fields({"TYPE": "other", "type": "bridge"}).text("type") == "bridge"


def test_an_exact_null_hides_another_spelling():
    assert Fields({"TYPE": "other", "type": None}).text("type", "default") == "default"


@pytest.mark.parametrize("values", [{}, {"x": None}, {"X": None}])
def test_a_field_that_is_absent_or_null_is_its_default(values):
    fields = Fields(values)

    assert fields.get("x") is None
    assert fields.text("x") == ""
    assert fields.text("x", "default") == "default"
    assert fields.flag("x") is False
    assert fields.flag("x", default=True) is True
    assert fields.number("x") is None
    assert fields.texts("x") == ()
    assert fields.child("x") is None
    assert list(fields.children("x")) == []


def test_fields_are_read_by_type():
    fields = Fields(
        {"t": "", "f": False, "n": 0, "ts": ["a", "b"], "c": {"d": 1}, "cs": [{"e": 1}, {"e": 2}]}
    )

    assert fields.text("t", "default") == ""
    assert fields.flag("f", default=True) is False
    assert fields.number("n") == 0
    assert fields.texts("ts") == ("a", "b")
    assert fields.child("c") == Fields({"d": 1}, "c")
    assert list(fields.children("cs")) == [Fields({"e": 1}, "cs[0]"), Fields({"e": 2}, "cs[1]")]


@pytest.mark.parametrize(
    ("method", "value", "complaint"),
    [
        (Fields.text, 1, "ipam.x must be a string, not 1"),
        (Fields.text, ["a"], "ipam.x must be a string, not a list"),
        (Fields.flag, "true", 'ipam.x must be true or false, not "true"'),
        (Fields.flag, 0, "ipam.x must be true or false, not 0"),
        (Fields.flag, {}, "ipam.x must be true or false, not an object"),
        (Fields.number, "1", 'ipam.x must be a whole number, not "1"'),
        (Fields.number, True, "ipam.x must be a whole number, not true"),
        (Fields.number, 1.5, "ipam.x must be a whole number, not 1.5"),
        (Fields.texts, "a", 'ipam.x must be a list, not "a"'),
        (Fields.texts, ["a", 1], "ipam.x[1] must be a string, not 1"),
        (Fields.texts, [None], "ipam.x[0] must be a string, not null"),
        (Fields.child, [], "ipam.x must be an object, not a list"),
        (Fields.child, False, "ipam.x must be an object, not a boolean"),
    ],
)
def test_a_field_of_the_wrong_type_is_an_error_with_its_path(method, value, complaint):
    fields = Fields({"x": value}, "ipam")

    with pytest.raises(DecodeError) as raised:
        method(fields, "x")

    assert raised.value.msg == complaint


def test_the_items_of_a_list_of_objects_are_objects():
    fields = Fields({"routes": [{}, "default"]})

    with pytest.raises(DecodeError) as raised:
        list(fields.children("routes"))

    assert raised.value.msg == "routes[1] must be an object, not a string"


def test_only_an_object_has_fields():
    with pytest.raises(DecodeError, match="the document must be an object, not a list"):
        Fields.of([])
    with pytest.raises(DecodeError, match="the result must be an object, not null"):
        Fields.of(None, "the result")
