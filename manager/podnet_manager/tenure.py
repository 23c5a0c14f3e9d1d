"""The time between getting a lease and losing it: events in, the kernel kept as the leases say.

One thread works here; who listens to the store and to the kernel only tells it.
"""

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from queue import SimpleQueue

from podnet.errors import PodnetError
from podnet.kernel.monitor import News
from podnet.kernel.netlink import Netlink
from podnet_manager.clock import Clock
from podnet_manager.data_path import DataPath
from podnet_manager.events import Deaf, Event, StoreAnswers, StoreIsOut
from podnet_manager.hold import Hold
from podnet_manager.lease import Lease, Subnets
from podnet_manager.log import Log
from podnet_manager.netconf import NetConf
from podnet_manager.peers import Peers
from podnet_manager.preparation import Choices
from podnet_manager.reconcile import Difference
from podnet_manager.status import Status
from podnet_manager.store import DAY, Changes, Keeping, Snapshot

# News come in swarms; so long is waited for the rest of one.
_SWARM = 0.02
_GLANCE = 0.2  # at routes that another program is setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a manager works.

    Attributes:
        choices: What the Node was told about itself.
        initial: The configuration for a store that has none.
        store: Which store it is, in words.
        clock: By which leases are kept.
        holder: What its leases are held by, where the store tells.
        subnet_file: subnet.env.
        ttl: Seconds that a lease lasts without renewal.
    """

    choices: Choices
    initial: bytes = b""
    store: str = ""
    clock: Clock = field(default_factory=Clock)
    holder: str = ""
    subnet_file: Path = Path("/run/flannel/subnet.env")
    ttl: float = DAY


class _Reason(IntEnum):
    """Why something is to be done, and how much; the greater includes the smaller."""

    NONE = 0
    SOME_ENTRIES = 1
    WHOLE_KERNEL = 2


@dataclass(frozen=True, slots=True)
class Known:
    """What outlives a tenure.

    Attributes:
        peers: The leases, as the store has told them.
        status: How the manager is.
        log: Where it says what it does.
        remember: Writes down the Node's lease and all there are, for a start without the store.
    """

    peers: Peers
    status: Status
    log: Log
    remember: Callable[[Lease, tuple[Lease, ...]], None] = lambda _, __: None


class Tenure:
    """The time between getting a lease and losing it.

    Args:
        settings: How the manager works.
        store: Keeps the lease.
        netlink: A socket in the Node's namespace.
        conf: The network.
        lease: What was got.
        known: What outlives a tenure.
    """

    def __init__(
        self,
        settings: Settings,
        store: Keeping,
        netlink: Netlink,
        conf: NetConf,
        lease: Lease,
        known: "Known",
    ) -> None:
        self._settings = settings
        self._peers, self._status, self._log = known.peers, known.status, known.log
        self._hold = Hold(
            store,
            lease,
            ttl=settings.ttl,
            clock=settings.clock,
            peers=known.peers,
            told=(known.status, known.log),
        )
        self._remember, self._remembered = known.remember, lease
        self._is_news = True
        self._path = DataPath(
            netlink,
            conf,
            settings.choices,
            subnet_file=settings.subnet_file,
            told=(known.status, known.log),
        )
        self._news = set[Subnets]()
        self._harm = list[Difference]()
        self._is_known = False

    def serve(self, events: SimpleQueue[Event], stopped: Callable[[], bool]) -> None:
        """Keep the kernel as the leases say, until the lease is lost or the manager stops."""
        next_look = time.monotonic() + self._settings.choices.resync
        while not stopped():
            due = min(next_look - time.monotonic(), self._hold.until_renewal())
            happened = _gathered(events, due)
            self._status.beat = time.monotonic()
            reasons = [self._takes(event) for event in happened]
            if self._hold.until_renewal() <= 0 and not self._hold.renew():
                return
            if self._is_known and not self._hold.is_ours():
                return
            is_due = next_look <= time.monotonic()
            reason = _Reason.WHOLE_KERNEL if is_due else max(reasons, default=_Reason.NONE)
            if reason is _Reason.SOME_ENTRIES and self._follow():
                continue
            if reason:
                if self._is_known and not self._look(rules=is_due or not self._path.is_up):
                    return
                if is_due:
                    self._note_down()
                pause = _GLANCE if self._path.is_converging else self._settings.choices.resync
                next_look = time.monotonic() + pause
        self._note_down()

    def _takes(self, event: Event) -> _Reason:
        """Take note of an event; tell what it is a reason for."""
        match event:
            case Snapshot(_, leases):
                first, self._is_known = not self._is_known, True
                is_news = self._peers.replace(leases)
                self._is_news |= is_news
                return _Reason.WHOLE_KERNEL if is_news or first else _Reason.NONE
            case Changes(_, changes):
                news = [change.subnets for change in changes if self._peers.change(change)]
                self._news.update(news)
                self._is_news |= bool(news)
                return _Reason.SOME_ENTRIES if news else _Reason.NONE
            case News():
                return self._hears(event)
            case StoreIsOut(reason):
                self._peers.store_was_out()
                self._status.store_says(reason, self._log)
            case StoreAnswers():
                self._status.store_says("", self._log)
            case Deaf(reason):
                raise PodnetError(reason)
            case None:
                pass
        return _Reason.NONE

    def _note_down(self) -> None:
        """Have what is known remembered, where that is news."""
        own = self._hold.lease
        if self._path.is_up and (self._is_news or own is not self._remembered):
            self._remember(own, self._peers.leases)
            self._is_news, self._remembered = False, own

    def _hears(self, news: News) -> _Reason:
        """Take note of what the kernel says; tell what it is a reason for."""
        if self._path.is_touched(news):
            return _Reason.WHOLE_KERNEL
        if not (harm := self._path.harm(news)):
            return _Reason.NONE
        self._harm.append(harm)
        return _Reason.SOME_ENTRIES

    def _follow(self) -> bool:
        """Set what is new of some leases; false where the whole kernel must be looked at."""
        own = self._hold.lease.subnets
        if not self._status.ready or own in self._news or self._peers.are_lingering:
            return False
        news = {subnets: self._peers.lease(subnets) for subnets in self._news}
        is_enough = self._path.follow(own, news, self._harm, peers=self._peers.count(own))
        self._news.clear()
        self._harm.clear()
        return is_enough

    def _look(self, *, rules: bool) -> bool:
        """Compare the kernel with the leases; false when the lease is lost."""
        self._news.clear()
        self._harm.clear()
        prepared = self._path.prepare()
        if prepared is None:
            return True
        said = self._hold.lease.attributes
        if prepared.attributes != said and not self._hold.say(prepared.attributes):
            return False
        own = self._hold.lease.subnets
        is_there = self._path.bring(prepared, own, self._peers.others(own), rules=rules)
        if is_there and not self._hold.is_over():
            self._status.well(str(self._hold.lease), self._log)
        return True


def _gathered(events: SimpleQueue[Event], patience: float) -> list[Event]:
    """Return what has happened, the rest of a swarm included; maybe nothing."""
    found = list[Event]()
    try:
        found.append(events.get(timeout=max(0.0, patience)))
        until = time.monotonic() + _SWARM
        while (left := until - time.monotonic()) > 0:
            found.append(events.get(timeout=left))
    except queue.Empty:
        pass
    return found
