"""Many at once, again and again, killed in the middle, and in reasonable time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from podnet.plan import Attachment
from podnet.rig.caller import Answer, Twist
from podnet.rig.conformance.case import INTERFACE, Level, case
from podnet.rig.conformance.cases_delete import again, leaves_nothing, settled, warmed_up
from podnet.rig.conformance.scene import Inapplicable
from podnet.rig.conformance.trial import (
    Trial,
    gives_each_its_own,
    holds,
    own_addresses,
    succeeded,
)
from podnet.rig.picture import NODE

_CONCURRENT = "3 Lifecycle & Ordering"
_MANY = 6
_CYCLES = 5
_QUICK = 5.0
# When a plugin is killed, of the time that it takes.
_MOMENTS = (0.3, 0.6, 0.9)


def _at_once(function: Callable[[Attachment], Answer], pods: list[Attachment]) -> list[Answer]:
    with ThreadPoolExecutor(len(pods)) as pool:
        return list(pool.map(function, pods))


def _pods(trial: Trial) -> list[Attachment]:
    if trial.subject.parameters.single:
        raise Inapplicable("there can be one attachment at a time")
    return [trial.pod(f"pod{number}") for number in range(1, _MANY + 1)]


@case(
    "parallel-add",
    Level.MUST,
    _CONCURRENT,
    "ADDs of different containers may run at once: a plugin locks what they share.",
    "A node that starts has thirty pods to start.",
)
def parallel_add(trial: Trial) -> None:
    pods = _pods(trial)
    answers = _at_once(trial.add, pods)
    for pod, answer in zip(pods, answers, strict=True):
        succeeded(answer, f"ADD of {pod.container_id}, one of {_MANY} at once,")
    if trial.cni_version < "0.3.0":
        return
    taken = [address for answer in answers for address in own_addresses(answer.result)]
    twice = {str(address) for address in taken if taken.count(address) > 1}
    holds(
        not twice or not gives_each_its_own(trial),
        f"two containers have {', '.join(sorted(twice))}",
    )


@case(
    "parallel-del",
    Level.MUST,
    _CONCURRENT,
    "DELs of different containers may run at once, and leave nothing.",
    "A node that is drained loses thirty pods in a second.",
)
def parallel_del(trial: Trial) -> None:
    before = warmed_up(trial)
    pods = _pods(trial)
    for pod in pods:
        trial.added(pod)
    for pod, answer in zip(pods, _at_once(trial.delete, pods), strict=True):
        succeeded(answer, f"DEL of {pod.container_id}, one of {_MANY} at once,")
    for pod in pods:
        trial.vanish(pod)
    trial.scene.nothing_since(before, "ADDs, and DELs at once", settings=False)


@case(
    "parallel-add-shares-once",
    Level.SHOULD,
    _CONCURRENT,
    "What containers share is made once, also when they come at once.",
    "Doubled rules are doubled work for every packet, and survive every DEL.",
    kinds=INTERFACE,
)
def parallel_add_shares_once(trial: Trial) -> None:
    _at_once(trial.add, _pods(trial))
    doubled = [
        fact.key
        for fact in trial.scene.picture()
        if fact.where == NODE and " rule" in fact.kind and fact.key.rpartition(" ")[2] == "#2"
    ]
    holds(not doubled, f"rules are there twice: {'; '.join(sorted(doubled)[:3])}")


@case(
    "parallel-mixed",
    Level.MUST,
    _CONCURRENT,
    "ADDs and DELs of different containers may run at once.",
    "A deployment is rolled: pods come and go in the same second.",
)
def parallel_mixed(trial: Trial) -> None:
    pods = _pods(trial)
    going, coming = pods[: _MANY // 2], pods[_MANY // 2 :]
    for pod in going:
        trial.added(pod)
    names = {pod.container_id for pod in going}

    def either(pod: Attachment) -> Answer:
        return trial.delete(pod) if pod.container_id in names else trial.add(pod)

    mixed = [pod for pair in zip(going, coming, strict=True) for pod in pair]
    for pod, answer in zip(mixed, _at_once(either, mixed), strict=True):
        verb = "DEL" if pod.container_id in names else "ADD"
        succeeded(answer, f"{verb} of {pod.container_id}, among others,")
    if trial.cni_version >= "0.4.0":
        for pod in coming:
            succeeded(trial.check(pod), f"CHECK of {pod.container_id} afterwards")


@case(
    "cycles-leave-nothing",
    Level.MUST,
    "2 DEL",
    "Again and again, ADD and DEL leave no more than the first time.",
    "A node lives for months.",
)
def cycles_leave_nothing(trial: Trial) -> None:
    before = warmed_up(trial)
    for _ in range(_CYCLES):
        pod = trial.pod()
        trial.added(pod)
        trial.deleted(pod)
        trial.vanish(pod)
    trial.scene.nothing_since(before, f"{_CYCLES} times ADD and DEL", settings=False)


@case(
    "leaves-no-process",
    Level.MUST,
    "2 CNI operations",
    "A plugin that has exited leaves no process that holds its stdout or stderr.",
    "libcni waits until both are closed: the pod does not start before that process ends.",
)
def leaves_no_process(trial: Trial) -> None:
    pod = trial.pod()
    for verb, answer in (("ADD", trial.add(pod)), ("DEL", trial.delete(pod))):
        holds(not answer.last.left_behind, f"{verb} leaves a process running")


@case(
    "answers-in-time",
    Level.SHOULD,
    "2 CNI operations",
    "Each verb is answered within five seconds.",
    "Runtimes hold locks meanwhile, and give up after some time.",
)
def answers_in_time(trial: Trial) -> None:
    pod = trial.pod()
    answers = {"VERSION": trial.cni.version(), "ADD": trial.add(pod), "DEL": trial.delete(pod)}
    for verb, answer in answers.items():
        holds(answer.duration < _QUICK, f"{verb} took {answer.duration:.1f} s")


def _killing(takes: float, moment: float) -> Twist:
    """Return how a plugin that takes so long is killed at a moment of it."""
    return Twist(timeout=max(0.001, takes * moment))


@case(
    "kill-during-add",
    Level.MUST,
    _CONCURRENT,
    "DEL succeeds after an ADD that was killed at any moment, and leaves nothing.",
    "The kernel runs out of memory, or the runtime of patience.",
)
def kill_during_add(trial: Trial) -> None:
    takes = _duration_of_add(trial)
    pod, before = settled(trial)
    for moment in _MOMENTS:
        trial.add(pod, _killing(takes, moment))
        trial.deleted(pod, known=False)
        pod = again(trial, pod)
    leaves_nothing(trial, pod, before, "ADD that was killed, and DEL,")


@case(
    "kill-then-add",
    Level.MUST,
    _CONCURRENT,
    "After an ADD that was killed, and DEL, the same container can be ADDed.",
    "A lock that is a file, or a lease half written, fails every pod from then on.",
)
def kill_then_add(trial: Trial) -> None:
    takes = _duration_of_add(trial)
    pod = trial.pod()
    for moment in _MOMENTS:
        trial.add(pod, _killing(takes, moment))
        trial.deleted(pod, known=False)
        pod = again(trial, pod)
        succeeded(trial.add(pod), "ADD after one that was killed, and DEL,")
        trial.deleted(pod)
        pod = again(trial, pod)


@case(
    "kill-during-del",
    Level.MUST,
    _CONCURRENT,
    "After a DEL that was killed at any moment, DEL succeeds, and leaves nothing.",
    "A runtime that is restarted begins with the DELs that it did not finish.",
)
def kill_during_del(trial: Trial) -> None:
    pod, before = settled(trial)
    trial.added(pod)
    takes = trial.delete(pod).duration
    for moment in _MOMENTS:
        pod = again(trial, pod)
        trial.added(pod)
        trial.delete(pod, _killing(takes, moment))
        succeeded(trial.delete(pod), "DEL after one that was killed")
    leaves_nothing(trial, pod, before, "DEL that was killed, and DEL,")


def _duration_of_add(trial: Trial) -> float:
    pod = trial.pod()
    answer = trial.add(pod)
    succeeded(answer, "ADD")
    trial.deleted(pod)
    trial.vanish(pod)
    return answer.duration
