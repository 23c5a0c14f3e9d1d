"""A link that loses packets, and one that is slow: by nft and by a token bucket.

Everything here runs on a thread of the link's Node.  There is no ``netem`` in many kernels;
what is here can neither delay nor reorder.
"""

from podnet.errors import MissingError, PodnetError
from podnet.kernel import firewall, links, traffic
from podnet.kernel.firewall import NftError
from podnet.kernel.netlink import Netlink
from podnet.kernel.traffic import TokenBucket

_TABLE = "podnet_loss_"
_OF = 10_000  # packets are lost by the hundredth of a percent
_BURST = 16 * 1024 * 8  # bits, some packets


def put(link: str, *, loss: float, rate: int) -> None:
    """Lose *loss* percent of what a link sends and receives; send at most *rate* bits per second.

    Raises:
        MissingError: The kernel cannot, or nft is missing.
    """
    if loss:
        try:
            firewall.apply(_lossy(link, loss))
        except NftError as exc:
            message = "this kernel cannot lose packets of a link (nftables: netdev, numgen)"
            raise MissingError(message, str(exc)) from exc
    if rate:
        with Netlink() as netlink:
            found = links.find(netlink, link)
            if found is None:
                raise PodnetError(f"there is no link {link} to slow down")
            traffic.add_token_bucket(netlink, found.index, TokenBucket.of(rate=rate, burst=_BURST))


def remove(link: str) -> None:
    """Undo :func:`put`, whatever of it there is."""
    name = _TABLE + link
    if firewall.table_rules("netdev", name) is not None:
        firewall.apply(f"delete table netdev {name}\n")
    with Netlink() as netlink:
        found = links.find(netlink, link)
        if found is not None:
            traffic.delete_token_bucket(netlink, found.index)


def _lossy(link: str, loss: float) -> str:
    """Return nft's words for it."""
    chance = f"numgen random mod {_OF} < {round(loss * _OF / 100)} drop"
    chains = "".join(
        f"  chain {hook} {{\n"
        f'    type filter hook {hook} device "{link}" priority 0; policy accept;\n'
        f"    {chance}\n  }}\n"
        for hook in ("ingress", "egress")
    )
    return f"table netdev {_TABLE}{link} {{\n{chains}}}\n"
