"""Use cases of webhook deliveries: list and replay; each returns typed rows, and hints to send."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from models import due
from models.database import Connection, fetch_ids, fetch_row
from models.failure import RequestRefused, not_found
from models.records import Json, columns
from models.rows.deliveries import DeliveryRow, TryRow
from models.state import DeliveryState
from models.verbs import Hint, What
from scheduler import receivers
from scheduler.receivers import Key
from tasks.engine import Engine

_SELECT = f"""
SELECT {columns(DeliveryRow, of="delivery")},
       CASE WHEN due.lease IS NULL OR due.at <= now() THEN due.at END AS next_try_at,
       coalesce(due.lease IS NOT NULL AND due.at > now(), false) AS is_under_way,
       coalesce(array_agg(to_jsonb(try) ORDER BY try.number) FILTER (WHERE try.id IS NOT NULL),
                '{{{{}}}}') AS tries
FROM delivery
LEFT JOIN delivery_try AS try ON try.delivery = delivery.id
LEFT JOIN due ON due.what = 'deliver' AND due.id = delivery.id
WHERE delivery.id = ANY(ARRAY(  -- found first, so that tries are joined for these alone
    SELECT id FROM delivery
    WHERE {{whose}}
      AND (%(state)s::text IS NULL OR delivery.state = %(state)s)
      AND NOT EXISTS (  -- with OFFSET asked of one delivery at a time, not of all before the LIMIT
          SELECT FROM job WHERE job.id = delivery.job AND job.deleted_at IS NOT NULL OFFSET 0)
      AND (%(id)s::text IS NULL OR delivery.id = %(id)s)
      AND (%(job_id)s::text IS NULL OR delivery.job = %(job_id)s)
      AND (%(batch_id)s::text IS NULL OR delivery.batch = %(batch_id)s)
      AND (%(after)s::text IS NULL OR delivery.id < %(after)s)
    ORDER BY id DESC LIMIT %(limit)s))
GROUP BY delivery.id, due.at, due.lease
ORDER BY delivery.id DESC
"""  # noqa: S608 - columns of our own
#: SQL: one tenant's, and everyone's.
_OWN = _SELECT.format(whose="delivery.tenant = %(tenant)s")
_EVERYONES = _SELECT.format(whose="true")
#: A delivery's states, in words of their own: the API shows them as they are.
STATES: Final = tuple(DeliveryState)
_ANY = {"id": None, "job_id": None, "batch_id": None, "state": None, "after": None, "limit": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDelivery(DeliveryRow):
    """A delivery with its tries and what is due of it."""

    tries: tuple[TryRow, ...]
    #: None while a try is under way, and if no try follows.
    next_try_at: datetime | None
    #: Whether a worker holds it.
    is_under_way: bool

    @classmethod
    def read(cls, *, tries: Sequence[Json], **values: Any) -> Self:
        """The delivery from a row of the statement above."""
        return cls(tries=tuple(map(TryRow.from_json, tries)), **values)


async def list_newest(
    engine: Engine,
    *,
    tenant: str | None,
    limit: int,
    after: str | None = None,
    job_id: str | None = None,
    batch_id: str | None = None,
    state: str | None = None,
) -> list[ListedDelivery]:
    """Up to `limit` of the tenant's deliveries, or for None of all, with tries, newest first.

    Raises:
        RequestRefused: `state` is no state of a delivery.
    """
    if state is not None and state not in STATES:
        message = f"status must be one of {', '.join(STATES)} (it is {state[:64]})"
        raise RequestRefused(message, param="status")
    own = {"job_id": job_id, "batch_id": batch_id, "state": state}
    wanted = _ANY | own | {"tenant": tenant, "after": after, "limit": limit}
    sql = _EVERYONES if tenant is None else _OWN
    return await engine.database.fetch(sql, wanted, row=ListedDelivery.read)


async def replay(
    engine: Engine, delivery_id: str, *, tenant: str
) -> tuple[ListedDelivery, tuple[Hint, ...]]:
    """Make the tenant's delivery due now, or once more after the try under way.

    Raises:
        RequestRefused: `not_found`.
    """

    async def work(connection: Connection) -> ListedDelivery | None:
        await _make_due(connection, delivery_id, tenant=tenant)
        wanted = _ANY | {"tenant": tenant, "id": delivery_id}
        return await fetch_row(connection, ListedDelivery.read, _OWN, wanted)

    delivery = await engine.database.run(work)
    if delivery is None:
        raise not_found("Webhook delivery")
    return delivery, ((What.DELIVER, None),)


async def _make_due(connection: Connection, delivery_id: str, *, tenant: str) -> None:
    if not delivery_id.isprintable():
        raise not_found("Webhook delivery")
    # Nothing more is sent of a deleted job, whose delivery is about to be erased.
    sql = """
    SELECT host FROM delivery LEFT JOIN job ON job.id = delivery.job
    WHERE delivery.id = %s AND delivery.tenant = %s AND job.deleted_at IS NULL
    """
    hosts = await fetch_ids(connection, sql, (delivery_id, tenant))
    if not hosts:
        raise not_found("Webhook delivery")
    is_due = await due.put_unless_held(
        connection, What.DELIVER, due.Row(id=delivery_id, lane=hosts[0], tenant=tenant)
    )
    await connection.execute(
        """
        UPDATE delivery SET state = 'pending', finished_at = NULL, replay_wanted = %s WHERE id = %s
        """,
        (not is_due, delivery_id),
    )
    # Whoever replays says that the receiver works again: an open breaker must not put it off.
    await receivers.forget(connection, Key(tenant=tenant, host=hosts[0]))
