"""The parts of watching that need no database: the wheel, and when silence or lateness counts."""

import random
from typing import TYPE_CHECKING, cast

import pytest

from models.holders import LATE
from scheduler.pace import Pace
from tasks.verbs.verb import Hold
from tasks.watch.heart import BEATS, away_after, dead_after
from tasks.watch.lane import Lane
from tasks.watch.letting_go import LettingGo
from tasks.watch.wheel import SLOT, Wheel

if TYPE_CHECKING:
    from tasks.watch.resident import Resident
    from tasks.watch.watcher import Watcher


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


async def _no_look(lane: Lane, resident: "Resident") -> None:
    """A lane without operations."""


def test_looks_behind_delayed_ones_are_excused_for_as_long() -> None:
    pace = Pace(8)
    lane = Lane(pace=pace, hold=Hold("nobody", pace), look=_no_look)
    letting_go = LettingGo(cast("Watcher", None))
    for now in range(100, 161):
        letting_go.was_held(now)
    letting_go.goes_on()

    # For another 60 seconds they may wait behind those that were due before
    for _ in range(100):
        letting_go.was_late(lane, 100, 170)
        letting_go.was_late(lane, 219, 230)
    assert letting_go.late == 0
    # and later ones are late because there are too many
    for _ in range(100):
        letting_go.was_late(lane, 221, 230)
    assert letting_go.late > LATE

    # A short delay excuses only a short time
    letting_go.was_held(300)
    letting_go.was_held(300.1)
    letting_go.goes_on()
    before = letting_go.late
    letting_go.was_late(lane, 300.15, 400)
    assert letting_go.late == before
    letting_go.was_late(lane, 300.25, 400)
    assert letting_go.late > before
