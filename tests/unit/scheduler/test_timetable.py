"""Looks at an operation: as few as a mean delay allows, for what is known and what is learned."""

import random

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from benchmarks.schedule import (
    Mode,
    learned,
    of_mix,
    optimum,
    rule_before,
    samples_of,
    simulate,
)
from scheduler.hazard import SHARES, Sample, Usual, fit, share_ended
from scheduler.timetable import Timetable, timetable

TWO_MODES = (Mode(0.5, 40, 0.2), Mode(0.5, 120, 0.2))
SIXTY = (Mode(1, 60, 0.3),)

times = st.floats(0.2, 5000)


def ratio(mix: tuple[Mode, ...], knots: tuple[float, ...], *, delay: float) -> float:
    """Our polls against the fewest that are possible at the mean delay that ours have."""
    table = timetable(knots, delay=delay, floor=0.25, ceiling=30.0)

    def rule(elapsed: float, dice: float) -> float:
        return table.wait(elapsed) * (0.9 + 0.2 * dice)

    polls, found = simulate(rule, mix, operations=4000)
    return polls / optimum(mix, delay=found)


@pytest.mark.parametrize(
    "mix",
    [
        pytest.param(mix, id="+".join(f"{mode.median}s/{mode.sigma}" for mode in mix))
        for mix in (
            *((Mode(1, median, sigma),) for median in (20, 60, 180) for sigma in (0.2, 0.6)),
            TWO_MODES,
        )
    ],
)
def test_looks_are_within_15_percent_of_the_fewest_at_their_delay(mix: tuple[Mode, ...]) -> None:
    knots = learned(mix, usual=of_mix(mix))

    assert ratio(mix, knots, delay=0.03 * of_mix(mix).p50) < 1.15


@pytest.mark.parametrize("times_wrong", [0.5, 2.0, 4.0])
def test_what_was_learned_makes_up_for_a_wrong_catalogue(times_wrong: float) -> None:
    true = of_mix(SIXTY)
    wrong = Usual(true.p10 * times_wrong, true.p50 * times_wrong, true.p90 * times_wrong)

    assert ratio(SIXTY, fit((), usual=wrong), delay=2.0) > 1.5
    assert ratio(SIXTY, learned(SIXTY, usual=wrong), delay=2.0) < 1.15


@pytest.mark.parametrize("before", [30.0, 120.0])
def test_a_route_that_gets_slower_or_faster_is_learned_anew(before: float) -> None:
    old = (Mode(1, before, 0.3),)
    known = samples_of(old, usual=of_mix(old))

    knots = learned(SIXTY, usual=of_mix(old), known=known)

    assert ratio(SIXTY, knots, delay=2.0) < 1.15


def test_a_route_is_known_well_enough_after_five_operations() -> None:
    knots = learned(SIXTY, usual=Usual.around(60.0), count=5)

    polls, delay = simulate(rule_before(of_mix(SIXTY)), SIXTY, operations=4000)
    assert ratio(SIXTY, knots, delay=2.0) < polls / optimum(SIXTY, delay=delay)


def test_the_mean_delay_is_the_wanted_one() -> None:
    knots = learned(TWO_MODES, usual=of_mix(TWO_MODES))
    for wanted in (1.0, 2.0, 5.0):
        table = timetable(knots, delay=wanted, floor=0.25, ceiling=60.0)
        _, found = simulate(lambda now, _, table=table: table.wait(now), TWO_MODES, operations=4000)  # type: ignore[misc]
        assert found == pytest.approx(wanted, rel=0.15)


def test_an_end_that_was_told_only_by_its_first_look_is_looked_for_earlier() -> None:
    # Given operations that all had ended when they were looked at for the first time
    usual = Usual(40.0, 60.0, 90.0)
    first = timetable(fit((), usual=usual), delay=2.0, floor=1.0, ceiling=30.0).first
    # When that is learned
    knots = fit([Sample(0.0, first)] * 50, usual=usual)
    # Then the next are looked at earlier, and not later and later
    assert timetable(knots, delay=2.0, floor=1.0, ceiling=30.0).first < first


@given(p10=times, more=times, still_more=times)
def test_the_catalogues_times_are_its_distributions(
    p10: float, more: float, still_more: float
) -> None:
    usual = Usual(p10, p10 + more, p10 + more + still_more)
    knots = usual.knots()

    assert list(knots) == sorted(knots)
    assert share_ended(knots, usual.p50) == pytest.approx(0.5, abs=0.01)


@given(
    ends=st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e5)), max_size=30),
    p50=times,
)
@settings(max_examples=60, deadline=None)
def test_whatever_ended_the_knots_rise(ends: list[tuple[float, float]], p50: float) -> None:
    knots = fit([Sample(low, low + more) for low, more in ends], usual=Usual.around(p50))

    assert len(knots) == len(SHARES)
    assert list(knots) == sorted(knots)
    assert knots[0] > 0


@given(
    p50=times,
    elapsed=st.floats(0, 1e6),
    delay=st.floats(0.05, 600),
    floor=st.floats(0.05, 60),
    more=st.floats(0, 600),
)
@settings(max_examples=30, deadline=None)
def test_a_wait_is_never_below_the_floor_and_never_silent(
    p50: float, elapsed: float, delay: float, floor: float, more: float
) -> None:
    table = timetable(Usual.around(p50).knots(), delay=delay, floor=floor, ceiling=floor + more)

    wait = table.wait(elapsed)

    assert wait >= floor * 0.999
    assert wait <= max(floor + more, table.first - elapsed) * 1.001


def test_waits_beyond_what_is_known_grow_to_the_ceiling() -> None:
    table = timetable(Usual(40.0, 60.0, 90.0).knots(), delay=2.0, floor=1.0, ceiling=30.0)

    waits = [table.wait(elapsed) for elapsed in (200.0, 250.0, 300.0, 1000.0, 1e6)]

    assert waits == sorted(waits)
    assert waits[0] < 30.0 == waits[-1]


def test_samples_are_the_looks_around_each_end() -> None:
    for each in samples_of(SIXTY, usual=of_mix(SIXTY), count=30):
        assert each.low < each.high


def test_older_samples_count_less() -> None:
    dice = random.Random(1)
    fast = [Sample(0.99 * each, each) for each in (dice.uniform(28, 32) for _ in range(100))]
    slow = [Sample(0.99 * each, each) for each in (dice.uniform(95, 105) for _ in range(100))]

    usual = Usual.around(50.0)

    assert share_ended(fit([*fast, *slow], usual=usual), 60) > 0.6
    assert share_ended(fit([*slow, *fast], usual=usual), 60) < 0.4


@pytest.mark.parametrize(
    "usual", [Usual(0.25, 1, 654), Usual(0.1, 0.1, 1e6), Usual(1e-9, 5e5, 1e9), Usual(5, 5, 5)]
)
@pytest.mark.parametrize(("floor", "ceiling"), [(0.05, 60), (0.25, 5), (5, 120)])
def test_no_distribution_however_wide_takes_many_steps(
    usual: Usual, floor: float, ceiling: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = list[float]()
    wait = Timetable.wait

    def counted(self: Timetable, elapsed: float) -> float:
        looked.append(elapsed)
        return wait(self, elapsed)

    monkeypatch.setattr(Timetable, "wait", counted)
    table = timetable(usual.knots(), delay=0.05 + 0.02 * usual.p50, floor=floor, ceiling=ceiling)

    assert 0 < len(looked) <= 15_000
    assert table.delay > 0
