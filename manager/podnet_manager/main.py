"""podnet-manager: the command line of the network manager."""

import argparse
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from types import FrameType
from typing import NoReturn

from podnet.cni.errors import CniError
from podnet.errors import PodnetError, UsageError
from podnet.kernel.netlink import Netlink
from podnet_manager import acquire, health, identity, netconf, node
from podnet_manager.clock import Clock
from podnet_manager.daemon import Manager
from podnet_manager.log import Log
from podnet_manager.node import Choices
from podnet_manager.store import DAY, Store
from podnet_manager.store_sqlite import SqliteStore
from podnet_manager.tenure import Settings

_STATE = Path("/var/lib/podnet-manager")
_PASSWORD = "PODNET_ETCD_PASSWORD"  # noqa: S105  the variable that has it


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the manager, and exit with the status of what happened."""
    asked = _parser().parse_args(arguments)
    try:
        with _alone():
            _clean_up(asked) if asked.cleanup or asked.release else _run(asked)
    except (PodnetError, CniError) as exc:
        _end(exc)
    _end()


def _end(*failures: Exception) -> NoReturn:
    """Say what went wrong, and exit with the status of the first."""
    for exc in failures:
        sys.stderr.write(f"error: {exc}\n")
    match failures:
        case ():
            sys.exit(0)
        case (CniError(), *_):
            sys.exit(UsageError.exit_code)
        case (PodnetError() as first, *_):
            sys.exit(first.exit_code)
        case _:
            sys.exit(PodnetError.exit_code)


def _run(asked: argparse.Namespace) -> None:
    log = Log(as_json=asked.log_format == "json")
    holder, clock = identity.of(asked.state_dir), _clock(asked.clock_file)
    manager = Manager(_settings(asked, holder, clock), _store(asked, holder, clock), log)

    def stop(_: int, __: FrameType | None) -> None:
        manager.stop()

    def look_at_clock() -> None:
        try:
            clock.set()
        except (OSError, ValueError) as exc:
            log.complain("the clock stays as it was", file=asked.clock_file, reason=exc)
        manager.wake()

    def set_clock(_: int, __: FrameType | None) -> None:
        # On a thread of its own: the signal may have come in the middle of a line of the log.
        threading.Thread(target=look_at_clock, name="clock").start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, set_clock)
    with health.serving(manager.status, asked.health, log):
        manager.run()


def _choices(asked: argparse.Namespace) -> Choices:
    return Choices(
        iface=asked.iface,
        towards=asked.iface_can_reach,
        public_ip=asked.public_ip,
        public_ipv6=asked.public_ipv6,
        ip_masq=asked.ip_masq,
        forward=asked.forward_rules,
        state=asked.state_dir,
        run=asked.run_dir,
        resync=asked.resync,
    )


def _settings(asked: argparse.Namespace, holder: str, clock: Clock) -> Settings:
    return Settings(
        choices=_choices(asked),
        initial=_initial(asked.net_config) if asked.net_config else b"",
        holder=holder,
        clock=clock,
        subnet_file=asked.subnet_file,
        ttl=asked.lease_ttl,
    )


def _store(asked: argparse.Namespace, holder: str, clock: Clock) -> Callable[[], Store]:
    if asked.etcd_endpoints:
        return _etcd(asked, holder, clock)
    path: Path = asked.store
    return lambda: SqliteStore(path, holder=holder, clock=clock.now)


def _etcd(asked: argparse.Namespace, holder: str, clock: Clock) -> Callable[[], Store]:
    from podnet_manager.gateway import Access  # noqa: PLC0415  TLS and HTTP, which few need
    from podnet_manager.store_etcd import EtcdStore  # noqa: PLC0415

    access = Access(
        endpoints=tuple(asked.etcd_endpoints.split(",")),
        ca=asked.etcd_cafile,
        cert=asked.etcd_certfile,
        key=asked.etcd_keyfile,
        user=asked.etcd_username,
        password=os.environ.get(_PASSWORD, ""),
    )
    access.check()  # or it would be tried again and again, as if etcd did not answer
    prefix: str = asked.etcd_prefix
    return lambda: EtcdStore(access, prefix=prefix, holder=holder, clock=clock.now)


def _initial(path: Path) -> bytes:
    """Return the configuration for a store that has none; refuse one that is wrong."""
    try:
        text = path.read_bytes()
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    netconf.parse(text)
    return text


def _clock(path: Path | None) -> Clock:
    try:
        return Clock(path)
    except (OSError, ValueError) as exc:
        raise UsageError(f"--clock-file {path}: {exc}", "a number of seconds") from exc


@contextmanager
def _alone() -> Iterator[None]:
    """Be the only manager of this Node: two would remove each other's routes.

    Raises:
        PodnetError: There is one.
    """
    # An abstract name belongs to a network namespace, and goes with whoever has it.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as name:
        try:
            name.bind("\0podnet-manager")
        except OSError as exc:
            raise PodnetError(
                "another podnet-manager runs on this Node", "end it first; pgrep -fa podnet-manager"
            ) from exc
        yield


def _clean_up(asked: argparse.Namespace) -> None:
    """Remove what a manager has made, and end; what fails keeps nothing else from being removed."""
    subnet_file: Path = asked.subnet_file
    failures = list[Exception]()
    with Netlink() as netlink:
        steps: list[Callable[[], object]] = [
            *node.cleanings(netlink, _choices(asked)),
            lambda: subnet_file.unlink(missing_ok=True),
            *([lambda: _release(asked, netlink)] if asked.release else []),
        ]
        for step in steps:
            try:
                step()
            except (PodnetError, CniError, OSError) as exc:
                failures.append(exc)
    _end(*failures)


def _release(asked: argparse.Namespace, netlink: Netlink) -> None:
    who = node.identity(netlink, _choices(asked))
    with closing(_store(asked, "", Clock())()) as store:
        given_back = acquire.release(store, who)
    Log(as_json=asked.log_format == "json").say("released", leases=", ".join(given_back))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="podnet-manager",
        description="Lease this Node a subnet, write subnet.env, keep the routes to all other Nodes.",
        epilog="SIGTERM ends it and leaves the data path up; --cleanup removes it. "
        "Exit status: 0 done, 1 failed, 2 usage or configuration, 7 the system lacks something.",
    )
    add = parser.add_argument
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
        help=f"where etcd wants one; the password is in {_PASSWORD}",
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
        help="what outlives a reboot (default: %(default)s)",
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
    return parser


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


if __name__ == "__main__":
    main()
