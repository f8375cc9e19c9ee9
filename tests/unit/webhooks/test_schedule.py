"""The retry schedule: the public contract's delays, jitter and Retry-After."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks.schedule import next_try

MINUTE, HOUR = 60, 3600
CONTRACT = [5, 5 * MINUTE, 30 * MINUTE, *(hours * HOUR for hours in (2, 5, 10, 14, 20, 24))]


def test_the_delays_are_those_of_the_contract_and_then_it_ends() -> None:
    delays = [next_try(tries, retry_after=None, jitter=0) for tries in range(1, 12)]

    assert delays == [*CONTRACT, None, None]


@given(tries=st.integers(1, 9), jitter=st.floats(-1, 1))
def test_jitter_moves_a_delay_by_a_tenth_at_most(tries: int, jitter: float) -> None:
    delay = next_try(tries, retry_after=None, jitter=jitter)

    assert delay is not None
    assert delay == pytest.approx(CONTRACT[tries - 1], rel=0.1000001)


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [(0, 300), (299, 300), (301, 301), (7200, 7200), (10**9, 24 * HOUR), (float("inf"), 24 * HOUR)],
)
def test_the_later_of_schedule_and_retry_after_counts_up_to_a_day(
    retry_after: float, expected: float
) -> None:
    assert next_try(2, retry_after=retry_after, jitter=0) == expected


def test_retry_after_never_prolongs_the_schedule() -> None:
    assert next_try(10, retry_after=60, jitter=0) is None


def test_counting_tries_from_zero_is_a_mistake_that_is_told() -> None:
    with pytest.raises(ValueError, match="begins at 1"):
        next_try(0, retry_after=None, jitter=0)
