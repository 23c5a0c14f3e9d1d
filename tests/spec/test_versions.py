"""Versions and verbs (SPEC sections 1, 2 and 4): which exist, and which one is chosen."""

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podnet.cni import versions
from podnet.cni.errors import DecodeError, IncompatibleVersionError, InvalidConfigError
from podnet.cni.versions import LATEST, RELEASED, PluginVersions, Verb


def test_seven_versions_of_the_spec_were_released():
    assert RELEASED == ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
    assert LATEST == "1.1.0"


def test_released_versions_are_listed_from_old_to_new():
    assert sorted(RELEASED, key=versions.key) == list(RELEASED)


def test_versions_are_ordered_as_numbers():
    assert versions.key("0.10.0") > versions.key("0.9.99")
    assert versions.key("12.3.45") == (12, 3, 45)


def test_no_version_is_version_0_1_0():
    """From libcni version_test: GE and GT of the empty version."""
    assert versions.key("") == versions.key("0.1.0") == (0, 1, 0)


@pytest.mark.parametrize(
    "version",
    [
        "0.",
        "..",
        "1",
        "1.1",
        "1.2.3.4.5",
        "1.1.0-rc1",
        "v1.0.0",
        "junk",
        " 1.0.0",
        "1.0.0\n",
        "1.-1.0",
        "1..0",
        "\u0660.\u0661.\u0660",
        f"1.0.{'0' * 5000}",
    ],
)
def test_a_version_is_three_numbers(version):
    """From libcni version_test: ParseVersion of a bad list."""
    with pytest.raises(InvalidConfigError, match="invalid cniVersion") as raised:
        versions.key(version)

    assert raised.value.code == 7
    assert raised.value.details == 'it reads like "1.0.0"'


@pytest.mark.parametrize(
    ("version", "other", "answer"),
    [
        ("1.0.0", "1.0.0", True),
        ("1.0.0", "0.4.0", True),
        ("0.4.0", "1.0.0", False),
        ("0.3.1", "0.3.0", True),
        ("0.3.0", "0.3.1", False),
        ("", "0.1.0", True),
        ("", "0.2.0", False),
    ],
)
def test_a_version_is_at_least_itself_and_every_older_one(version, other, answer):
    """From libcni version_test: GreaterThanOrEqualTo."""
    assert versions.at_least(version, other) is answer


@pytest.mark.parametrize("version", ["", *RELEASED])
@pytest.mark.parametrize("verb", [Verb.ADD, Verb.DEL, Verb.VERSION])
def test_add_del_and_version_exist_in_every_version(version, verb):
    assert versions.supports(version, verb)


@pytest.mark.parametrize(
    ("verb", "since"), [(Verb.CHECK, "0.4.0"), (Verb.GC, "1.1.0"), (Verb.STATUS, "1.1.0")]
)
def test_check_came_with_0_4_0_and_gc_and_status_with_1_1_0(verb, since):
    """SPEC history.  Trap: libcni gates STATUS and GC at 1.1.0 and CHECK at 0.4.0."""
    with_it = [version for version in RELEASED if versions.supports(version, verb)]

    assert with_it == list(RELEASED[RELEASED.index(since) :])


def test_del_is_given_the_previous_result_since_0_4_0():
    assert versions.PREV_RESULT_ON_DEL_SINCE == "0.4.0"


