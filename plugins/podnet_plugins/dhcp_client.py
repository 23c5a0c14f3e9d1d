"""A DHCP client (RFC 2131 section 4.4): what it has heard and what time it is, in; what to do, out.

Has no clock, no socket and no dice: the caller reads ``wake_at`` and ``is_listening``, and carries
out what is returned.  One machine per attachment; everything around it is the daemon's.

::

    SELECTING --OFFER--> REQUESTING --ACK--> BOUND --T1--> RENEWING --T2--> REBINDING
        ^------- NAK, or no answer --'         ^---------- ACK -----'-----------'
    ENDED: an ADD that got nothing, a lease that expired or was taken back.
"""

import math
from collections.abc import Callable
from enum import StrEnum
from ipaddress import IPv4Address

from podnet.cni.errors import CniError
from podnet_plugins import dhcp_options
from podnet_plugins.dhcp_actions import Action, Bound, Failed, Lost, Send, Timing
from podnet_plugins.dhcp_lease import Holder, Lease, Wishes
from podnet_plugins.dhcp_options import Kind, Option
from podnet_plugins.dhcp_packet import NOWHERE, REPLY, Message

# The first answers come in milliseconds, and a pod waits: RFC 2131 would have us wait 4 s.
_FIRST_RESEND = 0.25
# RFC 2131 section 4.4.5 says 60 s: a lease of two minutes would be asked for once, and a lost
# packet would be its end.
_SHORTEST_WAIT = 4.0
# A lease that ran out while there was no daemon: ask once more before it is given up.
_GRACE = 10.0
_AFTER_NAK = 1.0
_MOST_SECS = 0xFFFF


class State(StrEnum):
    """Where a client stands (RFC 2131 figure 5)."""

    SELECTING = "selecting"
    REQUESTING = "requesting"
    BOUND = "bound"
    RENEWING = "renewing"
    REBINDING = "rebinding"
    ENDED = "ended"


