"""When operations of a route end: a distribution, from the catalogue or learned from looks.

Nobody sees an end: what is known of each is that it came between two looks. So a route is learned
from intervals, by expectation and maximisation on bins of equal ratio, smoothed at each step (the
EMS algorithm: Silverman, Jones, Wilson, Nychka 1990), beside the catalogue's times as so many
samples. Pure functions; seconds throughout.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from statistics import NormalDist
from typing import Final

#: The shares of operations at whose ends the distribution is kept; beyond the last is the tail.
SHARES: Final = (1 / 512, 1 / 128, *(k / 64 for k in range(1, 64)), 127 / 128, 511 / 512)

#: Seconds of the first bin, ratio of each to the one before, and their number: up to two days.
_FIRST, _RATIO, _BINS = 0.1, 1.06, 246
_STEP = math.log(_RATIO)
#: Samples as which the catalogue's times count, and the part of them that may be anywhere.
_PRIOR_COUNT, _STRAYS = 2.0, 0.15
#: Width of the smoothing kernel at a hundred samples, in logarithms of seconds.
_KERNEL = 0.07
_STEPS = 12
#: Spread of a route of which only the median is known, in logarithms of seconds; and the least.
_UNKNOWN_SPREAD, _LEAST_SPREAD = 0.5, 0.05
#: Samples after which an older one counts half.
_HALF_LIFE = 80.0
_P90 = NormalDist().inv_cdf(0.9)


@dataclass(frozen=True, slots=True)
class Usual:
    """The 10th, 50th and 90th percentile of a route's times, in seconds."""

    p10: float
    p50: float
    p90: float

    @classmethod
    def around(cls, p50: float) -> "Usual":
        """Where only the median is known."""
        width = math.exp(_UNKNOWN_SPREAD * _P90)
        return cls(p50 / width, p50, p50 * width)

    def knots(self) -> tuple[float, ...]:
        """The distribution: log-normal on both sides of the median, each with its own spread."""
        middle = max(self.p50, _FIRST)
        below = max(math.log(middle / max(self.p10, _FIRST)) / _P90, _LEAST_SPREAD)
        above = max(math.log(max(self.p90, _FIRST) / middle) / _P90, _LEAST_SPREAD)
        return tuple(middle * math.exp(z * (below if z < 0 else above)) for z in _deviations())


@dataclass(frozen=True, slots=True)
class Sample:
    """An operation that ended after `low` and not later than `high`, in seconds from its start."""

    low: float
    high: float


def fit(samples: Sequence[Sample], *, usual: Usual) -> tuple[float, ...]:
    """The seconds by which each of SHARES has ended; `samples` are in order, the newest first."""
    prior = _prior(usual)
    count = len(samples)
    width = _KERNEL * (100 / max(count, 1)) ** 0.2
    kernel = _kernel(round(min(width, 0.3) / _STEP, 1))
    spans = [
        (_bin(each.low), _bin(each.high), 0.5 ** (rank / _HALF_LIFE))
        for rank, each in enumerate(samples)
    ]
    masses = prior
    for _ in range(_STEPS if count else 0):
        masses = _normal(_smooth(_expected(spans, masses), kernel), prior)
    return _knots(masses)


def share_ended(knots: Sequence[float], seconds: float) -> float:
    """The share of operations that have ended by then, of those before the tail."""
    place = bisect_right(knots, seconds)
    if place == 0:
        return SHARES[0] * seconds / knots[0]
    if place == len(knots):
        return SHARES[-1]
    before, after = knots[place - 1], knots[place]
    part = (seconds - before) / (after - before)
    return SHARES[place - 1] + part * (SHARES[place] - SHARES[place - 1])


def _expected(spans: Sequence[tuple[int, int, float]], masses: Sequence[float]) -> list[float]:
    """How many samples ended in each bin, if they are spread in their intervals like `masses`."""
    totals = [0.0, *accumulate(masses)]
    # Each span adds weight / its mass to its bins: differences, summed up once for all.
    rates = [0.0] * (_BINS + 1)
    for first, last, weight in spans:
        rate = weight / (totals[last + 1] - totals[first])
        rates[first] += rate
        rates[last + 1] -= rate
    return [max(rate, 0.0) * mass for rate, mass in zip(accumulate(rates), masses, strict=False)]


def _smooth(counts: Sequence[float], kernel: Sequence[float]) -> list[float]:
    reach = len(kernel) // 2
    smooth = [0.0] * _BINS
    for at, count in enumerate(counts):
        if count > 1e-9:  # noqa: PLR2004 - nothing
            for offset, part in enumerate(kernel, start=at - reach):
                if 0 <= offset < _BINS:
                    smooth[offset] += count * part
    return smooth


def _normal(counts: Sequence[float], prior: Sequence[float]) -> list[float]:
    total = sum(counts) + _PRIOR_COUNT
    return [
        (count + _PRIOR_COUNT * before) / total for count, before in zip(counts, prior, strict=True)
    ]


def _prior(usual: Usual) -> list[float]:
    """The catalogue's times, and a few operations that end at any time within a factor of 20."""
    knots = usual.knots()
    edges = [0.0, *(share_ended(knots, _FIRST * _RATIO**n) for n in range(1, _BINS + 1))]
    low, high = _bin(usual.p50 / 20), _bin(usual.p50 * 20)
    stray = _STRAYS / (high - low + 1)
    return [
        (1 - _STRAYS) * (after - before) + (stray if low <= at <= high else 0.0) + 1e-9
        for at, (before, after) in enumerate(pairwise(edges))
    ]


def _knots(masses: Sequence[float]) -> tuple[float, ...]:
    totals = [0.0, *accumulate(masses)]
    whole = totals[-1]
    found, at = list[float](), 0
    for share in SHARES:
        while at < _BINS - 1 and totals[at + 1] < share * whole:
            at += 1
        part = (share * whole - totals[at]) / max(masses[at], 1e-300)
        found.append(_FIRST * _RATIO ** (at + min(max(part, 0.0), 1.0)))
    return tuple(found)


def _bin(seconds: float) -> int:
    if seconds <= _FIRST:
        return 0
    return min(int(math.log(seconds / _FIRST) / _STEP), _BINS - 1)


@cache
def _deviations() -> tuple[float, ...]:
    normal = NormalDist()
    return tuple(normal.inv_cdf(share) for share in SHARES)


@cache
def _kernel(width: float) -> tuple[float, ...]:
    """A bell over bins, whose sum is 1."""
    reach = max(1, math.ceil(2.5 * width))
    parts = [math.exp(-((n / max(width, 0.1)) ** 2) / 2) for n in range(-reach, reach + 1)]
    return tuple(part / sum(parts) for part in parts)
