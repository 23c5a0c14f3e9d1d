"""host-local's leases on disk: the reference's files, and an index of ours beside them.

``<dataDir>/<network>/`` is the reference's: ``lock``, a file per address with container
ID and ifname in it, ``last_reserved_ip.<set>``.  Either implementation
releases what the other leased.

The reference reads every lease on every call.  Ours looks an attachment up in
``<dataDir>/.podnet/<network>/``: one small file per attachment, and a stamp of what the
directory was like when the index was last right.  Anybody else's change shows in the
stamp, and the index is made anew.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from podnet_plugins.hashes import sha256
from podnet_plugins.ranges import Address

_LAST = "last_reserved_ip."
_LOCK = "lock"
_STAMP = "stamp"
# A container ID and an interface name are far shorter.
_LONGEST = 65536


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a lease; an old lease file knows no ifname."""

    container_id: str
    ifname: str = ""

    @property
    def content(self) -> str:
        """What stands in the lease file."""
        return f"{self.container_id}\r\n{self.ifname}"

    @classmethod
    def of(cls, content: str) -> "Holder":
        """Read a lease file."""
        container_id, _, ifname = content.strip().partition("\n")
        return cls(container_id.strip(), ifname.strip())


class Leases:
    """The leases of one network, locked.

    Attributes:
        directory: The reference's directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._index = directory.parent / ".podnet" / directory.name

    def take(self, address: Address, holder: Holder) -> bool:
        """Lease *address*; return whether it was free.

        The file appears whole: a crash leaves no empty lease that is never free again, and
        one that somebody else left is free (plugins#498).
        """
        path = self.directory / str(address)
        draft = self._index / f"{os.urandom(4).hex()}.draft"
        try:
            _write(draft, holder.content)
            os.link(draft, path)
        except FileExistsError:
            if path.stat().st_size > 0:
                return False
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        try:
            self._remember(holder, [*self._indexed(holder), address])
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return True

    def is_taken(self, address: Address | str) -> bool:
        """Tell whether *address* is leased."""
        try:
            return (self.directory / str(address)).stat().st_size > 0
        except FileNotFoundError:
            return False

    def taken(self) -> set[str]:
        """Return every leased address, as text."""
        return {name for name in os.listdir(self.directory) if _is_address(name)}  # noqa: PTH208  60,000 Paths cost 100 ms

    def of(self, holder: Holder) -> list[Address]:
        """Return what *holder* has, old leases of its container without an ifname included."""
        exact = self._verified(holder)
        return exact or self._verified(Holder(holder.container_id))

    def release(self, holder: Holder) -> list[Address]:
        """Give back what *holder* has; return it."""
        addresses = self.of(holder)
        for address in addresses:
            (self.directory / str(address)).unlink(missing_ok=True)
        for known in (holder, Holder(holder.container_id)):
            self._remember(known, [a for a in self._indexed(known) if a not in addresses])
        return addresses

    def give_back(self, address: Address, holder: Holder) -> None:
        """Give one address back."""
        (self.directory / str(address)).unlink(missing_ok=True)
        self._remember(holder, [a for a in self._indexed(holder) if a != address])

    def every(self) -> Iterator[tuple[Path, Holder]]:
        """Yield every lease file and whose it is, empty ones included."""
        for name, holder in self._files():
            with suppress(ValueError):  # somebody's 10.1.0.2.bak
                yield self.directory / str(ip_address(name)), holder

    def _files(self) -> Iterator[tuple[str, Holder]]:
        for name in self.taken():
            with suppress(FileNotFoundError):
                yield name, Holder.of(_read(f"{self.directory}/{name}"))

    def last(self, index: int) -> Address | None:
        """Return the address that was leased last from range set *index*."""
        try:
            return ip_address((self.directory / f"{_LAST}{index}").read_text().strip())
        except (FileNotFoundError, ValueError):
            return None

    def set_last(self, index: int, address: Address) -> None:
        """Remember the address that was leased last from range set *index*."""
        _write(self.directory / f"{_LAST}{index}", str(address))

    def refresh(self) -> None:
        """Make the index anew if anybody else has changed the leases since it was right."""
        self._index.mkdir(mode=0o700, parents=True, exist_ok=True)
        stamp = self._index / _STAMP
        if stamp.exists() and stamp.read_text() == self._state():
            return
        for name in os.listdir(self._index):  # noqa: PTH208  60,000 Paths cost 100 ms
            os.unlink(f"{self._index}/{name}")  # noqa: PTH108
        held: dict[Holder, list[str]] = {}
        for name, holder in self._files():
            held.setdefault(holder, []).append(name)
        for holder, names in held.items():
            _write(f"{self._index}/{_hashed(holder)}", "\n".join(names))

    def settle(self) -> None:
        """Say that the index is right as things are now; where that cannot be said, it is not.

        The directory gets a time that no change by somebody else gives it: the kernel's own
        moves in ticks of milliseconds, and two changes within one would look like one.
        """
        stamp, now = self._index / _STAMP, time.time_ns()
        with suppress(OSError):  # a full disk: the leases are right, and the index is made anew
            os.utime(self.directory, ns=(now, now))
            if self._state() == str(now):  # or the file system has coarser times
                _write(stamp, str(now))
                return
        stamp.unlink(missing_ok=True)

    def _state(self) -> str:
        """What any change by somebody else changes."""
        return str(self.directory.stat().st_mtime_ns)

    def _verified(self, holder: Holder) -> list[Address]:
        """Look *holder* up in the index, and believe the lease files only."""
        return [a for a in self._indexed(holder) if self._holder_of(a) == holder]

    def _holder_of(self, address: Address) -> Holder | None:
        try:
            return Holder.of((self.directory / str(address)).read_text(errors="replace"))
        except FileNotFoundError:
            return None

    def _indexed(self, holder: Holder) -> list[Address]:
        try:
            return [ip_address(text) for text in self._entry(holder).read_text().split()]
        except (FileNotFoundError, ValueError):
            return []

    def _remember(self, holder: Holder, addresses: list[Address]) -> None:
        if addresses:
            _write(self._entry(holder), "\n".join(map(str, addresses)))
        else:
            self._entry(holder).unlink(missing_ok=True)

    def _entry(self, holder: Holder) -> Path:
        return self._index / _hashed(holder)


@contextmanager
def opened(data_dir: Path, network: str) -> Iterator[Leases]:
    """Hold the lock of a network's leases, the reference's own.

    Raises:
        OSError: The directory cannot be made or written to.
    """
    directory = data_dir / network
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        leases = Leases(directory)
        leases.refresh()
        yield leases
        leases.settle()
    finally:
        os.close(descriptor)


def _hashed(holder: Holder) -> str:
    return sha256(holder.content.encode()).hexdigest()[:32]


# Plain system calls: a network of 60,000 leases is read as a whole when its index is made.
def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _LONGEST).decode(errors="replace")
    finally:
        os.close(descriptor)


def _write(path: str | Path, content: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        encoded = content.encode()
        if os.write(descriptor, encoded) != len(encoded):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def _is_address(name: str) -> bool:
    # Cheaper than parsing 60,000 names: nothing else in the directory begins like this.
    return name[:1].isdigit() or ":" in name
