"""Erase: remove the content of deleted jobs once nothing of them is unfinished.

Running twice is harmless: an object that is gone stays gone, and an erased job is not loaded.

The job's row stays, with its times, its cost and its attempts: money was spent on it, and a vendor
may still tell of an operation. Everything unfinished of a job has a due row, so a job without one,
but for this verb's own, runs no operation, download or delivery.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from psycopg.types.json import Jsonb

from models import due, pictures
from models.database import Connection, fetch_ids
from models.intake_failures import forget_intake_failures
from models.verbs import What
from scheduler.claim import Claimed
from storage.base import STILLS, StorageError, stills_key
from tasks.crash import crash_point
from tasks.engine import Engine
from tasks.verbs.verb import Hold, Verb

log = structlog.get_logger()

#: Shortest and longest wait before the next try, in seconds: between them it is as long as the job
#: has been waiting, since an operation may take minutes and a delivery days.
SHORTEST, LONGEST = 2.0, 600.0
#: In place of what was said of a failure.
ERASED = "the job was deleted, and with it what was said of this failure"
#: The keys of events' details that hold what somebody said.
_QUOTING = ["said", "reason"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseItem:
    """A deleted job and the objects of its videos."""

    id: str
    keys: Sequence[str]
    is_busy: bool
    #: Seconds since it was deleted.
    waited: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Whether no object of the job is left, and when to try again if not."""

    id: str
    #: None: they are removed.
    wait: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erase(Verb[EraseItem, Removed]):
    """The verb; `engine` is what it works with."""

    engine: Engine
    what: What = What.ERASE
    concurrency: int = 8
    each: int = 100
    abandons: bool = True

    async def load(self, claimed: Sequence[Claimed]) -> list[EraseItem]:
        rows = await self.engine.database.fetch(
            f"""
            SELECT job.id, job.id IN ({_BUSY}) AS is_busy,
                   extract(epoch FROM now() - deleted_at)::float8 AS waited,
                   array(SELECT key FROM output
                         WHERE output.job = job.id AND key IS NOT NULL) AS keys
            FROM job
            WHERE job.id = ANY(%(jobs)s) AND deleted_at IS NOT NULL AND erased_at IS NULL
            """,  # noqa: S608 - a constant
            {"jobs": [row.id for row in claimed]},
        )
        return [EraseItem(**row) for row in rows]

    async def act(self, item: EraseItem, hold: Hold) -> Removed:
        del hold
        later = Removed(id=item.id, wait=min(max(item.waited, SHORTEST), LONGEST))
        if item.is_busy:
            return later
        try:
            # A process may have put stills and not recorded them yet.
            stills = [stills_key(key, kind) for key in item.keys for kind in STILLS]
            for key in (*stills, *item.keys):
                await self.engine.storage.delete(key)
        except StorageError as error:
            log.warning("erase.video_not_deleted", job=item.id, error=str(error))
            return later
        crash_point("erase.removed")
        return Removed(id=item.id)

    def jobs(self, results: Sequence[Removed]) -> list[str]:
        return [one.id for one in results if one.wait is None]

    async def write(self, connection: Connection, results: Sequence[Removed]) -> None:
        again = {one.id: one.wait for one in results if one.wait is not None}
        removed = self.jobs(results)
        # Under the jobs' locks: a delivery may have been replayed since the row was loaded.
        busy = set(await fetch_ids(connection, _BUSY, {"jobs": removed})) if removed else set()
        again |= dict.fromkeys(sorted(busy), SHORTEST)
        await due.put_back(connection, self.what, list(again), after=list(again.values()))
        erased = [id_ for id_ in removed if id_ not in busy]
        if erased:
            await _erase(self.engine, connection, erased)
            await due.drop(connection, self.what, erased)

    async def give_up(self, connection: Connection, ids: Sequence[str]) -> None:
        """Nothing: what somebody deleted is erased, however late."""


async def _erase(engine: Engine, connection: Connection, jobs: Sequence[str]) -> None:
    """Remove the content of jobs from the rows; what they cost, and when, stays."""
    # A sealed value stays one that every reader of it can open.
    nothing = engine.vault.seal_json({})
    # What a vendor quotes of a request can't be told from what it says.
    for table, column in (("job", "id"), ("attempt", "job"), ("output", "job")):
        await connection.execute(
            f"""
            UPDATE {table} SET error = error || %s
            WHERE {column} = ANY(%s) AND jsonb_typeof(error -> 'message') = 'string'
            """,  # noqa: S608 - constants
            (Jsonb({"message": ERASED}), jobs),
        )
    await connection.execute(
        "UPDATE event SET detail = detail - %s::text[] WHERE job = ANY(%s)", (_QUOTING, jobs)
    )
    await connection.execute(
        "UPDATE output SET source = NULL, source_at = NULL, deleted_at = CASE WHEN key IS NULL "
        "THEN deleted_at ELSE now() END, key = NULL, stills_bytes = NULL WHERE job = ANY(%s)",
        (jobs,),
    )
    await connection.execute("DELETE FROM delivery WHERE job = ANY(%s)", (jobs,))
    await forget_intake_failures(connection, jobs)
    # The keys themselves stay, so that a late repeat of the request makes no second job.
    for table in ("idempotency", "submission"):
        await connection.execute(
            f"UPDATE {table} SET response = %s WHERE job = ANY(%s)",  # noqa: S608 - constants
            (nothing, jobs),
        )
    await connection.execute(
        """
        UPDATE job SET prompt = '', request = '{}', metadata_text = NULL, scene = %s,
                       webhook = NULL, erased_at = now()
        WHERE id = ANY(%s)
        """,
        (nothing, jobs),
    )
    await pictures.forget(connection, jobs)


#: The jobs among `jobs` with a due row of an attempt, a video or a delivery.
_BUSY = """
SELECT attempt.job FROM attempt JOIN due ON due.id = attempt.id WHERE attempt.job = ANY(%(jobs)s)
UNION
SELECT output.job FROM output JOIN due ON due.id = output.id WHERE output.job = ANY(%(jobs)s)
UNION
SELECT delivery.job FROM delivery JOIN due ON due.id = delivery.id
WHERE delivery.job = ANY(%(jobs)s)
"""
