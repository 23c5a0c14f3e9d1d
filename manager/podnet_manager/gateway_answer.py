"""What etcd's JSON gateway answers: a message, a stream of them, or no.

Knows gRPC's status codes, and where an answer has them; of what is asked it knows nothing.
"""

from collections import deque

from podnet.cni import wire
from podnet.cni.errors import DecodeError
from podnet.cni.wire import Fields
from podnet_manager.connection import Connection, Endpoint
from podnet_manager.store import StoreError

HTTP_OK = 200
# gRPC's status codes.
INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, UNAVAILABLE, UNAUTHENTICATED = 3, 4, 5, 14, 16
ELSEWHERE_MAYBE = {DEADLINE_EXCEEDED, UNAVAILABLE}


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
            message = read_answer(self.endpoint, HTTP_OK, self._lines.popleft())
        except RefusedError as exc:
            if exc.code in ELSEWHERE_MAYBE:
                raise BrokenError(exc.message) from exc
            raise
        return message.child("result") or Fields({})

    def close(self) -> None:
        """Stop listening."""
        self._connection.close()


def read_answer(endpoint: Endpoint, status: int, text: bytes) -> Fields:
    """Read an answer, or one message of it.

    Raises:
        RefusedError: It says no.
        StoreError: It says nothing that can be understood.
    """
    try:
        fields = Fields.of(wire.loads(text, "the answer"), f"{endpoint}'s answer")
        error = fields.get("error")
        if status == HTTP_OK and error is None:
            return fields
        # An answer has message and code at its top, a message of a stream inside.
        inner = Fields.of(error) if isinstance(error, dict) else fields
        code = inner.number("code") or inner.number("grpc_code") or 0
        reason = inner.text("message") or f"HTTP status {status}"
    except DecodeError as exc:
        if status != HTTP_OK:
            raise ConnectionAbortedError(f"HTTP status {status}") from exc
        raise StoreError(f"etcd {endpoint}: {exc.msg}") from exc
    raise RefusedError(f"etcd {endpoint}: {reason}", code=code)
