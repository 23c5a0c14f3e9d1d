"""etcd's JSON gateway: several endpoints as one, within a time that is bounded.

An endpoint that does not answer is left for the next one, with pauses that grow; an answer
that says no is final.  Who has a name and a password gets a token, and another one when it
has run out.  Knows no key and no lease.
"""

import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from podnet.cni import wire
from podnet.cni.errors import DecodeError
from podnet.cni.wire import Fields
from podnet.errors import UsageError
from podnet_manager.bell import Bell
from podnet_manager.connection import Connection, Endpoint
from podnet_manager.store import StoreError

T = TypeVar("T")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_HTTP_OK = 200
# gRPC's status codes.
INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, UNAVAILABLE, UNAUTHENTICATED = 3, 4, 5, 14, 16
_ELSEWHERE_MAYBE = {DEADLINE_EXCEEDED, UNAVAILABLE}
# A token that has run out, or was given before users or roles changed.
_STALE_TOKEN = {UNAUTHENTICATED, INVALID_ARGUMENT}


class RefusedError(StoreError):
    """etcd said no.

    Attributes:
        code: gRPC's.
    """

    def __init__(self, message: str, hint: str = "", *, code: int) -> None:
        super().__init__(message, hint)
        self.code = code


class BrokenError(StoreError):
    """A stream ended; another may be opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach etcd.

    Attributes:
        endpoints: URLs of its members.
        ca: Who may vouch for them; ``None``: whom the system believes.
        cert: What we show them, if they ask.
        key: Its key.
        user: A name, where authentication is enabled.
        password: And its password.
        timeout: Seconds for one request, over all endpoints.
    """

    endpoints: tuple[str, ...]
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    user: str = ""
    password: str = ""
    timeout: float = 5.0

    def check(self) -> None:
        """Check what makes no sense, whether etcd answers or not.

        Raises:
            UsageError: An endpoint is none, or a file cannot be used.
        """
        self.servers()
        self.tls()

    def servers(self) -> list[Endpoint]:
        """Return the endpoints.

        Raises:
            UsageError: One is none, or there are none.
        """
        if not self.endpoints:
            raise UsageError("etcd has no endpoint", "http://HOST:PORT or https://HOST:PORT")
        return [Endpoint.from_url(url) for url in self.endpoints]

    def tls(self) -> ssl.SSLContext:
        """Return whom to believe, and what to show.

        Raises:
            UsageError: A file cannot be read, or its other half is missing.
        """
        if bool(self.cert) != bool(self.key):
            raise UsageError(
                "etcd's TLS needs a certificate and its key, and there is only one of them",
                "--etcd-certfile and --etcd-keyfile",
            )
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert:
                context.load_cert_chain(self.cert, self.key)
        except OSError as exc:
            files = ", ".join(str(path) for path in (self.ca, self.cert, self.key) if path)
            raise UsageError(f"etcd's TLS files ({files}) cannot be used: {exc}") from exc
        context.set_alpn_protocols(["http/1.1"])
        return context


class Stream:
    """An answer of many messages."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lines: deque[bytes] = deque()
        self._rest = b""

    @property
    def endpoint(self) -> Endpoint:
        """Whose it is."""
        return self._connection.endpoint

    def read(self, *, deadline: float) -> Fields | None:
        """Return the next message; ``None``: none came in time.

        Raises:
            BrokenError: There will be no more.
            RefusedError: So says etcd.
        """
        try:
            while not self._lines:
                piece = self._connection.read(deadline=deadline)
                if piece is None:
                    return None
                if not piece:
                    raise BrokenError(f"etcd {self.endpoint}: the stream ended")
                *lines, self._rest = (self._rest + piece).split(b"\n")
                self._lines.extend(lines)
        except OSError as exc:
            raise BrokenError(f"etcd {self.endpoint}: {exc}") from exc
        try:
            message = _answer(self.endpoint, _HTTP_OK, self._lines.popleft())
        except RefusedError as exc:
            if exc.code in _ELSEWHERE_MAYBE:
                raise BrokenError(exc.message) from exc
            raise
        return message.child("result") or Fields({})

    def close(self) -> None:
        """Stop listening."""
        self._connection.close()


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
                if exc.code not in _ELSEWHERE_MAYBE:
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
            if status != _HTTP_OK:
                _answer(endpoint, status, connection.read(deadline=deadline) or b"")
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
        return _answer(endpoint, status, text)

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


def _answer(endpoint: Endpoint, status: int, text: bytes) -> Fields:
    """Read an answer, or one message of it.

    Raises:
        RefusedError: It says no.
        StoreError: It says nothing that can be understood.
    """
    try:
        fields = Fields.of(wire.loads(text, "the answer"), f"{endpoint}'s answer")
        error = fields.get("error")
        if status == _HTTP_OK and error is None:
            return fields
        # An answer has message and code at its top, a message of a stream inside.
        inner = Fields.of(error) if isinstance(error, dict) else fields
        code = inner.number("code") or inner.number("grpc_code") or 0
        reason = inner.text("message") or f"HTTP status {status}"
    except DecodeError as exc:
        if status != _HTTP_OK:
            raise ConnectionAbortedError(f"HTTP status {status}") from exc
        raise StoreError(f"etcd {endpoint}: {exc.msg}") from exc
    raise RefusedError(f"etcd {endpoint}: {reason}", code=code)
