"""An attachment's life, step by step, with the same plugins from one directory or another.

A small runtime: it threads prevResult through a chain and keeps the result of the last ADD.
Knows nothing of what a plugin makes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.plugins.differential import snapshot
from tests.plugins.differential.differences import Difference
from tests.plugins.differential.snapshot import POD, Picture

from podnet.kernel import namespaces

# A new address can be used when the kernel has told itself of the carrier.
SETTLED = """
for i in $(seq 60); do ip -6 addr show tentative | grep -q 'inet6 fd' || exit 0; sleep .05; done
exit 1
"""

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """What is configured, and what is known to differ.

    Attributes:
        name: What the test is called.
        chain: The plugins whose two makes are compared.
        base: Plugins before them, the reference's on both sides.
        version: cniVersion.
        args: CNI_ARGS.
        prepare: A shell script for the host, before anything.
        inside: One for each new container.
        failing: What the last plugin's configuration has besides, for ADDs that must fail.
        again: Whether a second ADD of the last plugin succeeds.
        lasting: Patterns of what stays for good, by design.
        differences: Deliberate ones; each must show.
    """

    name: str
    chain: tuple[Config, ...]
    base: tuple[Config, ...] = ()
    version: str = "1.0.0"
    args: str = ""
    prepare: str = ""
    inside: str = ""
    failing: tuple[Config, ...] = ()
    again: bool = False
    lasting: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()


class Side:
    """A host, a container, and whose plugins are run on them (*maker*)."""

    def __init__(self, host: Any, case: Case, base: str | Path) -> None:
        self.host, self.case, self._base = host, case, base
        self._result: Any = None
        self._below: Any = None
        self.maker: str | Path = base
        # The kernel takes a second for the news of a veth whose other end has the same number.
        host.sh(
            "ip link add pad type bridge; ip link del pad; mkdir -p /run/netns; " + case.prepare
        )
        self.renew()

    def renew(self) -> None:
        """Make the container anew, as far as the plugins that are not compared."""
        self.lose()
        self.host.container("c1")
        self.host.sh(self.case.inside, netns=POD)
        self._below = None
        for plugin in self.case.base:
            self._below = self._call(
                "ADD", plugin, self._below, directory=self._base, CNI_ARGS=""
            ).result
        self._result = self._below
        if self.case.base:
            self.host.sh(SETTLED)

    def lose(self) -> None:
        """Have the namespace vanish with all that is in it.

        The kernel takes its time for that, and the next picture would show what still goes.
        """
        if self.host.node.run(namespaces.is_namespace, POD):
            self.host.sh("ip link del eth0 2>/dev/null || true", netns=POD)
        self.host.node.run(namespaces.delete, Path(POD))

    def add(self) -> list[Any]:
        """ADD the chain; a success is remembered."""
        self._result, answers = self._below, []
        for plugin in self.case.chain:
            answers.append(self._call("ADD", plugin, self._result))
            if answers[-1].status:
                break
            self._result = answers[-1].result
        return answers

    def add_again(self, more: Config | None = None) -> list[Any]:
        """ADD the last plugin once more, or with other keys; nothing is remembered."""
        before = self._below if len(self.case.chain) == 1 else self._result
        return [self._call("ADD", {**self.case.chain[-1], **(more or {})}, before)]

    def steps(self) -> list[str]:
        """The steps that this case has."""
        left_out: set[str] = set()
        if self.case.version < "0.4":
            left_out |= {step for step in STEPS if "CHECK" in step}
        if not self.case.failing:
            left_out |= {"failed ADD", "DEL after a failed ADD"}
        return [step for step in STEPS if step not in left_out]

    def check(self) -> list[Any]:
        """CHECK the chain."""
        return [self._call("CHECK", plugin, self._result) for plugin in self.case.chain]

    def delete(self, *, known: bool = True, netns: str = POD) -> list[Any]:
        """DEL the chain, backwards."""
        known = known and self.case.version >= "0.4"
        result = self._result if known else None
        return [
            self._call("DEL", plugin, result, netns=netns) for plugin in reversed(self.case.chain)
        ]

    def picture(self) -> Picture:
        """What is there now."""
        return snapshot.take(self.host.node, self._script)

    def _script(self, script: str, **variables: str) -> str:
        words = " ".join(f"{key}='{_quoted(value)}'" for key, value in variables.items())
        return str(self.host.sh(f"export {words}\nset +e\n{script}"))

    def _call(self, verb: str, plugin: Config, result: Any, **more: Any) -> Any:
        config = {"cniVersion": self.case.version, "name": "demo", **plugin}
        if result is not None:
            config["prevResult"] = result
        asked = {"directory": self.maker, "CNI_ARGS": self.case.args} | more
        return self.host.call(verb, config, **asked)


def _quoted(text: str) -> str:
    return text.replace("'", "'\\''")


def _anew(side: Side) -> list[Any]:
    side.renew()
    return side.add()


def _unaware(side: Side) -> list[Any]:
    return _anew(side) + side.delete(known=False)


def _nowhere(side: Side) -> list[Any]:
    return _anew(side) + side.delete(netns="")


def _lost(side: Side) -> list[Any]:
    answers = _anew(side)
    side.lose()
    return answers + side.delete()


def _failed(side: Side) -> list[Any]:
    side.renew()
    return [answer for keys in side.case.failing for answer in side.add_again(keys)]


STEPS: dict[str, Callable[[Side], list[Any]]] = {
    "ADD": Side.add,
    "ADD again": Side.add_again,
    "CHECK": Side.check,
    "DEL": Side.delete,
    "DEL again": Side.delete,
    "ADD for the other": _anew,
    "CHECK of the other's": Side.check,
    "DEL of the other's": Side.delete,
    "DEL without prevResult": _unaware,
    "DEL without CNI_NETNS": _nowhere,
    "DEL of a lost namespace": _lost,
    "failed ADD": _failed,
    "DEL after a failed ADD": Side.delete,
}


def said(answers: list[Any]) -> Picture:
    """What the plugins of one step answered, as a part of the picture."""
    found: Picture = {}
    for number, answer in enumerate(answers):
        at = f"answer/{number}"
        printed = json.loads(snapshot.plain(answer.stdout) or "{}")
        found[f"{at}/status"] = answer.status
        found[f"{at}/stderr"] = bool(answer.stderr)
        unlike = {"details", "cniVersion"} if answer.status else {"details"}
        for key, value in printed.items():
            # Details are help for people, and the reference has none; nor do its errors say theirs.
            if key not in unlike and value not in ({}, [], None):
                found[f"{at}/{key}"] = json.dumps(value, sort_keys=True)
    return found
