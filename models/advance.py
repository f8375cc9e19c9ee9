"""Guarded UPDATEs of states, and the only ones of a job's; its move also writes an event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from models import moves
from models.database import Connection, fetch_ids, fetch_rows
from models.failure import Failure
from models.ledger import absorb
from models.state import (
    PUBLIC_STATUS,
    AttemptState,
    JobState,
    OutputState,
    attempt_sources,
    job_sources,
    output_sources,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A job that changed state."""

    id: str
    tenant: str
    model: str
    #: Seconds since it was submitted, or since the start that it was scheduled for.
    age: float


_STATUSES = tuple(dict.fromkeys(PUBLIC_STATUS.values()))


def _states(status: str) -> str:
    return ", ".join(f"'{state}'" for state, shown in PUBLIC_STATUS.items() if shown == status)


#: How the moves of lines change the counts of their batches. A line that was not released is not
#: running: its `expire` row has another lane.
_COUNTED = f"""
INSERT INTO batch_change (batch, {", ".join(_STATUSES)}, running)
SELECT batch_id, {", ".join(f"sum({status})" for status in _STATUSES)}, sum(running)
FROM (SELECT batch_id, {
    ", ".join(
        f"(%(to)s IN ({_states(status)}))::int - (source IN ({_states(status)}))::int AS {status}"
        for status in _STATUSES
    )
}, CASE WHEN %(finishes)s AND EXISTS (
           SELECT FROM due WHERE what = 'expire' AND due.id = moved.id AND lane = '-')
       THEN -1 ELSE 0 END AS running
      FROM moved WHERE batch_id IS NOT NULL) AS one
GROUP BY batch_id
HAVING {" OR ".join(f"sum({status}) <> 0" for status in _STATUSES)}
ORDER BY batch_id
"""  # noqa: S608 - constants

#: SQL: moves jobs, records an event for each, and counts those of batches.
_ADVANCE = f"""
    WITH target AS (
        SELECT job.id, job.state, wanted.error
        FROM job JOIN unnest(%(ids)s::text[], %(errors)s::jsonb[]) AS wanted(id, error)
             USING (id)
        WHERE job.state = ANY(%(sources)s)
        ORDER BY job.id FOR NO KEY UPDATE OF job
    ), moved AS (
        UPDATE job SET
            state = %(to)s,
            error = coalesce(target.error, job.error),
            accepted_at = CASE WHEN %(accepts)s THEN now() ELSE job.accepted_at END,
            finished_at = CASE WHEN %(finishes)s THEN clock_timestamp() END,
            progress_percent = CASE WHEN %(completes)s THEN 100 ELSE progress_percent END
        FROM target WHERE job.id = target.id
        RETURNING job.id, job.tenant, job.model, job.batch_id, target.state AS source,
                  target.error, extract(epoch FROM clock_timestamp() - greatest(
                      job.created_at, job.run_at))::float8 AS age
    ), told AS (
        INSERT INTO event (job, kind, detail)
        SELECT id, %(to)s,
               jsonb_strip_nulls(jsonb_build_object('from', source, 'code', error -> 'code'))
        FROM moved
    ), counted AS ({_COUNTED})
    SELECT id, tenant, model, age FROM moved
"""  # noqa: S608 - constants


async def advance_jobs(
    connection: Connection,
    to: JobState,
    ids: Sequence[str],
    *,
    failures: Mapping[str, Failure] | None = None,
) -> list[Moved]:
    """Move jobs to `to` from any state that may precede it; other jobs are unchanged.

    `failures` holds, by job id, why a job failed or was cancelled.
    """
    if not ids:
        return []
    errors = failures or {}
    moved = await fetch_rows(
        connection,
        Moved,
        _ADVANCE,
        {
            "ids": list(ids),
            "errors": [Jsonb(errors[id_].as_json()) if id_ in errors else None for id_ in ids],
            "sources": list(job_sources(to)),
            "to": to,
            "accepts": to is JobState.PROCESSING,
            "finishes": to.is_final,
            "completes": to is JobState.COMPLETE,
        },
    )
    if moves.is_listened_to():
        moves.note(
            connection,
            [
                moves.Move(job=job.id, tenant=job.tenant, model=job.model, state=to, age=job.age)
                for job in moved
            ],
        )
    return moved


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds since an operation left its vendor's queue, and since it was last seen to run."""

    running_for: float | None = None
    seen_ago: float | None = None


