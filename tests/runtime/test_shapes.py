"""What a configuration may hold, checked against what a plugin says of itself."""

from typing import Any

import pytest

from podnet.cni.errors import DecodeError
from podnet.cni.wire import Fields
from podnet.shapes import Problem, Shape, check

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {
        "mtu": {"type": "integer", "minimum": 68, "maximum": 9000},
        "mode": {"type": "string", "enum": ["a", "b"]},
        "on": {"type": "boolean"},
        "names": {"type": "array", "items": {"type": "string"}},
        "sysctl": {"type": "object", "additionalProperties": {"type": "string"}},
        "trunk": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"id": {"type": "integer"}},
                "required": ["id"],
                "additionalProperties": False,
            },
        },
        "anything": {"type": "object"},
    },
    "required": ["mode"],
    "additionalProperties": False,
}


def _check(**value: object) -> list[Problem]:
    return list(check({"mode": "a"} | value, Shape.of(Fields(SCHEMA))))


def test_a_good_value_has_no_problems():
    good: dict[str, Any] = {
        "mtu": 68,
        "on": False,
        "names": ["x"],
        "sysctl": {"a.b": "1"},
        "trunk": [{"id": 1}],
        "anything": {"at": ["all"]},
    }

    assert _check(**good) == []


@pytest.mark.parametrize(
    ("value", "where", "message"),
    [
        ({"mtu": 67}, ("mtu",), "mtu must be at least 68, not 67"),
        ({"mtu": 9001}, ("mtu",), "mtu must be at most 9000, not 9001"),
        ({"mtu": "68"}, ("mtu",), 'mtu must be a whole number, not "68"'),
        ({"mtu": True}, ("mtu",), "mtu must be a whole number, not true"),
        ({"mtu": 1500.0}, ("mtu",), "mtu must be a whole number, not 1500"),
        ({"mode": "c"}, ("mode",), 'mode must be "a" or "b", not "c"'),
        ({"on": "yes"}, ("on",), 'on must be true or false, not "yes"'),
        ({"names": "x"}, ("names",), 'names must be a list, not "x"'),
        ({"names": ["x", 1]}, ("names", 1), "names[1] must be a string, not 1"),
        ({"sysctl": {"a": 1}}, ("sysctl", "a"), "sysctl.a must be a string, not 1"),
        ({"sysctl": []}, ("sysctl",), "sysctl must be an object, not a list"),
        ({"trunk": [{}]}, ("trunk", 0), "trunk[0].id is missing"),
        ({"mode": None}, (), "mode is missing"),
    ],
)
def test_a_mistake_has_its_place_and_names_the_value(value, where, message):
    assert _check(**value) == [Problem(where, message)]


def test_keys_that_need_or_exclude_one_another_are_looked_at_together():
    both = {"properties": {"a": {"const": True}, "b": {"const": True}}, "required": ["a", "b"]}
    more = {"properties": {"a": {"const": True}}, "required": ["a"], "type": "object"}
    schema = {"dependencies": {"rate": ["burst"]}, "allOf": [{"not": both}, {"not": more}]}
    shape = Shape.of(Fields(schema))

    assert list(check({"rate": 0, "a": True, "b": False}, shape)) == []
    assert list(check({"Rate": 5, "A": True, "b": True}, shape)) == [
        Problem(("Rate",), "rate needs burst"),
        Problem(("A",), "a and b exclude each other"),
    ]


def test_names_match_in_any_case_and_keep_their_spelling_in_the_place():
    assert _check(MTU=1500, TRUNK=[{"ID": 1}]) == []
    [problem] = _check(MTU=1)
    assert (problem.where, problem.message) == (("MTU",), "MTU must be at least 68, not 1")


def test_null_is_an_absent_value():
    assert _check(mtu=None, names=None, trunk=[{"id": 1}, None]) == []


def test_an_unknown_key_is_harmless_and_has_a_hint():
    assert _check(nmaes=[]) == [
        Problem(("nmaes",), "the plugin has no key nmaes", "did you mean names?", harmless=True)
    ]
    [inner] = _check(trunk=[{"id": 1, "zzz": 2}])
    assert (inner.where, inner.hint) == (("trunk", 0, "zzz"), "known: id")


@pytest.mark.parametrize(
    "made",
    [
        {"type": 5},
        {"properties": []},
        {"properties": {"a": "string"}},
        {"minimum": "0"},
        {"required": "a"},
        {"items": {"type": []}},
    ],
)
def test_a_schema_that_is_none_is_refused(made):
    with pytest.raises(DecodeError):
        Shape.of(Fields(made))


def test_a_bottomless_schema_is_refused():
    made: dict[str, object] = {}
    for _ in range(500):
        made = {"items": made}

    with pytest.raises(DecodeError, match="nested too deeply"):
        Shape.of(Fields(made))


def test_words_that_are_not_known_forbid_nothing():
    assert list(check({"a": 1}, Shape.of(Fields({"type": "tuple", "patternProperties": {}})))) == []
