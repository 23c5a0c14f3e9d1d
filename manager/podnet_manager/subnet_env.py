"""subnet.env: what a Node's plugins must know of its lease, in lines of NAME=value.

The lines and their order are flannel's.  The file appears whole or not at all.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from pathlib import Path

from podnet.errors import PodnetError
from podnet_manager import whole
from podnet_manager.lease import Subnets
from podnet_manager.netconf import NetConf
from podnet_manager.pool import Subnet

_MODE, _DIRECTORY_MODE = 0o644, 0o755  # plugins of any user read it


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetEnv:
    """The content of the file.

    Attributes:
        networks: The whole network, of each family.
        subnets: What the Node leases of it.
        mtu: For pods, in bytes.
        ip_masq: The manager masquerades, plugins need not.
    """

    networks: tuple[Subnet, ...]
    subnets: Subnets
    mtu: int
    ip_masq: bool

    @classmethod
    def of(cls, conf: NetConf, subnets: Subnets, *, mtu: int, ip_masq: bool) -> "SubnetEnv":
        """Put together what a Node writes."""
        networks = tuple(pool.network for pool in conf.pools)
        return cls(networks=networks, subnets=subnets, mtu=mtu, ip_masq=ip_masq)

    def to_text(self) -> str:
        """Return the lines."""
        prefixes = {4: "FLANNEL", 6: "FLANNEL_IPV6"}
        lines = []
        for network in self.networks:
            subnet = self.subnets.ipv4 if network.version == 4 else self.subnets.ipv6  # noqa: PLR2004
            lines.append(f"{prefixes[network.version]}_NETWORK={network}")
            if subnet:
                first = f"{subnet.network_address + 1}/{subnet.prefixlen}"
                lines.append(f"{prefixes[network.version]}_SUBNET={first}")
        lines += [f"FLANNEL_MTU={self.mtu}", f"FLANNEL_IPMASQ={str(self.ip_masq).lower()}"]
        return "".join(f"{line}\n" for line in lines)


def read(path: Path) -> Subnets | None:
    """Return the subnets of a file that an earlier run has left, if there is one that can be read."""
    with suppress(OSError, ValueError):
        said = _lines(path.read_text())
        found = [said.get("FLANNEL_SUBNET"), said.get("FLANNEL_IPV6_SUBNET")]
        subnets = tuple(ip_network(ip_interface(text).network) for text in found if text)
        return Subnets.of(subnets) if subnets else None
    return None


def _lines(text: str) -> Mapping[str, str]:
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, found, value in pairs if found}


def write(path: Path, content: SubnetEnv) -> None:
    """Write the file whole.

    Raises:
        PodnetError: It cannot be written.
    """
    try:
        whole.write(path, content.to_text(), mode=_MODE, directory_mode=_DIRECTORY_MODE)
    except OSError as exc:
        raise PodnetError(f"cannot write {path}: {exc.strerror}", "--subnet-file") from exc
