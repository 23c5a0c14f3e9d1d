"""Commands about clusters: Nodes with managers, and what breaks them."""

import os
import signal
import sys
import time
from contextlib import ExitStack
from typing import Annotated

import typer

from podnet import matrix, places
from podnet.cli.output import Form, FormOption, show
from podnet.cli.session import Session, nodes
from podnet.cli.views import show_matrix
from podnet.cluster import BACKENDS, DEFAULT, Cluster, Clusters

app = typer.Typer(help="Clusters: Nodes, the underlay between them, and their network managers.")
Name = Annotated[str, typer.Argument(metavar="[NAME]", help="The cluster.")]
NodeName = Annotated[str, typer.Argument(metavar="NODE", help="A Node of a cluster.")]
Patience = Annotated[float, typer.Option("--wait", min=0.1, help="Seconds until all are ready.")]


def clusters() -> Clusters:
    """Return the clusters of this machine."""
    return Clusters(nodes(), places.resolve(os.environ).state / "clusters")


@app.command()
def up(
    context: typer.Context,
    name: Name = DEFAULT,
    *,
    count: Annotated[int, typer.Option("--nodes", "-n", min=1, help="How many Nodes.")] = 3,
    backend: Annotated[
        str, typer.Option(help=f"How packets travel: {', '.join(BACKENDS)}.")
    ] = BACKENDS[0],
    dual_stack: Annotated[bool, typer.Option("--dual-stack", help="IPv6 for pods, too.")] = False,
    wait: Patience = 60.0,
) -> None:
    """Make Nodes n1, n2, … with managers; `podnet --node n2 create web` makes a pod on one."""
    session: Session = context.obj
    began = time.monotonic()
    wish = Cluster(name=name, nodes=count, backend=backend, dual_stack=dual_stack)
    clusters().up(wish, patience=wait, say=session.note)
    took = time.monotonic() - began
    members = f"{wish.member(1)} to {wish.member(count)}" if count > 1 else wish.member(1)
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
    items = [{"name": c.name, "nodes": c.members, "backend": c.backend} for c in loaded]
    columns = {
        "NAME": lambda item: item["name"],
        "NODES": lambda item: ",".join(item["nodes"]),
        "BACKEND": lambda item: item["backend"],
    }
    show(items, kind="Cluster", form=output, columns=columns)


@app.command()
def inspect(name: Name = DEFAULT, *, output: FormOption = Form.TABLE) -> None:
    """Show each Node's lease and whether its manager is ready."""
    columns = {
        "NAME": lambda item: item["name"],
        "SUBNETS": lambda item: ",".join(item["subnets"]),
        "MTU": lambda item: item["mtu"],
        "MANAGER": lambda item: item["manager"],
    }
    show(clusters().inspect(name), kind="ClusterNode", form=output, columns=columns)


@app.command()
def probe(
    name: Name = DEFAULT,
    *,
    wait: Annotated[
        float, typer.Option("--wait", "-W", min=0.01, help="Seconds to wait for an answer.")
    ] = 3.0,  # a bridge that was made just now may drop packets for a second
    output: FormOption = Form.TABLE,
) -> None:
    """Try ICMP, TCP, UDP and MTU-sized packets from every Node and pod to every pod."""
    with ExitStack() as stack:
        cluster = clusters().load(name)
        members = [stack.enter_context(nodes().open(member)) for member in cluster.members]
        everybody = matrix.ends(stack, members)
        cells = matrix.probe(everybody, timeout=wait)
    show_matrix(cells, output)
    sys.exit(0 if all(cell.outcome.reached for cell in cells) else 1)


@app.command()
def cut(node: NodeName) -> None:
    """Cut a Node's link to the others."""
    clusters().cut(node)


@app.command()
def restore(node: NodeName) -> None:
    """Restore a link that was cut."""
    clusters().cut(node, restore=True)


@app.command()
def stop(
    node: NodeName,
    *,
    kill: Annotated[bool, typer.Option("--kill", help="With SIGKILL.")] = False,
) -> None:
    """End a Node's manager; the data path stays."""
    clusters().signal_manager(node, signal.SIGKILL if kill else signal.SIGTERM)


@app.command()
def start(node: NodeName, *, wait: Patience = 60.0) -> None:
    """Start a Node's manager again."""
    clusters().start_manager(node, patience=wait)


@app.command()
def freeze(node: NodeName) -> None:
    """Let a Node's manager sleep, as a machine without power to its processors."""
    clusters().signal_manager(node, signal.SIGSTOP)


@app.command()
def thaw(node: NodeName) -> None:
    """Let a frozen manager go on."""
    clusters().signal_manager(node, signal.SIGCONT)
