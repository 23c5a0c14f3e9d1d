"""podnet-manager: what is asked for on the command line is put together, and done."""

import argparse
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from podnet.cni.errors import CniError
from podnet.errors import PodnetError, UsageError
from podnet.kernel.netlink import Netlink
from podnet_manager import (
    acquire,
    health,
    identity,
    memory,
    netconf,
    node,
    options,
    preparation,
)
from podnet_manager.clock import Clock
from podnet_manager.daemon import Manager
from podnet_manager.log import Log
from podnet_manager.preparation import Choices
from podnet_manager.store import Store
from podnet_manager.store_sqlite import SqliteStore
from podnet_manager.tenure import Settings


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the manager, and exit with the status of what happened."""
    asked = options.parser().parse_args(arguments)
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
        store=_store_in_words(asked),
        holder=holder,
        clock=clock,
        subnet_file=asked.subnet_file,
        ttl=asked.lease_ttl,
    )


def _store_in_words(asked: argparse.Namespace) -> str:
    if asked.etcd_endpoints:
        return f"etcd {asked.etcd_endpoints} {asked.etcd_prefix}"
    path: Path = asked.store
    return str(path.absolute())


def _store(asked: argparse.Namespace, holder: str, clock: Clock) -> Callable[[], Store]:
    if asked.etcd_endpoints:
        return _etcd(asked, holder, clock)
    path: Path = asked.store
    return lambda: SqliteStore(path, holder=holder, clock=clock.now)


def _etcd(asked: argparse.Namespace, holder: str, clock: Clock) -> Callable[[], Store]:
    from podnet_manager.access import Access  # noqa: PLC0415  TLS and HTTP, which few need
    from podnet_manager.store_etcd import EtcdStore  # noqa: PLC0415

    access = Access(
        endpoints=tuple(asked.etcd_endpoints.split(",")),
        ca=asked.etcd_cafile,
        cert=asked.etcd_certfile,
        key=asked.etcd_keyfile,
        user=asked.etcd_username,
        password=os.environ.get(options.PASSWORD, ""),
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
            lambda: memory.forget(asked.state_dir),
            *([lambda: _release(asked, netlink)] if asked.release else []),
        ]
        for step in steps:
            try:
                step()
            except (PodnetError, CniError, OSError) as exc:
                failures.append(exc)
    _end(*failures)


def _release(asked: argparse.Namespace, netlink: Netlink) -> None:
    who = preparation.identity(netlink, _choices(asked))
    with closing(_store(asked, "", Clock())()) as store:
        given_back = acquire.release(store, who)
    Log(as_json=asked.log_format == "json").say("released", leases=", ".join(given_back))


if __name__ == "__main__":
    main()
