"""Pods on a network manager's lease: flannel, bridge and portmap through the runtime."""

import pytest

pytestmark = pytest.mark.root

LEASE = """mkdir -p /run/flannel; cat > /run/flannel/subnet.env <<E
FLANNEL_NETWORK=10.5.0.0/16
FLANNEL_SUBNET=10.5.{}.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
E"""


@pytest.fixture
def cbr0(conflist):
    delegate = {"hairpinMode": True, "isDefaultGateway": True}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    conflist("cbr0", {"type": "flannel", "delegate": delegate}, portmap, version="1.1.0")


def _ready(podnet, *, status: int = 0) -> bool:
    [network] = podnet.json("status", status=status)["items"]
    return bool(network["ready"])


def test_pods_wait_for_a_lease_live_on_it_and_leave_nothing(podnet, cbr0, sh, snapshot, settled):
    told = podnet("create", "web", status=3)
    assert "failed to load flannel 'subnet.env' file" in told.stderr
    assert podnet.json("list")["items"] == []
    sh(LEASE.format(49))
    podnet("create", "web", "--publish", "8080:80")
    podnet("create", "db")
    podnet("delete", "--all")
    before = snapshot()

    podnet("create", "web", "db")
    podnet("check")
    podnet("ping", "web", "db", "-c", "1")
    assert _ready(podnet)
    podnet("delete", "db")
    sh("ip netns delete web")
    podnet("gc")

    assert podnet.json("list")["items"] == []
    assert sh("find /var/lib/cni/flannel -type f") == ""
    assert settled(before) == before


def test_another_lease_is_told_by_status_and_check_and_pods_can_still_be_deleted(podnet, cbr0, sh):
    sh(LEASE.format(49))
    podnet("create", "web")
    sh(LEASE.format(50))

    assert "10.5.49.0/24" in podnet("check", status=4).stderr
    assert not _ready(podnet, status=3)
    podnet("delete", "web")
    sh("ip link delete cni0")
    assert _ready(podnet)
    podnet("create", "web")
    assert "10.5.50." in sh("ip netns exec web ip -o -4 addr show dev eth0")
