"""What somebody wrote as YAML is read, or refused: never a traceback, never without end."""

import pytest
import yaml

from podnet import positions

LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 10)}]}}\n"
    for level in range(1, 10)
)
CHAIN = "a0: &a0 [x]\n" + "".join(
    f"a{level}: &a{level} [*a{level - 1}]\n" for level in range(1, 120)
)


@pytest.mark.parametrize("read", [positions.load, positions.of])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: " + "[" * 500, "deeper than 100"),
        ("steps: " + "[" * 120 + "]" * 120, "deeper than 100"),
        (LAUGHS, "its aliases say more"),
        (MERGES, "its aliases say more"),
        (CHAIN, "deeper than 100"),
        ("a: &a [*a]", "holds itself"),
    ],
    ids=["unclosed", "deep", "laughs", "merges", "chain", "itself"],
)
def test_what_is_without_bounds_is_refused_in_a_sentence(read, text, said):
    with pytest.raises(yaml.YAMLError, match=said):
        read(text)


@pytest.mark.parametrize("text", ["a: .inf", "a: 0b_", f"a: {'9' * 5000}"])
def test_a_number_that_json_has_not_is_refused_in_a_sentence(text):
    with pytest.raises(yaml.YAMLError, match="a number that JSON has not"):
        positions.load(text)


def test_aliases_are_read_as_what_they_stand_for():
    assert positions.load("a: &a {x: [1]}\nb: *a\nc: {<<: *a, y: 2}") == {
        "a": {"x": [1]},
        "b": {"x": [1]},
        "c": {"x": [1], "y": 2},
    }
    assert positions.of("a: &a [1]\nb: *a")[("b", 0)] == (1, 8)
