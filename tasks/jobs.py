"""Use cases of jobs: submit, read, cancel, serve; submit and cancel also return hints."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from models.database import Connection, fetch_ids, fetch_row
from models.failure import RequestRefused, job_deleted, not_found
from models.request import VideoRequest
from models.state import PUBLIC_STATUS, JobState, public_status
from models.verbs import Hint, What
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.finish import CANCELLED, finish
from tasks.repeats import Accepted, Caller
from tasks.view import ShownJob, read_jobs

#: The states that each public status covers.
STATES: Final[Mapping[str, tuple[JobState, ...]]] = {
    status: tuple(state for state in JobState if PUBLIC_STATUS[state] == status)
    for status in dict.fromkeys(PUBLIC_STATUS.values())
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVideo:
    """A stored video and how to serve it."""

    job: str
    tenant: str
    position: int
    #: Its name in storage.
    key: str
    sha256: str
    bytes: int
    content_type: str
    #: Bytes of its stills; 0: none can be made; None: not tried yet.
    stills_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A job, and its requested video if that video is stored."""

    tenant: str
    state: str
    #: When the whole job was deleted, and when only this video was.
    job_deleted_at: datetime | None
    video_deleted_at: datetime | None
    video: StoredVideo | None

    @classmethod
    def read(
        cls,
        *,
        tenant: str,
        state: str,
        job_deleted_at: datetime | None,
        deleted_at: datetime | None,
        **video: Any,
    ) -> Self:
        """From a job's row joined with an output; `key` is NULL if no video is kept."""
        return cls(
            tenant=tenant,
            state=state,
            job_deleted_at=job_deleted_at,
            video_deleted_at=deleted_at,
            video=StoredVideo(tenant=tenant, **video) if video["key"] is not None else None,
        )


async def submit(
    engine: Engine,
    request: VideoRequest,
    *,
    tenant: str,
    caller: Caller,
    retry_of: str | None = None,
) -> tuple[Accepted, tuple[Hint, ...]]:
    """Accept a request as a job; returns no hint if it is a repeat or starts later.

    Raises:
        RequestRefused: the request can't be carried out; no row was written.
        DatabaseAway: PostgreSQL can't be reached; nothing was accepted.
    """
    accepted = await accept(engine, request, tenant=tenant, caller=caller, retry_of=retry_of)
    starts_later = request.run_at is not None and request.run_at > datetime.now(UTC)
    if accepted.is_repeat or starts_later:
        return accepted, ()
    return accepted, ((What.SUBMIT, accepted.lane),)


async def read(engine: Engine, job_id: str, *, tenant: str | None) -> ShownJob:
    """The tenant's job, or for None anyone's; raises RequestRefused (`not_found`)."""
    return await engine.database.run(lambda connection: own_job(connection, job_id, tenant=tenant))


async def cancel(engine: Engine, job_id: str, *, tenant: str) -> tuple[ShownJob, tuple[Hint, ...]]:
    """Cancel the tenant's job; a final one is unchanged. Raises RequestRefused (`not_found`)."""

    async def work(connection: Connection) -> tuple[ShownJob, list[str]]:
        await own_job(connection, job_id, tenant=tenant)
        failures = {job_id: CANCELLED}
        await finish(engine, connection, JobState.CANCELLED, [job_id], failures=failures)
        (job,) = await read_jobs(connection, [job_id])
        return job, await cancel_lanes(connection, job_id)

    job, lanes = await engine.database.run(work)
    hints: list[Hint] = [(What.CANCEL, lane) for lane in lanes]
    if job.webhook:
        hints.append((What.DELIVER, None))
    return job, tuple(hints)


async def stored_output(
    engine: Engine, job_id: str, *, tenant: str | None, position: int | None
) -> StoredVideo:
    """A job's stored video: the one at `position`, or the first for None.

    With `tenant` None any job may be read: the caller checked a signed link or an admin's key.

    Raises:
        RequestRefused: `not_found`; its code tells a deleted video from one that is not stored.
    """
    found = await engine.database.run(
        lambda connection: _find_video(connection, job_id, position=position)
    )
    if found is None or tenant not in {None, found.tenant}:
        raise not_found()
    if found.job_deleted_at is not None:
        raise job_deleted(job_id, found.job_deleted_at)
    if found.video_deleted_at is not None:
        msg = (
            f"the video was deleted on {found.video_deleted_at:%Y-%m-%d}: it is not kept any longer"
        )
        raise RequestRefused(msg, type="not_found", code="video_deleted")
    if found.video is None:
        msg = f"no such video is stored; the job's status is {public_status(found.state)}"
        raise RequestRefused(msg, type="not_found", code="video_not_stored")
    return found.video


async def own_job(connection: Connection, job_id: str, *, tenant: str | None) -> ShownJob:
    """The tenant's job, or for None anyone's.

    Raises:
        RequestRefused: `not_found`, also for a deleted one.
    """
    job = await own_or_deleted_job(connection, job_id, tenant=tenant)
    if job.deleted_at is not None:
        raise job_deleted(job_id, job.deleted_at)
    return job


async def own_or_deleted_job(
    connection: Connection, job_id: str, *, tenant: str | None
) -> ShownJob:
    """As `own_job`, but a deleted one is returned."""
    jobs = await read_jobs(connection, [job_id]) if job_id.isprintable() else []
    if not jobs or tenant not in {None, jobs[0].tenant}:
        raise not_found()
    return jobs[0]


async def cancel_lanes(connection: Connection, job_id: str) -> list[str]:
    """The accounts at which operations of an ended job are to be cancelled."""
    sql = """
    SELECT DISTINCT due.lane FROM attempt JOIN due ON due.id = attempt.id
    WHERE attempt.job = %s AND due.what = 'cancel'
    """
    return await fetch_ids(connection, sql, (job_id,))


async def _find_video(
    connection: Connection, job_id: str, *, position: int | None
) -> _Found | None:
    if not job_id.isprintable():
        raise not_found()
    sql = """
    SELECT job.id AS job, job.tenant, job.state, job.deleted_at AS job_deleted_at, output.key,
           output.sha256, output.bytes, output.content_type, output.position, output.stills_bytes,
           output.deleted_at
    FROM job LEFT JOIN output ON output.job = job.id AND output.state = 'stored'
         AND (%(position)s::int IS NULL OR output.position = %(position)s)
    WHERE job.id = %(job)s
    ORDER BY output.key IS NULL, output.position LIMIT 1
    """
    return await fetch_row(connection, _Found.read, sql, {"job": job_id, "position": position})
