"""host-device: an interface of the host, moved into a container until DEL.

Keys, results and kernel objects are the reference's (containernetworking/plugins,
main/host-device).  A failed ADD gives the device back with what it had; DEL may be repeated,
and releases the lease whatever became of device and namespace.
"""

from functools import partial

from podnet.cni.errors import CniError, Code
from podnet.cni.result import Result
from podnet.kernel.netlink import Netlink
from podnet_plugins import (
    belongings,
    container,
    delegate,
    host_device_moves,
    host_devices,
    sublinks,
)
from podnet_plugins.host_devices import HostDeviceConfig
from podnet_plugins.schema import read
from podnet_plugins.skel import Call, Plugin, run


def add(call: Call) -> Result:
    """Move the device, and give it its addresses; leave all as it was when one fails."""
    config = HostDeviceConfig.of(call)
    container.require(call.netns)
    if config.is_userspace:
        result = delegate.add(call) if call.ipam_type else Result()
        return sublinks.with_dns(call, result) if call.ipam_type else result
    with Netlink() as netlink:
        had = belongings.of(netlink, host_devices.find(netlink, config))
    make = partial(host_device_moves.bring_in, call, had)
    result = sublinks.attach(call, make, unmake=partial(host_device_moves.undo, call, had))
    return sublinks.with_dns(call, result) if call.ipam_type else result


def check(call: Call) -> None:
    """Check the lease, the device, its addresses and routes, and that DEL knows its name."""
    config = HostDeviceConfig.of(call)
    if config.is_userspace:
        delegate.check(call)
        return
    link = sublinks.check(call, None)
    if not link.alias:
        raise CniError(f"{link.name} has lost its alias, its name on the host")
    if config.device and link.alias != config.device:
        raise CniError(f"{link.name} is {link.alias} of the host, not {config.device}")
    if config.hwaddr and host_devices.plain(link.mac) != host_devices.plain_mac(config.hwaddr):
        raise CniError(f"{link.name} has address {link.mac}, not {config.hwaddr}")


def delete(call: Call) -> None:
    """Move the device back and release the lease; what is gone already is no error."""
    sublinks.delete(call, partial(host_device_moves.bring_home, call))


def status(call: Call) -> None:
    """Say whether an ADD could succeed; a device that the runtime picks is not known before.

    Raises:
        CniError: Code 50, it could not.
    """
    if read(HostDeviceConfig, call.config).names_one:
        try:
            _look(HostDeviceConfig.of(call))
        except CniError as exc:
            raise CniError(exc.msg, exc.details, code=Code.NOT_AVAILABLE) from exc
    delegate.status(call)


def _look(config: HostDeviceConfig) -> None:
    if not config.is_userspace:
        with Netlink() as netlink:
            host_devices.find(netlink, config)


PLUGIN = Plugin(
    "host-device",
    add=add,
    check=check,
    delete=delete,
    gc=sublinks.gc,
    status=status,
    about="An interface of the host, moved into a container until DEL.",
    config=HostDeviceConfig,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
