"""The manager: holds the Node's lease, and keeps the kernel as the leases of all Nodes say.

One thread works; one listens to the lease store, one to the kernel, and both only tell it.
Whatever fails is said, counted and tried again; nothing that fails takes the data path down,
and a lease that is lost is taken again, the same subnets if they are still free.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from podnet.cni.errors import CniError
from podnet.errors import PodnetError
from podnet.kernel.monitor import ANY_LINK, Monitor
from podnet.kernel.netlink import Netlink
from podnet_manager import acquire, netconf, node, subnet_env
from podnet_manager.acquire import Claimant
from podnet_manager.lease import Lease
from podnet_manager.log import Log
from podnet_manager.netconf import NetConf
from podnet_manager.node import Choices, Prepared
from podnet_manager.peers import Peers
from podnet_manager.status import Status
from podnet_manager.store import DAY, Changes, CompactedError, Snapshot, Store, StoreError
from podnet_manager.subnet_env import SubnetEnv

_RETRY_FIRST, _RETRY_MOST = 0.1, 5.0
_WATCH_PATIENCE = 30.0
# News come in swarms; so long is waited for the rest of one.
_SWARM = 0.02
_RENEWALS_PER_TTL = 3
_Failures = (PodnetError, CniError, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a manager works.

    Attributes:
        choices: What the Node was told about itself.
        holder: What its leases are held by, where the store tells.
        subnet_file: subnet.env.
        ttl: Seconds that a lease lasts without renewal.
        resync: Seconds between looks at the kernel where nothing has happened.
    """

    choices: Choices
    holder: str = ""
    subnet_file: Path = Path("/run/flannel/subnet.env")
    ttl: float = DAY
    resync: float = 10.0


@dataclass(frozen=True, slots=True)
class _News:
    """The kernel says that something has changed on these links."""

    links: frozenset[int]


@dataclass(frozen=True, slots=True)
class _StoreIsOut:
    """The store did not answer."""

    reason: str


_Event = Snapshot | Changes | _News | _StoreIsOut | None


