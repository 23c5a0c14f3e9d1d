"""What options, ini and markers say, for fixtures and hooks alike."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

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


def is_strict(config: pytest.Config) -> bool:
    """Tell whether nothing may be missing."""
    return bool(config.getoption("podnet_strict") or config.getini("podnet_strict"))


def lacking(config: pytest.Config, reason: str) -> NoReturn:
    """Say that something is missing: a skip, or an error where nothing may be missing."""
    if is_strict(config):
        pytest.fail(f"{reason} (--podnet-strict)", pytrace=False)
    pytest.skip(reason)
