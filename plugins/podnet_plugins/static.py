"""static: assign the addresses that the configuration names.

Keys, precedence and messages are the reference's (containernetworking/plugins, ipam/static),
but an address keeps its gateway when it comes by capability (plugins#654), and CHECK misses
an address that is gone.
"""

from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv6Interface

from podnet.cni.errors import CniError, DecodeError, InvalidConfigError
from podnet.cni.formats import CIDR, IP
from podnet.cni.result import Dns, IPConfig, Result, Route, parse_address, parse_cidr
from podnet_plugins.schema import capability, key, read
from podnet_plugins.skel import Call, Plugin, known_args, run

_SECTION = "ipam"
_OLDEST = {"0.1.0", "0.2.0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressConfig:
    """One address."""

    address: str = key(
        "",
        format=CIDR,
        own_words=True,
        doc="The address with its prefix length, like 10.1.0.5/24.",
    )
    gateway: str = key("", format=IP, own_words=True, doc="Its gateway.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticConfig:
    """The keys of the ``ipam`` section."""

    addresses: tuple[AddressConfig, ...] = key((), doc="The addresses.")
    routes: tuple[Route, ...] = key((), doc="For the result, as they are.")
    dns: Dns = key(Dns(), doc="Likewise.")
    ips: tuple[str, ...] = capability("ips", (), doc="Addresses instead of the configured ones.")


def _assigned(call: Call) -> Result:
    """Read and check the configuration of *call*; return what it assigns.

    Raises:
        CniError: An address is not in CIDR notation, or there are too many for the version.
    """
    config = read(StaticConfig, call.config, _SECTION)
    ips = tuple(_ips(call, config))
    families = [ip.address.version for ip in ips]
    if call.cni_version in _OLDEST and len(set(families)) < len(families):
        raise InvalidConfigError(
            f"CNI version {call.cni_version} does not support more than 1 address per family"
        )
    return Result(ips=ips, routes=config.routes, dns=config.dns)


def _ips(call: Call, config: StaticConfig) -> list[IPConfig]:
    """The configuration's addresses and those of CNI_ARGS, or what replaces them all."""
    message = "the 'address' field is expected to be in CIDR notation"
    configured = [
        IPConfig(_cidr(item.address, message), parse_address(item.gateway, "gateway"))
        for item in config.addresses
    ]
    args = known_args(call, "IP", "GATEWAY")
    message = "the 'ip' field is expected to be in CIDR notation"
    asked = [IPConfig(_cidr(text, message)) for text in filter(None, _split(args.get("IP", "")))]
    gateways = [
        parse_address(text, "GATEWAY") for text in filter(None, _split(args.get("GATEWAY", "")))
    ]
    ips = [
        next((replace(ip, gateway=gw) for gw in gateways if gw in ip.address.network), ip)
        for ip in (*configured, *asked)
    ]
    for replacing in (call.conventional_args.texts("ips"), config.ips):
        if replacing:
            message = "an entry in the 'ips' field is NOT in CIDR notation"
            ips = [_with_known_gateway(_cidr(text, message), ips) for text in replacing]
    return ips


def _with_known_gateway(address: IPv4Interface | IPv6Interface, known: list[IPConfig]) -> IPConfig:
    """An address that is asked for has the gateway that the configuration gives its subnet."""
    gateways = (ip.gateway for ip in known if ip.gateway and ip.gateway in address.network)
    return IPConfig(address, next(gateways, None))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _cidr(text: str, message: str) -> IPv4Interface | IPv6Interface:
    try:
        return parse_cidr(text, "address")
    except DecodeError:
        raise InvalidConfigError(f"{message}, got: '{text}'") from None


def add(call: Call) -> Result:
    """Return the addresses."""
    return _assigned(call)


def check(call: Call) -> None:
    """Check that the result still has every address, with its gateway."""
    assigned = {ip.address: ip.gateway for ip in call.require_prev_result().ips}
    for ip in _assigned(call).ips:
        if ip.address not in assigned:
            raise CniError(f"static: {ip.address} is not in the result any more")
        if ip.gateway != assigned[ip.address]:
            raise CniError(
                f"static: {ip.address} has gateway {assigned[ip.address]}, not {ip.gateway}"
            )


def status(call: Call) -> None:
    """The addresses are there whenever the configuration is right."""
    _assigned(call)


PLUGIN = Plugin(
    "static",
    add=add,
    check=check,
    status=status,
    about="Assigns the addresses that the configuration names.",
    config=StaticConfig,
    section=_SECTION,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
