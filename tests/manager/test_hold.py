"""How a lease is kept: renewed in time, tried again in an outage, and never believed in too long."""

from contextlib import closing
from ipaddress import IPv4Address, IPv4Network

import pytest

from podnet_manager.clock import Clock
from podnet_manager.hold import Hold
from podnet_manager.lease import Attributes, Lease, Subnets
from podnet_manager.log import Log
from podnet_manager.peers import Peers
from podnet_manager.status import Status
from podnet_manager.store import StoreError
from podnet_manager.store_sqlite import SqliteStore

TTL = 30.0
HERE = Subnets(IPv4Network("10.5.21.0/24"))
OURS = Attributes(public_ip=IPv4Address("10.99.0.1"), backend_type="host-gw")


class Hand(Clock):
    """A clock that is moved by hand."""

    at = 1000.0

    def now(self) -> float:
        """Return what it shows."""
        return self.at

    def steady(self) -> float:
        """Return what it shows."""
        return self.at


class Shaky(SqliteStore):
    """A store that can be out."""

    is_out = False

    def renew(self, lease: Lease, *, ttl: float) -> Lease | None:
        """Renew, or be out."""
        if self.is_out:
            raise StoreError("it is out")
        return super().renew(lease, ttl=ttl)


@pytest.fixture
def clock():
    return Hand()


@pytest.fixture
def store(tmp_path, clock):
    with closing(Shaky(tmp_path / "leases.db", holder="n1", clock=clock.now)) as made:
        yield made


@pytest.fixture
def status():
    return Status(ready=True)


@pytest.fixture
def peers():
    return Peers(grace=10)


@pytest.fixture
def hold(store, clock, peers, status):
    lease = store.create(HERE, OURS, ttl=TTL)
    return Hold(store, lease, ttl=TTL, clock=clock, peers=peers, told=(status, Log()))


def test_a_third_of_the_way_it_is_renewed(hold, store, clock, status) -> None:
    assert hold.until_renewal() == TTL / 3
    clock.at += TTL / 3
    assert hold.until_renewal() == 0

    assert hold.renew()

    assert hold.until_renewal() == TTL / 3
    assert hold.lease.expires == clock.at + TTL
    assert status.counts["renewals_total"] == 1
    assert status.counts["lease_expiry_timestamp_seconds"] == clock.at + TTL


def test_it_is_renewed_by_what_was_granted_and_not_by_what_was_asked_for(
    store, clock, peers, status
) -> None:
    """A store may keep to the time that the lease was made with."""
    lease = store.create(HERE, OURS, ttl=TTL)
    hold = Hold(store, lease, ttl=100 * TTL, clock=clock, peers=peers, told=(status, Log()))

    assert hold.until_renewal() == TTL / 3
    store.is_out = True
    clock.at += TTL / 3
    assert hold.renew()
    assert hold.until_renewal() == TTL / 10
    clock.at += TTL
    assert hold.is_over()


def test_in_an_outage_it_is_tried_ten_times_a_lease_and_then_not_believed_in(
    hold, store, clock, status
) -> None:
    store.is_out = True
    clock.at += TTL / 3

    assert hold.renew()
    assert hold.until_renewal() == TTL / 10
    assert status.ready
    clock.at += TTL
    assert hold.renew()
    assert hold.is_over()
    assert not status.ready
    assert "has ended, as far as this Node can tell: it is out" in status.problem

    store.is_out = False
    assert not hold.renew()
    assert "it had ended" in status.problem


def test_a_reservation_is_never_over(store, clock, peers, status) -> None:
    lease = store.reserve(HERE, OURS)
    hold = Hold(store, lease, ttl=TTL, clock=clock, peers=peers, told=(status, Log()))
    clock.at += 10 * TTL

    assert hold.renew()

    assert not hold.is_over()
    assert status.counts["lease_expiry_timestamp_seconds"] == 0


def test_news_that_are_older_than_the_lease_say_nothing_of_it(hold, peers) -> None:
    assert hold.is_ours()
    older = Lease(subnets=Subnets(IPv4Network("10.5.9.0/24")), attributes=OURS, revision=0)
    peers.replace([older])
    assert hold.is_ours()

    newer = Lease(subnets=older.subnets, attributes=OURS, revision=hold.lease.revision + 1)
    peers.replace([newer])

    assert not hold.is_ours()


@pytest.mark.parametrize(
    ("public", "said"),
    [("10.99.0.1", "somebody with the same public address"), ("10.99.0.2", "somebody else")],
)
def test_whose_it_is_now_is_said(hold, peers, status, public, said) -> None:
    theirs = Attributes(public_ip=IPv4Address(public), backend_type="vxlan")
    peers.replace([Lease(subnets=HERE, attributes=theirs, revision=hold.lease.revision + 1)])

    assert not hold.is_ours()

    assert said in status.problem
    assert status.counts["leases_lost_total"] == 1


def test_what_has_changed_about_the_node_is_said_unless_the_lease_is_gone(
    hold, store, peers
) -> None:
    new = Attributes(public_ip=IPv4Address("10.99.0.7"), backend_type="host-gw")

    assert hold.say(new)
    assert [lease.attributes for lease in store.snapshot().leases] == [new]
    assert hold.is_ours()

    store.delete(hold.lease)
    assert not hold.say(OURS)
