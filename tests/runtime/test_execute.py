"""Plugins as processes: found, run, read, bounded and ended, by real scripts on a real kernel."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from podnet import answer, execute, locks, plan
from podnet.cni.errors import CniError, DecodeError
from podnet.cni.result import Result
from podnet.cni.versions import Verb
from podnet.errors import PodnetError, UsageError
from podnet.execute import ProcessExecutor, search_path
from podnet.plan import Invocation
from podnet.testing import calls, stub_plugin

MEBIBYTE = 1024 * 1024
ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/web",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "",
    "CNI_PATH": "/opt/cni/bin",
}


def request(plugin: str = "stub", **stdin: object) -> Invocation:
    """Return an invocation of ADD."""
    return Invocation(
        verb=Verb.ADD,
        plugin=plugin,
        network="demo",
        environment=ENVIRONMENT,
        stdin={"cniVersion": "1.1.0", "name": "demo", "type": plugin} | stdin,
    )


def executor(*directories: Path, timeout: float = 10.0, **inherited: str) -> ProcessExecutor:
    """Return an executor over *directories*, with PATH and *inherited* in its environment."""
    return ProcessExecutor(
        path=tuple(map(str, directories)),
        timeout=timeout,
        environment={"PATH": os.environ["PATH"]} | inherited,
    )


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


def pid_in(path: Path) -> int:
    """Return the process ID that a script has written to *path*."""
    return int(path.read_text())


def died_soon(pid: int) -> bool:
    """Wait a moment for a killed process to be gone."""
    deadline = time.monotonic() + 2
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


@contextmanager
def being_written(path: Path) -> Iterator[None]:
    """Hold *path* open for writing, as an installer does."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        yield
    finally:
        os.close(descriptor)


# --- what a plugin is given


def test_a_plugin_gets_the_parameters_and_the_request(tmp_path):
    """From libcni invoke: raw_exec delivers stdin and env, and returns the stdout bytes."""
    stub_plugin(tmp_path, "stub", stdout='{"cniVersion": "1.1.0"}\n')

    outcome = executor(tmp_path).run(request(mtu=1400.0))

    ((environment, stdin),) = calls(tmp_path, "stub")
    assert {k: v for k, v in environment.items() if k.startswith("CNI_")} == ENVIRONMENT
    assert stdin == {"cniVersion": "1.1.0", "name": "demo", "type": "stub", "mtu": 1400}
    assert outcome.stdout == b'{"cniVersion": "1.1.0"}\n'
    assert (outcome.exit_status, outcome.signal, outcome.problem) == (0, None, "")
    assert outcome.binary == tmp_path / "stub"
    assert 0 < outcome.duration < 10
    assert abs(outcome.started - time.time()) < 10


def test_the_bytes_on_stdin_are_exact(tmp_path):
    """Trap 2: Go refuses 1500.0; the stdin is compact JSON with integers."""
    stub_plugin(tmp_path, "stub")

    executor(tmp_path).run(request(mtu=1500.0, text="<&\u2028", big=9007199254740993))

    assert (tmp_path / "stub.calls" / "0.stdin").read_bytes() == (
        b'{"cniVersion":"1.1.0","name":"demo","type":"stub","mtu":1500,'
        b'"text":"<&\\u2028","big":9007199254740993}'
    )


def test_inherited_parameters_are_overridden_and_the_rest_is_inherited(tmp_path):
    """From libcni invoke: args env override is placed last and deduplicated; Trap 3."""
    stub_plugin(tmp_path, "stub")
    inherited = dict.fromkeys(ENVIRONMENT, "stale") | {
        "CNI_NETNS_OVERRIDE": "1",
        "NETCONFPATH": "/etc/x",
        "ODD": "a=b c",
    }

    replace(executor(tmp_path), environment=inherited | {"PATH": os.environ["PATH"]}).run(request())

    ((environment, _),) = calls(tmp_path, "stub")
    assert {k: environment[k] for k in ENVIRONMENT} == ENVIRONMENT
    assert environment["CNI_NETNS_OVERRIDE"] == "1"
    assert environment["NETCONFPATH"] == "/etc/x"
    assert environment["ODD"] == "a=b c"


