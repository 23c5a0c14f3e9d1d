"""Which network namespaces are podnet's own: a claim for each, beside the locks.

A claim is made before its namespace and removed after it.  Claims are in /run, so after
a reboot they are gone like the namespaces, and a namespace that somebody else made under
an old name is nobody's to touch.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from podnet import files
from podnet.errors import PodnetError
from podnet.kernel import namespaces


@dataclass(frozen=True, slots=True)
class Claims:
    """A directory of claims, one file per namespace, with its path in it.

    Attributes:
        directory: Where they are.
    """

    directory: Path

    def make(self, name: str, netns: Path) -> None:
        """Make a network namespace, claimed.

        Raises:
            PodnetError: Something is there already.
            MissingError: No privilege.
        """
        if os.path.lexists(netns):
            raise PodnetError(f"{netns} exists already, and is not podnet's", "choose another name")
        files.make_directory(self.directory)
        claim = self.directory / name
        files.write(claim, os.fsencode(netns))
        try:
            namespaces.create(netns)
        except BaseException:
            claim.unlink(missing_ok=True)
            raise

    def holds(self, name: str) -> bool:
        """Tell whether there is a claim."""
        return (self.directory / name).exists()

    def release(self, name: str) -> None:
        """Remove a claimed namespace, then its claim; without a claim nothing is touched."""
        claim = self.directory / name
        try:
            netns = Path(os.fsdecode(claim.read_bytes()))
        except FileNotFoundError:
            return
        if netns.is_absolute():
            namespaces.delete(netns)
        claim.unlink(missing_ok=True)

    def names(self) -> Iterator[str]:
        """Yield the names that have a claim."""
        if self.directory.is_dir():
            yield from sorted(path.name for path in self.directory.glob("[!.]*"))
