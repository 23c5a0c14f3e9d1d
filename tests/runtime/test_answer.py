"""What a plugin's answer means: a table of everything a process can say (SPEC section 5)."""

from pathlib import Path
from typing import Any

import pytest

from podnet import answer
from podnet.answer import PluginDriftError, PluginError, PluginTimedOutError
from podnet.cni import wire
from podnet.cni.result import Result
from podnet.cni.versions import Verb
from podnet.errors import DriftError, TimedOutError
from podnet.execute import Outcome
from podnet.plan import Invocation

RESULT = b'{"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5/24"}]}'


def outcome(
    stdout: bytes = b"",
    stderr: bytes = b"",
    *,
    status: int | None = 0,
    verb: Verb = Verb.ADD,
    **how: Any,
) -> Outcome:
    """Return what became of the second plugin of three."""
    step = Invocation(
        verb=verb,
        plugin="tuning",
        network="demo",
        position=1,
        chain=3,
        environment={},
        stdin={},
    )
    return Outcome(
        invocation=step,
        binary=Path("/opt/cni/bin/tuning"),
        started=0.0,
        exit_status=status,
        stdout=stdout,
        stderr=stderr,
        **how,
    )


def failure(told: Outcome) -> PluginError:
    """Return the error that *told* is."""
    with pytest.raises(PluginError) as caught:
        answer.raise_for_failure(told)
    return caught.value


def no_result(stdout: bytes) -> PluginError:
    """Return the error that *stdout* is where a result should be."""
    told = outcome(stdout)
    answer.raise_for_failure(told)
    with pytest.raises(PluginError) as caught:
        answer.result(told, "1.0.0")
    return caught.value


# --- a plugin that failed


@pytest.mark.parametrize(
    ("stdout", "stderr", "code", "said"),
    [
        (b"", b"", 0, "it gave no reason: nothing on stdout or stderr"),
        (b" \n", b"\n", 0, "it gave no reason: nothing on stdout or stderr"),
        (b"", b"only stderr\n", 0, 'no error object; stderr: "only stderr"'),
        (b'{"code":7,"msg":"bad"}', b"noise", 7, "bad"),
        (b'{"code":7,"msg":"bad","details":"worse"}\n', b"", 7, "bad; worse"),
        (b'{"cniVersion":"1.0.0","code":100,"msg":"mine"}', b"", 100, "mine"),
        (b'{"code":11}', b"", 11, "it gave no message"),
        (b'{"code":11,"msg":""}', b"", 11, "it gave no message"),
        (b'{"code":5,"msg":7,"details":[]}', b"", 5, "it gave no message"),
        (b"{}", b"", 0, 'it printed "{}", which is no error object'),
        (b'{"msg":"x"}', b"", 0, 'it printed "{"msg":"x"}", which is no error object'),
        (b"null", b"", 0, 'it printed "null", which is no error object'),
        (b"[7]", b"", 0, 'it printed "[7]", which is no error object'),
        (b"oops", b"", 0, 'it printed "oops", which is not JSON'),
        (b"\xff", b"", 0, 'it printed "\\xff", which is not JSON'),
        (b'{"code":"7","msg":"x"}', b"", 0, "which is no error object"),
        (b'{"code":-1,"msg":"x"}', b"", 0, "which is no error object"),
        (b'{"code":7.5,"msg":"x"}', b"", 0, "which is no error object"),
        (b'{"code":true,"msg":"x"}', b"", 0, "which is no error object"),
    ],
)
def test_what_a_failed_plugin_printed_is_what_is_told(stdout, stderr, code, said):
    """From libcni invoke: error JSON, stderr-only message, no output message; Trap 11."""
    error = failure(outcome(stdout, stderr, status=3)).error

    assert error.code == code
    assert str(error).endswith(said)


def test_a_result_does_not_make_a_failure_a_success():
    """Trap 11: the exit status decides, and what was printed is shown."""
    error = failure(outcome(RESULT, status=1)).error

    assert error.code == 0
    assert "10.1.0.5/24" in error.msg


def test_two_documents_are_told_by_the_last_one():
    """Not covered upstream: two JSON docs, a result and then skel's error; Trap 11."""
    late = b'{"code": 8, "msg": "netns should not be the same", "details": "d"}'

    error = failure(outcome(RESULT + b"\n" + late, status=1)).error

    assert (error.code, error.msg) == (8, "netns should not be the same")
    assert error.details == "d; it printed 2 JSON documents; the last one is the error"


def test_two_documents_that_are_no_errors_are_shown():
    error = failure(outcome(b"{} {}", status=1)).error

    assert (error.code, error.msg) == (0, 'it printed "{} {}", which is no error object')


def test_an_error_with_garbage_after_it_is_still_read():
    error = failure(outcome(b'{"code": 5, "msg": "disk"} trailing', status=1)).error

    assert (error.code, error.msg) == (5, "disk")


