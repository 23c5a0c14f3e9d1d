"""Doubles for tests of runtimes and plugins, ours and everybody's.

A :class:`FakeExecutor` runs plugins that are plain functions: for order and data flow.
A :func:`stub_plugin` is a real executable that answers as it is told: for environment,
streams and exit status.  :func:`run_in` and :func:`reaches` look into pods from outside.
"""

import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from podnet.cni import wire
from podnet.cni.errors import CniError
from podnet.errors import UsageError
from podnet.execute import Outcome
from podnet.kernel import namespaces, probes, programs
from podnet.kernel.programs import Done
from podnet.node import Node
from podnet.plan import Attachment, Invocation

Answer = Mapping[str, object] | None


@dataclass(slots=True)
class FakeExecutor:
    """An executor of functions: each gets the invocation and returns what it prints, or raises.

    Attributes:
        plugins: The function of each plugin type.
        path: What CNI_PATH names.
        calls: Every invocation so far, in order.
    """

    plugins: Mapping[str, Callable[[Invocation], Answer]]
    path: Sequence[str] = ("/fake",)
    calls: list[Invocation] = field(default_factory=list)

    @property
    def order(self) -> list[tuple[str, str]]:
        """(verb, plugin) of every call so far."""
        return [(str(call.verb), call.plugin) for call in self.calls]

    def find(self, plugin: str, path: Sequence[str] = ()) -> Path:
        """Return a path for a plugin that there is a function for."""
        if plugin not in self.plugins:
            raise UsageError(
                f'failed to find plugin "{plugin}" in path [{" ".join(path or self.path)}]'
            )
        return Path(self.path[0], plugin)

    def run(self, invocation: Invocation) -> Outcome:
        """Call the function; a CniError that it raises is what a plugin would print."""
        binary = self.find(invocation.plugin)
        self.calls.append(invocation)
        try:
            answer, status = self.plugins[invocation.plugin](invocation), 0
        except CniError as exc:
            answer, status = exc.to_wire(), 1
        printed = b"" if answer is None else wire.dumps(answer).encode()
        return Outcome(
            invocation=invocation,
            binary=binary,
            started=time.time(),
            exit_status=status,
            stdout=printed,
        )


def stub_plugin(
    directory: Path,
    name: str,
    *,
    stdout: str | Mapping[str, object] = "",
    stderr: str = "",
    status: int = 0,
    script: str = "",
) -> Path:
    """Write an executable plugin that answers every call alike, and keeps what it was asked.

    Each call leaves ``<name>.calls/<n>.env`` and ``<n>.stdin`` in *directory*; see :func:`calls`.

    Args:
        directory: Where it goes; made if missing.
        name: Its type.
        stdout: What it prints, as text or as JSON.
        stderr: What it logs.
        status: How it exits.
        script: Shell commands to run before it answers.
    """
    directory.mkdir(parents=True, exist_ok=True)
    record = directory / f"{name}.calls"
    record.mkdir(exist_ok=True)
    printed = stdout if isinstance(stdout, str) else json.dumps(stdout)
    path = directory / name
    path.write_text(
        "#!/bin/sh\n"
        f"n=$(ls {shlex.quote(str(record))} | grep -c env)\n"
        f"env > {shlex.quote(str(record))}/$n.env\n"
        f"cat > {shlex.quote(str(record))}/$n.stdin\n"
        f"{script}\n"
        f"printf %s {shlex.quote(stderr)} >&2\n"
        f"printf %s {shlex.quote(printed)}\n"
        f"exit {status}\n"
    )
    path.chmod(0o755)
    return path


def calls(directory: Path, name: str) -> list[tuple[dict[str, str], object]]:
    """Return what a stub plugin was asked so far: (environment, stdin) of each call."""
    record = directory / f"{name}.calls"
    found = []
    for number in range(len(list(record.glob("*.env")))):
        lines = (record / f"{number}.env").read_text().splitlines()
        environment = dict(line.split("=", 1) for line in lines if "=" in line)
        stdin = (record / f"{number}.stdin").read_bytes()
        found.append((environment, json.loads(stdin) if stdin else None))
    return found


def run_in(node: Node, pod: Attachment, *command: str, stdin: str = "") -> Done:
    """Run a program in a pod's network namespace, to its end."""

    def run() -> Done:
        with namespaces.entered(pod.netns):
            return programs.run(*command, stdin=stdin)

    return node.run(run)


def reaches(  # noqa: PLR0913
    node: Node,
    pod: Attachment,
    address: IPv4Address | IPv6Address,
    *,
    to: Attachment | None = None,
    tcp: int = 0,
    udp: int = 0,
    timeout: float = 3.0,
) -> bool:
    """Tell whether an address answers a pod: an echo, a connection, or a datagram.

    Args:
        node: Where the pod is.
        pod: Who asks.
        address: Whom.
        to: Whose address it is; nothing has to listen there. Default: the Node's.
        tcp: A port to connect to.
        udp: A port to send to.
        timeout: Seconds to wait for an answer.
    """
    sink = to.netns if to else namespaces.OWN

    def probe() -> probes.Probe:
        if tcp:
            return probes.tcp(pod.netns, sink, address, tcp, timeout=timeout)
        if udp:
            return probes.udp(pod.netns, sink, address, udp, timeout=timeout)
        return probes.icmp(pod.netns, address, timeout=timeout)

    return node.run(probe).reached