def test_the_whole_environment_of_podnet_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("PODNET_TEST_MARK", "here")
    stub_plugin(tmp_path, "stub")

    ProcessExecutor(path=(str(tmp_path),)).run(request())

    ((environment, _),) = calls(tmp_path, "stub")
    assert environment["PODNET_TEST_MARK"] == "here"
    assert environment["PATH"] == os.environ["PATH"]


def test_an_inherited_trace_is_passed_on(tmp_path):
    stub_plugin(tmp_path, "stub")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    outcome = executor(tmp_path, TRACEPARENT=trace, TRACESTATE="v=1").run(request())

    ((environment, _),) = calls(tmp_path, "stub")
    assert environment["TRACEPARENT"] == outcome.traceparent == trace
    assert environment["TRACESTATE"] == "v=1"


def test_a_trace_is_started_where_there_is_none(tmp_path):
    stub_plugin(tmp_path, "stub")

    outcome = executor(tmp_path).run(request())

    ((environment, _),) = calls(tmp_path, "stub")
    assert environment["TRACEPARENT"] == outcome.traceparent
    version, trace, span, flags = outcome.traceparent.split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")


def test_all_that_one_executor_runs_is_one_trace(tmp_path):
    stub_plugin(tmp_path, "stub")
    runner = executor(tmp_path)

    traces = [runner.run(request()).traceparent.split("-") for _ in range(2)]
    other = executor(tmp_path).run(request()).traceparent.split("-")

    assert traces[0][1] == traces[1][1] != other[1]
    assert traces[0][2] != traces[1][2]


def test_a_plugin_has_a_process_group_of_its_own(tmp_path):
    stub_plugin(tmp_path, "stub", script='cut -d" " -f5 /proc/$$/stat; echo $$')

    group, pid = executor(tmp_path).run(request()).stdout.split()

    assert group == pid
    assert int(group) != os.getpgrp()


def test_plugins_inherit_the_locks(tmp_path):
    stub_plugin(tmp_path, "stub", script="readlink /proc/$$/fd/* | grep [.]lock$")

    with locks.container(tmp_path / "locks", "c1") as held:
        outcome = replace(executor(tmp_path), keep_open=held).run(request())
        without = executor(tmp_path).run(request())

    assert sorted(outcome.stdout.decode().split()) == sorted(
        [str(tmp_path / "locks/gc.lock"), str(tmp_path / "locks/container-c1.lock")]
    )
    assert without.stdout == b""


def test_an_invocation_that_awaits_a_result_is_not_run(tmp_path):
    stub_plugin(tmp_path, "stub")
    waiting = replace(request(), awaits_result=True)

    with pytest.raises(PodnetError, match="still waits for the result"):
        executor(tmp_path).run(waiting)
    assert calls(tmp_path, "stub") == []

    executor(tmp_path).run(waiting.after(Result()))
    assert len(calls(tmp_path, "stub")) == 1


# --- what it may do with its streams


def test_a_plugin_need_not_read_three_megabytes_of_stdin(tmp_path):
    path = stub_plugin(tmp_path, "stub")
    path.write_text("#!/bin/sh\necho done\n")

    outcome = executor(tmp_path).run(request(blob="x" * 3 * MEBIBYTE))

    assert (outcome.stdout, outcome.exit_status, outcome.problem) == (b"done\n", 0, "")


def test_a_plugin_that_writes_before_it_reads_does_not_deadlock(tmp_path):
    path = stub_plugin(tmp_path, "stub")
    path.write_text(
        "#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' ' '\nwc -c\n"
        "head -c 1000000 /dev/zero >&2\n"
    )
    invocation = request(blob="x" * 3 * MEBIBYTE)

    outcome = executor(tmp_path).run(invocation)

    assert len(outcome.stdout) == 3_000_000 + len(outcome.stdout.lstrip(b" "))
    assert int(outcome.stdout) == len(execute.request_bytes(invocation))
    assert outcome.stderr == bytes(1_000_000)


