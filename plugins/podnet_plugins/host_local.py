"""host-local: assign addresses from ranges, kept as files on this host.

Configuration, files and messages are the reference's (containernetworking/plugins,
ipam/host-local).  Finding a free address costs the same with 60,000 leases as with none,
GC releases what is not in use, STATUS tells an exhausted range.
"""

from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from pathlib import Path

from podnet.cni.errors import CniError, Code, DecodeError, InvalidConfigError
from podnet.cni.result import Dns, IPConfig, Result, Route
from podnet_plugins import leases, ranges
from podnet_plugins.leases import Holder, Leases
from podnet_plugins.ranges import Address, Range, RangeSet
from podnet_plugins.skel import Call, Plugin, known_args, run

_DATA_DIR = Path("/var/lib/cni/networks")
# After so many taken ones in a row, one listing of the directory beats asking for each.
_PROBES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLocalConfig:
    """The ``ipam`` section, with the reference's names and defaults.

    Attributes:
        sets: The range sets; each yields one address.
        routes: For the result, as they are.
        data_dir: Where the leases are.
        resolv_conf: The file that the result's ``dns`` is read from, if any.
        requested: Addresses that are asked for.
    """

    sets: tuple[RangeSet, ...]
    routes: tuple[Route, ...]
    data_dir: Path
    resolv_conf: str
    requested: tuple[Address, ...]

    @classmethod
    def of(cls, call: Call) -> "HostLocalConfig":
        """Read and check the configuration of *call*.

        Raises:
            CniError: A field of the wrong type, or ranges that make no sense.
        """
        ipam = call.config.child("ipam")
        if ipam is None:
            raise InvalidConfigError("IPAM config missing 'ipam' key")
        sets = ranges.read_sets(ipam, call.runtime_config)
        if call.cni_version in {"0.1.0", "0.2.0"}:
            for family in (4, 6):
                if sum(s.family == family for s in sets) > 1:
                    raise InvalidConfigError(
                        f"CNI version {call.cni_version} does not support more than 1 address "
                        "per family"
                    )
        return cls(
            sets=sets,
            routes=tuple(Route.from_wire(item) for item in ipam.children("routes")),
            data_dir=Path(ipam.text("dataDir") or _DATA_DIR),
            resolv_conf=ipam.text("resolvConf"),
            requested=tuple(_requested(call)),
        )


def _requested(call: Call) -> list[Address]:
    """Every address asked for: CNI_ARGS, ``args.cni.ips``, the capability; each once."""
    args = call.config.child("args")
    conventional = args.child("cni") if args else None
    texts = [
        known_args(call, "IP").get("IP", ""),
        *(conventional.texts("ips") if conventional else ()),
        *call.runtime_config.texts("ips"),
    ]
    addresses = []
    for text in filter(None, texts):
        try:
            addresses.append(ip_address(text.split("/")[0]))
        except ValueError:
            raise DecodeError(f"requested IP is not an address: {text!r}") from None
    return list(dict.fromkeys(addresses))


def add(call: Call) -> Result:
    """Lease one address from each set; all or none."""
    config = HostLocalConfig.of(call)
    holder = Holder(call.container_id, call.ifname)
    dns = _read_resolv_conf(config.resolv_conf) if config.resolv_conf else Dns()
    with leases.opened(config.data_dir, call.network) as store:
        ips = _lease_all(store, config, holder)
    return Result(ips=tuple(ips), routes=config.routes, dns=dns)


def _lease_all(store: Leases, config: HostLocalConfig, holder: Holder) -> list[IPConfig]:
    """Lease an address from each set; give everything back when one has none."""
    _check_requested(config)
    before, ips = set(store.of(holder)), list[IPConfig]()
    try:
        for index, addresses in enumerate(config.sets):
            asked = next((a for a in config.requested if addresses.holding(a)), None)
            if asked is not None:
                chosen, source = _lease_requested(store, addresses, asked, holder)
            else:
                chosen, source = _lease_next(store, addresses, index, holder, before=before)
            ip = ip_interface(f"{chosen}/{source.subnet.prefixlen}")
            ips.append(IPConfig(ip, source.gateway))
            store.set_last(index, chosen)
    except BaseException:
        for ip_config in ips:
            store.give_back(ip_config.address.ip, holder)
        store.settle()
        raise
    return ips