class Client:
    """The state of one attachment's client.

    Args:
        holder: Whose it is.
        wishes: What it tells and asks for.
        mac: Its hardware address.
        timing: How patient it is.
        chance: Returns a number from 0 to 1, as random.random does.

    Attributes:
        state: Where it stands.
        lease: What it has, or ``None``.
        wake_at: When :meth:`wake` must be called; may be never, ``inf``.
        is_listening: Whether an answer can come.
    """

    def __init__(
        self,
        holder: Holder,
        wishes: Wishes,
        mac: bytes,
        timing: Timing,
        chance: Callable[[], float],
    ) -> None:
        self.state = State.ENDED
        self.lease: Lease | None = None
        self.wake_at = math.inf
        self.is_listening = False
        self._holder, self._wishes, self._mac = holder, wishes, mac
        self._timing, self._chance = timing, chance
        self._xid = 0
        self._began = self._sent_at = 0.0
        self._tries = 0
        self._give_up_at = self._listen_until = self._send_at = math.inf
        self._offer: Message | None = None

    def start(self, now: float) -> list[Action]:
        """Begin to look for a server."""
        self._began, self._give_up_at = now, now + self._timing.resend_timeout
        return self._select(now)

    def resume(self, lease: Lease, now: float) -> list[Action]:
        """Go on with a lease that another process got."""
        self.lease, self.state = lease, State.BOUND
        self._began = self._sent_at = now
        self._give_up_at = lease.expires if now < lease.expires else now + _GRACE
        self._rest(lease)
        return []

    def wake(self, now: float) -> list[Action]:
        """Do what is due."""
        if now < self.wake_at:
            return []
        if self.state is State.SELECTING:
            return self._select_again(now)
        if self.state is State.REQUESTING:
            return self._request_again(now)
        return self._renew(now) if self.lease else []

    def receive(self, message: Message, sender: bytes, now: float) -> list[Action]:
        """Take in a message from the hardware address *sender*."""
        ours = message.op == REPLY and (message.xid, message.chaddr) == (self._xid, self._mac)
        if not ours or not self.is_listening:
            return []
        match self.state, dhcp_options.kind(message.options):
            case State.SELECTING, Kind.OFFER:
                return self._request(message, now)
            case ((State.REQUESTING | State.RENEWING | State.REBINDING), Kind.ACK):
                return self._acknowledged(message, sender)
            case State.REQUESTING, Kind.NAK:
                return self._refused(message, now)
            case ((State.RENEWING | State.REBINDING), Kind.NAK):
                return self._lose(f"{_server(message)} took it back: {_said(message)}")
            case _:
                return []

    def release(self) -> Send | None:
        """Return what gives back the address, also one that was only asked for; and end."""
        lease, offer, state = self.lease, self._offer, self.state
        self._transaction(state)
        self._end()
        if lease:
            return _release(self, lease.address.ip, lease.server, lease.server_mac)
        server = _server(offer) if offer and state is State.REQUESTING else None
        return _release(self, offer.yiaddr, server) if offer and server else None

    def message(self, kind: Kind, options: dict[int, bytes], *, ciaddr: IPv4Address) -> Message:
        """Return a message of this transaction; what the protocol says goes before wishes."""
        wished = {int(Option.CLIENT_ID): self._holder.client_id} | dict(self._wishes.provide)
        # RFC 3442: whoever wants classless routes asks for them before routers.
        asked = sorted(self._wishes.request, key=lambda one: one != Option.CLASSLESS_ROUTES)
        if asked:
            wished[int(Option.PARAMETERS)] = bytes(asked)
        if kind is Kind.RELEASE:
            wished = {int(Option.CLIENT_ID): wished[Option.CLIENT_ID]}
        own = {int(Option.MESSAGE_TYPE): bytes((kind,))} | options
        return Message(
            xid=self._xid,
            secs=min(int(self._sent_at - self._began), _MOST_SECS),
            broadcast=self._timing.broadcast and not int(ciaddr),
            ciaddr=ciaddr,
            chaddr=self._mac,
            options=own | wished | own,  # the message type in front, where some servers want it
        )

    # Looking for a server

    def _select(self, now: float) -> list[Action]:
        self._transaction(State.SELECTING)
        return self._discover(now)

    def _select_again(self, now: float) -> list[Action]:
        if now >= self._give_up_at:
            return self._fail("no DHCP server offered an address")
        return self._discover(now)

    def _discover(self, now: float) -> list[Action]:
        self._next_try(now, self._give_up_at)
        return [Send(self.message(Kind.DISCOVER, {}, ciaddr=NOWHERE))]

    def _request(self, offer: Message, now: float) -> list[Action]:
        if _server(offer) is None or not int(offer.yiaddr):
            return []
        self.state, self._offer, self._tries = State.REQUESTING, offer, 0
        self._listen_until = now + self._timing.timeout
        return self._request_again(now)

    def _request_again(self, now: float) -> list[Action]:
        offer = self._offer
        server = _server(offer) if offer else None
        if now >= self._give_up_at:
            return self._fail(f"{server} offered an address and did not confirm it")
        if not offer or not server or now >= self._listen_until:
            return self._select(now)
        self._next_try(now, min(self._listen_until, self._give_up_at))
        options = {
            int(Option.REQUESTED_ADDRESS): offer.yiaddr.packed,
            int(Option.SERVER_ID): server.packed,
        }
        return [Send(self.message(Kind.REQUEST, options, ciaddr=NOWHERE))]

    def _refused(self, nak: Message, now: float) -> list[Action]:
        offer = self._offer
        if offer is None or _server(nak) != _server(offer):  # another server's business
            return []
        self._transaction(State.SELECTING)
        self.wake_at = min(now + _AFTER_NAK, self._give_up_at)
        return []

    def _next_try(self, now: float, latest: float) -> None:
        pause = min(_FIRST_RESEND * 2**self._tries, self._timing.resend_max)
        self._tries += 1
        self._sent_at = now
        # RFC 2131 section 4.1: at random, so that clients that began together do not stay together.
        self.wake_at = min(now + pause * (0.9 + 0.2 * self._chance()), latest)

    # Having a lease

    def _acknowledged(self, ack: Message, sender: bytes) -> list[Action]:
        before = self.lease
        try:
            lease = Lease.of(ack, server_mac=sender, since=self._sent_at)
        except CniError as exc:
            return [] if before else self._fail(str(exc))
        if before is None:
            self.lease = lease
        elif before.address.ip == lease.address.ip:
            self.lease = before.extended(lease)
        else:
            return self._lose(f"{lease.server} gives {lease.address.ip} instead")
        self.state, self._offer, self._give_up_at = State.BOUND, None, self.lease.expires
        self._rest(self.lease)
        return [Bound(self.lease)]

    def _rest(self, lease: Lease) -> None:
        self.is_listening, self._tries = False, 0
        self._send_at = self.wake_at = lease.renew_at
        self._listen_until = math.inf

    def _renew(self, now: float) -> list[Action]:
        """Ask for more time: the server from T1 on, any from T2 on; listen a while each time."""
        lease = self.lease
        assert lease is not None  # noqa: S101  BOUND, RENEWING and REBINDING have one
        if now >= self._give_up_at:
            return self._lose("it expired, and no server renewed it")
        if now >= self._listen_until:
            self.is_listening, self._listen_until = False, math.inf
        wanted = State.REBINDING if now >= lease.rebind_at else State.RENEWING
        actions: list[Action] = []
        too_late = wanted is State.REBINDING and self.state is not wanted
        if now >= self._send_at or too_late:
            if self.state is not wanted:
                self._transaction(wanted)
            actions = self._ask(lease, now)
        next_stage = lease.rebind_at if wanted is State.RENEWING else self._give_up_at
        self.wake_at = min(self._send_at, self._listen_until, next_stage, self._give_up_at)
        return actions

    def _ask(self, lease: Lease, now: float) -> list[Action]:
        stage_ends = lease.rebind_at if self.state is State.RENEWING else self._give_up_at
        pause = max((stage_ends - now) / 2, _SHORTEST_WAIT)
        self.is_listening, self._sent_at = True, now
        self._began = now if self._tries == 0 else self._began
        self._tries += 1
        self._send_at, self._listen_until = now + pause, now + self._timing.timeout
        message = self.message(Kind.REQUEST, {}, ciaddr=lease.address.ip)
        if self.state is State.REBINDING:
            return [Send(message, lease.address.ip)]
        return [Send(message, lease.address.ip, lease.server, lease.server_mac)]

    # Common to all

    def _transaction(self, state: State) -> None:
        self.state, self._offer, self._tries = state, None, 0
        self._xid = int(self._chance() * 0xFFFFFFFF)
        self.is_listening = True

    def _fail(self, reason: str) -> list[Action]:
        given = self.release()
        return [*([given] if given else []), Failed(reason)]

    def _lose(self, reason: str) -> list[Action]:
        lease = self.lease
        self._end()
        return [Lost(lease, reason)] if lease else [Failed(reason)]

    def _end(self) -> None:
        self.state, self.lease, self._offer = State.ENDED, None, None
        self.is_listening, self.wake_at = False, math.inf


def _release(
    client: Client, address: IPv4Address, server: IPv4Address, mac: bytes = b"\xff" * 6
) -> Send:
    options = {int(Option.SERVER_ID): server.packed}
    message = client.message(Kind.RELEASE, options, ciaddr=address)
    return Send(message, address, server, mac)


def _server(message: Message) -> IPv4Address | None:
    return dhcp_options.address(message.options, Option.SERVER_ID)


def _said(message: Message) -> str:
    return message.options.get(Option.MESSAGE, b"").decode(errors="backslashreplace") or "NAK"
