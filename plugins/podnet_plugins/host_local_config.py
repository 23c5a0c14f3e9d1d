"""host-local's configuration: its keys, where else addresses may be asked for, and what it means.

Knows no leases.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from podnet.cni.errors import DecodeError, InvalidConfigError
from podnet.cni.result import Route
from podnet_plugins import ranges
from podnet_plugins.ranges import Address, RangeConfig, RangeSet
from podnet_plugins.schema import capability, key, read
from podnet_plugins.skel import Call, known_args

SECTION = "ipam"
_DATA_DIR = "/var/lib/cni/networks"
_OLDEST = {"0.1.0", "0.2.0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLocalConfig(RangeConfig):
    """The keys of the ``ipam`` section, with the reference's names; one range may stand in it."""

    ranges: tuple[tuple[RangeConfig, ...], ...] = key(
        (), doc="Range sets: each yields one address, from the first of its ranges with a free one."
    )
    routes: tuple[Route, ...] = key((), doc="For the result, as they are.")
    data_dir: str = key(_DATA_DIR, doc="Where the leases are kept.")
    resolv_conf: str = key("", doc="A resolv.conf(5) that the result's dns is read from.")
    ips: tuple[str, ...] = capability("ips", (), doc="Addresses that are asked for.")
    ip_ranges: tuple[tuple[RangeConfig, ...], ...] = capability(
        "ipRanges", (), doc="Further range sets, before the others."
    )

    def range_sets(self) -> tuple[RangeSet, ...]:
        """Return the range sets: the capability's, the single range, the list.

        Raises:
            InvalidConfigError: One makes no sense, two overlap, or there is none.
        """
        single = [[self]] if self.subnet else []
        return ranges.checked([*self.ip_ranges, *single, *self.ranges])


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one call is about, wherever it was said.

    Attributes:
        sets: The range sets; each yields one address.
        routes: For the result.
        data_dir: Where the leases are.
        resolv_conf: The file that the result's ``dns`` is read from, or "".
        requested: Addresses that are asked for.
    """

    sets: tuple[RangeSet, ...]
    routes: tuple[Route, ...]
    data_dir: Path
    resolv_conf: str
    requested: tuple[Address, ...]

    @classmethod
    def of(cls, call: Call) -> "Request":
        """Read and check the configuration of *call*.

        Raises:
            CniError: A field of the wrong type, or ranges that make no sense.
        """
        config = read(HostLocalConfig, call.config, SECTION)
        sets = config.range_sets()
        families = [one.family for one in sets]
        if call.cni_version in _OLDEST and len(set(families)) < len(families):
            raise InvalidConfigError(
                f"CNI version {call.cni_version} does not support more than 1 address per family"
            )
        return cls(
            sets=sets,
            routes=config.routes,
            data_dir=Path(config.data_dir or _DATA_DIR),
            resolv_conf=config.resolv_conf,
            requested=_requested(call, config),
        )


def _requested(call: Call, config: HostLocalConfig) -> tuple[Address, ...]:
    """Every address asked for: CNI_ARGS, ``args.cni.ips``, the capability; each once."""
    texts = [
        known_args(call, "IP").get("IP", ""),
        *call.conventional_args.texts("ips"),
        *config.ips,
    ]
    return tuple(dict.fromkeys(map(_address, filter(None, texts))))


def _address(text: str) -> Address:
    try:
        return ip_address(text.split("/", maxsplit=1)[0])
    except ValueError:
        raise DecodeError(f"requested IP is not an address: {text!r}") from None
