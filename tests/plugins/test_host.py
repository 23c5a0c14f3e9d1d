"""The plugin host: a forked plugin cannot be told from a fresh process."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import podnet_plugins
from podnet.cni.versions import Verb
from podnet.execute import Outcome, ProcessExecutor
from podnet.kernel import links, namespaces
from podnet.kernel.netlink import Netlink
from podnet.node import Node
from podnet.pipes import converse
from podnet.plan import Invocation
from podnet.plugin_host import PluginHost

OURS = Path(podnet_plugins.__file__).parent / "bin"


@pytest.fixture
def plugin_host() -> Iterator[PluginHost]:
    """A host of podnet's own plugins."""
    made = PluginHost(OURS)
    yield made
    made.close()


def _ask(
    plugin: str, verb: Verb, config: dict[str, object] | None = None, **more: str
) -> Invocation:
    environment = {
        "CNI_COMMAND": str(verb),
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/run/netns/c1",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "",
        "CNI_PATH": str(OURS),
    }
    stdin = {"cniVersion": "1.1.0", "name": "demo", "type": plugin} | (config or {})
    return Invocation(verb=verb, plugin=plugin, environment=environment | more, stdin=stdin)


def _both(invocation: Invocation, host: PluginHost) -> list[Outcome]:
    """Run *invocation* by a fork, and by an interpreter."""
    executors = [ProcessExecutor(path=(str(OURS),), host=by) for by in (host, None)]
    return [executor.run(invocation) for executor in executors]


def _said(outcome: Outcome) -> tuple[object, ...]:
    return outcome.exit_status, outcome.signal, outcome.stdout, outcome.stderr, outcome.problem


@pytest.mark.parametrize(
    "invocation",
    [
        _ask("bridge", Verb.VERSION),
        _ask("host-local", Verb.ADD),
        _ask("bridge", Verb.ADD, CNI_IFNAME=""),
        _ask("loopback", Verb.STATUS, {"cniVersion": "0.4.0"}),
        _ask("bridge", Verb.ADD, CNI_COMMAND=""),
    ],
    ids=["version", "error", "missing", "unsupported", "by hand"],
)
def test_a_forked_plugin_says_and_exits_as_a_fresh_one(
    invocation: Invocation, plugin_host: PluginHost
) -> None:
    forked, fresh = _both(invocation, plugin_host)

    assert _said(forked) == _said(fresh)


def test_nothing_passes_from_one_run_to_the_next(plugin_host: PluginHost) -> None:
    executor = ProcessExecutor(path=(str(OURS),), host=plugin_host)
    config: dict[str, object] = {"ipam": {"type": "host-local", "subnet": "10.1.0.0/31"}}
    failed = executor.run(_ask("host-local", Verb.ADD, config, CNI_ARGS="FOO=1"))

    again = executor.run(_ask("host-local", Verb.ADD, config | {"name": "../up"}))

    assert b"10.1.0.0/31 too small" in failed.stdout
    assert json.loads(again.stdout)["msg"] == "invalid characters found in network name"


def test_a_forked_plugin_works_in_the_node_of_the_thread_that_asked(
    node: Node, plugin_host: PluginHost
) -> None:
    executor = ProcessExecutor(path=(str(OURS),), host=plugin_host)
    ipam = {"type": "host-local", "subnet": "10.1.0.0/24"}

    def add() -> tuple[Outcome, bool]:
        namespaces.create(Path("/run/netns/c1"))
        outcome = executor.run(_ask("bridge", Verb.ADD, {"ipam": ipam}))
        return outcome, Path("/var/lib/cni/networks/demo/10.1.0.2").exists()

    outcome, leased = node.run(add)

    assert outcome.exit_status == 0, outcome.stdout
    assert json.loads(outcome.stdout)["ips"][0]["address"] == "10.1.0.2/24"
    assert leased
    assert not Path("/var/lib/cni/networks/demo/10.1.0.2").exists()


def test_a_forked_plugin_holds_the_locks_it_was_given(plugin_host: PluginHost) -> None:
    read, write = os.pipe()
    invocation = _ask("host-local", Verb.ADD)

    outcome = ProcessExecutor(path=(str(OURS),), host=plugin_host, keep_open=(write,)).run(
        invocation
    )
    os.close(write)

    assert outcome.exit_status == 1
    assert os.read(read, 1) == b""  # neither the plugin nor the host has the other end any more
    os.close(read)


def test_the_host_ends_when_nobody_can_ask_any_more() -> None:
    made = PluginHost(OURS)
    ProcessExecutor(path=(str(OURS),), host=made).run(_ask("loopback", Verb.VERSION))

    made.close()  # waits for it

    assert not made.is_running


