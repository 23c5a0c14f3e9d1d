"""What the embedded lease store promises besides: who waits is woken, and costs nothing."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from podnet.kernel.shared_number import SharedNumber
from podnet_manager import store_sqlite
from podnet_manager.bell import Bell
from podnet_manager.lease import Attributes, Lease, Subnets
from podnet_manager.store import Changes
from podnet_manager.store_sqlite import SqliteStore

HOUR = 3600.0
HERE = Subnets(IPv4Network("10.5.21.0/24"))
OURS = Attributes(public_ip=IPv4Address("10.99.0.1"))


@dataclass
class World:
    """A lease store in a file, somebody who writes to it, and what is seen of those who wait."""

    path: Path
    writer: SqliteStore
    pool: ThreadPoolExecutor
    over: Bell = field(default_factory=Bell)
    waits: list[float] = field(default_factory=list)
    began: threading.Event = field(default_factory=threading.Event)
    is_mute: bool = False

    def taken(self, ttl: float = HOUR) -> Lease:
        """Write a lease."""
        lease = self.writer.create(HERE, OURS, ttl=ttl)
        assert lease is not None
        return lease

    def waits_for(self, since: int, patience: float = HOUR) -> "Future[Changes]":
        """Have somebody wait, and return once he does."""

        def wait() -> Changes:
            with closing(SqliteStore(self.path, holder="a")) as store:
                return store.changes(since, patience=patience, cancelled=self.over)

        found = self.pool.submit(wait)
        assert self.began.wait(20)
        return found


@pytest.fixture
def world(tmp_path, monkeypatch) -> Iterator[World]:
    path = tmp_path / "leases.db"

    class Seen(SharedNumber):
        """A number whose uses are seen."""

        def wait(self, seen: int, seconds: float) -> None:
            """Wait."""
            made.waits.append(seconds)
            made.began.set()
            super().wait(seen, seconds)

        def announce(self, number: int) -> None:
            """Say it, or nothing."""
            if not made.is_mute:
                super().announce(number)

    monkeypatch.setattr(store_sqlite, "SharedNumber", Seen)
    with (
        closing(SqliteStore(path, holder="b")) as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        made = World(path, writer, pool)
        yield made
        made.over.ring()


@pytest.fixture
def glance(monkeypatch) -> Callable[[float], None]:
    """Say how often those who wait look without being woken."""
    return lambda seconds: monkeypatch.setattr(store_sqlite, "_GLANCE", seconds)


def test_who_writes_wakes_who_waits(world, glance) -> None:
    glance(HOUR)
    found = world.waits_for(0)

    lease = world.taken()

    assert [change.lease for change in found.result(20).changes] == [lease]
    assert len(world.waits) == 1


def test_who_is_cancelled_is_woken(world, glance) -> None:
    glance(HOUR)
    found = world.waits_for(0)

    world.over.ring()

    assert found.result(20).changes == ()


def test_for_the_end_of_a_lease_nobody_needs_to_be_woken(world, glance) -> None:
    glance(HOUR)
    lease = world.taken(ttl=0.5)

    found = world.waits_for(lease.revision)

    assert [(change.subnets, change.lease) for change in found.result(20).changes] == [(HERE, None)]


def test_a_writer_that_was_killed_before_it_said_so_is_noticed(world, glance) -> None:
    glance(0.2)
    world.is_mute = True
    found = world.waits_for(0)

    lease = world.taken()

    assert [change.lease for change in found.result(20).changes] == [lease]


def test_a_renewal_wakes_nobody_and_who_waits_rarely_looks(world) -> None:
    lease = world.taken()
    found = world.waits_for(lease.revision, patience=0.5)

    assert world.writer.renew(lease, ttl=HOUR) is not None

    assert found.result(20).changes == ()
    assert len(world.waits) == 1
    assert world.waits[0] <= 0.5
