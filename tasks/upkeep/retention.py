"""Retention: deletes events, tries, dead letters, finished jobs and videos past their age limits.

Deletions run in small batches and short transactions, so that other transactions don't wait for
them; the next run continues. A job whose attempt may still cost money is kept until it is settled.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from models.accounts import STARTS_AT
from models.database import Connection
from models.estimate import AT_STAKE
from storage.base import StorageError
from storage.receive import ABANDONED_AFTER, remove_abandoned
from tasks.engine import Engine
from tasks.resent import WINDOW_SECONDS

log = structlog.get_logger()

#: Rows per deletion, and the time limit of a run in seconds, checked between deletions.
BATCH = 500
RUN_SECONDS = 20.0
#: Hard timeout of a run, in seconds.
PRUNE_BOUND = 120.0
#: Days for which a failed video's link is kept: no provider's link is valid for longer.
KEEP_LINKS_DAYS = 30


@dataclass(slots=True)
class Pruned:
    """The number of rows of each kind that a run deleted."""

    events: int = 0
    tries: int = 0
    videos: int = 0
    jobs: int = 0
    #: Deliveries that belong to no job; a job's are deleted with it.
    deliveries: int = 0
    keys: int = 0
    submissions: int = 0
    intake_failures: int = 0

    def __str__(self) -> str:
        return (
            f"events={self.events} tries={self.tries} videos={self.videos} jobs={self.jobs} "
            f"deliveries={self.deliveries} keys={self.keys} "
            f"submissions={self.submissions} intake_failures={self.intake_failures}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Old:
    """A video or a job past its age limit, and the objects to delete with it."""

    id: str
    keys: Sequence[str]


async def prune_once(engine: Engine) -> Pruned:
    """Delete rows and videos past their age limits, for a bounded time; safe to interrupt."""
    settings, done = engine.settings, Pruned()
    until = time.monotonic() + RUN_SECONDS
    days = settings.keep_events_days
    done.events = await _repeat(engine, _OLD_EVENTS, days, until)
    done.tries = await _repeat(engine, _OLD_TRIES, days, until)
    done.keys = await _repeat(engine, _OLD_KEYS, days, until)
    done.submissions = await _repeat(engine, _OLD_SUBMISSIONS, days, until)
    links = min(settings.keep_videos_days or KEEP_LINKS_DAYS, KEEP_LINKS_DAYS)
    await _repeat(engine, _OLD_LINKS, links, until)
    done.intake_failures = await _repeat(engine, _OLD_INTAKE_FAILURES, days, until)
    if settings.keep_videos_days is not None:
        done.videos = await _prune_stored(
            *(engine, settings.keep_videos_days, until), old=_OLD_VIDEOS, forget=_FORGET_VIDEOS
        )
    if settings.keep_jobs_days is not None:
        done.jobs = await _prune_stored(
            *(engine, settings.keep_jobs_days, until), old=_OLD_JOBS, forget=_FORGET_JOBS
        )
        done.deliveries = await _repeat(engine, _OLD_DELIVERIES, settings.keep_jobs_days, until)
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


async def _prune_stored(engine: Engine, days: int, until: float, *, old: str, forget: str) -> int:
    """Delete objects before what names them, so that a run cut off between them is repeated.

    `old` finds rows and the keys of their objects; `forget` takes the rows whose objects are gone.
    """
    total = 0
    while time.monotonic() < until:
        limits = {"days": days, "batch": BATCH}
        found = await engine.database.fetch(old, limits, row=_Old)
        gone = [each.id for each in found if await _delete(engine, each.keys)]
        await engine.database.fetch(forget, (gone,))
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
    LIMIT %(batch)s FOR UPDATE OF event SKIP LOCKED)
"""
_OLD_TRIES = """
DELETE FROM delivery_try WHERE id IN (
    SELECT delivery_try.id FROM delivery_try JOIN delivery ON delivery.id = delivery_try.delivery
    WHERE delivery_try.at < now() - %(days)s * interval '1 day' AND delivery.state <> 'pending'
    LIMIT %(batch)s FOR UPDATE OF delivery_try SKIP LOCKED)
"""
#: A job's deliveries are deleted with it; these belong to none.
_OLD_DELIVERIES = """
DELETE FROM delivery WHERE id IN (
    SELECT id FROM delivery
    WHERE job IS NULL AND state <> 'pending' AND finished_at < now() - %(days)s * interval '1 day'
    ORDER BY id LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
"""
#: An Idempotency-Key answers again for at least a day.
_OLD_KEYS = """
DELETE FROM idempotency WHERE (tenant, key) IN (
    SELECT tenant, key FROM idempotency
    WHERE created_at < now() - greatest(%(days)s, 2) * interval '1 day' LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED)
"""
#: They are not read once the window is over.
_OLD_SUBMISSIONS = f"""
DELETE FROM submission WHERE id IN (
    SELECT id FROM submission WHERE at < now() - {2 * WINDOW_SECONDS} * interval '1 second'
    ORDER BY id LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
"""  # noqa: S608 - a constant
#: A link leads to a video, so it is kept no longer than a video.
_OLD_LINKS = """
UPDATE output SET source = NULL, source_at = NULL WHERE id IN (
    SELECT id FROM output
    WHERE state = 'failed' AND source IS NOT NULL AND recovery_asked_at IS NULL
      AND source_at < now() - %(days)s * interval '1 day'
    LIMIT %(batch)s)
"""
_OLD_INTAKE_FAILURES = """
DELETE FROM intake_failure WHERE id IN (
    SELECT id FROM intake_failure WHERE at < now() - %(days)s * interval '1 day' LIMIT %(batch)s)
"""
_OLD_VIDEOS = """
SELECT output.id, ARRAY[output.key] AS keys FROM output
WHERE output.state = 'stored' AND output.key IS NOT NULL
  AND output.stored_at < now() - %(days)s * interval '1 day'
LIMIT %(batch)s
"""
_FORGET_VIDEOS = """
UPDATE output SET key = NULL, deleted_at = now() WHERE id IN (
    SELECT id FROM output WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE)
"""
#: What their attempts cost still counts under an account's cap of all time.
_FORGET_JOBS = f"""
WITH gone AS (SELECT id FROM job WHERE id = ANY(%s) ORDER BY id FOR UPDATE),
spent AS (
    SELECT attempt.account, sum({AT_STAKE})::bigint AS amount
    FROM attempt JOIN job ON job.id = attempt.job
    WHERE attempt.job IN (SELECT id FROM gone) AND attempt.sent_at IS NOT NULL GROUP BY 1),
counted AS (
    UPDATE account_rule SET forgotten_micros = forgotten_micros + spent.amount
    FROM spent WHERE name = spent.account AND cap_period = 'total')
DELETE FROM job WHERE id IN (SELECT id FROM gone)
"""  # noqa: S608 - a constant
#: Jobs whose attempts an account's cap of a day or month still counts are kept until it is over.
_OLD_JOBS = f"""
SELECT job.id, array(SELECT key FROM output WHERE output.job = job.id AND key IS NOT NULL) AS keys
FROM job
WHERE job.finished_at < now() - %(days)s * interval '1 day'
  AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.job = job.id
                  AND attempt.state IN ('planned', 'sent', 'unknown', 'accepted'))
  AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.job = job.id AND delivery.state = 'pending')
  AND NOT EXISTS (
      SELECT 1 FROM attempt JOIN account_rule AS rule ON rule.name = attempt.account
      WHERE attempt.job = job.id AND rule.cap_period IN ('day', 'month')
        AND attempt.sent_at >= {STARTS_AT})
  AND NOT EXISTS (SELECT 1 FROM output JOIN due ON due.what = 'store' AND due.id = output.id
                  WHERE output.job = job.id)
LIMIT %(batch)s
"""  # noqa: S608 - a constant
