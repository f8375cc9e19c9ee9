"""When to look or try again: the rules, for every number they may be given."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from scheduler.intervals import (
    LOST_AFTER,
    Backoff,
    bounded,
    estimated_progress,
    estimated_remaining,
    lost_after,
    next_denied_look,
)

seconds = st.floats(0, 1e6)
positive = st.floats(0.01, 1e5)
dice = st.floats(0, 1)


@given(tries=st.integers(0, 10_000), base=positive, ceiling=positive, dice=dice)
def test_a_back_off_is_jittered_over_its_upper_half_and_ends_at_its_ceiling(
    tries: int, base: float, ceiling: float, dice: float
) -> None:
    wait = Backoff(base, ceiling).wait(tries, dice=dice)
    full = min(ceiling, base * 2.0 ** min(tries, 32))
    assert full / 2 <= wait <= full


@given(tries=st.integers(0, 100), dice=dice)
def test_a_later_try_never_waits_less(tries: int, dice: float) -> None:
    backoff = Backoff(base=1, ceiling=300)
    assert backoff.wait(tries + 1, dice=dice) >= backoff.wait(tries, dice=dice)


@given(elapsed=st.floats(-1e3, 1e9), later=seconds, typical=st.floats(0, 1e6))
def test_estimated_progress_never_decreases_and_never_reaches_100(
    elapsed: float, later: float, typical: float
) -> None:
    now = estimated_progress(elapsed=elapsed, typical=typical)
    then = estimated_progress(elapsed=elapsed + later, typical=typical)
    assert 0 <= now <= then <= 99


def test_estimated_progress_is_two_thirds_when_it_usually_ends() -> None:
    assert estimated_progress(elapsed=0, typical=90) == 0
    assert estimated_progress(elapsed=90, typical=90) == 63
    assert estimated_progress(elapsed=9000, typical=90) == 99


@given(elapsed=seconds, typical=seconds, progress=st.none() | st.floats(0, 1))
def test_remaining_time_is_never_less_than_a_second(
    elapsed: float, typical: float, progress: float | None
) -> None:
    assert estimated_remaining(elapsed=elapsed, typical=typical, progress=progress) >= 1.0


def test_reported_progress_beats_the_usual_time() -> None:
    assert estimated_remaining(elapsed=30, typical=500, progress=0.75) == pytest.approx(10)
    assert estimated_remaining(elapsed=30, typical=500, progress=0.01) == pytest.approx(470)


@given(typical=seconds, micros=st.integers(0, 10**8), more=st.integers(0, 10**8))
def test_a_denied_operation_is_waited_for_longer_the_longer_it_takes_and_the_dearer_it_is(
    typical: float, micros: int, more: int
) -> None:
    patience = lost_after(typical=typical, cost_micros=micros)
    assert patience >= max(LOST_AFTER, typical)
    assert lost_after(typical=typical, cost_micros=micros + more) >= patience


def test_an_operation_of_a_dollar_is_lost_after_twenty_minutes() -> None:
    assert lost_after(typical=90.0, cost_micros=1_000_000) == 1200.0


@given(denied_for=seconds, dice=dice)
def test_a_denied_operation_that_nobody_waits_for_is_looked_at_every_10_to_60_minutes(
    denied_for: float, dice: float
) -> None:
    wait = next_denied_look(denied_for=denied_for, dice=dice)
    assert 600 <= wait <= 3600 * 1.2000001


@pytest.mark.parametrize(
    ("asked", "time_left", "wait"),
    [
        (None, 1000.0, 0.0),
        (7.0, 1000.0, 7.0),
        (86_400.0, 86_400.0, 300.0),
        (86_400.0, 100.0, 85.0),  # once more before the deadline
        (86_400.0, -5.0, 300.0),  # of a job that is over: its operation is polled for its cost
    ],
)
def test_a_provider_is_obeyed_within_bounds(
    asked: float | None, time_left: float, wait: float
) -> None:
    assert bounded(asked, time_left=time_left) == wait
