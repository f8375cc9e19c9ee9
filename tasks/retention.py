"""Retention: events, tries, finished jobs and videos go when they are older than is to be kept.

Small batches in short transactions, so that nobody waits for a deletion; what is left goes next
time. A job with an attempt that may still cost money is kept until that is settled.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from models.database import Connection
from storage.base import StorageError
from storage.receive import remove_abandoned
from tasks.engine import Engine

log = structlog.get_logger()

#: Rows of one deletion, and seconds that one run goes on for.
BATCH = 500
RUN_SECONDS = 20.0
#: Seconds after which a run is given up.
PRUNE_BOUND = 120.0
#: A download's temporary file that is older was left by a killed process.
ABANDONED_AFTER = timedelta(hours=2)


@dataclass(slots=True)
class Pruned:
    """What one run deleted."""

    events: int = 0
    tries: int = 0
    videos: int = 0
    jobs: int = 0
    keys: int = 0

    def __str__(self) -> str:
        return (
            f"events={self.events} tries={self.tries} videos={self.videos} jobs={self.jobs} "
            f"keys={self.keys}"
        )


async def prune_once(engine: Engine) -> Pruned:
    """One bounded run over everything that can be too old. Harmless to repeat and to interrupt."""
    settings, done = engine.settings, Pruned()
    until = time.monotonic() + RUN_SECONDS
    days = settings.keep_events_days
    done.events = await _repeat(engine, _OLD_EVENTS, days, until)
    done.tries = await _repeat(engine, _OLD_TRIES, days, until)
    done.keys = await _repeat(engine, _OLD_KEYS, days, until)
    if settings.keep_videos_days is not None:
        done.videos = await _prune_videos(engine, settings.keep_videos_days, until)
    if settings.keep_jobs_days is not None:
        done.jobs = await _prune_jobs(engine, settings.keep_jobs_days, until)
    incoming = settings.data_dir / "incoming"
    if incoming.is_dir():
        await asyncio.to_thread(remove_abandoned, incoming, older_than=ABANDONED_AFTER)
    log.info("pruned", **{name: getattr(done, name) for name in Pruned.__slots__})
    return done


async def _repeat(engine: Engine, sql: str, days: int, until: float) -> int:
    total = 0
    while time.monotonic() < until:

        async def work(connection: Connection) -> int:
            cursor = await connection.execute(sql, {"days": days, "batch": BATCH})
            return cursor.rowcount

        deleted = await engine.database.run(work)
        total += deleted
        if deleted < BATCH:
            break
    return total


async def _prune_videos(engine: Engine, days: int, until: float) -> int:
    """The object first, then its row's word for it: what dies in between is found again."""
    total = 0
    while time.monotonic() < until:
        rows = await engine.database.fetch(_OLD_VIDEOS, {"days": days, "batch": BATCH})
        gone = [row["id"] for row in rows if await _delete(engine, [row["key"]])]
        await engine.database.fetch("UPDATE output SET key = NULL WHERE id = ANY(%s)", (gone,))
        total += len(gone)
        if len(gone) < BATCH:
            break
    return total


async def _prune_jobs(engine: Engine, days: int, until: float) -> int:
    total = 0
    while time.monotonic() < until:
        rows = await engine.database.fetch(_OLD_JOBS, {"days": days, "batch": BATCH})
        gone = [row["id"] for row in rows if await _delete(engine, row["keys"])]
        await engine.database.fetch("DELETE FROM job WHERE id = ANY(%s)", (gone,))
        total += len(gone)
        if len(gone) < BATCH:
            break
    return total


async def _delete(engine: Engine, keys: Sequence[str]) -> bool:
    try:
        for key in keys:
            await engine.storage.delete(key)
    except StorageError as error:
        log.warning("prune.video_not_deleted", error=str(error))
        return False
    return True


_OLD_EVENTS = """
DELETE FROM event WHERE id IN (
    SELECT event.id FROM event JOIN job ON job.id = event.job
    WHERE event.at < now() - %(days)s * interval '1 day' AND job.finished_at IS NOT NULL
      AND job.finished_at < now() - %(days)s * interval '1 day'
    LIMIT %(batch)s)
"""
_OLD_TRIES = """
DELETE FROM delivery_try WHERE id IN (
    SELECT delivery_try.id FROM delivery_try JOIN delivery ON delivery.id = delivery_try.delivery
    WHERE delivery_try.at < now() - %(days)s * interval '1 day' AND delivery.state <> 'pending'
    LIMIT %(batch)s)
"""
#: An Idempotency-Key answers again for at least a day.
_OLD_KEYS = """
DELETE FROM idempotency WHERE (tenant, key) IN (
    SELECT tenant, key FROM idempotency
    WHERE created_at < now() - greatest(%(days)s, 2) * interval '1 day' LIMIT %(batch)s)
"""
_OLD_VIDEOS = """
SELECT output.id, output.key FROM output
WHERE output.state = 'stored' AND output.key IS NOT NULL
  AND output.stored_at < now() - %(days)s * interval '1 day'
LIMIT %(batch)s
"""
_OLD_JOBS = """
SELECT job.id, array(SELECT key FROM output WHERE output.job = job.id AND key IS NOT NULL) AS keys
FROM job
WHERE job.finished_at < now() - %(days)s * interval '1 day'
  AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.job = job.id
                  AND attempt.state IN ('planned', 'sent', 'unknown', 'accepted'))
  AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.job = job.id AND delivery.state = 'pending')
LIMIT %(batch)s
"""
