"""The manager: holds the Node's lease for as long as it runs, and has store and kernel listened to.

One thread works; one listens to the lease store, one to the kernel, and both only tell it.
Whatever fails is said, counted and tried again; nothing that fails takes the data path down,
and a lease that is lost is taken again, the same subnets if they are still free.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from podnet.cni.errors import CniError
from podnet.errors import MissingError, PodnetError
from podnet.kernel.monitor import ANY_LINK, Monitor, News
from podnet.kernel.netlink import Netlink
from podnet_manager import acquire, bird, memory, netconf, preparation, subnet_env
from podnet_manager.acquire import Claimant
from podnet_manager.backend import Bgp
from podnet_manager.bell import Bell
from podnet_manager.events import Deaf, Event
from podnet_manager.lease import Lease
from podnet_manager.log import Log
from podnet_manager.memory import Memory
from podnet_manager.netconf import NetConf
from podnet_manager.outage import Absent, StoreReturn
from podnet_manager.peers import Peers
from podnet_manager.preparation import Prepared
from podnet_manager.status import Status
from podnet_manager.store import Snapshot, Store, StoreError
from podnet_manager.store_watch import StoreWatch
from podnet_manager.tenure import Known, Settings, Tenure

_RETRY_FIRST, _RETRY_MOST = 0.1, 5.0
# A lease that was held for so long was no failure; one that is lost sooner may be fought for.
_STEADY = 10.0
_Failures = (PodnetError, CniError, OSError)


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
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._previous = subnet_env.read(settings.subnet_file)
        self.status = Status(patience=60 + 3 * settings.choices.resync)
        grace = min(settings.ttl, 3 * settings.choices.resync)
        self._known = Known(Peers(grace=grace), self.status, log, self._remember)
        self._config = b""

    def stop(self) -> None:
        """End :meth:`run`; the data path stays."""
        self._stopped.set()
        self.wake()

    def wake(self) -> None:
        """Look whether there is something to do."""
        self._events.put(None)

    def run(self) -> None:
        """Work until :meth:`stop`."""
        pause = _RETRY_FIRST
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                self._work()
            except _Failures as exc:
                if isinstance(exc, StoreError):
                    self.status.store_says(str(exc), self._log)
                if isinstance(exc, MissingError) and not self.status.lease:
                    raise  # it has never worked, and will not
                self.status.trouble(str(exc).replace("\n  ", ": "), self._log)
            if time.monotonic() - began > _STEADY:
                pause = _RETRY_FIRST
            self._stopped.wait(pause)
            pause = min(2 * pause, _RETRY_MOST)
        self.status.ready = False
        self._log.say("stopped", data_path="stays")

    def _work(self) -> None:
        """Hold a lease; while there is no store, go on with what was known last."""
        try:
            self._hold_a_lease()
        except StoreError as exc:
            known = self._recall()
            if known is None:
                raise
            self.status.store_says(str(exc), self._log)
            self._go_on(known, str(exc))

    def _hold_a_lease(self) -> None:
        """Take a lease and serve it until it is lost, or something fails."""
        store = self._open_store()
        try:
            text = store.config()
            if text is None and self._settings.initial:
                store.set_config(text := self._settings.initial)
            if text is None:
                raise PodnetError("there is no network configuration in the lease store yet")
            self.status.store_says("", self._log)
            conf = netconf.parse(text)
            self._config = text
            with Netlink() as netlink, Monitor(mute=netlink.port) as monitor:
                prepared = preparation.prepare(netlink, conf, self._settings.choices)
                lease = self._acquire(store, conf, prepared)
                self._log.say("lease", lease=lease, revision=lease.revision)
                over = Bell()
                watch = StoreWatch(self._open_store, self._events.put, over)
                with self._listening(monitor, conf, watch.run, over):
                    tenure = Tenure(self._settings, store, netlink, conf, lease, self._known)
                    tenure.serve(self._events, self._stopped.is_set)
        finally:
            store.close()
        if not self._stopped.is_set():  # it is lost
            memory.forget(self._settings.choices.state)

    def _go_on(self, known: Memory, reason: str) -> None:
        """Keep the kernel as the leases were, until the store answers."""
        self._log.say("goes on with what was known last", lease=known.own, peers=len(known.others))
        self._config, self._previous = known.config, known.own.subnets
        conf = netconf.parse(known.config)
        with Netlink() as netlink, Monitor(mute=netlink.port) as monitor:
            over = Bell()
            store = StoreReturn(self._open_store, self._events.put, over)
            with self._listening(monitor, conf, store.run, over):
                absent = Absent(reason)
                tenure = Tenure(self._settings, absent, netlink, conf, known.own, self._known)
                self._events.put(Snapshot(0, (known.own, *known.others)))
                tenure.serve(self._events, lambda: self._stopped.is_set() or store.has_come)

    def _recall(self) -> Memory | None:
        """Return what was known last, where that still holds."""
        try:
            known = memory.recall(self._settings.choices.state)
        except PodnetError as exc:
            self._log.complain("memory", reason=exc)
            return None
        now = self._settings.clock.now()
        return known if known and known.holds(self._settings.store, now) else None

    def _remember(self, own: Lease, leases: tuple[Lease, ...]) -> None:
        """Write down what is known; where that cannot be, nothing else fails."""
        others = tuple(lease for lease in leases if lease.subnets != own.subnets)
        known = Memory(store=self._settings.store, config=self._config, own=own, others=others)
        try:
            memory.keep(self._settings.choices.state, known)
        except PodnetError as exc:
            self._log.complain("memory", reason=exc)

    def _acquire(self, store: Store, conf: NetConf, prepared: Prepared) -> Lease:
        claimant = Claimant(
            attributes=prepared.attributes, holder=self._settings.holder, previous=self._previous
        )
        lease = acquire.acquire(store, conf, claimant, ttl=self._settings.ttl)
        self._previous = lease.subnets
        return lease

    @contextmanager
    def _listening(
        self, monitor: Monitor, conf: NetConf, store: Callable[[], None], over: Bell
    ) -> Iterator[None]:
        """Have the store and the kernel listened to."""
        threads = [
            self._listener("store", store),
            self._listener("kernel", lambda: self._watch_kernel(monitor)),
        ]
        if isinstance(conf.backend, Bgp):
            threads.append(self._listener("bird", lambda: self._watch_bird(over)))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.ring()
            monitor.stop()
            for thread in threads:
                thread.join()
            with suppress(queue.Empty):
                while True:
                    self._events.get_nowait()

    def _listener(self, name: str, listen: Callable[[], None]) -> threading.Thread:
        """Return a thread that listens; one that cannot any more says so: silence looks like peace."""

        def run() -> None:
            try:
                listen()
            except Exception as exc:  # noqa: BLE001  whatever it is
                self._events.put(Deaf(f"the {name} cannot be listened to: {exc!r}"))

        return threading.Thread(target=run, name=name)

    def _watch_kernel(self, monitor: Monitor) -> None:
        while news := monitor.wait():
            self._events.put(news)

    def _watch_bird(self, over: Bell) -> None:
        """Have BIRD started again when it ends."""
        while bird.await_end(self._settings.choices.run, over):
            self._events.put(News(frozenset({ANY_LINK})))
            over.wait(_RETRY_FIRST * 10)
