"""net-conf.json: which addresses a network has, and how its Nodes reach each other.

Keys and defaults are flannel's documented ones; which addresses those are :mod:`podnet_manager.pool`
knows, and which ways :mod:`podnet_manager.backend`.  Pure: knows no file and no store.
"""

from dataclasses import dataclass

from podnet.cni import wire
from podnet.cni.errors import InvalidConfigError
from podnet.cni.wire import Fields
from podnet_manager import backend, pool
from podnet_manager.backend import Backend
from podnet_manager.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class NetConf:
    """One network of many Nodes.

    Attributes:
        ipv4: Its IPv4 subnets, or ``None``.
        ipv6: Its IPv6 subnets, or ``None``.
        backend: How packets travel.
    """

    ipv4: Pool | None
    ipv6: Pool | None
    backend: Backend

    @property
    def pools(self) -> tuple[Pool, ...]:
        """The families it has, IPv4 first."""
        return tuple(pool for pool in (self.ipv4, self.ipv6) if pool)


def parse(text: bytes) -> NetConf:
    """Read a network's configuration.

    Raises:
        CniError: It is no JSON, a field has the wrong type, or makes no sense.
    """
    fields = Fields.of(wire.loads(text, "the network configuration"))
    ipv4 = fields.flag("EnableIPv4", default=True)
    ipv6 = fields.flag("EnableIPv6")
    if not (ipv4 or ipv6):
        raise InvalidConfigError("EnableIPv4 and EnableIPv6 are both false: no family is left")
    conf = NetConf(
        ipv4=pool.read(fields, 4) if ipv4 else None,
        ipv6=pool.read(fields, 6, "IPv6") if ipv6 else None,
        backend=backend.read(fields),
    )
    backend.require_families(conf.backend, [one.network.version for one in conf.pools])
    return conf
