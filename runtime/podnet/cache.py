"""Results on disk: what ADD returned and was given, kept until DEL, in libcni's format.

Knows ``<directory>/results/<network>-<container ID>-<ifname>`` and the JSON in it; knows
nothing of plugins.  The names are written as libcni writes them and never parsed: two
attachments can share one name ("a-b" and "c", "a" and "b-c"), so what counts is inside.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from podnet import files
from podnet.cni import names, wire
from podnet.cni.config import Network
from podnet.cni.errors import CniError, DecodeError
from podnet.cni.result import Result
from podnet.cni.wire import Fields
from podnet.errors import PodnetError
from podnet.plan import Attachment

KIND = "cniCacheV1"
# NAME_MAX, linux/limits.h.
_LONGEST_NAME = 255
_OURS = "podnet"
# A file with any of these is an entry of version 1, however broken, and no bare result.
_OF_VERSION_1 = frozenset({"kind", "containerId", "networkName", "ifName"})


class CacheError(PodnetError):
    """A cache entry is not there, not readable, or in the way."""


class TakenError(CacheError):
    """The file holds another attachment, whose identifiers join to the same name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One cached attachment.

    Attributes:
        network_name: The network.
        attachment: Container ID, ifname, netns, CNI_ARGS and capability arguments of the ADD.
        config: The bytes of the configuration list that ADD used.
        result: What ADD returned, in its own version; ``None`` when the file has none.
        effective: The list with sibling plugins and the chosen version, when podnet wrote it.
        path: The search path of the ADD, when podnet wrote it.
        by_podnet: Whether podnet wrote it.
    """

    network_name: str
    attachment: Attachment
    config: bytes = b""
    result: Result | None = None
    effective: Network | None = field(default=None, repr=False)
    path: tuple[str, ...] = ()
    by_podnet: bool = False

    @property
    def network(self) -> Network:
        """The network as ADD used it.

        Raises:
            CniError: The cached configuration is no configuration.
        """
        if self.effective is not None:
            return self.effective
        what = "the cached configuration"
        listed = Fields.of(wire.loads(self.config, what)).values
        parse = Network.from_conflist if "plugins" in listed else Network.from_conf
        return parse(self.config, what)


@dataclass(frozen=True, slots=True)
class Cache:
    """A directory of cached results.

    Attributes:
        directory: libcni's cache directory (``/var/lib/cni`` for the other runtimes).
    """

    directory: Path

    def path(self, network: str, container_id: str, ifname: str) -> Path:
        """Return the file of one attachment; every part is checked first.

        Raises:
            CniError: A part is empty or has characters that are not allowed.
        """
        names.check_network_name(network)
        names.check_container_id(container_id)
        names.check_ifname(ifname)
        return Path(f"{self.directory}/results/{network}-{container_id}-{ifname}")

    def reserve(self, network: Network, attachment: Attachment) -> None:
        """Check, before the first plugin runs, that the result could be written afterwards.

        Raises:
            CacheError: The name is too long, taken by another attachment, or by this one
                already (it was ADDed and not DELed).
            PodnetError: The directory cannot be written to.
        """
        path = self._path_of(network.name, attachment)
        excess = len(path.name.encode()) - _LONGEST_NAME
        if excess > 0:
            raise CacheError(
                f"the cache entry's name {path.name[:40]}… is {excess} bytes too long for a file",
                "shorten the network's name or the container ID",
            )
        try:
            found = self.load(network.name, attachment)
        except CacheError as exc:
            raise CacheError(f"{exc.message}; it is in the way", f"remove {path}") from exc
        if found is not None:
            raise CacheError(
                f"container {attachment.container_id} already has {attachment.ifname} on network "
                f"{network.name}",
                "delete it first; a second ADD of one attachment is not allowed (SPEC section 3)",
            )
        self._make_directories()
        files.probe(self._drafts)

    def save(
        self,
        network: Network,
        attachment: Attachment,
        result: Result,
        *,
        path: Sequence[str] = (),
    ) -> None:
        """Write one attachment's entry, whole or not at all.

        Args:
            network: The network as it was used.
            attachment: What was ADDed.
            result: What ADD returned.
            path: Where its plugins were found, for DEL and CHECK.

        Raises:
            PodnetError: It cannot be written.
        """
        self._make_directories()
        entry: dict[str, object] = {
            "kind": KIND,
            "containerId": attachment.container_id,
            "config": base64.b64encode(network.source).decode(),
            "ifName": attachment.ifname,
            "networkName": network.name,
            "netns": attachment.netns,
            "cniArgs": [list(pair) for pair in attachment.args],
            "capabilityArgs": dict(attachment.capability_args),
            "result": result.to_wire(),
            _OURS: {"network": network.to_wire(), "path": list(path)},
        }
        filled = {key: value for key, value in entry.items() if value not in ("", [], {})}
        file = self._path_of(network.name, attachment)
        files.write(file, wire.dumps(filled).encode(), drafts=self._drafts)

    def load(self, network: str, attachment: Attachment) -> Entry | None:
        """Return the entry of one attachment, or ``None`` when there is none.

        A bare result, as libcni before 0.8 wrote it, is an entry with nothing else in it.

        Raises:
            CacheError: The file is not an entry.
            TakenError: It belongs to another attachment.
        """
        path = self._path_of(network, attachment)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise CacheError(f"cannot read the cached result {path}: {exc.strerror}") from exc
        try:
            value = wire.loads(content, "it")
            if isinstance(value, dict) and value.keys().isdisjoint(_OF_VERSION_1):
                bare = Result.from_wire(value)
                return Entry(network_name=network, attachment=attachment, result=bare)
            entry = _entry(value)
        except CniError as exc:
            raise CacheError(f"the cached result {path} is corrupt: {exc}") from exc
        found = (entry.network_name, entry.attachment.container_id, entry.attachment.ifname)
        if found != (network, attachment.container_id, attachment.ifname):
            other = "network {} container {} interface {}".format(*found)
            raise TakenError(f"the cached result {path} belongs to another attachment: {other}")
        return entry

    def forget(self, network: str, attachment: Attachment) -> None:
        """Drop one attachment's entry, readable or not; it may be gone, or be another's by now."""
        path = self._path_of(network, attachment)
        with files.naming(path), suppress(FileNotFoundError):
            ours = (network, attachment.container_id, attachment.ifname)
            if _owner(path.read_bytes()) in {ours, None}:
                path.unlink()

    def entries(self) -> Iterator[Entry]:
        """Yield every entry that can be read, by name; pass over what is not one."""
        for path in sorted(self._files()):
            try:
                yield _entry(wire.loads(path.read_bytes()))
            except (OSError, CniError):
                continue  # somebody else's file, or gone in the meantime; junk() tells of it

    def junk(self) -> Iterator[Path]:
        """Yield the files that are not entries."""
        for path in sorted(self._files()):
            try:
                _entry(wire.loads(path.read_bytes()))
            except (OSError, CniError):
                yield path

    def _files(self) -> Iterator[Path]:
        directory = self.directory / "results"
        return (p for p in directory.iterdir() if p.is_file()) if directory.is_dir() else iter(())

    @property
    def _drafts(self) -> Path:
        # Not in results/: libcni takes any file there for an entry if its fields are right.
        return self.directory / "drafts"

    def _make_directories(self) -> None:
        files.make_directory(self.directory / "results")
        files.make_directory(self._drafts)

    def _path_of(self, network: str, attachment: Attachment) -> Path:
        return self.path(network, attachment.container_id, attachment.ifname)


def _entry(value: object) -> Entry:
    """Read a version 1 entry.

    Raises:
        CniError: It is something else.
    """
    fields, (network, container_id, ifname) = _identified(value)
    capability_args = fields.child("capabilityArgs")
    attachment = Attachment(
        container_id=container_id,
        ifname=ifname,
        netns=fields.text("netns"),
        args=tuple(_args(fields)),
        capability_args=capability_args.values if capability_args else {},
    )
    ours = fields.child(_OURS)
    effective = ours.child("network") if ours else None
    config = _decoded(fields.text("config"))
    return Entry(
        network_name=network,
        attachment=attachment,
        config=config,
        result=_result(fields),
        effective=_parsed(wire.dumps(effective.values), config) if effective else None,
        path=ours.texts("path") if ours else (),
        by_podnet=ours is not None,
    )


@lru_cache(maxsize=64)
def _parsed(effective: str, source: bytes) -> Network:
    """Read an effective list; many attachments have the same."""
    return Network.from_wire(wire.loads(effective.encode()), source=source)


def _owner(content: bytes) -> tuple[str, str, str] | None:
    """Return network, container ID and ifname of an entry; ``None`` when nobody could read it."""
    try:
        return _identified(wire.loads(content))[1]
    except CniError:
        return None


def _identified(value: object) -> tuple[Fields, tuple[str, str, str]]:
    """Return the fields of a version 1 entry, and whose it is.

    Raises:
        CniError: It is something else.
    """
    fields = Fields.of(value, "the entry")
    if fields.get("kind") != KIND:
        raise DecodeError(f"its kind is {wire.dumps(fields.get('kind'))}, not {KIND}")
    network, container_id = fields.text("networkName"), fields.text("containerId")
    ifname = fields.text("ifName")
    names.check_network_name(network)
    names.check_container_id(container_id)
    names.check_ifname(ifname)
    return fields, (network, container_id, ifname)


def _result(fields: Fields) -> Result | None:
    result = fields.child("result")
    return Result.from_wire(result.values) if result else None


def _args(fields: Fields) -> Iterator[tuple[str, str]]:
    """Yield CNI_ARGS, a list of pairs."""
    pairs = fields.get("cniArgs")
    if not isinstance(pairs, list | None):
        raise DecodeError("cniArgs must be a list of pairs")
    for pair in pairs or ():
        match pair:
            case [str(key), str(value), *_]:
                yield key, value
            case _:
                raise DecodeError("cniArgs must be a list of pairs")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise DecodeError("config is not base64") from None
