"""A plugin in a worker finds what a fresh process would, and nothing of a call before it.

The plugin here is a probe that tells all it can see; it stands in a copy of podnet's own
package, so that the plugin host and the launcher find it where they find every plugin.
"""

import json
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import podnet
import podnet_plugins
from podnet.cni.versions import Verb
from podnet.execute import Outcome, ProcessExecutor
from podnet.node import Node
from podnet.plan import Invocation
from podnet.plugin_host import PluginHost

PACKAGE = Path(podnet_plugins.__file__).parent
# Workers that are forked ahead of need; there is an undertaker, too.
WAITING = 3
PROBE = """
import gc, json, os, resource, signal, socket, sys, threading, time

RUNS = []


def _open():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}").partition(":")[0]
        except FileNotFoundError:  # the one that lists
            pass
    # Where a forked plugin says how it ends; what it executes does not have it.
    found = {n: what for n, what in found.items() if int(n) < 3 or os.get_inheritable(int(n))}
    return found


def _world(asked):
    with open("/proc/self/status") as lines:
        status = dict(line.split(":\\t", 1) for line in lines)
    return {
        "asked": asked,
        "environment": dict(os.environ),
        "cwd": os.getcwd(),
        "open": _open(),
        "leads its group": os.getpgrp() == os.getpid(),
        "handlers": [str(signal.getsignal(n)) for n in signal.valid_signals()],
        "status": {k: status[k] for k in ("Umask", "SigBlk", "SigIgn", "SigCgt", "Threads")},
        "namespaces": [os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "uts", "mnt")],
        "hostname": socket.gethostname(),
        "runs": len(RUNS),
        "timer": signal.getitimer(signal.ITIMER_REAL),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "stdin": sys.stdin.buffer.peek(1).decode(),
        "path": sys.argv[1:],
    }


def _mess():
    RUNS.append(1)
    os.environ["MESS"] = "1"
    del os.environ["PATH"]
    os.chdir("/proc")
    os.umask(0o777)
    os.open("/dev/null", os.O_RDONLY)
    os.nice(5)
    signal.setitimer(signal.ITIMER_REAL, 1000)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    sys.stdout.write("{}")
    sys.stdout = None


def main():
    asked = json.load(sys.stdin)
    match asked.get("do"):
        case "mess":
            _mess()
        case "sleep":
            if os.fork():
                print(os.getpid(), flush=True)
            time.sleep(60)
        case "leave somebody":
            read, write = os.pipe()
            if not (child := os.fork()):
                if not os.fork():
                    os.write(write, str(os.getpid()).encode())
                    os.closerange(0, 3)
                    time.sleep(60)
                os._exit(0)
            os.waitpid(child, 0)
            print(os.read(read, 20).decode())
        case str(do) if do.startswith("exec "):
            print(os.getpid(), flush=True)
            exec(do.removeprefix("exec "), globals())
        case "who":
            print(os.getpid())
        case "fail":
            print(os.getpid())
            sys.exit(3)
        case "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "raise":
            raise ValueError("a defect")
        case _:
            print(json.dumps(_world(asked)))
"""


@dataclass(frozen=True, slots=True)
class Both:
    """The probe, forked and fresh."""

    directory: Path
    host: PluginHost

    def run(self, do: str = "", *, forked: bool = True, timeout: float = 30) -> Outcome:
        """Run it."""
        executor = ProcessExecutor(
            path=(str(self.directory),), host=self.host if forked else None, timeout=timeout
        )
        return executor.run(
            Invocation(
                verb=Verb.ADD,
                plugin="probe",
                environment={"CNI_COMMAND": "ADD", "CNI_ARGS": "Ä=ö"},
                stdin={"do": do, "text": "ü" * 100_000},
            )
        )

    def world(self, *, forked: bool = True) -> Any:
        """Return what it sees, but for an invocation's own trace and what the suite's runner leaks."""
        outcome = self.run(forked=forked)
        assert outcome.exit_status == 0, outcome
        seen = json.loads(outcome.stdout)
        del seen["environment"]["TRACEPARENT"]
        seen["environment"].pop("PWD", None)  # the shell that looks for Python says where it is
        seen["open"] = {n: what for n, what in seen["open"].items() if not _is_leaked(int(n))}
        return seen


