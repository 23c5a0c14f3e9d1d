"""host-local: assign addresses from ranges, kept as files on this host.

Configuration, files and messages are the reference's (containernetworking/plugins,
ipam/host-local).  Finding a free address costs the same with 60,000 leases as with none,
GC releases what is not in use, STATUS tells an exhausted range.
"""

from contextlib import ExitStack
from ipaddress import ip_interface
from pathlib import Path

from podnet.cni.errors import CniError, Code
from podnet.cni.result import Dns, IPConfig, Result
from podnet_plugins import leases, room
from podnet_plugins.host_local_config import SECTION, HostLocalConfig, Request
from podnet_plugins.lease_index import Holder
from podnet_plugins.leases import Leases
from podnet_plugins.ranges import Address, Range, RangeSet
from podnet_plugins.skel import Call, Plugin, run

# After so many taken ones in a row, one listing of the directory beats asking for each.
_PROBES = 64


def add(call: Call) -> Result:
    """Lease one address from each set; all or none."""
    request = Request.of(call)
    holder = Holder(call.container_id, call.ifname)
    dns = _read_resolv_conf(request.resolv_conf) if request.resolv_conf else Dns()
    with leases.opened(request.data_dir, call.network) as store:
        ips = _lease_all(store, request, holder)
    return Result(ips=tuple(ips), routes=request.routes, dns=dns)


def _lease_all(store: Leases, request: Request, holder: Holder) -> list[IPConfig]:
    """Lease an address from each set; give everything back when one has none."""
    _check_requested(request)
    before, ips = set(store.of(holder)), list[IPConfig]()
    with ExitStack() as undo:
        undo.callback(store.index.settle)
        for index in range(len(request.sets)):
            chosen, source = _lease_from(store, request, index, holder, before=before)
            undo.callback(store.give_back, chosen, holder)
            ips.append(
                IPConfig(ip_interface(f"{chosen}/{source.subnet.prefixlen}"), source.gateway)
            )
            store.set_last(index, chosen)
        undo.pop_all()
    return ips


def _lease_from(
    store: Leases, request: Request, index: int, holder: Holder, *, before: set[Address]
) -> tuple[Address, Range]:
    """Lease an address from one set; a refusal says from which, in the reference's words."""
    addresses = request.sets[index]
    asked = next((a for a in request.requested if addresses.holding(a)), None)
    try:
        if asked is not None:
            return _lease_requested(store, addresses, asked, holder)
        return _lease_next(store, addresses, index, holder, before=before)
    except CniError as exc:
        message = f"failed to allocate for range {index}: {exc.msg}"
        raise CniError(message, exc.details, code=exc.code) from exc


def _check_requested(request: Request) -> None:
    """Every requested address must be in a set, and every set yields one."""
    unused = list(request.requested)
    for addresses in request.sets:
        asked = next((address for address in unused if addresses.holding(address)), None)
        if asked is not None:
            unused.remove(asked)
    if unused:
        missed = ", ".join(map(str, unused))
        raise CniError(
            f"failed to allocate all requested IPs: {missed}",
            f"ranges: {'; '.join(map(str, request.sets))}; each set yields one address",
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
    found = _free(store, addresses, index, holder)
    if found is None and (spoilt := store.spoilt()):
        for path in spoilt:
            path.unlink(missing_ok=True)
        found = _free(store, addresses, index, holder)
    if found is None:
        raise CniError(
            f"no IP addresses available in range set: {addresses}",
            "`podnet gc` releases what no pod uses; a larger range has more",
        )
    return found


def _free(
    store: Leases, addresses: RangeSet, index: int, holder: Holder
) -> tuple[Address, Range] | None:
    taken: set[str] = set()
    for tries, (address, source) in enumerate(addresses.walk(store.last(index))):
        if tries == _PROBES:
            taken = {name for name in store.taken() if store.is_taken(name)}
        if str(address) not in taken and store.take(address, holder):
            return address, source
    return None


def check(call: Call) -> None:
    """Check that the attachment still has its leases."""
    request = Request.of(call)
    with leases.opened(request.data_dir, call.network) as store:
        held = set(store.of(Holder(call.container_id, call.ifname)))
    if not held:
        raise CniError(f"host-local: Failed to find address added by container {call.container_id}")
    assigned = {ip.address.ip for ip in call.prev_result.ips} if call.prev_result else set()
    for address in assigned:
        if any(s.holding(address) for s in request.sets) and address not in held:
            raise CniError(f"host-local: {address} is not leased to {call.container_id} any more")


def delete(call: Call) -> None:
    """Release the attachment's leases; there may be none."""
    request = Request.of(call)
    if not (request.data_dir / call.network).is_dir():
        return
    with leases.opened(request.data_dir, call.network) as store:
        store.release(Holder(call.container_id, call.ifname))


def gc(call: Call) -> None:
    """Release the leases of every attachment that is not valid, and what is no lease at all."""
    request = Request.of(call)
    valid = {Holder(cid, ifname) for cid, ifname in call.valid_attachments}
    valid |= {Holder(cid) for cid, _ in call.valid_attachments}
    if not (request.data_dir / call.network).is_dir():
        return
    with leases.opened(request.data_dir, call.network) as store:
        for path, holder in list(store.every()):
            if holder not in valid:
                store.release(holder)
                path.unlink(missing_ok=True)


def status(call: Call) -> None:
    """Say whether every set has an address left, and leases can be written."""
    request = Request.of(call)
    try:
        with leases.opened(request.data_dir, call.network) as store:
            room.require(request.data_dir)
            taken = store.taken()
    except OSError as exc:
        message = f"leases cannot be written in {request.data_dir}: {exc.strerror}"
        raise CniError(message, code=Code.NOT_AVAILABLE) from exc
    for index, addresses in enumerate(request.sets):
        if _is_exhausted(store, addresses, taken):
            raise CniError(
                f"no IP addresses available in range set {index}: {addresses}",
                code=Code.NOT_AVAILABLE,
            )


def _is_exhausted(store: Leases, addresses: RangeSet, taken: set[str]) -> bool:
    """Tell whether every address has a lease; the costlier looks are for when it seems so."""
    if not all(str(address) in taken for address, _ in addresses.walk(None)):
        return False
    spoilt = {path.name for path in store.spoilt()}
    return all(
        store.is_taken(address) and str(address) not in spoilt
        for address, _ in addresses.walk(None)
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


PLUGIN = Plugin(
    "host-local",
    add=add,
    check=check,
    delete=delete,
    gc=gc,
    status=status,
    about="Assigns addresses from ranges, and keeps the leases as files on this host.",
    config=HostLocalConfig,
    section=SECTION,
)


def main() -> None:
    """Run the plugin."""
    run(PLUGIN)
