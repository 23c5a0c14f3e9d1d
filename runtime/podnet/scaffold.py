"""A new plugin's first files: the plugin, its test and a conflist to try it with.

Writes them once, and never over anything.  What is in them is in ``templates/``; that it
works, the test that is written with it proves.
"""

import re
import sys
from collections.abc import Container, Iterator
from pathlib import Path

from podnet.errors import PodnetError, UsageError

_TEMPLATES = Path(__file__).parent / "templates"
# It names a file, a network, an nft or netlink object some day: lower case, no surprises.
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_NAME = 50
# The kernel cuts the first line of a script here (BINPRM_BUF_SIZE), and splits it at a space.
_LONGEST_INTERPRETER = 250


def check_name(name: str, taken: Container[str] = ()) -> None:
    """Check what a new plugin is to be called.

    Args:
        name: Its type.
        taken: The types that podnet itself has.

    Raises:
        UsageError: It cannot be called that.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise UsageError(
            f"no plugin can be called {name!r} here",
            f"at most {_LONGEST_NAME} lower-case letters, digits and single dashes, a letter first",
        )
    if name in taken:
        raise UsageError(f"podnet has a plugin {name} itself", "choose another name")


def interpreter() -> str:
    """Return what a script's first line must name to find podnet under any PATH.

    Raises:
        UsageError: The kernel could not read it from there.
    """
    python = sys.executable
    if not python or re.search(r"\s", python) or len(python) > _LONGEST_INTERPRETER:
        raise UsageError(
            f"the Python of podnet, {python!r}, cannot stand in a script's first line",
            "--interpreter '/usr/bin/env python3' finds one by PATH; it needs podnet",
        )
    return python


def files(name: str, python: str) -> dict[str, str]:
    """Return the files of a new plugin, by their names; the first is the plugin.

    Args:
        name: The plugin's type.
        python: What its first line names.
    """
    test = f"test_{name.replace('-', '_')}.py"
    words = {"@NAME@": name, "@INTERPRETER@": python, "@TEST@": test}
    templates = {name: "plugin", test: "test_plugin", f"{name}.conflist": "conflist"}
    return {file: _filled(template, words) for file, template in templates.items()}


def _filled(template: str, words: dict[str, str]) -> str:
    text = (_TEMPLATES / template).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def write(directory: Path, made: dict[str, str]) -> Iterator[Path]:
    """Write the files of a new plugin, the first of them executable; yield where each is.

    Raises:
        UsageError: One of them is there already; nothing was written.
        PodnetError: The directory cannot be written.
    """
    paths = {directory / name: text for name, text in made.items()}
    present = [str(path) for path in paths if path.exists() or path.is_symlink()]
    if present:
        raise UsageError(f"already there: {', '.join(present)}", "nothing was written")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for number, (path, text) in enumerate(paths.items()):
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
            if number == 0:
                path.chmod(0o755)
            yield path
    except OSError as exc:
        raise PodnetError(f"{exc.filename or directory} cannot be written: {exc.strerror}") from exc
