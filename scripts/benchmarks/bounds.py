"""What bounds a plugin: the kernel's and the firewall programs' own share, done bare.

Everything here does, in a warm process and with nothing around it, what no plugin of that
kind can do without: the netlink messages, or one run of nft or iptables.
"""

import os
from collections.abc import Callable
from ipaddress import ip_interface, ip_network
from pathlib import Path

from benchmarks.measure import milliseconds
from podnet.kernel import addresses, links, namespaces, programs, routes, traffic
from podnet.kernel.netlink import Netlink
from podnet.kernel.routes import Route
from podnet.kernel.traffic import TokenBucket

_NETNS, _BRIDGE, _HOST, _IFB = "/run/netns/bound", "bound0", "bound1", "bound2"
_BUCKET = TokenBucket.of(rate=100_000_000, burst=10_000_000)
_NFT_TABLE = """\
add table ip bound
add chain ip bound nat { type nat hook prerouting priority -100; }
"""
_NFT = 'add rule ip bound nat tcp dport 8080 dnat to 10.1.0.2:80 comment "bound"'
_CHAIN = "*filter\n:BOUND - [0:0]\nCOMMIT\n"
_IPTABLES = "*filter\n-{} BOUND -s 10.1.0.2/32 -j ACCEPT\nCOMMIT\n"


def measure(count: int) -> dict[str, list[float]]:
    """Do everything so many times, in the Node we are in; return the milliseconds by name."""
    times: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        times.setdefault(name, []).append(milliseconds(work))

    namespaces.create(Path(_NETNS))
    home = os.open(namespaces.OWN, os.O_RDONLY)
    with Netlink() as host:
        links.add_bridge(host, _BRIDGE)
        links.set_up(host, _index(host, _BRIDGE))
        with namespaces.entered(_NETNS):
            inside = Netlink()
        for _ in range(count):
            timed("veth", lambda: _veth(host, inside, home))
            timed("ifb", lambda: _ifb(host))
            timed("MTU", lambda: links.set_mtu(inside, _index(inside, "eth0"), 1400))
            timed("ifb removal", lambda: links.delete(host, _IFB))
            timed("veth removal", lambda: links.delete(inside, "eth0"))
        inside.close()
        links.delete(host, _BRIDGE)
    os.close(home)
    namespaces.delete(Path(_NETNS))
    _run("nft", "-f", "-", stdin=_NFT_TABLE)
    _run("iptables-restore", "--noflush", stdin=_CHAIN)
    for _ in range(count):
        timed("nft", lambda: _run("nft", "-f", "-", stdin=_NFT))
        timed("nft list", lambda: _run("nft", "--json", "list", "table", "ip", "bound"))
        timed("iptables-save", lambda: _run("iptables-save"))
        for name, letter in (("iptables-restore", "A"), ("iptables-restore -D", "D")):
            rule = _IPTABLES.format(letter)
            timed(name, lambda r=rule: _run("iptables-restore", "--noflush", stdin=r))  # type: ignore[misc]
    return times


def _veth(host: Netlink, inside: Netlink, home: int) -> None:
    """A pair, a bridge port, an address and a default route."""
    links.add_veth(inside, "eth0", peer=_HOST, peer_netns=home)
    links.add_port(host, _HOST, bridge=_index(host, _BRIDGE))
    index = _index(inside, "eth0")
    addresses.add(inside, index, ip_interface("10.1.0.2/24"))
    links.set_up(inside, index)
    gateway = ip_interface("10.1.0.1/24").ip
    routes.add(inside, Route(dst=ip_network("0.0.0.0/0"), oif=index, gw=gateway))


def _ifb(host: Netlink) -> None:
    """What limits both directions of a veth, but for the queue that dies with it."""
    links.add_ifb(host, _IFB, mtu=1500)
    ifb, port = _index(host, _IFB), _index(host, _HOST)
    traffic.add_token_bucket(host, ifb, _BUCKET)
    traffic.add_token_bucket(host, port, _BUCKET)
    traffic.add_ingress(host, port)
    traffic.redirect(host, port, to=ifb)


def _index(netlink: Netlink, name: str) -> int:
    link = links.find(netlink, name)
    if link is None:
        raise LookupError(f"no link {name}")
    return link.index


def _run(*command: str, stdin: str = "") -> None:
    done = programs.run(*command, stdin=stdin)
    if done.status:
        raise RuntimeError(done.stderr)
