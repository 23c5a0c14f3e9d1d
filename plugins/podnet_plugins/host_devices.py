"""Which of the host's devices a configuration means: by name, hardware address, or in sysfs.

Reads sysfs and asks the kernel; moves nothing.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from podnet.cni.errors import CniError, InvalidConfigError
from podnet.cni.formats import IFNAME
from podnet.kernel import links
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet_plugins.schema import capability, key, read
from podnet_plugins.skel import Call

_PCI = Path("/sys/bus/pci/devices")
_AUXILIARY = Path("/sys/bus/auxiliary/devices")
_KERNEL = "/sys/devices/"
# A bus's name for a device becomes part of a path.
_BUS_NAME = re.compile(r"(?!\.)[A-Za-z0-9_.:-]+")
_MAC = re.compile(r"(?:[0-9a-f]{12}|[0-9a-f]{16}|[0-9a-f]{40})")
_USERSPACE_DRIVERS = frozenset({"vfio-pci", "uio_pci_generic", "igb_uio"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDeviceConfig:
    """The keys of the host-device plugin, with the reference's names; the first given counts."""

    device: str = key("", format=IFNAME, doc="The name of the device.")
    hwaddr: str = key("", doc="Its hardware address.")
    kernel_path: str = key("", name="kernelpath", doc="Its directory in /sys/devices.")
    pci_bus_id: str = key("", name="pciBusID", doc="Its address on the PCI bus.")
    dpdk_mode: bool = key(
        False,
        name="DPDKMode",
        doc="It belongs to a user space driver; of a PCI device that is seen.",
    )
    device_id: str = capability(
        "deviceID", "", doc="Its name on the PCI or the auxiliary bus, instead of pciBusID."
    )

    @classmethod
    def of(cls, call: Call) -> "HostDeviceConfig":
        """Read and check the configuration.

        Raises:
            CniError: It names no device, or one in a way that could lead out of sysfs.
        """
        config = read(cls, call.config)
        if not config.names_one:
            raise InvalidConfigError(
                'specify either "device", "hwaddr", "kernelpath" or "pciBusID"',
                "or declare the capability deviceID, for a runtime that knows the device",
            )
        for name, value in (("pciBusID", config.pci_bus_id), ("deviceID", config.device_id)):
            if value and not _BUS_NAME.fullmatch(value):
                raise InvalidConfigError(f"{name} {value!r} is no name of a device on a bus")
        return config

    @property
    def names_one(self) -> bool:
        """Whether it says which device."""
        ways = (self.device, self.hwaddr, self.kernel_path, self.pci_bus_id, self.device_id)
        return any(ways)

    @property
    def bus_device(self) -> Path | None:
        """Where the device is in sysfs when it is named by a bus; ``None`` when it is not.

        Raises:
            CniError: The runtime named one that is on neither bus.
        """
        if not self.device_id:
            return _PCI / self.pci_bus_id if self.pci_bus_id else None
        found = [
            bus / self.device_id for bus in (_PCI, _AUXILIARY) if (bus / self.device_id).exists()
        ]
        if not found:
            raise CniError(f"runtime config DeviceID {self.device_id} not found or unsupported")
        return found[0]

    @property
    def is_userspace(self) -> bool:
        """Whether the device belongs to a driver in user space, and so is no link."""
        device = self.bus_device
        if device is None or device.parent != _PCI:
            return self.dpdk_mode
        return os.path.basename(os.path.realpath(device / "driver")) in _USERSPACE_DRIVERS  # noqa: PTH119


def find(netlink: Netlink, config: HostDeviceConfig) -> Link:
    """Return the device.

    Args:
        netlink: A socket on the host.
        config: Which one.

    Raises:
        CniError: There is none.
    """
    try:
        found = _find(netlink, config)
    except CniError as exc:
        raise CniError(f"failed to find host device: {exc.msg}", exc.details) from exc
    if found is None:
        raise CniError("failed to find host device: failed to find physical interface")
    return found


def _find(netlink: Netlink, config: HostDeviceConfig) -> Link | None:
    if config.device:
        found = links.find(netlink, config.device)
        if found is None:
            raise CniError(f'there is no link "{config.device}" on the host')
        return found
    if config.hwaddr:
        wanted = plain_mac(config.hwaddr)
        return next((link for link in links.every(netlink) if plain(link.mac) == wanted), None)
    directory = _kernel_directory(config.kernel_path) if config.kernel_path else config.bus_device
    assert directory is not None  # noqa: S101  one way is given
    there = (links.find(netlink, name) for name in _link_names(directory))
    return next((link for link in there if link is not None), None)


def _kernel_directory(path: str) -> Path:
    if not path.startswith(_KERNEL) or ".." in Path(path).parts:
        raise InvalidConfigError(
            f'kernel device path "{path}" must be absolute and begin with {_KERNEL}'
        )
    return Path(path)


def _link_names(device: Path) -> Iterator[str]:
    """Yield the names of a device's links; a virtio device has them a level further down."""
    directories = [d for d in (device / "net", *sorted(device.glob("virtio*/net"))) if d.is_dir()]
    if not directories:
        raise CniError(f"no net directory under {device}", "the device may have another driver")
    yield from sorted(os.listdir(directories[0]))  # noqa: PTH208  names are enough


def plain_mac(mac: str) -> str:
    """Return the digits of a hardware address, of 6, 8 or 20 bytes.

    Raises:
        InvalidConfigError: It is none.
    """
    digits = plain(mac)
    if not _MAC.fullmatch(digits):
        raise InvalidConfigError(f'failed to parse MAC address "{mac}"')
    return digits


def plain(mac: str) -> str:
    """Return a hardware address without what stands between its digits."""
    return re.sub("[:.-]", "", mac).lower()
