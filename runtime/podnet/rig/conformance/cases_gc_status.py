"""GC with sets of all kinds, and STATUS."""

from dataclasses import replace

from podnet.cni import versions
from podnet.rig.caller import Twist
from podnet.rig.conformance.case import Level, case
from podnet.rig.conformance.cases_delete import warmed_up
from podnet.rig.conformance.scene import Inapplicable
from podnet.rig.conformance.trial import Trial, holds, refused, succeeded

_GC = "2 GC"
_STATUS = "2 STATUS"
_SINCE = "1.1.0"


@case(
    "gc-of-nothing",
    Level.MUST,
    _GC,
    "GC where nothing was ever made succeeds.",
    "Runtimes run it when they start, first thing.",
    since=_SINCE,
)
def gc_of_nothing(trial: Trial) -> None:
    succeeded(trial.cni.gc([]), "GC of nothing")


@case(
    "gc-needs-no-container",
    Level.MUST,
    _GC,
    "GC needs no container: neither CNI_CONTAINERID, CNI_NETNS nor CNI_IFNAME.",
    "It is about a network.",
    since=_SINCE,
)
def gc_needs_no_container(trial: Trial) -> None:
    others = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS")
    succeeded(trial.cni.gc([], Twist(without=others)), "GC without parameters of a container")


