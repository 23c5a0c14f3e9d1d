"""What options, ini and markers say, for fixtures and hooks alike."""

import os
import shutil
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from podnet.errors import UsageError

#: What a section of a report begins with that is podnet's.
TITLE = "podnet: "


def marked(item: pytest.Item, name: str) -> list[str]:
    """Return the arguments of all markers of that name, the module's first."""
    return [str(one) for mark in reversed(list(item.iter_markers(name))) for one in mark.args]


def bin_dirs(config: pytest.Config) -> list[str]:
    """Return where plugins are, as options and ini say."""
    given: Sequence[str] = config.getoption("cni_bin_dir")
    listed: Sequence[Path] = config.getini("cni_bin_dir")
    inherited = os.environ.get("CNI_PATH", "").split(":")
    every = (*given, *map(str, listed), *filter(None, inherited))
    return [str(Path(one).absolute()) for one in every]


def hidden_nsenter() -> str:
    """Return what is to be said where PATH leads to the library of that name; "" elsewhere."""
    library = Path(sysconfig.get_path("scripts"), "nsenter")
    if shutil.which("nsenter") != str(library):
        return ""
    return (
        f"nsenter in PATH is {library}, a Python library's: plugins that mean util-linux's fail; "
        "leave the virtual environment, and call its pytest by its path"
    )


def check(config: pytest.Config) -> None:
    """Refuse what options and ini say and cannot be: it would be passed over in silence.

    Raises:
        UsageError: A directory of plugins is none, or a version is none of the spec's.
    """
    from podnet import places  # noqa: PLC0415  most projects have nothing to do with it

    places.require_directories("--cni-bin-dir", config.getoption("cni_bin_dir"))
    # A directory elsewhere is a system's, which not every machine has.
    own = [path for path in config.getini("cni_bin_dir") if path.is_relative_to(config.rootpath)]
    places.require_directories("cni_bin_dir", map(str, own))
    if config.getoption("cni_versions"):
        check_versions(config.getoption("cni_versions").split(","))


def check_versions(asked: Iterable[str]) -> None:
    """Refuse versions that were never released.

    Raises:
        UsageError: One was not.
    """
    from podnet.cni.versions import RELEASED  # noqa: PLC0415

    for version in asked:
        if version not in RELEASED:
            raise UsageError(
                f"{version} is no version of the spec", f"there are: {', '.join(RELEASED)}"
            )


def check_leakcheck(mark: pytest.Mark) -> None:
    """Refuse arguments of podnet_leakcheck that would allow more, or ask less, than they say.

    Raises:
        UsageError: There is no such argument, or it is of another type.
    """
    allowed = mark.kwargs.get("allowed", ())
    unknown = [*map(repr, mark.args), *(mark.kwargs.keys() - {"strict", "allowed"})]
    if unknown:
        raise UsageError(f"podnet_leakcheck takes no {unknown[0]}", "there are: strict, allowed")
    if isinstance(allowed, str) or not all(isinstance(one, str) for one in allowed):
        raise UsageError(
            f"podnet_leakcheck: allowed must be a list of patterns, not {allowed!r}",
            'like allowed=["file /var/lib/mine*"]',
        )


def is_strict(config: pytest.Config) -> bool:
    """Tell whether nothing may be missing."""
    return bool(config.getoption("podnet_strict") or config.getini("podnet_strict"))


def lacking(config: pytest.Config, reason: str) -> NoReturn:
    """Say that something is missing: a skip, or an error where nothing may be missing."""
    if is_strict(config):
        pytest.fail(f"{reason} (--podnet-strict)", pytrace=False)
    pytest.skip(reason)
