"""Whether the node's lease is still the one that its containers and their bridge were made for.

A bridge keeps its address, and containers keep theirs, when a node is given another subnet:
nothing is routed to them any more.  Looks; changes nothing.
"""

from podnet.cni.errors import CniError, Code
from podnet.kernel import addresses, links
from podnet.kernel.netlink import Netlink
from podnet_plugins import flannel_env
from podnet_plugins.flannel_config import BRIDGE, HOST_LOCAL, Delegated
from podnet_plugins.flannel_env import Network, SubnetEnvError
from podnet_plugins.skel import log


def check_container(told: Delegated, subnet_file: str) -> None:
    """Check that the node still leases what a container's address is of.

    Raises:
        CniError: It leases another subnet.
    """
    try:
        leased = tuple(map(str, flannel_env.load(subnet_file).subnets))
    except SubnetEnvError as exc:  # the container is well; STATUS has more to say
        log(f"flannel: the lease is not checked: {exc}")
        return
    if told.subnets and told.subnets != leased:
        raise CniError(
            f"the container is of subnet {', '.join(told.subnets)}, and the node now leases "
            f"{', '.join(leased)}",
            "nothing is routed to it any more: make it again",
        )


def check_bridge(told: Delegated, subnets: tuple[Network, ...]) -> None:
    """Check that a delegate's bridge, if there is one, has the address of the lease.

    Raises:
        CniError: Code 51: who hangs on it has no way out, and no ADD will succeed.
    """
    fields, ipam = told.fields, told.fields.child("ipam")
    gateway = fields.flag("isGateway") or fields.flag("isDefaultGateway")
    if told.type != BRIDGE or not gateway or not ipam or ipam.text("type") != HOST_LOCAL:
        return
    with Netlink() as netlink:
        bridge = links.find(netlink, fields.text("bridge") or "cni0")
        if bridge is None:
            return
        present = [one.interface for one in addresses.of(netlink, bridge.index)]
    for subnet in subnets:
        wanted = f"{subnet.network_address + 1}/{subnet.prefixlen}"
        others = [
            str(address)
            for address in present
            if address.version == subnet.version and not address.ip.is_link_local
        ]
        if others and wanted not in others:
            raise CniError(
                f"{bridge.name} has {', '.join(others)}, and the node now leases {subnet}",
                f"containers on {bridge.name} are cut off: make them again, after "
                f"`ip link delete {bridge.name}`",
                code=Code.LIMITED_CONNECTIVITY,
            )
