"""When to look at an operation next: by what is known of its route, and of its account's queue.

One `Looks` belongs to a process and is used on its loop. It reads what `durations.learn` wrote, at
most every half minute, and compiles a route's timetable when that is first asked for.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from models.database import Database
from models.records import columns
from scheduler.hazard import Usual, fit
from scheduler.queues import Queue
from scheduler.timetable import Timetable, timetable

#: Seconds between two readings of what was learned.
REFRESH: Final = 30.0
#: Mean delay unless it is set: a part of the floor and a part of the route's median together, and
#: at most a part of the ceiling. About what polls had before they followed a timetable.
DELAY_OF_FLOOR, DELAY_OF_MEDIAN, DELAY_OF_CEILING = 0.5, 0.02, 0.5
#: Waits vary by so much, in both directions, so that a batch is not polled in step.
JITTER: Final = 0.1
#: A queued operation is looked at again after this part of the time for which it has waited, or
#: of the time that the queue before it will take; and its start is seen late by at most that part
#: of the time that nearly all operations run.
_OF_WAITED, _OF_LEFT, _OF_RUN = 0.25, 0.5, 0.25
#: The knot before which few operations end: 3 in 64.
_SHORT: Final = 4
#: Shares of an account's ends that callbacks told of, for which there are timetables; and by how
#: much one end moves the share.
TOLD: Final = (0.0, 0.5, 0.75, 0.9)
_ONE_END: Final = 0.05
#: Routes and queues that are kept.
_MOST: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A row of `duration`."""

    route: str
    p10: float
    p50: float
    p90: float
    #: The seconds by which each of `hazard.SHARES` has ended; None from an older version.
    knots: list[float] | None


@dataclass(frozen=True, slots=True)
class _Known:
    """A route's distribution; whether it is learned or the catalogue's."""

    usual: Usual
    knots: tuple[float, ...]
    is_learned: bool
    #: Timetables by floor, ceiling and share of TOLD, of which a process has a few.
    tables: dict[tuple[float, float, float], Timetable] = field(default_factory=dict)


