"""The DHCP client as a machine: messages and a clock of the test's in, decisions out (pure)."""

import json
import math
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import pairwise

import pytest

from podnet.cni.errors import CniError
from podnet.cni.wire import Fields
from podnet_plugins.dhcp_actions import Action, Bound, Failed, Lost, Send, Timing
from podnet_plugins.dhcp_client import Client, State
from podnet_plugins.dhcp_lease import Holder, Lease, Wishes
from podnet_plugins.dhcp_options import Kind, Option
from podnet_plugins.dhcp_packet import REPLY, Message

MAC, SERVER_MAC, EVERYBODY = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2", b"\xff" * 6
HOLDER = Holder("demo", "c1", "eth0")
WISHES = Wishes({12: b"web"}, (3, 1, 121))
SERVER, ADDRESS, NOWHERE = map(IPv4Address, ("10.9.0.1", "10.9.0.23", 0))


def _client() -> Client:
    return Client(HOLDER, WISHES, MAC, Timing(), lambda: 0.5)


def _answer(kind: Kind, to: Send, also: dict[int, bytes] | None = None, **more: object) -> Message:
    said: dict[int, bytes] = {
        53: bytes((kind,)),
        54: SERVER.packed,
        51: (120).to_bytes(4, "big"),
        1: bytes((255, 255, 255, 0)),
        3: SERVER.packed,
    }
    base = Message(
        op=REPLY, xid=to.message.xid, chaddr=MAC, yiaddr=ADDRESS, options=said | (also or {})
    )
    return replace(base, **more)  # type: ignore[arg-type]


def _sent(actions: list[Action]) -> Send:
    [action] = actions
    assert isinstance(action, Send)
    return action


def _bound(now: float = 0, **options: bytes) -> Client:
    """Return a client that has a lease of 120 s since *now*."""
    client = _client()
    discover = _sent(client.start(now))
    request = _sent(client.receive(_answer(Kind.OFFER, discover), SERVER_MAC, now))
    more = {int(key[1:]): value for key, value in options.items()}
    [done] = client.receive(_answer(Kind.ACK, request, more), SERVER_MAC, now)
    assert isinstance(done, Bound)
    return client


def _lease(client: Client) -> Lease:
    assert client.lease
    return client.lease


def _stands(client: Client) -> str:
    return str(client.state)


def _kind(send: Send) -> int:
    return send.message.options[Option.MESSAGE_TYPE][0]


# Getting a lease


def test_a_lease_is_discovered_requested_and_acknowledged():
    client = _client()
    assert client.wake_at == math.inf

    discover = _sent(client.start(100))
    assert client.is_listening
    assert (_kind(discover), discover.mac, discover.source) == (Kind.DISCOVER, EVERYBODY, NOWHERE)
    assert discover.message.options == {
        Option.MESSAGE_TYPE: b"\1",
        Option.CLIENT_ID: b"\0c1/demo/eth0",
        Option.HOST_NAME: b"web",
        Option.PARAMETERS: bytes((121, 3, 1)),
    }
    request = _sent(client.receive(_answer(Kind.OFFER, discover), SERVER_MAC, 100.2))
    assert (_kind(request), request.message.xid) == (Kind.REQUEST, discover.message.xid)
    assert request.message.options[Option.REQUESTED_ADDRESS] == ADDRESS.packed
    assert request.message.options[Option.SERVER_ID] == SERVER.packed
    [bound] = client.receive(_answer(Kind.ACK, request), SERVER_MAC, 100.4)

    assert isinstance(bound, Bound)
    assert client.lease == bound.lease
    assert str(bound.lease.address) == "10.9.0.23/24"
    assert (bound.lease.server, bound.lease.server_mac) == (SERVER, SERVER_MAC)
    times = bound.lease.since, bound.lease.renew_at, bound.lease.rebind_at, bound.lease.expires
    # From when it was asked for, not from when the answer came.
    assert times == pytest.approx((100.2, 160.2, 205.2, 220.2))
    assert (client.is_listening, client.wake_at) == (False, bound.lease.renew_at)


def test_discovers_go_out_quickly_at_first_then_less_often_until_it_gives_up():
    client = _client()
    client.start(0)
    times = [0.0]
    action: Action | None = None
    while client.state is State.SELECTING:
        now = client.wake_at
        assert client.wake(now - 0.01) == []
        [action] = client.wake(now)
        times.append(now)

    assert times[:6] == pytest.approx([0, 0.25, 0.75, 1.75, 3.75, 7.75])
    pauses = [after - before for before, after in pairwise(times)]
    assert max(pauses) == pytest.approx(62)
    assert times[-1] == 208
    assert action == Failed("no DHCP server offered an address")
    assert (client.is_listening, client.wake_at) == (False, math.inf)


def test_the_secs_of_a_message_say_how_long_it_has_been_looking():
    client = _client()
    client.start(0)
    sent = [_sent(client.wake(client.wake_at)).message.secs for _ in range(6)]
    assert sent == [0, 0, 1, 3, 7, 15]


