"""The flannel plugin's configuration, and the one that it makes of it for another plugin.

The keys, what is derived from which, and the bytes are flannel's.  Pure: knows neither
where subnet.env comes from nor who runs the other plugin.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath

from podnet.cni import versions, wire
from podnet.cni.errors import CniError, InvalidConfigError
from podnet.cni.result import Route
from podnet.cni.wire import Fields
from podnet_plugins.flannel_env import SubnetEnv
from podnet_plugins.schema import key, read
from podnet_plugins.skel import Call

BRIDGE, HOST_LOCAL = "bridge", "host-local"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlannelConfig:
    """The keys of the flannel plugin, with flannel's names and defaults."""

    subnet_file: str = key(
        "/run/flannel/subnet.env", doc="Where the network manager says what this node leases."
    )
    data_dir: str = key(
        "/var/lib/cni/flannel",
        doc="Where the delegate's configuration is kept for DEL, by container; of two networks "
        "of one container each needs its own.",
    )
    delegate: Fields | None = key(
        None, doc="Who does the work, a bridge by default, and its keys but for name and ipam."
    )
    ipam: Fields | None = key(
        None, doc="Who manages addresses, host-local by default, and its keys; ranges are set."
    )

    @classmethod
    def of(cls, call: Call) -> "FlannelConfig":
        """Read the configuration of *call*.

        Raises:
            CniError: A value of the wrong type, or a path that depends on who runs us.
        """
        config = read(cls, call.config)
        for name, path in (("subnetFile", config.subnet_file), ("dataDir", config.data_dir)):
            if not PurePath(path).is_absolute():
                raise InvalidConfigError(f'{name} must be an absolute path, not "{path}"')
        return config


@dataclass(frozen=True, slots=True)
class Delegated:
    """A delegate's whole configuration.

    Attributes:
        values: The object.
    """

    values: Mapping[str, object]

    @classmethod
    def of(cls, call: Call, config: FlannelConfig, env: SubnetEnv) -> "Delegated":
        """Put it together from the network's configuration and the node's lease.

        Raises:
            CniError: ``delegate`` has a key that is ours to set, or no usable type.
        """
        given = dict(config.delegate.values) if config.delegate else {}
        _check(given)
        values: dict[str, object] = {"type": BRIDGE, "ipMasq": not env.ip_masq, "mtu": env.mtu}
        values |= given
        if values["type"] == BRIDGE:
            values.setdefault("isGateway", True)
        values["name"] = call.network
        if version := call.config.text("cniVersion"):
            values["cniVersion"] = version
        if arguments := call.config.child("runtimeConfig"):
            values["runtimeConfig"] = arguments.values
        values["ipam"] = _ipam(config.ipam or Fields({}, "ipam"), env)
        return cls(values)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Delegated":
        """Read what :attr:`stdin` was.

        Raises:
            CniError: It is not that.
        """
        fields = Fields.of(wire.loads(content))
        if not (fields.text("type") and fields.text("name")):
            raise InvalidConfigError("it has no type or no name")
        return cls(fields.values)

    @property
    def stdin(self) -> bytes:
        """As flannel writes it: compact, all keys in alphabetical order."""
        return wire.dumps(_in_order(self.values)).encode()

    @property
    def fields(self) -> Fields:
        """The same, to read from."""
        return Fields(self.values)

    @property
    def type(self) -> str:
        """The plugin that it is for."""
        return self.fields.text("type")

    @property
    def network(self) -> str:
        """The network's name."""
        return self.fields.text("name")

    @property
    def subnets(self) -> tuple[str, ...]:
        """The lease that addresses come from."""
        ipam = self.fields.child("ipam")
        ranges = ipam.get("ranges") if ipam else None
        return tuple(
            one.text("subnet")
            for group in (ranges if isinstance(ranges, list) else ())
            for one in Fields({"range": group}, "ipam.ranges").children("range")
        )

    def asked_by(self, call: Call) -> Call:
        """Return *call* with this configuration, for the delegate."""
        return replace(call, stdin=self.stdin, config=self.fields)

    def with_result(self, call: Call) -> "Delegated":
        """Return it with the prevResult of *call*, as CHECK needs it.

        A route without a gateway went through its family's first, and is given it here: the
        reference's CHECK would look for one that has none.

        Raises:
            CniError: There is no prevResult.
        """
        result = call.require_prev_result()
        gateways = {ip.address.version: ip.gateway for ip in reversed(result.ips) if ip.gateway}
        routes = tuple(
            replace(route, gw=gateways.get(route.dst.version))
            if route.gw is None and route.scope is None
            else route
            for route in result.routes
        )
        return Delegated({**self.values, "prevResult": replace(result, routes=routes).to_wire()})

    def of_network(self, call: Call) -> "Delegated":
        """Return it as GC and STATUS need it: for no attachment, in the version of *call*."""
        values = {name: value for name, value in self.values.items() if name != "runtimeConfig"}
        values["cniVersion"] = call.cni_version
        said = filter(call.config.has, versions.VALID_ATTACHMENTS)
        values |= {name: call.config.items(name) for name in said}
        return Delegated(values)


def _check(given: Mapping[str, object]) -> None:
    if not isinstance(given.get("type", ""), str):
        raise InvalidConfigError(
            "'delegate' dictionary, if present, must have (string) 'type' field"
        )
    for ours in ("name", "ipam"):
        if ours in given:
            raise InvalidConfigError(
                f"'delegate' dictionary must not have '{ours}' field, it'll be set by flannel"
            )


def _ipam(given: Fields, env: SubnetEnv) -> dict[str, object]:
    try:
        routes: list[object] = []
        for route in given.children("routes"):
            Route.from_wire(route)
            routes.append(route.values)
    except CniError as exc:
        reason = f"failed to parse ipam.routes: {exc.msg}"
        raise InvalidConfigError(
            f"failed to assemble Delegate IPAM: failed to read IPAM routes: {reason}", exc.details
        ) from None
    return {"type": HOST_LOCAL, **given.values} | {
        "ranges": [[{"subnet": str(subnet)}] for subnet in env.subnets],
        "routes": [*routes, *({"dst": str(network)} for network in env.networks)],
    }


def _in_order(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _in_order(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_in_order(item) for item in value]
    return value
