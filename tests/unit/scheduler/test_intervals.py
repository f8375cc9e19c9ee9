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
    first_poll,
    lost_after,
    next_denied_look,
    next_poll,
)

seconds = st.floats(0, 1e6)
positive = st.floats(0.01, 1e5)
dice = st.floats(0, 1)


@given(p10=st.none() | seconds, floor=positive, dice=dice)
def test_the_first_poll_waits_for_what_is_usual_and_never_less_than_the_floor(
    p10: float | None, floor: float, dice: float
) -> None:
    wait = first_poll(p10=p10, floor=floor, dice=dice)
    least = max(floor, p10 or 0.0)
    assert least <= wait <= least * 1.2000001


@given(elapsed=seconds, p50=seconds, floor=positive, more=positive, dice=dice)
def test_a_wait_is_between_floor_and_ceiling_and_a_fifth_more_at_most(
    elapsed: float, p50: float, floor: float, more: float, dice: float
) -> None:
    wait = next_poll(elapsed=elapsed, p50=p50, floor=floor, ceiling=floor + more, dice=dice)
    assert floor <= wait <= (floor + more) * 1.2000001


@given(elapsed=seconds, asked=seconds, dice=dice)
def test_a_wait_that_the_vendor_asks_for_is_kept(elapsed: float, asked: float, dice: float) -> None:
    wait = next_poll(elapsed=elapsed, p50=60, floor=1, ceiling=30, asked=asked, dice=dice)
    assert wait >= asked


def test_polls_are_dense_where_the_end_is_likely_and_sparse_where_it_is_not() -> None:
    def wait(elapsed: float) -> float:
        return next_poll(elapsed=elapsed, p50=100, floor=1, ceiling=30, dice=0)

    assert wait(10) > wait(60) > wait(95)
    assert wait(110) < wait(200) < wait(400)
    assert wait(10_000) == 30


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
