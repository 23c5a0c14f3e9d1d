"""Things that happen to leases in a store, for tests of what managers do then.

``python -m podnet_manager.tamper expire|steal ADDRESS`` looks for the lease of the Node with
that public address: it ends, as if nobody had renewed it; or somebody who does not exist
writes his own address into it.  ``fill COUNT`` adds leases of so many Nodes that do not exist,
and that do not end.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import islice
from pathlib import Path

from podnet.errors import PodnetError, UsageError
from podnet_manager import desired, netconf
from podnet_manager.backend import Vxlan
from podnet_manager.lease import Attributes, Lease, Subnets
from podnet_manager.netconf import NetConf
from podnet_manager.store import DAY, Store, StoreError
from podnet_manager.store_sqlite import SqliteStore

#: TEST-NET-1 (RFC 5737): nobody has it.
THIEF = IPv4Address("192.0.2.66")
_FIRST = IPv4Address("100.64.128.1")  # of the Nodes that do not exist; on a cluster's switch
_HOLDER = "tampered"


def main() -> None:
    """Do what is asked for."""
    asked = _parser().parse_args()
    try:
        with closing(_store(asked)) as store:
            if asked.action == "fill":
                fill(store, int(asked.subject))
            else:
                lease = _lease(store, asked.subject)
                (expire if asked.action == "expire" else steal)(store, lease)
    except PodnetError as exc:
        sys.stderr.write(f"error: {exc.message}\n")
        sys.exit(exc.exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="podnet_manager.tamper", description=__doc__)
    parser.add_argument("action", choices=("expire", "steal", "fill"))
    parser.add_argument("subject", metavar="ADDRESS|COUNT")
    parser.add_argument("--store", type=Path, metavar="FILE")
    parser.add_argument("--etcd-endpoints", default="", metavar="URL")
    return parser


def _store(asked: argparse.Namespace) -> Store:
    if not asked.etcd_endpoints:
        return SqliteStore(asked.store, holder=_HOLDER)
    from podnet_manager.access import Access  # noqa: PLC0415  TLS and HTTP
    from podnet_manager.store_etcd import EtcdStore  # noqa: PLC0415

    return EtcdStore(Access(endpoints=tuple(asked.etcd_endpoints.split(","))))


def _lease(store: Store, address: str) -> Lease:
    for lease in store.snapshot().leases:
        if str(lease.attributes.public_ip) == address:
            return lease
    raise UsageError(f"there is no lease of {address}")


def expire(store: Store, lease: Lease) -> None:
    """End a lease.

    Raises:
        StoreError: Somebody was faster.
    """
    if not store.delete(lease):
        raise StoreError(f"the lease {lease} has changed meanwhile")


def steal(store: Store, lease: Lease) -> None:
    """Make a lease somebody else's.

    Raises:
        StoreError: Somebody was faster.
    """
    if store.update(lease, replace(lease.attributes, public_ip=THIEF), ttl=DAY) is None:
        raise StoreError(f"the lease {lease} has changed meanwhile")


def fill(store: Store, count: int) -> None:
    """Add the leases of Nodes that do not exist, on the network's first free subnets.

    Raises:
        UsageError: The network is not configured, or too small.
    """
    text = store.config()
    if text is None:
        raise UsageError("the store has no network configuration")
    conf = netconf.parse(text)
    taken = {subnet for lease in store.snapshot().leases for subnet in lease.subnets.each}
    size = min(len(pool) for pool in conf.pools)
    every = (Subnets.of(tuple(pool.at(n) for pool in conf.pools)) for n in range(size))
    free = list(islice((s for s in every if not taken.intersection(s.each)), count))
    if len(free) < count:
        raise UsageError(f"the network has no {count} subnets that are free")
    for subnets, attributes in _invented(conf, free):
        store.reserve(subnets, attributes)


def _invented(conf: NetConf, free: Sequence[Subnets]) -> Iterator[tuple[Subnets, Attributes]]:
    kind = desired.backend_type(conf.backend)
    for number, subnets in enumerate(free):
        mac = f"02:aa:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
        data = (
            {"VNI": conf.backend.vni, "VtepMAC": mac} if isinstance(conf.backend, Vxlan) else None
        )
        yield subnets, Attributes(public_ip=_FIRST + number, backend_type=kind, data=data)


if __name__ == "__main__":
    main()
