"""How an operator has videos brought in after all, without changing how their jobs ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.database import Connection
from models.failure import RequestRefused
from models.state import JobState, OutputState, What


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """What the workers are to do now, by the position of the job's videos."""

    #: Ready ones, due now instead of later.
    hurried: tuple[int, ...]
    #: Failed ones that are brought in after all.
    recovering: tuple[int, ...]


async def retry_store(connection: Connection, job: str) -> Retried:
    """Make a job's missing videos due to be stored now, failed ones too. Repeatable.

    A failed one needs a link that was kept, or an operation that made it and can be asked again.
    Its job stays as it ended, at the price that it ended with.

    Raises:
        RequestRefused: there is no such job, its owner cancelled it, or nothing can be brought in.
    """
    cursor = await connection.execute("SELECT state FROM job WHERE id = %s FOR UPDATE", (job,))
    found = await cursor.fetchone()
    _check_job(job, found)
    # Whoever writes a video holds its due row first: so do we.
    await connection.execute(
        """
        SELECT id FROM due WHERE what = %s AND id IN (SELECT id FROM output WHERE job = %s)
        ORDER BY id FOR UPDATE
        """,
        (What.STORE, job),
    )
    cursor = await connection.execute(_OUTPUTS, (job,))
    outputs = await cursor.fetchall()
    ready = [row for row in outputs if row["state"] == OutputState.READY]
    failed = [row for row in outputs if row["state"] == OutputState.FAILED and row["is_to_be_had"]]
    if not ready and not failed:
        raise RequestRefused(_nothing(job, outputs), param="job")
    await connection.execute(
        """
        UPDATE output SET recovery_asked_at = now(), faults = 0
        WHERE id = ANY(%s) AND state = 'failed'
        """,
        ([row["id"] for row in failed],),
    )
    await _make_due(connection, [*ready, *failed])
    return Retried(
        hurried=tuple(row["position"] for row in ready),
        recovering=tuple(row["position"] for row in failed),
    )


async def _make_due(connection: Connection, outputs: Sequence[Mapping[str, Any]]) -> None:
    """Due now; what somebody is at work on comes after that."""
    await connection.execute(
        """
        INSERT INTO due (what, id, lane, tenant)
        SELECT %s, new.id, new.lane, new.tenant
        FROM unnest(%s::text[], %s::text[], %s::text[]) AS new(id, lane, tenant)
        ON CONFLICT (what, id) DO UPDATE SET at = now(), tries = 0 WHERE due.lease IS NULL
        """,
        (
            What.STORE,
            [row["id"] for row in outputs],
            [row["account"] for row in outputs],
            [row["tenant"] for row in outputs],
        ),
    )


def _check_job(job: str, found: Mapping[str, Any] | None) -> None:
    if found is None:
        msg = f"there is no job {job!r}"
        raise RequestRefused(msg, type="not_found", param="job")
    if found["state"] == JobState.CANCELLED:
        msg = f"job {job} was cancelled: its owner does not want its videos"
        raise RequestRefused(msg, param="job")


def _nothing(job: str, outputs: Sequence[Mapping[str, Any]]) -> str:
    states = ", ".join(f"{row['position']} is {row['state']}" for row in outputs)
    return (
        f"job {job} has no video that could be brought in ({states}): only a ready one, or a "
        "failed one whose link was kept or whose operation succeeded"
    )


_OUTPUTS = """
SELECT output.id, output.position, output.state, attempt.account, job.tenant,
       output.source IS NOT NULL
           OR (attempt.state = 'succeeded' AND attempt.operation_id IS NOT NULL) AS is_to_be_had
FROM output JOIN attempt ON attempt.id = output.attempt JOIN job ON job.id = output.job
WHERE output.job = %s ORDER BY output.position
"""
