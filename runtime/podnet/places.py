"""Where podnet keeps and finds things: state, run, configurations, plugins.

The environment and the command line decide; this room resolves them once, and says why.
It makes nothing.  Who is not root is, by then, in a user namespace where they are.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from podnet.errors import UsageError

_SYSTEM_CONF = Path("/etc/cni/net.d")
_EXTENSIONS = (".conflist", ".conf", ".json")
#: Where the other libcni runtimes of a machine cache their attachments.
LIBCNI_CACHE = Path("/var/lib/cni")


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Everything with a path.

    Attributes:
        state: What survives a reboot: records, cached results, transcripts.
        run: What does not: locks, Nodes, claims on namespaces.
        namespaces: Where pods' network namespaces are pinned.
        conf_dir: The configuration directory.
        conf_reason: Why that one.
        plugin_path: The search path for plugins.
        given_plugins: The part of it that was asked for, by option or CNI_PATH.
        cache: libcni's cache directory.
    """

    state: Path
    run: Path
    namespaces: Path
    conf_dir: Path
    conf_reason: str
    plugin_path: tuple[str, ...]
    given_plugins: tuple[str, ...]
    cache: Path

    @property
    def records(self) -> Path:
        """The pods' records."""
        return self.state / "pods"

    @property
    def transcripts(self) -> Path:
        """The recorded invocations."""
        return self.state / "transcripts"

    @property
    def locks(self) -> Path:
        """The lock files."""
        return self.run / "locks"

    @property
    def claims(self) -> Path:
        """One file for every network namespace that podnet made."""
        return self.run / "claims"


def resolve(
    environment: Mapping[str, str],
    *,
    conf_dir: Path | None = None,
    plugin_dirs: Sequence[str] = (),
    cache_dir: Path | None = None,
) -> Places:
    """Decide where everything is.

    Args:
        environment: PODNET_STATE, PODNET_RUN, NETCONFPATH, CNI_PATH.
        conf_dir: ``--conf-dir``, before NETCONFPATH.
        plugin_dirs: ``--plugin-dir``, before CNI_PATH.
        cache_dir: ``--cache-dir``.

    Raises:
        UsageError: A directory of plugins that was named is none.
    """
    require_directories("--plugin-dir", plugin_dirs)
    own_run = environment.get("PODNET_RUN")
    state = Path(environment.get("PODNET_STATE") or "/var/lib/podnet")
    run = Path(own_run or "/run/podnet")
    chosen, reason = _conf_dir(conf_dir, environment.get("NETCONFPATH"))
    given = _absolute([*plugin_dirs, *environment.get("CNI_PATH", "").split(":")])
    return Places(
        state=state.absolute(),
        run=run.absolute(),
        # Where `ip netns` looks, unless this podnet keeps to itself.
        namespaces=run.absolute() / "netns" if own_run else Path("/run/netns"),
        conf_dir=chosen.absolute(),
        conf_reason=reason,
        plugin_path=_absolute([*given, *embedded_plugins()]),
        given_plugins=given,
        cache=(cache_dir or state / "cni").absolute(),
    )


@dataclass(frozen=True, slots=True)
class UserPlaces:
    """Where a user without root has a machine of their own.

    Attributes:
        state: What survives a reboot: that machine's /var/lib is in it.
        run: What does not: who keeps its namespaces.
    """

    state: Path
    run: Path


def of_user(environment: Mapping[str, str], user: int) -> UserPlaces:
    """Decide where everything is that a user has without root.

    Args:
        environment: XDG_STATE_HOME, XDG_RUNTIME_DIR, HOME.
        user: The user's ID.
    """
    home = environment.get("XDG_STATE_HOME") or Path(environment.get("HOME", "/"), ".local/state")
    run = environment.get("XDG_RUNTIME_DIR")
    return UserPlaces(
        state=Path(home, "podnet").absolute(),
        # In a directory that is everybody's, somebody else may have been faster: whoever makes
        # it has to look whose it is.
        run=Path(run, "podnet").absolute() if run else Path(f"/tmp/podnet-{user}"),  # noqa: S108
    )


def require_directories(named_by: str, directories: Iterable[str]) -> None:
    """Refuse a directory of plugins that is none: others of the same name would be taken instead.

    Not for CNI_PATH, which many machines share.

    Args:
        named_by: The option that names them.
        directories: They.

    Raises:
        UsageError: One is not there.
    """
    for one in directories:
        if not Path(one).is_dir():
            raise UsageError(
                f"{named_by} {one}: there is no such directory", "build it, or name another"
            )


def _absolute(directories: Sequence[str]) -> tuple[str, ...]:
    """Make a search path: each directory once; an empty one would mean the current one."""
    return tuple(dict.fromkeys(os.path.abspath(d) for d in directories if d))  # noqa: PTH100  keep links


def _conf_dir(option: Path | None, variable: str | None) -> tuple[Path, str]:
    if option is not None:
        return option, "--conf-dir"
    if variable:
        return Path(variable), "NETCONFPATH"
    if _SYSTEM_CONF.is_dir() and any(p.suffix in _EXTENSIONS for p in _SYSTEM_CONF.iterdir()):
        return _SYSTEM_CONF, "the system's"
    return packaged_networks(), "podnet's own examples"


def packaged_networks() -> Path:
    """Return the directory of example conflists."""
    return _packaged("netconf.d")


def packaged_scenarios() -> Path:
    """Return the directory of scenarios."""
    return _packaged("scenarios")


def _packaged(name: str) -> Path:
    """Return a directory of files: in the package, or in the checkout."""
    here = Path(__file__).parent
    packaged = here / name
    return packaged if packaged.is_dir() else here.parent.parent / name


def embedded_plugins() -> tuple[str, ...]:
    """Return the directory of podnet's own plugins, where they are installed."""
    spec = find_spec("podnet_plugins")
    locations = spec.submodule_search_locations if spec else None
    return tuple(str(Path(location, "bin")) for location in locations or ())
