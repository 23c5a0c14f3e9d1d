"""dhcp's part of a configuration, and what a client is told and asks for because of it."""

from dataclasses import dataclass

from podnet.cni.errors import InvalidConfigError
from podnet.cni.wire import Fields
from podnet_plugins import dhcp_options, dhcp_protocol
from podnet_plugins.dhcp_lease import Wishes
from podnet_plugins.dhcp_options import LARGEST, Option
from podnet_plugins.schema import key, read
from podnet_plugins.skel import Call

_ALWAYS_REQUESTED = (Option.ROUTERS, Option.SUBNET_MASK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provided:
    """An option that the client sends."""

    option: str = key("", doc="Its number, or its name: host-name, user-class and others.")
    value: str = key("", doc="Its value, as text.")
    from_arg: str = key("", doc="The key in CNI_ARGS whose value it has, where there is one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """An option that the client asks for."""

    option: str = key("", doc="Its number, or its name.")
    skip_default: bool = key(False, doc="Do not ask for routers and subnet mask by default.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DhcpConfig:
    """The keys of the dhcp plugin, with the reference's names and defaults."""

    daemon_socket_path: str = key(dhcp_protocol.SOCKET, doc="Where its daemon listens.")
    priority: int = key(0, least=0, doc="The metric of all routes; 0 is the kernel's choice.")
    provide: tuple[Provided, ...] = key((), doc="Options to send to the server.")
    request: tuple[Requested, ...] = key((), doc="Options to ask the server for.")

    @classmethod
    def of(cls, call: Call) -> "DhcpConfig":
        """Read the ``ipam`` section of *call*.

        Raises:
            CniError: A value of the wrong type, out of bounds, or no socket's path.
        """
        config = read(cls, call.config.child("ipam") or Fields({}, "ipam"))
        if not config.daemon_socket_path.startswith("/"):
            raise InvalidConfigError(
                "ipam.daemonSocketPath must be an absolute path", config.daemon_socket_path
            )
        return config

    def wishes(self, call: Call) -> Wishes:
        """Return what the client sends and asks for.

        Raises:
            InvalidConfigError: An option is not one of DHCP's, or its value is too long.
        """
        return Wishes(dict(_provided(one, call) for one in self.provide), self._requested())

    def _requested(self) -> tuple[int, ...]:
        skip = any(one.skip_default for one in self.request)
        asked = [dhcp_options.number(one.option) for one in self.request if one.option]
        always = () if skip else _ALWAYS_REQUESTED
        return tuple(dict.fromkeys((*map(int, always), *asked)))


def _provided(one: Provided, call: Call) -> tuple[int, bytes]:
    number = dhcp_options.number(one.option)
    value = call.args.get(one.from_arg, one.value).encode(errors="surrogateescape")
    if len(value) > LARGEST:
        raise InvalidConfigError(f'the value of option "{one.option}" is too long', one.value[:80])
    return number, value
