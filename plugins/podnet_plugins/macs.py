"""Which hardware address an interface is to have."""

import os

from podnet.cni.errors import InvalidConfigError
from podnet.kernel import links
from podnet_plugins.skel import Call, known_args


def made_up() -> str:
    """Return a random address, of those that nobody assigns.

    A link that is made with an address keeps it: systemd's .link policies give one of their own
    only to a link whose address was the kernel's choice, and plugins have told of the old one by then.
    """
    first, *others = os.urandom(6)
    return bytes([first & 0xFC | 0x02, *others]).hex(":")


def asked_for(call: Call, configured: str = "", capability: str = "") -> str:
    """Return the address: the configuration's, CNI_ARGS', the capability's; the last one given.

    Raises:
        CniError: It is no hardware address, or CNI_ARGS has what nobody knows.
    """
    mac = capability or known_args(call, "MAC").get("MAC", "") or configured
    if mac:
        try:
            links.mac_bytes(mac)
        except ValueError as exc:
            raise InvalidConfigError(f"invalid args {mac} for MAC addr: {exc}") from None
    return mac