def test_a_request_without_an_answer_is_repeated_and_then_it_looks_again():
    client = _client()
    request = _sent(client.receive(_answer(Kind.OFFER, _sent(client.start(0))), SERVER_MAC, 0))
    again = _sent(client.wake(client.wake_at))
    assert (_kind(again), again.message.xid) == (Kind.REQUEST, request.message.xid)
    last = again
    while client.state is State.REQUESTING:
        last = _sent(client.wake(client.wake_at))

    assert _kind(last) == Kind.DISCOVER
    assert last.message.secs == 10


def test_a_refusal_in_the_middle_has_it_look_again():
    client = _client()
    request = _sent(client.receive(_answer(Kind.OFFER, _sent(client.start(0))), SERVER_MAC, 0))
    foreign = _answer(Kind.NAK, request, {54: b"\12\11\0\2"})
    assert client.receive(foreign, SERVER_MAC, 0) == []
    assert _stands(client) == "requesting"

    assert client.receive(_answer(Kind.NAK, request), SERVER_MAC, 0) == []
    assert _stands(client) == "selecting"
    assert _kind(_sent(client.wake(client.wake_at))) == Kind.DISCOVER


@pytest.mark.parametrize(
    "more",
    [
        {"xid": 7},
        {"chaddr": b"\2\0\0\0\0\x09"},
        {"op": 1},
        {"options": {53: b"\2"}},
        {"yiaddr": NOWHERE},
        {"options": {53: b"\5", 54: SERVER.packed}},
    ],
)
def test_what_is_no_answer_to_us_is_not_listened_to(more):
    client = _client()
    offer = _answer(Kind.OFFER, _sent(client.start(0)), **more)

    assert client.receive(offer, SERVER_MAC, 0) == []
    assert client.state is State.SELECTING


@pytest.mark.parametrize(
    ("missing", "said"),
    [(1, "DHCP option Subnet Mask not found"), (51, "lacks"), (54, "lacks")],
)
def test_an_acknowledgement_that_says_too_little_is_a_failure(missing, said):
    client = _client()
    request = _sent(client.receive(_answer(Kind.OFFER, _sent(client.start(0))), SERVER_MAC, 0))
    ack = _answer(Kind.ACK, request)
    less = replace(ack, options={k: v for k, v in ack.options.items() if k != missing})

    released, failed = client.receive(less, SERVER_MAC, 0)

    assert isinstance(released, Send)
    assert (_kind(released), released.message.ciaddr) == (Kind.RELEASE, ADDRESS)
    assert isinstance(failed, Failed)
    assert said in failed.reason


def test_what_a_configuration_provides_wins_over_defaults_and_not_over_the_protocol():
    wishes = Wishes({61: b"me", 53: b"\7", 54: b"bad", 55: b"\1"}, (3,))
    client = Client(HOLDER, wishes, MAC, Timing(broadcast=True), lambda: 0.5)
    discover = _sent(client.start(0))
    request = _sent(client.receive(_answer(Kind.OFFER, discover), SERVER_MAC, 0))

    assert discover.message.broadcast
    assert request.message.options[61] == b"me"
    assert request.message.options[53] == b"\3"
    assert request.message.options[54] == SERVER.packed
    assert request.message.options[55] == b"\3"


# Keeping it


def test_from_t1_on_the_server_is_asked_and_the_lease_goes_on():
    client = _bound()
    assert client.wake(59) == []
    renew = _sent(client.wake(60))

    assert client.state is State.RENEWING
    assert (renew.source, renew.destination, renew.mac) == (ADDRESS, SERVER, SERVER_MAC)
    assert renew.message.ciaddr == ADDRESS
    # RFC 2131 section 4.3.2: neither of them in RENEWING.
    assert not {Option.REQUESTED_ADDRESS, Option.SERVER_ID} & set(renew.message.options)
    [bound] = client.receive(_answer(Kind.ACK, renew), SERVER_MAC, 60.1)
    assert isinstance(bound, Bound)
    assert (bound.lease.renew_at, bound.lease.expires) == (120, 180)
    assert not client.is_listening


def test_a_server_s_own_t1_and_t2_count_when_they_make_sense():
    def times(t1: int, t2: int) -> tuple[float, float]:
        client = _bound(_58=t1.to_bytes(4, "big"), _59=t2.to_bytes(4, "big"))
        assert client.lease
        return client.lease.renew_at, client.lease.rebind_at

    assert times(5, 10) == (5, 10)
    assert times(0, 0) == (60, 105)
    assert times(100, 90) == (60, 90)
    assert times(500, 400) == (60, 105)
    assert times(50, 20) == (20, 20)


def test_a_lease_for_ever_is_never_renewed():
    client = _bound(_51=b"\xff" * 4)
    assert client.wake_at == math.inf
    assert client.wake(1e9) == []


