"""``podnet leaks``: does anything stay behind when pods come and go?"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from podnet.cli import failures, leak_views, parsing
from podnet.cli.output import Form, FormOption
from podnet.cli.pod_commands import Arguments, Bandwidth, Capabilities, Ips, Mac, Ports
from podnet.cli.progress import progress
from podnet.cli.session import Session
from podnet.cni.config import Network
from podnet.errors import LeakError, UsageError
from podnet.rig import leaks as detector
from podnet.rig.cycles import Plan
from podnet.rig.faults import Place, at
from podnet.rig.picture import WHOLE
from podnet.wishes import Wish

#: What is asked of a network that takes it, where nothing is asked: or its plugins do nothing.
_ASKED: dict[str, object] = {
    "portMappings": [
        {"hostPort": 18080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 18053, "containerPort": 53, "protocol": "udp"},
    ],
    "bandwidth": parsing.bandwidth("ingress=100M,egress=100M,ingressBurst=8M,egressBurst=8M"),
}


def leaks(  # noqa: PLR0913  what is asked of a network
    context: typer.Context,
    network: Annotated[
        str | None,
        typer.Argument(
            metavar="[NETWORK|CONFLIST]",
            help="A network, or the path of its file; default: the first.",
        ),
    ] = None,
    *,
    cycles: Annotated[int, typer.Option(min=1, help="How often pods come and go.")] = 3,
    at_once: Annotated[
        int,
        typer.Option(
            min=1,
            max=12,  # a Node has sixteen threads
            help="How many pods come, and go, at the same time.",
        ),
    ] = 1,
    check: Annotated[bool, typer.Option("--check", help="CHECK each pod, too.")] = False,
    lose: Annotated[
        bool,
        typer.Option(
            "--lose-netns", help="Remove the pod's namespace before DEL, as a reboot does."
        ),
    ] = False,
    prepare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COMMAND",
            help="Run this on the Node first (no shell): 'ip link add up0 type veth'. Repeatable.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Nothing may stay, not for the next pod either.")
    ] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="This may stay: 'file /var/lib/mine/*', 'rule *'. Repeatable."
        ),
    ] = None,
    watch: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIRECTORY",
            help="Look at the files there, too; /run, /var/lib and /etc/cni are looked at. Repeatable.",
        ),
    ] = None,
    publish: Ports = None,
    ip: Ips = None,
    mac: Mac = "",
    bandwidth: Bandwidth = "",
    cap: Capabilities = None,
    arg: Arguments = None,
    output: FormOption = Form.TABLE,
) -> None:
    """Let pods come and go in a Node of its own, and say what they leave, and which plugin left it.

    What bears a mark of a pod, or is of a kind that pods do not share, must vanish: class
    attachment. What the next pod will use, too, may stay but not grow: class network. Of what
    was there before, class host, only forwarding and the like may change. Exit status 5 when
    something leaks. With --fault something goes wrong in each cycle, and what that leaves is told.
    """
    session: Session = context.obj
    session.takes_no("--diff")
    for fault in at(session.faults, Place.NODE):
        raise UsageError(
            f"the fault {fault} is one of a Node, and each cycle is on the same",
            "a fault of a plugin, or a scenario that expects leaks: []",
        )
    chosen = session.network(network)
    asked = parsing.Asked(
        ports=publish or (),
        ips=ip or (),
        mac=mac,
        bandwidth=bandwidth,
        servers=(),
        searches=(),
        capabilities=cap or (),
        args=arg or (),
    )
    plan = Plan(
        wish=_wish(session, chosen, asked),
        places=session.places,
        cycles=cycles,
        at_once=at_once,
        check=check,
        lose=lose,
        prepare=tuple(prepare or ()),
        strict=strict,
        allowed=tuple(allow or ()),
        frame=replace(
            WHOLE, directories=(*WHOLE.directories, *(str(path.absolute()) for path in watch or ()))
        ),
        timeout=session.timeout,
        host=session.plugin_host_to_use(),
        behind=session.behind_shims,
        go_on=bool(session.faults),
    )
    with progress(f"{cycles} pods come and go on {chosen.name}", cycles) as advance:
        report = detector.detect(plan, advance=advance)
    leak_views.show_report(report, output)
    for lie in report.untrue:
        session.note(f"the result is not true: {lie}")
    session.note(
        f"{_counted(report.cycles, 'cycle')}, {_counted(report.invocations, 'invocation')} "
        f"in {report.seconds:.1f} s: {_counted(len(report.leaks), 'leak')}"
    )
    status = failures.report(report.failure, f"network {chosen.name}") if report.failure else 0
    sys.exit(LeakError.exit_code if report.leaks else status)


def _counted(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _wish(session: Session, network: Network, asked: parsing.Asked) -> Wish:
    """Ask something of the plugins that do nothing unless they are asked."""
    args, given = asked.of(network)
    taken = {capability for plugin in network.plugins for capability in plugin.capabilities}
    added = {key: value for key, value in _ASKED.items() if key in taken and key not in given}
    if added:
        session.note(f"asked of {network.name}, which takes it: {', '.join(added)}")
    return Wish(network=network, args=args, capability_args={**added, **given})


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command()(leaks)