def test_long_output_is_cut_in_the_message():
    error = failure(outcome(b"x" * 5000, status=1)).error

    assert error.msg == f'it printed "{"x" * 400}…", which is not JSON'


def test_output_that_is_nested_without_end_is_not_json():
    error = failure(outcome(b"[" * 100_000, status=1)).error

    assert error.msg.endswith("which is not JSON")


def test_a_failure_says_who_where_which_verb_and_how_it_ended():
    """From libcni api_test: the error's wrapper names the plugin; code 50 is reachable."""
    error = failure(outcome(b'{"code":50,"msg":"full"}', status=3, verb=Verb.STATUS))

    assert str(error) == "plugin tuning (2 of 3) of network demo failed on STATUS: full"
    assert error.explanation == (
        "CNI code 50 (the plugin is not available, it cannot service ADD requests); exit status 3"
    )
    assert error.exit_code == 3
    assert error.error.code == 50
    assert error.outcome.exit_status == 3


def test_a_signal_is_told_with_what_was_on_stderr():
    error = failure(outcome(RESULT, b"dying\n", status=None, signal=9))

    assert str(error.error) == 'killed by signal 9 (SIGKILL); "dying"'
    assert error.error.code == 0


def test_a_timeout_is_an_error_of_its_own():
    """From libcni api_test: sleep plugin; unlike there, the timeout is named."""
    problem = "timed out after 2 s; its process group was killed"

    error = failure(outcome(status=None, signal=9, problem=problem, timed_out=True))

    assert isinstance(error, PluginTimedOutError)
    assert isinstance(error, TimedOutError)
    assert error.exit_code == 124
    assert str(error).endswith(problem)


def test_a_problem_beats_whatever_was_printed():
    problem = "wrote more than 8 MiB to stdout; its process group was killed"

    error = failure(outcome(b'{"code":7,"msg":"x"}', status=0, problem=problem)).error

    assert (error.code, error.msg) == (0, problem)


def test_a_busy_file_is_code_11():
    """Trap 10: ETXTBSY exhaustion is loud, with the code to try again."""
    problem = "/x is still being written (text file busy); try again later"

    assert failure(outcome(status=None, problem=problem)).error.code == 11


def test_a_failed_check_is_a_difference():
    error = failure(outcome(b'{"code":100,"msg":"no route"}', status=1, verb=Verb.CHECK))

    assert isinstance(error, PluginDriftError)
    assert isinstance(error, DriftError)
    assert error.exit_code == 4


@pytest.mark.parametrize(
    "how",
    [
        {"status": None, "signal": 11},
        {"status": None, "problem": "/x cannot be run: no"},
        {"status": None, "signal": 9, "problem": "timed out", "timed_out": True},
    ],
)
def test_a_check_that_crashed_found_no_difference(how):
    assert not isinstance(failure(outcome(verb=Verb.CHECK, **how)), DriftError)


@pytest.mark.parametrize("verb", [Verb.DEL, Verb.CHECK, Verb.GC, Verb.STATUS])
@pytest.mark.parametrize("stdout", [b"", RESULT, b"garbage", b'{"code":7,"msg":"bad"}'])
def test_exit_status_0_is_success_whatever_was_printed(verb, stdout):
    """Not covered upstream: exit 0 with error JSON; Trap 11."""
    answer.raise_for_failure(outcome(stdout, b"noise", verb=verb))


# --- the result of an ADD


def test_a_result_is_read_in_its_own_version():
    """From libcni invoke: exec, the result is unmarshalled."""
    result = answer.result(outcome(RESULT), "0.4.0")

    assert result.cni_version == "1.0.0"
    assert str(result.ips[0].address) == "10.1.0.5/24"


@pytest.mark.parametrize(
    "said", [b"{}", b'{"cniVersion":""}', b'{"cniVersion":7}', b"null", b" null\n"]
)
def test_a_result_without_a_version_has_the_configurations(said):
    """From libcni invoke: result version missing or empty is the config's."""
    assert answer.result(outcome(said), "0.4.0") == Result(cni_version="0.4.0")


def test_a_result_without_any_version_is_010():
    """From libcni invoke: both versions empty is 0.1.0."""
    assert answer.result(outcome(b"{}"), "").cni_version == "0.1.0"


def test_leading_white_space_is_no_harm():
    """From libcni: megabytes of leading white space are fine."""
    assert answer.result(outcome(b" \n" * 1_500_000 + RESULT), "1.0.0").ips


