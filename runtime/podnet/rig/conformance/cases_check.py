"""CHECK: silent right after ADD, and not when something was taken away behind its back."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_interface

from podnet.cni.result import Result
from podnet.kernel import addresses, links
from podnet.plan import Attachment
from podnet.rig.caller import Twist
from podnet.rig.conformance import kernel_view
from podnet.rig.conformance.case import INTERFACE, Level, case
from podnet.rig.conformance.scene import Inapplicable
from podnet.rig.conformance.subject import Kind
from podnet.rig.conformance.trial import Trial, gives_each_its_own, holds, refused, succeeded
from podnet.rig.picture import NODE, difference

_CHECK = "2 CHECK"
_SINCE = "0.4.0"
_OWNERS = (Kind.MAKES, Kind.ADJUSTS)


def notices(trial: Trial, pod: Attachment, what: str) -> None:
    """Hold that CHECK fails, with an error object."""
    refused(trial.check(pod), f"CHECK, where {what},")


Address = IPv4Address | IPv6Address


def _added(trial: Trial) -> tuple[Attachment, Result]:
    pod = trial.pod()
    return pod, trial.added(pod)


@case(
    "check-after-add",
    Level.MUST,
    _CHECK,
    "CHECK right after ADD finds nothing wrong.",
    "A false alarm makes a runtime tear down a pod that works; people then turn CHECK off.",
    since=_SINCE,
    every_version=True,
)
def check_after_add(trial: Trial) -> None:
    pod, _ = _added(trial)
    succeeded(trial.check(pod), "CHECK right after ADD")


@case(
    "check-again",
    Level.MUST,
    _CHECK,
    "CHECK may be called any time between ADD and DEL, and again.",
    "CHECK is run on a timer.",
    since=_SINCE,
)
def check_again(trial: Trial) -> None:
    pod, _ = _added(trial)
    for time in ("first", "second", "third"):
        succeeded(trial.check(pod), f"the {time} CHECK")


@case(
    "check-changes-nothing",
    Level.SHOULD,
    _CHECK,
    "CHECK changes nothing.",
    "A look that mends what it looks at hides what breaks it.",
    since=_SINCE,
)
def check_changes_nothing(trial: Trial) -> None:
    pod, _ = _added(trial)
    before = trial.scene.picture()
    trial.check(pod)
    trial.scene.nothing_since(before, "CHECK")
    trial.scene.nothing_gone(before, "CHECK")


@case(
    "check-mends-nothing",
    Level.SHOULD,
    _CHECK,
    "CHECK does not make again what is missing: it says so.",
    "What was mended in passing was broken for a time that nobody knows.",
    since=_SINCE,
    kinds=INTERFACE,
)
def check_mends_nothing(trial: Trial) -> None:
    pod, made = trial.pod(), None
    before = trial.scene.picture()
    trial.added(pod)
    made = trial.scene.picture() - before
    if not any(" rule" in fact.kind for fact in made):
        raise Inapplicable("it makes no rules")
    trial.on_node(kernel_view.flush_rules)
    bare = trial.scene.picture()
    trial.check(pod)
    trial.scene.nothing_since(bare, "CHECK, when all rules were gone,")


@case(
    "check-prints-nothing",
    Level.SHOULD,
    _CHECK,
    "CHECK prints an error, or nothing.",
    "There is no result of CHECK.",
    since=_SINCE,
)
def check_prints_nothing(trial: Trial) -> None:
    pod, _ = _added(trial)
    answer = trial.check(pod)
    quiet = answer.exit_status != 0 or not answer.stdout.strip()
    holds(quiet, f"CHECK prints {answer.stdout[:80]!r}")


@case(
    "check-needs-prev-result",
    Level.MUST,
    _CHECK,
    "CHECK has to go by prevResult, and refuses to guess without one.",
    "A CHECK that knows not what to expect approves of everything.",
    since=_SINCE,
    kinds=(Kind.MAKES, Kind.CHAINED),
)
def check_needs_prev_result(trial: Trial) -> None:
    pod, _ = _added(trial)
    refused(trial.check(pod, Twist(without_config=("prevResult",))), "CHECK without prevResult")


@case(
    "check-goes-by-prev-result",
    Level.MUST,
    _CHECK,
    "CHECK compares what there is with prevResult: an address there that the container was "
    "not given is a difference.",
    "It is what the runtime told everybody.",
    since=_SINCE,
    kinds=(Kind.MAKES, Kind.IPAM),
)
def check_goes_by_prev_result(trial: Trial) -> None:
    pod, result = _added(trial)
    if not result.ips:
        raise Inapplicable("it assigns no addresses")
    first = result.ips[0]
    other = ip_interface((_near(first.address.ip), first.address.network.prefixlen))
    claimed = replace(result, ips=(replace(first, address=other, gateway=None), *result.ips[1:]))
    trial.cni.remember(pod, claimed)
    notices(trial, pod, f"prevResult has {other}, and the container does not")


@case(
    "check-too-old",
    Level.SHOULD,
    _CHECK,
    "Before 0.4.0 there is no CHECK: it is refused, with code 1 or 4.",
    "A configuration of then has no promise to hold.",
    until="0.3.1",
)
def check_too_old(trial: Trial) -> None:
    pod, result = _added(trial)
    newer = replace(trial.cni, network=trial.cni.network.at_version("0.4.0"))
    newer.remember(pod, result)
    wire = {"cniVersion": trial.cni_version, "prevResult": result.to_wire()}
    refused(newer.check(pod, Twist(config=wire)), f"CHECK in {trial.cni_version}", codes=(1, 4))


@case(
    "check-netns-is-gone",
    Level.MUST,
    _CHECK,
    "CHECK fails when the network namespace is gone.",
    "There is nothing left that could be right.",
    since=_SINCE,
    kinds=_OWNERS,
)
def check_netns_is_gone(trial: Trial) -> None:
    pod, _ = _added(trial)
    trial.cni.remove(pod)
    notices(trial, pod, "the namespace is gone")


@case(
    "check-interface-is-gone",
    Level.SHOULD,
    _CHECK,
    "CHECK fails when the interface is gone.",
    "The first thing that a CHECK is for.",
    since=_SINCE,
    kinds=(Kind.MAKES,),
)
def check_interface_is_gone(trial: Trial) -> None:
    pod, _ = _added(trial)
    trial.on_node(kernel_view.delete_link, pod.netns, pod.ifname)
    notices(trial, pod, f"{pod.ifname} is gone")


@case(
    "check-interface-is-down",
    Level.SHOULD,
    _CHECK,
    "CHECK fails when the interface is down.",
    "Nothing answers any more, and everything else looks right.",
    since=_SINCE,
    kinds=_OWNERS,
)
def check_interface_is_down(trial: Trial) -> None:
    pod, _ = _added(trial)
    trial.on_node(kernel_view.set_down, pod.netns, pod.ifname)
    notices(trial, pod, f"{pod.ifname} is down")


@case(
    "check-interface-is-another",
    Level.SHOULD,
    _CHECK,
    "CHECK fails when the interface has another mac than prevResult says.",
    "Somebody replaced it; filters and neighbours know the old one.",
    since=_SINCE,
    kinds=(Kind.MAKES,),
)
def check_interface_is_another(trial: Trial) -> None:
    pod, _ = _added(trial)
    _on_interface(trial, pod, lambda n, i: links.set_mac(n, i, "02:00:5e:00:00:99"))
    notices(trial, pod, f"{pod.ifname} has another mac")


def _near(address: Address) -> Address:
    """Return another address close by, which every address has."""
    return type(address)(int(address) ^ 4)


def _on_interface(trial: Trial, pod: Attachment, change: Callable[..., object]) -> None:
    trial.on_node(kernel_view.on_link, pod.netns, pod.ifname, change)


@case(
    "check-address-is-gone",
    Level.SHOULD,
    _CHECK,
    "CHECK fails when an address of prevResult is gone.",
    "A DHCP client or a script on the node flushed it.",
    since=_SINCE,
    kinds=_OWNERS,
)
def check_address_is_gone(trial: Trial) -> None:
    pod, result = _added(trial)
    if not result.ips:
        raise Inapplicable("it assigns no addresses")
    address = result.ips[-1].address
    _on_interface(trial, pod, lambda n, i: addresses.delete(n, i, address))
    notices(trial, pod, f"{address} is gone from {pod.ifname}")


@case(
    "check-route-is-gone",
    Level.SHOULD,
    _CHECK,
    "CHECK fails when a route of prevResult is gone.",
    "The pod reaches its neighbours, and nobody else.",
    since=_SINCE,
    kinds=(Kind.MAKES,),
)
def check_route_is_gone(trial: Trial) -> None:
    pod, result = _added(trial)
    listed = {route.network for route in result.routes}
    gone = [
        route for route in trial.scene.look(pod.netns).routes_of(pod.ifname) if route.dst in listed
    ]
    if not gone:
        raise Inapplicable("its result has no routes")
    trial.on_node(kernel_view.delete_route, pod.netns, gone[0])
    notices(trial, pod, f"the route to {gone[0].dst} is gone")


@case(
    "check-route-leads-elsewhere",
    Level.SHOULD,
    _CHECK,
    "CHECK fails when a route of prevResult goes by another gateway.",
    "A route to nowhere is there, and useless.",
    since=_SINCE,
    kinds=(Kind.MAKES,),
)
def check_route_leads_elsewhere(trial: Trial) -> None:
    pod, result = _added(trial)
    listed = {route.network for route in result.routes}
    ways = trial.scene.look(pod.netns).routes_of(pod.ifname)
    found = next((r for r in ways if r.dst in listed and r.gw is not None), None)
    if found is None or found.gw is None:
        raise Inapplicable("its result has no route by a gateway")
    trial.on_node(kernel_view.delete_route, pod.netns, found)
    other = _near(found.gw)
    trial.on_node(kernel_view.add_route, pod.netns, replace(found, gw=other, onlink=True))
    notices(trial, pod, f"the route to {found.dst} goes by {other}, not by {found.gw}")


@case(
    "check-host-end-is-down",
    Level.SHOULD,
    _CHECK,
    "CHECK fails when the container cannot be reached since the host's end is down.",
    "Inside, everything looks right.",
    since=_SINCE,
    kinds=(Kind.MAKES,),
)
def check_host_end_is_down(trial: Trial) -> None:
    pod, result = _added(trial)
    there = trial.scene.look()
    ends = [
        interface.name
        for interface in result.interfaces
        if not interface.sandbox and (link := there.link(interface.name)) and link.peer
    ]
    if not ends:
        raise Inapplicable("its result has no host's end of a pair")
    trial.on_node(kernel_view.set_down, "", ends[0])
    notices(trial, pod, f"{ends[0]}, the host's end, is down")


@case(
    "check-gateway-is-gone",
    Level.SHOULD,
    _CHECK,
    "CHECK fails when the gateway that the plugin put on the host is gone.",
    "The pod still has its default route, to nobody.",
    since=_SINCE,
    kinds=(Kind.MAKES,),
)
def check_gateway_is_gone(trial: Trial) -> None:
    pod, result = _added(trial)
    gateways = {ip.gateway for ip in result.ips if ip.gateway}
    for name, there in trial.scene.look().addresses.items():
        for address in there:
            if address.ip in gateways:
                trial.on_node(kernel_view.delete_address, "", name, address)
                notices(trial, pod, f"the gateway {address.ip} is gone from {name}")
                return
    raise Inapplicable("its gateway is not on the host")


@case(
    "check-rules-are-gone",
    Level.SHOULD,
    _CHECK,
    "CHECK fails when the firewall's rules that ADD made are gone.",
    "Somebody restarted the firewall: ports are closed, or all of them open.",
    since=_SINCE,
    kinds=INTERFACE,
)
def check_rules_are_gone(trial: Trial) -> None:
    pod = trial.pod()
    before = trial.scene.picture()
    trial.added(pod)
    if not any(" rule" in fact.kind for fact in trial.scene.picture() - before):
        raise Inapplicable("it makes no rules")
    trial.on_node(kernel_view.flush_rules)
    notices(trial, pod, "all of its firewall rules are gone")


@case(
    "check-shaping-is-gone",
    Level.SHOULD,
    _CHECK,
    "CHECK fails when the queues that ADD made are gone.",
    "A pod without its limit takes everybody's bandwidth.",
    since=_SINCE,
    kinds=INTERFACE,
)
def check_shaping_is_gone(trial: Trial) -> None:
    pod = trial.pod()
    before = trial.scene.picture()
    trial.added(pod)
    made = [
        fact for fact in difference(before, trial.scene.picture()).added if fact.kind == "qdisc"
    ]
    if not made:
        raise Inapplicable("it makes no queues")
    for name in trial.scene.look().links:
        trial.on_node(kernel_view.delete_queues, name)
    notices(trial, pod, "all of its queues are gone")


@case(
    "check-policy-is-gone",
    Level.SHOULD,
    _CHECK,
    "CHECK fails when the policy rules that ADD made are gone.",
    "Packets take the other interface, and are dropped there.",
    since=_SINCE,
    kinds=INTERFACE,
)
def check_policy_is_gone(trial: Trial) -> None:
    pod = trial.pod()
    before = trial.scene.picture()
    trial.added(pod)
    made = [fact for fact in difference(before, trial.scene.picture()).added if fact.kind == "rule"]
    if not made:
        raise Inapplicable("it makes no policy rules")
    trial.on_node(kernel_view.delete_policy, "" if made[0].where == NODE else made[0].where)
    notices(trial, pod, "all of its policy rules are gone")


@case(
    "check-lease-is-gone",
    Level.SHOULD,
    _CHECK,
    "CHECK fails when the reservation of the address is gone.",
    "The address will be given to somebody else.",
    since=_SINCE,
    kinds=(Kind.MAKES, Kind.IPAM),
)
def check_lease_is_gone(trial: Trial) -> None:
    pod = trial.pod()
    before = trial.scene.picture()
    result = trial.added(pod)
    said = {str(ip.address.ip) for ip in result.ips}
    made = [fact.key for fact in trial.scene.picture() - before if fact.kind == "file"]
    leases = [path for path in made if said & set(path.split("/"))]
    if not leases:
        raise Inapplicable("it keeps no file for an address")
    trial.on_node(kernel_view.delete_files, leases)
    notices(trial, pod, f"{leases[0]}, its reservation, is gone")


@case(
    "check-lease-is-of-another",
    Level.SHOULD,
    _CHECK,
    "CHECK fails for a container that has no reservation, whoever else has.",
    "A lease is somebody's, not just there.",
    since=_SINCE,
    kinds=(Kind.IPAM,),
)
def check_lease_is_of_another(trial: Trial) -> None:
    if not gives_each_its_own(trial):
        raise Inapplicable("it keeps no reservations")
    _, result = _added(trial)
    other = trial.pod("pod2")
    trial.cni.remember(other, result)
    notices(trial, other, "the address of prevResult is another container's")


@case(
    "check-drift",
    Level.SHOULD,
    _CHECK,
    "CHECK fails when what the plugin set is set otherwise.",
    "Whatever a plugin is for, it alone knows whether it still is so.",
    since=_SINCE,
)
def check_drift(trial: Trial) -> None:
    drifts = trial.subject.parameters.drift
    if not drifts:
        raise Inapplicable("its parameters do not say how to break it (key `drift`)")
    for number, (what, lines) in enumerate(drifts.items(), 1):
        pod = trial.pod(f"pod{number}")
        trial.added(pod)
        for line in lines:
            trial.scene.command(line, pod)
        notices(trial, pod, f"{what} is not as it was")


@case(
    "check-allows-additions",
    Level.MUST,
    _CHECK,
    "CHECK allows for what later plugins of the chain added: addresses and routes.",
    "sbr, tuning and meshes all change the pod after the plugin that made its interface.",
    since=_SINCE,
    kinds=INTERFACE,
)
def check_allows_additions(trial: Trial) -> None:
    pod, _ = _added(trial)
    if pod.ifname == "lo":
        raise Inapplicable("nothing is added to lo")
    extra = ip_interface("192.0.2.7/32")
    _on_interface(trial, pod, lambda n, i: addresses.add(n, i, extra))
    trial.scene.command("pod: ip route add 192.0.2.64/26 dev {ifname}", pod)
    succeeded(trial.check(pod), "CHECK after somebody added an address and a route")
