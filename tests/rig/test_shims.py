"""A shim changes nothing that a runtime or a plugin could notice, and writes down all of it."""

import json
import os
import select
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from podnet.errors import UsageError
from podnet.rig import recording, shims
from podnet.rig.faults import Fault
from podnet.rig.recording import Recorded
from podnet.rig.shim import record
from podnet.rig.shim.call import Call
from podnet.rig.shims import Task

# Says all that a plugin can notice of how it was started, and does what it is asked to.
PLUGIN = f"""#!{sys.executable} -IS
import json, os, sys
request = sys.stdin.buffer.read()
status = open("/proc/self/status").read()
print(json.dumps({{
    "environment": sorted(
        line for line in open("/proc/self/environ").read().split("\\0") if line
    ),
    "arguments": sys.argv[1:],
    "cwd": os.getcwd(),
    "stdin": len(request),
    "group": os.getpgid(0) == os.getpgid(os.getppid()) or os.getpgid(0) == os.getpid(),
    "descriptors": sorted(fd for fd in os.listdir("/proc/self/fd") if int(fd) > 2)[:-1],
}}), flush=True)
exec(os.environ.get("DO", ""))
"""


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A directory of one plugin."""
    directory = tmp_path / "real"
    directory.mkdir()
    (directory / "meta").write_text(PLUGIN)
    (directory / "meta").chmod(0o755)
    return directory


@pytest.fixture
def shim(real: Path, tmp_path: Path) -> Path:
    """A shim in front of it."""
    shims.mirror(tmp_path / "shims", [str(real)], Task(record=tmp_path / "calls"))
    return tmp_path / "shims" / "meta"


def _run(plugin: Path, request: bytes = b"{}", **more: str) -> "subprocess.CompletedProcess[bytes]":
    environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "LONELY": "", **more}
    return subprocess.run(
        [plugin, "--one", "two words"], input=request, capture_output=True, env=environment,
        check=False, timeout=60,
    )  # fmt: skip


def _calls(tmp_path: Path) -> list[Recorded]:
    return list(recording.read(tmp_path / "calls").calls)


def _said(done: "subprocess.CompletedProcess[bytes]") -> tuple[int, bytes, bytes]:
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "do",
    [
        "",
        "sys.stderr.write('log\\n'); sys.exit(3)",
        "os.kill(os.getpid(), 9)",
        "os.kill(os.getpid(), 15)",
        "sys.stdout.buffer.write(bytes(range(256)) * 2000); sys.stderr.write('x' * 300000)",
    ],
)
def test_behind_a_shim_a_plugin_is_started_and_heard_as_without(real, shim, do):
    assert _said(_run(shim, b"\0\xff" * 200_000, DO=do)) == _said(
        _run(real / "meta", b"\0\xff" * 200_000, DO=do)
    )


def test_a_call_is_written_down_whole(shim, tmp_path):
    done = _run(shim, b'{"a": 1}', DO="sys.stderr.buffer.write(b'\\xff'); sys.exit(3)")
    [call] = _calls(tmp_path)

    assert (call.verb, call.plugin, call.exit_status, call.signal) == ("ADD", "meta", 3, None)
    assert (call.stdin, call.stdout, call.stderr) == (b'{"a": 1}', done.stdout, b"\xff")
    assert call.environment["LONELY"] == ""
    assert call.arguments == ("--one", "two words")
    assert stat.S_IMODE((tmp_path / "calls").stat().st_mode) == 0o600


def test_a_plugin_that_reads_nothing_and_a_runtime_that_writes_on_do_not_wait_for_each_other(shim):
    done = subprocess.run(
        [shim], input=b"x" * 3_000_000, capture_output=True, check=False, timeout=60,
        env={"DO": "", "CNI_COMMAND": "DEL"},
    )  # fmt: skip
    assert done.returncode == 0


def test_a_runtime_that_kills_its_plugin_kills_the_one_behind_the_shim_and_it_is_written_down(
    shim, tmp_path
):
    child = subprocess.Popen(
        [shim], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        env={"CNI_COMMAND": "DEL", "DO": "print(os.getpid(), flush=True); import time; time.sleep(60)"},
    )  # fmt: skip
    with child:
        assert child.stdout
        child.stdout.readline()
        plugin = os.pidfd_open(int(child.stdout.readline()))
        child.kill()
        child.stdout.read()  # its end is the listener's
    ended, _, _ = select.select([plugin], [], [], 10)
    os.close(plugin)
    assert ended, "the plugin lives on"
    [call] = _calls(tmp_path)
    assert (call.exit_status, call.problem) == (None, "killed by the runtime")


def test_a_signal_to_the_shim_is_one_to_the_plugin(shim, tmp_path):
    child = subprocess.Popen(
        [shim], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        env={
            "CNI_COMMAND": "DEL",
            "DO": "import signal, time\n"
            "signal.signal(15, lambda *_: (os.write(1, b'heard\\n'), os._exit(7)))\n"
            "print('ready', flush=True); time.sleep(60)",
        },
    )  # fmt: skip
    with child:
        assert child.stdout
        while child.stdout.readline() != "ready\n":
            pass
        child.terminate()
        assert (child.stdout.read(), child.wait()) == ("heard\n", 7)


def test_who_is_left_behind_holds_the_stream_as_ever_and_the_exit_comes_at_once(shim, tmp_path):
    child = subprocess.Popen(
        [shim], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        env={
            "CNI_COMMAND": "ADD",
            "DO": "if os.fork() == 0: sys.stdin = open('/dev/null'); "
            "r = os.open(os.environ['FIFO'], os.O_RDONLY); os.read(r, 1); print(6 * 7, flush=True)",
            "FIFO": str(_fifo(tmp_path)),
        },
    )  # fmt: skip
    with child:
        assert child.stdout
        try:
            assert child.wait(timeout=30) == 0
            assert "environment" in child.stdout.readline()
        finally:  # whoever is left behind goes, whatever comes
            (tmp_path / "fifo").write_text("x")
        assert child.stdout.read() == "42\n"
    [call] = _calls(tmp_path)
    assert "left behind" in call.problem


def _fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def test_many_at_once_write_whole_lines(shim, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: _run(shim, b"x" * 50_000, CNI_IFNAME=f"eth{n}"), range(24)))
    read = recording.read(tmp_path / "calls")
    assert sorted(call.container[1] for call in read.calls) == sorted(f"eth{n}" for n in range(24))
    assert read.odd == ()


def test_secrets_are_hidden_wherever_they_are_said_again(real, tmp_path):
    task = Task(record=tmp_path / "calls", redact=("token", "passw"))
    (tmp_path / "calls").touch()
    (tmp_path / "calls").chmod(0o666)
    shims.mirror(tmp_path / "shims", [str(real)], task)
    request = {"name": "n", "apiToken": "geheim", "deep": [{"password": {"x": ["nested"]}}]}
    variables = {"MY_TOKEN": "hunter22"}
    _run(
        tmp_path / "shims" / "meta", json.dumps(request).encode(),
        CNI_ARGS="K=v;TOKEN=qwertz", DO="sys.stderr.write('geheim hunter22 nested')", **variables,
    )  # fmt: skip

    text = (tmp_path / "calls").read_text()
    assert not [secret for secret in ("geheim", "hunter22", "qwertz", "nested") if secret in text]
    [call] = _calls(tmp_path)
    assert json.loads(call.stdin)["deep"] == [{"password": "[redacted]"}]
    assert call.environment["CNI_ARGS"] == "K=v;TOKEN=[redacted]"
    assert stat.S_IMODE((tmp_path / "calls").stat().st_mode) == 0o600


def test_a_secret_is_none_in_an_argument_either(tmp_path):
    call = Call("/opt/plugin")
    call.arguments, call.environment = ["--with=hunter22"], {"MY_TOKEN": "hunter22"}
    written = record.line(call, ("token",), ended=0)
    assert b"hunter22" not in written
    assert b'"--with=[redacted]"' in written


def test_installed_shims_stand_where_the_plugins_were_and_go_again(real, tmp_path):
    before = (real / "meta").read_bytes()
    assert shims.install(real, Task(record=tmp_path / "calls")) == ["meta"]
    assert shims.install(real, Task(record=tmp_path / "calls")) == ["meta"]
    assert _run(real / "meta").returncode == 0
    assert [call.plugin for call in _calls(tmp_path)] == ["meta"]

    assert shims.uninstall(real) == (["meta"], [])
    assert (real / "meta").read_bytes() == before
    assert [path.name for path in real.iterdir()] == ["meta"]
    with pytest.raises(UsageError, match="no shims"):
        shims.uninstall(real)


def test_a_plugin_that_was_installed_over_a_shim_stays(real, tmp_path):
    shims.install(real, Task(record=tmp_path / "calls"))
    (real / "new").write_text("#!/bin/sh\n")
    (real / "new").replace(real / "meta")
    assert shims.uninstall(real) == ([], ["meta"])
    assert (real / "meta").read_text() == "#!/bin/sh\n"


def test_a_plugin_that_is_gone_is_said_to_be(shim, real):
    (real / "meta").unlink()
    done = _run(shim)
    assert done.returncode == 1
    assert "No such file" in json.loads(done.stdout)["msg"]


def _faulty(real: Path, tmp_path: Path, fault: str) -> Path:
    task = Task(record=tmp_path / "calls", faults=(Fault.parse(fault),))
    shims.mirror(tmp_path / "shims", [str(real)], task)
    return tmp_path / "shims" / "meta"


# What the runtime sees instead of what the plugin did: status, and what of its answer.
SEEN = {
    "meta:kill": (-9, b"", False),
    "meta:ADD:kill-after": (-9, b"", True),
    "meta:error=11": (1, b'{"code": 11, "msg": "a fault that was asked for"}\n', False),
    "meta:error-after": (1, b'{"code": 999, "msg": "a fault that was asked for"}\n', True),
    "meta:exit=5": (5, b"RIGHT", True),
    "meta:garbage": (0, b"this is not JSON: {\xff\n", True),
    "meta:doubled": (0, b"RIGHTRIGHT", True),
    "meta:truncated": (0, b"RI", True),
    "meta:silent": (0, b"", True),
    "meta:slow=0.1": (0, b"RIGHT", True),
    "meta:flood": (0, b" " * (16 << 20) + b"RIGHT", True),
    "meta:lingers=0.2": (0, b"RIGHT", True),
    "meta:DEL:kill": (0, b"RIGHT", True),
}


@pytest.mark.parametrize("fault", SEEN)
def test_a_fault_is_what_the_runtime_sees(tmp_path, fault):
    real = tmp_path / "real"
    real.mkdir()
    (real / "meta").write_text(
        f"#!/bin/sh\ncat >/dev/null; touch {tmp_path}/worked; printf RIGHT\n"
    )
    (real / "meta").chmod(0o755)
    status, answer, worked = SEEN[fault]

    done = _run(_faulty(real, tmp_path, fault))

    assert done.returncode == status
    assert done.stdout == answer, done.stdout[:99]
    assert (tmp_path / "worked").exists() == worked
    [call] = _calls(tmp_path)
    assert call.fault.partition("=")[0] == ("" if ":DEL:" in fault else Fault.parse(fault).kind)
    assert (call.exit_status, call.signal) == ((status, None) if status >= 0 else (None, -status))


@pytest.mark.parametrize(("fault", "worked"), [("meta:hang", False), ("meta:hang-after", True)])
def test_a_plugin_that_hangs_has_done_its_work_or_not(tmp_path, fault, worked):
    real = tmp_path / "real"
    real.mkdir()
    (real / "meta").write_text(
        f"#!/bin/sh\ncat >/dev/null; touch {tmp_path}/worked; printf RIGHT\n"
    )
    (real / "meta").chmod(0o755)
    plugin = _faulty(real, tmp_path, fault)
    with subprocess.Popen(
        [plugin], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env={"CNI_COMMAND": "ADD"}
    ) as child:
        deadline = time.monotonic() + 30
        while not (tmp_path / "calls").exists():  # written when it begins to hang
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert child.poll() is None
        child.kill()
        assert child.stdout
        assert child.stdout.read() == b""
    assert (tmp_path / "worked").exists() == worked


def test_a_missing_plugin_has_no_file_and_comes_back(real, tmp_path):
    plugin = _faulty(real, tmp_path, "meta:missing")
    assert not plugin.exists()
    shims.mirror(tmp_path / "shims", [str(real)], Task())
    assert plugin.is_symlink()
    _faulty(real, tmp_path, "meta:not-executable")
    assert stat.S_IMODE(plugin.stat().st_mode) == 0o644


def test_a_recording_that_is_large_enough_grows_no_further(shim, tmp_path):
    with (tmp_path / "calls").open("wb") as file:
        file.truncate((1 << 28) + 1)  # sparse
    assert _run(shim).returncode == 0
    assert (tmp_path / "calls").stat().st_size == (1 << 28) + 1


def test_a_record_that_cannot_be_written_is_no_matter_of_the_plugin(real, tmp_path):
    (tmp_path / "calls").mkdir()
    shims.mirror(tmp_path / "shims", [str(real)], Task(record=tmp_path / "calls"))
    done = _run(tmp_path / "shims" / "meta", DO="sys.exit(4)")
    assert (done.returncode, done.stderr) == (4, b"")
