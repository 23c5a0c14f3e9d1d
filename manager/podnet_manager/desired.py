"""What a Node's kernel must hold for the leases of the others.  Pure: knows no kernel.

The same question for every backend, as routes, neighbours and forwarding entries; who
compares them with what is there need not know which backend it was.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from podnet.cni.wire import Fields
from podnet.kernel.neighbours import Forwarding, Neighbour
from podnet.kernel.routes import Route
from podnet_manager.backend import Alloc, Backend, Bgp, HostGw, Vxlan
from podnet_manager.lease import Lease, Subnet
from podnet_manager.uplink import Uplink

#: RTPROT_* of every route that the manager sets, so that it knows its own again.
PROTOCOL = 109
#: The metrics of these routes, by family: what the kernel makes of none.
METRICS = {4: 0, 6: 1024}

Entry = Route | Neighbour | Forwarding


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the entries refer to on this Node.

    Attributes:
        uplink: The link to the others.
        devices: Family to the index of its vxlan link.
        macs: Family to the hardware address of that.
        networks: Of all Nodes; a lease of anything else is somebody's mistake.
        own: The addresses of this Node that another lease could say.
        leased: The subnets of this Node.
    """

    uplink: Uplink
    devices: Mapping[int, int]
    macs: Mapping[int, str]
    networks: Collection[Subnet]
    own: Collection[IPv4Address | IPv6Address] = ()
    leased: Collection[Subnet] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """A lease that nothing can be set for, and why."""

    lease: Lease
    reason: str


def backend_type(backend: Backend) -> str:
    """Return the BackendType that leases of *backend* carry."""
    match backend:
        case Vxlan():
            return "vxlan"
        case HostGw():
            return "host-gw"
        case Bgp():
            return "bgp"
        case Alloc():
            return ""


def entries(
    backend: Backend, peers: Iterable[Lease], here: Surroundings
) -> tuple[set[Entry], list[Skipped]]:
    """Return what the kernel must hold for *peers*, and which of them cannot be reached."""
    found, skipped = set[Entry](), list[Skipped]()
    if isinstance(backend, Alloc):
        return found, skipped
    wanted, of_peer = backend_type(backend), _OF_PEER[type(backend)]
    for lease in peers:
        said = lease.attributes
        ours = [one for one in (said.public_ip, said.public_ipv6) if one and one in here.own]
        if ours:
            reason = f"its public address, {ours[0]}, is this Node's own, which uses another lease"
            skipped.append(Skipped(lease, reason))
            continue
        if said.backend_type != wanted:
            theirs = said.backend_type or "none"
            skipped.append(Skipped(lease, f"its backend is {theirs}, not {wanted}"))
            continue
        for subnet in lease.subnets.each:
            made = _mistake(subnet, here) or of_peer(backend, lease, subnet, here)
            if isinstance(made, str):
                skipped.append(Skipped(lease, made))
            else:
                found |= made
    return found, skipped


def _mistake(subnet: Subnet, here: Surroundings) -> str:
    """Return why nobody should have a lease on *subnet*; "" for no reason."""
    if not any(_is_inside(subnet, network) for network in here.networks):
        return "it is of no network"
    return next((f"it overlaps this Node's, {o}" for o in here.leased if o.overlaps(subnet)), "")


def _is_inside(subnet: Subnet, network: Subnet) -> bool:
    return subnet.version == network.version and subnet.subnet_of(network)  # type: ignore[arg-type]  # of one family


def _of_vxlan(
    backend: Backend, lease: Lease, subnet: Subnet, here: Surroundings
) -> set[Entry] | str:
    assert isinstance(backend, Vxlan)  # noqa: S101  the table below says so
    remote = _public(lease, subnet.version)
    if remote is None:
        return f"it has no public IPv{subnet.version} address"
    if backend.direct_routing and here.uplink.is_on_link(remote):
        return {_route(subnet, remote, here.uplink.index)}
    device = here.devices.get(subnet.version)
    if device is None:
        return f"this Node has no vxlan link for IPv{subnet.version}"
    said = lease.attributes.data if subnet.version == 4 else lease.attributes.v6_data  # noqa: PLR2004
    mac = Fields(said or {}).get("VtepMAC")
    if not isinstance(mac, str) or not _is_mac(mac):
        return f"its VtepMAC is {mac!r}"
    mac, gateway = mac.lower(), subnet.network_address
    if mac == here.macs.get(subnet.version):
        return f"its VtepMAC is this Node's own, {mac}: its --state-dir is a copy"
    return {
        Neighbour(device, gateway, mac),
        Forwarding(device, mac, remote),
        _route(subnet, gateway, device, onlink=True),
    }


def _of_host_gw(_: Backend, lease: Lease, subnet: Subnet, here: Surroundings) -> set[Entry] | str:
    remote = _public(lease, subnet.version)
    if remote is None:
        return f"it has no public IPv{subnet.version} address"
    if not here.uplink.is_on_link(remote):
        return f"{remote} is not on the link {here.uplink.name}, and host-gw needs that"
    return {_route(subnet, remote, here.uplink.index)}


def _of_bgp(backend: Backend, lease: Lease, subnet: Subnet, here: Surroundings) -> set[Entry] | str:
    """Return nothing: the route is BIRD's to set."""
    assert isinstance(backend, Bgp)  # noqa: S101  the table below says so
    spoken_to = backend.reflectors.get(subnet.version) or _public(lease, subnet.version)
    if spoken_to is None:
        return f"it has no public IPv{subnet.version} address"
    if not here.uplink.is_on_link(spoken_to):
        return f"{spoken_to} is not on the link {here.uplink.name}, and bgp needs that"
    return set()


_OF_PEER: Mapping[
    type[Backend], Callable[[Backend, Lease, Subnet, Surroundings], set[Entry] | str]
] = {Vxlan: _of_vxlan, HostGw: _of_host_gw, Bgp: _of_bgp}


def _public(lease: Lease, version: int) -> IPv4Address | IPv6Address | None:
    said = lease.attributes
    return said.public_ip if version == 4 else said.public_ipv6  # noqa: PLR2004


def _route(
    subnet: Subnet, gateway: IPv4Address | IPv6Address, oif: int, *, onlink: bool = False
) -> Route:
    return Route(
        dst=subnet,
        gw=gateway,
        oif=oif,
        onlink=onlink,
        protocol=PROTOCOL,
        priority=METRICS[subnet.version],
    )


def _is_mac(text: str) -> bool:
    parts = text.split(":")
    return len(parts) == 6 and all(  # noqa: PLR2004
        len(part) == 2 and set(part) <= set("0123456789abcdefABCDEF")  # noqa: PLR2004
        for part in parts
    )
