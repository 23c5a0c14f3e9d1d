"""Delegation: a plugin that has its addresses managed by another, which is a stub here."""

from ipaddress import ip_interface

from podnet.cni.result import IPConfig, Result, Route
from podnet.plan import Attachment
from podnet.rig.caller import Twist
from podnet.rig.conformance import stub_ipam
from podnet.rig.conformance.case import Level, case
from podnet.rig.conformance.cases_delete import settled
from podnet.rig.conformance.stub_ipam import ADDRESS, DNS, GATEWAY, TYPE, Script, asked, put
from podnet.rig.conformance.trial import Trial, holds, refused, succeeded

_DELEGATION = "4 Delegated Plugin Execution"
_PARAMETERS = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH")
_BUSY = {"code": 11, "msg": "no address now"}
_OWN = {"code": 117, "msg": "the address database is on fire"}


@case(
    "delegate-is-asked",
    Level.MUST,
    _DELEGATION,
    "ADD runs the delegate with the environment and the configuration that the plugin was given.",
    "An IPAM plugin needs all of it: name, arguments, capabilities.",
    delegates=True,
)
def delegate_is_asked(trial: Trial) -> None:
    trial = put(trial)
    pod = trial.pod()
    answer = trial.add(pod)
    succeeded(answer, "ADD")
    calls = asked(trial, "ADD")
    holds(calls, f"{TYPE} was not run")
    environment, request = calls[0]
    for name in _PARAMETERS:
        given = answer.last.invocation.environment[name]
        holds(
            environment.get(name, "") == given,
            f"{name} is {environment.get(name)!r}, not {given!r}",
        )
    holds(isinstance(request, dict), f"{TYPE} was given no configuration")
    assert isinstance(request, dict)  # noqa: S101
    for key in ("cniVersion", "name", "ipam"):
        holds(
            _has(request.get(key), answer.last.invocation.stdin[key]),
            f"the delegate's configuration has {key} {request.get(key)!r}",
        )


def _has(value: object, given: object) -> bool:
    """Tell whether all that was given is there; a plugin may know more, a lease for one."""
    if isinstance(given, dict) and isinstance(value, dict):
        return given.items() <= value.items()
    return value == given


@case(
    "delegate-address-is-used",
    Level.MUST,
    "5 Delegated plugins (IPAM)",
    "The interface gets the addresses that the delegate assigned, and the result says them.",
    "Otherwise two pods will have one address, and neither the one that is on record.",
    delegates=True,
    since="0.3.0",
)
def delegate_address_is_used(trial: Trial) -> None:
    trial = put(trial)
    pod = trial.pod()
    result = trial.added(pod)
    holds(ADDRESS in [ip.address for ip in result.ips], f"the result does not have {ADDRESS}")
    there = trial.scene.look(pod.netns).addresses.get(pod.ifname, ())
    holds(ADDRESS in there, f"{pod.ifname} does not have {ADDRESS}")


@case(
    "delegate-route-is-made",
    Level.MUST,
    "5 ADD Success",
    "The routes that the delegate returned are made; one without a gateway goes by the address's.",
    "The default route is nearly always one of them.",
    delegates=True,
    since="0.3.0",
)
def delegate_route_is_made(trial: Trial) -> None:
    trial = put(trial)
    pod = trial.pod()
    trial.added(pod)
    ways = [r for r in trial.scene.look(pod.netns).routes_of(pod.ifname) if not r.dst.prefixlen]
    holds(ways, "there is no default route")
    holds(ways[0].gw == GATEWAY, f"the default route goes by {ways[0].gw}, not by {GATEWAY}")


@case(
    "delegate-dns-is-passed",
    Level.SHOULD,
    "5 ADD Success",
    "What the delegate says of DNS is in the result, where the configuration says nothing.",
    "host-local reads it from a file; pods then get the node's resolver by surprise.",
    delegates=True,
    since="0.3.0",
)
def delegate_dns_is_passed(trial: Trial) -> None:
    trial = put(trial, stub_ipam.answer(trial, dns=DNS)).configured(dns=None)
    said = trial.added(trial.pod()).dns
    holds(said.nameservers == DNS.nameservers, f"its nameservers are {list(said.nameservers)}")


@case(
    "delegate-is-missing",
    Level.MUST,
    _DELEGATION,
    "A delegate that is not found in CNI_PATH fails ADD.",
    "A node where one binary was forgotten shall say which.",
    delegates=True,
)
def delegate_is_missing(trial: Trial) -> None:
    trial = trial.configured(ipam={"type": "podnet-no-such-ipam"})
    said = refused(trial.add(trial.pod()), "an IPAM plugin that is not there")
    text = f"{said.text('msg')} {said.text('details')}"
    holds("podnet-no-such-ipam" in text, f"the message does not name it: {text}")


