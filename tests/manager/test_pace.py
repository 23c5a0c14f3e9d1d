"""News that are rare are looked at at once; in a swarm it takes a tenth of a second."""

from podnet_manager.pace import Pace


def test_a_swarm_is_slowed_down_and_what_comes_after_it_is_not() -> None:
    now = [0.0]
    pace = Pace(clock=lambda: now[0])
    pauses = []

    for after in (0, 0.01, 0.01, 0.01, 0.01, 0.1, 0.1, 5, 0.01):
        now[0] += after
        pauses.append(pace.pause())

    assert pauses == [0, 0, 0, 0, 0.1, 0.1, 0.1, 0, 0]


def test_rare_news_are_never_slowed_down() -> None:
    now = [0.0]
    pace = Pace(clock=lambda: now[0])

    for _ in range(20):
        now[0] += 0.5
        assert pace.pause() == 0
