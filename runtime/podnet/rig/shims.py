"""Directories of shims: one in front of each plugin, that records its calls or lets them fail.

Knows what a shim's file looks like, and where its program is; what it does then is
:mod:`podnet.rig.shim`'s.  A *mirror* is a directory to search instead of others; an
*installed* one is the plugins' own, whose files are moved aside until they are put back.
"""

import ast
import os
import py_compile
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from podnet import files
from podnet.errors import PodnetError, UsageError
from podnet.rig import shim
from podnet.rig.faults import Fault, Place

#: Words in a key, of JSON or of the environment, whose value nobody but its owner is to see.
SECRETS = (
    "token",
    "secret",
    "passw",
    "credential",
    "private",
    "apikey",
    "api_key",
    "authorization",
    "_pwd",
)
_OWN = ".podnet-shims"
_MARK = "# A shim of podnet's, in front of a CNI plugin: docs/recording.md\n"
_WRITTEN = re.compile(r"^stand_in\(\n    (?P<real>.*),\n    record=(?P<record>.*),$", re.MULTILINE)
_EXECUTABLE = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What shims do besides running their plugins.

    Attributes:
        record: The file that calls are written to; ``None`` for none.
        redact: Values are hidden whose key has one of these words in it.
        faults: What goes wrong.
    """

    record: Path | None = None
    redact: tuple[str, ...] = SECRETS
    faults: tuple[Fault, ...] = ()

    def of(self, plugin: str) -> "Task":
        """Return what concerns one plugin."""
        return replace(self, faults=tuple(f for f in self.faults if f.plugin == plugin))

    def has(self, kind: str) -> bool:
        """Tell whether a fault of that kind is part of it."""
        return any(fault.kind == kind for fault in self.faults)


def mirror(directory: Path, path: Sequence[str], task: Task) -> None:
    """Make *directory* the one to search instead of all of *path*; or anew, for another task.

    Plugins that *task* does not concern are links.

    Raises:
        PodnetError: It cannot be written.
    """
    plugins = {found.name: found for one in reversed(path) for found in _plugins(Path(one))}
    with files.naming(directory):
        directory.mkdir(parents=True, exist_ok=True)
        _put_program(directory)
        for old in _plugins(directory):
            if old.name not in plugins:
                old.unlink()
        for name, real in plugins.items():
            _put(directory / name, real, directory, task.of(name))


def require_plugins(path: Sequence[str], task: Task) -> None:
    """Check that there is a plugin for each fault.

    Raises:
        UsageError: There is none.
    """
    for fault in task.faults:
        if fault.plugin and not any(Path(one, fault.plugin).is_file() for one in path):
            raise UsageError(
                f"the fault {fault}: there is no plugin {fault.plugin} in {' '.join(path)}",
                "`podnet plugins` lists what there is; --plugin-dir adds a directory",
            )


def install(directory: Path, task: Task) -> list[str]:
    """Put shims in the place of all plugins of *directory*; they are moved aside.

    At every moment there is a file of each name that works.

    Returns:
        The plugins that have a shim now.

    Raises:
        UsageError: There are no plugins.
        PodnetError: It cannot be written to.
    """
    real = directory / _OWN / "real"
    with files.naming(directory):
        fresh = [path for path in _plugins(directory) if not is_shim(path)]
        if not fresh and not real.is_dir():
            raise UsageError(f"there are no plugins in {directory}")
        real.mkdir(parents=True, exist_ok=True)
        _put_program(directory)
        for path in fresh:
            draft = real / f".{path.name}.draft"
            draft.unlink(missing_ok=True)
            os.link(path, draft, follow_symlinks=False)
            draft.replace(real / path.name)
        for path in sorted(real.iterdir()):
            _put(directory / path.name, path, directory, task)
        return sorted(path.name for path in real.iterdir())


def uninstall(directory: Path) -> tuple[list[str], list[str]]:
    """Put the plugins of *directory* back.

    Returns:
        What was put back, and what was not, since somebody installed a newer one meanwhile.

    Raises:
        UsageError: There are no shims.
        PodnetError: It cannot be written to.
    """
    own = directory / _OWN
    if not (own / "real").is_dir():
        raise UsageError(f"podnet has no shims in {directory}")
    back, kept = [], []
    with files.naming(directory):
        for path in sorted((own / "real").iterdir()):
            there = directory / path.name
            if there.exists() and not is_shim(there):
                kept.append(path.name)
                continue
            path.replace(there)
            back.append(path.name)
        shutil.rmtree(own)
    return back, kept


def is_shim(path: Path) -> bool:
    """Tell whether a file is a shim."""
    with path.open("rb") as file:
        return _MARK.encode() in file.read(1024)


def _plugins(directory: Path) -> Iterator[Path]:
    """Yield the plugins of a directory: what could be executed; a missing one has none."""
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if path.is_file() and not path.name.startswith(".") and os.access(path, os.X_OK):
            yield path


def _put_program(directory: Path) -> None:
    """Copy the shim's program, compiled: a package below the directory, that needs no other."""
    program = directory / _OWN / "podnet" / "rig" / "shim"
    program.mkdir(parents=True, exist_ok=True)
    for package in (program.parent, program.parent.parent):
        (package / "__init__.py").write_text("")
    for source in Path(str(shim.__file__)).parent.glob("*.py"):
        target = program / source.name
        shutil.copyfile(source, target)
        py_compile.compile(
            str(target),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def _put(path: Path, real: Path, directory: Path, task: Task) -> None:
    """Put in place what *task* makes of one plugin, whole."""
    if task.has("missing"):
        path.unlink(missing_ok=True)
        return
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}.draft")
    if task.record is None and not task.faults:
        draft.symlink_to(real)
    else:
        draft.write_text(_shim(_behind(real, task.record), directory, task))
        draft.chmod(_EXECUTABLE & ~0o111 if task.has("not-executable") else _EXECUTABLE)
    draft.replace(path)


def _behind(real: Path, record: Path | None) -> Path:
    """Return the plugin that a shim stands in front of, if it records to *record* as we do.

    `record run` has CNI_PATH lead to shims, and a podnet in there has its own: each call once.
    """
    if record is None or not is_shim(real):
        return real
    written = _WRITTEN.search(real.read_text())
    if written is None or ast.literal_eval(written["record"]) != str(record.absolute()):
        return real
    return Path(ast.literal_eval(written["real"]))


def _shim(real: Path, directory: Path, task: Task) -> str:
    """Return a shim's file.  It is started by the kernel, hence the interpreter itself."""
    faults = [
        (str(fault.verb or ""), fault.kind, fault.value)
        for fault in task.faults
        if fault.place is Place.CALL
    ]
    record = str(task.record.absolute()) if task.record else ""
    return (
        f"#!{os.path.realpath(sys.executable)} -IS\n"
        f"{_MARK}"
        "import sys\n"
        f"sys.path[:0] = [{str(directory.absolute() / _OWN)!r}]\n"
        "from podnet.rig.shim.main import stand_in\n"
        f"stand_in(\n    {str(real.absolute())!r},\n    record={record!r},\n"
        f"    redact={task.redact!r},\n    faults={faults!r},\n)\n"
    )


def require_record(path: Path) -> Path:
    """Check that calls can be written to *path*, which is made, for its owner alone.

    Raises:
        PodnetError: They cannot.
    """
    with files.naming(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if not os.path.isfile(path):  # noqa: PTH113
                raise PodnetError(f"{path} is no file that calls could be appended to")
        finally:
            os.close(descriptor)
    return path.absolute()
