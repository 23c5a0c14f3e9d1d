"""Files below state directories, as facts.

A lease or a stamp is short and worth reading; of a longer file a digest tells that it is another
one.  Times are no facts.  Follows no link, and opens only what is a plain file.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from podnet.kernel.facts import Attributes, Fact, stated

_SHOWN, _READ = 200, 1 << 20
_TYPES = {stat.S_IFDIR: "directory", stat.S_IFSOCK: "socket", stat.S_IFIFO: "pipe"}

Files = dict[str, os.stat_result]


def files(tops: Sequence[str], ignored: Sequence[str]) -> Files:
    """Return everything below some directories, which may be missing, but for what is ignored."""
    found: Files = {}
    for path in (path for top in tops for path in _below(top, ignored)):
        with suppress(FileNotFoundError):  # it went while we looked
            found[path] = os.lstat(path)
    return found


def _below(top: str, ignored: Sequence[str]) -> Iterator[str]:
    for directory, inside, plain in os.walk(top):
        inside[:] = [name for name in inside if not is_below(f"{directory}/{name}", ignored)]
        paths = (f"{directory}/{name}" for name in (*inside, *plain))
        yield from (path for path in paths if not is_below(path, ignored))


def is_below(path: str, directories: Sequence[str]) -> bool:
    """Tell whether *path* is one of some directories or files, or below one."""
    return any(path == one or path.startswith(f"{one}/") for one in directories)


def facts(found: Files) -> Iterator[Fact]:
    """Yield a fact for each file."""
    for path, status in found.items():
        yield Fact("file", path, _about(path, status))


def _about(path: str, status: os.stat_result) -> Attributes:
    kind, mode = stat.S_IFMT(status.st_mode), f"{stat.S_IMODE(status.st_mode):04o}"
    if kind == stat.S_IFLNK:
        return stated(target=_target(path))
    if kind != stat.S_IFREG:
        return stated(type=_TYPES.get(kind, "special"), mode=mode)
    return stated(mode=mode, size=status.st_size, content=_content(path, status.st_size))


def _target(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def _content(path: str, size: int) -> str:
    if size > _READ:
        return ""
    try:
        content = Path(path).read_bytes()
    except OSError:  # it went; nobody may read it
        return ""
    if len(content) <= _SHOWN and content.isascii() and b"\0" not in content:
        return content.decode()
    return f"sha256 {hashlib.sha256(content).hexdigest()[:16]}"
