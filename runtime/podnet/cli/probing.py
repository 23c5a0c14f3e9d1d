"""Commands that try the network: ping and probe, with a prober of our own."""

import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated

import typer

from podnet.cli import views
from podnet.cli.output import API_VERSION, Form, FormOption, document, write
from podnet.cli.session import Session
from podnet.errors import UsageError
from podnet.kernel import namespaces, probes

#: The Node itself, as an end of a probe.
NODE = "@node"
Source = Annotated[str, typer.Argument(metavar="FROM", help=f"A pod, or {NODE}.")]
Target = Annotated[str, typer.Argument(metavar="TO", help=f"A pod, {NODE}, or an address.")]
MaybeSource = Annotated[str, typer.Argument(metavar="[FROM]", help=f"A pod, or {NODE}.")]
MaybeTarget = Annotated[str, typer.Argument(metavar="[TO]", help=f"A pod, {NODE}, or an address.")]
Six = Annotated[bool, typer.Option("--ipv6", "-6", help="By the target's IPv6 address.")]
Wait = Annotated[
    float, typer.Option("--wait", "-W", min=0.01, help="Seconds to wait for an answer.")
]


def ping(  # noqa: PLR0913
    context: typer.Context,
    source: Source,
    target: Target,
    *,
    count: Annotated[int, typer.Option("--count", "-c", min=1, help="How many.")] = 3,
    size: Annotated[
        int, typer.Option("--size", "-s", min=0, max=65000, help="Payload bytes.")
    ] = 56,
    ipv6: Six = False,
    wait: Wait = 1.0,
    output: FormOption = Form.TABLE,
) -> None:
    """Send ICMP echo requests from one pod to another; no ping program is needed."""
    session: Session = context.obj
    netns, (_, address) = _netns(session, source), _end(session, target, ipv6=ipv6)
    answers = [probes.icmp(netns, address, size=size, timeout=wait) for _ in range(count)]
    _tell(source, target, "icmp", address, answers, output)


def probe(  # noqa: PLR0913
    context: typer.Context,
    source: MaybeSource = "",
    target: MaybeTarget = "",
    *,
    tcp: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="Connect.")] = 0,
    udp: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="Send.")] = 0,
    icmp: Annotated[bool, typer.Option("--icmp", help="Echo.")] = False,
    ipv6: Six = False,
    everybody: Annotated[
        bool,
        typer.Option("--all", help="All pods and Nodes: ICMP, TCP, UDP, and the MTU's size."),
    ] = False,
    cluster: Annotated[
        str, typer.Option(help="Those of this cluster; default: the one called cluster, if any.")
    ] = "",
    wait: Wait = 3.0,
    output: FormOption = Form.TABLE,
) -> None:
    """Try TCP, UDP or ICMP from one pod to another; where nothing listens, podnet does.

    With --all, everything from everybody to everybody: of a cluster, or of this Node.
    """
    from podnet.cli.connectivity import probe_all  # noqa: PLC0415  loads what clusters need, 30 ms

    session: Session = context.obj
    chosen = [name for name, on in (("tcp", tcp), ("udp", udp), ("icmp", icmp)) if on]
    if everybody:
        if chosen or source or ipv6:
            raise UsageError("--all tries everything from everybody to everybody")
        probe_all(cluster, wait, output)
    if not (source and target):
        raise UsageError("from whom to whom?", "podnet probe FROM TO --icmp, or podnet probe --all")
    if len(chosen) != 1:
        raise UsageError("which protocol?", "one of --tcp PORT, --udp PORT, --icmp")
    netns, (sink, address) = _netns(session, source), _end(session, target, ipv6=ipv6)
    if tcp:
        answer = probes.tcp(netns, sink, address, tcp, timeout=wait)
    elif udp:
        answer = probes.udp(netns, sink, address, udp, timeout=wait)
    else:
        answer = probes.icmp(netns, address, timeout=wait)
    port = f"/{tcp or udp}" if tcp or udp else ""
    _tell(source, target, f"{chosen[0]}{port}", address, [answer], output)


def _netns(session: Session, name: str) -> str:
    """Return the namespace that *name* stands for."""
    if name == NODE:
        return namespaces.OWN
    pod = session.pods.records.load(name)
    if not session.pods.is_alive(pod):
        raise UsageError(f"pod {name} has no network namespace any more", "podnet gc")
    return pod.netns


def _end(session: Session, target: str, *, ipv6: bool) -> tuple[str, IPv4Address | IPv6Address]:
    """Return where a listener would be, and the address to reach it by."""
    try:
        return namespaces.OWN, ip_address(target)
    except ValueError:
        pass
    if target == NODE:
        raise UsageError(f"{NODE} has many addresses", "say which: the address itself")
    netns = _netns(session, target)
    addresses = map(ip_address, views.addresses_of(session.pods.records.load(target)))
    version = 6 if ipv6 else 4
    fitting = [address for address in addresses if address.version == version]
    if not fitting:
        raise UsageError(f"pod {target} has no IPv{version} address", "podnet list")
    return netns, fitting[0]


def _tell(
    source: str,
    target: str,
    how: str,
    address: IPv4Address | IPv6Address,
    answers: list[probes.Probe],
    form: Form,
) -> None:
    """Print what came of it; the exit status is 0 when something came back."""
    if form in {Form.JSON, Form.YAML}:
        items = [
            {"reached": a.reached, "ms": round(a.milliseconds, 3), "reason": a.reason}
            for a in answers
        ]
        head = {"from": source, "to": target, "address": str(address), "protocol": how}
        document({"apiVersion": API_VERSION, "kind": "Probe", **head, "items": items}, form=form)
    else:
        for a in answers:
            outcome = f"{a.milliseconds:.3f} ms" if a.reached else a.reason
            write(f"{source} -> {target} ({address}) {how}: {outcome}\n")
    sys.exit(0 if any(answer.reached for answer in answers) else 1)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command()(ping)
    app.command()(probe)
