"""Webhook deliveries: what was tried, what came of it, and trying it again."""

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.front import TenantRoute, front_of, in_time, key_of
from api.native.listing import Row, read_page
from api.native.schemas import Delivery, DeliveryList
from api.openapi import PAGE_PARAMETERS, parameter, responses
from models.vault import Vault, VaultError
from tasks import deliveries

log = structlog.get_logger()

router = APIRouter(route_class=TenantRoute, tags=["Webhooks"])


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
    rows = await in_time(
        deliveries.list_newest(
            front.engine,
            tenant=key_of(request).tenant,
            limit=page.reach,
            after=page.after,
            **page.filters,
        )
    )
    return answer(page.answer(rows, lambda row: _view(row, front.engine.vault)))


@router.post(
    "/v1/webhooks/deliveries/{delivery_id}/replay",
    status_code=202,
    summary="Replay a webhook delivery",
    responses=responses(202, Delivery, "Due now, or as soon as the try under way is over", 404),
)
async def replay(request: Request, delivery_id: str) -> Response:
    """Send it again, whatever came of it before: the same id and bytes, and a fresh signature.

    While a try is under way, one more follows it, however often a replay is asked for meanwhile:
    `try_under_way` and `replay_wanted` say so.
    """
    front = front_of(request)
    row, hints = await in_time(
        deliveries.replay(front.engine, delivery_id, tenant=key_of(request).tenant)
    )
    front.send(hints)
    return answer(_view(row, front.engine.vault), status=202)


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
        "try_under_way": row["is_under_way"],
        "replay_wanted": row["replay_wanted"],
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
