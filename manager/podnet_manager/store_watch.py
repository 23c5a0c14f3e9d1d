"""Listens to a lease store, and tells what it hears: all leases first, then what changes.

An outage is told, once for each try, with pauses that grow; where the store has forgotten
what came after, all leases are told again, and after pauses like these.  Decides nothing.
"""

from collections.abc import Callable

from podnet_manager.bell import Bell
from podnet_manager.events import Event, StoreAnswers, StoreIsOut
from podnet_manager.pace import Pace
from podnet_manager.store import CompactedError, Store, StoreError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_PATIENCE = 30.0
_ANEW = -1


class StoreWatch:
    """Listens to a store until a bell rings; for one thread.

    Args:
        open_store: Opens the store, for the calling thread.
        tell: Takes what is heard.
        over: The bell.
    """

    def __init__(
        self, open_store: Callable[[], Store], tell: Callable[[Event], None], over: Bell
    ) -> None:
        self._open_store, self._tell, self._over = open_store, tell, over
        self._store: Store | None = None
        self._revision, self._pause, self._pace = _ANEW, 0.0, Pace()

    def run(self) -> None:
        """Listen."""
        try:
            while not self._over.is_rung():
                try:
                    self._listen()
                except CompactedError:
                    self._revision = _ANEW
                    self._rest()
                except StoreError as exc:
                    self._tell(StoreIsOut(str(exc)))
                    self._rest()
        finally:
            if self._store:
                self._store.close()

    def _rest(self) -> None:
        """Leave the store alone for a while, each time for longer, until it answers."""
        self._pause = min(2 * self._pause, _LONGEST_PAUSE) or _FIRST_PAUSE
        self._over.wait(self._pause)

    def _listen(self) -> None:
        """Wait for news, and tell them."""
        self._store = store = self._store or self._open_store()
        if self._revision == _ANEW:
            snapshot = store.snapshot()
            self._tell(snapshot)
            self._revision = snapshot.revision
        # Whether one that was out answers again is told without waiting for news.
        patience = 0.0 if self._pause else _PATIENCE
        changes = store.changes(self._revision, patience=patience, cancelled=self._over)
        if self._pause:
            self._tell(StoreAnswers())
        self._revision, self._pause = changes.revision, 0.0
        if changes.changes:
            self._tell(changes)
            self._over.wait(self._pace.pause())