def _check_requested(config: HostLocalConfig) -> None:
    """Every requested address must be in a set, and every set yields one."""
    unused = list(config.requested)
    for addresses in config.sets:
        asked = next((address for address in unused if addresses.holding(address)), None)
        if asked is not None:
            unused.remove(asked)
    if unused:
        missed = ", ".join(map(str, unused))
        raise CniError(
            f"failed to allocate all requested IPs: {missed}",
            f"ranges: {'; '.join(map(str, config.sets))}; each set yields one address",
        )


def _lease_requested(
    store: Leases, addresses: RangeSet, asked: Address, holder: Holder
) -> tuple[Address, Range]:
    source = addresses.holding(asked)
    if source is None or asked == source.gateway:
        raise CniError(f"requested ip {asked} is subnet's gateway")
    if not store.take(asked, holder):
        raise CniError(f"requested IP address {asked} is not available in range set {addresses}")
    return asked, source


def _lease_next(
    store: Leases, addresses: RangeSet, index: int, holder: Holder, *, before: set[Address]
) -> tuple[Address, Range]:
    """Lease the next free address after the one that was leased last."""
    for address in before:
        if addresses.holding(address):
            raise CniError(
                f"{address} has been allocated to {holder.container_id}, "
                "duplicate allocation is not allowed"
            )
    taken: set[str] = set()
    for tries, (address, source) in enumerate(addresses.walk(store.last(index))):
        if tries == _PROBES:
            taken = {name for name in store.taken() if store.is_taken(name)}
        if str(address) not in taken and store.take(address, holder):
            return address, source
    raise CniError(
        f"failed to allocate for range {index}: no IP addresses available in range set: {addresses}",
        "`podnet gc` releases what no pod uses; a larger range has more",
    )


def check(call: Call) -> None:
    """Check that the attachment still has its leases."""
    config = HostLocalConfig.of(call)
    with leases.opened(config.data_dir, call.network) as store:
        held = set(store.of(Holder(call.container_id, call.ifname)))
    if not held:
        raise CniError(f"host-local: Failed to find address added by container {call.container_id}")
    assigned = {ip.address.ip for ip in call.prev_result.ips} if call.prev_result else set()
    for address in assigned:
        if any(s.holding(address) for s in config.sets) and address not in held:
            raise CniError(f"host-local: {address} is not leased to {call.container_id} any more")


def delete(call: Call) -> None:
    """Release the attachment's leases; there may be none."""
    config = HostLocalConfig.of(call)
    if not (config.data_dir / call.network).is_dir():
        return
    with leases.opened(config.data_dir, call.network) as store:
        store.release(Holder(call.container_id, call.ifname))


def gc(call: Call) -> None:
    """Release the leases of every attachment that is not valid, and what is no lease at all."""
    config = HostLocalConfig.of(call)
    valid = {Holder(cid, ifname) for cid, ifname in call.valid_attachments}
    valid |= {Holder(cid) for cid, _ in call.valid_attachments}
    if not (config.data_dir / call.network).is_dir():
        return
    with leases.opened(config.data_dir, call.network) as store:
        for path, holder in list(store.every()):
            if holder not in valid:
                store.release(holder)
                path.unlink(missing_ok=True)


def status(call: Call) -> None:
    """Say whether every set has an address left, and leases can be written."""
    config = HostLocalConfig.of(call)
    try:
        with leases.opened(config.data_dir, call.network) as store:
            taken = store.taken()
    except OSError as exc:
        message = f"leases cannot be written in {config.data_dir}: {exc.strerror}"
        raise CniError(message, code=Code.NOT_AVAILABLE) from exc
    for index, addresses in enumerate(config.sets):
        if all(str(address) in taken for address, _ in addresses.walk(None)) and all(
            store.is_taken(address) for address, _ in addresses.walk(None)
        ):
            raise CniError(
                f"no IP addresses available in range set {index}: {addresses}",
                code=Code.NOT_AVAILABLE,
            )


def _read_resolv_conf(path: str) -> Dns:
    """Read a resolver configuration (resolv.conf(5)): the last ``domain``, everything else."""
    found: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    domain = ""
    for line in Path(path).read_text(errors="replace").splitlines():
        words = line.split()
        if len(words) < 2 or line.startswith(("#", ";")):  # noqa: PLR2004
            continue
        if words[0] == "domain":
            domain = words[1]
        elif words[0] == "nameserver":
            found["nameserver"].append(words[1])
        elif words[0] in found:
            found[words[0]] += words[1:]
    return Dns(
        nameservers=tuple(found["nameserver"]),
        domain=domain,
        search=tuple(found["search"]),
        options=tuple(found["options"]),
    )


PLUGIN = Plugin("host-local", add=add, check=check, delete=delete, gc=gc, status=status)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
