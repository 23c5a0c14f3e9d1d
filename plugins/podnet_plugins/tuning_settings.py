"""What tuning sets on an interface, as a value: asked for, found, saved to a file, put back.

Knows links and the backup's JSON, which is the reference's: either can restore what the
other saved.  Knows nothing of calls or configurations.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from podnet.cni.wire import Fields
from podnet.kernel import links
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Some settings of an interface; ``None`` is one that is not touched.

    Attributes:
        mac: The hardware address, as the kernel prints it.
        promisc: Promiscuous mode.
        mtu: In bytes.
        allmulti: All-multicast mode.
        txqlen: The length of the transmit queue.
    """

    mac: str | None = None
    promisc: bool | None = None
    mtu: int | None = None
    allmulti: bool | None = None
    txqlen: int | None = None

    def __bool__(self) -> bool:
        return bool(_said(self))

    @classmethod
    def of(cls, link: Link) -> "Settings":
        """Return all settings of *link*."""
        return cls(
            mac=link.mac,
            promisc=link.promiscuous,
            mtu=link.mtu,
            allmulti=link.all_multicast,
            txqlen=link.txqlen,
        )

    @classmethod
    def from_wire(cls, saved: Fields) -> "Settings":
        """Read a backup.

        Raises:
            DecodeError: A value of the wrong type.
        """
        flags = {
            name: saved.flag(name)
            for name in ("promisc", "allmulti")
            if saved.get(name) is not None
        }
        return cls(
            mac=saved.text("mac") or None,
            mtu=saved.number("mtu"),
            txqlen=saved.number("txQLen"),
            **flags,
        )

    def to_wire(self) -> dict[str, object]:
        """Return the backup: only what is said."""
        names = {"txqlen": "txQLen"}
        return {names.get(name, name): value for name, value in _said(self).items()}

    def where_set_in(self, other: "Settings") -> "Settings":
        """Return only what *other* says something about."""
        return Settings(**{name: getattr(self, name) for name in _said(other)})

    def overlaid_with(self, other: "Settings") -> "Settings":
        """Return these settings with what *other* says instead."""
        return replace(self, **_said(other))


def _said(settings: Settings) -> dict[str, Any]:
    values = ((one.name, getattr(settings, one.name)) for one in fields(settings))
    return {name: value for name, value in values if value is not None}


def apply(netlink: Netlink, index: int, wanted: Settings) -> None:
    """Set everything that *wanted* says.

    Raises:
        OSError: The kernel refused.
    """
    for step in _steps(netlink, index, wanted):
        step()


def restore(netlink: Netlink, index: int, saved: Settings) -> None:
    """Put back as much of *saved* as the kernel takes."""
    for step in _steps(netlink, index, saved):
        with suppress(OSError, ValueError):
            step()


def _steps(netlink: Netlink, index: int, wanted: Settings) -> Iterator[Callable[[], None]]:
    if wanted.mac is not None:
        yield partial(links.set_mac, netlink, index, wanted.mac)
    if wanted.promisc is not None:
        yield partial(links.set_promiscuous, netlink, index, on=wanted.promisc)
    if wanted.mtu is not None:
        yield partial(links.set_mtu, netlink, index, wanted.mtu)
    if wanted.allmulti is not None:
        yield partial(links.set_all_multicast, netlink, index, on=wanted.allmulti)
    if wanted.txqlen is not None:
        yield partial(links.set_txqlen, netlink, index, wanted.txqlen)
