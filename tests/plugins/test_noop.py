"""noop: what a script says is what a runtime meets, from a fresh process and from the host."""

import json
import os
import signal
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import podnet_plugins
from podnet.cache import Cache
from podnet.cni.config import Network
from podnet.cni.versions import Verb
from podnet.cni.wire import Fields
from podnet.execute import Outcome, ProcessExecutor
from podnet.plan import Attachment, Invocation
from podnet.plugin_host import PluginHost
from podnet.runtime import Runtime
from podnet_plugins import noop_record, noop_script
from podnet_plugins.schema import schema
from podnet_plugins.skel import Call

BIN = Path(podnet_plugins.__file__).parent / "bin"
PREVIOUS = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "eth0", "sandbox": "/run/netns/c1"}],
    "ips": [{"address": "10.1.0.2/24", "interface": 0}],
}


@pytest.fixture(scope="module")
def hosted() -> Iterator[PluginHost]:
    """A plugin host."""
    host = PluginHost(BIN)
    yield host
    host.close()


@pytest.fixture(params=["a process", "the host"])
def executor(request: Any, hosted: PluginHost) -> ProcessExecutor:
    """Both ways of starting it; what it is asked is asked by a runtime's own code."""
    host = hosted if request.param == "the host" else None
    return ProcessExecutor(path=(str(BIN),), timeout=20, host=host)


@pytest.fixture
def quick(hosted: PluginHost) -> ProcessExecutor:
    """The fast way, where both are the same."""
    return ProcessExecutor(path=(str(BIN),), timeout=20, host=hosted)


def _call(
    executor: ProcessExecutor,
    verb: str = "ADD",
    script: Mapping[str, object] | None = None,
    *,
    cid: str = "c1",
    ifname: str = "eth0",
    **keys: object,
) -> Outcome:
    environment = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": cid,
        "CNI_NETNS": "/run/netns/no-such",
        "CNI_IFNAME": ifname,
        "CNI_ARGS": "",
        "CNI_PATH": str(BIN),
    }
    stdin = {"cniVersion": "1.1.0", "name": "demo", "type": "noop", "noop": script} | keys
    return executor.run(
        Invocation(verb=Verb(verb), plugin="noop", environment=environment, stdin=stdin)
    )


def _said(outcome: Outcome) -> Any:
    return json.loads(outcome.stdout)


def _records(directory: Path) -> list[Any]:
    return [json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))]


# The default answer


def test_add_passes_prev_result_on_and_the_other_verbs_say_nothing(executor):
    added = _call(executor, prevResult=PREVIOUS)

    assert (_said(added), added.exit_status) == (PREVIOUS, 0)
    for verb in ("CHECK", "DEL", "GC", "STATUS"):
        done = _call(executor, verb, prevResult=PREVIOUS)
        assert (done.stdout, done.stderr, done.exit_status) == (b"", b"", 0)


@pytest.mark.parametrize("version", ["0.2.0", "0.4.0", "1.1.0"])
def test_first_in_a_chain_it_has_nothing_to_say_in_the_version_that_is_asked_for(quick, version):
    assert _said(_call(quick, cniVersion=version)) == {"cniVersion": version}


def test_in_a_chain_the_runtime_adds_checks_and_deletes(quick, tmp_path):
    listed = {
        "cniVersion": "1.1.0",
        "name": "demo",
        "plugins": [
            {"type": "noop", "noop": {"ADD": [{"result": PREVIOUS}]}, "record": f"{tmp_path}/1"},
            {"type": "noop", "record": f"{tmp_path}/2"},
        ],
    }
    network = Network.from_conflist(json.dumps(listed).encode())
    runtime = Runtime(executor=quick, cache=Cache(tmp_path), check_netns=lambda _: None)
    web = Attachment(container_id="c1", ifname="eth0", netns="/run/netns/no-such")

    assert runtime.add(network, web).to_wire() == PREVIOUS
    runtime.check("demo", web)
    runtime.delete("demo", web)

    for directory in ("1", "2"):
        verbs = [call["verb"] for call in _records(tmp_path / directory)]
        assert verbs == ["ADD", "CHECK", "DEL"]
    assert json.loads(_records(tmp_path / "2")[0]["stdin"])["prevResult"] == PREVIOUS


# One step


def test_a_result_is_printed_as_it_is(executor):
    strange = {"cniVersion": "9.9.9", "ips": 5}

    assert _said(_call(executor, script={"ADD": [{"result": strange}]})) == strange
    given = _said(_call(executor, script={"ADD": [{"result": {"ips": []}}]}))
    assert given == {"cniVersion": "1.1.0", "ips": []}
    assert _said(_call(executor, "DEL", {"DEL": [{"result": strange}]})) == strange


def test_an_error_is_printed_with_exit_status_1(executor):
    error = {"code": 11, "msg": "try again", "details": "later"}

    done = _call(executor, "DEL", {"DEL": [{"error": error}]})

    assert (done.exit_status, _said(done)) == (1, error)
    assert _said(_call(executor, script={"ADD": [{"error": {}}]})) == {
        "code": 999,
        "msg": "noop was told to fail",
    }


