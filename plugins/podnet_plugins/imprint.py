"""What a process is like besides what every call sets anew: a worker that differs serves no more.

Knows what a plugin could leave behind in its process and nobody would notice; what a call brings
(environment, directory, streams, descriptors, namespaces) is taken on whole each time, and is not
looked at here.
"""

import os
import resource
import signal
import sys
from collections.abc import Sized
from pathlib import Path

_STATUS = Path("/proc/self/status")
_LIMITS = [number for name, number in vars(resource).items() if name.startswith("RLIMIT_")]
_OF_STATUS = frozenset({
    "Umask", "Uid", "Gid", "Groups", "Threads", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm",
    "CapEff", "CapBnd", "CapAmb", "NoNewPrivs",
})  # fmt: skip
_OURS = ("podnet", "podnet_plugins")
_CONTAINERS = (dict, list, set, bytearray)
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


class Imprint:
    """This process, as it is now; not what is in its modules' containers, but how much.

    That podnet's own plugins keep nothing in their modules is a test (test_stateless), not looked
    at here each time.
    """

    def __init__(self) -> None:
        modules = [vars(module) for name, module in sys.modules.items() if _is_ours(name)]
        contained = [v for names in modules for v in names.values() if isinstance(v, _CONTAINERS)]
        watched: list[Sized] = [sys.modules, sys.path, sys.meta_path, *modules, *contained]
        self._sizes = [(one, len(one)) for one in watched]
        # Of the other signals the kernel's own sets tell whether somebody handles them.
        numbers = signal.valid_signals()
        self._handled = [n for n in numbers if callable(signal.getsignal(n))]
        self._process = self._seen()

    def is_still_true(self) -> bool:
        """Tell whether nothing was left behind."""
        return (
            all(len(one) == size for one, size in self._sizes)
            and not _has_children()
            and self._process == self._seen()
        )

    def _seen(self) -> tuple[object, ...]:
        said = _STATUS.read_text(encoding="utf-8", errors="replace").splitlines()
        lines = [line for line in said if line.partition(":")[0] in _OF_STATUS]
        limits = [resource.getrlimit(number) for number in _LIMITS]
        handlers = [signal.getsignal(number) for number in self._handled]
        timers = [signal.getitimer(timer) for timer in _TIMERS]
        scheduled = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)
        return lines, limits, handlers, timers, scheduled


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in _OURS


def _has_children() -> bool:
    """Tell whether there is a child, alive or not yet waited for."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