@pytest.mark.parametrize(
    ("verb", "parameters"),
    [
        (Verb.ADD, {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"}),
        (Verb.CHECK, {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"}),
        (Verb.DEL, {"CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"}),
        (Verb.GC, {"CNI_PATH"}),
        (Verb.STATUS, {"CNI_PATH"}),
        (Verb.VERSION, set()),
    ],
)
def test_each_verb_requires_its_parameters(verb, parameters):
    """From libcni skel_test: the required and optional env tables."""
    assert set(versions.REQUIRED[verb]) == parameters


def test_the_table_of_parameters_knows_every_verb():
    assert set(versions.REQUIRED) == set(Verb)


def test_a_verb_is_spelled_as_in_cni_command():
    assert [str(verb) for verb in Verb] == ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"]


@pytest.mark.parametrize(
    ("cni_version", "cni_versions", "chosen"),
    [
        ("0.4.0", (), ("0.4.0",)),
        ("", (), ("0.1.0",)),
        ("0.3.1", [], ("0.3.1",)),
        ("", ["0.3.1", "1.0.0", "0.4.0"], ("1.0.0", "0.4.0", "0.3.1")),
        ("0.4.0", ["0.3.1"], ("0.4.0", "0.3.1")),
        ("0.3.1", ["0.4.0", "1.0.0"], ("1.0.0", "0.4.0", "0.3.1")),
        ("1.0.0", ["1.0.0"], ("1.0.0",)),
        ("", ["1.1.0", "100.0.0"], ("1.1.0",)),
        ("1.0.0", ["1.2.0", "2.0.0"], ("1.0.0",)),
        ("9.9.9", ["0.4.0"], ("0.4.0",)),
        ("", ["", "0.2.0"], ("0.2.0", "0.1.0")),
    ],
)
def test_the_versions_a_configuration_allows_come_newest_first(cni_version, cni_versions, chosen):
    """From libcni conf_test: max, cap at supported, falls back, merges, empty array."""
    assert versions.candidates(cni_version, cni_versions) == chosen


def test_cni_versions_are_compared_as_numbers_and_never_as_text():
    """From libcni conf_test: picks the maximum."""
    assert versions.candidates("", ["0.10.0", "0.4.0", "1.0.0"])[0] == "1.0.0"


def test_a_version_that_was_never_released_is_passed_over():
    """Trap: libcni takes 1.0.5, the largest number below its own."""
    assert versions.candidates("0.4.0", ["1.0.5"]) == ("0.4.0",)


@pytest.mark.parametrize("bad", ["1.1.0-rc1", "junk", "1.1"])
def test_an_entry_of_cni_versions_that_is_no_version_is_refused(bad):
    """From libcni conf_test: an invalid entry fails, whatever stands next to it."""
    with pytest.raises(InvalidConfigError, match=f"invalid cniVersion '{bad}'"):
        versions.candidates("1.0.0", ["0.4.0", bad])


def test_a_configuration_that_allows_only_unknown_versions_is_incompatible():
    with pytest.raises(IncompatibleVersionError) as raised:
        versions.candidates("2.0.0", ["1.5.0"])

    assert raised.value.code == 1
    assert raised.value.msg == "unknown cniVersion 1.5.0, 2.0.0"
    assert "0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0" in raised.value.details


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from([*RELEASED, "0.5.0", "1.0.5", "2.0.0"])), st.sampled_from(RELEASED))
def test_exactly_the_released_versions_of_those_asked_for_are_allowed(asked, own):
    chosen = versions.candidates(own, asked)

    assert set(chosen) == {own, *asked} & set(RELEASED)
    assert list(chosen) == sorted(chosen, key=RELEASED.index, reverse=True)


def test_the_answer_to_version_is_read():
    """From libcni plugin_test: decodes the supported versions."""
    answer = PluginVersions.from_wire(
        {"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"], "unknown": 1}
    )

    assert answer == PluginVersions(("0.4.0", "1.0.0"), "1.0.0")


def test_supported_versions_are_kept_as_they_are_spelled():
    """From libcni api_test: GetVersionInfo returns "0.-42.0" verbatim."""
    answer = PluginVersions.from_wire(
        {"cniVersion": "0.1.0", "supportedVersions": ["0.-42.0", "0.1.0"]}
    )

    assert answer.supported == ("0.-42.0", "0.1.0")
    assert answer.speaks("0.-42.0")


@pytest.mark.parametrize("supported", [{}, {"supportedVersions": []}, {"supportedVersions": None}])
def test_an_answer_of_0_2_0_without_a_list_means_0_1_0_and_0_2_0(supported):
    """From libcni plugin_test: version 0.2.0 is special; get_version_integration_test."""
    answer = PluginVersions.from_wire({"cniVersion": "0.2.0"} | supported)

    assert answer == PluginVersions(("0.1.0", "0.2.0"), "0.2.0")


def test_a_list_in_an_answer_of_0_2_0_is_believed():
    answer = PluginVersions.from_wire({"cniVersion": "0.2.0", "supportedVersions": ["0.1.0"]})

    assert answer.supported == ("0.1.0",)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({}, "cniVersion"),
        ({"supportedVersions": ["1.0.0"]}, "cniVersion"),
        ({"cniVersion": "", "supportedVersions": ["1.0.0"]}, "cniVersion"),
        ({"cniVersion": "1.0.0"}, "supportedVersions"),
        ({"cniVersion": "0.1.0", "supportedVersions": []}, "supportedVersions"),
    ],
)
def test_an_answer_to_version_that_lacks_a_field_is_refused(value, field):
    """From libcni plugin_test: missing field cniVersion, missing field supportedVersions."""
    with pytest.raises(InvalidConfigError) as raised:
        PluginVersions.from_wire(value)

    assert raised.value.msg == f"decoding version info: missing field {field}"


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ([], "the answer to VERSION must be an object, not a list"),
        (None, "the answer to VERSION must be an object, not null"),
        ({"cniVersion": 1}, "the answer to VERSION.cniVersion must be a string, not 1"),
        (
            {"cniVersion": "1.0.0", "supportedVersions": "1.0.0"},
            'the answer to VERSION.supportedVersions must be a list, not "1.0.0"',
        ),
        (
            {"cniVersion": "1.0.0", "supportedVersions": ["1.0.0", 1]},
            "the answer to VERSION.supportedVersions[1] must be a string, not 1",
        ),
    ],
)
def test_an_answer_to_version_of_the_wrong_shape_is_refused(value, complaint):
    """From libcni plugin_test: decode errors."""
    with pytest.raises(DecodeError) as raised:
        PluginVersions.from_wire(value)

    assert raised.value.msg == complaint


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(), min_size=1), st.text(min_size=1))
def test_an_answer_to_version_survives_the_wire(supported, cni_version):
    answer = PluginVersions(tuple(supported), cni_version)

    assert PluginVersions.from_wire(answer.to_wire()) == answer


