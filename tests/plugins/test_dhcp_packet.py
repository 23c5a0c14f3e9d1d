"""The DHCP packets: there and back, and as others make them (pure).

The golden packets are from a wire: the reference's client (1.1.1) asking dnsmasq 2.90.
"""

import struct
from ipaddress import IPv4Address, IPv4Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podnet.cni.errors import CniError
from podnet.cni.result import Route
from podnet_plugins import dhcp_options, dhcp_packet
from podnet_plugins.dhcp_options import Kind, Option
from podnet_plugins.dhcp_packet import Message, PacketError

MAC = bytes.fromhex("020000000005")
REST_OF_BOOTP = "00" * (10 + 64 + 128)
DISCOVER = bytes.fromhex(
    "4500012cfd0000001011acc100000000ffffffff004400430118000001010600"
    "03d9ff8b00000000000000000000000000000000000000000200000000050000"
    f"{REST_OF_BOOTP[4:]}"
    "6382536335010137037903013d0d0063312f64656d6f2f657468300c03776562ff000000"
)
ACK = bytes.fromhex(
    "45c00151218500004011432e0a0900010a09001700430044013d157802010600"
    "03d9ff8b00000000000000000a0900170a090001000000000200000000050000"
    f"{REST_OF_BOOTP[4:]}"
    "6382536335010536040a0900013304000000783a040000003c3b0400000069"
    "0104ffffff001c040a0900ff03040a0900017915100a140a09000719c0a80700"
    "00000000000a090001ff"
)

addresses = st.integers(0, 0xFFFFFFFF).map(IPv4Address)
options = st.dictionaries(
    st.integers(1, 254).filter(lambda number: number != 52), st.binary(max_size=600), max_size=8
)
messages = st.builds(
    Message,
    op=st.sampled_from([dhcp_packet.REQUEST, dhcp_packet.REPLY]),
    xid=st.integers(0, 0xFFFFFFFF),
    secs=st.integers(0, 0xFFFF),
    broadcast=st.booleans(),
    ciaddr=addresses,
    yiaddr=addresses,
    siaddr=addresses,
    giaddr=addresses,
    chaddr=st.binary(min_size=6, max_size=6),
    options=options,
)


@given(messages)
def test_a_message_survives_the_wire(message):
    assert Message.unpacked(message.packed()) == message


@given(st.binary(max_size=400), addresses, addresses)
def test_a_datagram_has_right_lengths_and_checksums(payload, source, destination):
    packet = dhcp_packet.datagram(payload, source, destination)

    assert dhcp_packet.checksum(packet[:20]) == 0
    pseudo = packet[12:20] + struct.pack("!BBH", 0, 17, len(packet) - 20)
    assert dhcp_packet.checksum(pseudo + packet[20:]) == 0
    assert struct.unpack_from("!HxxxxxxxxxxxxxxxxHHH", packet, 2) == (
        len(packet),
        68,
        67,
        len(payload) + 8,
    )


@given(st.binary(max_size=700))
def test_any_bytes_are_a_message_or_an_error(data):
    for read in (Message.unpacked, dhcp_packet.payload_of):
        try:
            read(data)
        except PacketError:
            continue


@given(st.dictionaries(st.integers(0, 255), st.binary(max_size=80)))
def test_any_options_mean_something_or_nothing(values):
    dhcp_options.routes(values)
    dhcp_options.kind(values)
    prefix = dhcp_options.prefix_length(values)
    assert prefix is None or 0 <= prefix <= 32


def test_the_reference_s_discover_is_read_and_written_alike():
    message = Message.unpacked(DISCOVER[28:])

    assert (message.op, message.xid, message.chaddr) == (1, 0x03D9FF8B, MAC)
    assert message.options == {
        Option.MESSAGE_TYPE: bytes((Kind.DISCOVER,)),
        Option.PARAMETERS: bytes((121, 3, 1)),
        Option.CLIENT_ID: b"\0c1/demo/eth0",
        Option.HOST_NAME: b"web",
    }
    assert message.packed().rstrip(b"\0") == DISCOVER[28:].rstrip(b"\0")


