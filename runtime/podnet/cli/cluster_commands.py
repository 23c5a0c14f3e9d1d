"""Commands about clusters: Nodes with managers, and what breaks them."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from podnet.cli import failures, parsing
from podnet.cli.output import Form, FormOption, document, show
from podnet.cli.session import Session
from podnet.cluster import faults, record, steps, workload
from podnet.cluster.clusters import Clusters, inspect
from podnet.cluster.record import BACKENDS, DEFAULT, Cluster, Store
from podnet.cluster.scenario import Scenario
from podnet.errors import UsageError

app = typer.Typer(help="Clusters: Nodes, the underlay between them, and their network managers.")
Name = Annotated[str, typer.Argument(metavar="[NAME]", help="The cluster.")]
NodeNames = Annotated[
    list[str],
    typer.Argument(metavar="NODE...", help=f"Nodes of a cluster; {record.STORE} is its etcd."),
]
NodeName = Annotated[str, typer.Argument(metavar="NODE", help="A Node of a cluster.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A cluster's file; see `schema`.")]
Patience = Annotated[float, typer.Option("--wait", min=0.1, help="Seconds until all are ready.")]
_COUNT = 3


def clusters() -> Clusters:
    """Return the clusters of this machine."""
    return Clusters.here(os.environ)


@app.command()
def up(  # noqa: PLR0913
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Nodes, pods and what happens; see `schema`."),
    ] = None,
    *,
    name: Annotated[str, typer.Option(help=f"What it is called; {DEFAULT}.")] = "",
    count: Annotated[int, typer.Option("--nodes", "-n", min=0, help="How many Nodes; 3.")] = 0,
    backend: Annotated[
        str, typer.Option(help=f"How packets travel: {', '.join(BACKENDS)}; {BACKENDS[0]}.")
    ] = "",
    store: Annotated[
        Store | None, typer.Option(help=f"Where leases are kept; {Store.SQLITE}.")
    ] = None,
    dual_stack: Annotated[bool, typer.Option("--dual-stack", help="IPv6 for pods, too.")] = False,
    wait: Patience = 60.0,
) -> None:
    """Make Nodes n1, n2, … with managers; `podnet --node n2 create web` makes a pod on one.

    With a FILE, make what it describes, and let happen what it says.
    """
    session: Session = context.obj
    if file is not None:
        if name or count or backend or store or dual_stack:
            raise UsageError("a file says it all", "options that describe a cluster go into it")
        scenario = _read(file)
    else:
        called = name or DEFAULT
        wish = Cluster(
            name=called,
            members=record.numbered(called, count or _COUNT),
            backend={"Type": backend or BACKENDS[0]},
            store=store or Store.SQLITE,
            ipv6_network=record.IPV6_NETWORK if dual_stack else "",
        )
        scenario = Scenario(wish)
    _up(session, scenario, wait)


def _up(session: Session, scenario: Scenario, wait: float) -> None:
    known, cluster = clusters(), scenario.cluster
    began = time.monotonic()
    known.up(cluster, patience=wait, say=session.note)
    if scenario.pods:
        started = time.monotonic()
        with known.opened(cluster) as nodes:
            workload.create(nodes, scenario.pods)
        session.note(f"{len(scenario.pods)} pods in {time.monotonic() - started:.2f} s")
    took = time.monotonic() - began
    first, last = cluster.members[0].name, cluster.members[-1].name
    members = first if first == last else f"{first} to {last}"
    told = f"Nodes {members}, {cluster.backend_type}"
    session.note(f"cluster {cluster.name} is ready after {took:.2f} s: {told}")
    steps.play(known, cluster, scenario.steps, session.note)


@app.command()
def play(context: typer.Context, file: File) -> None:
    """Let happen to a cluster that is up what its FILE says, once more."""
    session: Session = context.obj
    scenario = _read(file)
    known = clusters()
    steps.play(known, known.load(scenario.cluster.name), scenario.steps, session.note)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a cluster's file, for editors."""
    from podnet.cluster.schema import of_file  # noqa: PLC0415

    document(of_file(), form=Form.JSON)


