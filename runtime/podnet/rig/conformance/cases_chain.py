"""Chains: prevResult comes in, and goes out; what a plugin does with a chain that is odd."""

from dataclasses import replace

from podnet.cni.result import Dns, Interface, Result
from podnet.cni.wire import Fields
from podnet.rig.caller import Answer, Twist
from podnet.rig.conformance.case import Level, case
from podnet.rig.conformance.scene import Inapplicable
from podnet.rig.conformance.subject import Kind
from podnet.rig.conformance.trial import Trial, holds, refused, succeeded

_PREVIOUS = "5 ADD Success"
_CHAINED = (Kind.CHAINED,)
_RICH = "0.3.0"
_ADDED = Interface("made-by-another", "02:00:5e:00:00:01")


def _passed(trial: Trial) -> tuple[Result, Result]:
    """ADD with a prevResult that says more than usual; return it, and the result."""
    pod = trial.pod()
    before = trial.previous(pod)
    assert before is not None  # noqa: S101  a chained plugin stands on others
    more = replace(
        before,
        interfaces=(*before.interfaces, _ADDED),
        dns=Dns(nameservers=("192.0.2.53",), search=("pod.example",)),
    )
    answer = trial.cni.add(pod, previous=more)
    succeeded(answer, "ADD")
    return more, answer.result


@case(
    "chain-keeps-interfaces",
    Level.MUST,
    _PREVIOUS,
    "The interfaces of prevResult are in the result, also those that the plugin does not know.",
    "The last plugin's result is all that the runtime ever sees.",
    kinds=_CHAINED,
    since=_RICH,
)
def chain_keeps_interfaces(trial: Trial) -> None:
    before, after = _passed(trial)
    names = [interface.name for interface in after.interfaces]
    for interface in before.interfaces:
        holds(interface.name in names, f"{interface.name} of prevResult is not in the result")


@case(
    "chain-keeps-addresses",
    Level.MUST,
    _PREVIOUS,
    "The addresses and routes of prevResult are in the result.",
    "A pod whose address was lost on the way has none.",
    kinds=_CHAINED,
    since=_RICH,
    every_version=True,
)
def chain_keeps_addresses(trial: Trial) -> None:
    before, after = _passed(trial)
    there = {ip.address for ip in after.ips}
    for ip in before.ips:
        holds(ip.address in there, f"{ip.address} of prevResult is not in the result")
    ways = {route.dst for route in after.routes}
    for route in before.routes:
        holds(route.dst in ways, f"the route to {route.dst} of prevResult is not in the result")


@case(
    "chain-keeps-dns",
    Level.MUST,
    _PREVIOUS,
    "What prevResult says of DNS is in the result.",
    "Names resolve, or not, depending on the order of a file.",
    kinds=_CHAINED,
    since=_RICH,
)
def chain_keeps_dns(trial: Trial) -> None:
    before, after = _passed(trial)
    holds(after.dns == before.dns, f"dns of prevResult was {before.dns.to_wire()}")


@case(
    "chain-keeps-indexes",
    Level.MUST,
    _PREVIOUS,
    "An address is still on the interface that prevResult had it on.",
    "An interface put in front moves all others by one.",
    kinds=_CHAINED,
    since=_RICH,
    every_version=True,
)
def chain_keeps_indexes(trial: Trial) -> None:
    before, after = _passed(trial)
    for ip in before.ips:
        was, now = _interface_of(before, ip), _interface_of(after, ip)
        holds(was == now, f"{ip.address} was on {was}, and is on {now}")


def _interface_of(result: Result, asked: object) -> str:
    for ip in result.ips:
        if ip.address == getattr(asked, "address", None) and ip.interface is not None:
            found = result.interfaces[ip.interface : ip.interface + 1]
            return found[0].name if found else "none"
    return "none"


@case(
    "chain-without-prev-result",
    Level.MUST,
    _PREVIOUS,
    "A plugin that works on what others made says so when it comes first.",
    "A conflist in the wrong order shall not crash.",
    kinds=_CHAINED,
)
def chain_without_prev_result(trial: Trial) -> None:
    pod = trial.pod()
    _answered(trial.cni.add(pod), "ADD without prevResult")
    for name, variant in trial.subject.parameters.variants.items():
        answer = trial.varied(variant).cni.add(pod)
        _answered(answer, f"ADD without prevResult, configured with {name},")


@case(
    "chain-prev-result-of-wrong-type",
    Level.MUST,
    "2 Errors",
    "A prevResult that is no result is refused, with an error object.",
    "The plugin before it has a bug; this one shall say so.",
    since=_RICH,
    kinds=(Kind.CHAINED,),
)
def chain_prev_result_of_wrong_type(trial: Trial) -> None:
    pod = trial.pod()
    wrongs: list[object] = [
        "eth0",
        [],
        {"cniVersion": trial.cni_version, "ips": [{"address": "nowhere"}]},
    ]
    for wrong in wrongs:
        refused(trial.add(pod, Twist(config={"prevResult": wrong})), f"the prevResult {wrong!r}")