@pytest.mark.parametrize(("stream", "redirect"), [("stdout", ""), ("stderr", ">&2")])
def test_a_plugin_that_floods_a_stream_is_killed(tmp_path, stream, redirect):
    stub_plugin(tmp_path, "stub", script=f"exec yes {redirect}")

    outcome = executor(tmp_path).run(request())

    assert outcome.problem == f"wrote more than 8 MiB to {stream}; its process group was killed"
    assert len(getattr(outcome, stream)) == 8 * MEBIBYTE
    assert not outcome.timed_out


def test_output_up_to_the_bound_is_all_there(tmp_path):
    stub_plugin(tmp_path, "stub", script=f"head -c {8 * MEBIBYTE} /dev/zero")

    outcome = executor(tmp_path).run(request())

    assert len(outcome.stdout) == 8 * MEBIBYTE
    assert (outcome.problem, outcome.exit_status) == ("", 0)


def test_stderr_is_kept_next_to_stdout(tmp_path):
    """From libcni invoke: raw_exec forwards stderr; podnet keeps it on failure too."""
    stub_plugin(tmp_path, "stub", stdout='{"code": 7, "msg": "bad"}', stderr="why\n", status=3)

    outcome = executor(tmp_path).run(request())

    assert outcome.stdout == b'{"code": 7, "msg": "bad"}'
    assert outcome.stderr == b"why\n"
    assert outcome.exit_status == 3
    assert outcome.ending == "exit status 3"


def test_plugins_run_for_a_podnet_without_standard_streams(tmp_path):
    """A service may be started with 0, 1 and 2 closed: the pipes must not end up there."""
    stub_plugin(tmp_path, "stub", stdout="out", stderr="err")
    program = (
        "import sys; from pathlib import Path; from podnet import execute, plan\n"
        "done = execute.ProcessExecutor(path=(sys.argv[1],)).run(plan.version('stub'))\n"
        "Path(sys.argv[1], 'told').write_text(f'{done.stdout} {done.stderr} {done.ending}')\n"
    )

    subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program, str(tmp_path)],
        check=True,
    )

    assert (tmp_path / "told").read_text() == "b'out' b'err' exit status 0"
    ((_, stdin),) = calls(tmp_path, "stub")
    assert stdin == {"cniVersion": "1.1.0"}


# --- how it may end


def test_a_timeout_kills_the_whole_process_group(tmp_path):
    """From libcni api_test: sleep plugin, timeout error; Trap 9."""
    stub_plugin(
        tmp_path,
        "stub",
        script=f"sleep 60 & echo $! > {tmp_path}/grandchild\necho said\necho $$ > {tmp_path}/child\nwait",
    )
    began = time.monotonic()

    outcome = executor(tmp_path, timeout=0.3).run(request())

    assert 0.3 <= time.monotonic() - began < 1.5
    assert outcome.timed_out
    assert outcome.problem == "timed out after 0.3 s; its process group was killed"
    assert outcome.ending == outcome.problem
    assert outcome.stdout == b"said\n"
    assert not is_alive(pid_in(tmp_path / "child"))
    assert died_soon(pid_in(tmp_path / "grandchild"))


def test_a_timeout_does_not_wait_for_a_pipe_that_a_grandchild_holds(tmp_path):
    """Trap 9: a grandchild that left the process group keeps stdout open."""
    stub_plugin(
        tmp_path,
        "stub",
        script=f"setsid sleep 60 & echo $! > {tmp_path}/grandchild\nsleep 60",
    )
    began = time.monotonic()

    outcome = executor(tmp_path, timeout=0.3).run(request())

    elapsed = time.monotonic() - began
    os.kill(pid_in(tmp_path / "grandchild"), signal.SIGKILL)
    assert outcome.timed_out
    assert elapsed < 1.5


