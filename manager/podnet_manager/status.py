"""How a manager is: what its health checks, its metrics and people are told.

Written by the manager's own thread, read by others; every field is replaced whole.
"""

import time
from dataclasses import dataclass, field

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
}


@dataclass(slots=True)
class Status:
    """The state of one manager.

    Attributes:
        ready: The lease is held and every peer is programmed.
        problem: What keeps it from that; "" for nothing.
        lease: The lease in words.
        beat: When its thread was last seen, monotonic.
        patience: Seconds after which a thread that was not seen is stuck.
        counts: Metric to value.
    """

    ready: bool = False
    problem: str = "starting"
    lease: str = ""
    beat: float = field(default_factory=time.monotonic)
    patience: float = 60.0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_HELP, 0))

    def trouble(self, reason: str, log: Log) -> None:
        """Take note of what keeps the manager from its work, and say it once."""
        self.ready, self.beat = False, time.monotonic()
        if self.problem != reason:
            log.say("trouble", reason=reason)
        self.problem = reason

    def count(self, metric: str, number: int = 1) -> None:
        """Add to a metric."""
        self.counts[metric] += number

    def gauge(self, metric: str, number: int) -> None:
        """Set a metric."""
        self.counts[metric] = number

    def is_alive(self) -> bool:
        """Tell whether its thread is not stuck."""
        return time.monotonic() - self.beat < self.patience

    def to_metrics(self) -> str:
        """Return Prometheus' text format."""
        values = self.counts | {"ready": int(self.ready)}
        lines = []
        for name, text in _HELP.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            full = f"podnet_manager_{name}"
            lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f"{full} {values[name]}"]
        return "".join(f"{line}\n" for line in lines)
