"""What a string of a configuration may be, by a word of JSON Schema's ``format``.

Pure.  Plugins read their keys by these words, and lint holds files to them, so that the two
cannot disagree.  Knows what a string is on its own; what it means beside others is the plugin's.
"""

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network

from podnet.cni import names
from podnet.cni.errors import CniError
from podnet.cni.result import parse_address, parse_cidr

IFNAME, IP, CIDR, SUBNET, MAC = "ifname", "ip", "cidr", "subnet", "mac"
# Of a /31 and a /127 nothing is left between network and broadcast address.
_BITS_LEFT = 2
_HARDWARE_ADDRESS = re.compile(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}")
# What JSON can write and neither a path nor an interface's name can hold.
_UNFIT = re.compile("[\0\ud800-\udfff]")


def unfit(text: str) -> str:
    """Return why the system could not be told *text*; "" if it could."""
    found = _UNFIT.search(text)
    if found is None:
        return ""
    return "has a NUL in it" if found[0] == "\0" else "has half a surrogate pair in it"


def problem(word: str, text: str) -> str:
    """Return why *text* is not of a format, "" if it is; a word that nobody knows forbids nothing.

    Nothing is of every format: whether there must be something is another question.
    """
    return _CHECKS[word](text) if text and word in _CHECKS else ""


def _ifname(text: str) -> str:
    try:
        names.check_ifname(text)
    except CniError as exc:
        return exc.msg
    return ""


def _ip(text: str) -> str:
    try:
        parse_address(text, "")
    except CniError:
        return "no IP address"
    return ""


def _cidr(text: str) -> str:
    try:
        parse_cidr(text, "")
    except CniError:
        return "no address with a prefix length, like 10.1.0.5/24"
    return ""


def _subnet(text: str) -> str:
    """What addresses can be assigned from: a network, and not its smallest."""
    try:
        subnet = ip_network(text, strict=False)
        address = ip_address(text.partition("/")[0])
    except ValueError:
        return "no subnet, which reads like 10.1.0.0/24"
    if "/" not in text:
        return "the prefix length is missing"
    if subnet.max_prefixlen - subnet.prefixlen < _BITS_LEFT:
        return f"Network {subnet} too small to allocate from"
    if address != subnet.network_address:
        return (
            f"Network has host bits set. For a subnet mask of length {subnet.prefixlen} "
            f"the network address is {subnet.network_address}"
        )
    return ""


def _mac(text: str) -> str:
    return "" if _HARDWARE_ADDRESS.fullmatch(text) else "no hardware address"


_CHECKS: Mapping[str, Callable[[str], str]] = {
    IFNAME: _ifname,
    IP: _ip,
    CIDR: _cidr,
    SUBNET: _subnet,
    MAC: _mac,
}