@dataclass(slots=True)
class Looks:
    """When to look; `usual` are the catalogue's times by provider and upstream model."""

    usual: Mapping[str, Usual] = field(default_factory=dict)
    #: The wanted mean delay in seconds; None: related to the route's median.
    delay: float | None = None
    _known: dict[str, _Known] = field(default_factory=dict)
    _queues: dict[tuple[str, str], Queue] = field(default_factory=dict)
    #: The share of each account's ends that a callback told of before a look did.
    _told: dict[str, float] = field(default_factory=dict)
    _read_at: float | None = None

    async def refresh(self, database: Database, *, now: float) -> None:
        """Read what was learned, unless that was done a moment ago; `now` is monotonic."""
        if self._read_at is not None and now - self._read_at < REFRESH:
            return
        self._read_at = now  # at once: others that ask meanwhile go on with what is known
        rows = await database.fetch(
            f"SELECT {columns(Learned)} FROM duration ORDER BY learned_at DESC LIMIT %s",  # noqa: S608 - constants
            (_MOST,),
            row=Learned,
        )
        for row in rows:
            self.learn(row)

    def learn(self, row: Learned) -> None:
        """Take a route's distribution as it was learned."""
        usual = Usual(row.p10, row.p50, row.p90)
        knots = tuple(row.knots or usual.knots())
        known = self._known.get(row.route)
        if known is None or known.knots != knots:
            self._keep_few()
            self._known[row.route] = _Known(usual, knots, is_learned=True)

    def ended(self, lane: str, *, told: bool) -> None:
        """Note how an end came to be known: whether a callback had come since the last look."""
        share = self._told.get(lane, 0.0)
        self._keep_few()
        self._told[lane] = share + _ONE_END * (told - share)

    def wait(
        self,
        *,
        lane: str,
        route: str,
        elapsed: float,
        queued: bool = False,
        running_for: float | None = None,
        called: bool = False,
        floor: float,
        ceiling: float,
        asked: float = 0.0,
        stride: float = 0.0,
        wall: float = 0.0,
        now: float,
        dice: float,
    ) -> float:
        """Seconds to the next look at an operation that was accepted `elapsed` seconds ago.

        `running_for` are the seconds since it left the vendor's queue, if it was seen there.
        `called` says whether its provider has an address for callbacks. A wait that the provider
        `asked` for is the minimum, as is the floor. `now` is of a monotonic clock; `dice` is
        uniform in 0..1.

        Where one request tells of many operations, those of an account are looked at together: at
        multiples of `stride` seconds of Unix time, which is `wall` now.
        """
        known = self._known.get(route) or self._of_catalogue(route)
        if queued:
            wait = self._queued(known, lane, route, elapsed, floor=floor, ceiling=ceiling, now=now)
        else:
            if elapsed > 0:
                self._queue(lane, route).started(accepted=now - elapsed, now=now)
            run = elapsed if running_for is None else running_for
            told = self._told.get(lane, 0.0) if called else 0.0
            wait = self._table(known, floor, ceiling, told).wait(run)
            if not known.is_learned:  # the catalogue may be far off: early looks tell
                wait = min(wait, max(run, floor))
        wait *= 1 - JITTER + 2 * JITTER * dice
        if stride > 0:
            return _in_stride(wait, stride, wall, asked=asked)
        return max(wait, floor, asked * (1 + JITTER * dice))

    def _queued(
        self,
        known: _Known,
        lane: str,
        route: str,
        elapsed: float,
        *,
        floor: float,
        ceiling: float,
        now: float,
    ) -> float:
        """The wait of a queued operation: long while its start, or even its end, is far."""
        shortest_run = known.knots[_SHORT]
        least = max(floor, _OF_RUN * min(shortest_run, elapsed))
        left = self._queue(lane, route).left(accepted=now - elapsed, now=now)
        if left is None:
            most, wait = max(ceiling, 2 * _OF_RUN * shortest_run), _OF_WAITED * elapsed
        else:
            most, wait = max(ceiling, _OF_LEFT * elapsed), _OF_LEFT * left
        return max(min(wait, most), least)

    def _queue(self, lane: str, route: str) -> Queue:
        key = (lane, model_of(route))
        queue = self._queues.get(key)
        if queue is None:
            self._keep_few()
            queue = self._queues[key] = Queue()
        return queue

    def _table(self, known: _Known, floor: float, ceiling: float, told: float) -> Timetable:
        share = TOLD[bisect_right(TOLD, told) - 1]
        table = known.tables.get((floor, ceiling, share))
        if table is None:
            delay = self.delay
            if delay is None:
                delay = DELAY_OF_FLOOR * floor + DELAY_OF_MEDIAN * known.usual.p50
                delay = min(delay, DELAY_OF_CEILING * ceiling)
            table = timetable(known.knots, delay=delay, floor=floor, ceiling=ceiling, told=share)
            known.tables[floor, ceiling, share] = table
        return table

    def _of_catalogue(self, route: str) -> _Known:
        usual = self.usual.get(model_of(route)) or Usual.around(60.0)
        self._keep_few()
        known = self._known[route] = _Known(usual, fit((), usual=usual), is_learned=False)
        return known

    def _keep_few(self) -> None:
        """Forget everything once there is too much of it: what is used comes back."""
        for each in (self._known, self._queues, self._told):
            if len(each) >= _MOST:
                each.clear()


@lru_cache(_MOST)
def model_of(route: str) -> str:
    """A route without the length of its videos: `provider/upstream`."""
    return route.rpartition("/")[0]


def _in_stride(wait: float, stride: float, wall: float, *, asked: float) -> float:
    """The wait until the nearest multiple of `stride` at its end, but not before what is `asked`.

    The stride is the floor. An answer takes a part of it, so the next multiple is far enough but
    for a quarter.
    """
    at = round((wall + max(wait, stride)) / stride) * stride - wall
    return at + stride * math.ceil(max(0.0, max(asked, 0.75 * stride) - at) / stride)
