"""nftables, by way of the nft program: one transaction at a time, and lists as JSON.

PyPI has no kept binding; nft's text is its stable interface.  Acts in the network
namespace of the calling thread.
"""

import json
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from podnet.cni.wire import Fields
from podnet.errors import MissingError, PodnetError

if TYPE_CHECKING:
    import subprocess


class NftError(PodnetError):
    """nft refused: nothing of the transaction was done."""


def installed() -> bool:
    """Tell whether there is an nft program; cheaper than running it."""
    directories = os.get_exec_path()
    return any(os.access(os.path.join(one, "nft"), os.X_OK) for one in directories)  # noqa: PTH118  pathlib costs 5 ms


def available() -> bool:
    """Tell whether nft can be run here."""
    try:
        return _nft("--version").returncode == 0
    except MissingError:
        return False


def apply(commands: str) -> None:
    """Run *commands*, nft's own language, as one transaction.

    Raises:
        NftError: Something in it was refused.
        MissingError: There is no nft.
    """
    _apply(commands)


def apply_json(commands: Iterable[Mapping[str, object]]) -> None:
    """Run *commands* (libnftables-json(5)) as one transaction; any string may stand in them.

    Raises:
        NftError: Something in it was refused.
        MissingError: There is no nft.
    """
    _apply(json.dumps({"nftables": list(commands)}), "--json")


def rules(family: str, table: str, chain: str) -> list[Fields] | None:
    """Return the rules of a chain, each with its ``handle`` and ``comment``; ``None``: no chain.

    Raises:
        MissingError: There is no nft.
    """
    return _listed("chain", family, table, chain)


def table_rules(family: str, table: str) -> list[Fields] | None:
    """Return the rules of all chains of a table, each with its ``chain``; ``None``: no table.

    Raises:
        MissingError: There is no nft.
    """
    return _listed("table", family, table)


def _apply(commands: str, *options: str) -> None:
    done = _nft(*options, "-f", "-", stdin=commands)
    if done.returncode != 0:
        raise NftError(f"nft: {done.stderr.strip()}")


def _listed(*what: str) -> list[Fields] | None:
    done = _nft("--json", "list", *what)
    if done.returncode != 0:
        return None
    listed = Fields.of(json.loads(done.stdout)).children("nftables")
    return [rule for entry in listed if (rule := entry.child("rule"))]


def _nft(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    import subprocess  # noqa: PLC0415  8 ms that a plugin without rules saves

    command = ["nft", *arguments]
    try:
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise MissingError("there is no nft program", "apt-get install nftables") from None
