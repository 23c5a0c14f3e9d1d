"""The embedded lease store: one SQLite file, shared by the Nodes of one machine.

Nothing to start: whoever comes first makes it.  Leases end by the clock, and whoever looks
next writes that down, so that everybody sees the same changes in the same order.  Beside it is
the number of the last change, which wakes those who wait for one.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from podnet.cni.errors import CniError
from podnet.kernel.shared_number import SharedNumber
from podnet_manager.bell import Bell
from podnet_manager.lease import Attributes, Lease, Subnets
from podnet_manager.store import Change, Changes, CompactedError, Snapshot, StoreError

_BUSY_SECONDS = 10
# Who waits is woken by who writes; a writer may be killed before he says so, and a clock be set.
_GLANCE = 2.0
_RETRY = 0.005
_REMEMBERED = 20_000  # changes; who missed more takes a new snapshot
_SCHEMA = """
CREATE TABLE IF NOT EXISTS config (one INTEGER PRIMARY KEY CHECK (one = 1), value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS leases (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL,
    hold TEXT NOT NULL, expires REAL);
CREATE TABLE IF NOT EXISTS log (
    revision INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, value BLOB,
    hold TEXT NOT NULL, expires REAL);
"""
_Row = tuple[str, bytes, int, str, float | None]


class SqliteStore:
    """A lease store in a file; for one thread.

    Args:
        path: The file.
        holder: Who takes leases here: what their ``hold`` says.
        clock: Seconds since the epoch.
    """

    def __init__(self, path: Path, *, holder: str, clock: Callable[[], float] = time.time) -> None:
        self._holder = holder
        self._clock = clock
        with _named(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            # A lease that a power failure forgets is taken again; fsync is 5 ms each time.
            self._db.execute("PRAGMA synchronous = NORMAL")
            _prepare(self._db)
            self._news = SharedNumber(path.with_name(f"{path.name}-news"))
        self._path = path
        self._said = 0

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
        self._news.close()

    def config(self) -> bytes | None:
        """Return the network's configuration, ``None`` while there is none."""
        with _named(self._path):
            row = self._db.execute("SELECT value FROM config").fetchone()
        return bytes(row[0]) if row else None

    def set_config(self, text: bytes) -> None:
        """Set the network's configuration."""
        with self._writing():
            self._db.execute("INSERT OR REPLACE INTO config VALUES (1, ?)", (text,))

    def snapshot(self) -> Snapshot:
        """Return all leases."""
        self._expire()
        with _named(self._path):
            self._db.execute("BEGIN")
            try:
                rows = self._db.execute("SELECT * FROM leases ORDER BY key").fetchall()
                revision = self._last_revision()
            finally:
                self._db.execute("COMMIT")
        return Snapshot(revision, tuple(lease for row in rows if (lease := _lease(row))))

    def holder(self, lease: Lease) -> str:
        """Return who took a lease."""
        return lease.hold

    def create(self, subnets: Subnets, attributes: Attributes, *, ttl: float) -> Lease | None:
        """Take a lease, if nobody has it or a part of it."""
        with self._writing():
            if self._is_taken(subnets):
                return None
            return self._put(subnets, attributes, self._clock() + ttl)

    def renew(self, lease: Lease, *, ttl: float) -> Lease | None:
        """Keep a lease; nobody else needs to hear of it."""
        if lease.is_reservation:
            return lease
        with self._writing():
            expires = self._clock() + ttl
            done = self._db.execute(
                "UPDATE leases SET expires = ? WHERE key = ? AND revision = ? AND hold = ?",
                (expires, lease.subnets.key, lease.revision, lease.hold),
            )
            return self._current(lease.subnets) if done.rowcount else None

    def update(self, lease: Lease, attributes: Attributes, *, ttl: float) -> Lease | None:
        """Say something new of a lease."""
        with self._writing():
            current = self._current(lease.subnets)
            if current is None or current.revision != lease.revision:
                return None
            expires = None if current.is_reservation else self._clock() + ttl
            return self._put(lease.subnets, attributes, expires)

    def delete(self, lease: Lease) -> bool:
        """Give a lease back."""
        with self._writing():
            current = self._current(lease.subnets)
            if current is None or current.revision != lease.revision:
                return False
            self._remove(lease.subnets.key)
            return True

    def reserve(self, subnets: Subnets, attributes: Attributes) -> Lease:
        """Set a lease for good, whoever had it."""
        with self._writing():
            return self._put(subnets, attributes, None)

    def changes(self, since: int, *, patience: float, cancelled: Bell | None = None) -> Changes:
        """Wait for changes after revision *since*; they are announced, or are the end of a lease."""
        deadline = time.monotonic() + patience
        with (cancelled or Bell()).calling(self._news.nudge):
            while True:
                seen = self._news.seen  # before the look, so that nothing can happen in between
                self._expire()
                with _named(self._path):
                    found = self._logged(since)
                left = deadline - time.monotonic()
                if found or left <= 0 or (cancelled and cancelled.is_rung()):
                    return found or Changes(since)
                self._news.wait(seen, min(left, _GLANCE, self._until_one_ends()))

    def _until_one_ends(self) -> float:
        """Return the seconds until the next lease ends, if nobody renews it."""
        with _named(self._path):
            (next_,) = self._db.execute("SELECT min(expires) FROM leases").fetchone()
        return _GLANCE if next_ is None else max(0.001, next_ - self._clock())

    def _logged(self, since: int) -> Changes | None:
        last = self._last_revision()
        if last == since:
            return None
        (oldest,) = self._db.execute("SELECT min(revision) FROM log").fetchone()
        if last < since or oldest is None or oldest > since + 1:
            raise CompactedError(f"{self._path} does not remember what came after {since}")
        rows = self._db.execute(
            "SELECT key, value, revision, hold, expires FROM log WHERE revision > ?"
            " ORDER BY revision",
            (since,),
        ).fetchall()
        changes = [
            Change(Subnets.from_key(row[0]), _lease(row) if row[1] is not None else None)
            for row in rows
        ]
        return Changes(rows[-1][2] if rows else last, tuple(changes))

    def _expire(self) -> None:
        """Write down the end of the leases that are over."""
        now = self._clock()
        with _named(self._path):
            over = self._db.execute("SELECT 1 FROM leases WHERE expires < ?", (now,)).fetchone()
        if over:
            with self._writing():
                pass

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with _named(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for (key,) in self._db.execute(
                    "SELECT key FROM leases WHERE expires < ?", (self._clock(),)
                ).fetchall():
                    self._remove(key)
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                self._said = 0
                raise
            self._db.execute("COMMIT")
            if self._said:
                self._news.announce(self._said)
                self._said = 0

    def _put(self, subnets: Subnets, attributes: Attributes, expires: float | None) -> Lease:
        hold = "" if expires is None else self._holder
        content = (subnets.key, attributes.to_wire(), hold, expires)
        revision = self._log(*content)
        self._db.execute(
            "INSERT OR REPLACE INTO leases (key, value, hold, expires, revision)"
            " VALUES (?, ?, ?, ?, ?)",
            (*content, revision),
        )
        return Lease(
            subnets=subnets, attributes=attributes, revision=revision, hold=hold, expires=expires
        )

    def _remove(self, key: str) -> None:
        self._log(key, None, "", None)
        self._db.execute("DELETE FROM leases WHERE key = ?", (key,))

    def _log(self, key: str, value: bytes | None, hold: str, expires: float | None) -> int:
        row = (key, value, hold, expires)
        done = self._db.execute(
            "INSERT INTO log (key, value, hold, expires) VALUES (?, ?, ?, ?)", row
        )
        revision = self._said = done.lastrowid or 0
        self._db.execute("DELETE FROM log WHERE revision <= ?", (revision - _REMEMBERED,))
        return revision

    def _current(self, subnets: Subnets) -> Lease | None:
        row = self._db.execute("SELECT * FROM leases WHERE key = ?", (subnets.key,)).fetchone()
        return _lease(row) if row else None

    def _is_taken(self, subnets: Subnets) -> bool:
        """Tell whether somebody has one of *subnets*, maybe together with another."""
        for subnet in subnets.each:
            part = Subnets.of((subnet,)).key
            # A key is one part, or two with "&" between; no part has a character of LIKE's.
            asked = (part, f"{part}&%", f"%&{part}")
            question = "SELECT 1 FROM leases WHERE key = ? OR key LIKE ? OR key LIKE ?"
            if self._db.execute(question, asked).fetchone():
                return True
        return False

    def _last_revision(self) -> int:
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
        return int(row[0]) if row else 0


def _lease(row: _Row) -> Lease | None:
    """Read a row; what is no lease is nobody's."""
    key, value, revision, hold, expires = row
    try:
        subnets, attributes = Subnets.from_key(key), Attributes.from_wire(bytes(value))
    except CniError:
        return None
    return Lease(
        subnets=subnets, attributes=attributes, revision=revision, hold=hold, expires=expires
    )


def _prepare(db: sqlite3.Connection) -> None:
    """Make the tables.

    Many may come first at once, and where the kind of journal changes SQLite waits for nobody.
    """
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_SCHEMA)
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY)
        else:
            return


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as exc:
        raise StoreError(f"lease store {path}: {exc}") from exc