def test_without_an_answer_it_renews_then_rebinds_then_the_lease_is_lost():
    client, heard = _bound(), []
    lease = _lease(client)
    while client.state is not State.ENDED:
        now = client.wake_at
        heard += [(now, action) for action in client.wake(now)]
        assert client.wake_at > now

    *asked, (end, lost) = heard
    to_server = [now for now, send in asked if isinstance(send, Send) and send.mac == SERVER_MAC]
    to_all = [now for now, send in asked if isinstance(send, Send) and send.mac == EVERYBODY]
    assert to_server[0] == 60
    assert all(60 <= now < 105 for now in to_server)
    assert to_all[0] == 105
    assert all(105 <= now < 120 for now in to_all)
    assert min(len(to_server), len(to_all)) >= 2
    assert end == 120
    assert lost == Lost(lease, "it expired, and no server renewed it")


def test_nobody_listens_between_two_tries():
    client = _bound(_51=(86400).to_bytes(4, "big"))
    client.wake(43200)
    assert client.is_listening
    assert client.wake(client.wake_at) == []
    assert client.wake_at - 43200 > 60
    assert not client.is_listening


def test_any_server_can_rebind():
    client = _bound()
    client.wake(60)
    rebind = _sent(client.wake(105))
    other = IPv4Address("10.9.0.2")
    [bound] = client.receive(_answer(Kind.ACK, rebind, {54: other.packed}), b"\2\0\0\0\0\3", 105)

    assert isinstance(bound, Bound)
    assert (bound.lease.server, bound.lease.server_mac) == (other, b"\2\0\0\0\0\3")
    assert str(bound.lease.gateway) == "10.9.0.1"


@pytest.mark.parametrize("state", [State.RENEWING, State.REBINDING])
def test_a_lease_that_is_taken_back_is_lost(state):
    client = _bound()
    lease = _lease(client)
    asked = _sent(client.wake(60 if state is State.RENEWING else 105))
    assert client.state is state

    [lost] = client.receive(_answer(Kind.NAK, asked, {56: b"moved"}), SERVER_MAC, 106)

    assert lost == Lost(lease, "10.9.0.1 took it back: moved")
    assert client.wake_at == math.inf


def test_another_address_in_a_renewal_is_the_end_of_the_lease():
    client = _bound()
    asked = _sent(client.wake(60))
    other = _answer(Kind.ACK, asked, yiaddr=IPv4Address("10.9.0.99"))

    [lost] = client.receive(other, SERVER_MAC, 60)

    assert isinstance(lost, Lost)
    assert lost.reason == "10.9.0.1 gives 10.9.0.99 instead"


# Another process's lease


def test_a_lease_is_resumed_where_it_stands():
    lease = _lease(_bound())
    for now, mac in ((10, None), (70, SERVER_MAC), (110, EVERYBODY)):
        client = _client()
        assert client.resume(lease, now) == []
        sent = client.wake(now)
        assert [action.mac for action in sent if isinstance(action, Send)] == [mac] * len(sent)
        assert bool(sent) == bool(mac)


def test_a_lease_that_expired_meanwhile_is_asked_for_once_more_before_it_is_lost():
    lease = _lease(_bound())
    client = _client()
    client.resume(lease, 1000)
    asked = _sent(client.wake(1000))
    assert asked.mac == EVERYBODY

    actions: list[Action] = []
    while client.lease:
        actions = client.wake(client.wake_at)
    [lost] = actions
    assert isinstance(lost, Lost)


def test_a_lease_survives_the_disk():
    lease = _lease(_bound())
    for one in (lease, _lease(_bound(_51=b"\xff" * 4))):
        assert Lease.from_wire(Fields.of(json.loads(json.dumps(one.to_wire())))) == one
    assert Wishes.from_wire(Fields(WISHES.to_wire())) == WISHES
    assert Holder.from_wire(Fields(HOLDER.to_wire())) == HOLDER
    for broken in ({}, lease.to_wire() | {"serverMAC": "x"}, lease.to_wire() | {"since": "now"}):
        with pytest.raises(CniError):
            Lease.from_wire(Fields(broken))


# Giving it back


def test_a_release_names_the_address_and_the_server_and_comes_from_that_address():
    client = _bound()
    sent = client.release()

    assert sent
    assert (sent.source, sent.destination, sent.mac) == (ADDRESS, SERVER, SERVER_MAC)
    assert sent.message.ciaddr == ADDRESS
    assert sent.message.options == {
        Option.MESSAGE_TYPE: bytes((Kind.RELEASE,)),
        Option.SERVER_ID: SERVER.packed,
        Option.CLIENT_ID: b"\0c1/demo/eth0",
    }
    assert client.state is State.ENDED
    assert client.release() is None


def test_what_was_requested_and_not_yet_confirmed_is_released_too():
    client = _client()
    discover = _sent(client.start(0))
    client.receive(_answer(Kind.OFFER, discover), SERVER_MAC, 0)
    sent = client.release()
    assert sent
    assert sent.message.ciaddr == ADDRESS

    only_looking = _client()
    only_looking.start(0)
    assert only_looking.release() is None


def test_a_client_id_is_cut_where_the_reference_cuts_it():
    long = Holder("n" * 200, "c" * 100, "eth0")
    assert long.client_id == b"\0" + f"{'c' * 100}/{'n' * 200}/eth0".encode()[:254]
