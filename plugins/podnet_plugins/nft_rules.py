"""nftables rules as words: written to nft as they are, and read back in the same words.

So a rule that is wanted can be looked for among those that are there.  Knows the few
statements that plugins use; others come back as "" and match nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from podnet.cni.wire import Fields
from podnet.kernel import firewall
from podnet.kernel.firewall import NftError
from podnet.kernel.nft_tags import Tag

_VERDICTS = ("accept", "drop", "return", "masquerade")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        chain: Where it is.
        statements: Its matches, with their operator spelled out, and what it does.
        comment: Whose it is.
        handle: Its number, when it was read.
    """

    chain: str
    statements: tuple[str, ...]
    comment: str = ""
    handle: int = 0

    def __str__(self) -> str:
        comment = f' comment "{self.comment}"' if self.comment else ""
        return f"{self.chain} {' '.join(self.statements)}{comment}"

    def added(self, table: str) -> str:
        """Return the command that appends it."""
        return f"add rule {table} {self}\n"

    def inserted(self, table: str) -> str:
        """Return the command that puts it first."""
        return f"insert rule {table} {self}\n"

    def deleted(self, table: str) -> str:
        """Return the command that deletes it, once it was read."""
        return f"delete rule {table} {self.chain} handle {self.handle}\n"


def listed(family: str, table: str) -> list[Rule] | None:
    """Return the rules of a table, ``None`` when there is no such table.

    Raises:
        MissingError: There is no nft.
    """
    found = firewall.table_rules(family, table)
    return None if found is None else [parsed(fields) for fields in found]


def stand(found: Iterable[Tag], shared: Mapping[str, int]) -> bool:
    """Tell whether the *shared* chains have as many rules as they should."""
    there = Counter(tag.chain for tag in found)
    return all(there[chain] == count for chain, count in shared.items())


def apply(commands: str, *, shared: str, stands: bool) -> None:
    """Run *commands* as one transaction, after those that make what is *shared* unless it *stands*.

    Raises:
        PodnetError: nft is missing or refused.
    """
    if stands:
        try:
            firewall.apply(commands)
        except NftError:  # some of it went in the meantime, or we counted somebody else's
            pass
        else:
            return
    firewall.apply(shared + commands)


def missing(wanted: Iterable[Rule], found: Iterable[Rule]) -> list[Rule]:
    """Return those of *wanted* that are not among *found*; found rules may say more."""
    there = [(rule.chain, rule.comment, set(rule.statements)) for rule in found]
    return [
        rule
        for rule in wanted
        if not any(
            (rule.chain, rule.comment) == (chain, comment) and said.issuperset(rule.statements)
            for chain, comment, said in there
        )
    ]


def parsed(fields: Fields) -> Rule:
    """Read a rule in nft's JSON."""
    statements = fields.get("expr")
    return Rule(
        chain=fields.text("chain"),
        statements=tuple(map(_statement, statements if isinstance(statements, list) else ())),
        comment=fields.text("comment"),
        handle=fields.number("handle") or 0,
    )


def _statement(said: object) -> str:
    match said:
        case {"match": {"op": str(operator), "left": left, "right": right}}:
            compared = "" if operator == "in" else f" {operator}"
            return f"{_left(left)}{compared} {_right(left, right)}"
        case {"dnat": {"addr": str(address), "port": int(port)}}:
            return f"dnat to {endpoint(address, port)}"
        case {"jump": {"target": str(chain)}}:
            return f"jump {chain}"
        case {"goto": {"target": str(chain)}}:
            return f"goto {chain}"
        case dict():
            return next((verdict for verdict in _VERDICTS if verdict in said), "")
        case _:
            return ""


def endpoint(address: str, port: int) -> str:
    """Return address and port as both firewalls write them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _left(said: object) -> str:
    match said:
        case {"payload": {"protocol": str(protocol), "field": str(field)}}:
            return f"{protocol} {field}"
        case {"meta": {"key": str(key)}}:
            return f"meta {key}"
        case {"ct": {"key": str(key)}}:
            return f"ct {key}"
        case {"fib": {"result": str(result), "flags": [str(flag)] | str(flag)}}:
            return f"fib {flag} {result}"
        case _:
            return ""


def _right(left: object, said: object) -> str:
    match said:
        case str() if _left(left) in {"meta iifname", "meta oifname"}:
            return f'"{said}"'  # a link's name may have any character
        case {"prefix": {"addr": str(address), "len": int(length)}}:
            return f"{address}/{length}"
        case {"set": list(members)} | list(members):
            return ",".join(sorted(map(str, members)))
        case _:
            return str(said)