def _read(file: Path) -> Scenario:
    from podnet.cluster.file import read  # noqa: PLC0415  loads YAML, 20 ms that only this needs

    return read(file)


@app.command()
def down(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Clusters.")
    ] = None,
) -> None:
    """Remove clusters with all their Nodes."""
    session: Session = context.obj
    for name in names or [DEFAULT]:
        clusters().down(name)
        session.note(f"cluster {name} is gone")


@app.command("list")
def list_clusters(*, output: FormOption = Form.TABLE) -> None:
    """List the clusters of this machine."""
    known, loaded = clusters(), list[Cluster]()
    for name in known.names():
        try:
            loaded.append(known.load(name))
        except UsageError as exc:  # the others are none the worse
            failures.report(exc)
    items = [
        {
            "name": c.name,
            "nodes": [member.name for member in c.members],
            "backend": c.backend_type,
            "store": str(c.store),
            "state": "made" if c.is_whole else "unfinished",
        }
        for c in loaded
    ]
    columns = {
        "NAME": lambda item: item["name"],
        "NODES": lambda item: item["nodes"],
        "BACKEND": lambda item: item["backend"],
        "STORE": lambda item: item["store"],
        "STATE": lambda item: item["state"],
    }
    show(items, kind="Cluster", form=output, columns=columns)


@app.command("inspect")
def inspect_cluster(name: Name = DEFAULT, *, output: FormOption = Form.TABLE) -> None:
    """Show each Node's lease and whether its manager is ready."""
    columns = {
        "NAME": lambda item: item["name"],
        "SUBNETS": lambda item: item["subnets"],
        "MTU": lambda item: item["mtu"],
        "MANAGER": lambda item: item["manager"],
    }
    wide = {"LABELS": lambda item: [f"{k}={v}" for k, v in item["labels"].items()]}
    show(inspect(clusters(), name), kind="ClusterNode", form=output, columns=columns, wide=wide)


def _on_nodes(fault: Callable[[Clusters, str], None]) -> Callable[[list[str]], None]:
    def command(nodes: NodeNames) -> None:
        for node in nodes:
            fault(clusters(), node)

    command.__doc__ = (fault.__doc__ or "").partition("\n\n")[0]
    return command


for _fault in faults.OF_A_NODE:
    app.command(_fault.__name__)(_on_nodes(_fault))


@app.command()
def unlink(node: NodeName, link: Annotated[str, typer.Argument(help="The link.")]) -> None:
    """Delete a link of a Node behind its manager's back."""
    faults.unlink(clusters(), node, link)


@app.command()
def unroute(
    node: NodeName,
    to: Annotated[str, typer.Argument(metavar="[TO]", help="A Node; all, if none is named.")] = "",
) -> None:
    """Delete a Node's routes to another Node's pods, behind its manager's back."""
    faults.unroute(clusters(), node, to)


@app.command()
def advance(
    node: NodeName, seconds: Annotated[float, typer.Argument(min=0, help="By how much.")]
) -> None:
    """Set the clock by which a Node keeps leases ahead, until it is rebooted."""
    faults.advance(clusters(), node, seconds)


@app.command()
def impair(
    node: NodeName,
    *,
    loss: Annotated[float, typer.Option(min=0, max=100, help="Percent of its packets.")] = 0,
    rate: Annotated[str, typer.Option(help="Bits per second: 500k, 10M.")] = "",
) -> None:
    """Lose a part of a Node's packets, and let the others through only so fast."""
    if not (loss or rate):
        raise UsageError("how?", "--loss PERCENT, --rate BITS")
    bits = parsing.rate(rate, f"--rate {rate}") if rate else 0
    faults.impair(clusters(), node, loss=loss, rate=bits)
