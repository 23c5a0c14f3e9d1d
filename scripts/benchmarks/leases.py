"""leases: host-local among many, ours and the reference as executables."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, in_turn, row
from benchmarks.world import REFERENCE
from podnet import places
from podnet.node import Node


def rows(_: Path, count: int) -> Iterator[Row]:
    """ADD of host-local next to 0 to 60,000 leases; ours and the reference as executables."""
    (embedded,) = places.embedded_plugins()
    for many in (0, 1000, 10_000, 60_000):
        with Node.in_memory("bench") as node:
            for name in ("ours", "theirs"):
                node.run(_write_leases, name, many)
            turns = {"ours": 0, "theirs": 0}

            def add(
                directory: str, name: str, node: Node = node, turns: dict[str, int] = turns
            ) -> None:
                turns[name] += 1
                node.run(_host_local, directory, name, f"new{turns[name]}")

            ours, theirs = in_turn(
                count, lambda: add(embedded, "ours"), lambda: add(REFERENCE, "theirs")
            )
        yield row(f"leases ADD with {many}", ours, "reference", theirs)


def _write_leases(network: str, many: int) -> None:
    directory = Path("/run/leases", network)
    directory.mkdir(parents=True)
    address = 0
    for number in range(many):
        address = number + 2
        path = directory / f"10.{80 + (address >> 16)}.{address >> 8 & 255}.{address & 255}"
        path.write_text(f"old{number}\r\neth0")
    if many:
        (directory / "last_reserved_ip.0").write_text(path.name)


def _host_local(directory: str, network: str, container_id: str) -> None:
    ipam = {"type": "host-local", "dataDir": "/run/leases", "subnet": "10.80.0.0/14"}
    request = {"cniVersion": "1.0.0", "name": network, "type": "x", "ipam": ipam}
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": container_id,
        "CNI_NETNS": "/run/netns/none",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": directory,
    }
    subprocess.run(
        [f"{directory}/host-local"],
        input=json.dumps(request).encode(),
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        check=True,
    )