async def advance_attempts(
    connection: Connection,
    to: AttemptState,
    ids: Sequence[str],
    *,
    failures: Mapping[str, Failure] | None = None,
    costs: Mapping[str, int] | None = None,
    polls: Mapping[str, int] | None = None,
    clocks: Mapping[str, Clock] | None = None,
) -> list[dict[str, Any]]:
    """Move attempts to `to`; returns id, job, provider, account and tenant of those that moved.

    By attempt id, `costs` are in millionths of a US dollar, `polls` are total counts, and `clocks`
    are when the operation began to run and when it was last seen running. The cost of attempts
    of final jobs is entered in the ledger.
    """
    if not ids:
        return []
    errors, cost_of, polls_of = failures or {}, costs or {}, polls or {}
    clock_of = clocks or {}
    cursor = await connection.execute(
        """
        UPDATE attempt SET
            state = %(to)s,
            error = CASE WHEN %(finishes)s THEN wanted.error
                         ELSE coalesce(wanted.error, attempt.error) END,
            cost_micros = coalesce(wanted.cost, attempt.cost_micros),
            polls = greatest(attempt.polls, wanted.polls),
            running_at = coalesce(attempt.running_at,
                                  now() - wanted.running_for * interval '1 second'),
            seen_at = greatest(attempt.seen_at, now() - wanted.seen_ago * interval '1 second'),
            finished_at = CASE WHEN %(finishes)s THEN now() END
        FROM unnest(%(ids)s::text[], %(errors)s::jsonb[], %(costs)s::bigint[], %(polls)s::int[],
                    %(running)s::float8[], %(seen)s::float8[])
             AS wanted(id, error, cost, polls, running_for, seen_ago), job
        WHERE attempt.id = wanted.id AND job.id = attempt.job
          AND attempt.state = ANY(%(sources)s)
        RETURNING attempt.id, attempt.job, attempt.provider, attempt.account, job.tenant
        """,
        {
            "ids": list(ids),
            "errors": [Jsonb(errors[id_].as_json()) if id_ in errors else None for id_ in ids],
            "costs": [cost_of.get(id_) for id_ in ids],
            "polls": [polls_of.get(id_, 0) for id_ in ids],
            "running": [clock_of[id_].running_for if id_ in clock_of else None for id_ in ids],
            "seen": [clock_of[id_].seen_ago if id_ in clock_of else None for id_ in ids],
            "sources": list(attempt_sources(to)),
            "to": to,
            "finishes": to.is_final,
        },
    )
    moved = await cursor.fetchall()
    if to.is_final or to is AttemptState.UNKNOWN:
        await absorb(connection, [row["id"] for row in moved])
    return moved


async def fail_outputs(
    connection: Connection,
    failures: Mapping[str, Failure],
    *,
    of: str,
) -> list[str]:
    """Fail unfinished outputs; `of` says whose ids key `failures`. Returns the outputs' own ids.

    Links are kept: `longtake retry-store` may still need them.
    """
    if not failures:
        return []
    column = {"id": "id", "attempt": "attempt", "job": "job"}[of]
    return await fetch_ids(
        connection,
        f"""
        UPDATE output SET state = 'failed', error = wanted.error
        FROM unnest(%(ids)s::text[], %(errors)s::jsonb[]) AS wanted(id, error)
        WHERE output.{column} = wanted.id AND output.state = ANY(%(sources)s)
        RETURNING output.id
        """,  # noqa: S608 - the column is one of three constants
        {
            "ids": list(failures),
            "errors": [Jsonb(failure.as_json()) for failure in failures.values()],
            "sources": list(output_sources(OutputState.FAILED)),
        },
    )


async def tell(
    connection: Connection, kind: str, details: Sequence[tuple[str, dict[str, Any]]]
) -> None:
    """Insert one event, which is no transition, for each (job id, detail)."""
    if details:
        await connection.execute(
            """
            INSERT INTO event (job, kind, detail)
            SELECT job, %s, detail FROM unnest(%s::text[], %s::jsonb[]) AS told(job, detail)
            """,
            (kind, [job for job, _ in details], [Jsonb(detail) for _, detail in details]),
        )
