"""What ADD returns, and whether it is true: the result held against the kernel."""

from collections.abc import Iterator

from podnet.cni.errors import CniError
from podnet.cni.result import Interface, IPConfig, Result
from podnet.cni.wire import Fields
from podnet.rig.caller import Twist
from podnet.rig.conformance.case import INTERFACE, Level, case
from podnet.rig.conformance.kernel_view import Seen
from podnet.rig.conformance.scene import AddFailed, Inapplicable
from podnet.rig.conformance.subject import Kind
from podnet.rig.conformance.trial import (
    Trial,
    gives_each_its_own,
    holds,
    own_addresses,
    refused,
    succeeded,
)

_ADD = "2 ADD"
_SUCCESS = "5 ADD Success"
_OWNERS = (Kind.MAKES, Kind.ADJUSTS)
_RICH = "0.3.0"  # interfaces, and ips as a list


def document(trial: Trial) -> Fields:
    """ADD, and return what it printed."""
    answer = trial.add(trial.pod())
    succeeded(answer, "ADD")
    try:
        return Fields.of(answer.document, "the result")
    except CniError as exc:
        raise AddFailed(str(exc)) from None


def inside(result: Result) -> Iterator[tuple[int, Interface]]:
    """Yield the interfaces that are in a sandbox, and their indexes."""
    for index, interface in enumerate(result.interfaces):
        if interface.sandbox:
            yield index, interface


def _of_container(
    result: Result, ips: Iterator[IPConfig] | None = None
) -> list[tuple[str, IPConfig]]:
    """Return the addresses that are said to be on an interface in the sandbox, with its name."""
    listed = []
    for ip in ips or iter(result.ips):
        if ip.interface is not None and 0 <= ip.interface < len(result.interfaces):
            interface = result.interfaces[ip.interface]
            if interface.sandbox:
                listed.append((interface.name, ip))
    return listed


@case(
    "add-succeeds",
    Level.MUST,
    _ADD,
    "ADD exits with 0 and prints a result, in every version that VERSION lists.",
    "Everything else is a question for later.",
    every_version=True,
)
def add_succeeds(trial: Trial) -> None:
    trial.added(trial.pod())


@case(
    "result-is-one-document",
    Level.MUST,
    _SUCCESS,
    "On success stdout holds one JSON object, and nothing else.",
    "One line of debug output on stdout, and the pod does not start.",
)
def result_is_one_document(trial: Trial) -> None:
    document(trial)


@case(
    "result-version",
    Level.MUST,
    _SUCCESS,
    "The result's cniVersion is the configuration's.",
    "The next plugin of the chain reads it in that shape.",
    every_version=True,
)
def result_version(trial: Trial) -> None:
    said = document(trial).get("cniVersion")
    holds(
        said == trial.cni_version, f"the configuration is {trial.cni_version}, the result {said!r}"
    )


@case(
    "result-shape",
    Level.MUST,
    _SUCCESS,
    "The result has the shape of its version: ip4 and ip6 before 0.3.0; ips with their family "
    "before 1.0.0, and without since.",
    "Go programs decode into the version's own type, and drop what it does not have.",
    every_version=True,
)
def result_shape(trial: Trial) -> None:
    said = document(trial)
    if trial.cni_version < _RICH:
        odd = {"ips", "interfaces", "routes"} & set(said.values)
        holds(not odd, f"{', '.join(sorted(odd))} came with 0.3.0")
        holds({"ip4", "ip6"} & set(said.values) or not _has_addresses(trial), "no ip4 and no ip6")
        return
    odd = {"ip4", "ip6"} & set(said.values)
    holds(not odd, f"{', '.join(sorted(odd))} went with 0.3.0")
    for ip in said.children("ips"):
        family = "6" if ":" in ip.text("address") else "4"
        if trial.cni_version < "1.0.0":
            holds(ip.text("version") == family, f"{ip.where} needs version {family!r}")
        else:
            holds("version" not in ip.values, f"{ip.where}.version went with 1.0.0")


def _has_addresses(trial: Trial) -> bool:
    return trial.subject.kind is Kind.IPAM or trial.subject.delegates


