"""nftables, by way of the nft program: one transaction at a time, and lists as JSON.

PyPI has no kept binding; nft's text is its stable interface.  Acts in the network
namespace of the calling thread.
"""

import json
from collections.abc import Iterable, Mapping

from podnet.cni.wire import Fields
from podnet.errors import MissingError, PodnetError
from podnet.kernel import programs
from podnet.kernel.programs import Done


class NftError(PodnetError):
    """nft refused: nothing of the transaction was done."""


def installed() -> bool:
    """Tell whether there is an nft program; cheaper than running it."""
    return programs.is_installed("nft")


def available() -> bool:
    """Tell whether nft can be run here."""
    try:
        return _nft("--version").status == 0
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


def table_rules(family: str, table: str) -> list[Fields] | None:
    """Return the rules of all chains of a table, each with its ``chain``; ``None``: no table.

    Raises:
        MissingError: There is no nft.
    """
    listed = table_objects(family, table)
    return None if listed is None else [rule for e in listed if (rule := e.child("rule"))]


def table_objects(family: str, table: str) -> list[Fields] | None:
    """Return what is in a table, each thing below what it is (``chain``, ``rule``); or ``None``.

    Raises:
        MissingError: There is no nft.
    """
    done = _nft("--json", "list", "table", family, table)
    if done.status != 0:
        return None
    return list(Fields.of(json.loads(done.stdout)).children("nftables"))


def ruleset() -> list[Mapping[str, object]]:
    """Return everything there is, in the order of libnftables-json(5).

    Raises:
        NftError: nft cannot tell.
        MissingError: There is no nft.
    """
    done = _nft("--json", "list", "ruleset")
    if done.status != 0:
        raise NftError(f"nft: {done.stderr.strip()}")
    listed = Fields.of(json.loads(done.stdout)).children("nftables")
    return [entry.values for entry in listed]


def _apply(commands: str, *options: str) -> None:
    done = _nft(*options, "-f", "-", stdin=commands)
    if done.status != 0:
        raise NftError(f"nft: {done.stderr.strip()}")


def _nft(*arguments: str, stdin: str = "") -> Done:
    try:
        return programs.run("nft", *arguments, stdin=stdin)
    except FileNotFoundError:
        raise MissingError("there is no nft program", "apt-get install nftables") from None
