"""What is joined to what on a Node, as a Mermaid graph, for people."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from podnet.kernel import addresses, links, namespaces
from podnet.kernel.netlink import Netlink
from podnet.node import Node
from podnet.rig.picture import NODE

_PINS = Path("/run/netns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A link, where it is.

    Attributes:
        where: The namespace: NODE, or the name of a pinned one.
        link: The link.
        addresses: What it has.
    """

    where: str
    link: links.Link
    addresses: tuple[str, ...] = ()


def look(node: Node) -> list[Seen]:
    """Return the links of a Node and of the network namespaces pinned on it, lo left out."""
    return node.run(_look)


def _look() -> list[Seen]:
    found = _inside(NODE)
    for name in sorted(os.listdir(_PINS)) if _PINS.is_dir() else ():  # noqa: PTH208
        if namespaces.is_namespace(str(_PINS / name)):  # or a file that somebody left there
            with namespaces.entered(str(_PINS / name)):
                found += _inside(name)
    return found


def _inside(where: str) -> list[Seen]:
    with Netlink() as netlink:
        given = addresses.of(netlink, 0)
        return [
            Seen(
                where=where,
                link=link,
                addresses=tuple(
                    str(one.interface)
                    for one in given
                    if one.index == link.index and not one.interface.ip.is_link_local
                ),
            )
            for link in links.every(netlink)
            if link.name != "lo"
        ]


def mermaid(found: Sequence[Seen]) -> str:
    """Return a graph: a box for each namespace, a line for each pair and each port.  Pure."""
    places = sorted({one.where for one in found}, key=lambda where: (where != NODE, where))
    lines = ["graph LR"]
    for number, where in enumerate(places):
        lines.append(f'  subgraph p{number}["{_quoted(where)}"]')
        for name, one in enumerate(found):
            if one.where == where:
                lines.append(f'    l{name}["{_label(one)}"]')
        lines.append("  end")
    return "\n".join((*lines, *_joints(found))) + "\n"


def _label(one: Seen) -> str:
    parts = (one.link.name, one.link.kind, *sorted(one.addresses))
    return "<br/>".join(_quoted(part) for part in parts if part)


def _joints(found: Sequence[Seen]) -> Iterator[str]:
    numbers = {(one.where, one.link.index): number for number, one in enumerate(found)}
    for number, one in enumerate(found):
        bridge = numbers.get((one.where, one.link.master))
        if one.link.master and bridge is not None:
            yield f"  l{number} --- l{bridge}"
        peers = [n for n in range(number + 1, len(found)) if _are_a_pair(one, found[n])]
        if len(peers) == 1:  # numbers are a namespace's own: two that fit are one too many
            yield f"  l{number} === l{peers[0]}"


def _are_a_pair(one: Seen, other: Seen) -> bool:
    ends, others = one.link, other.link
    crossed = ends.peer == others.index and others.peer == ends.index
    return ends.kind == others.kind == "veth" and crossed


def _quoted(text: str) -> str:
    return text.replace('"', "#quot;").replace("<", "#lt;")
