"""shell: a fresh process each time."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, in_turn, row
from benchmarks.world import CONF_FILE, REFERENCE, container_namespaces
from podnet.node import Node


def rows(peer: Path, count: int) -> Iterator[Row]:
    """``podnet create`` and ``delete``, against ``ip netns`` and the Go program; and its parts."""
    podnet = str(Path(sys.executable).parent / "podnet")
    options = ["--quiet", "--plugin-dir", REFERENCE]
    create = [podnet, *options, "create", "web", "--network", str(CONF_FILE)]
    delete = [podnet, *options, "delete", "web"]
    go = ["--conflist", str(CONF_FILE), "--path", REFERENCE, "--cache-dir", "/run/go"]
    go += ["--netns", "/run/netns/peer", "--id", "peer"]
    theirs = [
        ["ip", "netns", "add", "peer"],
        ["ip", "-n", "peer", "link", "set", "lo", "up"],
        [str(peer), "add", *go],
        [str(peer), "del", *go],
        ["ip", "netns", "del", "peer"],
    ]
    with Node.in_memory("bench") as node:
        node.run(container_namespaces, 0)

        def run(*commands: list[str]) -> None:
            for command in commands:
                node.run(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)

        ours, others = in_turn(count, lambda: run(create, delete), lambda: run(*theirs))
        yield row("shell create+delete", ours, "ip netns + libcni", others)
        python = [sys.executable, "-c"]
        parts = in_turn(
            count,
            lambda: run([*python, "pass"]),
            lambda: run([*python, "import typer"]),
            lambda: run([*python, "import podnet.cli.main"]),
            lambda: run([podnet, "version", "-o", "name"]),
        )
        names = ("python starts", "and imports typer", "and podnet.cli", "and parses a command")
        for name, times in zip(names, parts, strict=True):
            yield row(f"shell part: {name}", times)
        run(create)
        transcript = node.run(
            subprocess.run, [podnet, "trace", "web", "-o", "json"], capture_output=True, text=True
        ).stdout
        took = sum(step["duration_ms"] for step in json.loads(transcript)["items"][-1:])
        yield Row(name="shell part: plugins of one create", ours_ms=took)
        run(delete)
