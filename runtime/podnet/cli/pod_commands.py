"""Commands that make, change and remove pods."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Annotated, TypeVar

import typer

from podnet.cli import failures, parsing, views
from podnet.cli.output import Form, FormOption
from podnet.cli.progress import progress
from podnet.cli.session import Session, cnitool_args, cnitool_capabilities
from podnet.cni.errors import CniError
from podnet.cni.versions import Verb
from podnet.errors import PodnetError, UsageError
from podnet.pod import Pod
from podnet.wishes import PodWish, Wish, planned

_JOBS = 8
T = TypeVar("T")

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Pods.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The pod.")]
Ports = Annotated[
    list[str] | None,
    typer.Option("--publish", "-p", metavar="[IP:]HOST:CONTAINER[/PROTO]", help="Map a port."),
]
Ips = Annotated[list[str] | None, typer.Option("--ip", help="Ask for this address. Repeatable.")]
Mac = Annotated[str, typer.Option("--mac", help="Ask for this hardware address.")]
Bandwidth = Annotated[
    str, typer.Option(metavar="ingress=10M,egress=5M", help="Limit the pod's rates, in bits/s.")
]
Servers = Annotated[list[str] | None, typer.Option("--dns", help="A name server. Repeatable.")]
Searches = Annotated[list[str] | None, typer.Option("--dns-search", help="A search domain.")]
Capabilities = Annotated[
    list[str] | None, typer.Option("--cap", metavar="KEY=JSON", help="Any capability argument.")
]
Arguments = Annotated[
    list[str] | None, typer.Option("--arg", metavar="K=V", help="Add to CNI_ARGS. Repeatable.")
]
Jobs = Annotated[int, typer.Option(min=1, help="How many pods at a time.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would run, and run nothing.")]


def create(  # noqa: PLR0913  the options of a pod
    context: typer.Context,
    names: Names,
    *,
    network: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            help="A network's name, or the path of its file. Repeatable; "
            "default: the first one there is.",
        ),
    ] = None,
    ifname: Annotated[
        list[str] | None, typer.Option(help="Interface names, in the order of the networks.")
    ] = None,
    publish: Ports = None,
    ip: Ips = None,
    mac: Mac = "",
    bandwidth: Bandwidth = "",
    dns: Servers = None,
    dns_search: Searches = None,
    cap: Capabilities = None,
    arg: Arguments = None,
    label: Annotated[list[str] | None, typer.Option(metavar="K=V", help="Label the pods.")] = None,
    netns: Annotated[str, typer.Option(help="Use this network namespace, do not make one.")] = "",
    container_id: Annotated[str, typer.Option(help="CNI_CONTAINERID; default: random.")] = "",
    jobs: Jobs = _JOBS,
    dry_run: DryRun = False,
    output: FormOption = Form.TABLE,
) -> None:
    """Make pods, and attach each to its networks.

    Options about ports, addresses, rates and names concern the first network.
    """
    session: Session = context.obj
    asked = parsing.Asked(
        ports=publish or (),
        ips=ip or (),
        mac=mac,
        bandwidth=bandwidth,
        servers=dns or (),
        searches=dns_search or (),
        capabilities=cap or (),
        args=arg or (),
    )
    wishes = list(_wishes(session, network or [None], ifname or [], asked))
    labels = dict(parsing.pair(text, "--label") for text in label or ())
    _refuse_shared(names, netns=netns, container_id=container_id)
    pods = [
        planned(
            PodWish(
                name=name, networks=wishes, labels=labels, netns=netns, container_id=container_id
            ),
            session.places,
        )
        for name in names
    ]
    if dry_run:
        views.show_plan([s for pod in pods for s in session.pods.preview(pod, Verb.ADD)], output)
        return
    made, status = _for_each(
        pods, session.pods.create, jobs=session.at_a_time(jobs), doing="creating"
    )
    views.show_pods(made, output)
    sys.exit(status)


def _wishes(
    session: Session, networks: Sequence[str | None], ifnames: Sequence[str], asked: parsing.Asked
) -> Iterator[Wish]:
    """Yield what is wanted of each network; cnitool's variables count, after the options."""
    if len(ifnames) > len(networks):
        raise UsageError(f"{len(ifnames)} --ifname for {len(networks)} networks")
    inherited = [(k, v) for k, v in cnitool_args(os.environ)]
    first_ifname = os.environ.get("CNI_IFNAME", "")
    for index, name in enumerate(networks):
        network = session.network(name)
        args, capability_args = asked.of(network) if index == 0 else ((), {})
        yield Wish(
            network=network,
            ifname=ifnames[index] if index < len(ifnames) else first_ifname if index == 0 else "",
            args=(*inherited, *args),
            capability_args=cnitool_capabilities(os.environ) | capability_args,
        )


def _refuse_shared(names: Sequence[str], *, netns: str, container_id: str) -> None:
    if len(set(names)) != len(names):
        raise UsageError("a name is given twice")
    if len(names) > 1 and (netns or container_id):
        raise UsageError("--netns and --container-id are for one pod")


