"""The container's link under a DHCP client: is it there, is it up, packets in and out of it.

Enters the namespace for each of these and leaves it again; no socket stays open while nothing
is awaited, since a socket would keep alive a namespace that everybody else has let go.
"""

import os
from dataclasses import dataclass
from ipaddress import IPv4Interface

from podnet.cni.errors import CniError, DecodeError
from podnet.cni.wire import Fields
from podnet.kernel import addresses, links, namespaces
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet.kernel.packets import Packets
from podnet_plugins import container, dhcp_packet, pairs
from podnet_plugins.dhcp_actions import Send
from podnet_plugins.dhcp_packet import Message, PacketError


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerLink:
    """A link that was found in a container.

    Attributes:
        netns: The namespace's path, as the runtime gave it.
        identity: Which namespace that was.
        ifname: The link's name.
        index: Its number.
        mac: Its hardware address, when it was found.
    """

    netns: str
    identity: tuple[int, int]
    ifname: str
    index: int
    mac: bytes

    @classmethod
    def from_wire(cls, fields: Fields) -> "ContainerLink":
        """Read it.

        Raises:
            DecodeError: A field is missing or something else.
        """
        device, inode, index = (fields.number(key) for key in ("device", "inode", "index"))
        if device is None or inode is None or index is None:
            raise DecodeError(f"{fields.where or 'a link'} lacks device, inode or index")
        return cls(
            netns=fields.text("netns"),
            identity=(device, inode),
            ifname=fields.text("ifname"),
            index=index,
            mac=_mac(fields.text("mac")),
        )

    def to_wire(self) -> dict[str, object]:
        """Return it as an object."""
        device, inode = self.identity
        return {
            "netns": self.netns,
            "device": device,
            "inode": inode,
            "ifname": self.ifname,
            "index": self.index,
            "mac": self.mac.hex(":"),
        }


def _mac(text: str) -> bytes:
    try:
        return links.mac_bytes(text)
    except ValueError as exc:
        raise DecodeError(str(exc)) from None


def find(netns: str, ifname: str, *, prefix: str = "") -> tuple[ContainerLink, bool]:
    """Return the link called *ifname* in a container, and whether it is up.

    Args:
        netns: The namespace's path.
        ifname: The link's name.
        prefix: What to put before the path, where the host's files are elsewhere.

    Raises:
        CniError: There is no such namespace or link, or it is none that DHCP works on.
    """
    path = prefix + netns
    with container.entered(path), Netlink() as netlink:
        link = pairs.named(netlink, ifname)
        try:
            mac = links.mac_bytes(link.mac)
        except ValueError:
            raise CniError(f"{ifname} has no Ethernet address, and DHCP needs one") from None
    found = ContainerLink(
        netns=netns,
        identity=namespaces.identity(path),
        ifname=ifname,
        index=link.index,
        mac=mac,
    )
    return found, link.up


def is_there(link: ContainerLink, address: IPv4Interface | None, *, prefix: str = "") -> bool:
    """Tell whether a link still exists.

    Its hardware address may have been changed since, by tuning; then the *address* tells that
    it has on lease.
    """
    path = prefix + link.netns
    try:
        if not namespaces.is_namespace(path) or namespaces.identity(path) != link.identity:
            return False
        with namespaces.entered(path), Netlink() as netlink:
            found = links.find(netlink, link.ifname)
            if found is None or found.index != link.index:
                return False
            return found.mac == link.mac.hex(":") or _has(netlink, found, address)
    except FileNotFoundError:  # it went while we looked
        return False


def _has(netlink: Netlink, link: Link, address: IPv4Interface | None) -> bool:
    return any(one.interface == address for one in addresses.of(netlink, link.index, 4))


def set_up(link: ContainerLink, *, up: bool = True, prefix: str = "") -> None:
    """Set the link up or down.

    Raises:
        OSError: It is gone.
    """
    with namespaces.entered(prefix + link.netns), Netlink() as netlink:
        links.set_up(netlink, link.index, up=up)


def listen(link: ContainerLink, *, prefix: str = "") -> Packets:
    """Return the packets to a DHCP client on the link.

    Raises:
        OSError: The link is gone.
    """
    with namespaces.entered(prefix + link.netns):
        return Packets(link.ifname, dhcp_packet.CLIENT_PORT)


def send(packets: Packets, what: Send) -> None:
    """Send a message.

    Raises:
        OSError: The link is down or gone.
    """
    packed = what.message.packed()
    packets.send(dhcp_packet.datagram(packed, what.source, what.destination), what.mac)


def receive(packets: Packets) -> tuple[Message, bytes] | None:
    """Return the next message and its sender's hardware address; ``None``: none, or damaged.

    Raises:
        OSError: The link went down or is gone.
    """
    received = packets.receive()
    if received is None:
        return None
    packet, sender, has_checksum = received
    try:
        return Message.unpacked(dhcp_packet.payload_of(packet, verify=has_checksum)), sender
    except PacketError:  # anybody may send anything to a port
        return None


def send_once(link: ContainerLink, what: Send, *, prefix: str = "") -> None:
    """Send a message that has no answer.

    Raises:
        OSError: The link is down or gone.
    """
    if namespaces.identity(prefix + link.netns) != link.identity:
        raise ProcessLookupError(f"{link.netns} is another namespace now")
    with listen(link, prefix=prefix) as packets:
        send(packets, what)


def chance() -> float:
    """Return a number from 0 to 1 that nobody on the network can guess (random costs 8 ms)."""
    return int.from_bytes(os.urandom(4), "big") / (1 << 32)
