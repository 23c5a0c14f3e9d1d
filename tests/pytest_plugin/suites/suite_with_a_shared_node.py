"""A module whose tests share a Node: run by test_fixtures.py, in a pytest of its own."""

import pytest

SUBNET = {"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/24"}]]}


@pytest.fixture
def podnet_node(podnet_node_module):
    """The module's."""
    return podnet_node_module


@pytest.mark.parametrize("number", [2, 3])
def test_addresses_go_on_where_the_test_before_left_them(cni, make_pod, number):
    pod = make_pod(f"pod{number}")

    result = cni("bridge", {"bridge": "br0", "ipam": SUBNET}).add(pod).result

    assert str(result.ips[0].address.ip) == f"10.9.0.{number}"
