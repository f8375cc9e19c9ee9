"""How a job ends: its final state, what is released with it, and the webhook that tells of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from models import due, holders, ledger, pictures, usage
from models.advance import Moved, advance_attempts, advance_jobs, fail_outputs
from models.database import Connection
from models.failure import Failure, Fault
from models.locks import lock_jobs, lock_whole
from models.rows.attempts import ESTIMATE
from models.state import (
    FINAL_JOB_STATES,
    AttemptState,
    JobState,
)
from models.verbs import What
from providers.registry import capabilities_of
from tasks.announce import announce_end
from tasks.engine import Engine
from tasks.outcomes.attempt import Operation

CANCELLED = Failure(fault=Fault.GONE, code="cancelled", message="the job was cancelled")

#: Seconds after a lost lease within which its former holder has stopped working.
LEAVES_WITHIN = 60.0


async def settle(engine: Engine, connection: Connection, jobs: Sequence[str]) -> None:
    """Give every job whose outputs are all final its own final state; leave the others."""
    if not jobs:
        return
    # Two outputs of one job may end at once: the second to lock the job sees both.
    await lock_jobs(connection, jobs)
    cursor = await connection.execute(
        """
        SELECT job.id, bool_or(output.state = 'stored') AS has_video,
               (array_agg(output.error ORDER BY output.position)
                FILTER (WHERE output.error IS NOT NULL))[1] AS error
        FROM job JOIN output ON output.job = job.id
        WHERE job.id = ANY(%s) AND NOT job.state = ANY(%s)
        GROUP BY job.id
        HAVING bool_and(output.state IN ('stored', 'failed'))
        """,
        (list(set(jobs)), list(FINAL_JOB_STATES)),
    )
    ended = await cursor.fetchall()
    complete = [row["id"] for row in ended if row["has_video"]]
    failures = {row["id"]: _failure(row["error"]) for row in ended if not row["has_video"]}
    await _end_both(engine, connection, complete, failures, missing={})


async def end_with_stored_videos(
    engine: Engine, connection: Connection, failures: Mapping[str, Failure]
) -> None:
    """End jobs now: complete where a video is stored, though others are missing; else failed."""
    jobs = sorted(failures)
    await lock_whole(connection, jobs)
    cursor = await connection.execute(
        "SELECT DISTINCT job FROM output WHERE job = ANY(%s) AND state = 'stored'", (jobs,)
    )
    complete = {row["job"] for row in await cursor.fetchall()}
    failed = set(jobs) - complete
    ended = {job: failures[job] for job in failed}
    await _end_both(engine, connection, sorted(complete), ended, missing=failures)


async def _end_both(
    engine: Engine,
    connection: Connection,
    complete: Sequence[str],
    failed: Mapping[str, Failure],
    *,
    missing: Mapping[str, Failure],
) -> None:
    """End jobs as complete, lacking the videos that `missing` explains, and others as failed."""
    moved = await _end(engine, connection, JobState.COMPLETE, complete, failures=missing)
    moved += await _end(engine, connection, JobState.FAILED, sorted(failed), failures=failed)
    await _close(connection, moved)


async def finish(
    engine: Engine,
    connection: Connection,
    to: JobState,
    jobs: Sequence[str],
    *,
    failures: Mapping[str, Failure] | None = None,
) -> list[Moved]:
    """Move jobs to a final state with all that belongs to it; returns those that did move.

    `failures` says why by job; of a job that is complete, why it lacks the videos it lacks.
    """
    moved = await _end(engine, connection, to, jobs, failures=failures)
    await _close(connection, moved)
    return moved


async def _close(connection: Connection, moved: Sequence[Moved]) -> None:
    """Enter the usage of jobs, delete what was fetched for them, and charge them.

    Last, because all jobs of a tenant share its pictures and its budgets' rows.
    """
    ids = [job.id for job in moved]
    await usage.enter(connection, ids)
    await pictures.forget_fetched(connection, ids)
    await ledger.charge(connection, ids)


async def _end(
    engine: Engine,
    connection: Connection,
    to: JobState,
    jobs: Sequence[str],
    *,
    failures: Mapping[str, Failure] | None,
) -> list[Moved]:
    await lock_whole(connection, jobs)
    reasons = None if to is JobState.COMPLETE else failures
    moved = await advance_jobs(connection, to, sorted(jobs), failures=reasons)
    ids = [job.id for job in moved]
    if not ids:
        return []
    await due.drop(connection, What.EXPIRE, ids)
    await _release(connection, {id_: (failures or {}).get(id_) or CANCELLED for id_ in ids})
    if to is JobState.CANCELLED:
        await _forget_links(connection, ids)
    await _charge(connection, ids)
    await announce_end(engine, connection, to, ids)
    return moved


async def _release(connection: Connection, failures: Mapping[str, Failure]) -> None:
    """Give up the outputs of ended jobs, and release or stop their attempts."""
    cursor = await connection.execute(
        """
        SELECT attempt.id, attempt.state, attempt.provider, attempt.account, job.tenant,
               attempt.denied_since
        FROM attempt JOIN job ON job.id = attempt.job
        WHERE attempt.job = ANY(%s) AND attempt.state IN ('planned', 'accepted')
        ORDER BY attempt.id FOR NO KEY UPDATE OF attempt
        """,
        (list(failures),),
    )
    attempts = [(row.pop("state"), Operation(**row)) for row in await cursor.fetchall()]
    planned = [one.id for state, one in attempts if state == AttemptState.PLANNED]
    await advance_attempts(connection, AttemptState.CANCELLED, planned)
    await due.drop_unsent(connection, planned)
    await stop_operations(
        connection, [one for state, one in attempts if state == AttemptState.ACCEPTED]
    )
    outputs = await fail_outputs(connection, failures, of="job")
    # A download may be in progress: the row stays, to delete what it stores.
    await due.postpone(connection, What.STORE, outputs, seconds=LEAVES_WITHIN)


async def _forget_links(connection: Connection, jobs: Sequence[str]) -> None:
    """Delete the links of cancelled jobs: their videos are never recovered."""
    await connection.execute(
        "UPDATE output SET source = NULL, source_at = NULL WHERE job = ANY(%s) "
        "AND source IS NOT NULL",
        (list(jobs),),
    )


async def stop_operations(connection: Connection, operations: Sequence[Operation]) -> None:
    """Cancel the operations that can be cancelled; go on polling the others for their cost.

    Among the others are those that their provider denies at present: a cancel that is answered
    with "no such operation" would prove nothing.
    """
    stoppable = [
        one for one in operations if not one.denied_since and capabilities_of(one.provider).cancel
    ]
    running = [one for one in operations if one not in stoppable]
    await holders.nudge(connection, [one.id for one in stoppable])  # who polls them stops
    await due.drop(connection, What.POLL, [one.id for one in stoppable])
    for what, rows in ((What.CANCEL, stoppable), (What.POLL, running)):
        await due.put(
            connection,
            what,
            [due.Row(id=one.id, lane=one.account, tenant=one.tenant) for one in rows],
        )


async def _charge(connection: Connection, jobs: Sequence[str]) -> None:
    """Charge for the videos that were stored, each at the estimate of the plan that made it."""
    await connection.execute(_CHARGE, (list(jobs),))


#: With what the charges of lines change of their batches.
_CHARGE = f"""
WITH charged AS (
    UPDATE job SET cost_micros = round(made.cost)
    FROM (SELECT output.job, coalesce(sum({ESTIMATE}) FILTER (WHERE output.state = 'stored'), 0)
                             / count(*) AS cost
          FROM output JOIN attempt ON attempt.id = output.attempt
               JOIN job ON job.id = output.job
          WHERE output.job = ANY(%s) GROUP BY output.job) AS made
    WHERE job.id = made.job
    RETURNING job.batch_id, job.reserved_micros, job.cost_micros
)
INSERT INTO batch_change (batch, reserved_micros, charged_micros)
SELECT batch_id, -sum(reserved_micros), sum(cost_micros) FROM charged
WHERE batch_id IS NOT NULL GROUP BY batch_id ORDER BY batch_id
"""  # noqa: S608 - a constant


def _failure(error: Mapping[str, Any] | None) -> Failure:
    if error is None:
        return Failure(fault=Fault.UNKNOWN, code="no_video", message="the provider made no video")
    return Failure.from_json(error)
