"""STATUS for the bridge plugin: what a bridge that is there means for the next ADD and its containers.

A bridge that is not there says nothing: ADD makes it.  Looks; changes nothing.
"""

from collections.abc import Iterable
from ipaddress import ip_interface

from podnet.cni.errors import CniError, Code
from podnet.kernel import addresses, links
from podnet.kernel.addresses import Interface
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet_plugins import bridge_host, forwarding, host_local_config
from podnet_plugins.bridge_config import BridgeConfig
from podnet_plugins.host_local_config import HostLocalConfig
from podnet_plugins.ranges import RangeSet
from podnet_plugins.schema import read
from podnet_plugins.skel import Call

_HOST_LOCAL = "host-local"


def require_possible(call: Call, config: BridgeConfig) -> None:
    """Check that the next ADD is not certain to fail.

    Raises:
        CniError: Code 50: the name is another link's, or the bridge is another network's gateway.
    """
    gateways = _gateways(call)  # IPAM's own configuration has codes of its own
    try:
        with Netlink() as netlink:
            _require_possible(netlink, call, config, gateways)
    except CniError as exc:
        raise CniError(exc.msg, exc.details, code=Code.NOT_AVAILABLE) from exc


def _require_possible(
    netlink: Netlink, call: Call, config: BridgeConfig, gateways: list[list[Interface]]
) -> None:
    bridge = links.find(netlink, config.name)
    if bridge is None:
        return
    bridge_host.require(bridge)
    gateway = _gateway(netlink, call, config)
    if gateway is None or config.force_address:
        return
    present = [one.interface for one in addresses.of(netlink, gateway.index)]
    for alternatives in gateways:
        _require_one(gateway.name, present, alternatives)


def _gateway(netlink: Netlink, call: Call, config: BridgeConfig) -> Link | None:
    """Return the link with the gateway's addresses, where there is to be one and is."""
    wanted = config.gateway and call.ipam_type
    return links.find(netlink, config.gateway_name) if wanted else None


def _gateways(call: Call) -> list[list[Interface]]:
    """Return which gateways an ADD will need: of each list, one; what only IPAM knows is left out."""
    if call.ipam_type != _HOST_LOCAL:
        return []
    ipam = read(HostLocalConfig, call.config, host_local_config.SECTION)
    # A capability may still bring the only ranges.
    sets: Iterable[RangeSet] = ipam.range_sets() if ipam.subnet or ipam.ranges else ()
    return [[ip_interface(f"{r.gateway}/{r.subnet.prefixlen}") for r in one.ranges] for one in sets]


def _require_one(name: str, present: list[Interface], alternatives: list[Interface]) -> None:
    refusals = [bridge_host.refusal(name, present, address) for address in alternatives]
    if (first := next(iter(refusals), None)) and all(refusals):
        raise first


def require_connectivity(call: Call, config: BridgeConfig) -> None:
    """Check that containers on the bridge, if there are any, are not cut off.

    An ADD would mend it; without containers it is what a machine is like before the first.

    Raises:
        CniError: Code 51: it is down, or the host does not forward for its gateway.
    """
    with Netlink() as netlink:
        bridge = links.find(netlink, config.name)
        if bridge is None:
            return
        families = {int(one.version) for needed in _gateways(call) for one in needed}
        wrong = _what_is_wrong(netlink, bridge, _gateway(netlink, call, config), families)
        if wrong and any(map(_is_container, bridge_host.ports(netlink, bridge))):
            raise CniError(
                wrong,
                f"containers on {bridge.name} are cut off; the next ADD would mend it",
                code=Code.LIMITED_CONNECTIVITY,
            )


def _what_is_wrong(netlink: Netlink, bridge: Link, gateway: Link | None, families: set[int]) -> str:
    if not bridge.up:
        return f"bridge {bridge.name} is down"
    if gateway is None:
        return ""
    if not gateway.up:
        return f"the gateway's interface {gateway.name} is down"
    given = (one.interface for one in addresses.of(netlink, gateway.index))
    present = {int(one.version) for one in given if not one.ip.is_link_local}
    off = forwarding.missing(present & families if families else present)
    # An address of the other family may be there for no container's sake.
    cut_off = bool(off) if families else len(off) == len(present)
    return f"the host does not forward: {', '.join(off)} is off" if off and cut_off else ""


def _is_container(port: Link) -> bool:
    """Tell whether a port is a pair's end whose other end is elsewhere; the gateway's own is not."""
    return port.kind == "veth" and port.peer_namespace is not None
