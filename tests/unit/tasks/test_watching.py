"""The parts of watching that need no database: the wheel, and when silence counts."""

import random

import pytest

from tasks.watch.heart import BEATS, away_after, dead_after
from tasks.watch.wheel import SLOT, Wheel


def test_a_wheel_gives_each_thing_once_and_never_early() -> None:
    dice = random.Random(7)
    wheel: Wheel[float] = Wheel(100.0)
    wanted = sorted(100 + dice.uniform(0, 20) for _ in range(500))
    slots = {at: wheel.put(at, at) for at in wanted}
    now, got = 100.0, list[float]()
    while now < 121:
        now += dice.uniform(0.001, 0.4)
        for slot, at in wheel.take(now):
            assert slots[at] == slot
            assert now - 0.4 - SLOT <= at <= now + 1e-9
            got.append(at)
    assert sorted(got) == wanted
    assert not wheel


def test_a_wheel_that_stood_still_gives_all_that_passed_in_order() -> None:
    wheel: Wheel[str] = Wheel(0.0)
    wheel.put("late", 500.0)
    wheel.put("early", 3.0)
    wheel.put("not yet", 10_000.0)
    assert [thing for _, thing in wheel.take(9_000.0)] == ["early", "late"]
    # What is put in for the past comes with the next slot
    wheel.put("past", 1.0)
    assert [thing for _, thing in wheel.take(9_000.0 + 2 * SLOT)] == ["past"]


@pytest.mark.parametrize("lease", [1.0, 3.0, 5.0, 30.0, 600.0])
def test_a_database_that_was_away_for_less_than_the_tick_notices_kills_nobody(lease: float) -> None:
    # Who beat just before the freeze is as silent as it lasted, and beats one interval later
    assert away_after(lease) + lease / BEATS < dead_after(lease)
    assert away_after(lease) >= 3


def test_rows_of_the_dead_are_free_within_the_default_lease() -> None:
    assert dead_after(30.0) + 5 < 30