def delete(  # noqa: PLR0913
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Pods.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every pod of this Node.")] = False,
    force: Annotated[
        bool, typer.Option(help="Go on where DEL fails, and forget the pod all the same.")
    ] = False,
    jobs: Jobs = _JOBS,
    dry_run: DryRun = False,
    output: FormOption = Form.TABLE,
) -> None:
    """Remove pods: DEL for every attachment, then the namespace."""
    session: Session = context.obj
    chosen = _chosen(session, names, everything=everything)
    if dry_run:
        pods = [session.pods.records.load(name) for name in chosen]
        views.show_plan([s for pod in pods for s in session.pods.preview(pod, Verb.DEL)], output)
        return

    def remove(name: str) -> str:
        session.pods.delete(name, force=force)
        return name

    gone, status = _for_each(chosen, remove, jobs=session.at_a_time(jobs), doing="deleting")
    for name in gone:
        session.note(f"deleted {name}")
    sys.exit(status)


def check(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Pods.")] = None,
    *,
    jobs: Jobs = _JOBS,
    dry_run: DryRun = False,
    output: FormOption = Form.TABLE,
) -> None:
    """Check that pods are as they were made; without names, all of them."""
    session: Session = context.obj
    chosen = _chosen(session, names, everything=not names)
    if dry_run:
        pods = [session.pods.records.load(name) for name in chosen]
        views.show_plan([s for pod in pods for s in session.pods.preview(pod, Verb.CHECK)], output)
        return
    fine, status = _for_each(
        chosen, session.pods.check, jobs=session.at_a_time(jobs), doing="checking"
    )
    for pod in fine:
        session.note(f"{pod.name} is as it was made")
    sys.exit(status)


def attach(  # noqa: PLR0913
    context: typer.Context,
    name: Name,
    *,
    network: Annotated[str, typer.Option(help="The network to join.")],
    ifname: Annotated[str, typer.Option(help="Interface name; default: the next ethN.")] = "",
    publish: Ports = None,
    ip: Ips = None,
    mac: Mac = "",
    bandwidth: Bandwidth = "",
    dns: Servers = None,
    dns_search: Searches = None,
    cap: Capabilities = None,
    arg: Arguments = None,
    output: FormOption = Form.TABLE,
) -> None:
    """Let a running pod join a network."""
    session: Session = context.obj
    asked = parsing.Asked(
        ports=publish or (),
        ips=ip or (),
        mac=mac,
        bandwidth=bandwidth,
        servers=dns or (),
        searches=dns_search or (),
        capabilities=cap or (),
        args=arg or (),
    )
    joined = session.network(network)
    args, capability_args = asked.of(joined)
    with failures.about(f"pod {name}"):
        session.pods.attach(
            name,
            Wish(network=joined, ifname=ifname, args=args, capability_args=capability_args),
        )
    views.show_pods([session.pods.records.load(name)], output)


def detach(
    context: typer.Context,
    name: Name,
    *,
    network: Annotated[str, typer.Option(help="The network to leave.")] = "",
    ifname: Annotated[str, typer.Option(help="Or the interface to remove.")] = "",
    output: FormOption = Form.TABLE,
) -> None:
    """Let a running pod leave a network; its other attachments stay."""
    session: Session = context.obj
    if not network and not ifname:
        raise UsageError("which attachment?", "say --network or --ifname")
    with failures.about(f"pod {name}"):
        session.pods.detach(name, network=network, ifname=ifname)
    views.show_pods([session.pods.records.load(name)], output)


def _chosen(session: Session, names: Sequence[str] | None, *, everything: bool) -> list[str]:
    if everything and names:
        raise UsageError("names and --all exclude each other")
    if not everything and not names:
        raise UsageError("which pods?", "names, or --all")
    return session.pods.records.names() if everything else list(dict.fromkeys(names or ()))


def _for_each(
    subjects: Sequence[Pod] | Sequence[str], act: Callable[..., T], *, jobs: int, doing: str
) -> tuple[list[T], int]:
    """Do something to every pod, some at a time; report every failure.

    Returns:
        What was returned, in order, and the exit status: the first failure's.
    """
    results: dict[int, T] = {}
    status = 0
    with progress(f"{doing} {len(subjects)} pods", len(subjects)) as advance:
        for index, outcome in _outcomes(subjects, act, jobs):
            subject = subjects[index]
            try:
                results[index] = outcome()
            except (PodnetError, CniError) as exc:
                name = subject.name if isinstance(subject, Pod) else subject
                status = failures.report(exc, f"pod {name}") or status
            advance()
    return [results[index] for index in sorted(results)], status


def _outcomes(
    subjects: Sequence[Pod] | Sequence[str], act: Callable[..., T], jobs: int
) -> Iterator[tuple[int, Callable[[], T]]]:
    """Yield what comes of each subject, as it comes; an interrupt starts no further one."""
    if len(subjects) == 1:  # here, where an interrupt reaches it
        yield 0, lambda: act(subjects[0])
        return
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        waiting: dict[Future[T], int] = {
            pool.submit(act, subject): index for index, subject in enumerate(subjects)
        }
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    for command in (create, delete, check, attach, detach):
        app.command()(command)
