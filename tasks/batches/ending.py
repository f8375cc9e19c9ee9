"""How a batch ends: its final state, what it cost, and the one webhook event that tells of it."""

import structlog

from models.database import Connection, fetch_row
from models.records import columns
from models.rows.batches import BatchRow, BatchState
from models.vault import VaultError
from tasks.announce import Event, announce, rendered
from tasks.batches.view import batch_view
from tasks.engine import Engine
from webhooks.events import EventType

log = structlog.get_logger()


async def end(engine: Engine, connection: Connection, batch: BatchRow) -> None:
    """End a batch whose lines have all ended; the caller has locked its row and folded its counts.

    The transition happens once, and so does its event. A webhook that can't be told is forgotten:
    the batch ends all the same.
    """
    ended = await fetch_row(connection, BatchRow, _END, {"batch": batch.id})
    if ended is None or ended.webhook is None:
        return
    try:
        delivery = rendered(_event(ended), engine.vault)
    except Exception as error:
        code = "secret_unreadable" if isinstance(error, VaultError) else "event_not_rendered"
        log.exception("webhook.unannounced", batch=batch.id, code=code)
        await connection.execute("UPDATE batch SET webhook = NULL WHERE id = %s", (batch.id,))
        return
    await announce(connection, [delivery])


#: A line that its owner cancelled by itself, before the batch, does not make the batch cancelled.
_END = f"""
UPDATE batch SET
    state = CASE
        WHEN cancelled_at IS NOT NULL AND EXISTS (
            SELECT FROM job WHERE batch_id = batch.id AND job.state = 'cancelled'
              AND job.finished_at >= batch.cancelled_at) THEN '{BatchState.CANCELLED}'
        WHEN complete > 0 THEN '{BatchState.COMPLETED}'
        ELSE '{BatchState.FAILED}' END,
    finished_at = clock_timestamp()
WHERE id = %(batch)s AND state = '{BatchState.IN_PROGRESS}'
RETURNING {columns(BatchRow)}
"""  # noqa: S608 - constants


def _event(batch: BatchRow) -> Event:
    assert batch.webhook is not None  # noqa: S101 - the caller has looked
    assert batch.finished_at is not None  # noqa: S101 - it is final
    return Event(
        type=EventType.BATCH_COMPLETED,
        at=batch.finished_at,
        data=batch_view(batch),
        tenant=batch.tenant,
        target=batch.webhook,
        batch=batch.id,
    )