@pytest.mark.parametrize(
    ("stdout", "code", "said"),
    [
        (b"", 6, "its output is empty"),
        (b"  \n", 6, "its output is empty"),
        (b"[]", 6, "the result must be an object, not a list"),
        (b'"text"', 6, "the result must be an object, not a string"),
        (b"garbage", 6, "its output is not valid JSON"),
        (RESULT + b"garbage", 6, "its output is not valid JSON"),
        (RESULT + RESULT, 6, "it printed 2 JSON documents instead of one result"),
        (b"\xef\xbb\xbf{}", 6, "byte order mark"),
        (b"\xff", 6, "is not UTF-8"),
        (b'{"cniVersion":"0.9.0"}', 1, "unsupported CNI result version '0.9.0'"),
        (b'{"cniVersion":"1.1"}', 1, "unsupported CNI result version '1.1'"),
        (b'{"ips":[{"address":"10.1.0.5"}]}', 6, "not an address with a prefix"),
        (b'{"ips":[{}]}', 6, "not an address with a prefix"),
        (b'{"ips":[{"address":"10.1.0.5/24","interface":1.5}]}', 6, "whole number"),
        (b'{"mtu":NaN}', 6, "NaN is not a JSON number"),
    ],
)
def test_what_is_not_exactly_one_result_is_an_error(stdout, code, said):
    """From libcni: failed to unmarshal raw result; Trap 11."""
    error = no_result(stdout).error

    assert error.code == code
    assert said in str(error)


def test_an_error_object_on_exit_status_0_is_no_empty_result():
    """Not covered upstream: exit 0 with error JSON; libcni takes it for an empty result."""
    error = no_result(b'{"code":7,"msg":"bad"}').error

    assert (error.code, error.msg) == (7, "exited with 0, but printed an error: bad")


# --- VERSION


def probe(stdout: bytes = b"", *, status: int = 0) -> Outcome:
    """Return what became of a VERSION."""
    return outcome(stdout, status=status, verb=Verb.VERSION)


def test_versions_are_told_as_the_plugin_spells_them():
    """From libcni api_test: GetVersionInfo, the list includes "0.-42.0" verbatim."""
    said = b'{"cniVersion":"0.-42.0","supportedVersions":["0.-42.0","1.0.0"]}'

    assert answer.versions(probe(said)).supported == ("0.-42.0", "1.0.0")


def test_an_answer_of_020_may_leave_the_list_out():
    """From libcni invoke: get_version integration, 0.2.0 without a list."""
    assert answer.versions(probe(b'{"cniVersion":"0.2.0"}')).supported == ("0.1.0", "0.2.0")


def test_a_plugin_that_does_not_know_version_speaks_010():
    """From libcni invoke: `unknown CNI_COMMAND: VERSION` means 0.1.0."""
    said = b'{"code":100,"msg":"unknown CNI_COMMAND: VERSION"}'

    assert answer.versions(probe(said, status=1)).supported == ("0.1.0",)


def test_any_other_failure_of_version_is_a_failure():
    """From libcni invoke: version, the plugin's error."""
    with pytest.raises(PluginError, match="failed on VERSION: bad"):
        answer.versions(probe(b'{"code":100,"msg":"bad"}', status=1))


@pytest.mark.parametrize(
    ("stdout", "said"),
    [
        (b"", "empty"),
        (b"bleh", "not valid JSON"),
        (b"[]", "must be an object"),
        (b'{"supportedVersions":["1.0.0"]}', "missing field cniVersion"),
        (b'{"cniVersion":"1.0.0"}', "missing field supportedVersions"),
        (b'{"cniVersion":"1.0.0","supportedVersions":[1]}', "must be a string"),
    ],
)
def test_an_answer_to_version_that_is_none_is_an_error(stdout, said):
    """From libcni pkg/version: plugin info decode errors."""
    with pytest.raises(PluginError) as caught:
        answer.versions(probe(stdout))

    assert said in str(caught.value)
    assert caught.value.error.code in {6, 7}


# --- notes


def test_nothing_is_odd_about_a_quiet_success():
    assert answer.notes(outcome(RESULT)) == []
    assert answer.notes(outcome(RESULT, b"a few words", verb=Verb.DEL)) == []


def test_a_process_in_the_background_is_noted():
    assert answer.notes(outcome(left_behind=True)) == ["left a process running in the background"]


def test_much_on_stderr_is_noted():
    assert answer.notes(outcome(stderr=b"x" * 65537)) == ["wrote 65537 bytes to stderr"]
    assert answer.notes(outcome(stderr=b"x" * 65536)) == []


@pytest.mark.parametrize("before", [b"", RESULT])
def test_an_error_printed_on_success_is_noted(before):
    """Not covered upstream: exit 0 with error JSON."""
    told = outcome(before + b'{"code":7,"msg":"bad"}', verb=Verb.DEL)

    assert answer.notes(told) == ["exited with 0, but printed an error: bad"]


def test_numbers_of_an_error_survive_any_size():
    big = 10**25

    assert (
        failure(outcome(wire.dumps({"code": big, "msg": "x"}).encode(), status=1)).error.code == big
    )
