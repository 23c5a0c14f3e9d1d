"""DEL: again, without what it may do without, in any order, and what is left afterwards."""

from pathlib import Path

from podnet.plan import Attachment
from podnet.rig.caller import Twist
from podnet.rig.conformance import kernel_view
from podnet.rig.conformance.case import Level, case
from podnet.rig.conformance.scene import Inapplicable
from podnet.rig.conformance.subject import Kind
from podnet.rig.conformance.trial import Trial, holds, prepare, succeeded
from podnet.rig.picture import Picture

_DEL = "2 DEL"
_LIFECYCLE = "3 Lifecycle & Ordering"


def warmed_up(trial: Trial) -> Picture:
    """Have one attachment come and go; return how everything is then.

    What a network needs once (a bridge, a chain, a directory) is there, so that whatever there
    is more later belongs to an attachment.
    """
    first = trial.pod("pod0")
    trial.added(first)
    trial.deleted(first)
    trial.vanish(first)
    return trial.scene.picture()


def settled(trial: Trial) -> tuple[Attachment, Picture]:
    """Return an attachment to come, in a Node that is warmed up, and how everything is before it.

    For a chained plugin that is before the plugins that it stands on, too.
    """
    return upcoming(trial, warmed_up(trial))


def upcoming(trial: Trial, before: Picture) -> tuple[Attachment, Picture]:
    """Return an attachment to come, and how everything is before it: as it was *before* its pod."""
    pod = trial.pod()
    return pod, before if _stands_on_others(trial) else trial.scene.picture()


def leaves_nothing(trial: Trial, pod: Attachment, before: Picture, what: str) -> None:
    """Hold that nothing is left of an attachment, when the whole of its chain is DELed.

    Raises:
        Violation: Something is.
    """
    if _stands_on_others(trial):
        trial.vanish(pod)
    trial.scene.nothing_since(before, what, settings=False)


def again(trial: Trial, pod: Attachment) -> Attachment:
    """Return the same container to be attached again, on what a chained plugin stands on."""
    if not _stands_on_others(trial):
        return pod
    trial.vanish(pod)
    return trial.pod(pod.container_id)


def _stands_on_others(trial: Trial) -> bool:
    return trial.subject.kind is Kind.CHAINED


