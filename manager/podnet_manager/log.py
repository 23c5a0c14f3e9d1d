"""What the manager says: one line an event, for people or as JSON."""

import sys
import time
from dataclasses import dataclass

from podnet.cni import wire


@dataclass(frozen=True, slots=True)
class Log:
    """Writes to stderr."""

    as_json: bool = False

    def say(self, event: str, **facts: object) -> None:
        """Say that something happened, and what belongs to it."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        known = {name: value for name, value in facts.items() if value not in (None, "")}
        if self.as_json:
            line = wire.dumps({"time": now, "event": event} | {k: str(v) for k, v in known.items()})
        else:
            line = " ".join([now, event, *(f"{name}={_word(v)}" for name, v in known.items())])
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _word(value: object) -> str:
    text = str(value)
    return wire.dumps(text) if " " in text or "=" in text or "\n" in text else text
