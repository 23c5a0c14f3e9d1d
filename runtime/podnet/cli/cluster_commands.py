"""Commands about clusters: Nodes with managers, and what breaks them."""

import os
import time
from collections.abc import Callable
from typing import Annotated

import typer

from podnet.cli.output import Form, FormOption, show
from podnet.cli.session import Session
from podnet.cluster import faults, record
from podnet.cluster.clusters import Clusters, inspect
from podnet.cluster.record import BACKENDS, DEFAULT, Cluster, Store

app = typer.Typer(help="Clusters: Nodes, the underlay between them, and their network managers.")
Name = Annotated[str, typer.Argument(metavar="[NAME]", help="The cluster.")]
NodeNames = Annotated[
    list[str],
    typer.Argument(metavar="NODE...", help=f"Nodes of a cluster; {record.STORE} is its etcd."),
]
Patience = Annotated[float, typer.Option("--wait", min=0.1, help="Seconds until all are ready.")]


def clusters() -> Clusters:
    """Return the clusters of this machine."""
    return Clusters.here(os.environ)


@app.command()
def up(  # noqa: PLR0913
    context: typer.Context,
    *,
    name: Annotated[str, typer.Option(help="What it is called.")] = DEFAULT,
    count: Annotated[int, typer.Option("--nodes", "-n", min=1, help="How many Nodes.")] = 3,
    backend: Annotated[
        str, typer.Option(help=f"How packets travel: {', '.join(BACKENDS)}.")
    ] = BACKENDS[0],
    store: Annotated[Store, typer.Option(help="Where leases are kept.")] = Store.SQLITE,
    dual_stack: Annotated[bool, typer.Option("--dual-stack", help="IPv6 for pods, too.")] = False,
    wait: Patience = 60.0,
) -> None:
    """Make Nodes n1, n2, … with managers; `podnet --node n2 create web` makes a pod on one."""
    session: Session = context.obj
    began = time.monotonic()
    wish = Cluster(
        name=name,
        members=record.numbered(name, count),
        backend={"Type": backend},
        store=store,
        ipv6_network=record.IPV6_NETWORK if dual_stack else "",
    )
    clusters().up(wish, patience=wait, say=session.note)
    took = time.monotonic() - began
    first, last = wish.members[0].name, wish.members[-1].name
    members = f"{first} to {last}" if count > 1 else first
    session.note(f"cluster {name} is ready after {took:.2f} s: Nodes {members}, {backend}")


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
    known = clusters()
    loaded = [known.load(name) for name in known.names()]
    items = [
        {
            "name": c.name,
            "nodes": [member.name for member in c.members],
            "backend": c.backend_type,
            "store": str(c.store),
            "whole": c.is_whole,
        }
        for c in loaded
    ]
    columns = {
        "NAME": lambda item: item["name"],
        "NODES": lambda item: item["nodes"],
        "BACKEND": lambda item: item["backend"],
        "STORE": lambda item: item["store"],
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


for _fault in (
    faults.cut,
    faults.restore,
    faults.stop,
    faults.kill,
    faults.restart,
    faults.freeze,
    faults.thaw,
):
    app.command(_fault.__name__)(_on_nodes(_fault))


@app.command()
def start(nodes: NodeNames, *, wait: Patience = 60.0) -> None:
    """Start a Node's process again, and wait until it is ready."""
    for node in nodes:
        faults.start(clusters(), node, patience=wait)