def test_a_plugin_that_ignores_sigterm_times_out_all_the_same(tmp_path):
    stub_plugin(tmp_path, "stub", script="trap '' TERM INT HUP\nwhile :; do sleep 1; done")

    outcome = executor(tmp_path, timeout=0.2).run(request())

    assert outcome.timed_out
    assert (outcome.signal, outcome.exit_status) == (signal.SIGKILL, None)


def test_a_plugin_that_left_its_process_group_times_out_all_the_same(tmp_path):
    """Trap 9: whatever it does to its group, the wait is bounded."""
    path = stub_plugin(tmp_path, "stub")
    path.write_text(
        f"#!{sys.executable} -IS\nimport os, time\n"
        f"os.setpgid(0, os.getpgid(os.getppid()))\nprint('left', flush=True)\ntime.sleep(8)\n"
    )
    began = time.monotonic()

    outcome = executor(tmp_path, timeout=0.5).run(request())

    assert outcome.stdout == b"left\n"
    assert outcome.timed_out
    assert time.monotonic() - began < 2


def test_a_grandchild_that_holds_stdout_does_not_delay(tmp_path):
    """Not covered upstream: grandchild holding stdout; Trap 9."""
    stub_plugin(
        tmp_path,
        "stub",
        stdout='{"cniVersion": "1.1.0"}',
        script=f"sleep 60 & echo $! > {tmp_path}/grandchild",
    )
    began = time.monotonic()

    outcome = executor(tmp_path).run(request())

    elapsed = time.monotonic() - began
    os.kill(pid_in(tmp_path / "grandchild"), signal.SIGKILL)
    assert elapsed < 1.0
    assert outcome.stdout == b'{"cniVersion": "1.1.0"}'
    assert outcome.left_behind
    assert not outcome.timed_out
    assert answer.notes(outcome) == ["left a process running in the background"]


def test_a_background_child_without_pipes_is_reported_too(tmp_path):
    stub_plugin(
        tmp_path,
        "stub",
        script=f"sleep 60 </dev/null >/dev/null 2>&1 & echo $! > {tmp_path}/grandchild",
    )

    outcome = executor(tmp_path).run(request())

    os.kill(pid_in(tmp_path / "grandchild"), signal.SIGKILL)
    assert outcome.left_behind
    assert outcome.exit_status == 0


def test_nothing_is_left_behind_by_a_plugin_that_waits_for_its_children(tmp_path):
    stub_plugin(tmp_path, "stub", script="sleep 0.01 & wait")

    assert not executor(tmp_path).run(request()).left_behind


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV"), (40, signal.strsignal(40))],
)
def test_a_plugin_that_is_killed_says_by_which_signal(tmp_path, number, words):
    stub_plugin(tmp_path, "stub", stderr="", script=f"kill -{int(number)} $$")

    outcome = executor(tmp_path).run(request())

    assert (outcome.exit_status, outcome.signal, outcome.problem) == (None, number, "")
    assert outcome.ending == f"killed by signal {int(number)} ({words})"
    assert repr(outcome) == f"<Outcome <ADD stub (1/1 of demo)>: {outcome.ending}>"


def test_an_interrupt_ends_the_plugin(tmp_path):
    """The interrupt comes as Ctrl-C does: a signal, while we wait."""
    stub_plugin(
        tmp_path, "stub", script=f"echo $$ > {tmp_path}/child\nkill -INT {os.getpid()}\nsleep 60"
    )
    began = time.monotonic()

    with pytest.raises(KeyboardInterrupt):
        executor(tmp_path).run(request())

    assert time.monotonic() - began < 5
    assert not is_alive(pid_in(tmp_path / "child"))


def test_descriptors_are_not_leaked(tmp_path):
    stub_plugin(tmp_path, "stub", stdout="x")
    stub_plugin(tmp_path, "slow", script="sleep 60")
    runner = executor(tmp_path, timeout=0.1)
    runner.run(request())
    before = len(list(Path("/proc/self/fd").iterdir()))

    runner.run(request())
    runner.run(request("slow"))

    assert len(list(Path("/proc/self/fd").iterdir())) == before


