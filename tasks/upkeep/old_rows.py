"""The statements that find and delete what is older than it is kept, each bounded in what it reads.

Events and tries are walked in the order of their ids, which is that of their times: an index by
time would cost every insert. All others have an index by the time that their age counts from.
"""

from typing import Final

from models.accounts import STARTS_AT
from models.estimate import AT_STAKE
from models.rows.upkeep import Reached
from tasks.resent import WINDOW_SECONDS

#: Events that are kept with their job: doctor asks for them however old they are.
KEPT_EVENTS: Final = (
    *("webhook.unannounced", "attempt.late_evidence", "attempt.second_operation"),
)

_WALK = """
WITH seen AS MATERIALIZED (
    SELECT * FROM {table} WHERE id > %(after)s ORDER BY id LIMIT %(window)s
), old AS (
    SELECT {table}.id, {owner}.finished_at
    FROM seen JOIN {table} USING (id) JOIN {owner} ON {owner}.id = {table}.{owner}
    WHERE seen.at < now() - %(days)s * interval '1 day' AND {which}
    ORDER BY {table}.id FOR UPDATE OF {table} SKIP LOCKED
), gone AS (
    DELETE FROM {table} USING old WHERE {table}.id = old.id RETURNING old.finished_at
), told AS (  -- up to when doctor can't count on them
    INSERT INTO upkeep (kind, reached_at)
    SELECT '{kind}', max(finished_at) FROM gone HAVING max(finished_at) IS NOT NULL
    ON CONFLICT (kind) DO UPDATE
    SET reached_at = greatest(upkeep.reached_at, excluded.reached_at)
)
SELECT (SELECT count(*) FROM gone) AS deleted, max(id) AS last,
       count(*) < %(window)s OR max(at) >= now() - %(days)s * interval '1 day' AS is_over
FROM seen
"""
#: The next events and tries: how many were deleted, the last id, and whether the rest is younger.
OLD_EVENTS: Final = _WALK.format(
    table="event",
    owner="job",
    kind=Reached.EVENTS,
    which="job.finished_at < now() - %(days)s * interval '1 day' AND seen.kind <> ALL(%(kept)s)",
)
OLD_TRIES: Final = _WALK.format(
    table="delivery_try",
    owner="delivery",
    kind=Reached.TRIES,
    which="delivery.state <> 'pending' AND %(kept)s::text[] IS NOT NULL",
)

#: A batch goes after its lines, with its changes, its keys and its event.
OLD_BATCHES: Final = """
DELETE FROM batch WHERE id IN (
    SELECT id FROM batch
    WHERE finished_at < now() - %(days)s * interval '1 day'
      AND NOT EXISTS (SELECT FROM job WHERE batch_id = batch.id)
      AND NOT EXISTS (SELECT FROM delivery WHERE batch = batch.id AND state = 'pending')
    ORDER BY finished_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
"""
#: The deliveries of jobs and batches are deleted with them; these belong to none.
OLD_DELIVERIES: Final = """
DELETE FROM delivery WHERE id IN (
    SELECT id FROM delivery
    WHERE job IS NULL AND batch IS NULL AND state <> 'pending'
      AND finished_at < now() - %(days)s * interval '1 day'
    ORDER BY finished_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
"""
#: An Idempotency-Key answers again for at least a day.
OLD_KEYS: Final = """
DELETE FROM idempotency WHERE (tenant, key) IN (
    SELECT tenant, key FROM idempotency
    WHERE created_at < now() - greatest(%(days)s, 2) * interval '1 day'
    ORDER BY created_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
"""
#: They are not read once the window is over.
OLD_SUBMISSIONS: Final = f"""
DELETE FROM submission WHERE id IN (
    SELECT id FROM submission WHERE at < now() - {2 * WINDOW_SECONDS} * interval '1 second'
    ORDER BY at LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
"""  # noqa: S608 - a constant
#: Of a receiver that was not heard of for days nothing is known any more.
OLD_RECEIVERS: Final = """
DELETE FROM receiver WHERE (tenant, host) IN (
    SELECT tenant, host FROM receiver WHERE seen_at < now() - least(%(days)s, 7) * interval '1 day'
    ORDER BY seen_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
"""
#: A link leads to a video, so it is kept no longer than a video.
OLD_LINKS: Final = """
UPDATE output SET source = NULL, source_at = NULL WHERE id IN (
    SELECT id FROM output
    WHERE link_kept_at < now() - %(days)s * interval '1 day' AND recovery_asked_at IS NULL
    ORDER BY link_kept_at LIMIT %(batch)s FOR NO KEY UPDATE SKIP LOCKED)
"""
OLD_INTAKE_FAILURES: Final = """
DELETE FROM intake_failure WHERE id IN (
    SELECT id FROM intake_failure WHERE at < now() - %(days)s * interval '1 day'
    ORDER BY at LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
"""
#: The rows forget their videos in the commit that has them removed.
OLD_VIDEOS: Final = """
WITH old AS (
    SELECT id, key, stills_bytes FROM output
    WHERE state = 'stored' AND key IS NOT NULL
      AND stored_at < now() - %(days)s * interval '1 day'
    ORDER BY stored_at LIMIT %(batch)s FOR NO KEY UPDATE SKIP LOCKED
), forgotten AS (
    UPDATE output SET key = NULL, stills_bytes = NULL, deleted_at = now()
    FROM old WHERE output.id = old.id
    RETURNING old.key, old.stills_bytes
), stills AS (
    INSERT INTO removal (key)
    SELECT key || '.' || kind || '.jpg' FROM forgotten, unnest(ARRAY['poster', 'sheet']) AS kind
    WHERE forgotten.stills_bytes > 0 ORDER BY 1 ON CONFLICT (key) DO NOTHING
)
INSERT INTO removal (key) SELECT key FROM forgotten ORDER BY key ON CONFLICT (key) DO NOTHING
"""

