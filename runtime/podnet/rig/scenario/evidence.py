"""What was seen in a run of a scenario, and what a cause is: the values that rules work on.

Pure.  A moment is a step and what was so when it was over.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from podnet.cni.result import Result
from podnet.execute import Outcome
from podnet.plan import Attachment

#: Each cause, and what helps.
CAUSES: Mapping[str, str] = {
    "binary-missing": "install the plugin in every directory that the runtime searches, then DEL again",
    "binary-not-executable": "chmod +x the file: runtimes do not look further along the path",
    "chain-stopped": "a runtime must keep the attachment and try DEL again; podnet does",
    "timed-out": "see what the plugin waits for; whoever ends it must DEL the whole chain",
    "killed": "find out who sends the signal (memory limits, timeouts); DEL the whole chain",
    "not-a-result": "only the result may go to stdout; everything else belongs on stderr",
    "status-against-answer": "the exit status must say what the answer says: 0 with a result alone",
    "two-answers": "a plugin prints one document: the result, or the error",
    "try-again-later": "code 11 asks the runtime to repeat the call; few runtimes do",
    "still-running": "whoever waits no longer must end the first try, and undo it, before the next",
    "not-idempotent": "DEL must succeed where what it removes is gone already",
    "cache-empty": "the result was lost with the power: write caches with fsync and rename",
    "cache-unreadable": "remove the file; DEL goes on without it",
    "no-previous-result": "DEL must work without prevResult: the runtime's cache may be gone",
    "wrong-interface": "ips[].interface counts from 0 in interfaces, and names one in the container",
    "wrong-sandbox": "the container's interface must carry CNI_NETNS as its sandbox",
    "namespace-gone": "nothing works in it any more but DEL, which must do what it can, and succeed",
    "reboot": "collect garbage at boot: leases outlive their containers on disk",
    "empty-lease": "a lease of no bytes belongs to nobody, and nobody frees it: remove the file",
    "lock-held": "find the process that holds the lock; a hung plugin keeps it for ever",
    "addresses-exhausted": "GC the network, or give it a larger range",
    "disk-full": "free some space",
    "disk-read-only": "mount it for writing",
    "never-deleted": "a runtime must DEL what it ADDed, also what failed, and after its own crash",
    "left-behind": "DEL said that it succeeded: it must remove all that ADD made",
    "damaged-others": "DEL of one container may touch nothing of another's",
}


@dataclass(frozen=True, slots=True)
class Cause:
    """What was the matter.

    Attributes:
        name: One of CAUSES.
        story: What happened, and what shows it.
    """

    name: str
    story: str

    @property
    def remedy(self) -> str:
        """What helps."""
        return CAUSES[self.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One step, and what was so when it was over.

    Attributes:
        number: Which.
        title: What was done.
        action: The kind of step.
        pod: To which pod; "" for none.
        error: How it failed, or ``None``.
        outcomes: What plugins were asked, and answered.
        unexecutable: Plugins of the chain whose file cannot be executed.
        absent: Plugins of the chain, IPAM included, that are not there.
        netns: The pod's namespace was there when a plugin failed.
        running: What else still happened to the pod, and the plugins that were at work for it.
        locks: Locks that somebody held on files, in words.
        disks: Directories whose disk is "full" or "read-only".
        caches: Cached results that cannot be read, and their size.
        pools: Networks whose addresses are all leased: how many, and how many to nobody alive.
    """

    number: int
    title: str
    action: str = ""
    pod: str = ""
    error: Exception | None = None
    outcomes: tuple[Outcome, ...] = ()
    unexecutable: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    netns: bool = True
    running: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    disks: Mapping[str, str] = field(default_factory=dict)
    caches: Mapping[str, int] = field(default_factory=dict)
    pools: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def refusing(self) -> Outcome | None:
        """The last call that did not succeed."""
        return next((o for o in reversed(self.outcomes) if o.exit_status != 0), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was seen in a run.

    Attributes:
        moments: The steps, in order.
        added: (attachment, result) of every ADD that succeeded.
        rebooted: The number of the last step that was a reboot, or 0.
        leaks: What is left of pods that are gone, in words.
        empty_leases: Lease files of no bytes.
        stale_leases: Leases of containers that are not there.
        known: The container IDs that the runtime knows.
    """

    moments: tuple[Moment, ...]
    added: tuple[tuple[Attachment, Result], ...] = ()
    rebooted: int = 0
    leaks: tuple[str, ...] = ()
    empty_leases: tuple[str, ...] = ()
    stale_leases: tuple[str, ...] = ()
    known: tuple[str, ...] = ()

    @property
    def failed(self) -> Iterator[Moment]:
        """The steps that failed."""
        return (moment for moment in self.moments if moment.error is not None)

    @property
    def left(self) -> str:
        """What is left, as the end of a sentence; "" where nothing is."""
        return f"; left: {listed(self.leaks)}" if self.leaks else ""

    def had_result(self, outcome: Outcome) -> bool:
        """Tell whether an ADD of the container of a call had succeeded."""
        container = outcome.invocation.environment["CNI_CONTAINERID"]
        return any(attachment.container_id == container for attachment, _ in self.added)


def listed(things: Iterable[str]) -> str:
    """Return things as a sentence lists them."""
    *front, last = things
    return f"{', '.join(front)} and {last}" if front else last
