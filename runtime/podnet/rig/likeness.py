"""Whether two answers to one call say the same, though chance gave them other names.

Pure.  Host interfaces, hardware addresses, namespaces and leased addresses are given anew in
every run; in each they get names of their own, in the order in which they are first said.
Where a run's plugins are is its own, too.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_interface

from podnet.answer import documents

_CHANCE = re.compile(r"\b(?:veth[0-9a-f]{4,}|(?:[0-9a-f]{2}:){5}[0-9a-f]{2})\b")
# What the older versions say of nothing, and the others leave out.
_NOTHING: tuple[object, ...] = ({}, [], "", None)


@dataclass(slots=True)
class Names:
    """The names that one run gave, and what they are called here.

    Attributes:
        known: Each name, and its stand-in.
    """

    known: dict[str, str] = field(default_factory=dict)

    def learn(self, answer: bytes) -> None:
        """Take note of the addresses that a result gives to a container."""
        for document in documents(answer):
            ips = document.get("ips") if isinstance(document, dict) else None
            for ip in ips if isinstance(ips, list) else ():
                address = ip.get("address") if isinstance(ip, dict) else None
                if isinstance(address, str):
                    self._lease(address)

    def _lease(self, text: str) -> None:
        try:
            address = ip_interface(text)
        except ValueError:
            return
        number = sum("lease" in stand_in for stand_in in self.known.values()) + 1
        self.known.setdefault(str(address.ip), f"<lease {number} of {address.network}>")

    def stand_in(self, name: str, kind: str) -> None:
        """Let *name* be called *kind* here."""
        self.known.setdefault(name, f"<{kind}>")

    def search(self, path: Iterable[str]) -> None:
        """Let a search path, as lists of it are printed, and each directory be called the same."""
        directories = [one for one in path if one.startswith("/") and one.strip("/")]
        for spelled in (*directories, *(one.rstrip("/") for one in directories)):
            self.stand_in(spelled, "plugins")
        for between in (":", " ") if directories else ():
            self.stand_in(between.join(directories), "plugins")

    def plain(self, text: str) -> str:
        """Return *text* with stand-ins for what chance gave."""
        for name in sorted(self.known, key=len, reverse=True):
            text = re.sub(rf"(?<![\w.:]){re.escape(name)}(?![\w:])", self.known[name], text)
        return _CHANCE.sub(self._chance, text)

    def _chance(self, found: "re.Match[str]") -> str:
        kind = "mac" if ":" in found[0] else "veth"
        count = sum(stand_in.startswith(f"<{kind}") for stand_in in self.known.values())
        return self.known.setdefault(found[0], f"<{kind} {count + 1}>")


def differences(then: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    """Yield what two answers say differently, key by key; each is what :func:`said` returned."""
    for key in dict.fromkeys([*then, *now]):
        if then.get(key) != now.get(key):
            yield f"{key}: {_shown(then, key)}, now {_shown(now, key)}"


def said(ending: str, answer: bytes, names: Names) -> dict[str, object]:
    """Return what a call came to, in a form that compares.

    Args:
        ending: How it ended, in words.
        answer: What it printed.
        names: What was given in this run.
    """
    printed = list(documents(answer))
    facts: dict[str, object] = {"ended": ending}
    if not printed and answer.strip():
        return facts | {"printed": names.plain(answer.decode(errors="backslashreplace").strip())}
    for number, document in enumerate(printed):
        prefix = f"document {number + 1} " if len(printed) > 1 else ""
        if isinstance(document, dict):
            told = {key: value for key, value in document.items() if value not in _NOTHING}
            plain = names.plain(json.dumps(list(told.values()), ensure_ascii=False))
            facts |= zip((f"{prefix}{key}" for key in told), json.loads(plain), strict=True)
        else:
            facts[f"{prefix}printed"] = document
    return facts


def _shown(facts: Mapping[str, object], key: str) -> str:
    return json.dumps(facts[key], ensure_ascii=False) if key in facts else "not said"
