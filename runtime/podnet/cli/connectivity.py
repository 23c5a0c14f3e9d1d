"""`podnet probe --all`: everybody asks everybody, on one Node or in a cluster, and how that looks."""

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NoReturn

from podnet.cli.output import API_VERSION, Form, document, table, write
from podnet.cluster import matrix
from podnet.cluster.clusters import Clusters
from podnet.cluster.matrix import Cell
from podnet.cluster.record import DEFAULT
from podnet.node import Node


def probe_all(name: str, wait: float, output: Form) -> NoReturn:
    """Probe the pods of cluster *name*, or of this Node where there is none, and exit."""
    clusters = Clusters.here(os.environ)
    if not name and DEFAULT in clusters.names():  # a Node has no clusters of its own
        name = DEFAULT
    with ExitStack() as stack:
        if name:
            members = stack.enter_context(clusters.opened(clusters.load(name)))
        else:
            members = [stack.enter_context(Node.here())]
        cells = matrix.probe(matrix.ends(stack, members), timeout=wait)
    _show(cells, output)
    sys.exit(0 if all(cell.outcome.reached for cell in cells) else 1)


def _show(cells: Sequence[Cell], form: Form) -> None:
    """Print who reaches whom: a row for every source, a column for every target."""
    if form in {Form.JSON, Form.YAML}:
        items = [_cell_item(cell) for cell in cells]
        document({"apiVersion": API_VERSION, "kind": "ProbeMatrix", "items": items}, form=form)
        return
    sources = list(dict.fromkeys(cell.source for cell in cells))
    targets = list(dict.fromkeys(cell.target for cell in cells))
    rows = [["FROM \\ TO", *targets]]
    for source in sources:
        found = [[c for c in cells if (c.source, c.target) == (source, t)] for t in targets]
        rows.append([source, *map(_verdict, found)])
    write(table(rows) if cells else "")
    failed = [cell for cell in cells if not cell.outcome.reached]
    for cell in failed:
        reason = cell.outcome.reason
        write(f"{cell.source} -> {cell.target} ({cell.address}) {cell.way}: {reason}\n")
    reached = len(cells) - len(failed)
    write(f"{reached} of {len(cells)} probes came back\n")


def _verdict(cells: Sequence[Cell]) -> str:
    """Return the ways that failed, "ok" when none did, "-" when none was tried."""
    failed = sorted({f"{c.way}/{c.address.version}" for c in cells if not c.outcome.reached})
    return ",".join(failed) or ("ok" if cells else "-")


def _cell_item(cell: Cell) -> dict[str, object]:
    return {
        "from": cell.source,
        "to": cell.target,
        "address": str(cell.address),
        "way": cell.way,
        "reached": cell.outcome.reached,
        "ms": round(cell.outcome.milliseconds, 3),
        "reason": cell.outcome.reason,
    }
