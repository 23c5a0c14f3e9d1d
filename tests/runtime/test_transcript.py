"""Every invocation, written down: a ring of segments that many may write to at once."""

import json
import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from podnet import transcript
from podnet.cni.versions import Verb
from podnet.errors import PodnetError
from podnet.execute import Outcome
from podnet.plan import Invocation
from podnet.transcript import Transcript


def outcome(container_id: str = "c1", stdout: bytes = b"{}", stderr: bytes = b"") -> Outcome:
    """Return what became of an ADD."""
    step = Invocation(
        verb=Verb.ADD,
        plugin="bridge",
        network="demo",
        position=1,
        chain=2,
        environment={"CNI_COMMAND": "ADD", "CNI_CONTAINERID": container_id},
        stdin={"type": "bridge", "mtu": 1500},
    )
    return Outcome(
        invocation=step,
        binary=Path("/opt/cni/bin/bridge"),
        started=1700000000.5,
        duration=0.0123456,
        exit_status=0,
        stdout=stdout,
        stderr=stderr,
        traceparent="00-aa-bb-01",
    )


def stdouts(written: Transcript, pod: str | None = None) -> list[object]:
    """Return what every recorded plugin printed."""
    return [step["stdout"] for step in written.read(pod)]


def segments(written: Transcript) -> list[str]:
    """Return the names of the segment files."""
    return sorted(path.name for path in written.directory.iterdir())


def test_an_invocation_is_written_down_with_all_that_came_of_it(tmp_path):
    written = Transcript(tmp_path / "t")

    written.record(outcome(stderr=b"log"), node="n1", pod="web")

    assert list(written.read()) == [
        {
            "time": 1700000000.5,
            "duration_ms": 12.346,
            "node": "n1",
            "pod": "web",
            "network": "demo",
            "plugin": "bridge",
            "position": 1,
            "chain": 2,
            "verb": "ADD",
            "binary": "/opt/cni/bin/bridge",
            "environment": {
                "CNI_COMMAND": "ADD",
                "CNI_CONTAINERID": "c1",
                "TRACEPARENT": "00-aa-bb-01",
            },
            "stdin": {"type": "bridge", "mtu": 1500},
            "stdout": "{}",
            "stderr": "log",
            "exit_status": 0,
            "signal": None,
            "problem": "",
            "left_behind": False,
        }
    ]


def test_a_segment_is_one_line_of_json_per_invocation_for_the_owner_alone(tmp_path):
    written = Transcript(tmp_path / "t")

    written.record(outcome(stdout=b"one\ntwo"))
    written.record(outcome())

    (path,) = written.directory.iterdir()
    lines = path.read_text().splitlines()
    assert [json.loads(line)["stdout"] for line in lines] == ["one\ntwo", "{}"]
    assert path.name == "00000001.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(written.directory.stat().st_mode) == 0o700


def test_nothing_is_written_down_in_a_directory_that_is_not_there(tmp_path):
    assert list(Transcript(tmp_path / "t").read()) == []


def test_invocations_are_read_oldest_first(tmp_path):
    written = Transcript(tmp_path, segment_bytes=1000, segments=50)

    for number in range(20):
        written.record(outcome(stdout=str(number).encode()))

    assert len(segments(written)) > 5
    assert stdouts(written) == [str(number) for number in range(20)]


def test_the_oldest_segment_goes_first(tmp_path):
    written = Transcript(tmp_path, segment_bytes=1, segments=3)

    for number in range(5):
        written.record(outcome(stdout=str(number).encode()))

    assert segments(written) == ["00000003.jsonl", "00000004.jsonl", "00000005.jsonl"]
    assert stdouts(written) == ["2", "3", "4"]


def test_a_smaller_ring_than_before_drops_what_is_too_much(tmp_path):
    before = Transcript(tmp_path, segment_bytes=1, segments=6)
    for number in range(6):
        before.record(outcome(stdout=str(number).encode()))

    Transcript(tmp_path, segment_bytes=1, segments=2).record(outcome(stdout=b"6"))

    assert stdouts(before) == ["5", "6"]


def test_files_of_others_are_neither_read_nor_removed(tmp_path):
    (tmp_path / "zzz.jsonl").write_text('{"stdout": "not ours"}\n')
    (tmp_path / "README").write_text("")
    written = Transcript(tmp_path, segment_bytes=1, segments=1)

    written.record(outcome(stdout=b"0"))
    written.record(outcome(stdout=b"1"))

    assert segments(written) == ["00000002.jsonl", "README", "zzz.jsonl"]
    assert stdouts(written) == ["1"]


