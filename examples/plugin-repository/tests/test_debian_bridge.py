"""A plugin in Go, Debian's bridge: two pods reach each other, and nothing is left of them."""

from pathlib import Path

import pytest

from podnet.testing import reaches

CONFIG = {
    "bridge": "deb0",
    "isGateway": True,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.31.0.0/24"}]]},
}
GO = Path("/usr/lib/cni/bridge")

pytestmark = pytest.mark.skipif(
    not GO.exists(), reason="apt-get install containernetworking-plugins"
)


@pytest.mark.podnet_versions("0.4.0", "1.0.0")
@pytest.mark.podnet_leakcheck
def test_two_pods_reach_each_other(cni, make_pod, podnet_node):
    bridge, web, db = cni("bridge", CONFIG), make_pod("web"), make_pod("db")
    bridge.add(web).require()
    address = bridge.add(db).result.ips[0].address.ip
    assert bridge.outcomes[-1].binary == GO

    assert reaches(podnet_node, web, address)
    assert reaches(podnet_node, web, address, to=db, tcp=5432)

    for pod in (web, db):
        bridge.delete(pod).require()
        bridge.remove(pod)
