"""A disk that is full, or that the kernel has made read-only: what a plugin keeps there, and says."""

from podnet.kernel import disks
from podnet.rig.conformance.case import Level, case
from podnet.rig.conformance.cases_delete import again, leaves_nothing, upcoming
from podnet.rig.conformance.kept import FULL, READ_ONLY, Trouble, in_trouble, learnt
from podnet.rig.conformance.scene import Inapplicable
from podnet.rig.conformance.trial import Trial, refused, succeeded

_ADD, _DEL, _CHECK, _GC, _STATUS = "2 ADD", "2 DEL", "2 CHECK", "2 GC", "2 STATUS"
_NOT_READY = (50, 51)


@case(
    "disk-read-only-add",
    Level.MUST,
    _ADD,
    "An ADD that cannot write down what it gives fails, with an error object.",
    "After an error of the disk the kernel makes it read-only; an address that is written nowhere "
    "is given to the next pod, too.",
)
def disk_read_only_add(trial: Trial) -> None:
    _add_is_refused(trial, READ_ONLY)


@case(
    "disk-read-only-add-leaves-nothing",
    Level.SHOULD,
    _ADD,
    "And it takes back what it has made.",
    "The runtime tries again every few seconds: links without a pod, one for each try.",
)
def disk_read_only_add_leaves_nothing(trial: Trial) -> None:
    _add_takes_back(trial, READ_ONLY)


@case(
    "disk-read-only-then-add",
    Level.MUST,
    _ADD,
    "When the disk can be written to again, DEL clears away after that ADD, and ADD works.",
    "A remount, and the node goes on: nobody wants to look for what is in the way.",
)
def disk_read_only_then_add(trial: Trial) -> None:
    _add_works_again(trial, READ_ONLY)


@case(
    "disk-read-only-del",
    Level.MUST,
    _DEL,
    "A DEL that cannot free what is written down fails, with an error object, and frees it when "
    "it is called again.",
    "After a success the runtime never calls again, and the address is lost.",
)
def disk_read_only_del(trial: Trial) -> None:
    directories = learnt(trial)
    pod, before = upcoming(trial, trial.scene.picture())
    trial.added(pod)
    with in_trouble(trial, directories, READ_ONLY):
        answer = trial.delete(pod)
    if answer.exit_status == 0:
        leaves_nothing(trial, pod, before, "DEL on a read-only disk, which succeeds,")
        return
    refused(answer, "DEL on a read-only disk")
    succeeded(trial.delete(pod), "DEL, again, when the disk can be written to,")
    leaves_nothing(trial, pod, before, "DEL on a read-only disk, and again,")


@case(
    "disk-read-only-status",
    Level.SHOULD,
    _STATUS,
    "STATUS fails with code 50 when ADD fails, since nothing can be written.",
    "The scheduler goes on to place pods on the one node where none can start.",
    since="1.1.0",
)
def disk_read_only_status(trial: Trial) -> None:
    _status_is_not_ready(trial, READ_ONLY)


@case(
    "disk-full-add",
    Level.MUST,
    _ADD,
    "An ADD that has no room to write down what it gives fails, with an error object.",
    "Logs fill a node's disk; the file that is made there is empty, and the lease in it nobody's.",
)
def disk_full_add(trial: Trial) -> None:
    _add_is_refused(trial, FULL)


@case(
    "disk-full-add-leaves-nothing",
    Level.SHOULD,
    _ADD,
    "And it takes back what it has made, files without content included.",
    "An empty lease is never given again, nor given back (plugins#498).",
)
def disk_full_add_leaves_nothing(trial: Trial) -> None:
    _add_takes_back(trial, FULL)


@case(
    "disk-full-then-add",
    Level.MUST,
    _ADD,
    "When there is room again, DEL clears away after that ADD, and ADD works.",
    "Each try on a full disk that costs an address empties a small range in a minute.",
)
def disk_full_then_add(trial: Trial) -> None:
    _add_works_again(trial, FULL)


