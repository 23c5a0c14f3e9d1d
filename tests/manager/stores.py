"""Lease stores, as tests listen to them."""

import time
from typing import Any

_PATIENCE = 20.0


def told(store: Any, since: int, number: int) -> tuple[list[Any], int]:
    """Return that many changes, and the revision that they lead to."""
    changes: list[Any] = []
    deadline = time.monotonic() + _PATIENCE
    while len(changes) < number and time.monotonic() < deadline:
        found = store.changes(since, patience=1.0)
        changes += found.changes
        since = found.revision
    assert len(changes) == number, changes
    return changes, since