def test_only_a_pods_own_invocations_are_read_by_its_name_or_container_id(tmp_path):
    written = Transcript(tmp_path)
    written.record(outcome("c1", stdout=b"web"), pod="web")
    written.record(outcome("c2", stdout=b"other"), pod="other")
    third = outcome("c3", stdout=b"third")
    written.record(replace(third, invocation=replace(third.invocation, network="web")))

    assert stdouts(written, "web") == ["web"]
    assert stdouts(written, "c2") == ["other"]
    assert stdouts(written, "nosuch") == []


@pytest.mark.parametrize("half", [b'{"time": 17000', b"", b"[]\n", b"junk\n", b"\xff\xfe\n"])
def test_a_half_line_is_ignored_and_spoils_no_other(tmp_path, half):
    """The last line of a podnet that was killed, and the first of the next."""
    written = Transcript(tmp_path)
    written.record(outcome(stdout=b"before"))
    (path,) = tmp_path.iterdir()
    with path.open("ab") as segment:
        segment.write(half)

    written.record(outcome(stdout=b"after"))

    assert stdouts(written) == ["before", "after"]


def test_a_segment_that_went_while_we_read_is_passed_over(tmp_path, monkeypatch):
    written = Transcript(tmp_path, segment_bytes=1)
    written.record(outcome(stdout=b"0"))
    written.record(outcome(stdout=b"1"))
    reader = written.read()
    assert next(reader)["stdout"] == "0"

    (tmp_path / "00000002.jsonl").unlink()

    assert list(reader) == []


def test_a_segment_that_went_before_we_write_is_started_anew(tmp_path, monkeypatch):
    written = Transcript(tmp_path)
    written.record(outcome(stdout=b"0"))
    existing = list(tmp_path.iterdir())
    existing[0].unlink()
    monkeypatch.setattr(Transcript, "_existing", lambda _: existing)

    written.record(outcome(stdout=b"1"))

    assert stdouts(written) == ["1"]


def test_output_is_kept_up_to_a_bound(tmp_path):
    written = Transcript(tmp_path)

    written.record(outcome(stdout=b"x" * (128 * 1024 + 7), stderr=b"\xff" + b"y" * 128 * 1024))

    (step,) = written.read()
    assert step["stdout"] == "x" * 128 * 1024 + "… and 7 bytes more"
    assert step["stderr"] == "\\xff" + "y" * (128 * 1024 - 1) + "… and 1 bytes more"


def test_a_signal_and_a_problem_are_written_down():
    killed = replace(outcome(), exit_status=None, signal=9, problem="timed out", left_behind=True)

    entry = transcript.entry(killed, pod="web")

    assert (entry["exit_status"], entry["signal"], entry["problem"], entry["left_behind"]) == (
        None,
        9,
        "timed out",
        True,
    )


def test_many_write_at_once_and_no_line_is_torn(tmp_path):
    def write(writer: int) -> None:
        mine = Transcript(tmp_path, segment_bytes=30_000, segments=1000)
        for number in range(25):
            mine.record(outcome(f"c{writer}", stdout=f"{writer}-{number} {'x' * 5000}".encode()))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))

    told = [str(text).split()[0] for text in stdouts(Transcript(tmp_path))]
    assert sorted(told) == sorted(f"{w}-{n}" for w in range(8) for n in range(25))
    for writer in range(8):
        own = [text for text in told if text.startswith(f"{writer}-")]
        assert own == [f"{writer}-{number}" for number in range(25)], "each in its own order"


@pytest.mark.root
def test_a_full_disk_is_told_and_the_lines_before_stay(node):
    def fill() -> tuple[list[object], str, list[object]]:
        directory = Path("/run/tiny")
        directory.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=32k", "podnet", str(directory)], check=True
        )
        written = Transcript(directory / "t")
        written.record(outcome(stdout=b"before"))
        with pytest.raises(PodnetError) as caught:
            written.record(outcome(stdout=os.urandom(20_000).hex().encode()))
        left = stdouts(written)
        os.truncate(directory / "t/00000001.jsonl", 800)
        written.record(outcome(stdout=b"after"))
        return left, caught.value.message, stdouts(written)

    left, said, later = node.run(fill)

    assert left == ["before"]
    assert said == "cannot write /run/tiny/t/00000001.jsonl: No space left on device"
    assert later == ["before", "after"]
