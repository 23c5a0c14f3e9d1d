"""What is remembered of the leases: all of it, for its own store, and not longer than it is true."""

import math
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from podnet.errors import PodnetError
from podnet_manager import memory
from podnet_manager.lease import Attributes, Lease, Subnets
from podnet_manager.memory import Memory

OWN = Lease(
    subnets=Subnets(IPv4Network("10.5.21.0/24"), IPv6Network("fd00:5::/64")),
    attributes=Attributes(
        public_ip=IPv4Address("10.99.0.1"),
        public_ipv6=IPv6Address("fd99::1"),
        backend_type="vxlan",
        data={"VNI": 1, "VtepMAC": "02:00:00:00:00:01"},
    ),
    revision=7,
    hold="4711",
    expires=1000.5,
)
OTHER = Lease(
    subnets=Subnets(IPv4Network("10.5.22.0/24")),
    attributes=Attributes(public_ip=IPv4Address("10.99.0.2"), backend_type="host-gw"),
    revision=9,
    hold="n2",
    expires=math.inf,
)
RESERVED = replace(OTHER, subnets=Subnets(IPv4Network("10.5.23.0/24")), hold="", expires=None)
KNOWN = Memory(
    store="a store", config=b'{"Network": "\xc3\xa4"}', own=OWN, others=(OTHER, RESERVED)
)


def test_what_is_kept_is_recalled_whole(tmp_path) -> None:
    assert memory.recall(tmp_path) is None

    memory.keep(tmp_path, KNOWN)
    assert memory.recall(tmp_path) == KNOWN
    memory.forget(tmp_path)
    memory.forget(tmp_path)

    assert memory.recall(tmp_path) is None


@pytest.mark.parametrize(
    ("own", "store", "now", "holds"),
    [
        (OWN, "a store", 1000.0, True),
        (OWN, "a store", 1001.0, False),
        (OWN, "another store", 1000.0, False),
        (RESERVED, "a store", 1e12, True),
    ],
)
def test_it_holds_for_its_store_and_as_long_as_the_nodes_lease(own, store, now, holds) -> None:
    assert replace(KNOWN, own=own).holds(store, now) is holds


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"own": {"subnets": "here"}}', KNOWN.to_text().replace("1000.5", '"soon"')],
)
def test_what_is_no_memory_is_refused_with_its_file(tmp_path, text) -> None:
    (tmp_path / "memory.json").write_text(text)

    with pytest.raises(PodnetError, match=r"cannot be read: .*/memory\.json"):
        memory.recall(tmp_path)
