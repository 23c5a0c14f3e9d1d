"""Leases on disk, so that neither a restart nor a ``kill -9`` of the daemon forgets one.

A file per attachment in a directory beside the daemon's socket, for root alone.  DEL and GC
read it too, when there is no daemon.  Times in it are the boot clock's, and mean nothing
after the next boot, when the containers are gone as well.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from podnet.cni import wire
from podnet.cni.errors import CniError
from podnet.cni.wire import Fields
from podnet_plugins.dhcp_lease import Holder, Lease, Wishes
from podnet_plugins.dhcp_link import ContainerLink
from podnet_plugins.hashes import sha256
from podnet_plugins.skel import log

_LOCK = "lock"


def now() -> float:
    """Return the seconds since the machine was started, those asleep included: leases run on."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All that is to be known to go on with a lease."""

    holder: Holder
    link: ContainerLink
    wishes: Wishes
    lease: Lease

    @classmethod
    def from_wire(cls, fields: Fields) -> "Record":
        """Read it.

        Raises:
            DecodeError: A field is missing or something else.
        """
        empty = Fields({})
        return cls(
            holder=Holder.from_wire(fields.child("holder") or empty),
            link=ContainerLink.from_wire(fields.child("link") or empty),
            wishes=Wishes.from_wire(fields.child("wishes") or empty),
            lease=Lease.from_wire(fields.child("lease") or empty),
        )

    def to_wire(self) -> dict[str, object]:
        """Return it as an object."""
        return {
            "holder": self.holder.to_wire(),
            "link": self.link.to_wire(),
            "wishes": self.wishes.to_wire(),
            "lease": self.lease.to_wire(),
        }


class Store:
    """The leases in one directory.

    Args:
        socket: The daemon's socket; ``/run/cni/dhcp.sock`` has its leases in ``/run/cni/dhcp``.
    """

    def __init__(self, socket: Path) -> None:
        self.directory = socket.with_suffix("") if socket.suffix else socket.with_suffix(".leases")

    def lock(self) -> int | None:
        """Be the one daemon of this directory for as long as the descriptor is open.

        ``None``: somebody else is.

        Raises:
            OSError: The directory cannot be made.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def write(self, record: Record) -> None:
        """Keep a lease; the file is there whole, or as it was before.

        Raises:
            OSError: It cannot be written.
        """
        path = self._path(record.holder)
        draft = path.with_suffix(".draft")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w") as file:  # noqa: PTH123  opened with a mode of our own
                file.write(wire.dumps(record.to_wire(), indent=1) + "\n")
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def read(self, holder: Holder) -> Record | None:
        """Return a lease, or ``None``."""
        return self._read(self._path(holder))

    def forget(self, holder: Holder) -> None:
        """Drop a lease; it may be gone."""
        with suppress(NotADirectoryError):
            self._path(holder).unlink(missing_ok=True)

    def every(self) -> Iterator[Record]:
        """Yield every lease; what cannot be read is said, and left for somebody to look at."""
        for path in sorted(self.directory.glob("*.json")):
            record = self._read(path)
            if record:
                yield record

    def _read(self, path: Path) -> Record | None:
        try:
            return Record.from_wire(Fields.of(wire.loads(path.read_bytes(), str(path))))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except CniError as exc:
            log(f"dhcp: {path} is no lease: {exc}")
            return None

    def _path(self, holder: Holder) -> Path:
        return self.directory / f"{sha256(holder.client_id).hexdigest()[:32]}.json"
