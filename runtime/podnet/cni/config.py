"""Network configurations: a conflist as a value (SPEC section 1).

Knows the keys of a list and of a plugin object and which of them are reserved for the
runtime; knows nothing of directories (confdir) or of what is sent to a plugin (plan).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from podnet.cni import names, versions, wire
from podnet.cni.errors import DecodeError, InvalidConfigError
from podnet.cni.wire import Fields

#: Keys of a plugin object that belong to the runtime; in a file they are stale or a
#: mistake, and are not passed on (SPEC section 1, "Plugin configuration objects").
RESERVED_PREFIX = "cni.dev/"
RESERVED = frozenset({"prevResult", "runtimeConfig"})


@dataclass(frozen=True, slots=True)
class PluginConfig:
    """One plugin object of a chain.

    Attributes:
        type: The plugin's executable.
        capabilities: The capabilities it declares as true.
        config: The whole object as it was written, unknown keys included.
    """

    type: str
    capabilities: frozenset[str]
    config: Mapping[str, object]

    @classmethod
    def from_wire(cls, value: object, where: str = "") -> "PluginConfig":
        """Read a plugin object and check its well-known fields (SPEC section 1).

        Raises:
            DecodeError: A well-known field has the wrong type.
            InvalidConfigError: ``type`` is missing or is a path.
        """
        fields = Fields.of(value, where)
        plugin_type = fields.text("type")
        if not plugin_type:
            raise InvalidConfigError(f"{fields.path('type')} is missing", "it names the plugin")
        try:
            names.check_plugin_type(plugin_type)
        except InvalidConfigError as exc:
            raise InvalidConfigError(f"{fields.path('type')}: {exc.msg}", exc.details) from None
        _check_well_known(fields)
        declared = fields.child("capabilities") or Fields({})
        enabled = frozenset(key for key in declared.values if declared.flag(key))
        return cls(plugin_type, enabled, fields.values)

    @property
    def ipam_type(self) -> str:
        """The plugin that this one delegates address management to, or ""."""
        ipam = Fields(self.config).child("ipam")
        return ipam.text("type") if ipam else ""

    @property
    def reserved_keys(self) -> list[str]:
        """The keys in the file that only a runtime may set, in any case: so a Go plugin reads them."""
        folded = {key.casefold() for key in RESERVED}
        return [
            key
            for key in self.config
            if key.casefold() in folded or key.casefold().startswith(RESERVED_PREFIX)
        ]


def _check_well_known(fields: Fields) -> None:
    """Check the types of the fields that every plugin shares (SPEC section 1)."""
    for key in ("cniVersion", "name"):
        fields.text(key)
    if ipam := fields.child("ipam"):
        ipam.text("type")
    if dns := fields.child("dns"):
        dns.text("domain")
        for key in ("nameservers", "search", "options"):
            dns.texts(key)
    fields.child("prevResult")
    for key in versions.VALID_ATTACHMENTS:
        list(fields.children(key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A named plugin chain: one parsed configuration list.

    Attributes:
        name: The network's name.
        cni_version: The version its plugins are called with.
        allowed_versions: All known versions it allows, newest first; more than one only
            where ``cniVersions`` is used.
        plugins: The chain; may be empty until sibling plugins are added.
        disable_check: CHECK is not to be called (``disableCheck``).
        disable_gc: GC is not to be called (``disableGC``).
        load_only_inlined_plugins: Sibling plugin files are not to be loaded.
        source: The bytes it was read from.
    """

    name: str
    cni_version: str
    allowed_versions: tuple[str, ...]
    plugins: tuple[PluginConfig, ...]
    disable_check: bool = False
    disable_gc: bool = False
    load_only_inlined_plugins: bool = False
    source: bytes = b""

    def __repr__(self) -> str:
        chain = " -> ".join(plugin.type for plugin in self.plugins)
        return f"<Network {self.name} {self.cni_version}: {chain or 'no plugins'}>"

    @classmethod
    def from_conflist(cls, source: bytes, what: str = "the conflist") -> "Network":
        """Read a configuration list.

        Keys of the list are case-sensitive, as in libcni.  The chain is empty when the key
        ``plugins`` is absent: the plugins are in sibling files (SPEC section 1).

        Args:
            source: The file's bytes.
            what: What they are, for messages.

        Raises:
            DecodeError: Not JSON, or a field of the wrong type.
            InvalidConfigError: A rule of the spec is broken.
            IncompatibleVersionError: No version that we know.
        """
        return cls.from_wire(wire.loads(source, what), source=source)

    @classmethod
    def from_wire(cls, value: object, *, source: bytes = b"") -> "Network":
        """Read a configuration list that is already parsed; see :meth:`from_conflist`."""
        fields = Fields(Fields.of(value).values)
        listed = Fields({key: fields.values.get(key) for key in _LIST_KEYS})
        name = listed.text("name")
        names.check_network_name(name)
        allowed = versions.candidates(listed.text("cniVersion"), listed.texts("cniVersions"))
        only_inlined = _flag(fields, "loadOnlyInlinedPlugins")
        return cls(
            name=name,
            cni_version=allowed[0],
            allowed_versions=allowed,
            plugins=tuple(_plugins(fields, only_inlined=only_inlined)),
            disable_check=_flag(fields, "disableCheck"),
            disable_gc=_flag(fields, "disableGC"),
            load_only_inlined_plugins=only_inlined,
            source=source,
        )

    @classmethod
    def from_conf(cls, source: bytes, what: str = "the configuration") -> "Network":
        """Read a single-plugin configuration (``.conf``, SPEC before 1.0.0) as a chain of one.

        Flags of a list (``disableCheck`` and the like) have no meaning in it, as in libcni.

        Raises:
            DecodeError: Not JSON, or a field of the wrong type.
            InvalidConfigError: A rule of the spec is broken.
            IncompatibleVersionError: No version that we know.
        """
        value = wire.loads(source, what)
        plugin = PluginConfig.from_wire(value)
        fields = Fields(plugin.config)
        name = fields.text("name")
        names.check_network_name(name)
        allowed = versions.candidates(fields.text("cniVersion"), ())
        return cls(
            name=name,
            cni_version=allowed[0],
            allowed_versions=allowed,
            plugins=(plugin,),
            load_only_inlined_plugins=True,
            source=source,
        )

    def with_plugins(self, plugins: Iterable[PluginConfig]) -> "Network":
        """Return this network with *plugins* appended to its chain."""
        return replace(self, plugins=(*self.plugins, *plugins))

    def at_version(self, cni_version: str) -> "Network":
        """Return this network, its plugins called with *cni_version*."""
        return replace(self, cni_version=cni_version)

    def without_declarations(self) -> "Network":
        """Return this network, the key ``capabilities`` taken out of what plugins are sent."""
        return replace(
            self,
            plugins=tuple(
                replace(
                    plugin,
                    config={
                        k: v for k, v in plugin.config.items() if k.casefold() != "capabilities"
                    },
                )
                for plugin in self.plugins
            ),
        )

    def to_wire(self) -> dict[str, object]:
        """Return the effective list: one version, every plugin inlined."""
        wired: dict[str, object] = {
            "cniVersion": self.cni_version,
            "name": self.name,
            "loadOnlyInlinedPlugins": True,
            "plugins": [dict(plugin.config) for plugin in self.plugins],
        }
        if self.disable_check:
            wired["disableCheck"] = True
        if self.disable_gc:
            wired["disableGC"] = True
        return wired