@case(
    "del-succeeds",
    Level.MUST,
    _DEL,
    "DEL after ADD exits with 0, in every version.",
    "A pod whose DEL fails is never gone: the runtime tries again for ever.",
    every_version=True,
)
def del_succeeds(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    trial.deleted(pod)


@case(
    "del-removes-the-interface",
    Level.MUST,
    _DEL,
    "DEL removes the interface from the container.",
    "A pod may leave one of its networks and live on.",
    kinds=(Kind.MAKES,),
)
def del_removes_the_interface(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    trial.deleted(pod)
    holds(not trial.scene.look(pod.netns).link(pod.ifname), f"{pod.ifname} is still there")


@case(
    "del-leaves-nothing",
    Level.MUST,
    _DEL,
    "After DEL nothing is left of the attachment: no link, address, route, rule, queue, or file.",
    "Leases run out, tables of rules grow, and one day the node is full.",
)
def del_leaves_nothing(trial: Trial) -> None:
    pod, before = settled(trial)
    trial.added(pod)
    trial.deleted(pod)
    leaves_nothing(trial, pod, before, "ADD and DEL")


@case(
    "del-undoes-its-own",
    Level.SHOULD,
    _DEL,
    "DEL undoes what ADD did, settings too, whether or not others take away the rest.",
    "A pod that leaves one network and lives on keeps what that network changed.",
    kinds=(Kind.MAKES, Kind.CHAINED),
)
def del_undoes_its_own(trial: Trial) -> None:
    warmed_up(trial)
    pod = trial.pod()
    before = trial.scene.picture()
    trial.added(pod)
    trial.deleted(pod)
    trial.scene.nothing_since(before, "ADD and DEL")


@case(
    "del-twice",
    Level.MUST,
    _DEL,
    "DEL may be called again, and succeeds.",
    "A runtime that was restarted does not know how far it came.",
)
def del_twice(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    trial.deleted(pod)
    succeeded(trial.delete(pod), "the second DEL")


@case(
    "del-never-added",
    Level.MUST,
    _DEL,
    "DEL of what was never ADDed succeeds.",
    "After a failed ADD the runtime calls DEL for the whole chain.",
)
def del_never_added(trial: Trial) -> None:
    succeeded(trial.delete(trial.pod(), known=False), "DEL without an ADD")


@case(
    "del-never-added-changes-nothing",
    Level.MUST,
    _DEL,
    "DEL of one container leaves what others have.",
    "Who deletes by guessing takes down a pod that works.",
)
def del_never_added_changes_nothing(trial: Trial) -> None:
    first = trial.pod()
    trial.added(first)
    other = trial.pod("pod2")
    before = trial.scene.picture()
    trial.delete(other, known=False)
    trial.scene.nothing_gone(before, "DEL of a container that was never ADDed")


@case(
    "del-without-netns",
    Level.MUST,
    _DEL,
    "CNI_NETNS is optional for DEL: without it, or empty, DEL succeeds.",
    "The container is dead, and its namespace gone: that is when DEL is called.",
)
def del_without_netns(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    succeeded(
        trial.delete(pod, Twist(environment={"CNI_NETNS": ""})), "DEL with an empty CNI_NETNS"
    )
    succeeded(trial.delete(pod, Twist(without=("CNI_NETNS",))), "DEL without CNI_NETNS")


@case(
    "del-without-netns-cleans",
    Level.SHOULD,
    _DEL,
    "Without CNI_NETNS, DEL frees what it can: addresses above all, and rules on the host.",
    "An address that nobody has and nobody can have is lost until somebody looks.",
)
def del_without_netns_cleans(trial: Trial) -> None:
    pod, before = settled(trial)
    trial.added(pod)
    trial.vanish(pod)
    trial.deleted(pod, Twist(environment={"CNI_NETNS": ""}))
    leaves_nothing(trial, pod, before, "DEL without CNI_NETNS")


@case(
    "del-netns-is-gone",
    Level.MUST,
    _DEL,
    "DEL succeeds when the namespace at CNI_NETNS is gone.",
    "A container that crashed takes its namespace along, often before DEL.",
)
def del_netns_is_gone(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    trial.cni.remove(pod)
    trial.deleted(pod)


@case(
    "del-netns-is-gone-cleans",
    Level.SHOULD,
    _DEL,
    "And frees what is on the host all the same.",
    "A masquerading rule for an address that the next pod will have.",
)
def del_netns_is_gone_cleans(trial: Trial) -> None:
    pod, before = settled(trial)
    trial.added(pod)
    trial.vanish(pod)
    trial.deleted(pod)
    leaves_nothing(trial, pod, before, "DEL of a container whose namespace is gone")


@case(
    "del-netns-is-gone-makes-nothing",
    Level.MUST,
    _DEL,
    "DEL does not make anything, least of all a file where the namespace was.",
    "Every later DEL takes the file for a namespace, and fails.",
)
def del_netns_is_gone_makes_nothing(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    trial.cni.remove(pod)
    trial.delete(pod)
    there = trial.on_node(Path(pod.netns).exists)
    holds(not there, f"it makes a file at {pod.netns}")


@case(
    "del-netns-is-a-file",
    Level.SHOULD,
    _DEL,
    "DEL succeeds when there is a plain file at CNI_NETNS: the namespace is gone, too.",
    "Unmounting a namespace leaves its file, and a crash in between leaves it for good.",
)
def del_netns_is_a_file(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    trial.cni.remove(pod)
    trial.on_node(Path(pod.netns).write_text, "")
    trial.deleted(pod)


@case(
    "del-without-prev-result",
    Level.MUST,
    _DEL,
    "DEL succeeds without prevResult.",
    "The cache was lost, or ADD never came to its end.",
    since="0.4.0",
)
def del_without_prev_result(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    trial.deleted(pod, known=False)


@case(
    "del-without-prev-result-cleans",
    Level.SHOULD,
    _DEL,
    "Without prevResult, DEL frees what it can.",
    "Rules that are known by the lost result alone stay for ever.",
    since="0.4.0",
)
def del_without_prev_result_cleans(trial: Trial) -> None:
    pod, before = settled(trial)
    trial.added(pod)
    trial.deleted(pod, known=False)
    leaves_nothing(trial, pod, before, "DEL without prevResult")


@case(
    "del-interface-is-gone",
    Level.MUST,
    _DEL,
    "DEL succeeds when the interface is gone already.",
    "Somebody tidied up by hand, or a driver was unloaded.",
    kinds=(Kind.MAKES, Kind.CHAINED),
)
def del_interface_is_gone(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    trial.on_node(kernel_view.delete_link, pod.netns, pod.ifname)
    trial.deleted(pod)


@case(
    "del-interface-is-gone-cleans",
    Level.SHOULD,
    _DEL,
    "And frees the rest.",
    "What is found by looking at the interface is not found any more.",
    kinds=(Kind.MAKES,),
)
def del_interface_is_gone_cleans(trial: Trial) -> None:
    pod, before = settled(trial)
    trial.added(pod)
    trial.on_node(kernel_view.delete_link, pod.netns, pod.ifname)
    trial.deleted(pod)
    leaves_nothing(trial, pod, before, "DEL of an interface that is gone")


@case(
    "del-something-is-missing",
    Level.SHOULD,
    _DEL,
    "DEL succeeds when what the attachment hung on is missing.",
    "A node loses its uplink, and every pod on it hangs in Terminating.",
)
def del_something_is_missing(trial: Trial) -> None:
    lines = trial.subject.parameters.missing
    if not lines:
        raise Inapplicable("its parameters do not say what could be missing (key `missing`)")
    pod = trial.pod()
    trial.added(pod)
    for line in lines:
        trial.scene.command(line, pod)
    trial.deleted(pod)


@case(
    "del-in-any-order",
    Level.MUST,
    _LIFECYCLE,
    "Containers go in any order, and those that stay are not touched.",
    "Nobody stops pods in the order they were started.",
)
def del_in_any_order(trial: Trial) -> None:
    first = trial.pod()
    trial.added(first)
    before = trial.scene.picture()
    others = [trial.pod(name) for name in ("pod2", "pod3")]
    for pod in others:
        trial.added(pod)
    for pod in others:
        trial.deleted(pod)
    trial.scene.nothing_gone(before, "DEL of the others")
    trial.deleted(first)


@case(
    "del-after-failed-add",
    Level.MUST,
    _LIFECYCLE,
    "DEL after an ADD that failed succeeds, and leaves nothing.",
    "Half an attachment that cannot be removed blocks the next try, for ever.",
    kinds=(Kind.MAKES,),
)
def del_after_failed_add(trial: Trial) -> None:
    pod, before = settled(trial)
    trial.scene.command("pod: ip link add {ifname} type veth peer name other", pod)
    trial.add(pod)
    trial.scene.command("pod: ip link delete {ifname}", pod)
    trial.deleted(pod, known=False)
    leaves_nothing(trial, pod, before, "ADD that failed, and DEL")


@case(
    "del-after-refused-configuration",
    Level.MUST,
    _LIFECYCLE,
    "DEL after an ADD that was refused leaves nothing, whatever DEL says of the configuration.",
    "What was made before the mistake was found stays for good.",
)
def del_after_refused_configuration(trial: Trial) -> None:
    bad = trial.subject.parameters.bad
    if not bad:
        raise Inapplicable("its parameters name no bad value (key `bad`)")
    pod, before = settled(trial)
    for keys in bad:
        other = trial.configured(**keys)
        other.add(pod)
        other.delete(pod, known=False)
    leaves_nothing(trial, pod, before, "ADD that was refused, and DEL")


@case(
    "del-then-add",
    Level.MUST,
    _LIFECYCLE,
    "After DEL, the same container can be ADDed again.",
    "A sandbox that is restarted keeps its name.",
)
def del_then_add(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    trial.deleted(pod)
    succeeded(trial.add(again(trial, pod)), "ADD after DEL")


@case(
    "del-prints-nothing",
    Level.MAY,
    "5 Result Types",
    "DEL prints nothing on stdout.",
    "There is no result of DEL.",
)
def del_prints_nothing(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    answer = trial.delete(pod)
    holds(not answer.stdout.strip(), f"DEL prints {answer.stdout[:80]!r}")


@case(
    "del-survives-a-reboot",
    Level.MUST,
    _LIFECYCLE,
    "After a reboot the kernel knows nothing and the disk everything: DEL succeeds.",
    "Every pod of a node that was rebooted is DELed, once.",
)
def del_survives_a_reboot(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    trial.cni.remove(pod)
    trial.scene.reboot()
    prepare(trial)
    trial.deleted(pod)


@case(
    "del-after-a-reboot-frees",
    Level.MUST,
    _LIFECYCLE,
    "And frees what is on disk: the same container can be ADDed again.",
    "Leases that survive a reboot fill a node, pod by pod.",
)
def del_after_a_reboot_frees(trial: Trial) -> None:
    pod = trial.pod()
    trial.added(pod)
    trial.cni.remove(pod)
    trial.scene.reboot()
    prepare(trial)
    trial.deleted(pod)
    succeeded(trial.add(trial.pod()), "ADD after the reboot")
