"""host-local's leases on disk, in the reference's files.

``<dataDir>/<network>/`` has ``lock``, a file per address with container ID and ifname in it,
and ``last_reserved_ip.<set>``.  Either implementation releases what the other leased.

Whatever has an address for a name and is no regular file is somebody else's: the address is
taken, and nobody's to give back.

The reference reads every lease on every call.  Ours looks an attachment up in an index
(:mod:`podnet_plugins.lease_index`), and believes these files only.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from podnet_plugins.lease_index import Holder, Index, read, remove, write
from podnet_plugins.ranges import Address

_LAST = "last_reserved_ip."
_LOCK = "lock"


class Leases:
    """The leases of one network, locked.

    Attributes:
        directory: The reference's directory.
        index: Who has which of them.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # Text from here on: a Path costs more than what is done with it, for every pod.
        self._files = str(directory)
        self.index = Index(directory, partial(_files, self._files))
        self.index.refresh()

    def take(self, address: Address, holder: Holder) -> bool:
        """Lease *address*; return whether it was free.

        The file appears whole: a crash leaves no empty lease that is never free again, and
        one that somebody else left is free (plugins#498).

        Raises:
            OSError: The disk is full, or read-only.
        """
        path, draft = self._file(address), self.index.draft()
        try:
            write(draft, holder.content)
            os.link(draft, path)
        except FileExistsError:
            if self.is_taken(address):
                return False
            os.replace(draft, path)
        finally:
            remove(draft)
        try:
            self.index.remember(holder, [*self.index.of(holder), address])
        except BaseException:
            remove(path)
            raise
        return True

    def is_taken(self, address: Address | str) -> bool:
        """Tell whether *address* is leased, or something else is in its place."""
        try:
            found = os.lstat(self._file(address))
        except FileNotFoundError:
            return False
        return found.st_size > 0 or not stat.S_ISREG(found.st_mode)

    def spoilt(self) -> list[Path]:
        """Return the leases that a power cut has left without a holder; not those without a byte.

        File systems give back the length of a file, and NULs for what was never written.
        """
        return [
            path
            for path, holder in self.every()
            if not holder.container_id.strip("\0") and self.is_taken(path.name)
        ]

    def taken(self) -> set[str]:
        """Return every address that has a file, or something else in its place, as text."""
        return _taken(self._files)

    def of(self, holder: Holder) -> list[Address]:
        """Return what *holder* has, old leases of its container without an ifname included."""
        exact = self._verified(holder)
        return exact or self._verified(Holder(holder.container_id))

    def release(self, holder: Holder) -> list[Address]:
        """Give back what *holder* has; return it."""
        addresses = self.of(holder)
        for address in addresses:
            remove(self._file(address))
        for known in (holder, Holder(holder.container_id)):
            self.index.remember(known, [a for a in self.index.of(known) if a not in addresses])
        return addresses

    def give_back(self, address: Address, holder: Holder) -> None:
        """Give one address back."""
        remove(self._file(address))
        self.index.remember(holder, [a for a in self.index.of(holder) if a != address])

    def every(self) -> Iterator[tuple[Path, Holder]]:
        """Yield every lease file and whose it is, empty ones included."""
        for name, holder in _files(self._files):
            with suppress(ValueError):  # somebody's 10.1.0.2.bak
                yield self.directory / str(ip_address(name)), holder

    def last(self, index: int) -> Address | None:
        """Return the address that was leased last from range set *index*."""
        try:
            return ip_address(read(f"{self._files}/{_LAST}{index}").strip())
        except (FileNotFoundError, ValueError):
            return None

    def set_last(self, index: int, address: Address) -> None:
        """Remember the address that was leased last from range set *index*."""
        write(f"{self._files}/{_LAST}{index}", str(address))

    def _verified(self, holder: Holder) -> list[Address]:
        """Look *holder* up in the index, and believe the lease files only."""
        return [a for a in self.index.of(holder) if self._holder_of(a) == holder]

    def _holder_of(self, address: Address) -> Holder | None:
        try:
            return Holder.of(read(self._file(address)))
        except FileNotFoundError:
            return None

    def _file(self, address: Address | str) -> str:
        return f"{self._files}/{address}"


@contextmanager
def opened(data_dir: Path, network: str) -> Iterator[Leases]:
    """Hold the lock of a network's leases, the reference's own.

    Raises:
        OSError: The directory cannot be made.
    """
    directory = data_dir / network
    try:
        descriptor = _opened(f"{directory}/{_LOCK}")
    except FileNotFoundError:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = _opened(f"{directory}/{_LOCK}")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        leases = Leases(directory)
        yield leases
        leases.index.settle()
    finally:
        os.close(descriptor)


def _opened(lock: str) -> int:
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as exc:
        if exc.errno != errno.EROFS:
            raise
        return os.open(lock, os.O_RDONLY | os.O_CLOEXEC)


def _files(directory: str) -> Iterator[tuple[str, Holder]]:
    with os.scandir(directory) as entries:
        names = [
            one.name
            for one in entries
            if _is_address(one.name) and one.is_file(follow_symlinks=False)
        ]
    for name in names:
        with suppress(FileNotFoundError):
            yield name, Holder.of(read(f"{directory}/{name}"))


def _taken(directory: str) -> set[str]:
    return {name for name in os.listdir(directory) if _is_address(name)}


def _is_address(name: str) -> bool:
    # Cheaper than parsing 60,000 names: nothing else in the directory begins like this.
    return name[:1].isdigit() or ":" in name