@case(
    "gc-keeps-the-valid",
    Level.MUST,
    _GC,
    "GC leaves the attachments that are valid as they are.",
    "A clean-up that takes a running pod's address is an outage.",
    since=_SINCE,
)
def gc_keeps_the_valid(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    before = trial.scene.picture()
    succeeded(trial.cni.gc([pod]), "GC")
    trial.scene.nothing_gone(before, "GC of others")
    succeeded(trial.check(pod), "CHECK after GC")


@case(
    "gc-removes-the-stale",
    Level.SHOULD,
    _GC,
    "GC removes what is left of attachments that are not in the set.",
    "It is the only way back from a node that crashed.",
    since=_SINCE,
)
def gc_removes_the_stale(trial: Trial) -> None:
    before = warmed_up(trial)
    pod = trial.pod()
    trial.added(pod)
    trial.vanish(pod)
    succeeded(trial.cni.gc([]), "GC")
    trial.scene.nothing_since(before, "GC of a container that is gone", settings=False)


@case(
    "gc-tells-stale-from-valid",
    Level.SHOULD,
    _GC,
    "Of two containers, GC removes what is left of the one that is not in the set, and only that.",
    "The usual case: most of a node lives.",
    since=_SINCE,
)
def gc_tells_stale_from_valid(trial: Trial) -> None:
    first = trial.pod()
    trial.added(first)
    before = trial.scene.picture()
    second = trial.pod("pod2")
    trial.added(second)
    trial.vanish(second)
    succeeded(trial.cni.gc([first]), "GC")
    trial.scene.nothing_gone(before, "GC of the other")
    trial.scene.nothing_since(before, "GC of one of two")


@case(
    "gc-goes-by-interface",
    Level.MUST,
    _GC,
    "An attachment is a container and an interface: another interface's validity is not its own.",
    "A pod has several networks, and each is cleaned by itself.",
    since=_SINCE,
)
def gc_goes_by_interface(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    before = trial.scene.picture()
    other = replace(pod, ifname="net7")
    succeeded(trial.cni.gc([other, pod]), "GC")
    trial.scene.nothing_gone(before, "GC with two interfaces of one container")


@case(
    "gc-keeps-other-networks",
    Level.MUST,
    _GC,
    "GC of one network leaves the attachments of others.",
    "Networks are cleaned one after the other, each with its own set.",
    since=_SINCE,
)
def gc_keeps_other_networks(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    before = trial.scene.picture()
    succeeded(trial.cni.gc([], Twist(config={"name": "another"})), "GC of another network")
    trial.scene.nothing_gone(before, "GC of another network")


@case(
    "gc-with-null",
    Level.SHOULD,
    _GC,
    "A set that is null is an empty one.",
    "libcni sends null for an empty list.",
    since=_SINCE,
)
def gc_with_null(trial: Trial) -> None:
    keys = dict.fromkeys(versions.VALID_ATTACHMENTS)
    succeeded(trial.cni.gc([], Twist(config=keys)), "GC with null for the set")


@case(
    "gc-twice",
    Level.MUST,
    _GC,
    "GC may be run again.",
    "It is run on a timer.",
    since=_SINCE,
)
def gc_twice(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    trial.vanish(pod)
    for time in ("first", "second"):
        succeeded(trial.cni.gc([]), f"the {time} GC")


@case(
    "gc-then-del",
    Level.MUST,
    _GC,
    "DEL after GC succeeds: GC is no substitute for it.",
    "A runtime does both, and not always in one order.",
    since=_SINCE,
)
def gc_then_del(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    trial.cni.remove(pod)
    succeeded(trial.cni.gc([]), "GC")
    trial.deleted(pod)


@case(
    "gc-too-old",
    Level.SHOULD,
    _GC,
    "Before 1.1.0 there is no GC: it is refused.",
    "A success would have the runtime believe that something was cleaned.",
    until="1.0.0",
)
def gc_too_old(trial: Trial) -> None:
    newer = trial.cni.at_version(_SINCE)
    answer = newer.gc([], Twist(config={"cniVersion": trial.cni_version}))
    refused(answer, f"GC in {trial.cni_version}")


@case(
    "status-is-ready",
    Level.MUST,
    _STATUS,
    "STATUS exits with 0 when the plugin can serve an ADD.",
    "A node whose plugin is never ready gets no pods.",
    since=_SINCE,
)
def status_is_ready(trial: Trial) -> None:
    pod = trial.pod()
    answer = trial.cni.status()
    trial.added(pod)
    succeeded(answer, "STATUS, where ADD works,")


@case(
    "status-needs-no-container",
    Level.MUST,
    _STATUS,
    "STATUS needs no container: neither CNI_CONTAINERID, CNI_NETNS nor CNI_IFNAME.",
    "It is asked before there is one.",
    since=_SINCE,
)
def status_needs_no_container(trial: Trial) -> None:
    others = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS")
    succeeded(trial.cni.status(Twist(without=others)), "STATUS without parameters of a container")


@case(
    "status-changes-nothing",
    Level.MUST,
    _STATUS,
    "STATUS only tells: it changes nothing.",
    "It is asked every few seconds.",
    since=_SINCE,
)
def status_changes_nothing(trial: Trial) -> None:
    before = warmed_up(trial)
    trial.cni.status()
    trial.scene.nothing_since(before, "STATUS")
    trial.scene.nothing_gone(before, "STATUS")


@case(
    "status-says-full",
    Level.SHOULD,
    _STATUS,
    "STATUS fails with code 50 when no ADD could succeed: when the addresses are used up.",
    "The scheduler would place pods where they cannot start.",
    since=_SINCE,
)
def status_says_full(trial: Trial) -> None:
    full = trial.subject.parameters.full
    if not full:
        raise Inapplicable("its parameters do not say how to fill it up (key `full`)")
    trial = trial.configured(**full)
    trial.added(trial.pod())
    refused(trial.add(trial.pod("pod2")), "an ADD where there is no room")
    refused(trial.cni.status(), "STATUS, where there is no room for another,", codes=(50, 51))


@case(
    "status-is-not-needed",
    Level.MUST,
    _STATUS,
    "ADD, CHECK and DEL work whatever STATUS said.",
    "STATUS is information, not permission.",
    since=_SINCE,
)
def status_is_not_needed(trial: Trial) -> None:
    full = trial.subject.parameters.full
    pod = trial.pod()
    trial.added(pod)
    for one in (trial, trial.configured(**full)) if full else (trial,):
        one.cni.status()
    succeeded(trial.check(pod), "CHECK after STATUS")
    trial.deleted(pod)


@case(
    "status-too-old",
    Level.SHOULD,
    _STATUS,
    "Before 1.1.0 there is no STATUS: it is refused.",
    "A success would say nothing.",
    until="1.0.0",
)
def status_too_old(trial: Trial) -> None:
    newer = trial.cni.at_version(_SINCE)
    answer = newer.status(Twist(config={"cniVersion": trial.cni_version}))
    refused(answer, f"STATUS in {trial.cni_version}")


@case(
    "add-where-there-is-no-room",
    Level.MUST,
    "2 ADD",
    "An ADD that finds no resources fails with an error object, and leaves nothing after DEL.",
    "A full node fails pod after pod; each must cost nothing.",
)
def add_where_there_is_no_room(trial: Trial) -> None:
    full = trial.subject.parameters.full
    if not full:
        raise Inapplicable("its parameters do not say how to fill it up (key `full`)")
    trial = trial.configured(**full)
    first = trial.pod()
    trial.added(first)
    second = trial.pod("pod2")
    before = trial.scene.picture()
    refused(trial.add(second), "an ADD where there is no room")
    trial.deleted(second, known=False)
    trial.scene.nothing_since(before, "an ADD where there is no room, and DEL")
    trial.deleted(first)
    holds(trial.add(second).exit_status == 0, "the room of a DELed container is not given again")
