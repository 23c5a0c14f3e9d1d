"""What every group may need: the reference's plugins, one plain conflist, containers on a Node."""

import json
from pathlib import Path

from podnet.kernel import namespaces

REFERENCE = "/usr/lib/cni"
CONFLIST = json.dumps(
    {
        "cniVersion": "1.0.0",
        "name": "bench",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "bench0",
                "isGateway": True,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/16"}]]},
            }
        ],
    }
).encode()
CONF_FILE = Path("/run/bench.conflist")


def container_namespaces(count: int) -> None:
    """Write the conflist, and make the namespaces ns0, ns1 and so on."""
    CONF_FILE.write_bytes(CONFLIST)
    for number in range(count):
        namespaces.create(Path(f"/run/netns/ns{number}"))
