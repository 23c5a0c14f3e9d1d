"""How plugins mark what they make on the host, so that DEL and GC find it and nothing else.

The reference's nftables comment: two hashes, of the network and of the attachment, then
both in words.  Rules carry it as their comment, links as their alias.
"""

from podnet_plugins.hashes import sha512

_HASH = 16
_LONGEST = 128


def _hashed(text: str) -> str:
    return sha512(text.encode()).hexdigest()[:_HASH]


def network_prefix(network: str) -> str:
    """Return what the marks of everything on *network* begin with."""
    return f"{_hashed(network)}-"


def prefix(network: str, container_id: str, ifname: str) -> str:
    """Return what the marks of one attachment begin with."""
    return network_prefix(network) + _hashed(f"{ifname}:{container_id}")


def mark(network: str, container_id: str, ifname: str) -> str:
    """Return the mark of one attachment."""
    words = f", net: {network}, if: {ifname}, id: {container_id}".replace('"', "")
    return (prefix(network, container_id, ifname) + words)[:_LONGEST]


def is_stale(found: str, network: str, valid: set[tuple[str, str]]) -> bool:
    """Tell whether *found* is a mark on *network* of an attachment that is not *valid*."""
    if not found.startswith(network_prefix(network)):
        return False
    return not any(found.startswith(prefix(network, cid, ifname)) for cid, ifname in valid)
