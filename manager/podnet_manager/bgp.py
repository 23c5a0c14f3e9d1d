"""What BIRD is told: which routes this Node announces, to whom, and whose it takes.  Pure.

Nodes speak to each other, or all of them to one route reflector, which may be one of them or
a router.  Routes go to the kernel under a metric of ours, and stay there while BIRD does not
run (graceful restart here, ``persist`` there).
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from podnet_manager.backend import Bgp
from podnet_manager.lease import Attributes, Lease, Subnets
from podnet_manager.netconf import NetConf
from podnet_manager.pool import Pool
from podnet_manager.uplink import Uplink

#: The metric of the routes that our BIRD sets, which tells them from those of others.
METRIC = 109
_BACKEND = "bgp"
_LOG_LIMIT = 1_000_000
# Seconds.  Who finds nobody tries again soon; whose session breaks is believed in for a while.
_HOLD, _CONNECT, _RETRY, _ERROR_FIRST, _ERROR_MOST, _RECOVERY, _STALE = 30, 1, 3, 1, 10, 15, 120

Address = IPv4Address | IPv6Address


def address(attributes: Attributes, family: int) -> Address | None:
    """Return where a Node is spoken to, in family 4 or 6."""
    return attributes.public_ip if family == 4 else attributes.public_ipv6  # noqa: PLR2004


def sessions(
    backend: Bgp, own: Attributes, peers: Iterable[Lease], family: int
) -> tuple[list[Address], bool]:
    """Return whom this Node speaks to, in order, and whether it reflects what they say."""
    reflector = backend.reflectors.get(family)
    if reflector is not None and reflector != address(own, family):
        return [reflector], False
    found = {
        there
        for lease in peers
        if lease.attributes.backend_type == _BACKEND
        if (there := address(lease.attributes, family)) is not None
    }
    return sorted(found, key=int), reflector is not None


def configuration(
    conf: NetConf, uplink: Uplink, own: tuple[Subnets, Attributes], peers: Iterable[Lease], *,
    scan: int, log: Path,
) -> str:  # fmt: skip
    """Return BIRD's configuration.

    Args:
        conf: The network; its backend is Bgp.
        uplink: The link to the others.
        own: What this Node leases, and what it is known by.
        peers: The leases of the others.
        scan: Seconds between BIRD's looks at the kernel.
        log: Where it writes what is wrong.
    """
    assert isinstance(conf.backend, Bgp)  # noqa: S101  who calls knows
    subnets, attributes = own
    others = list(peers)
    lines = [
        "# Written by podnet-manager, again and again.",
        f'log "{log}" {_LOG_LIMIT} "{log}.old" {{ warning, error, fatal, bug }};',
        f"router id {uplink.ipv4 or _router_id(attributes)};",
        f"graceful restart wait {_RECOVERY};",
        f"protocol device {{ scan time {scan}; }}",
        f'protocol direct {{ ipv4; ipv6; interface "{uplink.name}"; }}',
    ]
    for subnet, pool in zip(subnets.each, conf.pools, strict=True):
        family = subnet.version
        lines += _kernel(family, scan)
        lines.append(f"protocol static own{family} {{ ipv{family}; route {subnet} blackhole; }}")
        neighbours, reflects = sessions(conf.backend, attributes, others, family)
        local = address(attributes, family)
        if local is not None:
            lines += _template(conf.backend, local, pool, reflects=reflects)
            lines += _neighbours(conf.backend, (n for n in neighbours if uplink.is_on_link(n)))
    return "".join(f"{line}\n" for line in lines)


def _router_id(attributes: Attributes) -> IPv4Address:
    """Return an identity for a Node without IPv4: the end of its IPv6 address will differ."""
    return attributes.public_ip or IPv4Address(int(attributes.public_ipv6 or 1) & 0xFFFFFFFF or 1)


def _kernel(family: int, scan: int) -> Iterator[str]:
    yield f"protocol kernel kernel{family} {{"
    yield f"  persist; graceful restart; metric {METRIC}; scan time {scan};"
    yield f"  ipv{family} {{ import none; export where source = RTS_BGP; }};"
    yield "}"


def _template(backend: Bgp, local: Address, pool: Pool, *, reflects: bool) -> Iterator[str]:
    family, length = local.version, pool.subnet_len
    ours = f"net ~ [ {pool.network}{{{length},{length}}} ]"
    said = "source ~ [ RTS_STATIC, RTS_BGP ]" if reflects else "source = RTS_STATIC"
    yield f"template bgp peer{family} {{"
    yield f"  local {local} port {backend.port} as {backend.asn};"
    yield f"  direct; hold time {_HOLD};"
    yield f"  connect delay time {_CONNECT}; connect retry time {_RETRY};"
    yield f"  error wait time {_ERROR_FIRST}, {_ERROR_MOST};"
    yield f"  graceful restart on; graceful restart time {_STALE};"
    if reflects:
        yield "  rr client;"
    yield f"  ipv{family} {{ import where {ours}; export where {said} && {ours}; }};"
    yield "}"


def _neighbours(backend: Bgp, neighbours: Iterable[Address]) -> Iterator[str]:
    for there in neighbours:
        name = f"n{int(there):x}"
        yield (
            f"protocol bgp {name} from peer{there.version} "
            f"{{ neighbor {there} port {backend.port} as {backend.asn}; }}"
        )
