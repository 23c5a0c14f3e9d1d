"""What every lease store promises, whichever it is."""

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network

import pytest
from tests.manager.stores import told

from podnet_manager.bell import Bell
from podnet_manager.lease import Attributes, Lease, Subnets
from podnet_manager.store import Change, CompactedError, Store, StoreError

LONG = 60.0
PATIENCE = 20.0
HERE = Subnets(IPv4Network("10.5.21.0/24"))
THERE = Subnets(IPv4Network("10.5.22.0/24"))
OURS = Attributes(public_ip=IPv4Address("10.99.0.1"), backend_type="host-gw")
THEIRS = Attributes(public_ip=IPv4Address("10.99.0.2"), backend_type="host-gw")


@pytest.fixture
def store(opened):
    return opened()


def taken(
    store: Store, subnets: Subnets = HERE, attributes: Attributes = OURS, ttl: float = LONG
) -> Lease:
    """Return a lease that nobody had."""
    lease = store.create(subnets, attributes, ttl=ttl)
    assert lease is not None
    return lease


def test_the_configuration_is_what_was_set_last(store, opened):
    assert store.config() is None

    store.set_config(b'{"Network":"10.5.0.0/16"}')
    store.set_config(b'{"Network":"10.6.0.0/16"}')

    assert opened().config() == b'{"Network":"10.6.0.0/16"}'
    assert store.snapshot().leases == ()


def test_a_lease_is_taken_once(store, opened):
    before = time.time()

    lease = taken(store)

    assert (lease.subnets, lease.attributes) == (HERE, OURS)
    assert lease.revision > 0
    assert lease.hold
    assert lease.expires is not None
    assert before + LONG <= lease.expires <= time.time() + LONG
    assert opened().create(HERE, THEIRS, ttl=LONG) is None
    (seen,) = opened().snapshot().leases
    assert (seen.subnets, seen.attributes, seen.revision) == (HERE, OURS, lease.revision)
    assert not seen.is_reservation


@pytest.mark.parametrize(
    "key", ["10.5.21.0-24", "10.5.{}.0-24&fd00:5::-64"], ids=["the same", "a part that is the same"]
)
def test_of_ten_that_want_the_same_one_gets_it(opened, key):
    stores = [opened() for _ in range(10)]
    start = threading.Barrier(10)

    def take(number: int) -> Lease | None:
        start.wait()
        lease: Lease | None = stores[number].create(
            Subnets.from_key(key.format(number)), OURS, ttl=LONG
        )
        return lease

    with ThreadPoolExecutor(10) as pool:
        got = [lease for lease in pool.map(take, range(10)) if lease]

    assert len(got) == 1
    assert [lease.revision for lease in opened().snapshot().leases] == [got[0].revision]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("10.5.21.0-24&fd00:5::-64", "10.5.21.0-24&fd00:5:0:1::-64"),
        ("10.5.21.0-24&fd00:5::-64", "10.5.22.0-24&fd00:5::-64"),
        ("10.5.21.0-24&fd00:5::-64", "10.5.21.0-24"),
        ("10.5.21.0-24", "10.5.21.0-24&fd00:5::-64"),
        ("10.5.21.0-24&fd00:5::-64", "fd00:5::-64"),
    ],
)
def test_nobody_takes_a_part_of_what_somebody_has(store, first, second):
    lease = taken(store, Subnets.from_key(first))

    assert store.create(Subnets.from_key(second), THEIRS, ttl=LONG) is None

    assert [seen.revision for seen in store.snapshot().leases] == [lease.revision]


def test_neighbours_are_nobody_s_part(store):
    for key in ("10.5.2.0-24", "10.5.20.0-24", "10.5.21.0-24&fd00:5::-64", "fd00:5:0:1::-64"):
        taken(store, Subnets.from_key(key))

    assert len(store.snapshot().leases) == 4


def test_a_renewal_keeps_a_lease_and_tells_nobody(store):
    lease = taken(store, ttl=2.0)
    revision = store.snapshot().revision
    time.sleep(0.05)

    renewed = store.renew(lease, ttl=2.0)

    assert renewed.expires > lease.expires
    assert (renewed.revision, renewed.hold) == (lease.revision, lease.hold)
    assert store.changes(revision, patience=0.3).changes == ()


def test_a_lease_that_is_renewed_outlives_its_time(store):
    lease = taken(store, ttl=1.0)
    end = time.monotonic() + 3.0

    while time.monotonic() < end:
        lease = store.renew(lease, ttl=1.0)
        assert lease is not None
        time.sleep(0.2)

    assert len(store.snapshot().leases) == 1


