"""What is seen of a scenario's world: what is so at a failure, and what is left of pods that are gone.

Looks, and changes nothing on the Node.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from podnet.kernel.facts import Fact
from podnet.rig import picture
from podnet.rig.faults import Place
from podnet.rig.picture import Picture
from podnet.rig.residue import Marks, Scope, residues
from podnet.rig.scenario import circumstances
from podnet.rig.scenario.evidence import Evidence, Moment
from podnet.rig.scenario.world import World, types_of

# What goes with a link that is left.
_SECONDARY = frozenset({"sysctl", "address", "route", "neighbour", "fdb"})


def at_its_end(world: World, moment: Moment) -> Moment:
    """Return *moment* with what is so now; the circumstances only where it failed."""
    caches = world.node.run(circumstances.unreadable, world.places)
    if moment.error is None:
        return replace(moment, caches=caches)
    chain = {plugin for network in world.scenario.networks for plugin in types_of(network)}
    # A plugin may call another that no network names; one that is gone is worth a word.
    gone = {fault.plugin for fault in world.faults if fault.place is Place.FILE}
    files = {name: world.directory / "plugins" / name for name in chain | gone}
    return replace(
        moment,
        caches=caches,
        absent=tuple(sorted(n for n, path in files.items() if not path.exists())),
        unexecutable=tuple(
            sorted(n for n, p in files.items() if p.exists() and not p.stat().st_mode & 0o111)
        ),
        locks=tuple(sorted(world.node.run(circumstances.locks))),
        disks=world.node.run(circumstances.disks, [Path(f.value) for f in world.faults]),
        pools=world.node.run(
            circumstances.pools, world.scenario.networks, world.driver.containers()
        ),
    )


@contextmanager
def not_a_plugins(world: World) -> Iterator[None]:
    """Whatever comes meanwhile is no plugin's, and may stay."""
    before = picture.take(world.node)
    try:
        yield
    finally:
        world.start |= picture.take(world.node) - before


def leaks(world: World) -> tuple[str, ...]:
    """Return what is left of pods that are gone, in words."""
    now = picture.take(world.node)
    containers = world.driver.containers()
    marks = Marks(
        names={h.outcome.invocation.environment["CNI_CONTAINERID"] for h in world.heard} - {""},
        addresses={str(ip.address.ip) for _, result in world.driver.added for ip in result.ips},
    )
    excused = _of_the_living(world, now - world.start)
    faults = {fault.value for fault in world.faults if fault.place is Place.NODE}
    found = [
        f"{fact.kind} {fact.key}"
        for residue in residues(world.start, now, now, marks)
        if residue.leak and residue.scope is Scope.ATTACHMENT
        for fact in residue.facts
        if fact.kind not in _SECONDARY
        and not _bears(fact, excused)
        and not (fact.kind == "mount" and fact.key.partition(" ")[2] in faults)
    ]
    leases = world.node.run(circumstances.leases).items()
    lost = [f"file {path}" for path, owner in leases if owner not in containers]
    return tuple(dict.fromkeys([*found, *lost]))


def _of_the_living(world: World, new: Picture) -> set[str]:
    """Return the names that say of what is new that it is a living pod's."""
    containers = world.driver.containers()
    living = {*world.driver.states(), *containers}
    links = {fact for fact in new if fact.kind == "link" and fact.where == picture.NODE}
    theirs = {
        interface.name
        for attachment, result in world.driver.added
        if attachment.container_id in containers
        for interface in result.interfaces
        if not interface.sandbox
    }
    return living | theirs | {link.key for link in links if _bears(link, living)}


def evidence(world: World, moments: Sequence[Moment]) -> Evidence:
    """Return all that was seen."""
    leases = world.node.run(circumstances.leases)
    living = world.driver.containers()
    return Evidence(
        moments=tuple(moments),
        added=tuple(world.driver.added),
        rebooted=world.rebooted,
        leaks=leaks(world),
        known=tuple(living),
        empty_leases=tuple(str(path) for path, owner in leases.items() if not owner),
        stale_leases=tuple(
            str(path) for path, owner in leases.items() if owner and owner not in living
        ),
    )


def _bears(fact: Fact, names: Collection[str]) -> bool:
    said = f"{fact.where} {fact.key} {' '.join(str(value) for _, value in fact.attributes)}"
    return any(name in said for name in names)
