"""Use cases of webhook deliveries: list and replay; each returns rows and the hints to send."""

from collections.abc import Mapping
from typing import Any

from models import due
from models.database import Connection
from models.failure import not_found
from models.state import Hint, What
from tasks.engine import Engine

Row = Mapping[str, Any]

_SELECT = """
SELECT delivery.id, delivery.job, delivery.type, delivery.host, delivery.state, delivery.target,
       delivery.created_at, delivery.finished_at, delivery.replay_wanted,
       CASE WHEN due.lease IS NULL OR due.at <= now() THEN due.at END AS next_try_at,
       coalesce(due.lease IS NOT NULL AND due.at > now(), false) AS is_under_way,
       coalesce(array_agg(to_jsonb(try) ORDER BY try.number) FILTER (WHERE try.id IS NOT NULL),
                '{}') AS tries
FROM delivery
LEFT JOIN delivery_try AS try ON try.delivery = delivery.id
LEFT JOIN due ON due.what = 'deliver' AND due.id = delivery.id
WHERE delivery.tenant = %(tenant)s
  AND (%(id)s::text IS NULL OR delivery.id = %(id)s)
  AND (%(job_id)s::text IS NULL OR delivery.job = %(job_id)s)
  AND (%(after)s::text IS NULL OR delivery.id < %(after)s)
GROUP BY delivery.id, due.at, due.lease
ORDER BY delivery.id DESC
LIMIT %(limit)s
"""
_ANY = {"id": None, "job_id": None, "after": None, "limit": 1}


async def list_newest(
    engine: Engine,
    *,
    tenant: str,
    limit: int,
    after: str | None = None,
    job_id: str | None = None,
) -> list[dict[str, Any]]:
    """Up to `limit` of the tenant's deliveries with their tries, newest first."""
    wanted = _ANY | {"tenant": tenant, "job_id": job_id, "after": after, "limit": limit}
    return await engine.database.fetch(_SELECT, wanted)


async def replay(engine: Engine, delivery_id: str, *, tenant: str) -> tuple[Row, tuple[Hint, ...]]:
    """Make the tenant's delivery due now, or once more after the try under way.

    Raises:
        RequestRefused: `not_found`.
    """

    async def work(connection: Connection) -> Row:
        await _make_due(connection, delivery_id, tenant=tenant)
        cursor = await connection.execute(_SELECT, _ANY | {"tenant": tenant, "id": delivery_id})
        (row,) = await cursor.fetchall()
        return row

    return await engine.database.run(work), ((What.DELIVER, None),)


async def _make_due(connection: Connection, delivery_id: str, *, tenant: str) -> None:
    if not delivery_id.isprintable():
        raise not_found("Webhook delivery")
    cursor = await connection.execute(
        "SELECT id, host FROM delivery WHERE id = %s AND tenant = %s", (delivery_id, tenant)
    )
    row = await cursor.fetchone()
    if row is None:
        raise not_found("Webhook delivery")
    is_due = await due.put_unless_held(
        connection, What.DELIVER, due.Row(id=row["id"], lane=row["host"], tenant=tenant)
    )
    await connection.execute(
        """
        UPDATE delivery SET state = 'pending', finished_at = NULL, replay_wanted = %s WHERE id = %s
        """,
        (not is_due, row["id"]),
    )