#: The keys of a configuration list (SPEC section 1, "Configuration format").
_LIST_KEYS = ("name", "cniVersion", "cniVersions")
LIST_KEYS = frozenset(
    {*_LIST_KEYS, "disableCheck", "disableGC", "loadOnlyInlinedPlugins", "plugins"}
)


def _flag(fields: Fields, key: str) -> bool:
    """Read a flag of the list: a boolean, or the strings "true" and "false" in any case."""
    if key not in fields.values:
        return False
    match fields.values[key]:
        case bool(value):
            return value
        case str(text) if text.lower() in {"true", "false"}:
            return text.lower() == "true"
        case wrong:
            raise DecodeError(f"{key} must be true or false, not {wire.shown(wrong)}")


def _plugins(fields: Fields, *, only_inlined: bool) -> Iterable[PluginConfig]:
    if "plugins" not in fields.values:
        if only_inlined:
            raise InvalidConfigError("`loadOnlyInlinedPlugins` is true, and no 'plugins' key")
        return []
    listed = fields.values["plugins"]
    if not isinstance(listed, list):
        raise DecodeError(f"plugins must be a list, not {wire.type_name(listed)}")
    if not listed:
        raise InvalidConfigError("no plugins in list")
    return [PluginConfig.from_wire(item, f"plugins[{i}]") for i, item in enumerate(listed)]