def test_a_lease_that_is_not_renewed_ends_and_everybody_hears_of_it(store, opened):
    lease = taken(store, ttl=1.0)

    changes, _ = told(opened(), lease.revision, 1)

    assert changes == [Change(HERE, None)]
    assert store.snapshot().leases == ()
    assert store.renew(lease, ttl=LONG) is None
    assert store.update(lease, OURS, ttl=LONG) is None
    assert not store.delete(lease)


def test_who_slept_through_the_end_of_a_lease_leaves_the_next_one_alone(store, opened):
    lost = taken(store, ttl=1.0)
    told(store, lost.revision, 1)

    theirs = taken(opened(), attributes=THEIRS)

    assert store.renew(lost, ttl=LONG) is None
    assert store.update(lost, OURS, ttl=LONG) is None
    assert not store.delete(lost)
    (seen,) = store.snapshot().leases
    assert (seen.attributes, seen.revision) == (THEIRS, theirs.revision)


def test_an_update_says_something_new_and_keeps_the_lease(store, opened):
    lease = taken(store, ttl=2.0)
    new = Attributes(public_ip=OURS.public_ip, backend_type="vxlan", data={"VNI": 1})

    updated = store.update(lease, new, ttl=2.0)

    assert updated.attributes == new
    assert updated.revision > lease.revision
    assert updated.expires >= lease.expires
    changes, _ = told(opened(), lease.revision, 1)
    assert [(c.subnets, c.lease.attributes, c.lease.revision) for c in changes] == [
        (HERE, new, updated.revision)
    ]
    assert store.update(lease, THEIRS, ttl=LONG) is None
    assert store.renew(updated, ttl=2.0) is not None


def test_a_lease_that_was_updated_still_ends(store):
    lease = store.update(taken(store, ttl=1.0), THEIRS, ttl=1.0)

    changes, _ = told(store, lease.revision, 1)

    assert changes == [Change(HERE, None)]


def test_a_lease_that_is_given_back_can_be_taken(store, opened):
    lease = taken(store)

    assert store.delete(lease)

    assert store.snapshot().leases == ()
    assert not store.delete(lease)
    assert taken(opened(), attributes=THEIRS).revision > lease.revision


def test_a_reservation_stays_one(store, opened):
    """Flannel puts an end to it within a second (its issue 1329)."""
    store.reserve(HERE, OURS)
    (lease,) = store.snapshot().leases
    assert lease.is_reservation
    assert lease.hold == ""

    assert store.renew(lease, ttl=1.0) == lease
    updated = store.update(lease, THEIRS, ttl=1.0)

    assert updated.is_reservation
    time.sleep(2.5)
    assert opened().snapshot().leases == (updated,)
    assert store.create(HERE, THEIRS, ttl=LONG) is None


def test_a_lease_becomes_a_reservation(store):
    lease = taken(store, ttl=1.0)

    reserved = store.reserve(HERE, OURS)

    assert store.renew(lease, ttl=1.0) is None
    time.sleep(2.5)
    assert store.snapshot().leases == (reserved,)
    assert store.delete(reserved)


def test_changes_come_in_their_order_and_each_once(store, opened):
    since = store.snapshot().revision
    other = opened()
    first = taken(other, HERE)
    second = taken(other, THERE, THEIRS)
    other.delete(first)

    changes, revision = told(store, since, 3)
    third = taken(other, HERE)

    assert [(c.subnets, c.lease and c.lease.revision) for c in changes] == [
        (HERE, first.revision),
        (THERE, second.revision),
        (HERE, None),
    ]
    more, _ = told(store, revision, 1)
    assert more[0].lease.revision == third.revision
    again, _ = told(store, since, 4)  # from where one was once
    assert again == changes + more


def test_a_snapshot_and_the_changes_after_it_are_all_there_is(store, opened):
    taken(opened(), HERE)
    snapshot = store.snapshot()
    taken(opened(), THERE)

    changes, _ = told(store, snapshot.revision, 1)

    assert [lease.subnets for lease in snapshot.leases] == [HERE]
    assert [change.subnets for change in changes] == [THERE]


def test_who_waits_for_nothing_gets_nothing(store):
    revision = store.snapshot().revision

    found = store.changes(revision, patience=0.2)

    assert (found.changes, found.revision >= revision) == ((), True)


def test_who_does_not_want_to_wait_any_more_need_not(store):
    enough = Bell()
    threading.Timer(0.2, enough.ring).start()

    found = store.changes(store.snapshot().revision, patience=math.inf, cancelled=enough)

    assert found.changes == ()


def test_a_revision_that_never_was_is_compacted(store):
    """The store was made anew, or comes from a backup."""
    with pytest.raises(CompactedError):
        store.changes(store.snapshot().revision + 1000, patience=PATIENCE)


def test_a_compaction_is_a_failure_of_the_store():
    assert issubclass(CompactedError, StoreError)
