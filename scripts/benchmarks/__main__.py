"""Run the groups that were asked for, print their rows as they come.

Every group makes a Node in memory, takes turns between ours and the peer so that both see
the same machine, and yields rows.  A row's name begins with its group.  Ratios are what
counts: ours divided by the peer's, below 1 is faster.
"""

import argparse
import json
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks import clusters, fixture, invocation, leases, libcni, plugins, pods, shell
from benchmarks.measure import Row
from benchmarks.printing import Lines, Markdown

ROOT = Path(__file__).parent.parent.parent
GROUPS = {
    "libcni": libcni.rows,
    "invocation": invocation.rows,
    "shell": shell.rows,
    "pods": pods.rows,
    "leases": leases.rows,
    "plugins": plugins.rows,
    "clusters": clusters.rows,
    "fixture": fixture.rows,
}


def main() -> None:
    """Run the groups that were asked for."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(GROUPS), help="one group")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    parser.add_argument("--markdown", action="store_true", help="print tables for the docs")
    parser.add_argument("--count", type=int, default=30, help="samples of each, at least")
    asked = parser.parse_args()
    printer = Markdown(asked.count) if asked.markdown else Lines()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as directory:
        peer = Path(directory, "libcni-peer")
        subprocess.run([ROOT / "tests/peers/libcni/build", peer], check=True)
        for name in [asked.only] if asked.only else GROUPS:
            for one in GROUPS[name](peer, asked.count):
                rows.append(one)
                printer.print(one)
    if asked.json:
        asked.json.write_text(json.dumps([asdict(one) for one in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
