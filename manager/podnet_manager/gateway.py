"""etcd's JSON gateway: several endpoints as one, within a time that is bounded.

An endpoint that does not answer is left for the next one, with pauses that grow; an answer
that says no is final.  Who has a name and a password gets a token, and another one when it
has run out.  Knows no key and no lease.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TypeVar

from podnet.cni import wire
from podnet.cni.wire import Fields
from podnet_manager.access import Access
from podnet_manager.bell import Bell
from podnet_manager.connection import Connection, Endpoint
from podnet_manager.gateway_answer import (
    ELSEWHERE_MAYBE,
    HTTP_OK,
    INVALID_ARGUMENT,
    UNAUTHENTICATED,
    BrokenError,
    RefusedError,
    Stream,
    read_answer,
)
from podnet_manager.store import StoreError

T = TypeVar("T")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
# A token that has run out, or was given before users or roles changed.
_STALE_TOKEN = {UNAUTHENTICATED, INVALID_ARGUMENT}


class Gateway:
    """A client of etcd, for one thread.

    Raises:
        UsageError: An endpoint or a file of *access* makes no sense.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._endpoints = deque(access.servers())
        self._tls = access.tls()
        self._connection: Connection | None = None
        self._token = ""

    def close(self) -> None:
        """Hang up."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def ask(self, path: str, body: Mapping[str, object]) -> Fields:
        """Return the answer to a request; it may arrive more than once.

        Raises:
            RefusedError: etcd said no.
            StoreError: No endpoint answered in time.
        """
        return self._anywhere(lambda endpoint, deadline: self._ask(endpoint, deadline, path, body))

    def stream(
        self,
        path: str,
        body: Mapping[str, object],
        *,
        cancelled: Bell | None = None,
    ) -> tuple[Stream, Fields]:
        """Open a stream; return it and its first message.  Once cancelled, it waits for no more.

        Raises:
            RefusedError: etcd said no.
            StoreError: No endpoint answered in time, or nobody wants it any more.
        """
        return self._anywhere(
            lambda endpoint, deadline: self._open(endpoint, deadline, path, body, cancelled),
            cancelled,
        )

    def _anywhere(
        self,
        action: Callable[[Endpoint, float], T],
        cancelled: Bell | None = None,
    ) -> T:
        """Do something with one endpoint after the other, until one can or the time is up."""
        start = time.monotonic()
        deadline = start + self._access.timeout
        share = self._access.timeout / len(self._endpoints)  # one that is silent leaves time
        failures: dict[str, str] = {}
        pause = _FIRST_PAUSE
        while True:
            endpoint = self._endpoints[0]
            try:
                return action(endpoint, min(deadline, time.monotonic() + share))
            except (OSError, BrokenError) as exc:
                failures[endpoint.url] = str(exc)
            except RefusedError as exc:
                if exc.code not in ELSEWHERE_MAYBE:
                    raise
                failures[endpoint.url] = str(exc)
            self.close()
            self._endpoints.rotate(-1)
            if time.monotonic() + pause >= deadline or (cancelled and cancelled.is_rung()):
                raise StoreError(
                    f"etcd does not answer within {self._access.timeout:g} s: "
                    + "; ".join(f"{url}: {reason}" for url, reason in failures.items())
                )
            if len(failures) == len(self._endpoints):
                time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads clients out
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _ask(
        self, endpoint: Endpoint, deadline: float, path: str, body: Mapping[str, object]
    ) -> Fields:
        had_token = bool(self._token)
        try:
            return self._post(endpoint, deadline, path, body, self._identity(endpoint, deadline))
        except RefusedError as exc:
            if not had_token or exc.code not in _STALE_TOKEN:
                raise
            self._token = ""
        return self._post(endpoint, deadline, path, body, self._identity(endpoint, deadline))

    def _open(
        self,
        endpoint: Endpoint,
        deadline: float,
        path: str,
        body: Mapping[str, object],
        cancelled: Bell | None,
    ) -> tuple[Stream, Fields]:
        self._token = ""  # that one is stale, a stream says in words only
        # Of a member that has lost the others, we want an error and not silence.
        headers = self._identity(endpoint, deadline) | {"Grpc-Metadata-hasleader": "true"}
        connection = Connection(endpoint, self._tls, deadline=deadline, cancelled=cancelled)
        with ExitStack() as undo:
            undo.callback(connection.close)
            status = connection.open(path, wire.dumps(body).encode(), headers, deadline=deadline)
            if status != HTTP_OK:
                read_answer(endpoint, status, connection.read(deadline=deadline) or b"")
            stream = Stream(connection)
            first = stream.read(deadline=deadline)
            if first is None:
                raise TimeoutError("no first message")
            undo.pop_all()
        return stream, first

    def _post(
        self,
        endpoint: Endpoint,
        deadline: float,
        path: str,
        body: Mapping[str, object],
        headers: Mapping[str, str],
    ) -> Fields:
        if self._connection is None:
            self._connection = Connection(endpoint, self._tls, deadline=deadline)
        try:
            status, text = self._connection.post(
                path, wire.dumps(body).encode(), headers, deadline=deadline
            )
        except BaseException:
            self.close()  # half an answer may be on the way
            raise
        if not self._connection.is_reusable:
            self.close()
        return read_answer(endpoint, status, text)

    def _identity(self, endpoint: Endpoint, deadline: float) -> dict[str, str]:
        """Return the header that says who we are."""
        if not self._access.user:
            return {}
        if not self._token:
            who = {"name": self._access.user, "password": self._access.password}
            self._token = self._post(endpoint, deadline, "/v3/auth/authenticate", who, {}).text(
                "token"
            )
        return {"Authorization": self._token}
