"""The pods' records on disk: what exists, and what was about to.

A record is written before anything exists that could leak, and removed after everything
is gone, so that a crash at any moment leaves a record of what may be left.  What is in one
is :mod:`podnet.pod`'s.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from podnet import files
from podnet.cni import names, wire
from podnet.cni.errors import CniError
from podnet.errors import PodnetError, UsageError
from podnet.pod import Pod

# A file name has 255 bytes; a record's needs room for its suffix and a draft's.
_LONGEST_NAME = 200


class CorruptRecordError(PodnetError):
    """A record that cannot be read.

    Attributes:
        name: The pod's.
    """

    def __init__(self, name: str, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.name = name


@dataclass(frozen=True, slots=True)
class Records:
    """A directory of records.

    Attributes:
        directory: Where they are.
    """

    directory: Path

    def reserve(self, pod: Pod) -> None:
        """Write the record of a new pod.

        Raises:
            UsageError: There is a pod of that name.
            PodnetError: The file cannot be written.
        """
        path = self._path(pod.name)
        files.make_directory(self.directory)
        draft = path.with_name(f".{pod.name}.{os.urandom(4).hex()}.draft")
        files.write(draft, _content(pod))
        try:
            # A link, since unlike a rename it refuses to replace what is there.
            with files.naming(path):
                os.link(draft, path)
        except PodnetError as exc:
            if isinstance(exc.__cause__, FileExistsError):
                raise UsageError(
                    f"there is a pod {pod.name} already", f"podnet delete {pod.name}"
                ) from None
            raise
        finally:
            draft.unlink(missing_ok=True)

    def save(self, pod: Pod) -> Pod:
        """Write a pod's record anew, and return the pod."""
        files.write(self._path(pod.name), _content(pod))
        return pod

    def load(self, name: str) -> Pod:
        """Return one pod.

        Raises:
            UsageError: There is none of that name.
            CorruptRecordError: Its record cannot be read.
        """
        path = self._path(name)
        try:
            return Pod.from_wire(wire.loads(path.read_bytes(), "it"))
        except FileNotFoundError:
            there = ", ".join(self.names()) or "none"
            raise UsageError(f"there is no pod {name}", f"there are: {there}") from None
        except (OSError, CniError, ValueError, TypeError) as exc:
            hint = f"`podnet delete {name}` removes what can still be found of it"
            raise CorruptRecordError(name, f"the record {path} is corrupt: {exc}", hint) from exc

    def forget(self, name: str) -> None:
        """Remove a pod's record; it may be gone."""
        path = self._path(name)
        with files.naming(path):
            path.unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Return the names of all pods."""
        return sorted(path.stem for path in self.directory.glob("[!.]*.json"))

    def all(self) -> Iterator[Pod | CorruptRecordError]:
        """Yield every pod by name, and for a record that cannot be read the error."""
        for name in self.names():
            try:
                yield self.load(name)
            except CorruptRecordError as exc:
                yield exc
            except UsageError:
                continue  # deleted in the meantime

    def _path(self, name: str) -> Path:
        check_pod_name(name)
        return self.directory / f"{name}.json"


def check_pod_name(name: str) -> None:
    """Check the name of a pod, which becomes a file's.

    Raises:
        UsageError: It is empty, too long, or has characters that are not allowed.
    """
    if not names.is_identifier(name) or len(name) > _LONGEST_NAME:
        raise UsageError(
            f"a pod cannot be called {name!r}",
            f"letters, digits, '-', '_' and '.', at most {_LONGEST_NAME}",
        )


def _content(pod: Pod) -> bytes:
    return wire.dumps(pod.to_wire()).encode()
