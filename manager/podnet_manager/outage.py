"""A time without the lease store: what stands in for it, and who waits for its return."""

from collections.abc import Callable
from contextlib import closing
from typing import NoReturn

from podnet_manager.bell import Bell
from podnet_manager.events import Event, StoreAnswers, StoreIsOut
from podnet_manager.store import Store, StoreError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


class Absent:
    """A store that is out: it keeps no lease, and is told nothing.

    Args:
        reason: Why it does not answer.
    """

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def renew(self, *_: object, **__: object) -> NoReturn:
        """Renew nothing.

        Raises:
            StoreError: Always.
        """
        raise StoreError(self._reason)

    def update(self, *_: object, **__: object) -> NoReturn:
        """Change nothing.

        Raises:
            StoreError: Always.
        """
        raise StoreError(self._reason)


class StoreReturn:
    """Waits until a store that is out answers again, or a bell rings; for one thread.

    Args:
        open_store: Opens the store, for the calling thread.
        tell: Is told of each try.
        over: The bell.

    Attributes:
        has_come: Whether it answers.
    """

    def __init__(
        self, open_store: Callable[[], Store], tell: Callable[[Event], None], over: Bell
    ) -> None:
        self._open_store, self._tell, self._over = open_store, tell, over
        self.has_come = False

    def run(self) -> None:
        """Wait."""
        pause = _FIRST_PAUSE
        while not (self.has_come or self._over.is_rung()):
            self._over.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            try:
                with closing(self._open_store()) as store:
                    store.config()
            except StoreError as exc:
                self._tell(StoreIsOut(str(exc)))
            else:
                self.has_come = True
                self._tell(StoreAnswers())
