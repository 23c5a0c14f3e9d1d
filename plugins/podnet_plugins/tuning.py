"""tuning: set sysctls, hardware address, MTU, modes and queue length of a container's interface.

Keys, order and files are the reference's (containernetworking/plugins, meta/tuning).  Unlike
it a failed ADD puts back what it changed, DEL puts back sysctls, too, a second ADD does not
overwrite what was before the first, DEL without a namespace removes the backup, and GC and
STATUS are real.
"""

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace

from podnet.cni import formats, versions
from podnet.cni.errors import CniError, Code
from podnet.cni.result import Interface, Result
from podnet.kernel import links, namespaces, sysctl
from podnet.kernel.links import Link
from podnet.kernel.netlink import Netlink
from podnet_plugins import room, tuning_settings
from podnet_plugins import tuning_backup as backup
from podnet_plugins.container import entered
from podnet_plugins.skel import Call, Plugin, run
from podnet_plugins.tuning_config import DATA_DIR, Tuning, TuningConfig
from podnet_plugins.tuning_settings import Settings

Path = tuple[str, ...]


def add(call: Call) -> Result:
    """Set what is asked for; when one thing fails, all is as before."""
    previous = call.require_prev_result()
    tuning = Tuning.of(call)
    with entered(call.netns), Netlink() as netlink, ExitStack() as undo:
        link = _link(netlink, call.ifname) if tuning.settings else None
        sysctls = {path: _sysctl(path) for path in tuning.sysctls}
        before = Settings.of(link).where_set_in(tuning.settings) if link else Settings()
        if before or sysctls:
            _back_up(call, before, sysctls, undo)
        for path, value in tuning.sysctls.items():
            undo.callback(_put_back, path, sysctls[path])
            _set_sysctl(path, value)
        if link:
            undo.callback(tuning_settings.restore, netlink, link.index, before)
            tuning_settings.apply(netlink, link.index, tuning.settings)
        undo.pop_all()
    interfaces = [_as_set(one, call, tuning.settings) for one in previous.interfaces]
    return replace(previous, interfaces=tuple(interfaces))


def _back_up(call: Call, before: Settings, sysctls: Mapping[Path, str], undo: ExitStack) -> None:
    """Write down what is now; what an earlier ADD wrote down is what was there before any."""
    file = backup.path(call, _data_dir(call))
    saved = backup.read(file)
    undo.callback(backup.put_back, file, saved)
    first = before.overlaid_with(backup.settings(saved))
    backup.save(file, first, {**sysctls, **backup.sysctls(saved)}, call.network)


def _as_set(interface: Interface, call: Call, wanted: Settings) -> Interface:
    """Return an interface of the result as it is now; the host may have one of the same name."""
    if interface.name != call.ifname or not interface.sandbox:
        return interface
    said = interface.mtu or versions.at_least(call.cni_version, "1.1.0")
    mtu = wanted.mtu if wanted.mtu and said else interface.mtu
    return replace(interface, mac=wanted.mac or interface.mac, mtu=mtu)


def check(call: Call) -> None:
    """Check every sysctl, every setting, and that DEL will know what was before."""
    call.require_prev_result()
    tuning = Tuning.of(call)
    with entered(call.netns), Netlink() as netlink:
        for path, value in tuning.sysctls.items():
            current = _sysctl(path)
            if not _same(current, value):
                name = "/".join(("/proc/sys/net", *path))
                raise CniError(
                    f"Error: Tuning configured value of {name} is {value}, "
                    f"current value is {current}"
                )
        if tuning.settings:
            _check_link(_link(netlink, call.ifname), tuning.settings)
            file = backup.path(call, _data_dir(call))
            if backup.read(file) is None:
                raise CniError(f"Error: Tuning has lost its backup {file}")


def _check_link(link: Link, wanted: Settings) -> None:
    found = Settings.of(link)
    words = {
        "mac": "configured Ethernet of {}",
        "promisc": "link {} configured promisc",
        "mtu": "configured MTU of {}",
        "allmulti": "configured all-multicast mode of {}",
        "txqlen": "configured Transmit Queue Length of {}",
    }
    for name, what in words.items():
        asked, is_now = getattr(wanted, name), getattr(found, name)
        if asked is not None and asked != is_now:
            said = f"is {_word(asked)}, current value is {_word(is_now)}"
            raise CniError(f"Error: Tuning {what.format(link.name)} {said}")


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def delete(call: Call) -> None:
    """Put back what was before, where there still is something."""
    if formats.unfit(_data_dir(call)):  # ADD has refused it
        return
    file = backup.path(call, _data_dir(call))
    content = backup.read(file)
    saved, sysctls = backup.settings(content), backup.sysctls(content)
    if (saved or sysctls) and call.netns and namespaces.is_namespace(call.netns):
        with entered(call.netns), Netlink() as netlink:
            link = links.find(netlink, call.ifname)
            if link is not None:
                tuning_settings.restore(netlink, link.index, saved)
            for path, value in sysctls.items():
                _put_back(path, value)
    backup.remove(file)


def gc(call: Call) -> None:
    """Remove the backups of attachments that are not valid."""
    if not formats.unfit(_data_dir(call)):
        backup.remove_stale(_data_dir(call), call.network, call.valid_attachments)


def status(call: Call) -> None:
    """An ADD succeeds unless it may not have what it asks for, or not write down what was before."""
    try:
        Tuning.of(call)
    except CniError as exc:
        raise CniError(exc.msg, exc.details, code=Code.NOT_AVAILABLE) from exc
    try:
        room.require(_data_dir(call))
    except OSError as exc:
        message = f"backups cannot be written in {_data_dir(call)}: {exc.strerror}"
        raise CniError(message, code=Code.NOT_AVAILABLE) from exc


def _data_dir(call: Call) -> str:
    """Return where the backups are: DEL reads no other key, and a wrong one does not stop it."""
    return call.config.text("dataDir", DATA_DIR)


def _link(netlink: Netlink, name: str) -> Link:
    link = links.find(netlink, name)
    if link is None:
        raise CniError(f'failed to get "{name}": Link not found')
    return link


def _sysctl(path: Path) -> str:
    value = sysctl.read(*path)
    if value is None:
        raise CniError(f"open {'/'.join(('/proc/sys/net', *path))}: no such file or directory")
    return value


def _set_sysctl(path: Path, value: str) -> None:
    try:
        sysctl.write(*path, value=value)
    except OSError as exc:
        name = "/".join(("/proc/sys/net", *path))
        raise CniError(f"write {name}: {str(exc.strerror).lower()}", f"value {value!r}") from exc


def _put_back(path: Path, value: str) -> None:
    with suppress(OSError):
        sysctl.write(*path, value=value)


def _same(current: str, wanted: str) -> bool:
    """Tell whether two values are one: the kernel prints tabs for blanks, and decimal for hex."""
    return [_number(part) for part in current.split()] == [_number(part) for part in wanted.split()]


def _number(part: str) -> int | str:
    try:
        return int(part, 0)
    except ValueError:
        return part


PLUGIN = Plugin(
    "tuning",
    add=add,
    check=check,
    delete=delete,
    gc=gc,
    status=status,
    about="Sets sysctls, hardware address, MTU, modes and queue length of an interface.",
    config=TuningConfig,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