# --- when it cannot be started


def test_a_file_that_is_being_written_is_tried_again(tmp_path, monkeypatch):
    """From libcni issue 763 (ETXTBSY): retried with a new process; Trap 10."""
    path = stub_plugin(tmp_path, "stub", stdout="ran")
    writer = os.open(path, os.O_WRONLY)
    waited: list[float] = []

    def installed_meanwhile(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            os.close(writer)

    monkeypatch.setattr(time, "sleep", installed_meanwhile)

    outcome = executor(tmp_path).run(request())

    assert waited == [0.05, 0.1]
    assert (outcome.stdout, outcome.exit_status, outcome.problem) == (b"ran", 0, "")
    assert len(calls(tmp_path, "stub")) == 1


def test_a_file_that_stays_busy_is_an_error_to_try_again_later(tmp_path, monkeypatch):
    """Not covered upstream: ETXTBSY exhaustion; Trap 10: code 11, never success."""
    monkeypatch.setattr(execute, "_BUSY_WAITS", (0.001, 0.001))
    path = stub_plugin(tmp_path, "stub")

    with being_written(path):
        outcome = executor(tmp_path).run(request())

    assert outcome.problem == (f"{path} is still being written (text file busy); try again later")
    assert (outcome.exit_status, outcome.signal) == (None, None)
    with pytest.raises(answer.PluginError) as caught:
        answer.raise_for_failure(outcome)
    assert caught.value.error.code == 11
    assert calls(tmp_path, "stub") == []


def test_waiting_for_a_busy_file_honours_the_timeout(tmp_path):
    """Trap 10: libcni's sleep ignores the deadline."""
    path = stub_plugin(tmp_path, "stub")
    began = time.monotonic()

    with being_written(path):
        outcome = executor(tmp_path, timeout=0.2).run(request())

    assert time.monotonic() - began < 0.5
    assert "text file busy" in outcome.problem


def test_nothing_but_a_busy_file_is_tried_again(tmp_path, monkeypatch):
    def never(_: float) -> None:
        raise AssertionError("waited")

    monkeypatch.setattr(time, "sleep", never)
    path = stub_plugin(tmp_path, "stub")
    path.write_text("#!/does/not/exist\n")

    assert executor(tmp_path).run(request()).problem


def test_a_missing_interpreter_is_named_as_such(tmp_path):
    path = stub_plugin(tmp_path, "stub")
    path.write_text("#!/does/not/exist\n")

    outcome = executor(tmp_path).run(request())

    assert outcome.problem == (
        f"{path} cannot be run: the interpreter in its first line does not exist"
    )
    assert outcome.exit_status is None


def test_a_file_that_is_no_program_is_named_as_such(tmp_path):
    """From libcni invoke: raw_exec, the plugin cannot be executed (ENOEXEC)."""
    path = stub_plugin(tmp_path, "stub")
    path.write_bytes(b"\x00\x01 nothing")

    outcome = executor(tmp_path).run(request())

    assert outcome.problem == (
        f"{path} cannot be run: neither a program nor a script with a first line '#!…'"
    )
    with pytest.raises(answer.PluginError) as caught:
        answer.raise_for_failure(outcome)
    assert caught.value.error.code == 0


def test_whatever_else_keeps_it_from_running_is_said(tmp_path):
    path = stub_plugin(tmp_path, "stub")
    path.write_text(f"#!{tmp_path}\n")  # a directory cannot interpret

    outcome = executor(tmp_path).run(request())

    assert outcome.problem == f"{path} cannot be run: {os.strerror(errno.EACCES)}"


# --- finding


def test_the_first_directory_that_has_it_wins(tmp_path):
    """From libcni invoke: find, first hit."""
    stub_plugin(tmp_path / "b", "stub")
    stub_plugin(tmp_path / "c", "stub")

    found = executor(tmp_path / "a", tmp_path / "b", tmp_path / "c").find("stub")

    assert found == tmp_path / "b/stub"


def test_a_plugin_that_is_nowhere_is_told_with_the_path(tmp_path):
    """From libcni invoke: find, the text of not found."""
    with pytest.raises(UsageError) as caught:
        executor(Path("/a"), Path("/b")).find("nosuch")

    assert caught.value.message == 'failed to find plugin "nosuch" in path [/a /b]'
    assert caught.value.exit_code == 2


def test_without_directories_nothing_is_found():
    """From libcni invoke: find, no paths."""
    with pytest.raises(UsageError, match="no plugin directories given"):
        executor().find("stub")


@pytest.mark.parametrize("name", ["", "../stub", "a/stub", "..", ".", "/bin/sh"])
def test_a_name_that_is_a_path_is_refused(tmp_path, name):
    """From libcni invoke: find, no name, separator in the name."""
    stub_plugin(tmp_path, "stub")

    with pytest.raises(CniError) as caught:
        executor(tmp_path).find(name)

    assert caught.value.code == 7


def test_running_a_missing_plugin_is_an_error_of_its_own(tmp_path):
    """From libcni invoke: exec, default exec with a missing path."""
    with pytest.raises(UsageError, match="failed to find plugin"):
        executor(tmp_path).run(request("nosuch"))


def test_a_file_that_is_not_executable_shadows_one_that_is(tmp_path):
    """Not covered upstream: non-exec file shadowing; Trap 21."""
    shadow = tmp_path / "a/stub"
    shadow.parent.mkdir()
    shadow.write_text("#!/bin/sh\n")
    stub_plugin(tmp_path / "b", "stub")

    with pytest.raises(UsageError) as caught:
        executor(tmp_path / "a", tmp_path / "b").find("stub")

    assert caught.value.message == f"plugin {shadow} is not executable"
    assert f"chmod +x {shadow}" in caught.value.hint


def test_a_directory_of_that_name_is_passed_over(tmp_path):
    """Trap 21: a directory is no plugin."""
    (tmp_path / "a/stub").mkdir(parents=True)
    stub_plugin(tmp_path / "b", "stub")

    assert executor(tmp_path / "a", tmp_path / "b").find("stub") == tmp_path / "b/stub"


def test_a_symbolic_link_is_followed_and_a_dangling_one_passed_over(tmp_path):
    """Trap 21: symlinks are followed."""
    target = stub_plugin(tmp_path / "elsewhere", "real", stdout="real")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/stub").symlink_to("/does/not/exist")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/stub").symlink_to(target)

    outcome = executor(tmp_path / "a", tmp_path / "b").run(request())

    assert outcome.binary == tmp_path / "b/stub"
    assert outcome.stdout == b"real"


