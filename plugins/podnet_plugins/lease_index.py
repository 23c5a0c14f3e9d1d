"""Who holds which lease, without reading all of them: an index of ours beside host-local's files.

One small file per attachment, and a stamp of what the directory was like when the index was
last right.  Anybody else's change shows in the stamp, and what a power cut has spoilt by itself:
then the index is made anew.  Where it cannot be written, it is made for one call, in memory: to
free a lease needs no room on the disk, and to look at one no writing.
"""

import errno
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from podnet_plugins.hashes import sha256
from podnet_plugins.ranges import Address

_STAMP = "stamp"
# A container ID and an interface name are far shorter, and so are an attachment's addresses.
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


class Index:
    """The index of one network's leases, which are locked.

    Args:
        leases: The directory of the leases.
        every: Yields every lease, as text, and its holder.
    """

    def __init__(self, leases: Path, every: Callable[[], Iterable[tuple[str, Holder]]]) -> None:
        self._leases = leases
        self._every = every
        # Text from here on: a Path costs more than what is done with it, for every pod.
        self._directory = f"{leases.parent}/.podnet/{leases.name}"
        self._stamp = f"{self._directory}/{_STAMP}"
        self._in_memory: dict[Holder, list[str]] | None = None
        self._trouble: OSError | None = None

    def refresh(self) -> None:
        """Make the index anew if anybody else has changed the leases since it was right."""
        with suppress(FileNotFoundError):
            if read(self._stamp) == self._state():
                return
        self._make()

    def settle(self) -> None:
        """Say that the index is right as things are now; where that cannot be said, it is not.

        The directory gets a time that no change by somebody else gives it: the kernel's own
        moves in ticks of milliseconds, and two changes within one would look like one.
        """
        now = time.time_ns()
        with suppress(OSError):  # a full disk: the leases are right, and the index is made anew
            if self._in_memory is None:
                os.utime(self._leases, ns=(now, now))
                if self._state() == str(now):  # or the file system has coarser times
                    write(self._stamp, str(now))
                    return
        with suppress(OSError):  # a read-only one: nothing has changed
            remove(self._stamp)

    def of(self, holder: Holder) -> list[Address]:
        """Return what *holder* has, or had."""
        if self._in_memory is not None:
            return [ip_address(text) for text in self._in_memory.get(holder, ())]
        with suppress(ValueError):
            try:
                content = read(self._entry(holder))
            except FileNotFoundError:
                return []
            if listed := [ip_address(text) for text in content.split()]:
                return listed
        # An entry names an address at least: this one is spoilt.
        self._make()
        return self.of(holder)

    def remember(self, holder: Holder, addresses: list[Address]) -> None:
        """Set what *holder* has.

        Raises:
            OSError: It cannot be written.
        """
        if self._in_memory is not None:
            self._in_memory[holder] = [str(address) for address in addresses]
        elif addresses:
            write(self._entry(holder), "\n".join(map(str, addresses)))
        else:
            remove(self._entry(holder))

    def draft(self) -> str:
        """Return a path for a file that becomes a lease, on the same disk and in nobody's way.

        Raises:
            OSError: Nothing can be written there.
        """
        if self._trouble is not None:
            raise self._trouble
        return f"{self._directory}/{os.urandom(4).hex()}.draft"

    def _make(self) -> None:
        held: dict[Holder, list[str]] = {}
        for name, holder in self._every():
            held.setdefault(holder, []).append(name)
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            for name in os.listdir(self._directory):
                os.unlink(f"{self._directory}/{name}")
            for holder, names in held.items():
                write(f"{self._directory}/{_hashed(holder)}", "\n".join(names))
        except OSError as exc:
            self._in_memory, self._trouble = held, exc

    def _state(self) -> str:
        """What any change by somebody else changes."""
        return str(os.stat(self._leases).st_mtime_ns)

    def _entry(self, holder: Holder) -> str:
        return f"{self._directory}/{_hashed(holder)}"


def _hashed(holder: Holder) -> str:
    return sha256(holder.content.encode()).hexdigest()[:32]


# Plain system calls, too: a network of 60,000 leases is read as a whole when its index is made.
def read(path: str) -> str:
    """Return the content of a file; a lease's and an index entry's are short.

    Raises:
        OSError: It is not there, or no file; it says which.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _LONGEST).decode(errors="replace")
    except OSError as exc:
        exc.filename = path  # of a descriptor the system does not say it
        raise
    finally:
        os.close(descriptor)


def remove(path: str) -> None:
    """Remove a file; it may be gone."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def write(path: str, content: str) -> None:
    """Write a file.

    Raises:
        OSError: It cannot be written, or not all of it; it says which.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    encoded = content.encode()
    try:
        written = os.write(descriptor, encoded)
    except OSError as exc:
        exc.filename = path
        raise
    finally:
        os.close(descriptor)
    if written != len(encoded):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
