"""No plugin of podnet's keeps anything in its modules: one worker may be them all, one after another."""

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import podnet_plugins
from podnet.cni import wire
from podnet.cni.errors import CniError
from podnet.kernel import namespaces
from podnet_plugins.skel import respond

BIN = Path(podnet_plugins.__file__).parent / "bin"
# What ends its process, or waits in it.
APART = {"noop", "dhcp"}
PLUGINS = sorted({path.name for path in BIN.iterdir()} - APART)
IPAM = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}],
}
UDP = [{"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]
CONFIGS: dict[str, dict[str, object]] = {
    "host-local": {"ipam": IPAM},
    "static": {"ipam": {"type": "static", "addresses": [{"address": "10.1.0.9/24"}]}},
    "bridge": {"bridge": "br0", "isGateway": True, "ipMasq": True, "ipam": IPAM},
    "ptp": {"ipMasq": True, "ipam": IPAM},
    "macvlan": {"master": "lo", "ipam": IPAM},
    "portmap": {"runtimeConfig": {"portMappings": UDP}},
    "bandwidth": {"ingressRate": 10**8, "ingressBurst": 10**7},
    "tuning": {"mtu": 1400, "sysctl": {"net.core.somaxconn": "512"}},
}
PREVIOUS = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "eth0", "sandbox": "/run/netns/c1"}],
    "ips": [{"address": "10.1.0.2/24", "interface": 0}],
}


def _kept() -> dict[tuple[str, str], object]:
    """Return everything that podnet's modules hold: containers by what is in them."""
    return dict(_everything())


def _everything() -> Iterator[tuple[tuple[str, str], object]]:
    for name, module in sys.modules.items():
        if name.partition(".")[0] not in {"podnet", "podnet_plugins"}:
            continue
        for key, value in vars(module).items():
            if key != "__builtins__":
                contained = isinstance(value, dict | list | set | bytearray)
                yield (name, key), repr(value) if contained else id(value)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_leaves_nothing_in_its_modules(node, plugin, monkeypatch):
    module = import_module(f"podnet_plugins.{plugin.replace('-', '_')}")
    config: dict[str, object] = {"cniVersion": "1.1.0", "name": "demo", "type": plugin}
    config["cni.dev/valid-attachments"] = []
    config |= CONFIGS.get(plugin, {})
    if plugin not in {"bridge", "ptp", "host-local", "static", "loopback"}:
        config["prevResult"] = PREVIOUS
    answers: list[object] = []

    def live() -> None:
        for verb in ("VERSION", "STATUS", "ADD", "ADD", "CHECK", "DEL", "DEL", "GC", "nonsense"):
            environment = {
                "CNI_COMMAND": verb,
                "CNI_CONTAINERID": "c1",
                "CNI_NETNS": "/run/netns/c1",
                "CNI_IFNAME": "eth0",
                "CNI_PATH": str(BIN),
            }
            stdin = wire.dumps(config).encode()
            try:
                answers.append(respond(module.PLUGIN, os.environ | environment, lambda s=stdin: s))  # type: ignore[misc]
            except (CniError, OSError) as exc:
                answers.append(exc)

    node.run(namespaces.create, Path("/run/netns/c1"))
    node.run(live)  # imports what it needs when it needs it
    before = _kept()

    node.run(live)

    assert _kept() == before
    assert len(answers) == 18