@case(
    "result-has-the-interface",
    Level.MUST,
    _SUCCESS,
    "The interface in the container is among interfaces, under the name of CNI_IFNAME.",
    "A runtime looks the pod's address up by that name: without it, the pod has none.",
    kinds=(Kind.MAKES, Kind.CHAINED, Kind.ADJUSTS),
    since=_RICH,
    every_version=True,
)
def result_has_the_interface(trial: Trial) -> None:
    result = trial.added(trial.pod())
    names = [interface.name for _, interface in inside(result)]
    holds(
        trial.subject.ifname in names,
        f"no interface {trial.subject.ifname} with a sandbox: {', '.join(names) or 'none at all'}",
    )


@case(
    "result-sandbox",
    Level.MUST,
    _SUCCESS,
    "The sandbox of an interface in the container is the value of CNI_NETNS.",
    "Who compares them (CHECK does) finds another pod's interface.",
    kinds=_OWNERS,
    since=_RICH,
)
def result_sandbox(trial: Trial) -> None:
    pod = trial.pod()
    for _, interface in inside(trial.added(pod)):
        if interface.name == pod.ifname:
            holds(
                interface.sandbox == pod.netns,
                f"sandbox is {interface.sandbox}, CNI_NETNS was {pod.netns}",
            )


@case(
    "result-index",
    Level.MUST,
    _SUCCESS,
    "The interface of an address is an index into interfaces, and leads into the container.",
    "Off by one, and the pod's address is looked for on a bridge: it has none.",
    kinds=INTERFACE,
    since=_RICH,
    every_version=True,
)
def result_index(trial: Trial) -> None:
    result = trial.added(trial.pod())
    for ip in result.ips:
        holds(ip.interface is not None, f"{ip.address} is on no interface")
        assert ip.interface is not None  # noqa: S101
        count = len(result.interfaces)
        holds(0 <= ip.interface < count, f"{ip.address} is on interface {ip.interface} of {count}")
        interface = result.interfaces[ip.interface]
        holds(interface.sandbox, f"{ip.address} is on {interface.name}, which has no sandbox")


@case(
    "result-interfaces-exist",
    Level.MUST,
    _SUCCESS,
    "Each interface of the result is there: in its sandbox, or on the host.",
    "Whoever comes next works with what is listed.",
    kinds=INTERFACE,
    since=_RICH,
)
def result_interfaces_exist(trial: Trial) -> None:
    pod = trial.pod()
    for interface, seen in _each(trial, trial.added(pod), pod.netns):
        holds(seen.link(interface.name), f"there is no {interface.name} {_where(interface)}")


@case(
    "result-mac",
    Level.MUST,
    _SUCCESS,
    "The mac of an interface is the one that it has.",
    "Spoofing filters and static neighbours are made from it.",
    kinds=INTERFACE,
    since=_RICH,
)
def result_mac(trial: Trial) -> None:
    pod = trial.pod()
    for interface, seen in _each(trial, trial.added(pod), pod.netns):
        link = seen.link(interface.name)
        if interface.mac and link:
            holds(
                interface.mac.lower() == (link.mac or "00:00:00:00:00:00"),
                f"{interface.name} has {link.mac}, the result says {interface.mac}",
            )


@case(
    "result-mac-is-said",
    Level.MUST,
    _SUCCESS,
    "The interface in the container comes with its mac.",
    "CHECK can only compare what was said.",
    kinds=(Kind.MAKES,),
    since=_RICH,
)
def result_mac_is_said(trial: Trial) -> None:
    for _, interface in inside(trial.added(trial.pod())):
        holds(interface.mac, f"{interface.name} has no mac in the result")


@case(
    "result-mtu",
    Level.MUST,
    _SUCCESS,
    "The mtu of an interface, where it is said, is the one that it has.",
    "Too large a value loses large packets, and those only.",
    kinds=INTERFACE,
    since="1.1.0",
)
def result_mtu(trial: Trial) -> None:
    pod = trial.pod()
    for interface, seen in _each(trial, trial.added(pod), pod.netns):
        link = seen.link(interface.name)
        if interface.mtu and link:
            holds(
                interface.mtu == link.mtu,
                f"{interface.name} has {link.mtu}, the result says {interface.mtu}",
            )