def test_a_host_that_was_killed_is_replaced_by_an_interpreter() -> None:
    made = PluginHost(OURS)
    executor = ProcessExecutor(path=(str(OURS),), host=made)
    executor.run(_ask("loopback", Verb.VERSION))
    os.kill(made.pid, signal.SIGKILL)
    time.sleep(0.05)

    outcome = executor.run(_ask("loopback", Verb.VERSION))

    assert outcome.exit_status == 0
    made.close()


def test_without_the_undertaker_a_worker_waits_for_the_kernel_itself(node: Node) -> None:
    made = PluginHost(OURS)
    executor = ProcessExecutor(path=(str(OURS),), host=made)

    def live() -> tuple[int | None, int | None, bool]:
        namespaces.create(Path("/run/netns/c1"))
        added = executor.run(_ask("bridge", Verb.ADD))
        for child in _children(
            made.pid
        ):  # whoever is none is a worker that waits, and is forked again
            os.kill(child, signal.SIGKILL)
        removed = executor.run(_ask("bridge", Verb.DEL))
        with namespaces.entered("/run/netns/c1"), Netlink() as inside:
            return added.exit_status, removed.exit_status, links.find(inside, "eth0") is None

    assert node.run(live) == (0, 0, True)
    made.close()


def _children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def _call(host: PluginHost, **more: Any) -> Outcome:
    executor = ProcessExecutor(path=(str(OURS),), host=host, **more)
    return executor.run(_ask("loopback", Verb.VERSION))


def test_a_rush_leaves_few_workers(plugin_host: PluginHost) -> None:
    refused = _ask("bridge", Verb.ADD, CNI_IFNAME="")  # each its worker's last
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda _: _run(plugin_host, refused), range(160)))

    assert {outcome.exit_status for outcome in outcomes} == {1}
    _until(lambda: _call(plugin_host).exit_status == 0 and len(_children(plugin_host.pid)) < 16)


def _run(host: PluginHost, invocation: Invocation) -> Outcome:
    return ProcessExecutor(path=(str(OURS),), host=host).run(invocation)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_was_interrupted_leaves_nothing_to_the_next_call(
    plugin_host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> Any:
        converse(*arguments)
        raise KeyboardInterrupt

    for _ in range(10):
        with monkeypatch.context() as patch:
            patch.setattr("podnet.execute.converse", interrupted)
            with pytest.raises(KeyboardInterrupt):
                _call(plugin_host)
        assert _call(plugin_host).exit_status == 0


def test_a_request_that_no_socket_takes_is_an_interpreter_s(plugin_host: PluginHost) -> None:
    _until(lambda: _call(plugin_host).exit_status == 0 and len(_children(plugin_host.pid)) > 3)
    before = _children(plugin_host.pid)
    large = {**os.environ, "A": "a" * 100_000, "B": "b" * 100_000, "C": "c" * 100_000}

    outcomes = [_call(plugin_host, environment=large) for _ in range(6)]

    assert [outcome.exit_status for outcome in outcomes] == [0] * 6
    assert _children(plugin_host.pid) == before


def test_a_host_that_does_not_answer_costs_the_timeout_and_no_more(
    plugin_host: PluginHost,
) -> None:
    assert _call(plugin_host).exit_status == 0
    for pid in (plugin_host.pid, *_children(plugin_host.pid)):
        os.kill(pid, signal.SIGSTOP)
    try:
        outcome = _call(plugin_host, timeout=0.5)
    finally:
        for pid in (plugin_host.pid, *_children(plugin_host.pid)):
            os.kill(pid, signal.SIGCONT)

    assert outcome.timed_out or outcome.exit_status == 0


def test_the_host_is_where_the_main_thread_is_and_keeps_no_node(plugin_host: PluginHost) -> None:
    with Node.in_memory("first") as node:
        node.run(_call, plugin_host)
        there = Path(f"/proc/{plugin_host.pid}/ns/net").readlink()

    assert there == Path("/proc/self/ns/net").readlink()


def test_after_a_host_that_was_killed_there_is_another() -> None:
    made = PluginHost(OURS)
    _call(made)
    killed = made.pid
    os.kill(killed, signal.SIGKILL)
    _until(lambda: _call(made).exit_status == 0 and made.pid not in {0, killed})

    assert _children(made.pid)
    made.close()


def test_signals_that_a_parent_ignores_are_no_trouble() -> None:
    """As `env --ignore-signal=CHLD podnet` has it."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    made = PluginHost(OURS)
    try:
        assert _call(made).exit_status == 0
        refused = _run(made, _ask("bridge", Verb.ADD, CNI_IFNAME=""))  # its worker ends
        assert refused.exit_status == 1
        assert _call(made).exit_status == 0
        made.close()
    finally:
        signal.signal(signal.SIGCHLD, before)
