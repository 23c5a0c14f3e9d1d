"""What a manager knew last, kept on disk: for a start while the lease store does not answer.

Knows no store and no kernel.  What is remembered is true as long as the Node's own lease lasts:
nobody else can have it until then.
"""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from podnet.cni import wire
from podnet.cni.errors import CniError, DecodeError
from podnet.cni.wire import Fields
from podnet.errors import PodnetError
from podnet_manager import whole
from podnet_manager.lease import Attributes, Lease, Subnets

_UNTOLD = "untold"  # when a lease ends, where the store tells it to nobody but its Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The network as it was.

    Attributes:
        store: Which lease store said so, in words.
        config: The network's configuration.
        own: The Node's lease.
        others: Those of the others.
    """

    store: str
    config: bytes
    own: Lease
    others: tuple[Lease, ...]

    def holds(self, store: str, now: float) -> bool:
        """Tell whether it is of that store, and the Node's lease lasts."""
        expires = self.own.expires
        return self.store == store and (expires is None or expires > now)

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(
            {
                "store": self.store,
                "config": self.config.decode(),
                "own": _written(self.own),
                "others": [_written(lease) for lease in self.others],
            }
        )

    @classmethod
    def from_text(cls, text: bytes) -> "Memory":
        """Read what :meth:`to_text` wrote.

        Raises:
            CniError: It is something else.
        """
        fields = Fields.of(wire.loads(text, "it"))
        own = fields.child("own")
        if own is None:
            raise DecodeError("own is missing")
        return cls(
            store=fields.text("store"),
            config=fields.text("config").encode(),
            own=_read(own),
            others=tuple(_read(lease) for lease in fields.children("others")),
        )


def _written(lease: Lease) -> Mapping[str, object]:
    is_told = lease.expires is None or math.isfinite(lease.expires)
    return {
        "subnets": lease.subnets.key,
        "attributes": lease.attributes.to_wire().decode(),
        "revision": lease.revision,
        "hold": lease.hold,
        "expires": lease.expires if is_told else _UNTOLD,
    }


def _read(fields: Fields) -> Lease:
    expires = fields.get("expires")
    if expires == _UNTOLD:
        expires = math.inf
    if expires is not None and not isinstance(expires, int | float):
        raise DecodeError(f"{fields.path('expires')} is no time")
    return Lease(
        subnets=Subnets.from_key(fields.text("subnets")),
        attributes=Attributes.from_wire(fields.text("attributes").encode()),
        revision=fields.number("revision") or 0,
        hold=fields.text("hold"),
        expires=expires,
    )


def recall(directory: Path) -> Memory | None:
    """Return what is remembered in a state directory, if anything is.

    Raises:
        PodnetError: It cannot be read.
    """
    path = _path(directory)
    try:
        return Memory.from_text(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, CniError) as exc:
        raise PodnetError(f"what was known last cannot be read: {path}: {exc}") from exc


def keep(directory: Path, memory: Memory) -> None:
    """Remember something, instead of what was remembered.

    Raises:
        PodnetError: It cannot be written; what was remembered stays.
    """
    try:
        whole.write(_path(directory), memory.to_text())
    except OSError as exc:
        raise PodnetError(f"cannot keep state in {directory}: {exc}", "--state-dir") from exc


def forget(directory: Path) -> None:
    """Remember nothing any more."""
    with suppress(FileNotFoundError):
        _path(directory).unlink()


def _path(directory: Path) -> Path:
    return directory / "memory.json"