def test_search_paths_are_joined_without_empty_elements_and_duplicates():
    """Not covered upstream: empty CNI_PATH element; Trap 21."""
    assert search_path("/b:/a::/b:", ["/c", "", "/a"], None, "") == ("/b", "/a", "/c")
    assert search_path() == ()


def test_relative_directories_become_absolute(tmp_path, monkeypatch):
    """Trap 21: a relative element would mean another directory in every process."""
    monkeypatch.chdir(tmp_path)

    assert search_path("bin:/x/../y") == (str(tmp_path / "bin"), "/y")


def test_a_request_that_json_cannot_say_is_an_error():
    """Trap 2: NaN and Infinity."""
    with pytest.raises(DecodeError):
        execute.request_bytes(request(ratio=float("nan")))


def test_version_is_asked_of_a_real_process(tmp_path):
    """From libcni invoke: version, command and dummy env values."""
    stub_plugin(
        tmp_path, "stub", stdout={"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}
    )

    outcome = executor(tmp_path).run(plan.version("stub"))

    assert answer.versions(outcome).supported == ("1.0.0", "1.1.0")
    ((environment, stdin),) = calls(tmp_path, "stub")
    assert environment["CNI_PATH"] == environment["CNI_NETNS"] == environment["CNI_IFNAME"]
    assert environment["CNI_PATH"] == "dummy"
    assert stdin == {"cniVersion": "1.1.0"}
