"""subnet.env: what a network manager leased for this node, in lines of NAME=value.

Which names there are and which of them are needed is flannel's; a line that is none of them
is passed over.  Knows nothing of who wrote the file, nor of what is done with it.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from podnet.cni.errors import CniError, Code
from podnet.cni.result import parse_cidr

Network = IPv4Network | IPv6Network

_NETWORKS = {"FLANNEL_NETWORK": 4, "FLANNEL_IPV6_NETWORK": 6}
_SUBNETS = {"FLANNEL_SUBNET": 4, "FLANNEL_IPV6_SUBNET": 6}
_MTU, _IPMASQ = "FLANNEL_MTU", "FLANNEL_IPMASQ"
_NAMES = {*_NETWORKS, *_SUBNETS, _MTU, _IPMASQ}
_FLAGS = {"true": True, "false": False}


class SubnetEnvError(CniError):
    """There is no subnet.env that could be used; there will be when the manager is ready."""

    default_code = Code.TRY_AGAIN_LATER


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetEnv:
    """What the file says.

    Attributes:
        networks: Of all nodes, IPv4 before IPv6.
        subnets: This node's own, at most one of each family, IPv4 before IPv6.
        mtu: For containers, in bytes.
        ip_masq: The manager masquerades, so that plugins need not.
    """

    networks: tuple[Network, ...]
    subnets: tuple[Network, ...]
    mtu: int
    ip_masq: bool


def load(path: str) -> SubnetEnv:
    """Read the file.

    Raises:
        SubnetEnvError: It is not there, or says too little or nonsense.
    """
    try:
        return parse(Path(path).read_bytes().decode(errors="replace"), path)
    except OSError as exc:
        reason = f"open {path}: {(exc.strerror or str(exc)).lower()}"
    except ValueError as exc:
        reason = str(exc)
    raise SubnetEnvError(
        f"failed to load flannel 'subnet.env' file: {reason}. "
        "Check the flannel pod log for this node."
    )


def parse(text: str, path: str) -> SubnetEnv:
    """Read the lines; of a name that comes twice the last counts.

    Raises:
        ValueError: A name is missing, or its value is wrong.
    """
    said = _lines(text, path)
    absent = [
        name
        for group in (_NETWORKS, _SUBNETS, (_MTU,), (_IPMASQ,))
        for name in group
        if not any(said.get(one) for one in group)
    ]
    if absent:
        raise ValueError(f"{path} is missing {', '.join(absent)}")
    if not (said[_MTU].isascii() and said[_MTU].isdigit()):
        raise ValueError(f'{path}: {_MTU} must be a number, not "{said[_MTU]}"')
    if said[_IPMASQ] not in _FLAGS:
        raise ValueError(f'{path}: {_IPMASQ} must be true or false, not "{said[_IPMASQ]}"')
    return SubnetEnv(
        networks=tuple(
            _network(one.strip(), family, f"{path}: {name}")
            for name, family in _NETWORKS.items()
            for one in said.get(name, "").split(",")
            if one.strip()
        ),
        subnets=tuple(
            _network(said[name], family, f"{path}: {name}")
            for name, family in _SUBNETS.items()
            if said.get(name)
        ),
        mtu=int(said[_MTU]),
        ip_masq=_FLAGS[said[_IPMASQ]],
    )


def _lines(text: str, path: str) -> dict[str, str]:
    said = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, equals, value = line.partition("=")
        if name.strip() in _NAMES:
            if not equals:
                raise ValueError(f'{path} has no "=" after {name.strip()} in line {number}')
            said[name.strip()] = value.strip()
    return said


def _network(text: str, family: int, what: str) -> Network:
    try:
        network = parse_cidr(text, what).network
    except CniError as exc:
        raise ValueError(exc.msg) from None
    if network.version != family:
        raise ValueError(f'{what} must be of IPv{family}, not "{text}"')
    return network
