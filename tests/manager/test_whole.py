"""What a manager keeps on disk is there as a whole, or drawn again."""

import re

import pytest

from podnet.errors import PodnetError
from podnet_manager import identity, whole


def test_a_file_is_written_for_whom_it_is_meant_and_leaves_no_draft(tmp_path) -> None:
    path = tmp_path / "new" / "file"

    whole.write(path, "one")
    whole.write(path, "two", mode=0o644)

    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path) -> None:
    (tmp_path / "file").mkdir()

    with pytest.raises(OSError, match="directory"):
        whole.write(tmp_path / "file", "one")

    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_an_identity_is_kept(tmp_path) -> None:
    drawn = identity.of(tmp_path / "state")

    assert re.fullmatch("[0-9a-f]{16}", drawn)
    assert identity.of(tmp_path / "state") == drawn
    assert identity.of(tmp_path / "another") != drawn


@pytest.mark.parametrize("content", [b"", b"\n", b"0123", b"\xff\xfe", b"g" * 16])
def test_an_identity_that_was_not_written_whole_is_drawn_again(tmp_path, content) -> None:
    (tmp_path / "identity").write_bytes(content)

    drawn = identity.of(tmp_path)

    assert re.fullmatch("[0-9a-f]{16}", drawn)
    assert identity.of(tmp_path) == drawn


def test_an_identity_that_cannot_be_kept_is_an_error_in_words(tmp_path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(PodnetError, match=r"cannot keep state in .*file: "):
        identity.of(tmp_path / "file")
