"""What the kernel of one network namespace holds, as plain values: one frozenset of facts.

Links, addresses, routes of all tables, policy rules, neighbours and forwarding entries that
somebody set, queues and filters, nftables, iptables, IP sets, sysctls.  Not connections, which
come and go with traffic, and not what the kernel adds by itself a moment later (link-local
addresses, the routes of a table that follow from them).  Reads, and changes nothing; costs a
few milliseconds, most of it for sysctls.  Acts in the namespace of the calling thread.
"""

from itertools import chain

from podnet.kernel import (
    snapshot_links,
    snapshot_routes,
    snapshot_rulesets,
    snapshot_sysctls,
    snapshot_traffic,
)
from podnet.kernel.facts import Fact, numbered
from podnet.kernel.netlink import Netlink


def take(where: str = "") -> frozenset[Fact]:
    """Return everything that is so in this network namespace.

    Args:
        where: What its facts say of where they are.

    Raises:
        NetlinkError: The kernel refused to tell.
        PodnetError: So did nft or iptables.
    """
    with Netlink() as netlink:
        links = snapshot_links.every(netlink)
        names = {link.index: link.name for link in links}
        found = chain(
            snapshot_links.facts(netlink, links),
            snapshot_routes.facts(netlink, names),
            snapshot_traffic.facts(netlink, names),
            snapshot_rulesets.facts(),
        )
        return frozenset((*numbered(found, where), *snapshot_sysctls.facts(links, where)))