@case(
    "disk-full-del",
    Level.MUST,
    _DEL,
    "DEL on a full disk succeeds, and frees: it needs no room.",
    "Pods are evicted because the disk is full: those that cannot go keep it full.",
)
def disk_full_del(trial: Trial) -> None:
    directories = learnt(trial)
    before = trial.scene.picture()
    names = ["pod1"] if trial.subject.parameters.single else ["pod1", "pod2"]
    pods = [trial.pod(name) for name in names]
    for pod in pods:
        trial.added(pod)
    with in_trouble(trial, directories, FULL):
        for pod in pods:
            succeeded(trial.delete(pod), "DEL on a full disk")
            for directory in directories:  # whoever filled it takes what has become free
                trial.on_node(disks.fill_up, directory)
    for pod in pods:
        trial.vanish(pod)
    trial.scene.nothing_since(before, "DEL on a full disk", settings=False)


@case(
    "disk-full-gc",
    Level.SHOULD,
    _GC,
    "GC on a full disk succeeds, and frees.",
    "It is what makes room.",
    since="1.1.0",
)
def disk_full_gc(trial: Trial) -> None:
    directories = learnt(trial)
    before = trial.scene.picture()
    pod = trial.pod()
    trial.added(pod)
    trial.vanish(pod)
    with in_trouble(trial, directories, FULL):
        succeeded(trial.cni.gc([]), "GC on a full disk")
    trial.scene.nothing_since(before, "GC on a full disk", settings=False)


@case(
    "disk-full-status",
    Level.SHOULD,
    _STATUS,
    "STATUS fails with code 50 when ADD fails, since there is no room.",
    "A node that is full looks ready, and fails pod after pod.",
    since="1.1.0",
)
def disk_full_status(trial: Trial) -> None:
    _status_is_not_ready(trial, FULL)


@case(
    "disk-needs-none-to-check",
    Level.SHOULD,
    _CHECK,
    "CHECK only looks: it finds nothing wrong on a disk that is full or read-only.",
    "A false alarm has pods made anew that work, on the very node that can make none.",
    since="0.4.0",
)
def disk_needs_none_to_check(trial: Trial) -> None:
    directories = learnt(trial)
    pod = trial.pod()
    trial.added(pod)
    for trouble in (FULL, READ_ONLY):
        with in_trouble(trial, directories, trouble):
            succeeded(trial.check(pod), f"CHECK on a {trouble.word} disk")


def _add_is_refused(trial: Trial, trouble: Trouble) -> None:
    directories = learnt(trial)
    pod = trial.pod()
    with in_trouble(trial, directories, trouble):
        answer = trial.add(pod)
    refused(answer, f"ADD on a {trouble.word} disk")


def _add_takes_back(trial: Trial, trouble: Trouble) -> None:
    directories = learnt(trial)
    pod = trial.pod()
    before = trial.scene.picture()
    with in_trouble(trial, directories, trouble):
        answer = trial.add(pod)
    if answer.exit_status == 0:
        raise Inapplicable(f"its ADD does not fail on a {trouble.word} disk")
    trial.scene.nothing_since(before, f"ADD, which fails on a {trouble.word} disk,")


def _add_works_again(trial: Trial, trouble: Trouble) -> None:
    # Where there is room for one, whatever is lost is missed.
    trial = trial.configured(**trial.subject.parameters.full)
    directories = learnt(trial)
    pod, before = upcoming(trial, trial.scene.picture())
    with in_trouble(trial, directories, trouble):
        trial.add(pod)
    trial.deleted(pod, known=False)
    pod = again(trial, pod)
    succeeded(trial.add(pod), f"ADD after one on a {trouble.word} disk, and DEL,")
    trial.deleted(pod)
    leaves_nothing(trial, pod, before, f"ADD on a {trouble.word} disk, DEL, ADD and DEL")


def _status_is_not_ready(trial: Trial, trouble: Trouble) -> None:
    directories = learnt(trial)
    pod = trial.pod()
    with in_trouble(trial, directories, trouble):
        status, answer = trial.cni.status(), trial.add(pod)
    if answer.exit_status == 0:
        raise Inapplicable(f"its ADD does not fail on a {trouble.word} disk")
    refused(status, f"STATUS on a {trouble.word} disk", codes=_NOT_READY)
