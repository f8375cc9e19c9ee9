"""A provider's 429s slow a lane down, and its successes speed it up again."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from scheduler.pace import LONGEST_PAUSE, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    most=st.integers(1, 500),
    answers=st.lists(st.none() | st.floats(0, 1e6), max_size=60),
    waits=st.lists(st.floats(0, 100), max_size=60),
)
def test_whatever_the_answers_a_lane_goes_on_within_its_bounds(
    most: int, answers: list[float | None], waits: list[float]
) -> None:
    clock = Clock()
    pace = Pace(most, clock=clock)
    for answer, wait in zip(answers, waits, strict=False):
        if answer is None:
            pace.went_well()
        else:
            pace.was_limited(answer)
        assert 0 <= pace.limit <= most
        assert pace.paused_for <= LONGEST_PAUSE + 1e-6
        clock.now += wait
    clock.now += LONGEST_PAUSE + 1
    assert 1 <= pace.limit <= most


def test_a_429_halves_the_lane_and_pauses_it_for_as_long_as_was_asked() -> None:
    clock = Clock()
    pace = Pace(16, clock=clock)
    pace.was_limited(7.0)
    assert pace.limit == 0
    assert pace.paused_for == pytest.approx(7.0)

    clock.now = 7.0
    assert pace.limit == 8


def test_a_shorter_pause_does_not_cut_a_longer_one() -> None:
    pace = Pace(16, clock=Clock())
    pace.was_limited(30.0)
    pace.was_limited(None)
    assert pace.paused_for == pytest.approx(30.0)


def test_successes_bring_the_lane_back_one_by_one() -> None:
    clock = Clock()
    pace = Pace(16, clock=clock)
    pace.was_limited(0.0)
    clock.now += 1.0
    answers = 0
    while pace.limit < 16:
        pace.went_well()
        answers += 1
    assert 50 < answers < 150
    pace.went_well()
    assert pace.limit == 16


def test_429s_of_requests_that_were_sent_together_slow_the_lane_down_once() -> None:
    clock = Clock()
    pace = Pace(64, clock=clock)
    clock.now = 1.0
    begun = pace.now()
    clock.now = 2.0
    for _ in range(30):
        pace.was_limited(1.0, begun=begun)
    clock.now = 4.0
    assert pace.limit == 32
    pace.was_limited(1.0, begun=3.0)
    clock.now = 6.0
    assert pace.limit == 16


def test_a_lane_whose_requests_stand_for_many_rows_still_fills_one_request() -> None:
    clock = Clock()
    pace = Pace(64, together=30, clock=clock)
    for _ in range(5):
        pace.was_limited(1.0)
        clock.now += 2.0
    assert pace.limit == 30
    pace.went_well()
    assert pace.limit == 60
