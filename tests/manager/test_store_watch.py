"""Who listens to a lease store leaves it time to breathe, whatever it answers."""

from typing import Any, cast

import pytest

from podnet_manager.bell import Bell
from podnet_manager.events import Event, StoreAnswers, StoreIsOut
from podnet_manager.store import Changes, CompactedError, Snapshot, StoreError
from podnet_manager.store_watch import StoreWatch


class Impatient(Bell):
    """A bell that rings instead of the sixth pause, and waits for none."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses = list[float]()

    def wait(self, seconds: float) -> None:
        """Take note of the pause."""
        self.pauses.append(seconds)
        if len(self.pauses) > 5:
            self.ring()


class Answers:
    """A store that gives these answers, and the last one for ever."""

    def __init__(self, *answers: Snapshot | Changes | StoreError) -> None:
        self._answers = list(answers)

    def snapshot(self) -> Any:
        """Give the next answer."""
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, StoreError):
            raise answer
        return answer

    def changes(self, *_: object, **__: object) -> Any:
        """Give the next answer."""
        return self.snapshot()

    def close(self) -> None:
        """Do nothing."""


def heard(bell: Bell, *answers: Snapshot | Changes | StoreError) -> list[Event]:
    events = list[Event]()
    StoreWatch(lambda: cast("Any", Answers(*answers)), events.append, bell).run()
    return events


def test_a_store_that_forgets_faster_than_it_can_be_read_is_asked_less_and_less_often() -> None:
    """A hot loop of list and watch brings etcd down (flannel#2470)."""
    bell = Impatient()

    assert heard(bell, CompactedError("forgotten")) == []

    assert bell.pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]


@pytest.mark.parametrize("trouble", [CompactedError("forgotten"), StoreError("out")])
def test_a_store_that_answers_again_is_asked_at_once_and_pauses_begin_anew(trouble) -> None:
    bell = Impatient()

    events = heard(bell, trouble, Snapshot(7, ()), Changes(7), CompactedError("forgotten"))

    said = [StoreIsOut("out")] if str(trouble) == "out" else []
    assert events == [*said, Snapshot(7, ()), StoreAnswers()]
    assert bell.pauses == [0.1, 0.1, 0.2, 0.4, 0.8, 1.6]