def _is_leaked(descriptor: int) -> bool:
    """Tell whether we have a descriptor that every process we execute inherits."""
    try:
        return descriptor > 2 and os.get_inheritable(descriptor)
    except OSError:
        return False


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """A copy of the package with the probe in it."""
    root = tmp_path_factory.mktemp("probe")
    shutil.copytree(PACKAGE, root / "plugins" / "podnet_plugins")
    (root / "runtime").symlink_to(Path(podnet.__file__).parent.parent)
    (root / ".venv/bin").mkdir(parents=True)
    (root / ".venv/bin/python3").symlink_to(sys.executable)
    copy = root / "plugins" / "podnet_plugins"
    (copy / "probe.py").write_text(PROBE)
    shutil.copy(copy / "bin" / "bridge", copy / "bin" / "probe")
    host = PluginHost(copy / "bin")
    made = Both(copy / "bin", host)
    _until(lambda: len(_children(host, made)) > WAITING)
    yield made
    host.close()


def _children(host: PluginHost, both: Both | None = None) -> list[int]:
    """Return the processes that the host has forked and that have not ended."""
    if both is not None and not host.is_running:
        both.run()
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _parent(int(entry.name)) == host.pid
    ]


def _parent(pid: int) -> int:
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if state == "Z" else int(parent)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_forked_plugin_sees_what_a_fresh_process_sees(both):
    forked, fresh = (both.world(forked=way) for way in (True, False))

    assert forked == fresh
    assert forked["open"] == {"0": "pipe", "1": "pipe", "2": "pipe"}


def test_in_a_node_too(both, node):
    forked, fresh = (node.run(both.world, forked=way) for way in (True, False))

    assert forked == fresh
    assert forked["hostname"] == "test"


def test_it_starts_where_its_caller_is(both, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOMETHING", "new")

    seen = both.world()

    assert (seen["cwd"], seen["environment"]["SOMETHING"]) == (str(tmp_path), "new")
    monkeypatch.delenv("SOMETHING")
    assert "SOMETHING" not in both.world()["environment"]


def test_whatever_a_plugin_does_to_its_process_the_next_ones_do_not_see(both):
    before = both.world()

    for _ in range(6):  # more than there are workers that wait
        assert both.run("mess").stdout == b"{}"

    assert [both.world() for _ in range(6)] == [before] * 6


ONE_TRACE = {
    "a timer": "signal.setitimer(signal.ITIMER_REAL, 1000)",
    "niceness": "os.nice(5)",
    "a CPU of its own": "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
    "a file mode mask": "os.umask(0o777)",
    "a handler": "signal.signal(signal.SIGUSR1, lambda *_: None)",
    "a blocked signal": "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})",
    "something remembered": "RUNS.append(1)",
    "a module": "import wave",
    "a thread": "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "a child": "os.fork() or time.sleep(2)",
    "a limit": "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
}


@pytest.mark.parametrize("trace", ONE_TRACE)
def test_a_plugin_that_changes_its_process_is_its_workers_last(both, trace):
    do = ONE_TRACE[trace]
    if trace == "a CPU of its own" and len(os.sched_getaffinity(0)) == 1:
        pytest.skip("there is one CPU only")

    pids = [both.run(f"exec {do}").stdout for _ in range(3)]

    assert all(pids)
    assert not {*pids} & {both.run("who").stdout for _ in range(12)}


def test_workers_serve_one_call_after_another(both):
    pids = {both.run("who").stdout for _ in range(20)}

    assert len(pids) < 10


def test_a_plugin_that_fails_is_its_workers_last(both):
    failed = {both.run("fail").stdout for _ in range(6)}

    assert len(failed) == 6
    assert failed.isdisjoint(both.run("who").stdout for _ in range(12))


def test_a_plugin_that_leaves_somebody_behind_is_its_workers_last_and_is_told_of(both):
    outcome = both.run("leave somebody")
    left = int(outcome.stdout)

    assert outcome.left_behind
    worker = os.getpgid(left)
    assert str(worker).encode() not in {both.run("who").stdout.strip() for _ in range(12)}
    os.kill(left, signal.SIGKILL)


def test_a_worker_serves_nobody_else_while_its_caller_may_still_kill_it(both):
    child = both.host.start("probe", {}, (), time.monotonic() + 30)
    os.write(child.stdin, b'{"do": "who"}')
    os.close(child.stdin)
    assert child.wait() == 0

    others = {int(both.run("who").stdout) for _ in range(20)}

    assert child.pid not in others
    child.leave()
    _until(lambda: int(both.run("who").stdout) == child.pid)
    for descriptor in (child.stdout, child.stderr):
        os.close(descriptor)


def test_a_node_does_not_stay_for_a_worker_that_served_in_it(both):
    with Node.in_memory("short") as node:
        inside = node.run(both.world)["namespaces"]
        _until(lambda: not any(_is_in(pid, inside) for pid in _children(both.host)))


def _is_in(pid: int, namespaces: list[str]) -> bool:
    try:
        links = {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("net", "uts", "mnt")}
    except OSError:  # it ended
        return False
    return not links.isdisjoint(namespaces)


def test_a_plugin_that_hangs_is_killed_with_its_group(both):
    outcome = both.run("sleep", timeout=1)

    assert outcome.timed_out
    assert outcome.signal == signal.SIGKILL
    _until(lambda: not _exists(group=int(outcome.stdout)))


def _exists(*, group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_signal_s_number_is_told(both):
    forked, fresh = (both.run("die", forked=way) for way in (True, False))

    assert forked.signal == fresh.signal == signal.SIGSEGV


def test_a_defect_is_a_traceback_and_status_one(both):
    forked, fresh = (both.run("raise", forked=way) for way in (True, False))

    assert forked.exit_status == fresh.exit_status == 1
    assert forked.stderr.endswith(b"ValueError: a defect\n")
    assert fresh.stderr.endswith(b"ValueError: a defect\n")


def test_many_at_once_are_all_answered(both):
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: both.world(), range(24)))

    assert [world["runs"] for world in seen] == [0] * 24


