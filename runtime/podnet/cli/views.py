"""How pods, plans and transcripts look."""

import json
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence

from podnet.cli.output import API_VERSION, Form, document, show, write
from podnet.plan import Invocation
from podnet.pod import Pod
from podnet.records import CorruptRecordError

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def show_pods(pods: Iterable[Pod | CorruptRecordError], form: Form) -> None:
    """Print pods as a list."""
    whole = [pod for pod in pods if isinstance(pod, Pod)]
    show(
        [pod_item(pod) for pod in whole],
        kind="Pod",
        form=form,
        columns={
            "NAME": lambda item: item["name"],
            "STATE": lambda item: item["state"],
            "ADDRESSES": lambda item: item["addresses"],
            "NETWORKS": lambda item: item["networks"],
            "AGE": lambda item: item["age"],
        },
        wide={
            "INTERFACES": lambda item: item["interfaces"],
            "LABELS": lambda item: _pairs(item["labels"]),
            "CONTAINER ID": lambda item: item["containerId"],
            "NETNS": lambda item: item["netns"],
        },
    )


def pod_item(pod: Pod) -> dict[str, object]:
    """Return what a list says of a pod; addresses without their prefix length."""
    return {
        "name": pod.name,
        "state": str(pod.state),
        "addresses": addresses_of(pod),
        "networks": [m.network.name for m in pod.memberships],
        "interfaces": [m.ifname for m in pod.memberships],
        "labels": dict(pod.labels),
        "age": age(time.time() - pod.created),
        "containerId": pod.container_id,
        "netns": pod.netns,
        **({"failure": pod.failure} if pod.failure else {}),
    }


def addresses_of(pod: Pod) -> list[str]:
    """Return a pod's own addresses, in the order its networks gave them."""
    return [str(ip.address.ip) for m in pod.memberships if m.result for ip in m.result.ips]


def age(seconds: float) -> str:
    """Return a duration in its largest unit."""
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(max(0.0, seconds))}s"


def show_plan(steps: Sequence[Invocation], form: Form) -> None:
    """Print invocations that would be run."""
    if form in {Form.JSON, Form.YAML}:
        items = [_planned(step) for step in steps]
        document({"apiVersion": API_VERSION, "kind": "Plan", "items": items}, form=form)
        return
    for number, step in enumerate(steps, 1):
        write(f"{number}. {step.verb} {step.plugin}  (network {step.network})\n")
        for key, value in step.environment.items():
            write(f"     {key}={value}\n")
        if step.awaits_result:
            write("     prevResult: what the plugin before answers\n")
        write(_indented(json.dumps(step.stdin, indent=2), 5))


def _planned(step: Invocation) -> dict[str, object]:
    return {
        "verb": str(step.verb),
        "plugin": step.plugin,
        "network": step.network,
        "position": step.position,
        "environment": dict(step.environment),
        "stdin": dict(step.stdin),
        "awaitsResult": step.awaits_result,
    }


def show_trace(steps: Iterable[Mapping[str, object]], *, verbose: bool, diff: bool = False) -> None:
    """Print a transcript, step by step; with *diff* what each changed on the Node."""
    for step in steps:
        write(f"{_headline(step)}\n")
        if step["problem"] or step["left_behind"]:
            write(f"     {step['problem'] or 'left a process running in the background'}\n")
        if verbose:
            environment = step["environment"]
            assert isinstance(environment, dict)  # noqa: S101
            for key, value in environment.items():
                write(f"     {key}={shlex.quote(str(value))}\n")
            for stream in ("stdin", "stdout", "stderr"):
                _show_stream(stream, step[stream])
        elif step["exit_status"] != 0 and step["stdout"]:
            write(_indented(str(step["stdout"]), 5))
        if diff:
            _show_changes(step)


def _show_changes(step: Mapping[str, object]) -> None:
    from podnet.rig import telling  # noqa: PLC0415  only this needs it

    changes, lies = step.get("changes"), step.get("untrue")
    if "unseen" in step:
        write(f"     what it changed could not be seen: {step['unseen']}\n")
    if isinstance(changes, list):
        said = list(telling.lines(changes)) or ["changed nothing"]
        write("".join(f"     {line}\n" for line in said))
    for lie in lies if isinstance(lies, list) else ():
        write(f"     ! the result is not true: {lie}\n")


def _headline(step: Mapping[str, object]) -> str:
    started = step["time"]
    clock = time.strftime("%H:%M:%S", time.localtime(started if isinstance(started, float) else 0))
    ended = f"signal {step['signal']}" if step["signal"] else f"exit {step['exit_status']}"
    ok = "ok  " if step["exit_status"] == 0 and not step["problem"] else "FAIL"
    position, chain = step["position"], step["chain"]
    place = f" {position + 1}/{chain}" if isinstance(position, int) else ""
    where = f"{step['network'] or '-'}{place}"
    subject = step["pod"] or "-"
    return (
        f"{clock}  {ok}  {step['verb']:<7} {step['plugin']:<12} {where:<16} {subject:<12} "
        f"{step['duration_ms']:>9} ms  {ended}"
    )


def _show_stream(name: str, content: object) -> None:
    if not content:
        return
    text = content if isinstance(content, str) else json.dumps(content, indent=2)
    write(f"     {name}:\n{_indented(_pretty(text), 7)}")


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2)
    except ValueError:
        return text


def _indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in text.splitlines())


def _pairs(labels: object) -> list[str]:
    return [f"{k}={v}" for k, v in labels.items()] if isinstance(labels, dict) else []