@case(
    "delegate-fails",
    Level.MUST,
    _DELEGATION,
    "A delegate that fails on ADD fails the plugin.",
    "A pod without an address is worse than none.",
    delegates=True,
)
def delegate_fails(trial: Trial) -> None:
    trial = put(trial, script=Script(fails={"ADD": _OWN}))
    refused(trial.add(trial.pod()), "an ADD whose IPAM plugin failed")


@case(
    "delegate-error-is-passed-on",
    Level.SHOULD,
    _DELEGATION,
    "The delegate's error is the plugin's: its code, and its message.",
    "Code 11 means to try again; wrapped into 999 it means nothing.",
    delegates=True,
)
def delegate_error_is_passed_on(trial: Trial) -> None:
    trial = put(trial, script=Script(fails={"ADD": _BUSY}))
    said = refused(trial.add(trial.pod()), "an ADD whose IPAM plugin is busy", codes=(11,))
    holds("no address now" in said.text("msg"), f"the message is {said.text('msg')!r}")


@case(
    "delegate-failure-leaves-nothing",
    Level.SHOULD,
    _DELEGATION,
    "When the delegate fails on ADD, the plugin takes back what it has made.",
    "The next try finds the name taken, and fails for another reason.",
    delegates=True,
)
def delegate_failure_leaves_nothing(trial: Trial) -> None:
    pod, before = settled(trial)
    put(trial, script=Script(fails={"ADD": _OWN})).add(pod)
    trial.scene.nothing_since(before, "an ADD whose IPAM plugin failed", settings=False)


@case(
    "delegate-failure-is-undone",
    Level.SHOULD,
    _DELEGATION,
    "When the delegate fails on ADD, it is run with DEL before the plugin returns.",
    "It may have assigned one of two addresses.",
    delegates=True,
)
def delegate_failure_is_undone(trial: Trial) -> None:
    trial = put(trial, script=Script(fails={"ADD": _OWN}))
    trial.add(trial.pod())
    holds(asked(trial, "DEL"), f"{TYPE} failed on ADD, and was not run with DEL")


@case(
    "delegate-garbage",
    Level.MUST,
    _DELEGATION,
    "A delegate whose answer is no result fails the plugin, with an error object.",
    "A warning on stdout must not become a pod without an address.",
    delegates=True,
)
def delegate_garbage(trial: Trial) -> None:
    trial = put(trial, script=Script(stdout="warning: deprecated\n{}"))
    refused(trial.add(trial.pod()), "an IPAM plugin's answer that is not JSON")


@case(
    "delegate-without-addresses",
    Level.MUST,
    "5 Delegated plugins (IPAM)",
    "A delegate that assigns no address fails the plugin, with an error object.",
    "The pod would be ready, and unreachable.",
    delegates=True,
)
def delegate_without_addresses(trial: Trial) -> None:
    trial = put(trial, Result(cni_version=trial.cni_version))
    refused(trial.add(trial.pod()), "an IPAM plugin's answer without addresses")


def _works_or_leaves_nothing(trial: Trial, result: Result, what: str) -> None:
    pod, before = settled(trial)
    answer = put(trial, result).add(pod)
    if answer.exit_status != 0:
        refused(answer, what)
        trial.scene.nothing_since(before, f"an ADD that failed for {what}", settings=False)


def _ip(trial: Trial, gateway: bool) -> IPConfig:  # noqa: FBT001
    family = "4" if trial.cni_version < "1.0.0" else ""
    return IPConfig(ADDRESS, GATEWAY if gateway else None, version=family)


@case(
    "delegate-without-gateway",
    Level.SHOULD,
    "5 ADD Success",
    "The gateway of an address is optional: ADD works without one, or fails and leaves nothing.",
    "Networks without a way out are ordinary for second interfaces.",
    delegates=True,
    since="0.3.0",
)
def delegate_without_gateway(trial: Trial) -> None:
    result = stub_ipam.answer(trial, ips=(_ip(trial, gateway=False),), routes=())
    _works_or_leaves_nothing(trial, result, "an address without a gateway")


@case(
    "delegate-impossible-route",
    Level.SHOULD,
    "2 ADD",
    "An ADD that fails at its last step takes back what it has made.",
    "A link with an address, of a pod that does not exist, answers for it.",
    delegates=True,
    since="0.3.0",
)
def delegate_impossible_route(trial: Trial) -> None:
    nowhere = Route(ip_interface("198.19.0.0/16"), ip_interface("203.0.113.1/32").ip)
    result = stub_ipam.answer(trial, routes=(nowhere,))
    _works_or_leaves_nothing(trial, result, "a route by a gateway that cannot be reached")


@case(
    "delegate-stderr-is-passed-on",
    Level.SHOULD,
    _DELEGATION,
    "What the delegate logs on stderr is on the plugin's stderr.",
    "It is the only trace of why.",
    delegates=True,
)
def delegate_stderr_is_passed_on(trial: Trial) -> None:
    trial = put(trial, script=Script(stderr="a word from the address manager"))
    answer = trial.add(trial.pod())
    holds(b"a word from the address manager" in answer.stderr, "its stderr is lost")


