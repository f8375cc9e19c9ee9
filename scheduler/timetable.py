"""A route's timetable: when to look next at an operation that was still running a moment ago.

The cheapest looks for a mean delay have a density that is proportional to the square root of the
hazard (Keller, Optimum checking schedules for systems subject to random failure, 1974). Between two
looks that rule says: look when the share that ended since the last look, F(s) - F(t), is
sqrt(2 c f(s) (1 - F(s))), where c is the price of a look in seconds of delay. It holds from the
first look on, also where looks are few. Pure; seconds throughout.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Final

from scheduler.hazard import SHARES

#: Points between two knots.
_BETWEEN: Final = 5
#: Growth of the waits behind the last knot: a part of the time since.
GROWTH: Final = 0.15
#: Tries to find the price that gives the wanted delay, and how near is near enough.
_TRIES, _NEAR = 12, 0.02
_CHEAPEST, _DEAREST = 1e-6, 1e6
#: Looks that are followed to find a mean delay: no distribution, however wide, takes long.
_MOST_LOOKS: Final = 1000
#: The shortest delay that is computed, as a part of the median: it bounds the work.
_SHORTEST: Final = 1 / 200


@dataclass(frozen=True, slots=True)
class Timetable:
    """When to look next, for every time that an operation may have run."""

    #: Seconds since the start, and when to look next after a look at that time.
    times: Sequence[float]
    nexts: Sequence[float]
    #: The wait after a look at the last time.
    last_wait: float
    ceiling: float
    #: The mean delay that it gives, in seconds.
    delay: float = field(default=0.0)

    @property
    def first(self) -> float:
        """When to look first."""
        return self.nexts[0]

    def wait(self, elapsed: float) -> float:
        """Seconds to the next look; beyond what is known they grow up to the ceiling."""
        times = self.times
        place = bisect_right(times, elapsed)
        if place == len(times):
            return min(self.last_wait + GROWTH * (elapsed - times[-1]), self.ceiling)
        before, nexts = times[place - 1], self.nexts
        part = (elapsed - before) / (times[place] - before)
        wait = nexts[place - 1] + part * (nexts[place] - nexts[place - 1]) - elapsed
        # Before the first look there is nothing to see; after it, nothing is silent for long.
        return min(wait, max(self.ceiling, nexts[0] - elapsed))


@dataclass(frozen=True, slots=True)
class _Course:
    """A distribution on a grid: ended shares, their densities, and the integral of the shares."""

    times: Sequence[float]
    ended: Sequence[float]
    density: Sequence[float]
    area: Sequence[float]

    def at(self, seconds: float) -> tuple[float, float]:
        """The share that has ended by then, and the integral of the shares up to then."""
        place = bisect_right(self.times, seconds)
        if place == len(self.times):
            return self.ended[-1], self.area[-1] + self.ended[-1] * (seconds - self.times[-1])
        before = self.times[place - 1]
        since = seconds - before
        share = self.ended[place - 1]
        slope = (self.ended[place] - share) / (self.times[place] - before)
        return share + slope * since, self.area[place - 1] + (share + slope * since / 2) * since


def timetable(
    knots: Sequence[float], *, delay: float, floor: float, ceiling: float, told: float = 0.0
) -> Timetable:
    """The timetable with that mean delay, or with the nearest that floor and ceiling allow.

    `knots` are the seconds by which each of SHARES has ended. Of the ends a share is `told` by
    callbacks; looks find the rest, so each is worth that much less.
    """
    course = _course(knots)
    delay = max(delay, _SHORTEST * knots[len(knots) // 2])
    price, low, high = delay**2 / (4 * max(knots[-1], delay)), _CHEAPEST, _DEAREST
    for _ in range(_TRIES):
        table = _table(course, price=price, floor=floor, ceiling=ceiling)
        if table.delay > delay * (1 + _NEAR):
            high = price
        elif table.delay < delay * (1 - _NEAR):
            low = price
        else:
            break
        # Delays grow like the root of the price where looks are many.
        guess = price * (delay / table.delay) ** 2
        price = guess if low < guess < high else math.sqrt(low * high)
    if told > 0:
        return _table(course, price=price / (1 - told), floor=floor, ceiling=ceiling)
    return table


def _table(course: _Course, *, price: float, floor: float, ceiling: float) -> Timetable:
    times, ended = course.times, course.ended
    worth = [
        math.sqrt(2 * price * density * (1 - share))
        for density, share in zip(course.density, ended, strict=True)
    ]
    nexts, at, last = list[float](), 0, len(times) - 1
    for now, share in zip(times, ended, strict=True):
        while at < last and ended[at] - share < worth[at]:
            at += 1
        nexts.append(max(_crossing(course, worth, share, at), now + floor))
    at = bisect_right(ended, SHARES[-3]) - 1
    wait = min(max(nexts[at] - times[at], floor), ceiling)
    table = Timetable(times, nexts, wait, ceiling)
    return Timetable(times, nexts, wait, ceiling, _mean_delay(table, course))


def _crossing(course: _Course, worth: Sequence[float], share: float, at: int) -> float:
    """The time before grid point `at` at which a look begins to be worth its price."""
    after = course.ended[at] - share - worth[at]
    if at == 0 or after <= 0:
        return course.times[at]
    before = min(course.ended[at - 1] - share - worth[at - 1], 0.0)
    part = before / (before - after)
    return course.times[at - 1] + part * (course.times[at] - course.times[at - 1])


def _mean_delay(table: Timetable, course: _Course) -> float:
    """Mean seconds from an end to the look that sees it, of ends before the tail."""
    now = share = area = delay = 0.0
    for _ in range(_MOST_LOOKS):
        if now >= course.times[-1]:
            break
        then = now + table.wait(now)
        share_then, area_then = course.at(then)
        delay += area_then - area - share * (then - now)
        now, share, area = then, share_then, area_then
    else:  # the few that last far longer than most: on average they end in the middle of a wait
        delay += (course.ended[-1] - share) * table.wait(now) / 2
    return delay / course.ended[-1]


def _course(knots: Sequence[float]) -> _Course:
    """The grid: lines between the knots, densities between the middles of the lines."""
    ends = [(0.0, 0.0), *zip(knots, SHARES, strict=True)]
    middles, slopes = [0.0], [SHARES[0] / knots[0]]
    times, ended = [0.0], [0.0]
    for (begin, low), (end, high) in pairwise(ends):
        if end <= begin:
            continue
        middles.append((begin + end) / 2)
        slopes.append((high - low) / (end - begin))
        for part in range(1, _BETWEEN + 1):
            times.append(begin + (end - begin) * part / _BETWEEN)
            ended.append(low + (high - low) * part / _BETWEEN)
    steps = (
        (one + other) / 2 * (then - now)
        for (now, one), (then, other) in pairwise(zip(times, ended, strict=True))
    )
    density = [_between(middles, slopes, now) for now in times]
    return _Course(times, ended, density, list(accumulate(steps, initial=0.0)))


def _between(places: Sequence[float], values: Sequence[float], at: float) -> float:
    place = bisect_right(places, at)
    if place == len(places):
        return values[-1]
    before = places[place - 1]
    part = (at - before) / (places[place] - before)
    return values[place - 1] + part * (values[place] - values[place - 1])
