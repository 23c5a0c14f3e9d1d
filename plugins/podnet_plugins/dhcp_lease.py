"""A lease: what a server's ACK gives, for how long, and for whom (pure values).

Times are seconds of a clock that the caller reads; what is done when they have come is for
``dhcp_client``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface

from podnet.cni.errors import CniError, DecodeError
from podnet.cni.result import IPConfig, Result, Route, parse_address, parse_cidr
from podnet.cni.wire import Fields
from podnet_plugins import dhcp_options
from podnet_plugins.dhcp_options import Option
from podnet_plugins.dhcp_packet import Message

_LONGEST_CLIENT_ID = 254
# RFC 2132 section 9.14: an identifier of type 0 is no hardware address.
_NO_HARDWARE = b"\0"
# RFC 2131 section 4.4.5.
_T1, _T2 = 0.5, 0.875


@dataclass(frozen=True, slots=True)
class Holder:
    """The attachment that a lease is for."""

    network: str
    container_id: str
    ifname: str

    @property
    def client_id(self) -> bytes:
        """Who it is for a server, in the reference's spelling, so that it gets the same address."""
        text = f"{self.container_id}/{self.network}/{self.ifname}"
        return _NO_HARDWARE + text.encode(errors="surrogateescape")[:_LONGEST_CLIENT_ID]

    @classmethod
    def from_wire(cls, fields: Fields) -> "Holder":
        """Read it."""
        return cls(fields.text("network"), fields.text("containerID"), fields.text("ifname"))

    def to_wire(self) -> dict[str, object]:
        """Return it as an object."""
        return {
            "network": self.network,
            "containerID": self.container_id,
            "ifname": self.ifname,
        }

    def __str__(self) -> str:
        return f"{self.container_id}/{self.network}/{self.ifname}"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a client tells a server, and what it asks for.

    Attributes:
        provide: Options that it sends, by number.
        request: Options that it asks for.
    """

    provide: Mapping[int, bytes]
    request: tuple[int, ...]

    @classmethod
    def from_wire(cls, fields: Fields) -> "Wishes":
        """Read them.

        Raises:
            DecodeError: Something is no option.
        """
        provided = fields.child("provide") or Fields({})
        try:
            provide = {int(key): bytes.fromhex(provided.text(key)) for key in provided.values}
            return cls(provide, tuple(map(int, fields.texts("request"))))
        except ValueError as exc:
            raise DecodeError(f"not a DHCP option: {exc}") from None

    def to_wire(self) -> dict[str, object]:
        """Return them as an object."""
        return {
            "provide": {str(number): value.hex() for number, value in self.provide.items()},
            "request": [str(number) for number in self.request],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """An address on loan.

    Attributes:
        address: It, and its subnet.
        gateway: The first router, or ``None``.
        routes: For the result.
        server: The server's identifier, an address of it.
        server_mac: Where its answers came from: the server, or the relay before it.
        since: When it was asked for.
        renew_at: When to ask the server for more time (T1).
        rebind_at: When to ask any server (T2).
        expires: When the address is not ours any more.
    """

    address: IPv4Interface
    gateway: IPv4Address | None
    routes: tuple[Route, ...]
    server: IPv4Address
    server_mac: bytes
    since: float
    renew_at: float
    rebind_at: float
    expires: float

    @classmethod
    def of(cls, ack: Message, *, server_mac: bytes, since: float) -> "Lease":
        """Return what *ack* gives.

        Raises:
            CniError: An address, subnet mask, server or lease time is missing.
        """
        prefix = dhcp_options.prefix_length(ack.options)
        server = dhcp_options.address(ack.options, Option.SERVER_ID)
        duration = dhcp_options.seconds(ack.options, Option.LEASE_TIME)
        if prefix is None:
            raise CniError(
                "DHCP option Subnet Mask not found in DHCPACK", f"from {server} for {ack.yiaddr}"
            )
        if server is None or duration is None or not int(ack.yiaddr):
            raise CniError(f"a DHCPACK from {server} lacks an address, a lease time or a server")
        t1, t2, whole = _times(ack.options, duration)
        return cls(
            address=IPv4Interface((ack.yiaddr.packed, prefix)),
            gateway=dhcp_options.address(ack.options, Option.ROUTERS),
            routes=dhcp_options.routes(ack.options),
            server=server,
            server_mac=server_mac,
            since=since,
            renew_at=since + t1,
            rebind_at=since + t2,
            expires=since + whole,
        )

    def extended(self, newer: "Lease") -> "Lease":
        """Return this lease with the times and the server of a renewal.

        What the container is configured with stays: nobody would change it there.
        """
        return replace(newer, address=self.address, gateway=self.gateway, routes=self.routes)

    def result(self, *, priority: int = 0) -> Result:
        """Return what an IPAM plugin answers; *priority* is the metric of all routes."""
        routes = tuple(replace(route, priority=priority) for route in self.routes)
        return Result(ips=(IPConfig(self.address, self.gateway),), routes=routes)

    @classmethod
    def from_wire(cls, fields: Fields) -> "Lease":
        """Read a lease.

        Raises:
            DecodeError: A field is missing or something else.
        """
        address = parse_cidr(fields.text("address"), fields.path("address"))
        server = _address(fields, "server")
        if not isinstance(address, IPv4Interface) or server is None:
            raise DecodeError("a lease without an IPv4 address, or without a server")
        try:
            server_mac = bytes.fromhex(fields.text("serverMAC"))
        except ValueError:
            raise DecodeError(f"{fields.path('serverMAC')} is not hexadecimal") from None
        return cls(
            address=address,
            gateway=_address(fields, "gateway"),
            routes=tuple(Route.from_wire(route) for route in fields.children("routes")),
            server=server,
            server_mac=server_mac,
            since=_time(fields, "since"),
            renew_at=_time(fields, "renewAt"),
            rebind_at=_time(fields, "rebindAt"),
            expires=_time(fields, "expires"),
        )

    def to_wire(self) -> dict[str, object]:
        """Return it as an object; a time that never comes is ``null``."""
        routes = Result(routes=self.routes).to_wire().get("routes", [])
        return {
            "address": str(self.address),
            "gateway": str(self.gateway or ""),
            "routes": routes,
            "server": str(self.server),
            "serverMAC": self.server_mac.hex(),
            "since": self.since,
            "renewAt": _finite(self.renew_at),
            "rebindAt": _finite(self.rebind_at),
            "expires": _finite(self.expires),
        }


def _times(options: Mapping[int, bytes], duration: int) -> tuple[float, float, float]:
    """Return T1, T2 and the whole; the server's if they make sense, else the usual parts."""
    if duration == dhcp_options.FOREVER:
        return math.inf, math.inf, math.inf
    t1 = dhcp_options.seconds(options, Option.T1)
    t2 = dhcp_options.seconds(options, Option.T2)
    rebind = duration * _T2 if t2 is None or not 0 < t2 <= duration else t2
    renew = min(duration * _T1, rebind) if t1 is None or not 0 < t1 <= rebind else t1
    return renew, rebind, duration


def _finite(time: float) -> float | None:
    return None if math.isinf(time) else time


def _time(fields: Fields, key: str) -> float:
    value = fields.get(key)
    if value is None:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DecodeError(f"{fields.path(key)} must be a number")
    return float(value)


def _address(fields: Fields, key: str) -> IPv4Address | None:
    address = parse_address(fields.text(key), fields.path(key))
    return address if isinstance(address, IPv4Address) else None