#: Whether nothing of an old `job` is unfinished or counted any more. Jobs whose attempts an
#: account's cap of a day or month still counts are kept until it is over, and lines until their
#: whole batch is old, so that it shows all of them or, soon, none. With OFFSET each is
#: asked of one job by an index; PostgreSQL might otherwise read a whole table to answer it for all.
_IS_OVER = f"""
    (job.deleted_at IS NULL OR job.erased_at IS NOT NULL)
    AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.job = job.id
                    AND attempt.state IN ('planned', 'sent', 'unknown', 'accepted') OFFSET 0)
    AND NOT EXISTS (SELECT 1 FROM delivery
                    WHERE delivery.job = job.id AND delivery.state = 'pending' OFFSET 0)
    AND NOT EXISTS (
        SELECT 1 FROM attempt JOIN account_rule AS rule ON rule.name = attempt.account
        WHERE attempt.job = job.id AND rule.cap_period IN ('day', 'month')
          AND attempt.sent_at >= {STARTS_AT} OFFSET 0)
    AND NOT EXISTS (SELECT 1 FROM output JOIN due ON due.what = 'store' AND due.id = output.id
                    WHERE output.job = job.id OFFSET 0)
    AND NOT EXISTS (SELECT 1 FROM batch WHERE batch.id = job.batch_id
                    AND (batch.finished_at IS NULL
                         OR batch.finished_at >= now() - %(days)s * interval '1 day') OFFSET 0)
"""  # noqa: S608 - a constant
#: The next old jobs after `after`, in the order of their ends, and which of them are over.
OLD_JOBS: Final = f"""
SELECT job.id, job.finished_at, {_IS_OVER} AS is_over FROM (
    SELECT * FROM job
    WHERE finished_at < now() - %(days)s * interval '1 day'
      AND (finished_at, id) > (%(after_at)s, %(after)s)
    ORDER BY finished_at, id LIMIT %(batch)s) AS job
ORDER BY finished_at, id
"""  # noqa: S608 - a constant
#: Those of locked jobs that are still over: a delivery may have been replayed meanwhile.
STILL_OVER: Final = (
    f"SELECT id FROM job WHERE id = ANY(%(ids)s) AND {_IS_OVER} ORDER BY id FOR UPDATE"  # noqa: S608 - a constant
)
#: What has to be removed from the storage when these jobs are gone.
REMOVE_VIDEOS: Final = """
INSERT INTO removal (key)
SELECT key FROM output WHERE job = ANY(%(jobs)s) AND key IS NOT NULL
UNION ALL
SELECT key || '.' || kind || '.jpg' FROM output, unnest(ARRAY['poster', 'sheet']) AS kind
WHERE job = ANY(%(jobs)s) AND key IS NOT NULL AND stills_bytes > 0
ORDER BY 1 ON CONFLICT (key) DO NOTHING
"""
#: What their attempts cost still counts under an account's cap of all time.
FORGET_JOBS: Final = f"""
WITH spent AS (
    SELECT attempt.account, sum({AT_STAKE})::bigint AS amount
    FROM attempt JOIN job ON job.id = attempt.job
    WHERE attempt.job = ANY(%(ids)s) AND attempt.sent_at IS NOT NULL
      AND attempt.account IN (SELECT name FROM account_rule WHERE cap_period = 'total')
    GROUP BY 1),
counted AS (
    UPDATE account_rule SET forgotten_micros = forgotten_micros + spent.amount
    FROM spent WHERE name = spent.account AND cap_period = 'total')
DELETE FROM job WHERE id = ANY(%(ids)s)
"""  # noqa: S608 - a constant