def test_dnsmasq_s_acknowledgement_is_read():
    # It never left the machine, and has no UDP checksum yet: only half of one.
    with pytest.raises(PacketError, match="a wrong UDP checksum"):
        dhcp_packet.payload_of(ACK)
    message = Message.unpacked(dhcp_packet.payload_of(ACK + b"padding", verify=False))

    assert (message.op, message.yiaddr, message.siaddr) == (
        2,
        IPv4Address("10.9.0.23"),
        IPv4Address("10.9.0.1"),
    )
    assert dhcp_options.kind(message.options) == Kind.ACK
    assert dhcp_options.prefix_length(message.options) == 24
    assert dhcp_options.address(message.options, Option.ROUTERS) == IPv4Address("10.9.0.1")
    assert [
        dhcp_options.seconds(message.options, option)
        for option in (Option.T1, Option.T2, Option.LEASE_TIME)
    ] == [60, 105, 120]
    assert dhcp_options.routes(message.options) == (
        Route(IPv4Interface("10.20.0.0/16"), IPv4Address("10.9.0.7")),
        Route(IPv4Interface("192.168.7.0/25"), scope=253),
        Route(IPv4Interface("0.0.0.0/0"), IPv4Address("10.9.0.1")),
    )


def _flipped(at: int) -> bytes:
    payload = Message(xid=1, chaddr=MAC).packed()
    good = bytearray(dhcp_packet.datagram(payload, IPv4Address(1), IPv4Address(2)))
    good[22:24] = (68).to_bytes(2, "big")  # to a client, as the checks want it
    good[26:28] = b"\0\0"
    good[at] ^= 1
    return bytes(good)


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (ACK[:10], "shorter"),
        (ACK[:100], "wrong length"),
        (_flipped(1), "checksum in the IP header"),
        (_flipped(6), "not a whole UDP"),
        (_flipped(9), "not a whole UDP"),
        (_flipped(23), "not for a DHCP client"),
        (_flipped(25), "wrong length"),
        (_flipped(26), "wrong UDP checksum"),
    ],
)
def test_what_is_damaged_or_not_for_us_is_refused(packet, said):
    with pytest.raises(PacketError, match=said):
        dhcp_packet.payload_of(packet)


def test_a_datagram_without_a_checksum_is_taken():
    good = _flipped(0)
    assert dhcp_packet.payload_of(bytes((good[0] ^ 1,)) + good[1:])[:1] == b"\1"


def test_options_overflow_into_the_fields_of_a_boot():
    plain = bytearray(Message(xid=1, chaddr=MAC, options={52: b"\3", 12: b"we"}).packed())
    plain[44:49] = b"\x0c\1b\xff\0"  # sname
    plain[108:115] = b"\0\x0c\2ta\xff\xff"  # file, which is read first

    assert Message.unpacked(bytes(plain)).options == {12: b"wetab"}


def test_an_option_that_is_cut_off_is_an_error():
    with pytest.raises(PacketError, match="option 12 is cut off"):
        Message.unpacked(DISCOVER[28 : 28 + 240] + b"\x0c\x05web")


def test_static_routes_are_of_classful_networks_and_before_the_default():
    found = dhcp_options.routes(
        {
            Option.STATIC_ROUTES: bytes((10, 0, 0, 0, 10, 9, 0, 7, 192, 168, 7, 0, 10, 9, 0, 8, 1)),
            Option.ROUTERS: bytes((10, 9, 0, 1, 10, 9, 0, 2)),
        }
    )

    assert [(str(route.dst), str(route.gw)) for route in found] == [
        ("10.0.0.0/8", "10.9.0.7"),
        ("192.168.7.0/24", "10.9.0.8"),
        ("0.0.0.0/0", "10.9.0.1"),
    ]


@pytest.mark.parametrize(
    ("mask", "length"),
    [
        ("255.255.255.255", 32),
        ("255.0.0.0", 8),
        ("0.0.0.0", 0),
        ("0.0.0.255", None),
        ("255.0.255.0", None),
    ],
)
def test_a_mask_has_a_length_or_holes(mask, length):
    options = {int(Option.SUBNET_MASK): IPv4Address(mask).packed}
    assert dhcp_options.prefix_length(options) == length


def test_options_have_numbers_and_names():
    assert [dhcp_options.number(text) for text in ("host-name", "routers", "255", "0")] == [
        12,
        3,
        255,
        0,
    ]
    for wrong in ("", "256", "-1", "hostname", "1.0", "²"):
        with pytest.raises(CniError, match="is no DHCP option"):
            dhcp_options.number(wrong)
