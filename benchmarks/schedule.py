"""Polls of an operation at equal mean delay: our timetable, the rule before it, and the optimum.

Plain simulation with fixed seeds: it needs neither servers nor a quiet machine.
"""

import math
import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from statistics import NormalDist
from typing import Any, Final

from rich.console import Console

from scheduler.durations import SAMPLES
from scheduler.hazard import Sample, Usual, fit
from scheduler.timetable import timetable

#: Simulated operations of each row, and of the search for equal delays.
OPERATIONS, SEARCHED = 100_000, 4_000
FLOOR, CEILING = 2.0, 30.0
#: Waits are varied by so much, as `scheduler.looks` does.
JITTER: Final = 0.1
#: Points of the grid on which the optimum is computed.
_GRID = 900

#: Seconds to the next look, from the seconds so far and a random number.
Rule = Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Mode:
    """A log-normal part of a distribution: its share, median in seconds, and spread."""

    share: float
    median: float
    sigma: float


Mix = tuple[Mode, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """Polls of an operation at a mean delay in seconds."""

    name: str
    delay: float
    before: float
    #: Of the rule before, which knows as much as ours and can't be tuned.
    delay_before: float
    ours: float
    fixed: float
    #: At our delay, and at that of the rule before.
    optimum: float
    optimum_before: float

    @property
    def ratio(self) -> float:
        """Our polls against the optimum's at the same mean delay."""
        return self.ours / self.optimum


@dataclass(frozen=True, slots=True)
class Schedules:
    """All rows."""

    rows: Sequence[Row]

    def show(self, console: Console) -> None:
        """Print a line for each row."""
        heads = (
            "before",
            "its delay",
            "delay",
            "fixed",
            "ours",
            "optimum",
            "before/opt",
            "ours/opt",
        )
        width = max(len(row.name) for row in self.rows)
        lines = [
            f"Polls of an operation at equal mean delay in seconds, {OPERATIONS:,} of each row",
            f"{'operations':{width}} {' '.join(f'{head:>10}' for head in heads)}",
        ]
        for row in self.rows:
            polls = (row.before, row.delay_before, row.delay, row.fixed, row.ours, row.optimum)
            ratios = (row.before / row.optimum_before, row.ratio)
            numbers = " ".join(f"{each:10.2f}" for each in (*polls, *ratios))
            lines.append(f"{row.name:{width}} {numbers}")
        console.print("\n".join(lines), highlight=False, soft_wrap=True)

    def as_json(self) -> dict[str, Any]:
        """All numbers."""
        return {"rows": [asdict(row) for row in self.rows]}


def measure(*, operations: int = OPERATIONS) -> Schedules:
    """Simulate every row."""
    rows = [
        _row(_name(mix), mix, learned(mix, usual=of_mix(mix)), of_mix(mix), operations)
        for mix in (
            *((Mode(1, median, sigma),) for median in (20, 60, 180) for sigma in (0.2, 0.4, 0.6)),
            (Mode(0.5, 40, 0.2), Mode(0.5, 120, 0.2)),
            (Mode(0.8, 30, 0.3), Mode(0.2, 200, 0.2)),
        )
    ]
    sixty = (Mode(1, 60, 0.3),)
    words = ((0.5, "half"), (1.0, "right"), (2.0, "twice"), (4.0, "four times"))
    for times, word in words:
        wrong = Usual(*(each * times for each in (40, 60, 90)))
        for count in (0, 5, 20, SAMPLES):
            name = f"{_name(sixty)}, catalogue says {word}, {count} learned"
            knots = learned(sixty, usual=wrong, count=count)
            known = of_mix(sixty) if count >= SAMPLES else wrong
            rows.append(_row(name, sixty, knots, known, operations))
    for times in (0.5, 2.0):
        before = (Mode(1, 60 / times, 0.3),)
        usual = of_mix(before)
        old = samples_of(before, usual=usual)
        knots = learned(sixty, usual=usual, known=old)
        name = f"{_name(sixty)}, drifted from {60 / times:.0f} s, {SAMPLES} since"
        rows.append(_row(name, sixty, knots, of_mix(sixty), operations))
    return Schedules(rows)


def learned(
    mix: Mix,
    *,
    usual: Usual,
    count: int = SAMPLES,
    known: Sequence[Sample] = (),
    delay: float = 2.0,
    seed: int = 1,
) -> tuple[float, ...]:
    """The knots that are learned from so many operations, each seen by what was known before it."""
    return fit(
        samples_of(mix, usual=usual, count=count, known=known, delay=delay, seed=seed), usual=usual
    )


def samples_of(
    mix: Mix,
    *,
    usual: Usual,
    count: int = SAMPLES,
    known: Sequence[Sample] = (),
    delay: float = 2.0,
    seed: int = 1,
) -> list[Sample]:
    """The newest samples after `count` operations, the newest first."""
    dice, samples = random.Random(seed), list(known)
    for number in range(count):
        if number % 10 == 0:  # learning runs now and then
            knots = fit(samples, usual=usual)
            rule = _timetable(knots, delay)
        end, last, now = draw(mix, dice), 0.0, 0.0
        while now < end:
            last, now = now, now + rule(now, dice.random())
        samples = [Sample(last, now), *samples[: SAMPLES - 1]]
    return samples


def simulate(rule: Rule, mix: Mix, *, operations: int, seed: int = 7) -> tuple[float, float]:
    """Mean polls and mean delay in seconds."""
    dice, polls, delay = random.Random(seed), 0, 0.0
    for _ in range(operations):
        end, now = draw(mix, dice), 0.0
        while now < end:
            now += rule(now, dice.random())
            polls += 1
        delay += now - end
    return polls / operations, delay / operations


def draw(mix: Mix, dice: random.Random) -> float:
    """The seconds of one operation."""
    at = dice.random()
    for mode in mix:
        at -= mode.share
        if at < 0:
            break
    return mode.median * math.exp(dice.gauss(0.0, mode.sigma))


def rule_before(usual: Usual) -> Rule:
    """The rule until 0.9: the p10 first, then a tenth of the time between now and the p50."""

    def wait(elapsed: float, dice: float) -> float:
        if elapsed == 0:
            return max(FLOOR, usual.p10) * (1 + 0.2 * dice)
        return min(max(abs(usual.p50 - elapsed) / 10, FLOOR), CEILING) * (1 + 0.2 * dice)

    return wait


def of_mix(mix: Mix) -> Usual:
    """The true quantiles."""
    return Usual(*(_quantile(mix, share) for share in (0.1, 0.5, 0.9)))


def optimum(mix: Mix, *, delay: float) -> float:
    """The fewest polls with that mean delay, by dynamic programming on the true distribution."""
    grid = _Grid.of(mix)
    low, high, found = 1e-4, 1e4, list[tuple[float, float]]()
    for _ in range(14):
        price = math.sqrt(low * high)
        polls, its_delay = grid.best(price)
        found.append((its_delay, polls))
        low, high = (price, high) if its_delay < delay else (low, price)
    found.sort()
    place = min(max(bisect_left(found, (delay, 0.0)), 1), len(found) - 1)
    (d0, p0), (d1, p1) = found[place - 1], found[place]
    return p0 if d1 == d0 else p0 + (p1 - p0) * (delay - d0) / (d1 - d0)


@dataclass(frozen=True, slots=True)
class _Grid:
    times: Sequence[float]
    ended: Sequence[float]
    area: Sequence[float]

    @classmethod
    def of(cls, mix: Mix) -> "_Grid":
        low = min(mode.median * math.exp(-4 * mode.sigma) for mode in mix)
        high = max(mode.median * math.exp(3.5 * mode.sigma) for mode in mix)
        times = [0.0, *(low * (high / low) ** (n / _GRID) for n in range(_GRID + 1))]
        ended = [_share(mix, each) for each in times]
        ended = [each / ended[-1] for each in ended]
        pairs = pairwise(zip(times, ended, strict=True))
        steps = ((e0 + e1) / 2 * (t1 - t0) for (t0, e0), (t1, e1) in pairs)
        return cls(times, ended, list(accumulate(steps, initial=0.0)))

    def best(self, price: float) -> tuple[float, float]:
        """Polls and delay of the cheapest looks, if one costs `price` seconds of delay."""
        times, ended, area = self.times, self.ended, self.area
        last = len(times) - 1
        costs, nexts = [0.0] * (last + 1), [last] * (last + 1)
        for now in range(last - 1, -1, -1):
            begin, share, sum_, least, at = times[now], ended[now], area[now], math.inf, last
            # A later look is never followed by an earlier one: costs have the Monge property.
            for then in range(now + 1, nexts[now + 1] + 1):
                cost = area[then] - sum_ - share * (times[then] - begin) + costs[then]
                if cost < least:
                    least, at = cost, then
            costs[now], nexts[now] = least + price * (1 - share), at
        polls = delay = 0.0
        now = 0
        while now < last:
            then = nexts[now]
            polls += 1 - ended[now]
            delay += area[then] - area[now] - ended[now] * (times[then] - times[now])
            now = then
        return polls, delay


def _row(name: str, mix: Mix, knots: Sequence[float], usual: Usual, operations: int) -> Row:
    """All rules at the mean delay that the rule before has where it knows the truth.

    The rule before can't be tuned, so it is shown with what is known, at its own delay.
    """
    before, delay_before = simulate(rule_before(usual), mix, operations=operations)
    _, wanted = simulate(rule_before(of_mix(mix)), mix, operations=operations)

    def ours_at(delay: float) -> Rule:
        return _timetable(knots, delay)

    ours, delay = simulate(_tuned(ours_at, mix, wanted), mix, operations=operations)
    fixed, _ = simulate(_tuned(_fixed, mix, wanted), mix, operations=operations)
    return Row(
        name=name,
        delay=delay,
        before=before,
        delay_before=delay_before,
        ours=ours,
        fixed=fixed,
        optimum=optimum(mix, delay=delay),
        optimum_before=optimum(mix, delay=delay_before),
    )


def _tuned(rule_at: Callable[[float], Rule], mix: Mix, delay: float) -> Rule:
    """The rule whose mean delay comes nearest, found by halving."""
    low, high = delay / 8, delay * 8
    for _ in range(9):
        middle = math.sqrt(low * high)
        _, found = simulate(rule_at(middle), mix, operations=SEARCHED)
        low, high = (middle, high) if found < delay else (low, middle)
    return rule_at(math.sqrt(low * high))


def _timetable(knots: Sequence[float], delay: float) -> Rule:
    table = timetable(knots, delay=delay, floor=0.25, ceiling=CEILING)

    def wait(elapsed: float, dice: float) -> float:
        return table.wait(elapsed) * (1 - JITTER + 2 * JITTER * dice)

    return wait


def _fixed(delay: float) -> Rule:
    return lambda _elapsed, dice: 2 * delay * (0.9 + 0.2 * dice)


def _share(mix: Mix, seconds: float) -> float:
    if seconds <= 0:
        return 0.0
    return sum(
        mode.share * NormalDist().cdf(math.log(seconds / mode.median) / mode.sigma) for mode in mix
    )


def _quantile(mix: Mix, share: float) -> float:
    low, high = 0.01, 1e6
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _share(mix, middle) < share else (low, middle)
    return low


def _name(mix: Mix) -> str:
    if len(mix) == 1:
        return f"{mix[0].median:.0f} s, sigma {mix[0].sigma}"
    return " or ".join(
        f"{mode.median:.0f} s ({mode.share:.0%}, sigma {mode.sigma})" for mode in mix
    )
