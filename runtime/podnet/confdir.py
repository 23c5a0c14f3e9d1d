"""A directory of configuration files -> Networks.

Knows which files count, in which order, and what lies next to them; a bad file is a
value of its own, so that it never hides the good ones (as it does for cnitool and
containerd).  Knows nothing of plugins being there or not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from podnet.cni import wire
from podnet.cni.config import Network, PluginConfig
from podnet.cni.errors import CniError, DecodeError, InvalidConfigError
from podnet.errors import UsageError

LISTS = frozenset({".conflist"})
SINGLES = frozenset({".conf", ".json"})
_SIBLINGS = frozenset({".conf"})


class BadFileError(UsageError):
    """A configuration file that cannot be used.

    Attributes:
        path: The file.
        line: Where it breaks, from 1; 0 when that is not known.
        column: Likewise.
    """

    def __init__(self, path: Path, reason: str, *, line: int = 0, column: int = 0) -> None:
        hint = f"mend or remove the file; `podnet lint {path}` says more"
        super().__init__(f"{path}: {reason}", hint)
        self.path = path
        self.reason = reason
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Found:
    """A network and the file it came from."""

    path: Path
    network: Network


@dataclass(frozen=True, slots=True)
class Directory:
    """What a configuration directory holds.

    Attributes:
        path: The directory.
        found: The usable networks, first file first; of one name the first only.
        bad: The files that cannot be used.
        shadowed: Usable files whose network an earlier file has already.
    """

    path: Path
    found: tuple[Found, ...]
    bad: tuple[BadFileError, ...]
    shadowed: tuple[Found, ...]

    def default(self) -> Found:
        """Return the first network, as kubelet's runtimes do.

        Raises:
            UsageError: There is none.
        """
        if self.found:
            return self.found[0]
        raise self._none(f"no network configurations found in {self.path}")

    def named(self, name: str) -> Found:
        """Return the network called *name*: of several, a list before a single ``.conf``.

        Raises:
            UsageError: There is none of that name.
        """
        everyone = [*self.found, *self.shadowed]
        mine = [found for found in everyone if found.network.name == name]
        if mine:
            return min(mine, key=lambda found: _extension(found.path) not in LISTS)
        raise self._none(f'no network configuration with name "{name}" in {self.path}')

    def _none(self, message: str) -> UsageError:
        names = ", ".join(found.network.name for found in self.found)
        hint = f"there are: {names}" if names else "--conf-dir or NETCONFPATH names another"
        bad = "".join(f"\n  unusable: {error.message}" for error in self.bad)
        return UsageError(message, hint + bad)


def scan(path: Path) -> Directory:
    """Read every configuration file of *path*, in the byte order of their names.

    Raises:
        UsageError: The directory cannot be read; a missing one is an empty one.
    """
    found: dict[str, Found] = {}
    shadowed, bad = [], []
    try:
        files = _files(path, LISTS | SINGLES)
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    for file in files:
        try:
            network = load(file)
        except BadFileError as exc:
            bad.append(exc)
            continue
        if network.name in found:
            shadowed.append(Found(file, network))
        else:
            found[network.name] = Found(file, network)
    return Directory(path, tuple(found.values()), tuple(bad), tuple(shadowed))


def load(path: Path) -> Network:
    """Read one configuration file, and the sibling plugins of a list.

    Raises:
        BadFileError: It cannot be read, or is no configuration.
    """
    with _blaming(path):
        source = path.read_bytes()
        if _extension(path) in SINGLES:
            return _single(source, path)
        return _complete(Network.from_conflist(source, "it"), path)


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turn whatever is wrong with a file into an error that names it."""
    try:
        yield
    except OSError as exc:
        raise BadFileError(path, f"cannot be read: {exc.strerror}") from exc
    except DecodeError as exc:
        raise BadFileError(path, str(exc), line=exc.line, column=exc.column) from exc
    except CniError as exc:
        raise BadFileError(path, str(exc)) from exc


def _single(source: bytes, path: Path) -> Network:
    value = wire.loads(source, "it")
    if isinstance(value, dict) and "type" not in value and "plugins" in value:
        name = path.with_suffix(".conflist").name
        raise InvalidConfigError("missing 'type'", f"this is a list of plugins: call it {name}")
    return Network.from_conf(source, "it")


def _complete(network: Network, path: Path) -> Network:
    """Append the plugins of ``<directory>/<network name>/*.conf`` (SPEC 1.1.0, section 1)."""
    if not network.load_only_inlined_plugins:
        network = network.with_plugins(_siblings(path.parent / network.name))
    if not network.plugins:
        raise InvalidConfigError("no plugin configs found", "neither in the list nor beside it")
    return network


def _siblings(directory: Path) -> Iterator[PluginConfig]:
    try:
        files = _files(directory, _SIBLINGS)
    except OSError as exc:
        reason = f"failed to read plugin config files in {directory}: {exc.strerror}"
        raise BadFileError(directory, reason) from exc
    for file in files:
        with _blaming(file):
            plugin = PluginConfig.from_wire(wire.loads(file.read_bytes(), "it"))
        yield plugin


def _files(directory: Path, extensions: frozenset[str]) -> list[Path]:
    """Return what could be a configuration: links to directories too, they are mistakes.

    Raises:
        OSError: The directory cannot be read; a missing one is an empty one.
    """
    try:
        wanted = [p for p in directory.iterdir() if _extension(p) in extensions]
    except FileNotFoundError:
        return []
    return sorted((p for p in wanted if p.is_symlink() or not p.is_dir()), key=_bytes)


def _extension(path: Path) -> str:
    """From the last dot, also where that is the first character, as in Go."""
    _, dot, rest = path.name.rpartition(".")
    return f"{dot}{rest}"


def _bytes(path: Path) -> bytes:
    return bytes(path)
