"""What a DHCP client decides, for the daemon to carry out, and how patient it is (values).

The deciding is ``dhcp_client``'s, the carrying out ``dhcp_tenants``'.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address

from podnet_plugins.dhcp_lease import Lease
from podnet_plugins.dhcp_packet import EVERYBODY, NOWHERE, Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How patient a client is, in seconds; the daemon's flags.

    Attributes:
        timeout: How long an answer to a REQUEST is waited for.
        resend_max: The longest pause between two DISCOVERs.
        resend_timeout: After how long an ADD gets nothing.
        broadcast: Ask servers to broadcast their answers.
    """

    timeout: float = 10.0
    resend_max: float = 62.0
    resend_timeout: float = 208.0
    broadcast: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """Send *message*: to everybody, or to the server of the lease."""

    message: Message
    source: IPv4Address = NOWHERE
    destination: IPv4Address = EVERYBODY
    mac: bytes = b"\xff" * 6


@dataclass(frozen=True, slots=True)
class Bound:
    """There is a lease, or more time for it."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Failed:
    """There will be no lease."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The lease is over, and its address somebody else's."""

    lease: Lease
    reason: str


Action = Send | Bound | Failed | Lost
