"""firewall's configuration, read and checked once, and what it asks for."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from podnet.cni.errors import CniError, Code, InvalidConfigError
from podnet.cni.result import Result
from podnet_plugins import marks
from podnet_plugins.firewall_users import ISOLATED, OPEN, SAME_BRIDGE, User
from podnet_plugins.schema import key, read
from podnet_plugins.skel import Call

IPTABLES, NFTABLES, FIREWALLD = "iptables", "nftables", "firewalld"
_BACKENDS = ("", IPTABLES, NFTABLES)
_POLICIES = (OPEN, SAME_BRIDGE, ISOLATED)
_ADMIN_CHAIN = "CNI-ADMIN"

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallConfig:
    """The keys of the firewall plugin, with the reference's names and defaults."""

    backend: str = key(
        "",
        choices=_BACKENDS,
        own_words=True,
        doc="iptables or nftables; by default iptables where it exists.",
    )
    admin_chain: str = key(
        _ADMIN_CHAIN, name="iptablesAdminChainName", doc="A chain for rules of your own."
    )
    firewalld_zone: str = key("trusted", doc="Read, and of no use without firewalld.")
    ingress_policy: str = key(
        OPEN, choices=("", *_POLICIES), own_words=True, doc="open, same-bridge or isolated."
    )

    @classmethod
    def of(cls, call: Call) -> "FirewallConfig":
        """Read and check the configuration of *call*.

        Raises:
            CniError: A value of the wrong type, or one that is not known.
        """
        config = read(cls, call.config)
        if config.backend == FIREWALLD:
            raise CniError(
                "podnet's firewall does not talk to firewalld",
                "backend iptables or nftables; firewalld leaves their rules alone",
                code=Code.UNSUPPORTED_FIELD,
            )
        if config.backend not in _BACKENDS:
            raise InvalidConfigError(f'unrecognized backend "{config.backend}"')
        if config.policy not in _POLICIES:
            raise InvalidConfigError(f'unrecognized ingressPolicy "{config.ingress_policy}"')
        return config

    @property
    def policy(self) -> str:
        """The ingress policy."""
        return self.ingress_policy or OPEN

    @property
    def admin(self) -> str:
        """The chain of the administrator's own rules."""
        return self.admin_chain or _ADMIN_CHAIN


def mark_of(call: Call) -> str:
    """Return the mark of the attachment."""
    return marks.prefix(call.network, call.container_id, call.ifname)


def addresses(result: Result | None) -> list[Address]:
    """Return all addresses of a result."""
    return [] if result is None else list(dict.fromkeys(ip.address.ip for ip in result.ips))


def users(call: Call, config: FirewallConfig, result: Result) -> list[User]:
    """Return the users that the attachment's addresses are.

    Raises:
        InvalidConfigError: The policy is about a bridge, and the result has none.
    """
    bridge = "" if config.policy == OPEN else _bridge(config, result)
    return [User(mark_of(call), str(ip), bridge, config.policy) for ip in addresses(result)]


def _bridge(config: FirewallConfig, result: Result) -> str:
    for interface in result.interfaces[:1]:
        if not interface.sandbox:
            return interface.name
    raise InvalidConfigError(
        f"ingressPolicy {config.policy} needs a bridge, and the result begins with none"
    )
