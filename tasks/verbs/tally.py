"""Tally: count batches, release their held lines, cancel unwanted ones, and find their end.

Running twice is harmless: everything happens under the lock of the batch's row, in one transaction
with the batch's due row, and a batch ends once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from models import due
from models.database import Connection
from models.rows.batches import BatchRow, BatchState
from models.state import JobState
from models.verbs import What
from scheduler.claim import Claimed
from tasks.batches.ending import end
from tasks.batches.progress import (
    CHUNK,
    fold,
    held_lines,
    lock_batch,
    note_cancelled,
    release,
    unfinished_lines,
)
from tasks.crash import crash_point
from tasks.engine import Engine
from tasks.outcomes.finish import CANCELLED, finish
from tasks.verbs.verb import Hold, Verb

#: Seconds until the next look: while lines wait or something happens, and while nothing does.
SOON, LATER = 1.0, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tallied:
    """An unfinished batch."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally(Verb[Tallied, Tallied]):
    """The verb; `engine` is what it works with."""

    engine: Engine
    what: What = What.TALLY
    concurrency: int = 4
    each: int = 4
    abandons: bool = True

    async def load(self, claimed: Sequence[Claimed]) -> list[Tallied]:
        sql = "SELECT id FROM batch WHERE id = ANY(%s) AND finished_at IS NULL"
        return await self.engine.database.fetch(sql, ([row.id for row in claimed],), row=Tallied)

    async def act(self, item: Tallied, hold: Hold) -> None:
        """One step of the batch, committed here: its row is locked before any due row is."""
        await self.engine.database.run(
            lambda connection: self._step(connection, item.id, lease=hold.lease)
        )
        crash_point("tally.committed")

    async def _step(self, connection: Connection, batch_id: str, *, lease: str) -> None:
        before = await lock_batch(connection, batch_id)
        if before is None:
            return
        batch = await fold(connection, before)
        is_cancelled = batch.cancelled_at is not None  # nothing of it is released any more
        find = unfinished_lines if is_cancelled else held_lines
        lines = await find(connection, batch)
        jobs = [line.id for line in lines]
        if not await due.hold(connection, self.what, [batch_id], lease=lease, jobs=jobs):
            return  # another worker has it, which will do the rest
        if lines and not is_cancelled:
            await release(connection, batch, lines)
        elif lines:
            failures = dict.fromkeys(jobs, CANCELLED)
            await finish(self.engine, connection, JobState.CANCELLED, jobs, failures=failures)
            await note_cancelled(connection, batch, lines)
            batch = await fold(connection, batch)
        crash_point("tally.moved")
        if batch.pending + batch.processing == 0:
            await self._end(connection, batch)
        else:
            wait = _wait(batch, has_changed=batch is not before, moved=len(jobs))
            await due.put_back(connection, self.what, [batch_id], after=[wait])

    async def _end(self, connection: Connection, batch: BatchRow) -> None:
        if batch.state == BatchState.IN_PROGRESS:
            await end(self.engine, connection, batch)
        await due.drop(connection, self.what, [batch.id])

    def jobs(self, results: Sequence[Tallied]) -> list[str]:
        del results
        return []

    async def write(self, connection: Connection, results: Sequence[Tallied]) -> None:
        """Nothing: each step writes itself."""

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """Nothing: a batch ends when its lines have ended, however late."""


def _wait(batch: BatchRow, *, has_changed: bool, moved: int) -> float:
    """Seconds until the next step; none while there may be more lines to move."""
    if moved == CHUNK:
        return 0.0
    waits = batch.pending + batch.processing > batch.running
    return SOON if has_changed or moved or waits else LATER
