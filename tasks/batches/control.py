"""Use cases of accepted batches: read, list and cancel; a cancel also returns hints."""

from typing import Final

from models import due
from models.database import Connection
from models.failure import RequestRefused, not_found
from models.rows.batches import BatchRow, BatchState
from models.verbs import Hint, What
from tasks.batches.progress import lock_batch
from tasks.batches.shown import list_batches, read_batches
from tasks.engine import Engine

#: The public statuses: a state, or `cancelling` until the last line of a cancelled batch has ended.
STATUSES: Final = ("in_progress", "cancelling", "completed", "failed", "cancelled")


async def read(engine: Engine, batch_id: str, *, tenant: str | None) -> BatchRow:
    """The tenant's batch, or for None anyone's, now; raises RequestRefused (`not_found`)."""
    return await engine.database.run_statement(
        lambda connection: own_batch(connection, batch_id, tenant=tenant)
    )


async def list_own(
    engine: Engine,
    *,
    tenant: str | None,
    limit: int,
    after: str | None = None,
    status: str | None = None,
    app_id: str | None = None,
) -> list[BatchRow]:
    """Up to `limit` of the tenant's batches, or for None of all, that follow `after`, newest first.

    Raises:
        RequestRefused: `status` is no public status.
    """
    if status is not None and status not in STATUSES:
        message = f"status must be one of {', '.join(STATUSES)} (it is {status[:64]})"
        raise RequestRefused(message, param="status")
    return await engine.database.run_statement(
        lambda connection: list_batches(
            *(connection,), tenant=tenant, limit=limit, after=after, status=status, app_id=app_id
        )
    )


async def cancel(
    engine: Engine, batch_id: str, *, tenant: str
) -> tuple[BatchRow, tuple[Hint, ...]]:
    """Ask for the cancel of the tenant's batch, which the verb `tally` carries out.

    No line is released from now on. A final batch is unchanged, and a repeat changes nothing.

    Raises:
        RequestRefused: `not_found`.
    """

    async def work(connection: Connection) -> BatchRow:
        batch = await lock_batch(connection, batch_id) if batch_id.isprintable() else None
        if batch is None or batch.tenant != tenant:
            raise _unknown()
        if batch.state == BatchState.IN_PROGRESS and batch.cancelled_at is None:
            await connection.execute(
                "UPDATE batch SET cancelled_at = clock_timestamp() WHERE id = %s", (batch_id,)
            )
            row = due.Row(id=batch_id, lane=due.NO_LANE, tenant=tenant)
            await due.put(connection, What.TALLY, [row])
        return await own_batch(connection, batch_id, tenant=tenant)

    return await engine.database.run(work), ((What.TALLY, due.NO_LANE),)


async def own_batch(connection: Connection, batch_id: str, *, tenant: str | None) -> BatchRow:
    """The tenant's batch, or for None anyone's; raises RequestRefused (`not_found`)."""
    found = await read_batches(connection, [batch_id]) if batch_id.isprintable() else []
    if not found or tenant not in {None, found[0].tenant}:
        raise _unknown()
    return found[0]


def _unknown() -> RequestRefused:
    return not_found("Batch")