class Manager:
    """One Node's manager.

    Args:
        settings: How it works.
        open_store: Opens the lease store, for the calling thread.
        log: Where it says what it does.

    Attributes:
        status: How it is.
    """

    def __init__(self, settings: Settings, open_store: Callable[[], Store], log: Log) -> None:
        self._settings = settings
        self._open_store = open_store
        self._log = log
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._previous = subnet_env.read(settings.subnet_file)
        self._peers = Peers(grace=min(settings.ttl, 3 * settings.resync))
        self.status = Status(patience=60 + 3 * settings.resync)

    def stop(self) -> None:
        """End :meth:`run`; the data path stays."""
        self._stopped.set()
        self._events.put(None)

    def run(self) -> None:
        """Work until :meth:`stop`."""
        pause = _RETRY_FIRST
        while not self._stopped.is_set():
            try:
                self._hold_a_lease()
                pause = _RETRY_FIRST
            except _Failures as exc:
                self._trouble(str(exc).replace("\n  ", ": "))
                self._stopped.wait(pause)
                pause = min(2 * pause, _RETRY_MOST)
        self.status.ready = False
        self._log.say("stopped", data_path="stays")

    def _trouble(self, reason: str) -> None:
        self.status.ready, self.status.beat = False, time.monotonic()
        if self.status.problem != reason:
            self._log.say("trouble", reason=reason)
        self.status.problem = reason

    def _hold_a_lease(self) -> None:
        """Take a lease and serve it until it is lost, or something fails."""
        store = self._open_store()
        try:
            text = store.config()
            if text is None:
                raise StoreError("there is no network configuration in the lease store yet")
            conf = netconf.parse(text)
            with Netlink() as netlink, Monitor() as monitor:
                prepared = node.prepare(netlink, conf, self._settings.choices)
                lease = self._acquire(store, conf, prepared)
                self._log.say("lease", lease=lease, revision=lease.revision)
                with self._listening(monitor):
                    _Tenure(self, store, netlink, conf, lease).serve()
        finally:
            store.close()

    def _acquire(self, store: Store, conf: NetConf, prepared: Prepared) -> Lease:
        claimant = Claimant(
            attributes=prepared.attributes, holder=self._settings.holder, previous=self._previous
        )
        lease = acquire.acquire(store, conf, claimant, ttl=self._settings.ttl)
        self._previous = lease.subnets
        return lease

    @contextmanager
    def _listening(self, monitor: Monitor) -> Iterator[None]:
        """Have the store and the kernel listened to."""
        over = threading.Event()
        threads = [
            threading.Thread(target=self._watch_store, args=(over,), name="store"),
            threading.Thread(target=self._watch_kernel, args=(monitor,), name="kernel"),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            monitor.stop()
            for thread in threads:
                thread.join()
            with suppress(queue.Empty):
                while True:
                    self._events.get_nowait()

    def _watch_kernel(self, monitor: Monitor) -> None:
        while links := monitor.wait():
            self._events.put(_News(links))

    def _watch_store(self, over: threading.Event) -> None:
        store: Store | None = None
        revision, pause = -1, _RETRY_FIRST
        while not over.is_set():
            try:
                store = store or self._open_store()
                if revision < 0:
                    snapshot = store.snapshot()
                    self._events.put(snapshot)
                    revision = snapshot.revision
                changes = store.changes(revision, patience=_WATCH_PATIENCE, cancelled=over.is_set)
                if changes.changes:
                    self._events.put(changes)
                revision, pause = changes.revision, _RETRY_FIRST
            except CompactedError:
                revision = -1
            except StoreError as exc:
                self._events.put(_StoreIsOut(str(exc)))
                over.wait(pause)
                pause = min(2 * pause, _RETRY_MOST)
        if store is not None:
            store.close()


class _Tenure:
    """The time between getting a lease and losing it."""

    def __init__(
        self, manager: Manager, store: Store, netlink: Netlink, conf: NetConf, lease: Lease
    ) -> None:
        self._manager = manager
        self._settings = manager._settings  # noqa: SLF001  one thing in two parts
        self._events = manager._events  # noqa: SLF001
        self._peers = manager._peers  # noqa: SLF001
        self._stopped = manager._stopped  # noqa: SLF001
        self._log = manager._log  # noqa: SLF001
        self._store, self._netlink, self._conf, self._lease = store, netlink, conf, lease
        self._renewal = time.monotonic() + self._settings.ttl / _RENEWALS_PER_TTL
        self._links = frozenset[int]()
        self._written: SubnetEnv | None = None
        self._is_known = False

    def serve(self) -> None:
        """Keep the kernel as the leases say, until the lease is lost or the manager stops."""
        next_look = time.monotonic() + self._settings.resync
        while not self._stopped.is_set():
            due = min(next_look, self._renewal)
            events = self._await_events(due - time.monotonic())
            self._manager.status.beat = time.monotonic()
            news = [self._takes(event) for event in events]  # all of them, then any
            if self._renewal <= time.monotonic() and not self._renew():
                return
            if not self._holds():
                return
            is_due = next_look <= time.monotonic()
            if is_due or any(news):
                if self._is_known and not self._look(rules=is_due or self._written is None):
                    return
                next_look = time.monotonic() + self._settings.resync

    def _await_events(self, patience: float) -> list[_Event]:
        """Return what has happened, the rest of a swarm included; maybe nothing."""
        found = list[_Event]()
        try:
            found.append(self._events.get(timeout=max(0.0, patience)))
            until = time.monotonic() + _SWARM
            while (left := until - time.monotonic()) > 0:
                found.append(self._events.get(timeout=left))
        except queue.Empty:
            pass
        return found

    def _takes(self, event: _Event) -> bool:
        """Take note of an event; tell whether it is a reason to look at the kernel."""
        match event:
            case Snapshot(_, leases):
                first, self._is_known = not self._is_known, True
                return self._peers.replace(leases) or first
            case Changes(_, changes):
                news = [self._peers.change(change) for change in changes]
                return any(news)
            case _News(links):
                return bool(links & (self._links | {ANY_LINK}))
            case _StoreIsOut(reason):
                self._manager.status.count("store_failures_total")
                self._peers.store_was_out()
                self._log.say("the lease store does not answer", reason=reason)
                return False
            case None:
                return False

    def _holds(self) -> bool:
        """Tell whether the lease is still ours, as far as the store has told."""
        told = self._peers.lease_on(self._lease.subnets)
        if not self._is_known or told == self._lease.attributes:
            return True
        if told is None and self._lease.revision > self._peers.newest:
            return True  # the store's news are older than the lease
        self._lost("somebody else has it" if told else "it is gone from the store")
        return False

    def _lost(self, why: str) -> None:
        self._manager.status.count("leases_lost_total")
        self._manager._trouble(f"lost the lease on {self._lease.subnets}: {why}")  # noqa: SLF001

    def _renew(self) -> bool:
        try:
            renewed = self._store.renew(self._lease, ttl=self._settings.ttl)
        except StoreError as exc:
            self._renewal = time.monotonic() + min(_RETRY_MOST, self._settings.ttl / 10)
            self._log.say("the lease could not be renewed", reason=exc)
            return True
        if renewed is None:
            self._lost("it had ended")
            return False
        self._lease = renewed
        self._renewal = time.monotonic() + self._settings.ttl / _RENEWALS_PER_TTL
        self._manager.status.count("renewals_total")
        return True

    def _look(self, *, rules: bool) -> bool:
        """Compare the kernel with the leases; false when the lease is lost."""
        prepared = node.prepare(self._netlink, self._conf, self._settings.choices)
        self._links = prepared.links
        if prepared.attributes != self._lease.attributes and not self._republish(prepared):
            return False
        own = self._lease.subnets
        peers = self._peers.others(own)
        outcome = node.bring(self._netlink, self._conf, prepared, own, peers)
        if rules and node.ensure_rules(self._conf, own, self._settings.choices):
            self._log.say("rules", tables="set")
        self._report(outcome, len(peers))
        self._write(prepared)
        status = self._manager.status
        status.lease = str(self._lease)
        status.ready = not outcome.refused
        status.problem = f"the kernel refused: {outcome.refused[0]}" if outcome.refused else ""
        return True

    def _republish(self, prepared: Prepared) -> bool:
        """Tell the others what has changed about this Node."""
        ttl = self._settings.ttl
        lease = self._store.update(self._lease, prepared.attributes, ttl=ttl)
        if lease is None:
            self._lost("somebody else has changed it")
            return False
        self._lease = lease
        self._peers.note(lease)
        self._log.say("lease", lease=lease, revision=lease.revision)
        return True

    def _report(self, outcome: node.Outcome, peers: int) -> None:
        status = self._manager.status
        status.count("reconciliations_total")
        status.count("entries_set_total", len(outcome.change.put))
        status.count("entries_removed_total", len(outcome.change.remove))
        status.count("entries_refused_total", len(outcome.refused))
        status.gauge("peers", peers)
        status.gauge("skipped_peers", len(outcome.skipped))
        if outcome.change:
            self._log.say("entries", peers=peers, change=outcome.change)
        for refused in outcome.refused[:3]:
            self._log.say("the kernel refused", reason=refused)
        for skipped in outcome.skipped[:3]:
            self._log.say("skipped a peer", lease=skipped.lease, reason=skipped.reason)

    def _write(self, prepared: Prepared) -> None:
        """Write subnet.env, now that the peers are programmed."""
        content = SubnetEnv.of(
            self._conf,
            self._lease.subnets,
            mtu=prepared.mtu,
            ip_masq=self._settings.choices.ip_masq,
        )
        if content != self._written or not self._settings.subnet_file.exists():
            subnet_env.write(self._settings.subnet_file, content)
            self._written = content
