"""A plugin called without a process of its own, for tests that call one many times."""

import json
from collections.abc import Mapping

from podnet.cni.errors import CniError
from podnet.node import Node
from podnet_plugins import skel


def respond(node: Node, plugin: skel.Plugin, verb: str, config: Mapping[str, object]) -> str:
    """Let a plugin answer for the eth0 of c1 on a Node; return its error's message."""
    environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"}
    environment |= {"CNI_NETNS": "/run/netns/c1", "CNI_PATH": "/"}
    stdin = json.dumps({"name": "demo"} | dict(config)).encode()
    try:
        node.run(skel.respond, plugin, environment, lambda: stdin)
    except CniError as exc:
        return exc.msg
    return ""
