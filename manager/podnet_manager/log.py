"""What the manager says: one line an event, for people or as JSON."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime

from podnet.cni import wire


@dataclass(frozen=True, slots=True)
class Log:
    """Writes to stderr."""

    as_json: bool = False

    def say(self, event: str, **facts: object) -> None:
        """Say that something happened, and what belongs to it."""
        self._write("info", event, facts)

    def complain(self, event: str, **facts: object) -> None:
        """Say that something is not as it should be, and what belongs to it."""
        self._write("warning", event, facts)

    def _write(self, level: str, event: str, facts: dict[str, object]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        known = {name: value for name, value in facts.items() if value not in (None, "")}
        if self.as_json:
            values = {name: _value(value) for name, value in known.items()}
            line = wire.dumps({"time": now, "level": level, "event": event} | values)
        else:
            head = [now, *(["warning:"] if level == "warning" else []), event]
            line = " ".join([*head, *(f"{name}={_word(v)}" for name, v in known.items())])
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _value(value: object) -> object:
    return value if isinstance(value, int | float) else str(value)


def _word(value: object) -> str:
    text = str(value)
    return wire.dumps(text) if " " in text or "=" in text or "\n" in text else text
