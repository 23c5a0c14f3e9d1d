"""A stub that manages addresses as it is told, and writes down what it was asked."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface

from podnet.cni.result import Dns, IPConfig, Result, Route
from podnet.rig.conformance.trial import STUBS, Trial
from podnet.testing import calls, stub_plugin

TYPE = "podnet-stub-ipam"
ADDRESS, GATEWAY = ip_interface("198.18.0.200/24"), ip_address("198.18.0.1")
DNS = Dns(nameservers=("198.18.0.53",), search=("pod.example",))
DEFAULT = Route(ip_interface("0.0.0.0/0"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What the stub does.

    Attributes:
        stdout: What it prints on ADD, instead of a result.
        fails: The error that it prints, and fails with, on a verb.
        stderr: What it logs.
    """

    stdout: str = ""
    fails: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    stderr: str = ""


def answer(trial: Trial, **more: object) -> Result:
    """Return what an IPAM plugin would answer in the trial's version: one address, one route."""
    given: dict[str, object] = {
        "ips": (IPConfig(ADDRESS, GATEWAY, version="4" if trial.cni_version < "1.0.0" else ""),),
        "routes": (DEFAULT,),
    }
    return Result(cni_version=trial.cni_version, **(given | more))  # type: ignore[arg-type]


def put(trial: Trial, result: Result | None = None, script: Script | None = None) -> Trial:
    """Have the plugin under test delegate to the stub; return the trial in which it does."""
    done = script or Script()
    printed = done.stdout or json.dumps((result or answer(trial)).to_wire())
    lines = [f"printf %s {shlex.quote(done.stderr)} >&2"]
    for verb, error in done.fails.items():
        said = shlex.quote(json.dumps({"cniVersion": trial.cni_version, **error}))
        lines.append(f'[ "$CNI_COMMAND" = {verb} ] && {{ printf %s {said}; exit 1; }}')
    lines.append('[ "$CNI_COMMAND" = ADD ] || exit 0')
    trial.on_node(stub_plugin, STUBS, TYPE, stdout=printed, script="\n".join(lines))
    return trial.configured(ipam={"type": TYPE})


def asked(trial: Trial, verb: str) -> list[tuple[dict[str, str], object]]:
    """Return the environment and stdin of each call of a verb."""
    everything = trial.on_node(calls, STUBS, TYPE)
    return [(env, stdin) for env, stdin in everything if env.get("CNI_COMMAND") == verb]
