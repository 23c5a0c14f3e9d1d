"""What came of a step, collected for the keys that its expectations have, and no others.

Looks, and judges nothing.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from podnet.cni.wire import Fields
from podnet.rig import picture
from podnet.rig.scenario import observed
from podnet.rig.scenario.acts import Actor
from podnet.rig.scenario.causes import causes
from podnet.rig.scenario.evidence import Moment
from podnet.rig.scenario.expectations import Found
from podnet.rig.scenario.world import World


def found(
    expect: Fields, error: Exception | None, actor: Actor, moments: Sequence[Moment]
) -> Found:
    """Collect what is expected something of, of what came of the last step."""
    asked = expect.values.keys()
    world, added = actor.world, actor.world.driver.added
    return Found(
        error=error,
        stdout=actor.printed,
        reached=actor.reached,
        result=added[-1][1].to_wire() if added else None,
        leaks=observed.leaks(world) if "leaks" in asked else (),
        states={
            "files": world.node.run(_files, _names(expect, "files")),
            "links": world.node.run(_links, _names(expect, "links")),
            "kernel": _facts(world, _names(expect, "kernel")),
            "pods": world.driver.states() if "pods" in asked else {},
        },
        causes=[c.name for c in causes(observed.evidence(world, moments))]
        if "cause" in asked
        else (),
    )


def _names(expect: Fields, key: str) -> list[str]:
    child = expect.child(key)
    return list(child.values) if child else []


def _files(paths: Sequence[str]) -> dict[str, str]:
    return {path: _file(Path(path)) for path in paths}


def _file(path: Path) -> str:
    if not os.path.lexists(path):
        return "absent"
    return "present" if path.is_dir() or path.stat().st_size else "empty"


def _facts(world: World, parts: Sequence[str]) -> dict[str, str]:
    told = [f"{f.where} {f}" for f in picture.take(world.node)] if parts else []
    return {p: "present" if any(p in fact for fact in told) else "absent" for p in parts}


def _links(names: Sequence[str]) -> dict[str, str]:
    return {n: "present" if Path("/sys/class/net", n).exists() else "absent" for n in names}