def _each(trial: Trial, result: Result, netns: str) -> Iterator[tuple[Interface, Seen]]:
    host, container = trial.scene.look(), trial.scene.look(netns)
    for interface in result.interfaces:
        yield interface, container if interface.sandbox else host


def _where(interface: Interface) -> str:
    return "in the container" if interface.sandbox else "on the host"


@case(
    "result-addresses-are-there",
    Level.MUST,
    _SUCCESS,
    "Each address of the result is on its interface, with its prefix length.",
    "It is what everybody else is told to connect to.",
    kinds=INTERFACE,
    since=_RICH,
    every_version=True,
)
def result_addresses_are_there(trial: Trial) -> None:
    pod = trial.pod()
    result = trial.added(pod)
    there = trial.scene.look(pod.netns).addresses
    for name, ip in _of_container(result):
        holds(ip.address in there.get(name, ()), f"{ip.address} is not on {name}")


@case(
    "result-addresses-are-all",
    Level.SHOULD,
    _SUCCESS,
    "Each address that the plugin gives the interface is in the result.",
    "Network policies are written for the addresses that are known.",
    kinds=_OWNERS,
    since=_RICH,
)
def result_addresses_are_all(trial: Trial) -> None:
    pod = trial.pod()
    result = trial.added(pod)
    said = {ip.address for ip in result.ips}
    extra = [
        str(a) for a in trial.scene.look(pod.netns).addresses.get(pod.ifname, ()) if a not in said
    ]
    holds(not extra, f"{pod.ifname} has {', '.join(extra)}, which the result does not say")


@case(
    "result-routes-are-there",
    Level.MUST,
    _SUCCESS,
    "Each route of the result is in the container.",
    "Without its default route a pod reaches its neighbours, and nobody else.",
    kinds=INTERFACE,
    since=_RICH,
)
def result_routes_are_there(trial: Trial) -> None:
    pod = trial.pod()
    result = trial.added(pod)
    there = {route.dst for route in trial.scene.look(pod.netns).routes}
    for route in result.routes:
        holds(route.network in there, f"there is no route to {route.network}")


@case(
    "result-families",
    Level.MUST,
    _SUCCESS,
    "The gateway of an address, and of a route, is of its family.",
    "A route of two families can be in no table.",
    since=_RICH,
)
def result_families(trial: Trial) -> None:
    result = trial.added(trial.pod())
    for ip in result.ips:
        same = ip.gateway is None or ip.gateway.version == ip.address.version
        holds(same, f"{ip.address} has the gateway {ip.gateway}")
    for route in result.routes:
        same = route.gw is None or route.gw.version == route.dst.version
        holds(same, f"the route to {route.dst} goes by {route.gw}")


