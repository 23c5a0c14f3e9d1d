"""What a cluster is: its Nodes, how packets travel, where leases are kept.  Pure.

The same value whether it was asked for on a command line, by a file, or is on record.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Self

from podnet.cluster import underlay
from podnet.cluster.underlay import Shape
from podnet.cni import names
from podnet.cni.wire import Fields
from podnet.errors import UsageError

DEFAULT = "cluster"
BACKENDS = ("vxlan", "host-gw", "bgp", "alloc")
# Whose Nodes must be neighbours of each other.
_ON_ONE_LINK = frozenset({"host-gw", "bgp"})
#: Where a Node finds what its cluster shares.
SHARED = Path("/run/podnet-cluster")
#: The lease store, where a Node's name is asked for.
STORE = "@store"
NETWORK, IPV6_NETWORK = "10.244.0.0/16", "fd00:10:244::/48"
MOST_NODES = 250  # subnets of the network
# Of each family: a subnet's prefix length where there is room for it, and the smallest network's.
_SUBNETS = {4: (24, 28), 6: (64, 124)}
_LONGEST_NAME = 50  # the Nodes' names are longer, and a hostname has 63
_PORT = 2379
_DELEGATE = {"isDefaultGateway": True, "hairpinMode": True}
_CONFLIST = {
    "cniVersion": "1.1.0",
    "name": "cluster",
    "plugins": [
        {"type": "flannel", "delegate": _DELEGATE},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


class Store(StrEnum):
    """Where leases are kept."""

    SQLITE = "sqlite"
    ETCD = "etcd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A Node of a cluster.

    Attributes:
        name: Its name, among all Nodes of this machine.
        number: Its place in the underlay, from 1.
        labels: For whoever looks.
    """

    name: str
    number: int
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster as it is on record.

    Attributes:
        name: Its name.
        members: Its Nodes.
        backend: How packets travel: flannel's Backend, an object with a Type.
        store: Where leases are kept.
        network: The network that subnets are leased of.
        ipv6_network: Likewise, "" where pods have no IPv6 addresses.
        ip_masq: What leaves the network is masqueraded.
        lease_ttl: Seconds that a lease lasts, 0 for the manager's default.
        resync: Seconds between looks at a kernel where nothing has happened, likewise.
        conflist: What a Node has at /etc/cni/net.d.
        is_whole: It was made to its end.
    """

    name: str = DEFAULT
    members: tuple[Member, ...]
    backend: Mapping[str, object] = field(default_factory=lambda: {"Type": BACKENDS[0]})
    store: Store = Store.SQLITE
    network: str = NETWORK
    ipv6_network: str = ""
    ip_masq: bool = True
    lease_ttl: float = 0
    resync: float = 0
    conflist: Mapping[str, object] = field(default_factory=lambda: _CONFLIST)
    is_whole: bool = False

    @property
    def shape(self) -> Shape:
        """How its Nodes are joined."""
        return Shape.SWITCH if self.backend_type in _ON_ONE_LINK else Shape.ROUTER

    @property
    def backend_type(self) -> str:
        """How packets travel, in a word."""
        return str(self.backend.get("Type"))

    @property
    def underlay(self) -> str:
        """The Node that is its switch or router."""
        return f"{self.name}-underlay"

    @property
    def store_node(self) -> str:
        """The Node that etcd runs on; "" without one."""
        return f"{self.name}-store" if self.store is Store.ETCD else ""

    @property
    def node_names(self) -> list[str]:
        """The names of all its Nodes, those that only serve it last."""
        served = [self.store_node] if self.store_node else []
        return [*(member.name for member in self.members), *served, self.underlay]

    def member(self, name: str) -> Member | None:
        """Return the Node called *name*, the store's included, or ``None``."""
        if self.store_node and name in {STORE, self.store_node}:
            return Member(name=self.store_node, number=underlay.STORE_NUMBER)
        return next((member for member in self.members if member.name == name), None)

    def net_conf(self) -> dict[str, object]:
        """Return the network's configuration, flannel's net-conf.json."""
        conf: dict[str, object] = {"Network": self.network, "Backend": dict(self.backend)}
        if self.ipv6_network:
            conf |= {"EnableIPv6": True, "IPv6Network": self.ipv6_network}
        return conf

    @property
    def store_options(self) -> list[str]:
        """Where its managers are told to find leases."""
        if self.store is Store.ETCD:
            address = underlay.ends(self.shape, underlay.STORE_NUMBER).node[0].ip
            return ["--etcd-endpoints", f"http://{address}:{_PORT}"]
        return ["--store", str(SHARED / "leases.db")]

    @property
    def options(self) -> list[str]:
        """What its managers are told."""
        said = ["--iface", "eth0", *self.store_options]
        said += ["--net-config", str(SHARED / "net-conf.json")]
        said += ["--lease-ttl", str(self.lease_ttl)] if self.lease_ttl else []
        said += ["--resync", str(self.resync)] if self.resync else []
        return [*said, *(["--ip-masq"] if self.ip_masq else [])]

    def whole(self) -> Self:
        """Return it as it is on record when it was made to its end."""
        return replace(self, is_whole=True)

    @classmethod
    def from_wire(cls, value: object) -> Self:
        """Read what is on record, as :func:`dataclasses.asdict` wrote it.

        Raises:
            CniError: It is no record of a cluster.
            ValueError: Likewise.
        """
        fields = Fields.of(value, "the record")
        return cls(
            name=fields.text("name"),
            members=tuple(map(_member, fields.children("members"))),
            backend=_object(fields, "backend"),
            store=Store(fields.text("store")),
            network=fields.text("network"),
            ipv6_network=fields.text("ipv6_network"),
            ip_masq=fields.flag("ip_masq"),
            lease_ttl=_seconds(fields, "lease_ttl"),
            resync=_seconds(fields, "resync"),
            conflist=_object(fields, "conflist"),
            is_whole=fields.flag("is_whole"),
        )