def _attached(trial: Trial, script: Script | None = None) -> tuple[Trial, Attachment]:
    trial = put(trial, script=script)
    pod = trial.pod()
    trial.added(pod)
    return trial, pod


@case(
    "delegate-del",
    Level.MUST,
    _DELEGATION,
    "DEL runs the delegate with DEL.",
    "Addresses that are not released run out.",
    delegates=True,
)
def delegate_del(trial: Trial) -> None:
    trial, pod = _attached(trial)
    trial.deleted(pod)
    holds(asked(trial, "DEL"), f"{TYPE} was not run with DEL")


@case(
    "delegate-del-without-netns",
    Level.MUST,
    "2 DEL",
    "DEL runs the delegate also when CNI_NETNS is empty or gone.",
    "That is how most containers end.",
    delegates=True,
)
def delegate_del_without_netns(trial: Trial) -> None:
    # It fails each time: once it had succeeded, the plugin could have forgotten it.
    trial, pod = _attached(trial, Script(fails={"DEL": _OWN}))
    trial.cni.remove(pod)
    trial.delete(pod, Twist(environment={"CNI_NETNS": ""}))
    holds(asked(trial, "DEL"), f"CNI_NETNS is empty, and {TYPE} was not run with DEL")
    before = len(asked(trial, "DEL"))
    trial.delete(pod)
    holds(len(asked(trial, "DEL")) > before, f"CNI_NETNS is gone, and {TYPE} was not run with DEL")


@case(
    "delegate-del-fails",
    Level.MUST,
    _DELEGATION,
    "A delegate that fails on DEL fails the plugin.",
    "A success would have the runtime forget a lease that is still held.",
    delegates=True,
)
def delegate_del_fails(trial: Trial) -> None:
    trial, pod = _attached(trial, Script(fails={"DEL": _OWN}))
    refused(trial.delete(pod), "a DEL whose IPAM plugin failed")


@case(
    "delegate-check",
    Level.MUST,
    _DELEGATION,
    "CHECK runs the delegate with CHECK, and with prevResult.",
    "It alone knows of the reservation.",
    delegates=True,
    since="0.4.0",
)
def delegate_check(trial: Trial) -> None:
    trial, pod = _attached(trial)
    trial.check(pod)
    calls = asked(trial, "CHECK")
    holds(calls, f"{TYPE} was not run with CHECK")
    request = calls[0][1]
    holds(isinstance(request, dict) and request.get("prevResult"), f"{TYPE} got no prevResult")


@case(
    "delegate-check-fails",
    Level.MUST,
    _DELEGATION,
    "A delegate that fails on CHECK fails the plugin.",
    "The address is being given to somebody else just now.",
    delegates=True,
    since="0.4.0",
)
def delegate_check_fails(trial: Trial) -> None:
    trial, pod = _attached(trial, Script(fails={"CHECK": _OWN}))
    refused(trial.check(pod), "a CHECK whose IPAM plugin found a difference")


@case(
    "delegate-status",
    Level.MUST,
    "2 STATUS",
    "STATUS runs the delegate with STATUS, and fails when it does.",
    "A node without addresses is not ready for pods.",
    delegates=True,
    since="1.1.0",
)
def delegate_status(trial: Trial) -> None:
    trial = put(trial, script=Script(fails={"STATUS": {"code": 50, "msg": "no addresses left"}}))
    answer = trial.cni.status()
    holds(asked(trial, "STATUS"), f"{TYPE} was not run with STATUS")
    refused(answer, "a STATUS whose IPAM plugin is not available")


@case(
    "delegate-gc",
    Level.MUST,
    "2 GC",
    "GC runs the delegate with GC, and with the attachments that are valid.",
    "Leases of containers that are gone are nowhere but there.",
    delegates=True,
    since="1.1.0",
)
def delegate_gc(trial: Trial) -> None:
    trial, pod = _attached(trial)
    succeeded(trial.cni.gc([pod]), "GC")
    calls = asked(trial, "GC")
    holds(calls, f"{TYPE} was not run with GC")
    request = calls[0][1]
    wanted = [{"containerID": pod.container_id, "ifname": pod.ifname}]
    holds(
        isinstance(request, dict) and request.get("cni.dev/valid-attachments") == wanted,
        f"{TYPE} was not told of the valid attachments",
    )


@case(
    "delegate-gc-fails",
    Level.SHOULD,
    "2 GC",
    "A delegate that fails on GC fails the plugin.",
    "A clean-up that did not happen must not look as if it had.",
    delegates=True,
    since="1.1.0",
)
def delegate_gc_fails(trial: Trial) -> None:
    trial = put(trial, script=Script(fails={"GC": _OWN}))
    refused(trial.cni.gc([]), "a GC whose IPAM plugin failed")