def test_who_waits_ends_with_a_host_that_is_killed(both):
    made = PluginHost(both.directory)
    another = Both(both.directory, made)
    _until(lambda: len(_children(made, another)) > WAITING)
    waiting = _children(made)

    os.kill(made.pid, signal.SIGKILL)

    _until(lambda: not any(_parent(pid) for pid in waiting))
    assert another.world() == both.world(forked=False)  # by an interpreter
    made.close()


def test_workers_that_cannot_wait_are_not_forked_again_and_again(both):
    made = PluginHost(both.directory)
    another = Both(both.directory, made)
    _until(lambda: len(_children(made, another)) > WAITING)

    for pid in _children(made):
        os.kill(pid, signal.SIGKILL)
    _until(lambda: not _children(made))

    assert another.world() == both.world(forked=False)
    # One was asked for, and one more for the first, which has served.
    assert len(_children(made)) <= 2
    made.close()


def test_without_descriptors_nothing_runs_and_nothing_is_lost(both):
    read, write = os.pipe()

    if not (child := os.fork()):
        _until(lambda: len(_children(both.host, both)) > WAITING)
        both.run("who")
        opened = len(_descriptors())
        seen = [_with_room_for(both, more) for more in range(20)]
        afterwards = [both.run("who").exit_status for _ in range(8)]
        said = [seen, afterwards, len(_descriptors()) - opened]
        os.write(write, json.dumps(said).encode())
        both.host.close()
        os._exit(0)
    os.waitpid(child, 0)

    seen, afterwards, left = json.loads(os.read(read, 65536))
    for descriptor in (read, write):
        os.close(descriptor)
    assert {"0", "Too many open files"} == set(seen)
    assert afterwards == [0] * 8
    assert left <= 1  # a worker more


def _descriptors() -> list[int]:
    return [int(path.name) for path in Path("/proc/self/fd").iterdir()]


def _with_room_for(both: Both, more: int) -> str:
    """Run it with so many descriptors free; tell its exit status, or why it could not start."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(_descriptors()) + 1 + more, before[1]))
    taken = list[int]()
    with suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    for _ in range(more):
        os.close(taken.pop())
    try:
        outcome = both.run("who")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in taken:
            os.close(descriptor)
    return outcome.problem.rpartition(": ")[2] or str(outcome.exit_status)


def test_a_fork_of_the_caller_has_workers_of_its_own(both):
    assert both.run("who").exit_status == 0
    read, write = os.pipe()

    if not (child := os.fork()):
        pids = {both.run("who").stdout for _ in range(4)}
        os.write(write, b" ".join(pids))
        both.host.close()
        os._exit(0)
    os.waitpid(child, 0)

    theirs = {int(pid) for pid in os.read(read, 4096).split()}
    for descriptor in (read, write):
        os.close(descriptor)
    assert theirs
    assert theirs.isdisjoint(int(both.run("who").stdout) for _ in range(12))


def test_when_a_waiting_worker_was_killed_host_and_workers_both_answer(both):
    made = PluginHost(both.directory)
    another = Both(both.directory, made)
    _until(lambda: len(_children(made, another)) > WAITING)
    os.kill(max(_children(made)), signal.SIGKILL)

    for _ in range(3):
        assert {another.run("who").exit_status for _ in range(20)} == {0}
        assert another.run("die").signal == signal.SIGSEGV
    made.close()


def test_nobody_is_left_when_the_host_is_closed(both):
    made = PluginHost(both.directory)
    another = Both(both.directory, made)
    _until(lambda: len(_children(made, another)) > WAITING)
    another.run("who")
    workers = _children(made)

    made.close()

    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
