"""The clusters of this machine: made, found again, taken down.

A cluster is on record before anything of it exists, so that :meth:`Clusters.down` finds all
that a crash left half made; a lock says that somebody is still making it.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Self

from podnet import files, places
from podnet.cluster import leash, making, managers, record
from podnet.cluster.making import Say
from podnet.cluster.record import Cluster, Member
from podnet.cni.errors import CniError
from podnet.errors import PodnetError, UsageError
from podnet.node import Node
from podnet.nodes import Nodes

#: The process that clusters made here must not outlive; who tests with clusters sets it.
OWNER = "PODNET_OWNER"
_RECORD, _LOCK = "cluster.json", "lock"
_NO_DRAFT = 60.0  # seconds; a draft becomes a record in milliseconds


class Clusters:
    """The clusters of this machine.

    Args:
        nodes: The Nodes of this machine.
        directory: Where the clusters' records are, and what their Nodes share.
        owner: A process that they must not outlive, 0 for none.

    Attributes:
        nodes: The Nodes of this machine.
        directory: The records.
    """

    def __init__(self, nodes: Nodes, directory: Path, *, owner: int = 0) -> None:
        self.nodes = nodes
        self.directory = directory
        self._owner = owner

    @classmethod
    def here(cls, environment: Mapping[str, str]) -> Self:
        """Return the clusters where *environment* says that podnet keeps its state."""
        found = places.resolve(environment)
        nodes = Nodes(found.run / "nodes", found.state / "nodes")
        owner = environment.get(OWNER, "")
        number = int(owner) if owner.isdigit() else 0
        return cls(nodes, found.state / "clusters", owner=number)

    def names(self) -> list[str]:
        """Return the names of all clusters."""
        found = (path.parent.name for path in self.directory.glob(f"*/{_RECORD}"))
        return sorted(name for name in found if not name.startswith("."))  # or it is a draft

    def load(self, name: str) -> Cluster:
        """Return the record of a cluster.

        Raises:
            UsageError: There is none of that name, or its record cannot be read.
        """
        record.check_name(name)
        path = self.directory / name / _RECORD
        try:
            return Cluster.from_wire(json.loads(path.read_text()))
        except FileNotFoundError:
            there = ", ".join(self.names()) or "none"
            hint = f"there are: {there}; podnet cluster up"
            raise UsageError(f"there is no cluster {name}", hint) from None
        except (ValueError, CniError) as exc:
            hint = "podnet node delete removes its Nodes; then remove the record's directory"
            raise UsageError(f"the record {path} cannot be read: {exc}", hint) from exc

    def of(self, node: str) -> tuple[Cluster, Member]:
        """Return the cluster that a Node is in, and what it is there.

        Raises:
            UsageError: It is in none.
        """
        unreadable = list[str]()
        for name in self.names():
            try:
                cluster = self.load(name)
            except UsageError:
                unreadable.append(name)
                continue
            if member := cluster.member(node):
                return cluster, member
        beside = f"; what is in {', '.join(unreadable)} cannot be read" if unreadable else ""
        raise UsageError(f"Node {node} is in no cluster{beside}", "podnet cluster list")

    def up(self, cluster: Cluster, *, patience: float, say: Say = lambda _: None) -> None:
        """Make a cluster, and wait until every manager says that it is ready.

        Raises:
            UsageError: The name is taken, or the wish makes no sense.
            PodnetError: Something did not work; nothing is left.
        """
        record.check(cluster)
        taken = set(self.nodes.names()) & set(cluster.node_names)
        with self._claimed(cluster) as home:
            if taken:
                _remove(home)
                raise UsageError(f"there is a Node {min(taken)} already", "podnet node list")
            try:
                if self._owner:
                    leash.hold(home, self._owner)
                with managers.Fleet() as fleet:
                    making.build(self.nodes, cluster, home / "shared", say)
                    deadline = time.monotonic() + patience
                    making.start(self.nodes, cluster, fleet, deadline=deadline, say=say)
                _write_record(home, cluster.whole())
            except BaseException:
                self.down(cluster.name)
                raise

    @contextmanager
    def _claimed(self, cluster: Cluster) -> Iterator[Path]:
        """Put a new cluster on record, whole, and hold its lock; its directory.

        Raises:
            UsageError: The name is taken, maybe by somebody who was faster.
        """
        home = self.directory / cluster.name
        draft = self.directory / f".{cluster.name}.{os.urandom(4).hex()}"
        files.make_directory(draft / "shared")
        _write_record(draft, cluster)
        with (draft / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                draft.rename(home)  # refused where a directory with something in it is
            except OSError:
                _remove(draft)
                hint = f"podnet cluster down {cluster.name}"
                raise UsageError(f"there is a cluster {cluster.name} already", hint) from None
            yield home

    def opened(self, cluster: Cluster) -> AbstractContextManager[list[Node]]:
        """Open the Nodes that pods can be on."""
        return making.opened(self.nodes, cluster)

    def shared(self, cluster: Cluster) -> Path:
        """Return the directory that a cluster's Nodes share."""
        return self.directory / cluster.name / "shared"

    def down(self, name: str) -> None:
        """Remove a cluster with all that runs in it; what is gone already is no error.

        Raises:
            UsageError: There is none of that name.
            PodnetError: A process in it cannot be ended.
        """
        cluster = self.load(name)
        home = self.directory / name
        leash.let_go(home)
        there = set(self.nodes.names())
        self.nodes.delete(*(node for node in cluster.node_names if node in there))
        _remove(home)
        with suppress(OSError):  # other clusters are in it
            self.directory.rmdir()

    def abandoned(self) -> list[str]:
        """Return the clusters that were not made to their end, and that nobody makes any more."""
        return [name for name in self.names() if self._is_abandoned(name)]

    def sweep(self) -> None:
        """Remove what a podnet left that was killed before a cluster was on record."""
        for draft in self.directory.glob(".*"):
            with suppress(OSError):  # somebody else is faster
                if time.time() - draft.stat().st_mtime > _NO_DRAFT:
                    _remove(draft)

    def _is_abandoned(self, name: str) -> bool:
        with suppress(PodnetError, OSError):  # of what cannot be read nobody knows
            if self.load(name).is_whole:
                return False
            with (self.directory / name / _LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
        return False


def inspect(clusters: Clusters, name: str) -> list[dict[str, object]]:
    """Return how each Node of a cluster is."""
    found = list[dict[str, object]]()
    for member in clusters.load(name).members:
        with clusters.nodes.open(member.name) as node:
            code, said = node.run(managers.ask, "/readyz")
            lines = node.run(managers.read, managers.SUBNET_ENV).splitlines()
        environment = dict(line.split("=", 1) for line in lines if "=" in line)
        subnets = [environment.get(f"FLANNEL_{key}") for key in ("SUBNET", "IPV6_SUBNET")]
        found.append(
            {
                "name": member.name,
                "manager": "ready" if code == managers.OK else said.strip() or "does not run",
                "subnets": [subnet for subnet in subnets if subnet],
                "mtu": environment.get("FLANNEL_MTU", ""),
                "labels": dict(member.labels),
            }
        )
    return found


def _write_record(home: Path, cluster: Cluster) -> None:
    files.write(home / _RECORD, json.dumps(asdict(cluster)).encode())


def _remove(directory: Path) -> None:
    """Remove a directory and all that is in it; it may be going already."""
    shutil.rmtree(directory, ignore_errors=True)
