"""How to take away, or change, each thing that a picture shows: a shell script for each.

Knows the names that pictures give to things; knows nothing of plugins.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.plugins.differential.differences import Found

Scripts = Iterator[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing that is not any more as it was made.

    Attributes:
        name: What the picture calls it.
        script: What makes it so.
        word: What an error that is about it says (a regular expression).
    """

    name: str
    script: str
    word: str

    @property
    def inside(self) -> bool:
        """Whether it is the container's."""
        return self.name.startswith("pod/")


def drifts(made: Found) -> Iterator[Drift]:
    """Yield what can happen to each thing that was made; what nobody can change is left out."""
    for name, values in made.items():
        for pattern, scripts in _SCRIPTS.items():
            found = re.fullmatch(pattern, name)
            for script, word in scripts(*values, *found.groups()) if found else ():
                yield Drift(name, re.sub(r"\bveth\b", _VETH, script), word)


# The only one that there is; a picture does not say the rest of its name.
_VETH = "$(cd /sys/class/net; echo veth????????)"
_FLAGS = {"UP": "down", "PROMISC": "promisc off", "ALLMULTI": "allmulticast off"}


def _flags(now: Any, before: Any, dev: str) -> Scripts:
    for flag in set(now or ()) - set(before or ()):
        if flag in _FLAGS:
            yield f"ip link set {dev} {_FLAGS[flag]}", dev


def _kind(now: Any, before: Any, dev: str) -> Scripts:
    if before is None:
        words = {"veth": "eth0", "bwp": "ifb device"}
        yield f"ip link del {dev}", words.get(re.sub("^bwp.*", "bwp", dev), dev)


def _port(now: Any, before: Any, dev: str, key: str) -> Scripts:
    yield f"bridge link set dev {dev} {key} {'off' if now else 'on'}", key[:6]


def _route(now: Any, before: Any, table: str, words: str) -> Scripts:
    dst, *rest = words.split()
    keys = dict(zip(rest[::2], rest[1::2], strict=False))
    family = "-6" if "pref" in keys else "-4"
    via = f"via {keys['gateway']} onlink" if "gateway" in keys else ""
    where = f"{dst} {via} dev {keys['dev']} table {table}"
    word = {"default-4": "0.0.0.0/0|default", "default-6": "::/0|default"}.get(dst + family, "")
    word = word or re.escape(dst.removesuffix("0/24").removesuffix("/64"))
    if table != "local":
        yield f"ip {family} route {'del' if now else 'add'} {where}", word


def _rule(now: Any, before: Any, family: str, shown: str) -> Scripts:
    rule = json.loads(shown)
    yield f"ip -{family} rule del from {rule['src']} table {rule['table']}", rule["src"]


def _sysctl(now: Any, before: Any, key: str) -> Scripts:
    if before is not None:
        yield f"echo {before} > /proc/sys/{key}", key.rpartition("/")[2]


def _rules(now: Any, before: Any, program: str, table: str, chain: str) -> Scripts:
    for rule in now or ():
        if rule not in (before or ()):
            yield f"{program} -t {table} -D {chain} {rule}", f"{chain}|masquerading is gone"


def _queue(now: Any, before: Any, dev: str, parent: str) -> Scripts:
    if now and now[0] != "noqueue":
        yield f"tc qdisc del dev {dev} {'root' if parent == 'root' else 'ingress'}", dev


def _file(now: Any, before: Any, path: str) -> Scripts:
    yield f"rm {path}", "" if "/networks/" in path else path


def _just(script: str, word: str = "{0}") -> Callable[..., Scripts]:
    return lambda now, before, *groups: iter([(script.format(*groups), word.format(*groups))])


_SCRIPTS: dict[str, Callable[..., Scripts]] = {
    "(?:host|pod)/link/([^/]+)/kind": _kind,
    "(?:host|pod)/link/([^/]+)/flags": _flags,
    "(?:host|pod)/link/([^/]+)/mtu": _just("ip link set {0} mtu 1290"),
    "(?:host|pod)/link/((?!bwp)[^/]+)/mac": _just("ip link set {0} address 02:00:00:00:00:99"),
    # (An ifb with another mark is another's, from then on.)
    "(?:host|pod)/link/((?!bwp)[^/]+)/ifalias": _just("ip link set {0} alias x"),
    "pod/link/([^/]+)/txqlen": _just("ip link set {0} txqueuelen 7"),
    "host/link/([^/]+)/master": _just("ip link set {0} nomaster"),
    "host/link/([^/]+)/port/(hairpin|isolated)": _port,
    "(?:host|pod)/link/([^/]+)/address/([^/]+)/([0-9]+)": _just(
        "ip addr del {1}/{2} dev {0}", "{1}"
    ),
    "(?:host|pod)/route/([^/]+)/(.*)": _route,
    "pod/rule([46])/[0-9]+/(.*)": _rule,
    "(?:host|pod)/sysctl/(.*)": _sysctl,
    "host/(ip6?tables)/([^/]+)/(.*)": _rules,
    "host/qdisc/([^/]+)/(.*)": _queue,
    "host/filter/([^/]+)/2": _just("tc filter del dev {0} parent ffff:"),
    "host/file(/(?:var|run)/.*(?<!/mode))": _file,
}
