"""iptables rules as words: all tables read at once, compared, and changed one table at a time.

Rules are words in the order in which iptables-save prints them, so that what is read can be
compared with what was written.  Reading and writing are two steps: hold :func:`alone` around
both, or two processes find the same rule missing and add it twice.  Acts in the network
namespace of the calling thread.
"""

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from podnet.errors import MissingError, PodnetError
from podnet.kernel import nft_tags, programs

_PREFIX = {4: "iptables", 6: "ip6tables"}
_NFT_FAMILY = {4: "ip", 6: "ip6"}
# Not iptables' own lock (/run/xtables.lock): the restore that we start would wait for us.
_LOCK = Path("/run/podnet/iptables.lock")
#: The chains that the kernel itself passes packets to: in every table they are there already.
BUILT_IN = frozenset({"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"})
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
_ESCAPED = re.compile(r"\\(.)")
_SPECIAL = re.compile(r'["\\]')
_PLAIN = re.compile(r"[A-Za-z0-9_.,:;/!\[\]=+@%^-]+")

#: The rules of each chain, in order, as printed but for ``-A CHAIN``.
Chains = Mapping[str, Sequence[str]]


class XtablesError(PodnetError):
    """iptables refused: nothing of the table's transaction was done."""


def available(family: int) -> bool:
    """Tell whether there is an iptables-restore for family 4 or 6."""
    return programs.is_installed(f"{_PREFIX[family]}-restore")


def in_use(family: int, table: str) -> bool:
    """Tell whether a table of family 4 or 6 has rules that a run of iptables would have to find.

    Of either iptables: what the older one has made is listed in /proc, what the newer one has is
    nftables.  With no rules, which is how DEL finds what nftables served, it saves 3 ms.
    """
    names = f"/proc/thread-self/net/{_NFT_FAMILY[family]}_tables_names"
    try:
        older = Path(names).read_text().split()
    except FileNotFoundError:  # the kernel has none of it
        older = []
    return table in older or bool(nft_tags.of(_NFT_FAMILY[family], table))


@contextmanager
def alone() -> Iterator[None]:
    """Keep podnet's other plugins from changing rules between reading and writing."""
    _LOCK.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def saved(family: int, variant: str = "") -> dict[str, dict[str, list[str]]]:
    """Return the chains of every table there is, with their rules.

    Args:
        family: 4 or 6.
        variant: "legacy" for the iptables before nftables, where both are installed.

    Raises:
        XtablesError: They cannot be read.
        MissingError: There is no iptables.
    """
    tables: dict[str, dict[str, list[str]]] = {}
    chains: dict[str, list[str]] = {}
    program = "-".join(filter(None, (_PREFIX[family], variant, "save")))
    for line in _run(program).splitlines():
        if line.startswith("*"):
            chains = tables.setdefault(line[1:], {})
        elif line.startswith(":"):
            chains.setdefault(line[1:].split()[0], [])
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            chains.setdefault(chain, []).append(rule)
    return tables


def apply(family: int, table: str, lines: Iterable[str]) -> None:
    """Run *lines*, as iptables-restore reads them, as one transaction; nothing else is changed.

    Raises:
        XtablesError: Something in it was refused.
        MissingError: There is no iptables.
    """
    text = "\n".join([f"*{table}", *lines, "COMMIT", ""])
    _run(f"{_PREFIX[family]}-restore", "--noflush", "--wait", stdin=text)


def quoted(word: str) -> str:
    """Return *word* as iptables-restore reads one word."""
    if _PLAIN.fullmatch(word):
        return word
    escaped = _SPECIAL.sub(r"\\\g<0>", word)
    return f'"{escaped}"'


def words(rule: str) -> list[str]:
    """Take a rule apart, quotes removed."""
    found = (match[0] for match in _WORD.finditer(rule))
    return [_ESCAPED.sub(r"\1", word[1:-1]) if word.startswith('"') else word for word in found]


def same(rule: str, other: str) -> bool:
    """Tell whether two rules do the same; versions differ in comments and the order of matches."""
    return rule == other or _meaning(rule) == _meaning(other)


def _meaning(rule: str) -> list[str]:
    found = words(rule)
    said = {i for i, word in enumerate(found) if word in {"-m", "--comment"}}
    return sorted(word for i, word in enumerate(found) if i not in said and i - 1 not in said)


def target(rule: str) -> str:
    """Return what a rule jumps to, or ""."""
    found = words(rule)
    return found[found.index("-j") + 1] if "-j" in found else ""


def once(chains: Chains, chain: str, rule: str, *, first: bool = False) -> list[str]:
    """Return the lines that leave exactly one *rule* in *chain*, appended or put first."""
    found = [existing for existing in chains.get(chain, ()) if same(existing, rule)]
    if not found:
        return [f"-I {chain} 1 {rule}" if first else f"-A {chain} {rule}"]
    return [f"-D {chain} {extra}" for extra in found[1:]]


def _run(program: str, *arguments: str, stdin: str = "") -> str:
    try:
        done = programs.run(program, *arguments, stdin=stdin)
    except FileNotFoundError:
        raise MissingError(f"there is no {program} program", "apt-get install iptables") from None
    if done.status != 0:
        raise XtablesError(f"{program}: {done.stderr.strip()}")
    return done.stdout
