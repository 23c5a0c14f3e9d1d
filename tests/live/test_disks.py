"""A disk that is full for a while: what is on it is still there, and still somebody's."""

import os
import socket
from pathlib import Path

import pytest

from podnet.kernel import disks
from podnet.node import Node


def _live(directory: Path) -> None:
    (directory / "kept").mkdir(parents=True)
    (directory / "kept" / "file").write_text("before")
    at = directory / "kept" / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(at))
        listener.listen()
        disks.fill(directory)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(at))
        with pytest.raises(OSError, match="No space"):
            (directory / "new").write_bytes(os.urandom(5000))
        (directory / "kept" / "file").unlink()
        disks.empty(directory)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(at))
    assert [path.name for path in sorted(directory.rglob("*"))] == ["kept", "socket", "new"]


@pytest.mark.root
def test_who_listens_on_a_disk_is_heard_when_it_is_full_and_afterwards(node: Node) -> None:
    node.run(_live, Path("/run/disk"))
