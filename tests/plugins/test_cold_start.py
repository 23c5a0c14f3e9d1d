"""What a plugin loads: little when it is an executable, nothing more once it was forked."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import podnet
import podnet_plugins
from podnet.kernel import namespaces
from podnet.node import Node

PACKAGE = Path(podnet_plugins.__file__).parent
ROOTS = [str(PACKAGE.parent), str(Path(podnet.__file__).parent.parent)]
# noop answers as it is told, and ends its process.
PLUGINS = sorted({path.name for path in (PACKAGE / "bin").iterdir()} - {"noop"})
# pyroute2 takes 180 ms, OpenSSL behind hashlib 7, subprocess 8.
HEAVY = {"pyroute2", "asyncio", "subprocess", "typer", "logging", "tempfile", "_hashlib"}
ENVIRONMENT = {
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/c1",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": str(PACKAGE / "bin"),
    "PATH": os.environ.get("PATH", ""),
}
# One interpreter, as bare as the launcher's, that is a plugin for several calls.
CALLS = """
import json, os, sys
sys.path[:0] = {roots}
from importlib import import_module
from podnet.cni.errors import CniError
from podnet_plugins.skel import respond
calls = json.load(sys.stdin)
{prepare}
results = []
for plugin, verb, config in calls:
    os.environ["CNI_COMMAND"] = verb
    if config.get("prevResult") == "the last":
        config["prevResult"] = results[-1]
    module = import_module("podnet_plugins." + plugin.replace("-", "_"))
    stdin = json.dumps(config).encode()
    try:
        results.append(respond(module.PLUGIN, dict(os.environ), lambda: stdin) or dict())
    except CniError as exc:
        results.append(exc.to_wire())
print(json.dumps([results, sorted(set(sys.modules) - before)]))
"""
AFTER_FORK = """
from podnet_plugins.host import Plugins
from pathlib import Path
plugins = Plugins(Path({directory!r}))
while plugins.load_another():
    pass
before = set(sys.modules)
"""


def _run(node: Node, calls: list[list[Any]], prepare: str) -> Any:
    code = CALLS.format(roots=ROOTS, prepare=prepare)
    done = node.run(
        subprocess.run,
        [sys.executable, "-I", "-S", "-c", code],
        input=json.dumps(calls),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_version_status_and_a_rejected_configuration_load_little(node, plugin):
    config = {"cniVersion": "1.1.0", "name": "demo", "type": plugin}
    rejected = config | {"name": "../up"}
    calls = [[plugin, "VERSION", {}], [plugin, "STATUS", config], [plugin, "ADD", rejected]]

    results, loaded = _run(node, calls, "before = set()")

    assert "supportedVersions" in results[0]
    assert results[2]["msg"] == "invalid characters found in network name"
    assert not HEAVY & set(loaded)


IPAM = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}],
}
UDP = [{"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]
RATES = {"ingressRate": 10**8, "ingressBurst": 10**7, "egressRate": 10**8, "egressBurst": 10**7}
CHAINED = [
    {"type": "portmap", "runtimeConfig": {"portMappings": UDP}},
    {"type": "firewall"},
    {"type": "bandwidth", **RATES},
    {"type": "tuning", "mtu": 1400, "sysctl": {"net.core.somaxconn": "512"}},
]
MAKES = [
    {"type": "bridge", "bridge": "br0", "isGateway": True, "ipMasq": True, "ipam": IPAM},
    {"type": "ptp", "ipMasq": True, "ipam": IPAM},
]


@pytest.mark.parametrize("first", MAKES, ids=["bridge", "ptp"])
def test_a_forked_plugin_imports_nothing(node, first):
    """What was imported in each fork would be imported for every pod."""
    node.run(namespaces.create, Path("/run/netns/c1"))
    base = {"cniVersion": "1.0.0", "name": "demo"}
    last = {"prevResult": "the last"}
    chain = [base | config for config in (first, *CHAINED)]
    calls = [[chain[0]["type"], "ADD", chain[0]]]
    calls += [[config["type"], "ADD", config | last] for config in chain[1:]]

    results, loaded = _run(node, calls, AFTER_FORK.format(directory=str(PACKAGE / "bin")))
    assert [result.get("msg") for result in results] == [None] * len(calls)
    assert loaded == []

    whole = [config | {"prevResult": results[-1]} for config in chain]
    calls = [[config["type"], "CHECK", config] for config in whole]
    calls += [[config["type"], "DEL", config] for config in whole[::-1]]
    results, loaded = _run(node, calls, AFTER_FORK.format(directory=str(PACKAGE / "bin")))
    assert results == [{}] * len(calls)
    assert loaded == []
