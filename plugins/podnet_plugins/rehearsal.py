"""What any plugin does, done in the plugin host before it forks, with nothing to show for it.

Python rewrites code that it has run some times, and builds caches.  Done here, it is not done
again in each fork, where every page that is written to is copied first.  Knows no request: the
same is rehearsed whatever was asked for before.
"""

from podnet.cni import wire
from podnet.cni.result import Result
from podnet.kernel import links, sysctl
from podnet.kernel.namespaces import OWN, entered
from podnet.kernel.netlink import Netlink
from podnet_plugins.skel import Call, Plugin, respond

_CALL = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "rehearsal",
    "CNI_NETNS": "/nonexistent",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/nonexistent",
}
_CONFIG = wire.dumps(
    {
        "cniVersion": "1.1.0",
        "name": "rehearsal",
        "type": "rehearsal",
        "prevResult": {
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "eth0", "sandbox": "/nonexistent"}],
            "ips": [{"address": "10.1.0.2/16", "gateway": "10.1.0.1", "interface": 0}],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dns": {},
        },
    }
).encode()


def rehearse() -> None:
    """Answer a call that reads a little, and changes nothing."""
    wire.dumps(respond(Plugin("rehearsal", add=_add), _CALL, lambda: _CONFIG))


def _add(call: Call) -> Result:
    with entered(OWN), Netlink() as netlink:
        links.find(netlink, "lo")
    sysctl.read("ipv4", "ip_forward")
    return call.require_prev_result()
