"""Reads batches as their owners see them: with the changes that are not folded into their rows."""

from collections.abc import Sequence
from typing import Any

from models.database import Connection, fetch_rows
from models.records import columns
from models.rows.batches import COUNTS, BatchRow

_READ = ", ".join(
    f"batch.{name} + coalesce(change.{name}, 0) AS {name}" if name in COUNTS else f"batch.{name}"
    for name in columns(BatchRow).split(", ")
)
_SELECT = f"""
SELECT {_READ} FROM batch
LEFT JOIN LATERAL (SELECT {", ".join(f"sum({name})::bigint AS {name}" for name in COUNTS)}
                   FROM batch_change WHERE batch = batch.id) AS change ON true
WHERE {{where}}
ORDER BY batch.id DESC LIMIT %(limit)s
"""  # noqa: S608 - columns of our own


async def read_batches(connection: Connection, ids: Sequence[str]) -> list[BatchRow]:
    """Batches with exact counts, newest first, by one statement; unknown ids are left out."""
    return await _read(connection, "batch.id = ANY(%(ids)s)", ids=list(ids), limit=len(ids))


async def list_batches(
    connection: Connection,
    *,
    tenant: str | None,
    limit: int,
    after: str | None = None,
    status: str | None = None,
    app_id: str | None = None,
) -> list[BatchRow]:
    """A tenant's batches, or for None all, newest first, those that follow `after`."""
    where = f"""{"true" if tenant is None else "batch.tenant = %(tenant)s"}
        AND (%(after)s::text IS NULL OR batch.id < %(after)s)
        AND (%(app_id)s::text IS NULL OR batch.app_id = %(app_id)s)
        AND (%(status)s::text IS NULL OR %(status)s = CASE
             WHEN batch.state = 'in_progress' AND batch.cancelled_at IS NOT NULL THEN 'cancelling'
             ELSE batch.state END)"""
    return await _read(
        *(connection, where), tenant=tenant, after=after, app_id=app_id, status=status, limit=limit
    )


async def _read(connection: Connection, where: str, **parameters: Any) -> list[BatchRow]:
    return await fetch_rows(connection, BatchRow, _SELECT.format(where=where), parameters)
