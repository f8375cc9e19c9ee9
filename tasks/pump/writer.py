"""The pump's writer: results in rolling batches, each guarded by the pump's fencing token.

A batch that fails is halved down to the row that breaks it, so one bad answer spoils no other.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from models import due
from models.database import Connection, Database, DatabaseAway
from tasks.crash import crash_point
from tasks.pump.parking import Reason, set_aside
from tasks.verbs.verb import AnyVerb, Recorder, Result

log = structlog.get_logger()

#: Rows of one claim and of one write-back.
BATCH = 500
#: Seconds that results wait for a larger batch, at most.
FLUSH_AFTER = 0.1
#: Seconds until results that are kept are written again, at most.
AGAIN_AFTER = 1.0


@dataclass(slots=True)
class Tally:
    """What one pump did, for the log and for Flower."""

    claimed: int = 0
    written: int = 0
    lost: int = 0
    failed: int = 0
    claims: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        parts = (("claimed", self.claimed), ("written", self.written))
        faults = (("lost", self.lost), ("failed", self.failed))
        return " ".join(f"{n}={v}" for n, v in (*parts, *(f for f in faults if f[1])))


@dataclass(slots=True, kw_only=True)
class Writer:
    """Writes what a pump's work showed; it counts in the pump's tally."""

    verb: AnyVerb
    database: Database
    lease: str
    tally: Tally
    #: How many results can still come: no batch waits for more.
    outstanding: Callable[[], int]
    #: Told of every batch that is through, written or not.
    settled: Callable[[list[str]], None]
    #: Told of rows that are no longer ours: others hold them, or they were set aside.
    lost: Callable[[list[str]], None] = lambda _: None
    #: Whether results are kept until the database takes them; otherwise the work is done again.
    keeps: bool = False
    _results: list[Result] = field(default_factory=list)
    _answered: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, result: Result) -> None:
        """Take a result into the next batch."""
        self._results.append(result)
        self._answered.set()

    async def run(self) -> None:
        """Write results as they come, until cancelled; a batch in progress is finished."""
        while True:
            self._answered.clear()
            if not self._results:
                await self._answered.wait()
            if len(self._results) < min(BATCH, self.outstanding()):
                await asyncio.sleep(FLUSH_AFTER)
            batch, self._results = self._results[:BATCH], self._results[BATCH:]
            left = list[Result]()
            try:
                left = await asyncio.shield(self._write(batch))
            finally:
                self._settle(batch, left)
            if left:
                await asyncio.sleep(AGAIN_AFTER * random.uniform(0.5, 1))

    def _settle(self, batch: list[Result], left: list[Result]) -> None:
        """Keep what is left of a batch for the next one; the others are through."""
        self._results[:0] = left
        kept = {id(result) for result in left}
        self.settled([result.id for result in batch if id(result) not in kept])

    async def _write(self, batch: list[Result]) -> list[Result]:
        """Write a batch; one that fails is halved down to the row that breaks it: parked.

        Returns what is to be written again, because the database was away.
        """

        async def work(connection: Connection) -> list[Result]:
            ids = [result.id for result in batch]
            ours = await due.hold(
                connection, self.verb.what, ids, lease=self.lease, jobs=self.verb.jobs(batch)
            )
            mine = [result for result in batch if result.id in ours]
            if mine:
                await self.verb.write(connection, mine)
            return [result for result in batch if result.id not in ours]

        try:
            late = await self.database.run(work)
        except DatabaseAway as error:  # the leases end, and the work is done again
            log.warning(
                "pump.database_away", what=self.verb.what, rows=len(batch), error=str(error)
            )
            return batch if self.keeps else []
        except Exception:  # data that breaks a write: found by halving, told, and parked
            if len(batch) > 1:
                middle = len(batch) // 2
                return [
                    *await self._write(batch[:middle]),
                    *await self._write(batch[middle:]),
                ]
            log.exception("pump.write_failed", what=self.verb.what, id=batch[0].id)
            self.tally.failed += 1
            await set_aside(
                self.database,
                self.verb,
                batch[0].id,
                lease=self.lease,
                reason=Reason.NOT_WRITTEN,
            )
            self.lost([batch[0].id])
        else:
            crash_point(f"{self.verb.what}.written")
            self.tally.written += len(batch) - len(late)
            self.tally.lost += len(late)
            self.lost([result.id for result in late])
            await self._write_late(late)
        return []

    async def _write_late(self, late: list[Result]) -> None:
        """Record results whose rows other workers hold by now, in a transaction of its own."""
        verb = self.verb
        if not late or not isinstance(verb, Recorder):
            return
        try:
            await self.database.run(lambda connection: verb.write_late(connection, late))
        except Exception:
            log.exception("pump.late_not_recorded", what=verb.what, rows=len(late))