def test_stdout_is_printed_byte_by_byte(executor):
    done = _call(executor, script={"ADD": [{"stdout": '{"cniVersion": '}]})

    assert (done.stdout, done.exit_status) == (b'{"cniVersion": ', 0)


def test_an_exit_status_stands_alone_or_beside_an_answer(executor):
    alone = _call(executor, script={"ADD": [{"exit": 7}]})
    lying = _call(executor, script={"ADD": [{"error": {"code": 11}, "exit": 0}]})
    torn = _call(executor, script={"ADD": [{"result": PREVIOUS, "exit": 3}]})

    assert (alone.exit_status, alone.stdout) == (7, b"")
    assert (lying.exit_status, _said(lying)["code"]) == (0, 11)
    assert (torn.exit_status, _said(torn)) == (3, PREVIOUS)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT", "SIGTERM"])
def test_a_signal_ends_it_with_or_without_an_answer(executor, name):
    silent = _call(executor, script={"ADD": [{"signal": name}]})
    afterwards = _call(executor, script={"ADD": [{"signal": name, "result": PREVIOUS}]})

    number = signal.Signals[name]
    assert (silent.signal, silent.stdout) == (number, b"")
    assert (afterwards.signal, _said(afterwards)) == (number, PREVIOUS)


def test_noise_is_as_long_as_it_is_to_be_and_the_answer_comes_after_it(executor):
    step = {"stderrBytes": 300_000, "stderr": "done\n", "stdoutBytes": 70_000, "stdout": "end"}

    done = _call(executor, script={"ADD": [step]})

    assert done.stderr == b"x" * 300_000 + b"done\n"
    assert done.stdout == b"x" * 70_000 + b"end"


def test_a_runtime_ends_one_that_sleeps_stops_or_floods(hosted):
    impatient = ProcessExecutor(path=(str(BIN),), timeout=0.5, host=hosted)
    flooding = {"ADD": [{"stdoutBytes": 20_000_000}]}

    assert _call(impatient, script={"ADD": [{"sleepMs": 60_000}]}).timed_out
    assert _call(impatient, script={"ADD": [{"signal": "SIGSTOP"}]}).timed_out
    patient = ProcessExecutor(path=(str(BIN),), host=hosted)
    assert "wrote more than" in _call(patient, script={"ADD": [flooding["ADD"][0]]}).problem


@pytest.mark.parametrize("detached", [False, True])
def test_a_child_holds_the_streams_and_the_answer_is_complete(executor, tmp_path, detached):
    step = {"holdMs": 3_000, "holdDetached": detached}

    done = _call(executor, prevResult=PREVIOUS, script={"ADD": [step]}, record=str(tmp_path))

    assert (done.exit_status, _said(done), done.left_behind) == (0, PREVIOUS, True)
    [record] = _records(tmp_path)
    left = _group_has_members(record["group"])
    assert left is not detached
    if left:
        os.killpg(record["group"], signal.SIGKILL)


def _group_has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


# Call by call


def test_the_second_del_alone_fails(executor, tmp_path):
    script = {"DEL": [{}, {"error": {"code": 5}}, {}]}

    statuses = [
        _call(executor, verb, script, record=str(tmp_path)).exit_status
        for verb in ("DEL", "ADD", "DEL", "CHECK", "DEL", "DEL")
    ]

    assert statuses == [0, 0, 1, 0, 0, 0]


def test_the_last_step_stays_and_a_single_one_needs_no_count(quick, tmp_path):
    once = {"ADD": [{"exit": 3}, {}]}
    always = {"ADD": [{"exit": 3}]}

    counted = [_call(quick, script=once, record=str(tmp_path)).exit_status for _ in range(3)]

    assert counted == [3, 0, 0]
    assert [_call(quick, script=always).exit_status for _ in range(2)] == [3, 3]


def test_each_attachment_may_be_counted_by_itself(quick, tmp_path):
    script = {"ADD": [{"exit": 3}, {}]}
    keys: dict[str, Any] = {"script": script, "count": "attachment", "record": str(tmp_path)}

    first = [_call(quick, cid=cid, **keys).exit_status for cid in ("c1", "c1-eth0", "c1")]
    other = _call(quick, ifname="eth1", **keys).exit_status

    assert (first, other) == ([3, 3, 0], 3)


def test_calls_in_parallel_are_counted_one_by_one(quick, tmp_path):
    script = {"ADD": [*[{"exit": 9}] * 5, {}]}

    with ThreadPoolExecutor(10) as pool:
        done = list(
            pool.map(lambda _: _call(quick, script=script, record=str(tmp_path)), range(10))
        )

    assert sorted(one.exit_status or 0 for one in done) == [0] * 5 + [9] * 5
    assert [call["number"] for call in _records(tmp_path)] == list(range(1, 11))
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}


