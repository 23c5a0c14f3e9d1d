"""What an interface and its namespace were like before tuning, in a file per attachment until DEL.

The path and the keys are the reference's.  Two keys are ours: the network, so that GC of one
network leaves the backups of another alone, and the sysctls.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from podnet.cni import wire
from podnet.cni.errors import CniError
from podnet.cni.wire import Fields
from podnet_plugins.skel import Call
from podnet_plugins.tuning_settings import Settings

_NETWORK, _SYSCTLS = "network", "sysctls"
_NOWHERE = {"", ".", ".."}


def path(call: Call, data_dir: str) -> Path:
    """Return where the backup of *call*'s attachment is."""
    return Path(data_dir, f"{call.container_id}_{call.ifname}.json")


def read(file: Path) -> bytes | None:
    """Return what is in a backup, or ``None`` when there is none."""
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def settings(content: bytes | None) -> Settings:
    """Return the settings in a backup; one that cannot be read has none."""
    if content is not None:
        with suppress(CniError):
            return Settings.from_wire(Fields.of(wire.loads(content)))
    return Settings()


def sysctls(content: bytes | None) -> dict[tuple[str, ...], str]:
    """Return the sysctls in a backup, by their path below /proc/sys/net."""
    if content is not None:
        with suppress(CniError):
            saved = Fields.of(wire.loads(content)).child(_SYSCTLS) or Fields({})
            parts = {tuple(path.split("/")): saved.text(path) for path in saved.values}
            return {path: value for path, value in parts.items() if not _NOWHERE & {*path}}
    return {}


def save(
    file: Path, before: Settings, changed: Mapping[tuple[str, ...], str], network: str
) -> None:
    """Write a backup.

    Raises:
        CniError: It could not be written.
    """
    kept: dict[str, object] = before.to_wire() | {_NETWORK: network}
    if changed:
        kept[_SYSCTLS] = {"/".join(path): value for path, value in changed.items()}
    put_back(file, wire.dumps(kept, indent=1).encode())


def put_back(file: Path, content: bytes | None) -> None:
    """Write a backup's content, all of it or none of it; ``None`` removes the file.

    Raises:
        CniError: It could not be written.
    """
    if content is None:
        remove(file)
        return
    draft = file.with_name(f".{file.name}.draft")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.touch(mode=0o600)
        draft.write_bytes(content)
        draft.replace(file)
    except OSError as exc:
        draft.unlink(missing_ok=True)
        raise CniError(f"failed to save file {file}: {exc.strerror}") from exc


def remove(file: Path) -> None:
    """Remove a backup; it may be gone."""
    with suppress(NotADirectoryError):
        file.unlink(missing_ok=True)


def remove_stale(data_dir: str, network: str, valid: set[tuple[str, str]]) -> None:
    """Remove the backups of *network* whose attachments are not *valid*."""
    kept = {f"{container_id}_{ifname}.json" for container_id, ifname in valid}
    for file in Path(data_dir).glob("*.json"):
        if file.name not in kept and _network(file) == network:
            remove(file)


def _network(file: Path) -> str:
    with suppress(CniError, OSError):
        return Fields.of(wire.loads(file.read_bytes())).text(_NETWORK)
    return ""
