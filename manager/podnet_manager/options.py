"""The manager's options: their names, what they mean, and which values make sense.

Knows no manager: what becomes of them is podnet_manager.main's.
"""

import argparse
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from podnet_manager.store import DAY

#: The variable that has the password: others can read a command line.
PASSWORD = "PODNET_ETCD_PASSWORD"  # noqa: S105  not the password
_STATE = Path("/var/lib/podnet-manager")


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(
        prog="podnet-manager",
        description="Lease this Node a subnet, write subnet.env, keep the routes to all other Nodes.",
        epilog="SIGTERM ends it and leaves the data path up; --cleanup removes it. "
        "Exit status: 0 done, 1 failed, 2 usage or configuration, 7 the system lacks something.",
    )
    add = made.add_argument
    add(
        "--store",
        type=Path,
        default=_STATE / "leases.db",
        metavar="FILE",
        help="the embedded lease store, shared by the Nodes of one machine",
    )
    add(
        "--etcd-endpoints",
        default="",
        metavar="URL[,URL…]",
        help="the lease store in etcd, shared with flannel's daemons, instead of the embedded one",
    )
    add("--etcd-prefix", default="/coreos.com/network", metavar="PATH", help="where in etcd")
    add("--etcd-cafile", type=Path, metavar="FILE", help="who vouches for etcd")
    add("--etcd-certfile", type=Path, metavar="FILE", help="our certificate")
    add("--etcd-keyfile", type=Path, metavar="FILE", help="its key")
    add(
        "--etcd-username",
        default="",
        metavar="NAME",
        help=f"where etcd wants one; the password is in {PASSWORD}",
    )
    add(
        "--net-config",
        type=Path,
        metavar="FILE",
        help="net-conf.json, put in the store if that has none",
    )
    add(
        "--iface",
        default="",
        metavar="NAME|ADDRESS",
        help="the interface to the other Nodes; default: that of the default route",
    )
    add(
        "--iface-can-reach",
        type=_address,
        metavar="ADDRESS",
        help="or the interface by which this address is reached",
    )
    add(
        "--public-ip",
        type=_ipv4,
        metavar="ADDRESS",
        help="the Node's IPv4 address for the others; default: the interface's",
    )
    add("--public-ipv6", type=_ipv6, metavar="ADDRESS", help="likewise, IPv6")
    add(
        "--subnet-file",
        type=Path,
        default=Path("/run/flannel/subnet.env"),
        metavar="FILE",
        help="what plugins read (default: %(default)s)",
    )
    add(
        "--state-dir",
        type=Path,
        default=_STATE,
        metavar="DIR",
        help="what outlives a reboot, the leases known last included (default: %(default)s)",
    )
    add(
        "--run-dir",
        type=Path,
        default=Path("/run/podnet-manager"),
        metavar="DIR",
        help="BIRD's configuration, control socket and log (default: %(default)s)",
    )
    add("--ip-masq", action="store_true", help="masquerade what leaves the network")
    add(
        "--forward-rules",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="let the network's traffic through the forward hook",
    )
    add(
        "--lease-ttl",
        type=_seconds,
        default=DAY,
        metavar="SECONDS",
        help="how long a lease lasts without renewal (default: a day)",
    )
    add(
        "--clock-file",
        type=Path,
        metavar="FILE",
        help="how many seconds the clock of leases is ahead, read again at SIGHUP: for tests",
    )
    add(
        "--resync",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="how often the kernel is looked at where nothing has happened (default: %(default)s)",
    )
    add(
        "--health",
        default="",
        metavar="ADDRESS",
        help="answer /healthz, /readyz and /metrics on HOST:PORT or unix:PATH",
    )
    add("--log-format", choices=("text", "json"), default="text", help="on stderr")
    add(
        "--cleanup",
        action="store_true",
        help="remove routes, links, rules and subnet.env, and exit",
    )
    add(
        "--release",
        action="store_true",
        help="the same, and give back the lease that has this Node's public address",
    )
    return made


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no IP address") from None


def _ipv4(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no IPv4 address") from None


def _ipv6(text: str) -> IPv6Address:
    try:
        return IPv6Address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no IPv6 address") from None


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return value