@case(
    "add-sets-the-interface-up",
    Level.SHOULD,
    _ADD,
    "After ADD the interface is up.",
    "An address on a link that is down answers nobody.",
    kinds=_OWNERS,
)
def add_sets_the_interface_up(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    link = trial.scene.look(pod.netns).link(pod.ifname)
    holds(link and link.up, f"{pod.ifname} is {'down' if link else 'not there'}")


@case(
    "add-takes-the-name",
    Level.MUST,
    "2 Parameters",
    "The interface is called what CNI_IFNAME says, or ADD fails.",
    "The second network of a pod is net1, and looked for under that name.",
    kinds=(Kind.MAKES,),
)
def add_takes_the_name(trial: Trial) -> None:
    pod = trial.pod(ifname="net1")
    trial.added(pod)
    holds(trial.scene.look(pod.netns).link("net1"), "CNI_IFNAME was net1, and there is no net1")


@case(
    "add-refuses-a-taken-name",
    Level.MUST,
    _ADD,
    "ADD fails when the container has an interface of that name, and leaves that one alone.",
    "Two networks that both want eth0 must not share one, or lose one.",
    kinds=(Kind.MAKES,),
)
def add_refuses_a_taken_name(trial: Trial) -> None:
    pod = trial.pod()
    trial.scene.command("pod: ip link add {ifname} type veth peer name other", pod)
    before = trial.scene.look(pod.netns).link(pod.ifname)
    refused(trial.add(pod), f"ADD of a second {pod.ifname}")
    holds(
        trial.scene.look(pod.netns).link(pod.ifname) == before,
        f"the other {pod.ifname} has changed",
    )


@case(
    "add-gives-each-its-own",
    Level.MUST,
    _ADD,
    "Two containers get different addresses.",
    "Two pods with one address: each gets half of the packets.",
    since=_RICH,
)
def add_gives_each_its_own(trial: Trial) -> None:
    if not _has_addresses(trial) or not gives_each_its_own(trial):
        raise Inapplicable("it does not choose addresses")
    first, second = (trial.added(trial.pod(name)) for name in ("pod1", "pod2"))
    both = own_addresses(first) & own_addresses(second)
    holds(not both, f"two containers have {', '.join(map(str, both))}")


@case(
    "add-twice-in-one-container",
    Level.MUST,
    "3 Lifecycle & Ordering",
    "A container may be added to a network more than once, under different interface names; "
    "DEL of one leaves the other.",
    "State belongs to container and interface: kept by container alone, one DEL takes both.",
    kinds=(Kind.MAKES, Kind.IPAM),
)
def add_twice_in_one_container(trial: Trial) -> None:
    first = trial.pod()
    second = trial.pod(ifname="net1", beside=first)
    trial.added(first)
    before = trial.scene.picture()
    trial.added(second)
    trial.deleted(second)
    trial.scene.nothing_gone(before, "DEL of the other interface of the same container")


@case(
    "result-of-ipam",
    Level.MUST,
    "5 Delegated plugins (IPAM)",
    "An IPAM plugin's result has no interfaces, and no address says one.",
    "It knows none: a number there points at somebody else's.",
    kinds=(Kind.IPAM,),
    since=_RICH,
    every_version=True,
)
def result_of_ipam(trial: Trial) -> None:
    result = trial.added(trial.pod())
    holds(not result.interfaces, "it lists interfaces")
    holds(all(ip.interface is None for ip in result.ips), "an address says an interface")


@case(
    "result-of-ipam-has-addresses",
    Level.MUST,
    "5 Delegated plugins (IPAM)",
    "An IPAM plugin's result has at least one address.",
    "The plugin above has nothing to configure, and says so in words of its own.",
    kinds=(Kind.IPAM,),
    since=_RICH,
)
def result_of_ipam_has_addresses(trial: Trial) -> None:
    holds(trial.added(trial.pod()).ips, "it assigned no address")


@case(
    "error-has-version",
    Level.SHOULD,
    "5 Error",
    "An error object says its cniVersion.",
    "Shapes of errors may change, too.",
)
def error_has_version(trial: Trial) -> None:
    said = refused(trial.add(trial.pod(), Twist(without=("CNI_IFNAME",))), "ADD without CNI_IFNAME")
    holds(said.text("cniVersion"), "the error object has no cniVersion")


@case(
    "error-code-is-known",
    Level.MUST,
    "5 Error",
    "Codes from 1 to 99 mean what the spec says they do; a plugin's own begin at 100.",
    "A runtime tries again on 11, and takes a container for gone on 3.",
)
def error_code_is_known(trial: Trial) -> None:
    pod = trial.pod()
    for twist in (
        Twist(stdin=b"{"),
        Twist(without=("CNI_CONTAINERID",)),
        Twist(config={"cniVersion": "99.0.0"}),
        Twist(without_config=("name",)),
        Twist(environment={"CNI_COMMAND": "FROBNICATE"}),
    ):
        said = refused(trial.add(pod, twist), "a wrong call")
        code = said.number("code") or 0
        holds(
            code in _KNOWN or code >= _OWN_CODES,
            f"code {code} is reserved, and means nothing yet ({said.text('msg')})",
        )


_KNOWN = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 11})  # 8 is libcni's, for network namespaces
_OWN_CODES = 100


@case(
    "stderr-is-for-logs",
    Level.MAY,
    "5 Error",
    "A success says nothing on stderr.",
    "Whatever is there on every call buries what matters.",
)
def stderr_is_for_logs(trial: Trial) -> None:
    pod = trial.pod()
    answers = {"ADD": trial.add(pod), "DEL": trial.delete(pod)}
    for verb, answer in answers.items():
        text = answer.stderr.decode(errors="replace").strip()
        holds(not text, f"{verb} says on stderr: {text[:200]}")
