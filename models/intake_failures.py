"""Dead letters: requests that came over the broker, could not be accepted, and why."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from models.database import Connection, fetch_row
from models.ids import new_id
from models.records import columns, values


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A message that can't be accepted."""

    task: str
    task_id: str
    tenant: str | None
    #: The job or the batch that it would have made; a batch's id may be missing.
    job: str | None
    batch: str | None
    #: Sealed; None if too large.
    payload: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a message can't be accepted, without values of the request."""

    code: str
    message: str
    param: str | None
    #: The first invalid line of a batch.
    line: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFailure:
    """A dead letter as it is shown, without what its sender wrote."""

    id: str
    task: str
    task_id: str
    tenant: str | None
    job: str | None
    batch: str | None
    code: str
    message: str
    param: str | None
    line: int | None
    #: Whether its payload was kept, so that it can be retried.
    is_kept: bool
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFailure:
    """A dead letter that is to be retried."""

    task: str
    task_id: str
    job: str | None
    message: str
    payload: bytes | None = field(repr=False)


async def record_intake_failure(connection: Connection, given: Given, reason: Reason) -> bool:
    """Keep a message that can't be accepted; whether it was new.

    Nothing is kept where the message made its job or batch already and only came again.
    """
    cursor = await connection.execute(
        """
        INSERT INTO intake_failure
            (id, task, task_id, tenant, job, batch, code, message, param, line, payload)
        SELECT %(id)s, %(task)s, %(task_id)s, %(tenant)s, %(job)s, %(batch)s, %(code)s, %(message)s,
               %(param)s, %(line)s, %(payload)s
        WHERE NOT EXISTS (SELECT 1 FROM job WHERE id = %(job)s AND tenant = %(tenant)s)
          AND NOT EXISTS (SELECT 1 FROM batch WHERE id = %(batch)s AND tenant = %(tenant)s)
        ON CONFLICT (task_id, task, tenant, job, batch) DO NOTHING RETURNING id
        """,
        {"id": new_id("inf")} | values(given) | values(reason),
    )
    return await cursor.fetchone() is not None


async def read_intake_failure(
    connection: Connection, failure_id: str, *, tenant: str | None
) -> KeptFailure | None:
    """The dead letter of a tenant, or of anyone if `tenant` is None."""
    sql = f"""
    SELECT {columns(KeptFailure)} FROM intake_failure
    WHERE id = %(id)s AND (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
    """  # noqa: S608 - columns of our own
    return await fetch_row(connection, KeptFailure, sql, {"id": failure_id, "tenant": tenant})


async def refuse_again(connection: Connection, failure_id: str, reason: Reason) -> None:
    """Keep the newest reason of a dead letter that was retried, if it is still there."""
    await connection.execute(
        """
        UPDATE intake_failure
        SET code = %(code)s, message = %(message)s, param = %(param)s, line = %(line)s
        WHERE id = %(id)s
        """,
        {"id": failure_id} | values(reason),
    )


async def forget_intake_failures(
    connection: Connection, made: Sequence[str], *, table: Literal["job", "batch"] = "job"
) -> None:
    """Delete the dead letters of jobs or batches that exist: they came again, or were retried.

    None is written later: the rows of what was made stay.
    """
    await connection.execute(
        f"""
        DELETE FROM intake_failure WHERE id IN (
            SELECT failure.id FROM intake_failure AS failure
            JOIN {table} AS made ON made.id = failure.{table} AND made.tenant = failure.tenant
            WHERE made.id = ANY(%s) ORDER BY failure.id FOR UPDATE OF failure)
        """,  # noqa: S608 - constants
        (made,),
    )


async def list_intake_failures(
    connection: Connection, *, tenant: str | None, most: int, after: str | None = None
) -> list[ListedFailure]:
    """The newest dead letters first, of one tenant or of all."""
    cursor = await connection.execute(
        """
        SELECT id, task, task_id, tenant, job, batch, code, message, param, line,
               payload IS NOT NULL AS is_kept, at
        FROM intake_failure
        WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
          AND (%(after)s::text IS NULL OR id < %(after)s)
        ORDER BY id DESC LIMIT %(most)s
        """,
        {"tenant": tenant, "most": most, "after": after},
    )
    return [ListedFailure(**row) for row in await cursor.fetchall()]
