"""Option values: ``8080:80/tcp`` and the like, into capability arguments.  Pure.

The names are the documented ones (CNI conventions, "Dynamic plugin-specific fields"), in
lower camel case, whatever other runtimes send.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface

from podnet.cni import wire
from podnet.cni.config import Network
from podnet.cni.errors import DecodeError
from podnet.errors import UsageError

_PROTOCOLS = ("tcp", "udp", "sctp")
_LARGEST_PORT = 65535
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
# What CRI runtimes send, and about the most that the bandwidth plugin takes (bits).
_LARGEST_BURST = 2**32 - 1
_RATE = re.compile(r"(\d+)([kKmMgG]?)(?:bit)?")
_MAC = re.compile(r"(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}")


def port_mapping(text: str) -> dict[str, object]:
    """Read ``[HOST_IP:]HOST:CONTAINER[/PROTOCOL]``."""
    ports, _, protocol = text.partition("/")
    host_ip, _, pair = ports.rpartition("]:") if ports.startswith("[") else ("", "", ports)
    parts = pair.split(":")
    if len(parts) == 3:  # noqa: PLR2004
        host_ip, *parts = parts
    protocol = protocol.lower() or "tcp"
    if len(parts) != 2 or protocol not in _PROTOCOLS:  # noqa: PLR2004
        raise UsageError(f"-p {text}: not a port mapping", "it reads like 8080:80 or 5353:53/udp")
    mapping: dict[str, object] = {
        "hostPort": _port(parts[0], text),
        "containerPort": _port(parts[1], text),
        "protocol": protocol,
    }
    if host_ip:
        mapping["hostIP"] = _address(host_ip.strip("[]"), f"-p {text}")
    return mapping


def _port(text: str, option: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= _LARGEST_PORT:
        raise UsageError(f"-p {option}: {text!r} is not a port", f"1 to {_LARGEST_PORT}")
    return int(text)


def _address(text: str, option: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise UsageError(f"{option}: {text!r} is not an IP address") from None


def requested_ip(text: str) -> str:
    """Check an address, with or without a prefix length."""
    try:
        return str(ip_interface(text)) if "/" in text else str(ip_address(text))
    except ValueError:
        raise UsageError(f"--ip {text}: not an IP address") from None


def mac(text: str) -> str:
    """Check a hardware address."""
    if not _MAC.fullmatch(text):
        raise UsageError(f"--mac {text}: not a hardware address", "it reads like 02:00:00:00:00:01")
    return text


def bandwidth(text: str) -> dict[str, object]:
    """Read ``ingress=10M,egress=5M[,ingressBurst=…,egressBurst=…]``, in bits (per second)."""
    known = {"ingress": "ingressRate", "egress": "egressRate"}
    limits: dict[str, object] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        name = known.get(key, key)
        if name not in {*known.values(), "ingressBurst", "egressBurst"}:
            raise UsageError(
                f"--bandwidth {text}: no limit {key!r}", "it reads like ingress=10M,egress=5M"
            )
        limits[name] = rate(value, f"--bandwidth {text}")
    for direction in ("ingress", "egress"):
        if f"{direction}Rate" in limits:
            limits.setdefault(f"{direction}Burst", _LARGEST_BURST)
    return limits


def rate(value: str, option: str) -> int:
    """Read ``10M``, in bits per second."""
    match = _RATE.fullmatch(value)
    if match is None or int(match[1]) == 0:
        raise UsageError(f"{option}: {value!r} is not a rate", "500k, 10M or 1G")
    return int(match[1]) * _UNITS[match[2].lower()]


def pair(text: str, option: str) -> tuple[str, str]:
    """Read ``KEY=VALUE``."""
    key, found, value = text.partition("=")
    if not key or not found:
        raise UsageError(f"{option} {text}: not KEY=VALUE")
    return key, value


def capability(text: str) -> tuple[str, object]:
    """Read ``KEY=JSON``."""
    key, value = pair(text, "--cap")
    try:
        return key, wire.loads(value.encode(), f"--cap {key}")
    except DecodeError as exc:
        raise UsageError(str(exc), "a string needs its quotes: --cap mac='\"02:…\"'") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the options of ``create`` and ``attach`` ask of one network.

    Attributes:
        ports: ``-p``.
        ips: ``--ip``.
        mac: ``--mac``.
        bandwidth: ``--bandwidth``.
        servers: ``--dns``.
        searches: ``--dns-search``.
        capabilities: ``--cap``.
        args: ``--arg``.
    """

    ports: Iterable[str] = ()
    ips: Iterable[str] = ()
    mac: str = ""
    bandwidth: str = ""
    servers: Iterable[str] = ()
    searches: Iterable[str] = ()
    capabilities: Iterable[str] = ()
    args: Iterable[str] = ()

    def of(self, network: Network) -> tuple[tuple[tuple[str, str], ...], dict[str, object]]:
        """Return CNI_ARGS and capability arguments for *network*.

        An address goes by the capability where a plugin declares it, by CNI_ARGS elsewhere.

        Raises:
            UsageError: A value is malformed, or no plugin of the network takes it.
        """
        declared = {name for plugin in network.plugins for name in plugin.capabilities}
        args = [pair(text, "--arg") for text in self.args]
        wanted: dict[str, object] = {}
        if ports := [port_mapping(text) for text in self.ports]:
            wanted["portMappings"] = ports
        if self.bandwidth:
            wanted["bandwidth"] = bandwidth(self.bandwidth)
        if dns := self._dns():
            wanted["dns"] = dns
        wanted |= dict(map(capability, self.capabilities))
        if ips := [requested_ip(text) for text in self.ips]:
            if "ips" in declared:
                wanted["ips"] = ips
            else:
                args += [("IP", ip) for ip in ips[:1]]
        if self.mac:
            if "mac" in declared:
                wanted["mac"] = mac(self.mac)
            else:
                args.append(("MAC", mac(self.mac)))
        _refuse_undeclared(network, wanted, declared)
        return tuple(args), wanted

    def _dns(self) -> dict[str, object]:
        servers = [_address(text, "--dns") for text in self.servers]
        said = {"servers": servers, "searches": list(self.searches)}
        return {key: value for key, value in said.items() if value}


def _refuse_undeclared(network: Network, wanted: Mapping[str, object], declared: set[str]) -> None:
    """What no plugin declares reaches no plugin: better said than silently lost."""
    for name in wanted:
        if name not in declared:
            raise UsageError(
                f"no plugin of network {network.name} takes {name}",
                f'add "capabilities": {{"{name}": true}} to the plugin that should',
            )
