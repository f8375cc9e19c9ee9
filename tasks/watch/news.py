"""What became of watched operations that go on: progress and recoveries, written in batches.

News is a mark on the resident, not a queue: however often it changes, the newest is written. An
operation's progress is written at most every sixth of its typical time, and no more often than
every two seconds.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from models.database import Connection, Database, DatabaseAway, fetch_rows
from tasks.watch.resident import NO_SLOT, Resident
from tasks.watch.wheel import Wheel

log = structlog.get_logger()

#: Seconds between two batches, and rows of one.
EVERY: Final = 0.25
BATCH: Final = 500
#: Shortest time between two writes of an operation's progress, in seconds and as a share of its
#: typical time.
LEAST, SHARE = 2.0, 1 / 6
#: Seconds until news is written again after the database was away, at most.
_AGAIN: Final = 2.0

# The rows are ours while their lease is our id. Attempts are locked in the order of their ids, and
# one that somebody ends at this moment is passed over: nobody waits here for anybody.
_WRITE: Final = """
WITH seen AS MATERIALIZED (
    SELECT * FROM unnest(%(ids)b::text[], %(progress)b::float8[], %(polls)b::int[],
                         %(running)b::float8[])
        AS seen(id, progress, polls, running_for)
), ours AS MATERIALIZED (
    SELECT seen.* FROM seen JOIN due ON due.what = 'poll' AND due.id = seen.id
    WHERE due.lease = %(holder)s::uuid
), locked AS MATERIALIZED (
    SELECT attempt.id, ours.progress, ours.polls, ours.running_for
    FROM attempt JOIN ours ON ours.id = attempt.id
    WHERE attempt.state = 'accepted' ORDER BY attempt.id FOR NO KEY UPDATE OF attempt SKIP LOCKED
), told AS (
    UPDATE attempt SET progress = greatest(attempt.progress, locked.progress),
                       polls = greatest(attempt.polls, locked.polls), poll_faults = 0, error = NULL,
                       seen_at = now(), denied_since = NULL,
                       running_at = coalesce(attempt.running_at,
                                             now() - locked.running_for * interval '1 second')
    FROM locked WHERE attempt.id = locked.id
)
SELECT ours.id, locked.id IS NOT NULL AS is_written
FROM ours LEFT JOIN locked ON locked.id = ours.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    id: str
    is_written: bool


@dataclass(slots=True, kw_only=True)
class News:
    """Writes the news of one holder."""

    database: Database
    holder: str
    #: The operations that are watched now.
    residents: Mapping[str, Resident]
    #: Told of operations whose rows somebody else has.
    lost: Callable[[list[str]], None]
    _wheel: Wheel[Resident] = field(default_factory=lambda: Wheel(time.monotonic()))
    _marked: asyncio.Event = field(default_factory=asyncio.Event)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def mark(self, resident: Resident, *, at_once: bool = False) -> None:
        """Have a resident's news written when its time comes, or with the next batch."""
        now = time.monotonic()
        if resident.marked != NO_SLOT and not at_once:
            return
        gap = max(LEAST, SHARE * resident.item.typical)
        self._mark(resident, now if at_once else max(now, resident.written_at + gap))

    def _mark(self, resident: Resident, at: float) -> None:
        resident.marked = self._wheel.put(resident, at)
        self._marked.set()

    async def run(self) -> None:
        """Write what is due, until cancelled."""
        while True:
            if not self._wheel:
                self._marked.clear()
                await self._marked.wait()
            await asyncio.sleep(EVERY)
            found = self._wheel.take(time.monotonic())
            due = [resident for slot, resident in found if resident.marked == slot]
            await asyncio.shield(self.write(due))

    async def write(self, residents: Iterable[Resident]) -> None:
        """Write the news of these residents now, after what is being written.

        So who lets operations go waits for their news, also with none to add.
        """
        async with self._writing:
            await self._write_now(residents)

    async def _write_now(self, residents: Iterable[Resident]) -> None:
        due = list[Resident]()
        for resident in residents:
            resident.marked = NO_SLOT
            if self.residents.get(resident.id) is not resident or resident.is_ending:
                continue
            if resident.item.last_fault:
                continue  # its recovery is news, and includes the progress
            if resident.telling:  # a fault before this is still to be written
                self._mark(resident, time.monotonic() + EVERY)
            else:
                due.append(resident)
        for start in range(0, len(due), BATCH):
            await self._write(due[start : start + BATCH])

    async def _write(self, batch: Sequence[Resident]) -> None:
        now = time.monotonic()
        before = [_Unwritten.take(resident, now) for resident in batch]
        values = {
            "ids": [resident.id for resident in batch],
            "progress": [resident.progress for resident in batch],
            "polls": [resident.item.polls for resident in batch],
            "running": [resident.item.clock(now).running_for for resident in batch],
            "holder": self.holder,
        }

        async def work(connection: Connection) -> list[_Written]:
            return await fetch_rows(connection, _Written, _WRITE, values)

        try:
            found = await self.database.run_statement(work)
        except DatabaseAway as error:
            log.warning("watch.news_not_written", rows=len(batch), error=str(error))
            for resident, each in zip(batch, before, strict=True):
                each.give_back(resident)
                self._mark(resident, now + _AGAIN * random.uniform(0.5, 1))
            return
        ours = {row.id: row.is_written for row in found}
        for resident, each in zip(batch, before, strict=True):
            if not ours.get(resident.id):
                each.give_back(resident)
                if resident.id in ours:
                    self._mark(resident, now + EVERY)
        self.lost([resident.id for resident in batch if resident.id not in ours])


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """What was unwritten of a resident before a write, which may fail.

    It counts as written during the write: a look meanwhile must not cause a second one.
    """

    written: float | None
    written_at: float

    @classmethod
    def take(cls, resident: Resident, now: float) -> "_Unwritten":
        unwritten = cls(resident.written, resident.written_at)
        resident.written, resident.written_at = resident.progress, now
        return unwritten

    def give_back(self, resident: Resident) -> None:
        resident.written, resident.written_at = self.written, self.written_at
