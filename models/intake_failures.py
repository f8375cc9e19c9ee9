"""Dead letters: requests that came over the broker, could not be accepted, and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from models.database import Connection
from models.ids import new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFailure:
    """A dead letter as its operator sees it, without what its sender wrote."""

    id: str
    task_id: str
    tenant: str | None
    code: str
    message: str
    param: str | None
    at: datetime


async def record_intake_failure(
    connection: Connection,
    *,
    task_id: str,
    tenant: str | None,
    job_id: str | None,
    code: str,
    message: str,
    param: str | None,
    payload: bytes | None,
) -> bool:
    """Keep a message that can't be accepted; whether it was new. `payload` is sealed.

    Nothing is kept where the message made its job already and only came again.
    """
    cursor = await connection.execute(
        """
        INSERT INTO intake_failure (id, task_id, tenant, job, code, message, param, payload)
        SELECT %(id)s, %(task_id)s, %(tenant)s, %(job)s, %(code)s, %(message)s, %(param)s,
               %(payload)s
        WHERE NOT EXISTS (SELECT 1 FROM job WHERE id = %(job)s AND tenant = %(tenant)s)
        ON CONFLICT (task_id) DO NOTHING RETURNING id
        """,
        {
            "id": new_id("inf"),
            "task_id": task_id,
            "tenant": tenant,
            "job": job_id,
            "code": code,
            "message": message,
            "param": param,
            "payload": payload,
        },
    )
    return await cursor.fetchone() is not None


async def forget_intake_failures(connection: Connection, jobs: Sequence[str]) -> None:
    """Delete the dead letters of jobs that a later message made, whose content is erased.

    None is written later: the jobs' rows stay.
    """
    await connection.execute(
        """
        DELETE FROM intake_failure WHERE id IN (
            SELECT failure.id FROM intake_failure AS failure
            JOIN job ON job.id = failure.job AND job.tenant = failure.tenant
            WHERE job.id = ANY(%s) ORDER BY failure.id FOR UPDATE OF failure)
        """,
        (jobs,),
    )


async def list_intake_failures(
    connection: Connection, *, tenant: str | None, most: int
) -> list[ListedFailure]:
    """The newest dead letters first, of one tenant or of all."""
    cursor = await connection.execute(
        """
        SELECT id, task_id, tenant, code, message, param, at FROM intake_failure
        WHERE %(tenant)s::text IS NULL OR tenant = %(tenant)s
        ORDER BY id DESC LIMIT %(most)s
        """,
        {"tenant": tenant, "most": most},
    )
    return [ListedFailure(**row) for row in await cursor.fetchall()]
