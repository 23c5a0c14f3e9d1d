"""A file that a power cut has left empty, or full of NULs: it is one pod's loss, and no more.

Each file that an ADD wrote is spoilt in turn, the shared ones too.
"""

from podnet.rig.conformance.case import Level, case
from podnet.rig.conformance.cases_delete import again
from podnet.rig.conformance.kept import spoilings
from podnet.rig.conformance.scene import Inapplicable
from podnet.rig.conformance.trial import Trial, succeeded

_LIFECYCLE = "3 Lifecycle & Ordering"
_SINCE_CHECK, _SINCE_GC = "0.4.0", "1.1.0"


@case(
    "spoilt-file-add",
    Level.MUST,
    _LIFECYCLE,
    "What is spoilt of one container's, or of what all share, breaks no ADD, CHECK or DEL of others.",
    "A power cut leaves files of no bytes, which survive the reboot (cni#1055): one of them, and "
    "no pod starts on the node any more.",
)
def spoilt_file_add(trial: Trial) -> None:
    pod, other = trial.pod(), trial.pod("pod2")
    for what in spoilings(trial, pod):
        succeeded(trial.add(other), f"ADD of another container, where {what},")
        if trial.cni_version >= _SINCE_CHECK:
            succeeded(trial.check(other), f"CHECK of another container, where {what},")
        succeeded(trial.delete(other), f"DEL of another container, where {what},")
        other = again(trial, other)


@case(
    "spoilt-file-del",
    Level.MUST,
    "2 DEL",
    "DEL of a container whose file is spoilt succeeds: what was in it is lost in any case.",
    "Every pod of a node that lost its power is DELed, and one that cannot be hangs for ever.",
)
def spoilt_file_del(trial: Trial) -> None:
    pod = trial.pod()
    for what in spoilings(trial, pod, mended=False):
        succeeded(trial.delete(pod), f"DEL, where {what},")


@case(
    "spoilt-file-frees",
    Level.SHOULD,
    "2 DEL",
    "What is written down in a spoilt file is free again, at the latest after DEL.",
    "An empty lease is nobody's, and never given to anybody (plugins#498): a range shrinks with "
    "each power cut.",
)
def spoilt_file_frees(trial: Trial) -> None:
    full = trial.subject.parameters.full
    if not full:
        raise Inapplicable("its parameters do not say how to fill it up (key `full`)")
    trial = trial.configured(**full)
    pod = trial.pod()
    for what in spoilings(trial, pod, mended=False):
        trial.delete(pod)
        succeeded(trial.add(pod), f"ADD where there is room for one, {what}, and DEL was called,")


@case(
    "spoilt-file-gc",
    Level.MUST,
    "2 GC",
    "GC succeeds where a file is spoilt, and keeps what others have.",
    "It is how people mean to get rid of that file.",
    since=_SINCE_GC,
)
def spoilt_file_gc(trial: Trial) -> None:
    pod, other = trial.pod(), trial.pod("pod2")
    trial.added(other)
    for what in spoilings(trial, pod):
        for valid in ([pod, other], [other]):
            succeeded(trial.cni.gc(valid), f"GC, where {what},")
        succeeded(trial.check(other), f"CHECK of another container after GC, where {what},")


@case(
    "spoilt-file-status",
    Level.MUST,
    "2 STATUS",
    "STATUS is ready where a file is spoilt, if ADD works.",
    "One file takes a node out of service.",
    since=_SINCE_GC,
)
def spoilt_file_status(trial: Trial) -> None:
    pod, other = trial.pod(), trial.pod("pod2")
    for what in spoilings(trial, pod):
        status, works = trial.cni.status(), trial.add(other)
        if works.exit_status == 0:
            succeeded(status, f"STATUS, where ADD works, and {what},")
        trial.delete(other)
        other = again(trial, other)
