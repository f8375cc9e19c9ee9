"""Webhook deliveries: what was tried, what came of it, and trying it again."""

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.errors import not_found
from api.front import TenantRoute, front_of, in_time, key_of
from api.listing import Row, read_page
from api.openapi import PAGE_PARAMETERS, parameter, responses
from api.schemas import Delivery, DeliveryList
from models import due
from models.database import Connection
from models.state import What
from models.vault import Vault, VaultError

log = structlog.get_logger()

router = APIRouter(route_class=TenantRoute, tags=["Webhooks"])

_SELECT = """
SELECT delivery.id, delivery.job, delivery.type, delivery.host, delivery.state, delivery.target,
       delivery.created_at, delivery.finished_at, due.at AS next_try_at,
       coalesce(array_agg(to_jsonb(try) ORDER BY try.number) FILTER (WHERE try.id IS NOT NULL),
                '{}') AS tries
FROM delivery
LEFT JOIN delivery_try AS try ON try.delivery = delivery.id
LEFT JOIN due ON due.what = 'deliver' AND due.id = delivery.id
WHERE delivery.tenant = %(tenant)s
  AND (%(id)s::text IS NULL OR delivery.id = %(id)s)
  AND (%(job_id)s::text IS NULL OR delivery.job = %(job_id)s)
  AND (%(after)s::text IS NULL OR delivery.id < %(after)s)
GROUP BY delivery.id, due.at
ORDER BY delivery.id DESC
LIMIT %(limit)s
"""
_ANY = {"id": None, "job_id": None, "after": None, "limit": 1}


@router.get(
    "/v1/webhooks/deliveries",
    summary="List webhook deliveries",
    responses=responses(200, DeliveryList, "Newest first", 400),
    openapi_extra={"parameters": [parameter("job_id", "Only this job's"), *PAGE_PARAMETERS]},
)
async def list_deliveries(request: Request) -> Response:
    """The tenant's deliveries with every try that was made."""
    front = front_of(request)
    page = read_page(request, "job_id")
    wanted = _ANY | {
        "tenant": key_of(request).tenant,
        "job_id": page.filters.get("job_id"),
        "after": page.after,
        "limit": page.reach,
    }
    rows = await in_time(front.engine.database.fetch(_SELECT, wanted))
    return answer(page.answer(rows, lambda row: _view(row, front.engine.vault)))


@router.post(
    "/v1/webhooks/deliveries/{delivery_id}/replay",
    status_code=202,
    summary="Replay a webhook delivery",
    responses=responses(202, Delivery, "Due now", 404),
)
async def replay(request: Request, delivery_id: str) -> Response:
    """Send it again, whatever came of it before: the same id and bytes, and a fresh signature."""
    front = front_of(request)
    tenant = key_of(request).tenant

    async def work(connection: Connection) -> Row:
        await _make_due(connection, delivery_id, tenant=tenant)
        cursor = await connection.execute(_SELECT, _ANY | {"tenant": tenant, "id": delivery_id})
        (row,) = await cursor.fetchall()
        return row

    row = await in_time(front.engine.database.run(work))
    front.hinter.nudge(What.DELIVER, None)
    return answer(_view(row, front.engine.vault), status=202)


async def _make_due(connection: Connection, delivery_id: str, *, tenant: str) -> None:
    if not delivery_id.isprintable():
        raise not_found("Webhook delivery")
    cursor = await connection.execute(
        """
        UPDATE delivery SET state = 'pending', finished_at = NULL
        WHERE id = %s AND tenant = %s RETURNING id, host, tenant
        """,
        (delivery_id, tenant),
    )
    row = await cursor.fetchone()
    if row is None:
        raise not_found("Webhook delivery")
    await due.put(
        connection, What.DELIVER, [due.Row(id=row["id"], lane=row["host"], tenant=row["tenant"])]
    )


def _view(row: Row, vault: Vault) -> dict[str, Any]:
    return {
        "id": row["id"],
        "object": "webhook.delivery",
        "job_id": row["job"],
        "type": row["type"],
        "status": row["state"],
        "url": _shown_url(row, vault),
        "tries": [_try_view(each) for each in row["tries"]],
        "next_try_at": _iso(row["next_try_at"]),
        "created_at": _iso(row["created_at"]),
        "finished_at": _iso(row["finished_at"]),
    }


def _shown_url(row: Row, vault: Vault) -> str:
    """The receiver's address; its query may hold a token, so it is left out."""
    try:
        parts = urlsplit(vault.open_json(row["target"])["url"])
    except VaultError as error:
        log.error("delivery.sealed_for_ever", delivery=row["id"], reason=str(error))  # noqa: TRY400
        return str(row["host"])
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _try_view(row: Row) -> dict[str, Any]:
    shown = ("number", "status", "error", "milliseconds")
    return {name: row[name] for name in shown} | {"at": _iso(datetime.fromisoformat(row["at"]))}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None
