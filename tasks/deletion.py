"""Deletion of jobs: hidden at once, erased by the verb `erase` when all of them has ended."""

from dataclasses import dataclass
from datetime import datetime

from models import due
from models.advance import tell
from models.database import Connection, fetch_row
from models.state import JobState
from models.verbs import Hint, What
from tasks.engine import Engine
from tasks.jobs import cancel_lanes, own_or_deleted_job
from tasks.outcomes.finish import CANCELLED, finish


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """A deleted job, and when it was deleted."""

    id: str
    deleted_at: datetime


async def delete(engine: Engine, job_id: str, *, tenant: str) -> tuple[Deleted, tuple[Hint, ...]]:
    """Delete the tenant's job; one that is not final is cancelled first. Idempotent.

    Raises:
        RequestRefused: `not_found`.
    """

    async def work(connection: Connection) -> tuple[Deleted, list[str]]:
        await own_or_deleted_job(connection, job_id, tenant=tenant)
        # Locks the job and its due rows, also of a job that is final already.
        failures = {job_id: CANCELLED}
        await finish(engine, connection, JobState.CANCELLED, [job_id], failures=failures)
        deleted = await _mark(connection, job_id)
        if deleted is None:
            job = await own_or_deleted_job(connection, job_id, tenant=tenant)
            assert job.deleted_at is not None  # noqa: S101 - it is why nothing was marked
            return Deleted(id=job_id, deleted_at=job.deleted_at), []
        await tell(connection, "job.deleted", [(job_id, {})])
        row = due.Row(id=job_id, lane=due.NO_LANE, tenant=tenant)
        await due.put(connection, What.ERASE, [row])
        return deleted, await cancel_lanes(connection, job_id)

    deleted, lanes = await engine.database.run(work)
    cancels: list[Hint] = [(What.CANCEL, lane) for lane in lanes]
    return deleted, (*cancels, (What.DELIVER, None), (What.ERASE, due.NO_LANE))


async def _mark(connection: Connection, job_id: str) -> Deleted | None:
    """Mark a locked job as deleted; None if it is already."""
    sql = """
    UPDATE job SET deleted_at = clock_timestamp() WHERE id = %s AND deleted_at IS NULL
    RETURNING id, deleted_at
    """
    return await fetch_row(connection, Deleted, sql, (job_id,))
