"""Retry-store: stores missing videos on request; the job's final state does not change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from models.database import Connection, fetch_row, fetch_rows
from models.failure import RequestRefused, job_deleted
from models.state import JobState, OutputState
from models.verbs import What


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """The positions of the job's videos that are due to be stored now."""

    #: Videos that were ready, and due later.
    hurried: tuple[int, ...]
    #: Videos that had failed.
    recovering: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    state: str
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Video:
    """One of the job's outputs, and what a due row of it needs."""

    id: str
    position: int
    state: str
    account: str
    tenant: str
    #: Whether it has a link, or an operation that can be polled for one.
    is_to_be_had: bool


async def retry_store(connection: Connection, job: str) -> Retried:
    """Make a job's missing videos due to be stored now, failed ones too; idempotent.

    A failed video needs a link that was kept, or a succeeded operation that can be polled again.
    The job's final state and price don't change.

    Raises:
        RequestRefused: the job is unknown, or was cancelled or deleted, or none of its videos can
            be stored.
    """
    found = await fetch_row(
        connection, _Job, "SELECT state, deleted_at FROM job WHERE id = %s FOR UPDATE", (job,)
    )
    _check_job(job, found)
    # Lock the due rows before the outputs, as every writer of an output does.
    await connection.execute(
        """
        SELECT id FROM due WHERE what = %s AND id IN (SELECT id FROM output WHERE job = %s)
        ORDER BY id FOR UPDATE
        """,
        (What.STORE, job),
    )
    outputs = await fetch_rows(connection, _Video, _OUTPUTS, (job,))
    ready = [video for video in outputs if video.state == OutputState.READY]
    failed = [
        video for video in outputs if video.state == OutputState.FAILED and video.is_to_be_had
    ]
    if not ready and not failed:
        raise RequestRefused(_nothing(job, outputs), param="job")
    await connection.execute(
        """
        UPDATE output SET recovery_asked_at = now(), faults = 0
        WHERE id = ANY(%s) AND state = 'failed'
        """,
        ([video.id for video in failed],),
    )
    await _make_due(connection, [*ready, *failed])
    return Retried(
        hurried=tuple(video.position for video in ready),
        recovering=tuple(video.position for video in failed),
    )


async def _make_due(connection: Connection, outputs: Sequence[_Video]) -> None:
    """Make the videos due now, except those that a worker holds."""
    await connection.execute(
        """
        INSERT INTO due (what, id, lane, tenant)
        SELECT %s, new.id, new.lane, new.tenant
        FROM unnest(%s::text[], %s::text[], %s::text[]) AS new(id, lane, tenant)
        ON CONFLICT (what, id) DO UPDATE SET at = now(), tries = 0 WHERE due.lease IS NULL
        """,
        (
            What.STORE,
            [video.id for video in outputs],
            [video.account for video in outputs],
            [video.tenant for video in outputs],
        ),
    )


def _check_job(job: str, found: _Job | None) -> None:
    if found is None:
        msg = f"there is no job {job!r}"
        raise RequestRefused(msg, type="not_found", param="job")
    if found.deleted_at is not None:
        raise job_deleted(job, found.deleted_at)
    if found.state == JobState.CANCELLED:
        msg = f"job {job} was cancelled: its owner does not want its videos"
        raise RequestRefused(msg, param="job")


def _nothing(job: str, outputs: Sequence[_Video]) -> str:
    states = ", ".join(f"{video.position} is {video.state}" for video in outputs)
    return (
        f"job {job} has no video that can be stored ({states}): only a ready one, or a "
        "failed one whose link was kept or whose operation succeeded"
    )


_OUTPUTS = """
SELECT output.id, output.position, output.state, attempt.account, job.tenant,
       output.source IS NOT NULL
           OR (attempt.state = 'succeeded' AND attempt.operation_id IS NOT NULL) AS is_to_be_had
FROM output JOIN attempt ON attempt.id = output.attempt JOIN job ON job.id = output.job
WHERE output.job = %s ORDER BY output.position
"""
