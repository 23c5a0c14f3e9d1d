"""What a plugin under test needs to be asked anything: its configuration, and what it stands on.

A parameters file says it, or a conflist does; for well-known types there is a sensible one
(:mod:`podnet.rig.conformance.wellknown`).  Reads and checks; runs nothing.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from podnet import confdir
from podnet.cni.config import Network, PluginConfig
from podnet.cni.errors import CniError
from podnet.cni.versions import LATEST
from podnet.cni.wire import Fields
from podnet.errors import UsageError
from podnet.rig import features

_CONFLISTS = (".conflist", ".conf", ".json")
Config = Mapping[str, object]


class Kind(StrEnum):
    """What a plugin does with the interface."""

    MAKES = "makes"  # makes it: bridge, macvlan
    ADJUSTS = "adjusts"  # works on one that is there, and comes first: loopback
    CHAINED = "chained"  # changes what a plugin before it made: portmap
    IPAM = "ipam"  # knows of addresses only: host-local


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The same plugin, configured in another way.

    Attributes:
        config: Keys that are set; ``null`` takes one away.
        before: The plugins before it, if they are others.
    """

    config: Config = field(default_factory=dict)
    before: tuple[Config, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What a plugin under test needs.  Commands are split as a shell does, and run without one.

    Attributes:
        config: Its plugin object.
        kind: What it does with the interface; by default it is guessed.
        before: The plugins before it in the chain.
        ifname: CNI_IFNAME.
        args: CNI_ARGS.
        capabilities: runtimeConfig.
        requires: What it needs of kernel and system (:mod:`podnet.rig.features`).
        prepare: Commands for each fresh Node.
        inside: Commands for each fresh pod, run inside of it.
        distinct: Every ADD gets addresses of its own; ``None``: it is found out.
        single: There can be one attachment at a time.
        bad: Keys with which it must refuse ADD.
        full: Keys with which there is room for one attachment, and no more.
        missing: Commands that take away what an attachment hangs on.
        drift: What is broken, and the commands that break it: CHECK must notice.  ``{netns}``
            and ``{ifname}`` are the pod's; after ``pod:`` a command runs inside.
        variants: Other ways to configure it, by name.
    """

    config: Config = field(default_factory=dict)
    kind: Kind | None = None
    before: tuple[Config, ...] = ()
    ifname: str = "eth0"
    args: Mapping[str, str] = field(default_factory=dict)
    capabilities: Config = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    prepare: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    distinct: bool | None = None
    single: bool = False
    bad: tuple[Config, ...] = ()
    full: Config = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    drift: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    variants: Mapping[str, Variant] = field(default_factory=dict)

    @classmethod
    def from_wire(cls, value: object, where: str) -> "Parameters":
        """Read the parameters of one plugin.

        Raises:
            UsageError: A key that there is not, or a value that makes no sense.
        """
        try:
            return _parameters(Fields.of(value, where), where)
        except CniError as exc:
            raise UsageError(f"{where}: {exc}") from None

    @property
    def ipam_type(self) -> str:
        """The plugin that manages its addresses, or ""."""
        ipam = self.config.get("ipam")
        return str(ipam.get("type", "")) if isinstance(ipam, Mapping) else ""


_KEYS = frozenset(Parameters.__dataclass_fields__)


def _parameters(fields: Fields, where: str) -> Parameters:
    unknown = sorted(set(fields.values) - _KEYS)
    if unknown:
        raise UsageError(f"{where}: there is no key {unknown[0]}", f"there are: {_listed(_KEYS)}")
    kind = fields.text("kind")
    if kind and kind not in set(Kind):
        raise UsageError(f"{where}: no plugin is of kind {kind}", f"there are: {_listed(Kind)}")
    found = Parameters(
        config=_object(fields, "config"),
        kind=Kind(kind) if kind else None,
        before=_objects(fields, "before"),
        ifname=fields.text("ifname") or "eth0",
        args={key: str(value) for key, value in _object(fields, "args").items()},
        capabilities=_object(fields, "capabilities"),
        requires=fields.texts("requires"),
        prepare=_commands(fields, "prepare"),
        inside=_commands(fields, "inside"),
        distinct=fields.flag("distinct") if "distinct" in fields.values else None,
        single=fields.flag("single"),
        bad=_objects(fields, "bad"),
        full=_object(fields, "full"),
        missing=_commands(fields, "missing"),
        drift={name: _commands(_of(fields, "drift"), name) for name in _object(fields, "drift")},
        variants={
            name: _variant(_of(fields, "variants"), name) for name in _object(fields, "variants")
        },
    )
    features.check(found.requires)
    for config in (found.config, *found.before):
        PluginConfig.from_wire({"type": "any", **config}, where)
    return found


def _of(fields: Fields, key: str) -> Fields:
    return fields.child(key) or Fields({}, key)


def _object(fields: Fields, key: str) -> Config:
    return _of(fields, key).values


def _objects(fields: Fields, key: str) -> tuple[Config, ...]:
    return tuple(child.values for child in fields.children(key))


def _commands(fields: Fields, key: str) -> tuple[str, ...]:
    for line in (lines := fields.texts(key)):
        try:
            shlex.split(line)
        except ValueError as exc:
            raise UsageError(f"{fields.path(key)}: {line}: {exc}") from None
    return lines


def _variant(fields: Fields, name: str) -> Variant:
    given = _of(fields, name)
    if set(given.values) & {"config", "before"}:
        before = _objects(given, "before") if "before" in given.values else None
        return Variant(config=_object(given, "config"), before=before)
    return Variant(config=given.values)


def _listed(names: object) -> str:
    return ", ".join(sorted(map(str, names)))  # type: ignore[call-overload]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A plugin under test.

    Attributes:
        name: What it is called in reports.
        plugin: Its type.
        parameters: What it needs.
        path: Where it and its delegates are looked for.
        base_path: Where the plugins before it are looked for.
        network: The name of its network.
    """

    name: str
    plugin: str
    parameters: Parameters
    path: tuple[str, ...]
    base_path: tuple[str, ...]
    network: str = "conformance"

    @property
    def kind(self) -> Kind:
        """What it does with the interface, as it is said or as it looks."""
        given = self.parameters
        if given.kind is not None:
            return given.kind
        if given.before:
            return Kind.CHAINED
        return Kind.IPAM if given.ipam_type == self.plugin else Kind.MAKES

    @property
    def delegates(self) -> bool:
        """Whether another plugin manages its addresses."""
        return self.kind is not Kind.IPAM and bool(self.parameters.ipam_type)

    def of(self, cni_version: str) -> Network:
        """Return a Network of this plugin alone."""
        return _network(self.network, cni_version, {"type": self.plugin, **self.parameters.config})

    def base(self, cni_version: str) -> Network | None:
        """Return a Network of the plugins before it, if there are any."""
        before = self.parameters.before
        return _network(self.network, cni_version, *before) if before else None

    def varied(self, variant: Variant) -> "Subject":
        """Return the same plugin, configured in another way."""
        config = {**self.parameters.config, **variant.config}
        kept = {key: value for key, value in config.items() if value is not None}
        before = self.parameters.before if variant.before is None else variant.before
        return replace(self, parameters=replace(self.parameters, config=kept, before=before))

    @property
    def ifname(self) -> str:
        """CNI_IFNAME."""
        return self.parameters.ifname

    def configured(self, **config: object) -> "Subject":
        """Return the same plugin with some keys set."""
        return self.varied(Variant(config=config))


def _network(name: str, cni_version: str, *plugins: Config) -> Network:
    listed = {"cniVersion": LATEST, "name": name, "plugins": list(plugins)}
    return Network.from_wire(listed).at_version(cni_version)


def parameters_file(path: Path) -> Mapping[str, Parameters]:
    """Read a parameters file, YAML or JSON: the parameters of each type, or of the only plugin.

    Returns:
        By type; under "" those of any plugin.

    Raises:
        UsageError: It cannot be read, or makes no sense.
    """
    import yaml  # noqa: PLC0415  35 ms that only this needs

    from podnet import positions  # noqa: PLC0415  likewise

    try:
        value = positions.load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise UsageError(f"the parameters {path} cannot be read: {exc}") from None
    if not isinstance(value, dict):
        raise UsageError(f"the parameters {path} are no mapping")
    if not value or set(value) & _KEYS:
        return {"": Parameters.from_wire(value, str(path))}
    return {str(k): Parameters.from_wire(v, f"{path}: {k}") for k, v in value.items()}


def is_conflist(argument: str) -> bool:
    """Tell a file with a chain from a plugin."""
    return argument.endswith(_CONFLISTS)


def of_conflist(file: Path, path: Sequence[str], given: Mapping[str, Parameters]) -> list[Subject]:
    """Return a subject for each plugin of a chain, with those before it as what it stands on.

    Args:
        file: The conflist.
        path: Where its plugins are looked for.
        given: More parameters, by type.

    Raises:
        UsageError: The file cannot be used.
        CniError: Likewise.
    """
    network = confdir.load(file)
    subjects = []
    for position, plugin in enumerate(network.plugins):
        more = given.get(plugin.type) or given.get("") or Parameters()
        parameters = replace(
            more,
            config={k: v for k, v in plugin.config.items() if k != "type"} | dict(more.config),
            before=tuple(p.config for p in network.plugins[:position]),
        )
        subjects.append(
            Subject(
                name=f"{network.name}/{plugin.type}",
                plugin=plugin.type,
                parameters=parameters,
                path=tuple(path),
                base_path=tuple(path),
                network=network.name,
            )
        )
    return subjects