@case(
    "chain-prev-result-empty",
    Level.MUST,
    "2 Errors",
    "A prevResult without addresses or interfaces gets a result, or an error object.",
    "Layer 2 networks have no addresses.",
    since=_RICH,
    kinds=(Kind.CHAINED,),
)
def chain_prev_result_empty(trial: Trial) -> None:
    answer = trial.add(trial.pod(), Twist(config={"prevResult": {"cniVersion": trial.cni_version}}))
    _answered(answer, "an empty prevResult")


@case(
    "chain-prev-result-of-another-version",
    Level.MUST,
    "2 Errors",
    "A prevResult of another version is converted or refused, never misread.",
    "libcni passes on what the plugin before said, in whatever version.",
    since="0.4.0",
    kinds=(Kind.CHAINED,),
)
def chain_prev_result_of_another_version(trial: Trial) -> None:
    pod = trial.pod()
    before = trial.previous(pod)
    assert before is not None  # noqa: S101
    newer = {**before.to_wire(), "cniVersion": "99.0.0"}
    refused(trial.add(pod, Twist(config={"prevResult": newer})), "a prevResult of 99.0.0")


@case(
    "chain-index-out-of-range",
    Level.MUST,
    "2 Errors",
    "A prevResult whose address is on an interface that is not listed gets an answer.",
    "Off by one in another plugin must not crash this one.",
    since=_RICH,
    kinds=_CHAINED,
)
def chain_index_out_of_range(trial: Trial) -> None:
    pod = trial.pod()
    before = trial.previous(pod)
    assert before is not None  # noqa: S101
    wire = before.to_wire()
    ips = [{**fields.values, "interface": 99} for fields in Fields.of(wire).children("ips")]
    _answered(trial.add(pod, Twist(config={"prevResult": {**wire, "ips": ips}})), "an index of 99")


def _answered(answer: Answer, what: str) -> None:
    if answer.exit_status != 0:
        refused(answer, what)
    else:
        holds(isinstance(answer.document, dict), f"{what}: its answer is no object")


@case(
    "chain-given-a-prev-result",
    Level.MUST,
    "2 ADD",
    "A plugin that makes an interface can cope with a prevResult: it passes it on, or leaves it.",
    "Some chains have two such plugins.",
    since=_RICH,
    kinds=(Kind.MAKES,),
)
def chain_given_a_prev_result(trial: Trial) -> None:
    pod = trial.pod()
    previous = Result(cni_version=trial.cni_version, interfaces=(_ADDED,))
    answer = trial.cni.add(pod, previous=previous)
    succeeded(answer, "ADD with a prevResult")
    for ip in answer.result.ips:
        index = -1 if ip.interface is None else ip.interface
        named = answer.result.interfaces[index : index + 1] if index >= 0 else ()
        holds(
            named and named[0].name == pod.ifname,
            f"{ip.address} is on interface {ip.interface}, which is not {pod.ifname}",
        )


@case(
    "variants-live",
    Level.MUST,
    "3 Lifecycle & Ordering",
    "However it is configured, a plugin lives a whole life: ADD, CHECK, DEL, and nothing is left.",
    "The one way that was tested is not the one that is in production.",
    since="0.4.0",
)
def variants_live(trial: Trial) -> None:
    variants = trial.subject.parameters.variants
    if not variants:
        raise Inapplicable("its parameters have no variants (key `variants`)")
    wrong = []
    for number, (name, variant) in enumerate(variants.items(), 1):
        other = trial.varied(variant)
        pod = other.pod(f"pod{number}") if not trial.subject.parameters.single else other.pod()
        made = other.add(pod)
        answers = {"ADD": made} | ({"CHECK": other.check(pod)} if made.ok else {})
        for verb, answer in (answers | {"DEL": other.delete(pod)}).items():
            if answer.error is not None:
                wrong.append(f"{name}: {verb} failed: {answer.error}")
        other.vanish(pod)
    holds(not wrong, "; ".join(wrong))


@case(
    "variants-make-way",
    Level.MUST,
    "3 Lifecycle & Ordering",
    "A network that was configured in another way before works like a new one.",
    "Configurations change, and a node is not made anew for it.",
    since="0.4.0",
)
def variants_make_way(trial: Trial) -> None:
    variants = trial.subject.parameters.variants
    if not variants:
        raise Inapplicable("its parameters have no variants (key `variants`)")
    if trial.subject.parameters.single:
        raise Inapplicable("there can be one attachment at a time")
    wrong = []
    for number, (name, variant) in enumerate(variants.items(), 1):
        other = trial.varied(variant)
        pod = other.pod(f"pod{number}")
        other.add(pod)
        other.delete(pod)
        other.vanish(pod)
        following = trial.pod(f"next{number}")
        answer = trial.add(following)
        if answer.error is not None:
            wrong.append(f"after {name}: ADD failed: {answer.error}")
        trial.delete(following)
        trial.vanish(following)
    holds(not wrong, "; ".join(wrong))