# The record


def test_a_record_says_what_the_call_was_given(executor, tmp_path):
    place = tmp_path / "a" / "b"
    sleeping = {"sleepMs": 1}

    _call(executor, "DEL", record=str(place), cid="c9")
    _call(executor, "GC", {"GC": [sleeping]}, record=str(place))

    deleted, collected = sorted(place.iterdir())
    assert [deleted.name, collected.name] == ["000001-DEL-c9-eth0.json", "000002-GC-c1-eth0.json"]
    assert stat.S_IMODE(deleted.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    record = json.loads(deleted.read_text())
    assert (record["number"], record["verb"], record["nth"]) == (1, "DEL", 1)
    assert record["environment"]["CNI_CONTAINERID"] == "c9"
    assert set(record["environment"]) == {
        f"CNI_{name}" for name in ("COMMAND", "CONTAINERID", "NETNS", "IFNAME", "ARGS", "PATH")
    }
    assert json.loads(record["stdin"])["record"] == str(place)
    assert record["cwd"] == str(Path.cwd())
    assert record["namespace"] == os.readlink("/proc/self/ns/net")  # noqa: PTH115
    assert record["pid"] == record["group"] != os.getpid()
    assert record["time"] > 0


def test_a_record_that_cannot_be_written_is_an_error(quick, tmp_path):
    (tmp_path / "file").touch()

    done = _call(quick, record=f"{tmp_path}/file")

    assert (done.exit_status, _said(done)["code"]) == (1, 5)
    assert "failed to record the call" in _said(done)["msg"]


def test_a_failed_call_is_on_record_too(quick, tmp_path):
    _call(quick, script={"ADD": [{"signal": "SIGKILL"}]}, record=str(tmp_path))

    assert [call["verb"] for call in _records(tmp_path)] == ["ADD"]


# As IPAM


def test_it_may_manage_addresses_for_another_plugin(host):
    host.container("c1")
    addresses = {"ips": [{"address": "10.1.0.7/24"}]}
    ipam = {
        "type": "noop",
        "record": "/run/calls",
        "noop": {"ADD": [{"result": addresses}], "DEL": [{"exit": 4}, {"signal": "SIGKILL"}, {}]},
    }
    config = {"type": "bridge", "bridge": "br0", "ipam": ipam}

    result = host.call("ADD", config).result
    statuses = [host.call("DEL", config).status for _ in range(3)]

    assert [ip["address"] for ip in result["ips"]] == ["10.1.0.7/24"]
    assert statuses == [1, 1, 0]
    assert host.sh("ls /run/calls | wc -l") == "4\n"
    assert host.names(netns="/run/netns/c1") == set()


# The configuration


@pytest.mark.parametrize(
    ("keys", "code", "message"),
    [
        ({"script": {"ADD": {}}}, 6, "noop.ADD must be a list, not an object"),
        ({"script": {"AD": []}}, 7, "noop.AD is no key"),
        ({"script": {"DEL": [{"sleep": 1}]}}, 7, "noop.DEL[0].sleep is no key"),
        (
            {"script": {"ADD": [{"result": {}, "stdout": ""}]}},
            7,
            "noop.ADD[0] has more than one of result, stdout",
        ),
        (
            {"script": {"ADD": [{}, {}]}},
            7,
            "noop.ADD has several steps, and nothing to count calls with",
        ),
        ({"script": {"ADD": [{"exit": 256}]}}, 7, "noop.ADD[0].exit must be between 0 and 255"),
        ({"script": {"ADD": [{"signal": "SIGHUP"}]}}, 7, "noop.ADD[0].signal must be  or SIGKILL"),
        ({"record": "calls"}, 7, "record must be an absolute path, not calls"),
        ({"count": "x"}, 7, "count must be all or attachment"),
    ],
)
def test_a_script_that_could_not_mean_what_it_says_is_refused(quick, keys, code, message):
    done = _call(quick, **keys)

    assert (done.exit_status, _said(done)["code"]) == (1, code)
    assert message in _said(done)["msg"]


def test_the_keys_are_described():
    described: Any = schema(noop_script.NoopConfig)

    step = described["properties"]["noop"]["properties"]["ADD"]["items"]["properties"]
    assert step["result"]["type"] == "object"
    assert step["signal"]["enum"] == ["", *noop_script.SIGNALS]
    assert set(described["properties"]) == {"noop", "record", "count"}


def test_a_number_is_never_given_twice_even_when_files_were_removed(tmp_path):
    names = ["000001-ADD-c1-eth0.json", "000007-DEL-c1-eth0.json", "notes"]
    for name in names:
        (tmp_path / name).touch()
    call = Call(verb=Verb.DEL, container_id="c1", ifname="eth0", stdin=b"{}", config=Fields({}))

    assert noop_record.keep(str(tmp_path), call) == 2
    assert (tmp_path / "000008-DEL-c1-eth0.json").exists()