def test_an_answer_to_version_is_a_value():
    answer = PluginVersions(RELEASED)

    assert hash(answer) == hash(PluginVersions(RELEASED))
    with pytest.raises(FrozenInstanceError):
        answer.supported = ()  # type: ignore[misc]


def test_an_answer_to_version_is_written_in_the_latest_version():
    assert PluginVersions(("0.4.0",)).to_wire() == {
        "cniVersion": "1.1.0",
        "supportedVersions": ["0.4.0"],
    }


@pytest.mark.parametrize(
    ("cni_version", "answer"), [("1.0.0", True), ("0.4.0", False), ("", True), ("1.0", False)]
)
def test_a_plugin_speaks_exactly_the_versions_it_lists(cni_version, answer):
    """From libcni api_test: ValidateNetwork; a version omitted is 0.1.0."""
    assert PluginVersions(("0.1.0", "1.0.0")).speaks(cni_version) is answer


ALL = PluginVersions(RELEASED)
OLD = PluginVersions(("0.3.1", "0.4.0"))


@pytest.mark.parametrize(
    ("allowed", "plugins", "newest"),
    [
        (["1.1.0", "1.0.0"], [ALL], "1.1.0"),
        (["1.1.0", "0.4.0", "0.3.1"], [ALL, OLD], "0.4.0"),
        (["0.3.1", "0.4.0"], [OLD, ALL], "0.4.0"),
        (["1.1.0", "1.0.0"], [ALL, OLD], None),
        (["1.0.0", "1.1.0"], [], "1.1.0"),
        ([], [ALL], None),
    ],
)
def test_the_newest_version_that_all_plugins_speak_is_chosen(allowed, plugins, newest):
    """From libcni reconcile_test; SPEC section 1, "cniVersions"."""
    assert versions.newest_common(iter(allowed), iter(plugins)) == newest
