"""Files written whole or not at all, on disks that are full, read-only or somebody else's."""

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from podnet import files
from podnet.errors import MissingError, PodnetError

TINY = Path("/run/tiny")


def tiny(options: str) -> Path:
    """Mount a file system of 32 KiB; for a Node."""
    TINY.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size=32k,{options}", "podnet", str(TINY)], check=True
    )
    return TINY


def read_only(directory: Path) -> None:
    """Make a file system read-only; for a Node."""
    # With its source, or mount repeats who owns it, who is nobody in a user namespace.
    subprocess.run(["mount", "-o", "remount,ro", "none", str(directory)], check=True)


def names(directory: Path) -> list[str]:
    """Return what is in a directory."""
    return sorted(path.name for path in directory.iterdir())


# --- write


def test_a_file_is_written_whole_for_the_owner_alone(tmp_path):
    files.write(tmp_path / "a", b"content")

    assert (tmp_path / "a").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert names(tmp_path) == ["a"]


def test_a_file_is_replaced_never_rewritten(tmp_path):
    path = tmp_path / "a"
    files.write(path, b"before")
    with path.open("rb") as reader:
        files.write(path, b"after")

        assert reader.read() == b"before", "who had it open sees the file before"
    assert path.read_bytes() == b"after"


def test_the_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    """Trap 20: 0-byte files after a crash."""
    seen = []
    fsync = os.fsync

    def look(descriptor: int) -> None:
        seen.append((os.fstat(descriptor).st_size, (tmp_path / "a").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)

    files.write(tmp_path / "a", b"content")

    assert seen == [(7, False)]


def test_drafts_go_where_nobody_takes_them_for_whole(tmp_path, monkeypatch):
    (tmp_path / "drafts").mkdir()
    (tmp_path / "files").mkdir()
    seen = []
    fsync = os.fsync

    def look(descriptor: int) -> None:
        seen.append((names(tmp_path / "files"), len(names(tmp_path / "drafts"))))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)

    files.write(tmp_path / "files/a", b"content", drafts=tmp_path / "drafts")

    assert seen == [([], 1)]
    assert names(tmp_path / "drafts") == []
    assert names(tmp_path / "files") == ["a"]


@pytest.mark.parametrize("error", [OSError(5, "I/O error"), KeyboardInterrupt()])
def test_what_interrupts_a_write_leaves_the_file_before_and_no_draft(tmp_path, monkeypatch, error):
    files.write(tmp_path / "a", b"before")

    def fail(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises((PodnetError, KeyboardInterrupt)):
        files.write(tmp_path / "a", b"after")

    assert (tmp_path / "a").read_bytes() == b"before"
    assert names(tmp_path) == ["a"]


def test_a_directory_that_is_missing_or_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(PodnetError, match=r"cannot write .*nowhere/a: No such file or directory"):
        files.write(tmp_path / "nowhere/a", b"")
    with pytest.raises(PodnetError, match=r"cannot write .*file/a: Not a directory"):
        files.write(tmp_path / "file/a", b"")


def test_a_name_that_is_too_long_is_told(tmp_path):
    with pytest.raises(PodnetError, match="is too long") as caught:
        files.write(tmp_path / ("x" * 256), b"")

    assert caught.value.hint == "shorten the name"
    assert names(tmp_path) == []


def test_the_longest_name_can_be_written(tmp_path):
    files.write(tmp_path / ("x" * 255), b"y")

    assert names(tmp_path) == ["x" * 255]


def test_permission_is_a_thing_that_the_system_lacks():
    with pytest.raises(MissingError) as caught, files.naming(Path("/x")):
        raise PermissionError(13, "Permission denied")

    assert caught.value.message == "no permission to write /x"
    assert caught.value.exit_code == 7


@pytest.mark.root
def test_a_full_disk_keeps_the_file_before(node):
    def fill() -> tuple[str, bytes, list[str]]:
        directory = tiny("mode=700")
        files.write(directory / "a", b"before")
        with pytest.raises(PodnetError) as caught:
            files.write(directory / "a", bytes(64 * 1024))
        return str(caught.value), (directory / "a").read_bytes(), names(directory)

    said, content, there = node.run(fill)

    assert said == "cannot write /run/tiny/a: No space left on device\n  free some space"
    assert content == b"before"
    assert there == ["a"]


@pytest.mark.root
def test_a_full_disk_is_found_by_the_probe(node):
    """From libcni api_test: cache dir unwritable; found before the first plugin runs."""

    def fill() -> tuple[str, list[str]]:
        directory = tiny("mode=700")
        files.probe(directory)
        (directory / "filler").write_bytes(bytes(28 * 1024))
        with pytest.raises(PodnetError) as caught:
            files.probe(directory)
        return caught.value.message, names(directory)

    said, there = node.run(fill)

    assert said == "cannot write /run/tiny: No space left on device"
    assert there == ["filler"]


@pytest.mark.root
def test_a_read_only_disk_is_told_with_what_to_do(node):
    def refusal(attempt: Callable[..., None], *args: object) -> PodnetError:
        with pytest.raises(PodnetError) as caught:
            attempt(*args)
        return caught.value

    def refuse() -> list[PodnetError]:
        directory = tiny("mode=700")
        files.write(directory / "a", b"before")
        read_only(directory)
        refused = [
            refusal(files.write, directory / "a", b"after"),
            refusal(files.probe, directory),
            refusal(files.make_directory, directory / "b"),
        ]
        assert (directory / "a").read_bytes() == b"before"
        return refused

    refused = node.run(refuse)

    assert [error.message for error in refused] == [
        "cannot write /run/tiny/a: Read-only file system",
        "cannot write /run/tiny: Read-only file system",
        "cannot write /run/tiny/b: Read-only file system",
    ]
    assert {error.hint for error in refused} == {
        "PODNET_STATE and PODNET_RUN name other directories"
    }


# --- directories and probes


def test_a_directory_and_its_missing_parents_are_the_owners_alone(tmp_path):
    tmp_path.chmod(0o755)

    files.make_directory(tmp_path / "a/b/c")
    files.make_directory(tmp_path / "a/b/c")

    assert [stat.S_IMODE((tmp_path / p).stat().st_mode) for p in ("a", "a/b", "a/b/c")] == [
        0o700
    ] * 3
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755, "what was there is as it was"


def test_a_file_where_a_directory_should_be_is_told(tmp_path):
    (tmp_path / "a").write_text("")

    with pytest.raises(PodnetError, match="cannot write"):
        files.make_directory(tmp_path / "a")
    with pytest.raises(PodnetError, match="cannot write"):
        files.make_directory(tmp_path / "a/b")


def test_a_probe_leaves_nothing_behind(tmp_path):
    files.probe(tmp_path)

    assert names(tmp_path) == []


def test_a_probe_of_a_missing_directory_is_an_error(tmp_path):
    with pytest.raises(PodnetError, match="No such file or directory"):
        files.probe(tmp_path / "nowhere")


def test_naming_says_nothing_where_nothing_happened():
    with files.naming(Path("/x")):
        pass


def test_an_error_without_a_number_is_told_too():
    with pytest.raises(PodnetError, match="cannot write /x"), files.naming(Path("/x")):
        raise OSError
