"""DHCP options: their numbers and names, and what a server's values mean (pure).

RFC 2132, RFC 3442 (classless routes).  A value that cannot be read is as if it were not there, as
for any other client; the layout of a message is ``dhcp_packet``'s.
"""

from collections.abc import Iterator, Mapping
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Interface

from podnet.cni.errors import InvalidConfigError
from podnet.cni.result import Route
from podnet.kernel.routes import SCOPE_LINK

LARGEST = 255
FOREVER = 0xFFFFFFFF
_ADDRESS = 4
_LONGEST_PREFIX = 32
_DEFAULT = IPv4Interface("0.0.0.0/0")
# Classes A, B and C by the first byte (RFC 791).
_CLASSES = ((128, 8), (192, 16), (224, 24))


class Option(IntEnum):
    """The options that a client deals in."""

    SUBNET_MASK = 1
    ROUTERS = 3
    HOST_NAME = 12
    STATIC_ROUTES = 33
    REQUESTED_ADDRESS = 50
    LEASE_TIME = 51
    MESSAGE_TYPE = 53
    SERVER_ID = 54
    PARAMETERS = 55
    MESSAGE = 56
    T1 = 58
    T2 = 59
    VENDOR_CLASS = 60
    CLIENT_ID = 61
    USER_CLASS = 77
    CLASSLESS_ROUTES = 121


class Kind(IntEnum):
    """The values of the option MESSAGE_TYPE (RFC 2132 section 9.6)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7


# The names that a configuration may use, the reference's.
NAMES: Mapping[str, Option] = {
    "dhcp-client-identifier": Option.CLIENT_ID,
    "subnet-mask": Option.SUBNET_MASK,
    "routers": Option.ROUTERS,
    "host-name": Option.HOST_NAME,
    "user-class": Option.USER_CLASS,
    "vendor-class-identifier": Option.VENDOR_CLASS,
}


def number(text: str) -> int:
    """Return the number of an option that is given by name or as a number.

    Raises:
        InvalidConfigError: It is neither.
    """
    if text in NAMES:
        return NAMES[text]
    if text.isascii() and text.isdigit() and int(text) <= LARGEST:
        return int(text)
    raise InvalidConfigError(
        f'option "{text}" is no DHCP option', f"a number up to {LARGEST}, or {', '.join(NAMES)}"
    )


def kind(options: Mapping[int, bytes]) -> int:
    """Return what a message is, one of Kind; 0 for none of them."""
    return int.from_bytes(options.get(Option.MESSAGE_TYPE, b""), "big")


def address(options: Mapping[int, bytes], option: Option) -> IPv4Address | None:
    """Return an option that is an address, the first of several."""
    value = options.get(option, b"")
    return IPv4Address(value[:_ADDRESS]) if len(value) >= _ADDRESS else None


def seconds(options: Mapping[int, bytes], option: Option) -> int | None:
    """Return an option that is a time."""
    value = options.get(option, b"")
    return int.from_bytes(value, "big") if len(value) == _ADDRESS else None


def prefix_length(options: Mapping[int, bytes]) -> int | None:
    """Return the length of the subnet mask, ``None`` where there is none or it has holes."""
    mask = address(options, Option.SUBNET_MASK)
    if mask is None:
        return None
    host = int(mask) ^ 0xFFFFFFFF
    return None if host & (host + 1) else _LONGEST_PREFIX - host.bit_length()


def routes(options: Mapping[int, bytes]) -> tuple[Route, ...]:
    """Return the routes that a server gives.

    Classless routes stand alone (RFC 3442); else there are the static ones, of classful
    networks, and the default route through the first router.
    """
    if classless := tuple(_classless(options.get(Option.CLASSLESS_ROUTES, b""))):
        return classless
    static = tuple(_static(options.get(Option.STATIC_ROUTES, b"")))
    router = address(options, Option.ROUTERS)
    return (*static, Route(_DEFAULT, router)) if router else static


def _classless(value: bytes) -> Iterator[Route]:
    offset = 0
    while offset < len(value):
        length = value[offset]
        gateway = offset + 1 + (length + 7) // 8
        if length > _LONGEST_PREFIX or gateway + _ADDRESS > len(value):
            return
        significant = value[offset + 1 : gateway].ljust(_ADDRESS, b"\0")
        router = IPv4Address(value[gateway : gateway + _ADDRESS])
        dst = IPv4Interface((significant, length))
        # "Router 0.0.0.0": on the link itself.
        yield Route(dst, router) if int(router) else Route(dst, scope=SCOPE_LINK)
        offset = gateway + _ADDRESS


def _static(value: bytes) -> Iterator[Route]:
    for offset in range(0, len(value) - 2 * _ADDRESS + 1, 2 * _ADDRESS):
        destination, router = value[offset : offset + _ADDRESS], value[offset + _ADDRESS :][:4]
        lengths = (length for limit, length in _CLASSES if destination[0] < limit)
        dst = IPv4Interface((destination, next(lengths, _LONGEST_PREFIX)))
        yield Route(dst, IPv4Address(router))