def _member(fields: Fields) -> Member:
    labels = {key: str(value) for key, value in _object(fields, "labels").items()}
    return Member(name=fields.text("name"), number=fields.number("number") or 0, labels=labels)


def _object(fields: Fields, key: str) -> Mapping[str, object]:
    found = fields.child(key)
    return dict(found.values) if found else {}


def _seconds(fields: Fields, key: str) -> float:
    value = fields.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


def node_name(cluster: str, number: int) -> str:
    """Return what Node *number* of a cluster is called, where nobody says otherwise."""
    return f"n{number}" if cluster == DEFAULT else f"{cluster}-n{number}"


def numbered(cluster: str, count: int) -> tuple[Member, ...]:
    """Return so many Nodes."""
    return tuple(Member(name=node_name(cluster, n), number=n) for n in range(1, count + 1))


def check(cluster: Cluster) -> None:
    """Check what makes sense.

    Raises:
        UsageError: Something does not.
    """
    for _, problem in problems(cluster):
        raise problem


def problems(cluster: Cluster) -> Iterator[tuple[str, UsageError]]:
    """Yield what makes no sense, each with the key of a cluster's file that says it."""
    try:
        check_name(cluster.name)
    except UsageError as exc:
        yield "name", exc
    if cluster.backend_type not in BACKENDS:
        known = ", ".join(BACKENDS)
        yield (
            "backend",
            UsageError(f"there is no backend {cluster.backend_type}", f"known: {known}"),
        )
    if not 1 <= len(cluster.members) <= MOST_NODES:
        message = f"a cluster has 1 to {MOST_NODES} Nodes, not {len(cluster.members)}"
        yield "nodes", UsageError(message)
    if twice := [name for name, count in Counter(cluster.node_names).items() if count > 1]:
        hint = "the cluster's own Nodes for underlay and store have their names, too"
        yield "nodes", UsageError(f"two Nodes would be called {twice[0]}", hint)
    for key, text, version in (
        ("network", cluster.network, 4),
        ("ipv6Network", cluster.ipv6_network, 6),
    ):
        if problem := _network_problem(text, version, len(cluster.members)):
            yield key, problem


def _network_problem(text: str, version: int, nodes: int) -> UsageError | None:
    if not text:
        return None
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        network = None
    if network is None or network.version != version:
        return UsageError(f"{text} is no IPv{version} network", "it reads like 10.244.0.0/16")
    ordinary, least = _SUBNETS[version]
    if network.prefixlen > least:
        return UsageError(f"network {text} is too small for subnets", f"at most /{least}")
    # As the managers do, which leave the first one out.
    length = ordinary if network.prefixlen <= ordinary - 2 else network.prefixlen + 2
    subnets = (1 << (length - network.prefixlen)) - 1
    if subnets < nodes:
        return UsageError(f"network {text} has {subnets} subnets, and there are {nodes} Nodes")
    return None


def check_name(name: str) -> None:
    """Check a cluster's name.

    Raises:
        UsageError: It cannot be called so.
    """
    if not names.is_identifier(name) or len(name) > _LONGEST_NAME:
        raise UsageError(f"a cluster cannot be called {name!r}", "letters, digits, '-', '_', '.'")
