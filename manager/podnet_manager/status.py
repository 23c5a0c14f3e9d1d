"""How a manager is: what its health checks, its metrics and people are told.

Written by the manager's own thread, read by others; every field is replaced whole.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from podnet_manager.log import Log

_HELP = {
    "ready": "Whether the lease is held and every peer is programmed.",
    "peers": "Leases of other Nodes.",
    "skipped_peers": "Leases of other Nodes that nothing can be set for.",
    "reconciliations_total": "Comparisons of the kernel with the leases.",
    "entries_set_total": "Routes, neighbours and forwarding entries that were set.",
    "entries_removed_total": "And that were removed.",
    "entries_refused_total": "And that the kernel refused.",
    "netlink_messages_total": "Messages to the kernel and from it, since the lease was got.",
    "renewals_total": "Renewals of the lease.",
    "leases_lost_total": "Times that the lease was gone.",
    "store_failures_total": "Times that the lease store did not answer.",
    "store_up": "Whether the lease store answered last time.",
    "lease_expiry_timestamp_seconds": "When the lease ends, if it is not renewed; 0: never.",
    "rules_set_total": "Times that the nftables rules had to be set.",
    "subnet_file_writes_total": "Times that subnet.env had to be written.",
}


@dataclass(slots=True)
class Status:
    """The state of one manager.

    Attributes:
        ready: The lease is held and every peer is programmed.
        problem: What keeps it from that; "" for nothing.
        lease: The lease in words.
        store_problem: Why the lease store does not answer; "" when it does.
        beat: When its thread was last seen, monotonic.
        patience: Seconds after which a thread that was not seen is stuck.
        counts: Metric to value.
    """

    ready: bool = False
    problem: str = "starting"
    lease: str = ""
    store_problem: str = ""
    beat: float = field(default_factory=time.monotonic)
    patience: float = 60.0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_HELP, 0))

    def trouble(self, reason: str, log: Log) -> None:
        """Take note of what keeps the manager from its work, and say it once."""
        self.ready, self.beat = False, time.monotonic()
        if self.problem != reason:
            log.complain("trouble", reason=reason)
        self.problem = reason

    def well(self, lease: str, log: Log) -> None:
        """Take note that the lease is held and every peer is programmed."""
        if not self.ready:
            log.say("ready", lease=lease)
        self.ready, self.problem, self.lease = True, "", lease

    def store_says(self, problem: str, log: Log) -> None:
        """Take note of whether the lease store answers, and say it where that is new."""
        if problem:
            self.count("store_failures_total")
            if not self.store_problem:
                log.complain("the lease store does not answer", reason=problem)
        elif self.store_problem:
            log.say("the lease store answers again")
        self.store_problem = problem

    def count(self, metric: str, number: int = 1) -> None:
        """Add to a metric."""
        self.counts[metric] += number

    def gauge(self, metric: str, number: int) -> None:
        """Set a metric."""
        self.counts[metric] = number

    def is_alive(self) -> bool:
        """Tell whether its thread is not stuck."""
        return time.monotonic() - self.beat < self.patience

    def to_words(self) -> str:
        """Return what there is to say where the manager is ready."""
        out = (
            f"; the lease store does not answer: {self.store_problem}" if self.store_problem else ""
        )
        return f"ready: {self.lease}{out}"

    def to_metrics(self) -> str:
        """Return Prometheus' text format."""
        values = self.counts | {"ready": int(self.ready), "store_up": int(not self.store_problem)}
        lines = _of_the_process()
        for name, text in _HELP.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            full = f"podnet_manager_{name}"
            lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f"{full} {values[name]}"]
        return "".join(f"{line}\n" for line in lines)


def _of_the_process() -> list[str]:
    """Return what every program tells Prometheus, under the names that it expects."""
    times = os.times()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return [
        "# HELP process_cpu_seconds_total Processor time, in seconds.",
        "# TYPE process_cpu_seconds_total counter",
        f"process_cpu_seconds_total {times.user + times.system:.2f}",
        "# HELP process_resident_memory_bytes Memory, in bytes.",
        "# TYPE process_resident_memory_bytes gauge",
        f"process_resident_memory_bytes {pages * os.sysconf('SC_PAGE_SIZE')}",
    ]
