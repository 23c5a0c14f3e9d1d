"""portmap: make ports of the host ports of a container.

Keys, capability and kernel objects are the reference's (containernetworking/plugins,
meta/portmap), but nftables comes first where there is nft, an ADD leaves what it mapped
once however often it is repeated, the last container to ask for a port has it, DEL and GC
remove the rules of either backend, and CHECK misses each single rule.
"""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from podnet.cni.errors import CniError, Code, InvalidConfigError
from podnet.cni.result import Result
from podnet.kernel import conntrack, firewall, routes, sysctl, xtables
from podnet.kernel.netlink import Netlink
from podnet_plugins import failures, portmap_iptables, portmap_nft
from podnet_plugins.portmap_config import (
    IPTABLES,
    NFTABLES,
    Interface,
    PortmapConfig,
    container_addresses,
)
from podnet_plugins.skel import Call, Plugin, log, run


@dataclass(frozen=True, slots=True)
class Backend:
    """What both firewalls can do."""

    name: str
    usable: Callable[[], bool]
    add: Callable[[Call, PortmapConfig, list[Interface]], None]
    missing: Callable[[Call, PortmapConfig, list[Interface]], list[str]]
    delete: Callable[[Call], None]
    gc: Callable[[Call], None]


# The first that is usable is the default.
_BACKENDS = (
    Backend(
        NFTABLES,
        firewall.installed,
        portmap_nft.add,
        portmap_nft.missing,
        portmap_nft.delete,
        portmap_nft.gc,
    ),
    Backend(
        IPTABLES,
        lambda: xtables.available(4) or xtables.available(6),
        portmap_iptables.add,
        portmap_iptables.missing,
        portmap_iptables.delete,
        portmap_iptables.gc,
    ),
)


def add(call: Call) -> Result:
    """Map the ports, and let flows that are under way find them."""
    config = PortmapConfig.of(call)
    result = _previous(call)
    if not config.port_mappings:
        return result
    ips = container_addresses(call, result)
    if not ips:
        log(f"portmap: the result has no address of {call.ifname}; no port is mapped")
        return result
    with ExitStack() as undo:
        with failures.named("portmap"):
            backend = _backend(config)
            backend.add(call, config, ips)
        undo.callback(backend.delete, call)
        for ip in ips:
            if switch := _loopback_switch(config, ip):
                sysctl.write(*switch, value="1")
            _forget_flows(config, ip.version)
        undo.pop_all()
    return result


def check(call: Call) -> None:
    """Check each rule, and that connections from the host's loopback addresses get through."""
    config = PortmapConfig.of(call)
    result = _previous(call)
    ips = container_addresses(call, result)
    if not config.port_mappings or not ips:
        return
    with failures.named("portmap"):
        _check_rules(call, config, ips)
    for ip in ips:
        switch = _loopback_switch(config, ip)
        if switch and sysctl.read(*switch) != "1":
            raise CniError(f"net.{'.'.join(switch)} is not 1 any more")


def delete(call: Call) -> None:
    """Remove the rules, whichever backend made them; what is gone already is no error."""
    config = PortmapConfig.of(call)
    if not config.port_mappings:
        return
    with failures.named("portmap"):
        for backend in _usable():
            backend.delete(call)
    for family in (4, 6):
        _forget_flows(config, family)


def gc(call: Call) -> None:
    """Remove the rules of every attachment that is not valid."""
    PortmapConfig.of(call)
    with failures.named("portmap"):
        for backend in _usable():
            backend.gc(call)


def status(call: Call) -> None:
    """Say whether an ADD could succeed: the backend has to be there."""
    config = PortmapConfig.of(call)
    with failures.named("portmap"):
        backend = _backend(config)
    if backend.name == NFTABLES and not firewall.available():
        raise CniError("portmap needs nft, and it cannot be run", code=Code.NOT_AVAILABLE)


def _check_rules(call: Call, config: PortmapConfig, ips: list[Interface]) -> None:
    """Check the rules of the demanded backend; without demand, ADD may have used either."""
    candidates = [_backend(config)] if config.demanded_backend() else _usable()
    first: list[str] = []
    for backend in candidates:
        absent = backend.missing(call, config, ips)
        if not absent:
            return
        first = first or absent
    more = f"; {len(first) - 1} more are missing" if first[1:] else ""
    raise CniError(f"portmap: a rule is missing: {first[0]}{more}" if first else "no backend")


def _usable() -> list[Backend]:
    found = [backend for backend in _BACKENDS if backend.usable()]
    if not found:
        raise CniError(
            "portmap needs nft or iptables, and there is neither", code=Code.NOT_AVAILABLE
        )
    return found


def _backend(config: PortmapConfig) -> Backend:
    """Return the backend that is asked for, or the first that is usable."""
    name = config.demanded_backend()
    for backend in _usable():
        if name in {"", backend.name}:
            return backend
    raise CniError(f"portmap: backend {name} is asked for and missing", code=Code.NOT_AVAILABLE)


def _previous(call: Call) -> Result:
    if call.prev_result is None:
        raise InvalidConfigError("must be called as chained plugin")
    return call.prev_result


def _loopback_switch(config: PortmapConfig, ip: Interface) -> tuple[str, ...]:
    """Return the sysctl that lets 127.0.0.1 reach *ip*; empty where there is none to set.

    127.0.0.1 as a source is only of use where it is masqueraded, and IPv6 has no such switch.
    Nor has a host with no route to the container, as next to a macvlan: others reach it.
    """
    if not config.snat or ip.version != 4:  # noqa: PLR2004
        return ()
    try:
        with Netlink() as netlink:
            name = socket.if_indextoname(routes.interface_towards(netlink, ip.ip))
    except OSError:
        return ()
    return "ipv4", "conf", name, "route_localnet"


def _forget_flows(config: PortmapConfig, family: int) -> None:
    """Let UDP flows to the mapped ports be decided anew; that is best effort."""
    ports = {m.host_port for m in config.mappings(family) if m.transport == "udp"}
    if not ports:
        return
    try:
        conntrack.forget_udp(family, ports)
    except OSError as exc:
        log(f"portmap: tracked UDP flows are not forgotten: {exc}")


PLUGIN = Plugin(
    "portmap",
    add=add,
    check=check,
    delete=delete,
    gc=gc,
    status=status,
    about="Forwards ports of the host to the container.",
    config=PortmapConfig,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
